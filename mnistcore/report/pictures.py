"""Pictures that people took or drew of digits: where the ink is in them, and which of it is which digit.

A photograph has uneven light, grain, a ruling, a table behind the paper. So the
paper is told first, from the picture itself (`_paper`), and ink is what differs
from the paper around it. What hangs together is a component; the strips of a table
or a frame at the edges and the specks are dropped, and what stands apart from left
to right is one digit each (`find_digits`). `mnistcore.report.framing` does the rest.
"""

import os
import stat
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from mnistcore.errors import InputError
from mnistcore.report.framing import Frame, frame

# What holds pixels alone: nothing that another program would be started for.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO")
LARGEST = 100_000_000  # pixels; a picture that claims more is refused before it is decoded
WORKING_SIDE = 512  # pixels; larger pictures are averaged down to between this and twice this
DRAWN = 64  # pixels; a picture whose shorter side has no more is taken as it is: no camera made it
FAINTEST = 0.04  # of full contrast; what differs less from the paper is not ink

# Parts of the picture's height: what is smaller is a speck, and what stands free at that size is preferred to
# what touches the edge.
SPECK, FREE = 0.035, 0.05
SMALL = 0.06  # of the area of the largest component; what has less is no part of a digit
CUT = 0.4  # of the contrast of the largest component's ink; where a ruling, mostly paler, is cut off
LOW = 0.45  # of the height of the tallest digit; a lower component is a part of the digit beside it
CLOSE = 0.15  # of the same height; how far apart the two may be
BLOCKS = 48  # the longer side of the picture in which the paper is told


