"""The training images as batches: some held out, the rest shuffled, in memory-mappable arrays.

A folder of batches holds `train` and `validation`, each with images.npy, labels.npy
and targets.npy, and batches.json. Batch k of size B is rows k·B to (k+1)·B of those
arrays, contiguous. All examples are in the arrays; batches.json says how many
batches an epoch has, with the smaller last one kept or dropped.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from mnistcore.arguments import ArgumentError, Bounds, Checked, Count, Whole, check, check_array
from mnistcore.arrays import writing_array
from mnistcore.data.parts import Part, open_part
from mnistcore.errors import InputError
from mnistcore.files import read_json, replacing

Remainder = Literal["keep", "drop"]
GATHERED = 1 << 23  # bytes at a time: memory does not depend on how many there are


@dataclass(frozen=True)
class Size(Checked):
    """How one part falls into batches."""

    examples: Whole
    batches: Whole
    last_batch: Whole


@dataclass(frozen=True)
class BatchesDescription(Checked):
    """What batches.json says, field by field; validation is never dropped from, whatever `remainder` is.

    Raises
    ------
    ArgumentError : for numbers that do not go together
    """

    batch_size: Count
    remainder: Remainder
    features: Count
    classes: Annotated[int, Bounds(least=2)]
    image_shape: tuple[Count, Count]
    train: Size
    validation: Size

    def __post_init__(self) -> None:
        super().__post_init__()
        rows, columns = self.image_shape
        if rows * columns != self.features:
            raise ArgumentError("BatchesDescription", ("image_shape",), f"not of {self.features} features")
        remainders: dict[str, Remainder] = {"train": self.remainder, "validation": "keep"}
        for name, remainder in remainders.items():
            size = getattr(self, name)
            if size != size_of(size.examples, self.batch_size, remainder):
                raise ArgumentError(
                    "BatchesDescription", (name,), f"not what batches of {self.batch_size} make"
                )


def open_batches(folder: str | os.PathLike[str]) -> tuple[BatchesDescription, Part, Part]:
    """What the batch stage wrote to `folder`: its description, the training part and the validation part.

    Raises
    ------
    InputError : as `open_part` and `read_batches_description`, or if the arrays are not those described
    """
    folder = Path(folder)
    description = read_batches_description(folder / "batches.json")
    parts = open_part(folder / "train"), open_part(folder / "validation")
    sizes = description.train, description.validation
    for name, part, size in zip(("train", "validation"), parts, sizes, strict=True):
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


def read_batches_description(path: str | os.PathLike[str]) -> BatchesDescription:
    """Read and check a batches.json.

    Raises
    ------
    InputError : missing, not JSON, or not what `write_batches_description` could have written
    """
    content = read_json(path, "the batch stage")
    try:
        sizes = {name: Size(**content[name]) for name in ("train", "validation")}
        return BatchesDescription(**content | sizes)
    except (KeyError, TypeError, ArgumentError):
        raise InputError(f"{path}: damaged, or not written by the batch stage") from None


def write_batches_description(path: str | os.PathLike[str], description: BatchesDescription) -> None:
    """Write `description` as JSON, the same bytes every time."""
    check(BatchesDescription, description, "write_batches_description", "description")
    with replacing(path, "w") as file:
        json.dump(asdict(description), file, indent=2)
        file.write("\n")


def size_of(examples: int, batch_size: int, remainder: Remainder) -> Size:
    """How `examples` fall into batches, the smaller last one kept or dropped.

    Raises
    ------
    InputError : for numbers or a `remainder` that cannot be
    """
    examples = check(Whole, examples, "size_of", "examples")
    batch_size = check(Count, batch_size, "size_of", "batch_size")
    check(Remainder, remainder, "size_of", "remainder")
    whole, left = divmod(examples, batch_size)
    if remainder == "keep" and left:
        return Size(examples, whole + 1, left)
    return Size(examples, whole, batch_size if whole else 0)


def gather(source: str | os.PathLike[str], rows: np.ndarray, destination: str | os.PathLike[str]) -> None:
    """Write the given rows of the array in the file `source`, in the given order, to the file `destination`.

    `source` is a .npy file that `open_part` has accepted. Its rows are read one by one into a small buffer,
    and not through a memory map, of which in the end all pages would be resident.

    Raises
    ------
    InputError : for a row that `source` does not have
    """
    try:
        array = np.load(source, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        raise InputError(f"{source}: not found, or not a .npy file; run the stage that makes it") from None
    if not array.ndim or not array.flags.c_contiguous:
        raise InputError(f"{source}: {array.ndim} dimensions, or not in C order; run the stage that makes it")
    check_array(rows, "gather", "rows", kinds="iu", shape=(None,))
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(array):
        problem = f"should be from 0 to {len(array) - 1}, are {rows.min()} to {rows.max()}"
        raise ArgumentError("gather", ("rows",), problem)
    width = array.strides[0]
    chunk = max(1, GATHERED // width)
    buffer = np.empty((min(chunk, len(rows)), *array.shape[1:]), array.dtype)
    raw = buffer.reshape(-1).view(np.uint8).data
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
