"""The training images as batches: some held out, the rest shuffled, in memory-mappable arrays.

A folder of batches holds `train` and `validation`, each with images.npy, labels.npy
and targets.npy, and batches.json. Batch k of size B is rows k·B to (k+1)·B of those
arrays, contiguous. All examples are in the arrays; batches.json says how many
batches an epoch has, with the smaller last one kept or dropped.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnistcore.arrays import open_array, writing_array
from mnistcore.classes import one_hot
from mnistcore.errors import InputError
from mnistcore.files import replacing
from mnistcore.streams import stream

FLOATS = ("float32", "float64")
GATHERED = 1 << 23  # bytes at a time: memory does not depend on how many there are
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


class Size(NamedTuple):
    """How one part falls into batches."""

    examples: int
    batches: int
    last_batch: int


class Description(NamedTuple):
    """What batches.json says; validation is never dropped from, whatever `remainder` is."""

    batch_size: int
    remainder: str
    features: int
    classes: int
    image_shape: tuple[int, int]
    train: Size
    validation: Size


def open_batches(folder: str | os.PathLike[str]) -> tuple[Description, Part, Part]:
    """What the batch stage wrote to `folder`: its description, the training part and the validation part.

    Raises
    ------
    InputError : as `open_part` and `read_description`, or if the arrays are not those described
    """
    folder = Path(folder)
    description = read_description(folder / "batches.json")
    parts = open_part(folder / "train"), open_part(folder / "validation")
    for name, part, size in zip(("train", "validation"), parts, description[-2:], strict=True):
        have = (len(part.labels), part.images.shape[1], part.targets.shape[1])
        said = (size.examples, description.features, description.classes)
        if have != said:
            raise InputError(
                f"{folder / name}: (examples, features, classes) are {have}, and in batches.json {said}; "
                "run the batch stage again"
            )
    if parts[0].images.dtype != parts[1].images.dtype:
        raise InputError(f"{folder}: train and validation differ in dtype; run the batch stage again")
    return description, *parts


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


def read_description(path: str | os.PathLike[str]) -> Description:
    """Read and check a batches.json.

    Raises
    ------
    InputError : missing, not JSON, or not what `write_description` could have written
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; run the stage that makes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers = [content[key] for key in ("batch_size", "features", "classes")] + content["image_shape"]
        parts = [content[key][name] for key in ("train", "validation") for name in Size._fields]
        description = Description(
            **{
                **content,
                "image_shape": tuple(content["image_shape"]),
                "train": Size(**content["train"]),
                "validation": Size(**content["validation"]),
            }
        )
        batch_size = description.batch_size
        rows, columns = description.image_shape
        sound = (
            all(type(number) is int for number in numbers + parts)  # no True, no 4.0
            and min(numbers) >= 1
            and min(parts) >= 0
            and description.classes >= 2
            and rows * columns == description.features
            and description.remainder in ("keep", "drop")
            and description.train == size_of(description.train.examples, batch_size, description.remainder)
            and description.validation == size_of(description.validation.examples, batch_size, "keep")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise InputError(f"{path}: damaged, or not written by the batch stage")
    return description


def write_description(path: str | os.PathLike[str], description: Description) -> None:
    """Write `description` as JSON, the same bytes every time."""
    content = description._asdict() | {
        "train": description.train._asdict(),
        "validation": description.validation._asdict(),
    }
    with replacing(path, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def size_of(examples: int, batch_size: int, remainder: str) -> Size:
    """How `examples` fall into batches, the smaller last one kept or dropped."""
    whole, left = divmod(examples, batch_size)
    if remainder == "keep" and left:
        return Size(examples, whole + 1, left)
    return Size(examples, whole, batch_size if whole else 0)


def split(labels: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide examples into those that train and those held out, each class in proportion.

    A class of n examples out of N gives n · `held_out` / N of them, rounded down; the examples still wanted
    come from the classes with the largest remainders (the lower class first among equals). Which examples of
    a class are held out is drawn at random.

    Parameters
    ----------
    labels : (N,), integers

    Returns
    -------
    (train, validation) : rows, both ascending

    Raises
    ------
    InputError : nothing would be left to train on
    """
    if held_out >= len(labels):
        raise InputError(f"{held_out:,} of {len(labels):,} examples held out leave none to train on")
    counts = np.bincount(labels)
    quotas, remainders = np.divmod(counts.astype(np.int64) * held_out, len(labels))
    most = np.argsort(-remainders, kind="stable")[: held_out - quotas.sum()]
    quotas[most] += 1
    random = stream(seed, "held out")
    is_held_out = np.zeros(len(labels), bool)
    for label, quota in enumerate(quotas):
        rows = np.flatnonzero(labels == label)
        is_held_out[random.permutation(rows)[:quota]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def gather(source: str | os.PathLike[str], rows: np.ndarray, destination: str | os.PathLike[str]) -> None:
    """Write the given rows of the array in the file `source`, in the given order, to the file `destination`.

    `source` is a .npy file that `open_part` has accepted. Its rows are read one by one into a small buffer,
    and not through a memory map, of which in the end all pages would be resident.
    """
    array = np.load(source, mmap_mode="r", allow_pickle=False)
    width = array.strides[0]
    chunk = max(1, GATHERED // width)
    buffer = np.empty((min(chunk, len(rows)), *array.shape[1:]), array.dtype)
    raw = memoryview(buffer.reshape(-1).view(np.uint8))
    with (
        open(source, "rb", buffering=0) as file,
        writing_array(destination, array.dtype, (len(rows), *array.shape[1:])) as out,
    ):
        start = os.fstat(file.fileno()).st_size - len(array) * width
        for first in range(0, len(rows), chunk):
            taken = rows[first : first + chunk]
            for place, row in enumerate(taken.tolist()):
                file.seek(start + row * width)
                if file.readinto(raw[place * width : (place + 1) * width]) != width:
                    raise InputError(f"{source}: became shorter while it was read")
            out.append(buffer[: len(taken)])
