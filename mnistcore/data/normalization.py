"""Normalisation of each pixel, x' = (x − offset) / scale, fitted on the training images and kept."""

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mnistcore.arrays import load_arrays
from mnistcore.errors import InputError
from mnistcore.files import replacing

METHODS = ("divide", "min-max", "standardize")


class Normalizer(NamedTuple):
    """A fitted normalisation; make one with `divide` or `fit`, or `load` a stored one.

    Attributes
    ----------
    method : one of METHODS
    offset, scale : (rows · columns,), of the dtype the normalised images shall have
    image_shape : (rows, columns) of the images it was fitted on
    """

    method: str
    offset: np.ndarray
    scale: np.ndarray
    image_shape: tuple[int, int]

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
        with replacing(path) as file:
            np.savez(
                file,
                method=np.array(self.method),
                offset=self.offset,
                scale=self.scale,
                image_shape=np.array(self.image_shape, np.int64),
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Normalizer":
        """Read a stored normaliser.

        Raises
        ------
        InputError : missing, damaged, or not a normaliser that `save` could have written
        """
        floats = ("float32", "float64")
        stored = load_arrays(
            path,
            {
                "method": ("str", ()),
                "offset": (floats, (None,)),
                "scale": (floats, (None,)),
                "image_shape": ("int64", (2,)),
            },
        )
        method, offset, scale = str(stored["method"]), stored["offset"], stored["scale"]
        rows, columns = (int(length) for length in stored["image_shape"])
        if method not in METHODS:
            raise InputError(f"{path}: method {method!r} is none of {', '.join(METHODS)}")
        if rows < 1 or columns < 1 or not rows * columns == len(offset) == len(scale):
            raise InputError(
                f"{path}: {len(offset)} offsets and {len(scale)} scales for {rows} × {columns} pixels"
            )
        if offset.dtype != scale.dtype:
            raise InputError(f"{path}: offset is {offset.dtype}, scale {scale.dtype}")
        if not np.isfinite(offset).all() or not np.isfinite(scale).all() or not (scale > 0).all():
            raise InputError(f"{path}: offsets should be finite, scales finite and positive")
        return cls(method, offset, scale, (rows, columns))


def divide(divisor: float, image_shape: tuple[int, int], dtype: np.typing.DTypeLike) -> Normalizer:
    """The normaliser that divides every pixel by `divisor`.

    Raises
    ------
    InputError : the divisor is not positive, or too large or too small for `dtype`
    """
    features = image_shape[0] * image_shape[1]
    largest = float(np.finfo(dtype).max)
    if not (0 < divisor <= largest and 255 / divisor <= largest):
        raise InputError(
            f"divisor {divisor:g}: should be positive, and 255 divided by it finite in {np.dtype(dtype)}"
        )
    return Normalizer("divide", np.zeros(features, dtype), np.full(features, divisor, dtype), image_shape)


def fit(
    method: str, chunks: Iterable[np.ndarray], image_shape: tuple[int, int], dtype: np.typing.DTypeLike
) -> Normalizer:
    """Fit "min-max" (to 0 … 1) or "standardize" (to mean 0, standard deviation 1), each pixel for itself.

    The sums are of integers and so exact: the result does not depend on how the images are cut into chunks.

    A pixel that is constant in training has no spread to divide by. It is divided by the spread of all pixels
    together, so that a later image in which it is not constant stays in the usual range.

    Parameters
    ----------
    chunks : the training images, uint8, (n, rows, columns) at a time
    """
    features = image_shape[0] * image_shape[1]
    count = 0
    low, high = np.full(features, 255, np.int64), np.zeros(features, np.int64)
    total, squares = np.zeros(features, np.int64), np.zeros(features, np.int64)
    for chunk in chunks:
        pixels = chunk.reshape(len(chunk), features)
        count += len(pixels)
        np.minimum(low, pixels.min(axis=0), out=low)
        np.maximum(high, pixels.max(axis=0), out=high)
        if method == "standardize":
            total += pixels.sum(axis=0, dtype=np.int64)
            wide = pixels.astype(np.uint16)  # 255² fits
            squares += (wide * wide).sum(axis=0, dtype=np.int64)
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
