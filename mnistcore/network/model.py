"""models/model.npz: trained networks on disk, one per seed, rebuilt with no other file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnistcore.arguments import ArgumentError, Whole, check
from mnistcore.arrays import load_arrays, save_arrays
from mnistcore.errors import InputError
from mnistcore.network.network import PRECISIONS, Network


def save(path: str | os.PathLike[str], seeds: Sequence[int], networks: Sequence[Network]) -> None:
    """Write networks of one architecture, one per seed, with no time stamp in the file.

    The file holds `parameters` (S, P), `seeds` (S,) int64 and `architecture`, JSON text.

    Raises
    ------
    ArgumentError : no network, another number of seeds than of networks, or networks of several architectures
    """
    seeds = check(tuple[Whole, ...], seeds, "model.save", "seeds")
    networks = check(tuple[Network, ...], networks, "model.save", "networks")
    if not networks or len(seeds) != len(networks):
        raise ArgumentError("model.save", ("networks",), f"{len(networks)} for {len(seeds)} seeds")
    if any(network.architecture() != networks[0].architecture() for network in networks):
        raise ArgumentError("model.save", ("networks",), "should be of one architecture")
    architecture = json.dumps(networks[0].architecture(), separators=(",", ":"))
    arrays = {
        "parameters": np.stack([network.parameters for network in networks]),
        "seeds": np.array(seeds, np.int64),
        "architecture": np.array(architecture),
    }
    save_arrays(path, arrays)


def load(path: str | os.PathLike[str]) -> tuple[list[int], list[Network]]:
    """Read what `save` wrote: the seeds, and a network for each.

    Raises
    ------
    InputError : if it is not such a file, whole and consistent
    """
    path = Path(path)
    arrays = load_arrays(
        path,
        {
            "parameters": (PRECISIONS, (None, None)),
            "seeds": ("int64", (None,)),
            "architecture": ("str", ()),
        },
    )
    parameters, seeds = arrays["parameters"], arrays["seeds"]
    try:
        architecture = json.loads(str(arrays["architecture"][()]))
        networks = [Network.from_architecture(architecture, row) for row in parameters]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError) as error:
        raise InputError(f"{path}: damaged ({str(error)[:200]}); run the train stage again") from None
    if not len(seeds) or len(seeds) != len(networks):
        raise InputError(
            f"{path}: {len(networks)} networks for {len(seeds)} seeds; run the train stage again"
        )
    if not np.isfinite(parameters).all():
        raise InputError(
            f"{path}: its parameters are not finite; the training diverged: try a lower learning rate"
        )
    return seeds.tolist(), networks
