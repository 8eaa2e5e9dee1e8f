"""Checkpoints: where a training run stands, so that a killed one continues to the same bits.

All random draws are named by (seed, purpose, position), so the position is all
of the random state that there is.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from mnistcore.arguments import NotNegative, check
from mnistcore.arrays import load_arrays, save_arrays
from mnistcore.errors import InputError
from mnistcore.network.network import PRECISIONS
from mnistcore.training.history import Epoch


class State(NamedTuple):
    """All that a run remembers between two steps; flat, since each field is an entry of the file.

    step : steps done of the epoch begun
    updates : steps done in all
    finished : whether the run is over, and `parameters` its result
    best_loss, clean_loss : what stopping rules and schedules go by
    parameters (P,), slots (slots, P) of the optimiser, average (P,) and best (P,) or length 0
    history (epochs, 7) : the figures of the epochs done
    losses, correct : of the examples done in the epoch begun
    """

    step: int
    updates: int
    finished: bool
    best_loss: float
    clean_loss: float
    parameters: np.ndarray
    slots: np.ndarray
    average: np.ndarray
    best: np.ndarray
    history: np.ndarray
    losses: np.ndarray
    correct: np.ndarray

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return len(self.history)


class Checkpoint:
    """The checkpoint of one run, in one file.

    Parameters
    ----------
    path : the file
    fingerprint : names what the run computes from (parameters, data, code); called when first needed,
        as it may have to read all the data
    seconds : how often to write

    Attributes
    ----------
    unused : why `load` could not use the file that it found; "" if it could, or found none
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Callable[[], str], seconds: float) -> None:
        self.path, self.unused = Path(path), ""
        self.seconds = check(NotNegative, seconds, "Checkpoint", "seconds")
        check(Callable[[], str], fingerprint, "Checkpoint", "fingerprint")
        self._make_fingerprint = fingerprint
        self._last = monotonic()

    @cached_property
    def _fingerprint(self) -> str:
        return check(str, self._make_fingerprint(), "Checkpoint", "fingerprint")

    def load(self) -> State | None:
        """The state to continue from; None if there is no checkpoint of this run."""
        self.unused = ""
        if not self.path.is_file():
            return None
        try:
            arrays = load_arrays(self.path, _ARRAYS)
        except (OSError, InputError):
            arrays = {}
        if not arrays or arrays.pop("digest")[()] != _digest(arrays):
            self.unused = "damaged"
        elif arrays.pop("fingerprint")[()] != self._fingerprint:
            self.unused = "of other parameters, data or code"
        else:
            fields: dict[str, Any] = {name: a if a.ndim else a.item() for name, a in arrays.items()}
            return State(**fields)
        return None

    def due(self) -> bool:
        """Whether it is time to write."""
        return monotonic() - self._last >= self.seconds

    def save(self, state: State) -> None:
        """Write the state; a kill leaves the checkpoint before it or this one."""
        arrays = {"fingerprint": np.array(self._fingerprint)}
        arrays |= {name: np.asarray(value) for name, value in state._asdict().items()}
        save_arrays(self.path, {"digest": np.array(_digest(arrays)), **arrays})
        self._last = monotonic()


# What the file holds: of each array its dtype and shape.
_ARRAYS: dict[str, tuple[str | tuple[str, ...], tuple[int | None, ...]]] = {
    "digest": ("str", ()),
    "fingerprint": ("str", ()),
    "step": ("int64", ()),
    "updates": ("int64", ()),
    "finished": ("bool", ()),
    "best_loss": ("float64", ()),
    "clean_loss": ("float64", ()),
    "parameters": (PRECISIONS, (None,)),
    "slots": (PRECISIONS, (None, None)),
    "average": (PRECISIONS, (None,)),
    "best": (PRECISIONS, (None,)),
    "history": ("float64", (None, len(Epoch._fields))),
    "losses": (PRECISIONS, (None,)),
    "correct": ("bool", (None,)),
}


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """A SHA-256 of names, dtypes, shapes and content; what is whole and of the right shapes is still ours only then."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
