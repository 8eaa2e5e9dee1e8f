"""Normalisation of each pixel, x' = (x − offset) / scale, fitted on the training images and kept."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, get_args

import numpy as np

from mnistcore.arguments import ArgumentError, Bounds, OneOf, Precision, check, check_array, check_dtype
from mnistcore.arrays import load_arrays, save_arrays
from mnistcore.errors import InputError

METHODS = ("divide", "min-max", "standardize")
Side = Annotated[int, Bounds(least=1, most=65_536)]


@dataclass(frozen=True, eq=False)
class Normalizer:
    """A fitted normalisation; make one with `divide` or `fit`, or `load` a stored one.

    Attributes
    ----------
    method : one of METHODS
    offset, scale : (rows · columns,), of the dtype the normalised images shall have
    image_shape : (rows, columns) of the images it was fitted on

    Raises
    ------
    ArgumentError : for what is no normalisation
    """

    method: str
    offset: np.ndarray
    scale: np.ndarray
    image_shape: tuple[int, int]

    def __post_init__(self) -> None:
        offset = check_array(self.offset, "Normalizer", "offset", kinds="f", shape=(None,))
        scale = check_array(self.scale, "Normalizer", "scale", kinds="f", shape=(None,))
        check(Precision, offset.dtype.name, "Normalizer", "offset", "dtype")
        check(Annotated[str, OneOf(METHODS)], self.method, "Normalizer", "method")
        rows, columns = _shape(self.image_shape, "Normalizer")
        if not rows * columns == len(offset) == len(scale):
            problem = f"{len(offset)} offsets and {len(scale)} scales for {rows} × {columns} pixels"
            raise ArgumentError("Normalizer", ("image_shape",), problem)
        if offset.dtype != scale.dtype:
            raise ArgumentError("Normalizer", ("scale",), f"offset is {offset.dtype}, scale {scale.dtype}")
        if not np.isfinite(offset).all() or not np.isfinite(scale).all() or not (scale > 0).all():
            problem = "should be finite and positive, and offset finite"
            raise ArgumentError("Normalizer", ("scale",), problem)

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Normalise images, (N, rows, columns) or (N, features) of any number type.

        Returns
        -------
        (N, features), C-ordered, of the dtype of `offset`

        Raises
        ------
        InputError : the images have another number of pixels
        """
        rows, columns = self.image_shape
        if not isinstance(images, np.ndarray) or images.dtype.kind not in "fiu" or not images.ndim:
            raise ArgumentError("Normalizer.transform", ("images",), "should be an array of numbers", images)
        if images.shape[1:] not in ((rows, columns), (rows * columns,)):
            raise InputError(
                f"images of shape {images.shape[1:]} for a normalizer of {rows} × {columns} pixels"
            )
        normalised = images.reshape(len(images), rows * columns).astype(self.offset.dtype)
        normalised -= self.offset
        normalised /= self.scale  # a true division: a product with the inverse rounds differently
        return normalised

    def save(self, path: str | os.PathLike[str]) -> None:
        """Store in a .npz file, the same bytes every time."""
        arrays = {
            "method": np.array(self.method),
            "offset": self.offset,
            "scale": self.scale,
            "image_shape": np.array(self.image_shape, np.int64),
        }
        save_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Normalizer":
        """Read a stored normaliser.

        Raises
        ------
        InputError : missing, damaged, or not a normaliser that `save` could have written
        """
        floats = get_args(Precision)
        stored = load_arrays(
            path,
            {
                "method": ("str", ()),
                "offset": (floats, (None,)),
                "scale": (floats, (None,)),
                "image_shape": ("int64", (2,)),
            },
        )
        rows, columns = stored["image_shape"].tolist()
        try:
            return cls(str(stored["method"]), stored["offset"], stored["scale"], (rows, columns))
        except ArgumentError as error:
            raise InputError(f"{path}: {error.line()}") from None


def _shape(shape: tuple[int, int], owner: str) -> tuple[int, int]:
    return check(tuple[Side, Side], shape, owner, "image_shape")


def divide(divisor: float, image_shape: tuple[int, int], dtype: np.typing.DTypeLike) -> Normalizer:
    """The normaliser that divides every pixel by `divisor`.

    Raises
    ------
    InputError : the divisor is not positive, or too large or too small for `dtype`
    """
    rows, columns = _shape(image_shape, "divide")
    features = rows * columns
    dtype = check_dtype(dtype, "divide")
    largest = float(np.finfo(dtype).max)
    divisor = check(float, divisor, "divide", "divisor")
    if not (0 < divisor <= largest and 255 / divisor <= largest):
        raise InputError(
            f"divisor {divisor:g}: should be positive, and 255 divided by it finite in {np.dtype(dtype)}"
        )
    return Normalizer("divide", np.zeros(features, dtype), np.full(features, divisor, dtype), image_shape)


def fit(
    method: str, chunks: Iterable[np.ndarray], image_shape: tuple[int, int], dtype: np.typing.DTypeLike
) -> Normalizer:
    """Fit a normalisation: "divide" by the largest pixel of all, or each pixel for itself "min-max" (to 0 … 1) or
    "standardize" (to mean 0, standard deviation 1).

    The sums are of integers and so exact: the result does not depend on how the images are cut into chunks.

    A pixel that is constant in training has no spread to divide by. It is divided by the spread of all pixels
    together, so that a later image in which it is not constant stays in the usual range.

    Parameters
    ----------
    chunks : the training images, uint8, (n, rows, columns) at a time

    Raises
    ------
    ArgumentError : for another method, images of other shapes or types, or none
    """
    check(Annotated[str, OneOf(METHODS)], method, "fit", "method")
    rows, columns = _shape(image_shape, "fit")
    features, dtype = rows * columns, check_dtype(dtype, "fit")
    count = 0
    low, high = np.full(features, 255, np.int64), np.zeros(features, np.int64)
    total, squares = np.zeros(features, np.int64), np.zeros(features, np.int64)
    for chunk in chunks:
        check_array(chunk, "fit", "chunks", kinds="u", shape=(None, rows, columns))
        if chunk.dtype != "uint8":
            raise ArgumentError("fit", ("chunks",), f"should be uint8, are {chunk.dtype}")
        if not len(chunk):
            continue
        pixels = chunk.reshape(len(chunk), features)
        count += len(pixels)
        np.minimum(low, pixels.min(axis=0), out=low)
        np.maximum(high, pixels.max(axis=0), out=high)
        if method == "standardize":
            total += pixels.sum(axis=0, dtype=np.int64)
            wide = pixels.astype(np.uint16)  # 255² fits
            squares += (wide * wide).sum(axis=0, dtype=np.int64)
    if not count:
        raise ArgumentError("fit", ("chunks",), "hold no images")
    if method == "divide":
        return divide(float(high.max()) or 1.0, image_shape, dtype)
    constant = low == high
    if method == "min-max":
        offset, scale = low.astype(np.float64), (high - low).astype(np.float64)
        whole = float(high.max() - low.min())
    else:
        offset = total / count
        # n² · variance = n · Σx² − (Σx)², exact in Python's integers and rounded once
        scale = np.array([_deviation(count, int(s), int(q)) for s, q in zip(total, squares, strict=True)])
        whole = _deviation(count * features, int(total.sum()), int(squares.sum()))
    scale[constant] = whole or 1.0
    return Normalizer(method, offset.astype(dtype), scale.astype(dtype), image_shape)


def _deviation(count: int, total: int, squares: int) -> float:
    return ((count * squares - total * total) / (count * count)) ** 0.5
