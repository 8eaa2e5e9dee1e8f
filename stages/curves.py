"""The learning curves: DVCLive writes them while training goes on; they end in reports/curves, and are read there."""

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistcore.errors import InputError
from mnistcore.files import read_text

if TYPE_CHECKING:
    from mnistcore.training.history import Epoch

NEEDED = ("train/loss", "train/accuracy")
TOGETHER = ("validation/loss", "validation/accuracy")  # neither, where no image was held out
MAYBE = ("learning_rate",)
SMALLEST, LARGEST = 1e-100, 1e100  # of losses and learning rates: what a logarithmic scale can be computed of
TABLES = Path("plots", "metrics")  # where DVCLive puts a table of step and value per metric


class CurvesWriter:
    """Writes curves to `folder`, made anew, epoch by epoch; use as a context manager. `keep_curves` puts them in place.

    parameters : what the network is trained with, for the report to show
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._folder, self._parameters = folder, parameters

    def __enter__(self) -> "CurvesWriter":
        from dvclive.live import Live  # slow to import

        with self._named():
            _remove(self._folder)
            self._live = Live(dir=str(self._folder), save_dvc_exp=False, dvcyaml=None)
            self._live.log_params(dict(self._parameters))
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        """Nothing: `Live.end` has no more to write. It tells DVC Studio, in a thread, and Git of new folders."""

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


def keep_curves(written: Path, folder: Path) -> None:
    """Put what a `CurvesWriter` has written to one folder in the place of another, which goes beside the first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    before = written.with_name("before")
    _remove(before)
    if folder.exists() or folder.is_symlink():
        shutil.move(folder, before)
    shutil.move(written, folder)


def _remove(folder: Path) -> None:
    """Remove a folder, or whatever stands there; a link is not followed."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def read_curves(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the curves in `folder`.

    Returns
    -------
    name → (epochs, 2) float64: epoch, value. The names are train/loss,
    train/accuracy, and as far as they exist validation/loss,
    validation/accuracy and learning_rate.

    Raises
    ------
    InputError : a curve is missing, empty, truncated, no table of two columns of numbers, of other epochs, or with
        figures that no training has
    """
    tables = Path(folder) / TABLES
    found = {name: tables / f"{name}.tsv" for name in (*NEEDED, *TOGETHER, *MAYBE)}
    held_out = any(found[name].exists() for name in TOGETHER)
    wanted = [
        name for name in found if found[name].exists() or name in NEEDED or (held_out and name in TOGETHER)
    ]
    curves = {name: _read(found[name]) for name in wanted}
    for name, curve in curves.items():
        if len(curve) != len(curves[wanted[0]]):
            raise InputError(f"{found[name]}: is of other epochs than {found[wanted[0]]}; run train again")
    return curves


def _read(path: Path) -> np.ndarray:
    text = read_text(path, "train")
    try:
        header, *lines = text.splitlines()
        points = np.array([[float(cell) for cell in line.split("\t")] for line in lines])
    except ValueError:
        raise InputError(f"{path}: not a table of numbers; run train again") from None
    if not text.endswith("\n"):
        raise InputError(f"{path}: truncated; run train again")
    columns = header.split("\t")
    if points.ndim != 2 or points.shape[1] != 2 or sorted(columns) != sorted(["step", path.stem]):
        raise InputError(f"{path}: should be a column step and a column {path.stem}; run train again")
    points = points[:, [columns.index("step"), columns.index(path.stem)]]
    if not np.array_equal(points[:, 0], np.arange(1, len(points) + 1)):
        raise InputError(f"{path}: its steps should be the epochs, 1, 2, 3 …; run train again")
    # A loss is infinite, or no number, where training diverged; everything else can be drawn to scale.
    values, least, most = points[:, 1], *((0.0, 1.0) if path.stem == "accuracy" else (SMALLEST, LARGEST))
    usual = (values == 0) | ((values >= least) & (values <= most))
    wrong = ~(usual | (path.stem == "loss") & ~np.isfinite(values) & ~np.isneginf(values))
    if wrong.any():
        raise InputError(f"{path}: {values[wrong][0]:g} is no {path.stem.replace('_', ' ')}; run train again")
    return points
