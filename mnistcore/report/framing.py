"""A character framed as the data set frames its own: what `predict` and the pad show the network.

Its bounding box is cut out and scaled to fit a box, and it is centred by its centre
of mass. report.js follows `frame` line by line.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistcore.arguments import ArgumentError, Bounds, Checked, NotNegative, check, check_array
from mnistcore.errors import InputError

ENOUGH_CONTRAST = 0.9  # of full contrast; the data sets' own pictures reach it, so they pass unstretched


ROUNDING = 1e-6  # ink is computed, and may be beyond its range by so much
Side = Annotated[int, Bounds(least=1, most=4096)]


@dataclass(frozen=True)
class Frame(Checked):
    """How a data set frames its characters.

    Attributes
    ----------
    shape : rows and columns of a picture
    box : the side of the square, in pixels, that a character's bounding box fits
    centre : the row and column where its centre of mass comes to lie, to the nearest pixel
    brightest : the pixel value of full ink

    Raises
    ------
    ArgumentError : for what is no frame
    """

    shape: tuple[Side, Side]
    box: Side
    centre: NotNegative
    brightest: Annotated[int, Bounds(least=1, most=255)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.box > min(self.shape):
            raise ArgumentError("Frame", ("box",), f"does not fit in a picture of {self.shape}", self.box)


# MNIST's box of 20 and centring by mass: LeCun et al., "Gradient-based learning applied to document
# recognition" (1998), III-A; row and column 14 is where its centres of mass lie. The 8 x 8 digits fill
# their height and lie in the middle.
FRAMES = {
    (28, 28): Frame(shape=(28, 28), box=20, centre=14.0, brightest=255),
    (8, 8): Frame(shape=(8, 8), box=8, centre=3.5, brightest=16),
}


def frame_of(shape: tuple[int, int]) -> Frame:
    """The frame of pictures of this shape; `InputError` when none is known."""
    shape = check(tuple[int, int], shape, "frame_of", "shape")
    if shape not in FRAMES:
        known = " or ".join(f"{rows} x {columns}" for rows, columns in FRAMES)
        raise InputError(
            f"pictures of {shape[0]} x {shape[1]} pixels: no way to frame them is known, only {known}"
        )
    return FRAMES[shape]


def _stretch(ink: np.ndarray) -> np.ndarray:
    """Pale ink to full ink; ink of enough contrast stays as it is."""
    strongest = ink.max()
    return ink if strongest >= ENOUGH_CONTRAST else ink / strongest


def frame(ink: np.ndarray, how: Frame) -> np.ndarray:
    """Cut, scale and centre ink as the data set does.

    The bounding box of all ink is scaled, its aspect kept, to fit `how.box`:
    each new pixel is the mean of the area it covers. Then it is moved by whole
    pixels so that its centre of mass comes nearest to `how.centre`, without
    pushing any of it over the edge.

    Parameters
    ----------
    ink : (height, width), 0 for background to 1

    Returns
    -------
    `how.shape` uint8, 0 to `how.brightest`: a picture as the data set has them

    Raises
    ------
    InputError : when there is no ink
    """
    check(Frame, how, "frame", "how")
    check_array(ink, "frame", "ink", kinds="f", shape=(None, None))
    if ink.size and not (ink.min() >= -ROUNDING and ink.max() <= 1 + ROUNDING):
        raise ArgumentError("frame", ("ink",), f"should be from 0 to 1, is {ink.min():g} to {ink.max():g}")
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if rows.size == 0:
        raise InputError("blank: there is no ink in it")
    glyph = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float64)
    height, width = glyph.shape
    scale = how.box / max(height, width)
    small = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    glyph = _stretch(_coverage(small[0], height) @ glyph @ _coverage(small[1], width).T)

    mass = glyph.sum()
    centre_row = (glyph.sum(axis=1) * np.arange(small[0])).sum() / mass
    centre_column = (glyph.sum(axis=0) * np.arange(small[1])).sum() / mass
    top = _clamp(int(np.floor(how.centre - centre_row + 0.5)), how.shape[0] - small[0])
    left = _clamp(int(np.floor(how.centre - centre_column + 0.5)), how.shape[1] - small[1])
    picture = np.zeros(how.shape, np.uint8)
    picture[top : top + small[0], left : left + small[1]] = np.floor(glyph * how.brightest + 0.5)
    return picture


def _clamp(start: int, last: int) -> int:
    return min(max(start, 0), last)


def _coverage(new: int, old: int) -> np.ndarray:
    """(new, old) shares: row i holds how much of each old pixel lies in new pixel i, summing to 1."""
    edges = np.arange(new + 1) * (old / new)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(old)
    overlap = np.minimum(ends, pixels + 1) - np.maximum(starts, pixels)
    return np.maximum(overlap, 0) * (new / old)