class _Component(NamedTuple):
    """Ink that hangs together: its number among all, its pixels, and the rows and columns it spans."""

    number: int
    area: int
    rows: slice
    columns: slice
    touches_edge: bool

    @property
    def height(self) -> int:
        return self.rows.stop - self.rows.start


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file is of a format that can be decoded, told by its first bytes."""
    if not Path(path).is_file():
        return False
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


def read_digits(path: str | os.PathLike[str], how: Frame) -> list[np.ndarray]:
    """From a picture file to the digits in it, left to right, each as the data set has them: `how.shape` uint8.

    Raises
    ------
    InputError : one line that names the file: none, damaged, too large, or blank
    """
    picture = read_picture(path)
    try:
        return [frame(ink, how) for ink in find_digits(picture)]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Decode the first frame of a picture file, upright (EXIF), a side at most about twice `WORKING_SIDE`.

    Raises
    ------
    InputError : one line, when the file is missing, is not a picture, is damaged, or is absurdly large
    """
    path = Path(path)
    Image.init()  # else only the commonest formats are known
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # a pipe would be waited for
            what = "a folder without a picture" if stat.S_ISDIR(kind) else "not a file, so not a picture"
            raise InputError(f"{path}: {what}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; LARGEST decides here
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > LARGEST:
                    raise InputError(
                        f"{path}: {width:,} x {height:,} pixels are too many; scale it down first"
                    )
                # A large JPEG is decoded at a fraction of its size.
                picture.draft(None, (WORKING_SIDE, WORKING_SIDE))
                picture.load()
                return _smaller(ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
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


def _smaller(picture: Image.Image) -> Image.Image:
    """The picture averaged down; its values must be such that can be, not an index in a palette."""
    factor = max(picture.size) // WORKING_SIDE
    if factor < 2:
        return picture
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    return (picture if picture.mode == "F" else picture.convert("RGBA")).reduce(factor)


def find_digits(picture: Image.Image) -> list[np.ndarray]:
    """Where the pen went, digit by digit from left to right: (height, width) each, 0 for paper to 1 for full ink.

    Ink may be darker than the paper, lighter, or of another colour as bright.

    Raises
    ------
    InputError : blank: nothing stands out from the paper
    """
    colours = _colours(picture)
    if min(colours.shape[:2]) <= DRAWN:
        return [_as_it_is(colours)]
    away = colours - _paper(colours)
    away = _smoothed(away)
    distance = np.sqrt((away**2).mean(axis=2))
    numbers, found = _components(distance > max(0.05, np.median(distance) + 4.5 * _spread(distance)))
    largest = max((one.area for one in found), default=0)
    ink_alone = np.isin(numbers, [one.number for one in found if one.area >= SMALL * largest])
    if not found:
        raise InputError("blank: nothing stands out from the background")
    # The direction in which the ink lies from the paper: for black on white all three channels alike.
    samples = away[ink_alone]
    direction = np.linalg.eigh(samples.T @ samples)[1][:, -1]
    direction *= np.sign((samples @ direction).sum()) / np.abs(direction).sum()
    ink = away @ direction
    full = float(np.percentile(ink[numbers == max(found, key=lambda one: one.area).number], 90))
    noise = _spread(ink)
    numbers, found = _components(ink > max(4 * noise, 0.03, CUT * full))
    if not found:
        raise InputError("blank: nothing stands out from the background")
    strength = ((ink - 2 * noise) / max(full - 2 * noise, 1e-9)).clip(0, 1)
    strength[strength < 0.15] = 0  # what a lossy format and the smoothing leave around strokes
    digits = _digits(found)
    return [
        np.where(
            ndimage.binary_dilation(np.isin(numbers, [one.number for one in parts]), iterations=2),
            strength,
            0,
        )
        for parts in digits
    ]


def _as_it_is(colours: np.ndarray) -> np.ndarray:
    """The ink of a small picture, which is drawn and has no noise: all that differs from its border."""
    grey = colours @ (0.299, 0.587, 0.114)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = float(np.median(border))
    floor = 1.5 * float(np.percentile(np.abs(border - background), 90))
    darker, lighter = np.maximum(background - grey, 0), np.maximum(grey - background, 0)
    dark_on_light = np.maximum(darker - floor, 0).sum() > np.maximum(lighter - floor, 0).sum()
    ink = darker if dark_on_light else lighter
    if ink.max() < max(FAINTEST, floor):
        raise InputError("blank: nothing stands out from the background")
    return np.where(ink > floor, ink, 0.0)


def _colours(picture: Image.Image) -> np.ndarray:
    """Red, green and blue from 0 to 1, (height, width, 3), transparency filled so that the ink shows."""
    if picture.mode.startswith("I") or picture.mode == "F":
        with np.errstate(invalid="ignore"):
            values = np.asarray(picture).astype(np.float64)
        values = np.where(np.isfinite(values), values, 0.0)
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 65535 and picture.mode != "F":
            low, high = 0.0, 65535.0
        grey = (values - low) / (high - low) if high > low else np.zeros(values.shape)
        return np.repeat(grey[..., None], 3, axis=2)
    colours = np.asarray(picture.convert("RGBA")).astype(np.float64) / 255
    colours, alpha = colours[..., :3], colours[..., 3]
    if alpha.min() == 1:
        return colours
    if alpha.max() < FAINTEST:
        raise InputError("blank: it is wholly transparent")
    visible = alpha > 0.5 * alpha.max()
    shades = (colours @ (0.299, 0.587, 0.114))[visible]
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    low, high = np.percentile(shades, [1, 99])
    if high - low > 0.25 and shades.size > 0.75 * box:
        paper = float(np.median(shades))  # a card with a character on it: carry its paper on
    else:
        paper = 0.0 if shades.mean() > 0.5 else 1.0  # strokes alone: put them on their opposite
    return alpha[..., None] * colours + (1 - alpha[..., None]) * paper


def _paper(colours: np.ndarray) -> np.ndarray:
    """What the picture would be without ink, (height, width, 3): light that falls off, and soft shadows.

    Told from the medians of blocks, which strokes hardly move: a cubic surface through those that fit it, and
    where that is not all, the median of what is left around each block.
    """
    height, width, _ = colours.shape
    step = -(-max(height, width) // BLOCKS)
    rows, columns = -(-height // step), -(-width // step)
    whole = np.pad(colours, ((0, rows * step - height), (0, columns * step - width), (0, 0)), mode="edge")
    blocks = np.median(whole.reshape(rows, step, columns, step, 3), axis=(1, 3))
    y, x = (2 * np.mgrid[0:rows, 0:columns] + 1) / np.array([rows, columns])[:, None, None] - 1
    surface = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1).reshape(
        rows * columns, -1
    )
    values = blocks.reshape(-1, 3)
    off = np.abs(values - np.median(values, axis=0))
    fits = np.all(off <= np.maximum(0.35, 3 * np.median(off, axis=0)), axis=1)
    factors = np.zeros((surface.shape[1], 3))
    for _ in range(8):
        factors = np.linalg.lstsq(surface[fits], values[fits], rcond=None)[0]
        off = np.abs(values - surface @ factors).max(axis=1)
        fit_now = off <= max(0.02, 3 * np.median(off[fits]))
        if fit_now.sum() < 0.3 * len(fits) or (fit_now == fits).all():
            break
        fits = fit_now
    smooth = (surface @ factors).reshape(blocks.shape)
    around = max(3, int(0.45 * min(rows, columns))) | 1
    smooth += ndimage.median_filter(blocks - smooth, (around, around, 1), mode="reflect")
    paper = [
        Image.fromarray(channel).resize((columns * step, rows * step), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(smooth.clip(0, 1).astype(np.float32), 2, 0)
    ]
    return np.stack([np.asarray(channel)[:height, :width] for channel in paper], axis=2)


def _spread(values: np.ndarray) -> float:
    """The standard deviation of nearly all values, whatever a few of them are."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _smoothed(away: np.ndarray) -> np.ndarray:
    """Grain averaged out, as far as there is any."""
    grain = _spread(away @ (0.299, 0.587, 0.114))
    width = 0.0 if grain < 0.004 else 1.0 if grain < 0.03 else 1.5
    return ndimage.gaussian_filter(away, (width, width, 0)) if width else away


def _components(mask: np.ndarray) -> tuple[np.ndarray, list[_Component]]:
    """What may be digits in a mask of ink: the number of each pixel's component, and the components."""
    height, width = mask.shape
    mask = _unruled(_unruled(mask).T).T
    numbers = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, structure=np.ones((3, 3)), output=numbers)
    areas = np.bincount(numbers.ravel())
    inside, smallest = [], max(5, SPECK * height)
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        at_top_or_bottom = rows.start == 0 or rows.stop == height
        at_a_side = columns.start == 0 or columns.stop == width
        is_strip = (at_top_or_bottom and wide > 0.5 * width) or (at_a_side and tall > 0.7 * height)
        is_corner = at_top_or_bottom and at_a_side
        if not is_strip and not is_corner and max(tall, wide) >= smallest:
            inside.append(
                _Component(number, int(areas[number]), rows, columns, at_top_or_bottom or at_a_side)
            )
    free = [one for one in inside if not one.touches_edge]
    if any(one.height >= FREE * height for one in free):
        return numbers, free
    return numbers, inside


def _unruled(mask: np.ndarray) -> np.ndarray:
    """The mask without the lines of a ruling: thin, from edge to edge, up to 3° aslant; strokes across them stay."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    outer = (columns < 0.05 * width) | (columns >= 0.95 * width)
    best, lines, place = 0, np.zeros(0, bool), rows
    for slope in np.linspace(-0.06, 0.06, 25):
        at = np.rint(rows - slope * (columns - width / 2)).astype(int).clip(0, height - 1)
        counts, at_edges = np.bincount(at, minlength=height), np.bincount(at[outer], minlength=height)
        long = (counts >= 0.6 * width) & (at_edges >= 0.06 * width)
        score = counts[long].sum()
        if score > best:
            best, lines, place = score, long, at
    if not best:
        return mask
    runs = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, structure=[[0, 1, 0]] * 3, output=runs)  # down the columns
    length = np.bincount(runs.ravel())[runs[rows, columns]]
    thickness = float(np.median(length[lines[place]]))
    if thickness > max(3, 0.025 * height):
        return mask
    beside = ndimage.binary_dilation(lines)
    gone = np.asarray(beside, bool)[place] & (length <= 1.6 * thickness + 1)
    mask = mask.copy()
    mask[rows[gone], columns[gone]] = False
    return mask


def _digits(found: list[_Component]) -> list[list[_Component]]:
    """The components of each digit, left to right; specks dropped."""
    largest = max(one.area for one in found)
    tallest = max(one.height for one in found if one.area >= 0.3 * largest)
    digits: list[list[_Component]] = []
    for one in sorted(found, key=lambda one: one.columns.start):
        if one.area < SMALL * largest:
            continue
        for parts in digits:
            start, stop = min(part.columns.start for part in parts), max(part.columns.stop for part in parts)
            overlap = min(stop, one.columns.stop) - max(start, one.columns.start)
            narrower = min(stop - start, one.columns.stop - one.columns.start)
            if overlap >= 0.3 * narrower or (one.height < LOW * tallest and -overlap < CLOSE * tallest):
                parts.append(one)
                break
        else:
            digits.append([one])
    high = [parts for parts in digits if _span(parts) >= LOW * tallest]
    return high or digits


def _span(parts: list[_Component]) -> int:
    return max(part.rows.stop for part in parts) - min(part.rows.start for part in parts)
