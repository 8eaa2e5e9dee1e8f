"""reports/curves: the learning curves as DVCLive writes them while training goes on, and what reads them again."""

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistcore.errors import InputError

if TYPE_CHECKING:
    from mnistcore.training.history import Epoch

NEEDED = ("train/loss", "train/accuracy")
TOGETHER = ("validation/loss", "validation/accuracy")  # neither, where no image was held out
MAYBE = ("learning_rate",)
TABLES = Path("plots", "metrics")  # where DVCLive puts a table of step and value per metric


class CurvesWriter:
    """Appends to the curves in `folder`, epoch by epoch; use as a context manager.

    parameters : what the network is trained with, for the report to show
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._folder, self._parameters = folder, parameters

    def __enter__(self) -> "CurvesWriter":
        from dvclive.live import Live  # slow to import

        with self._named():
            if self._folder.is_dir() and not self._folder.is_symlink():
                shutil.rmtree(self._folder)  # dvc.yaml keeps the curves of the run before until now
            self._live = Live(dir=str(self._folder), save_dvc_exp=False, dvcyaml=None)
            self._live.log_params(dict(self._parameters))
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        if kind is None:
            with self._named():
                self._live.end()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """A full disk does not say of which file."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self._folder)
            raise

    def append(self, epoch: "Epoch") -> None:
        """Append an epoch's figures."""
        values = (epoch.train_loss, epoch.train_accuracy, epoch.validation_loss, epoch.validation_accuracy)
        with self._named():
            self._live.step = epoch.number
            for name, value in zip((*NEEDED, *TOGETHER, *MAYBE), (*values, epoch.learning_rate), strict=True):
                if not math.isnan(value):
                    self._live.log_metric(name, value)
            self._live.make_summary()


def read_curves(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the curves in `folder`.

    Returns
    -------
    name → (epochs, 2) float64: epoch, value. The names are train/loss,
    train/accuracy, and as far as they exist validation/loss,
    validation/accuracy and learning_rate.

    Raises
    ------
    InputError : a curve is missing, empty, truncated, no table of two columns of numbers, or of other epochs
    """
    tables = Path(folder) / TABLES
    found = {name: tables / f"{name}.tsv" for name in (*NEEDED, *TOGETHER, *MAYBE)}
    held_out = any(found[name].is_file() for name in TOGETHER)
    wanted = [
        name for name in found if found[name].is_file() or name in NEEDED or (held_out and name in TOGETHER)
    ]
    curves = {name: _read(found[name]) for name in wanted}
    for name, curve in curves.items():
        if not np.array_equal(curve[:, 0], curves[wanted[0]][:, 0]):
            raise InputError(f"{found[name]}: is of other epochs than {found[wanted[0]]}; run train again")
    return curves


def _read(path: Path) -> np.ndarray:
    try:
        text = path.read_text(encoding="utf-8")
        header, *lines = text.splitlines()
        points = np.array([[float(cell) for cell in line.split("\t")] for line in lines])
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run train first") from None
    except ValueError:
        raise InputError(f"{path}: not a table of numbers; run train again") from None
    if not text.endswith("\n"):
        raise InputError(f"{path}: truncated; run train again")
    columns = header.split("\t")
    if points.ndim != 2 or points.shape[1] != 2 or sorted(columns) != sorted(["step", path.stem]):
        raise InputError(f"{path}: should be a column step and a column {path.stem}; run train again")
    return points[:, [columns.index("step"), columns.index(path.stem)]]


def read_parameters(folder: Path) -> dict[str, Any]:
    """What the writer was given as `parameters`; nothing, of a run that gave nothing.

    Raises
    ------
    InputError : not what DVCLive writes
    """
    from ruamel.yaml import YAML  # DVCLive writes YAML
    from ruamel.yaml.error import YAMLError

    path = folder / "params.yaml"
    try:
        logged = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (YAMLError, ValueError, RecursionError):
        raise InputError(f"{path}: not readable as YAML; run train again") from None
    if not isinstance(logged, dict):
        raise InputError(f"{path}: should be keys and values; run train again")
    return logged
