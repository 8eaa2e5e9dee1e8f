"""Opening a folder of prepared examples, images with their labels and targets, as the stages leave them."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnistcore.arrays import open_array
from mnistcore.classes import check_labels
from mnistcore.errors import InputError

FLOATS = ("float32", "float64")


class Examples(NamedTuple):
    """Prepared examples, mapped into memory and read-only.

    `images` (N, features) floats, `labels` (N,) uint8, `targets` (N, classes) one-hot of the images' dtype.
    """

    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


def open_examples(folder: str | os.PathLike[str], features: int, classes: int) -> Examples:
    """Open images.npy, labels.npy and targets.npy of `folder`.

    Raises
    ------
    InputError : a file is missing or damaged, or the three do not fit each other, `features` and `classes`
    """
    folder = Path(folder)
    images = open_array(folder / "images.npy", FLOATS, (None, features))
    labels = open_array(folder / "labels.npy", "uint8", (len(images),))
    targets = open_array(folder / "targets.npy", images.dtype.name, (len(images), classes))
    check_labels(labels, classes, str(folder / "labels.npy"))
    if not np.array_equal(targets.argmax(axis=1), labels):
        raise InputError(f"{folder}: targets.npy and labels.npy disagree; run the stage that makes them")
    return Examples(images, labels, targets)
