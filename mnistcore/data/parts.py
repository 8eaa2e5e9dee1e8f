"""One part of the data (train, validation or test): its images, labels and targets, mapped from their files."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnistcore.arrays import open_array
from mnistcore.data.labels import one_hot
from mnistcore.errors import InputError

FLOATS = ("float32", "float64")
ROWS = 4096  # labels checked at a time


class Part(NamedTuple):
    """One part of the data, mapped into memory and read-only.

    Attributes
    ----------
    images : (N, features), float32 or float64
    labels : (N,), uint8
    targets : (N, classes), one-hot, of the dtype of the images
    """

    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


def open_part(folder: str | os.PathLike[str]) -> Part:
    """Map the three arrays in `folder` (of preprocess or of batch) into memory, after checking them.

    Raises
    ------
    InputError : a file missing or damaged, another dtype or shape, lengths that disagree, an impossible label
        or target
    """
    folder = Path(folder)
    images = open_array(folder / "images.npy", FLOATS, (None, None))
    labels = open_array(folder / "labels.npy", "uint8", (len(images),))
    targets = open_array(folder / "targets.npy", images.dtype.name, (len(images), None))
    if targets.shape[1] < 2:
        raise InputError(f"{folder / 'targets.npy'}: {targets.shape[1]} classes; there should be 2 or more")
    if len(labels):
        if int(labels.max()) >= targets.shape[1]:
            raise InputError(f"{folder / 'labels.npy'}: label {labels.max()} for {targets.shape[1]} classes")
        for start in range(0, len(labels), ROWS):
            some, of_some = targets[start : start + ROWS], labels[start : start + ROWS]
            if not np.array_equal(some, one_hot(of_some, targets.shape[1], targets.dtype)):
                raise InputError(f"{folder / 'targets.npy'}: not the one-hot form of labels.npy")
    return Part(images, labels, targets)
