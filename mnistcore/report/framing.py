"""Any picture of a character, framed as the data set frames its own: what `predict` and the pad look at.

The way there: find the ink (`find_ink`), cut its bounding box, scale that to
fit a box, and centre it by its centre of mass (`frame`). The report runs the
second half in the browser; report.js follows `frame` line by line.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from mnistcore.errors import InputError

# What holds pixels alone: nothing that another program would be started for.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO")
LARGEST = 100_000_000  # pixels; a picture that claims more is refused before it is decoded
WORKING_SIDE = 1024  # pixels; larger pictures are averaged down to about this first
FAINTEST = 0.04  # of full contrast; what differs less from the background is not ink
ENOUGH_CONTRAST = 0.9  # of full contrast; the data sets' own pictures reach it, so they pass unstretched


@dataclass(frozen=True)
class Frame:
    """How a data set frames its characters.

    Attributes
    ----------
    shape : rows and columns of a picture
    box : the side of the square, in pixels, that a character's bounding box fits
    centre : the row and column where its centre of mass comes to lie, to the nearest pixel
    brightest : the pixel value of full ink
    """

    shape: tuple[int, int]
    box: int
    centre: float
    brightest: int


# MNIST's box of 20 and centring by mass: LeCun et al., "Gradient-based learning applied to document
# recognition" (1998), III-A; row and column 14 is where its centres of mass lie. The 8 x 8 digits fill
# their height and lie in the middle.
FRAMES = {
    (28, 28): Frame(shape=(28, 28), box=20, centre=14.0, brightest=255),
    (8, 8): Frame(shape=(8, 8), box=8, centre=3.5, brightest=16),
}


def frame_of(shape: tuple[int, int]) -> Frame:
    """The frame of pictures of this shape; `InputError` when none is known."""
    shape = (int(shape[0]), int(shape[1]))
    if shape not in FRAMES:
        known = " or ".join(f"{rows} x {columns}" for rows, columns in FRAMES)
        raise InputError(
            f"pictures of {shape[0]} x {shape[1]} pixels: no way to frame them is known, only {known}"
        )
    return FRAMES[shape]


def read_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Decode the first frame of a picture file, upright (EXIF), about `WORKING_SIDE` pixels at most a side.

    Raises
    ------
    InputError : one line, when the file is missing, is not a picture, is damaged, or is absurdly large
    """
    path = Path(path)
    Image.init()  # else only the commonest formats are known
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; LARGEST decides here
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > LARGEST:
                    raise InputError(
                        f"{path}: {width:,} x {height:,} pixels are too many; scale it down first"
                    )
                picture.draft(
                    None, (WORKING_SIDE, WORKING_SIDE)
                )  # a large JPEG is decoded at a fraction of its size
                picture.load()
                return _smaller(ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a picture") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read") from None
    except Image.UnidentifiedImageError:
        what = "empty" if path.is_file() and path.stat().st_size == 0 else "not a picture that can be read"
        raise InputError(f"{path}: {what}; give a PNG, a JPEG or the like") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: too many pixels; scale it down first") from None
    except InputError:
        raise
    except Exception as error:  # what a decoder may raise on a damaged file is not told anywhere
        raise InputError(f"{path}: damaged, it can't be decoded ({' '.join(str(error).split())})") from None


def read_drawing(path: str | os.PathLike[str], how: Frame) -> np.ndarray:
    """The whole way from a picture file to a picture as the data set has them: `how.shape` uint8.

    Raises
    ------
    InputError : one line that names the file
    """
    picture = read_picture(path)
    try:
        return frame(find_ink(picture), how)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _smaller(picture: Image.Image) -> Image.Image:
    """The picture averaged down; its values must be such that can be, not an index in a palette."""
    factor = max(picture.size) // WORKING_SIDE
    if factor < 2:
        return picture
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    return (picture if picture.mode == "F" else picture.convert("RGBA")).reduce(factor)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file is of a format that can be decoded, told by its first bytes."""
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=FORMATS).close()
    except Image.UnidentifiedImageError:
        return False
    except Exception:  # it is one, with something wrong: reading it tells what
        return True
    return True


def find_ink(picture: Image.Image) -> np.ndarray:
    """Where the pen went: 0 for background to 1 for full ink.

    Ink is what differs from the background, and the background is what the
    picture's border is made of; so it may be dark on light or light on dark.
    Strokes on transparency are found by their contrast to what they are put on.
    What differs no more than the border itself does is noise, not ink.

    Returns
    -------
    (height, width) float64

    Raises
    ------
    InputError : when nothing stands out from the background
    """
    grey = _grey(picture)
    background, noise = _border(grey)
    if (
        noise > FAINTEST and min(grey.shape) > 200
    ):  # a photograph: take the specks out, they'd widen the bounding box
        grey = np.asarray(
            Image.fromarray(grey.astype(np.float32)).filter(ImageFilter.MedianFilter(5)), np.float64
        )
        background, noise = _border(grey)
    floor = 1.5 * noise
    darker, lighter = np.maximum(background - grey, 0), np.maximum(grey - background, 0)
    dark_on_light = np.maximum(darker - floor, 0).sum() > np.maximum(lighter - floor, 0).sum()
    ink = darker if dark_on_light else lighter
    if ink.max() < max(FAINTEST, floor):
        raise InputError("blank: nothing stands out from the background")
    if min(grey.shape) > 64:  # the ripples that JPEG leaves around strokes would widen the bounding box, too
        floor = max(floor, 0.1 * float(ink.max()))
    return _stretch(np.where(ink > floor, ink, 0.0))


def _border(grey: np.ndarray) -> tuple[float, float]:
    """The border's median, and how far from it nearly all of the border stays."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = float(np.median(border))
    return background, float(np.percentile(np.abs(border - background), 90))


def _grey(picture: Image.Image) -> np.ndarray:
    """Luminance from 0 to 1 as (height, width) float64, transparency filled so that the ink shows."""
    if picture.mode.startswith("I") or picture.mode == "F":
        with np.errstate(invalid="ignore"):
            values = np.asarray(picture).astype(np.float64)
        values = np.where(np.isfinite(values), values, 0.0)
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 65535 and picture.mode != "F":
            low, high = 0.0, 65535.0
        return (values - low) / (high - low) if high > low else np.zeros(values.shape)
    red, green, blue, alpha = np.moveaxis(np.asarray(picture.convert("RGBA")).astype(np.float64) / 255, 2, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    if alpha.min() == 1:
        return grey
    if alpha.max() < FAINTEST:
        raise InputError("blank: it is wholly transparent")
    visible = alpha > 0.5 * alpha.max()
    shades = grey[visible]
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    low, high = np.percentile(shades, [1, 99])
    if high - low > 0.25 and shades.size > 0.75 * box:
        paper = float(np.median(shades))  # a card with a character on it: carry its paper on
    else:
        paper = 0.0 if shades.mean() > 0.5 else 1.0  # strokes alone: put them on their opposite
    return alpha * grey + (1 - alpha) * paper


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
