"""Reading the learning curves that training leaves behind: a table of step and value per metric."""

import os
from pathlib import Path

import numpy as np

from mnistcore.errors import InputError

NEEDED = ("train/loss", "train/accuracy")
TOGETHER = ("validation/loss", "validation/accuracy")  # neither, where no image was held out
MAYBE = ("learning_rate",)


def read_curves(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the curves under `folder`, as DVCLive writes them.

    Returns
    -------
    name → (epochs, 2) float64: epoch, value. The names are train/loss,
    train/accuracy, and as far as they exist validation/loss,
    validation/accuracy and learning_rate.

    Raises
    ------
    InputError : a curve is missing, empty, truncated, no table of two columns of numbers, or of other epochs
    """
    tables = Path(folder) / "plots" / "metrics"
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
    except (ValueError, UnicodeDecodeError):
        raise InputError(f"{path}: not a table of numbers; run train again") from None
    if not text.endswith("\n"):
        raise InputError(f"{path}: truncated; run train again")
    columns = header.split("\t")
    if points.ndim != 2 or points.shape[1] != 2 or sorted(columns) != sorted(["step", path.stem]):
        raise InputError(f"{path}: should be a column step and a column {path.stem}; run train again")
    return points[:, [columns.index("step"), columns.index(path.stem)]]
