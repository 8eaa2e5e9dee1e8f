"""Augmentation: each image of a batch is moved, turned, stretched and bent a little, by its own random draw.

Training calls it on the images of a batch before the forward pass, so the
network never meets the same image twice. The labels stay.

The output pixel at p = (x, y) takes its value from the place

    q(p) = c + A^-1 (p - c - t) + e(p)

of the input, where c is the centre of the image; A = rotation * shear * scaling
and t is the translation, drawn per image; e is a smooth random field (Simard,
Steinkraus and Platt, 2003: "Best Practices for Convolutional Neural Networks
Applied to Visual Document Analysis"). Between pixels the value is bilinear;
outside the image it is that of the nearest edge.

Simard et al. draw uniform noise at every pixel and blur it with a Gaussian.
Blurred noise has no detail finer than the Gaussian's width, so here the noise is
drawn on a lattice of that spacing, and the blur spreads it over the pixels. The
blur is separable, and so is an affine map, so that one pair of matrix products
gives all of q for every image:

    q = B_y C B_x'    with B = [Gaussians at the lattice points | 1 | p - c]

where C holds an image's random coefficients.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from mnistcore.arguments import ArgumentError, Bounds, Checked, Part, check, check_dtype

# Images are worked in chunks of about this many pixels (64 images of MNIST): small enough for a core's cache,
# large enough that NumPy's calls cost little beside their work. Another value makes other bits.
CHUNK_PIXELS = 50_176


Pixels = Annotated[float, Bounds(least=0, most=1000)]
Side = Annotated[int, Bounds(least=1, most=4096)]


@dataclass(frozen=True)
class Augmentation(Checked):
    """How far images may be distorted; zero switches that distortion off.

    A length of None follows the images: the lengths that suit MNIST's 28 × 28, scaled to their shorter side.

    Parameters
    ----------
    rotation_degrees : rotations are uniform in ±rotation_degrees
    scale : height and width are each multiplied by a factor uniform in 1 ± scale; below 1
    shear : sideways shift per pixel of height, uniform in ±shear
    translation_pixels : shifts down and to the right are each uniform in ±translation_pixels; None: side / 56
    elastic_pixels : standard deviation of the elastic displacement of a pixel, in each direction;
        None: side / 28
    elastic_smoothness : width (standard deviation, in pixels) of the Gaussian that smooths the elastic field;
        None: side / 7

    Raises
    ------
    ArgumentError : for a value that is negative, not finite, or makes no sense
    """

    rotation_degrees: Annotated[float, Bounds(least=0, most=360)] = 0.0
    scale: Part = 0.0
    shear: Annotated[float, Bounds(least=0, most=10)] = 0.0
    translation_pixels: Pixels | None = 0.0
    elastic_pixels: Pixels | None = 0.0
    elastic_smoothness: Annotated[float, Bounds(above=0, most=1000)] | None = None

    def for_images(self, image_shape: tuple[int, int]) -> "Augmentation":
        """The same with every length in pixels of such images."""
        translation, elastic, smoothness = self.lengths(image_shape)
        return replace(
            self, translation_pixels=translation, elastic_pixels=elastic, elastic_smoothness=smoothness
        )

    def lengths(self, image_shape: tuple[int, int]) -> tuple[float, float, float]:
        """Of translation, elastic displacement and its smoothness, in pixels of such images."""
        side = min(image_shape)
        return (
            side / 56 if self.translation_pixels is None else self.translation_pixels,
            side / 28 if self.elastic_pixels is None else self.elastic_pixels,
            side / 7 if self.elastic_smoothness is None else self.elastic_smoothness,
        )


class Augmenter:
    """Distorts batches of images; owns every array it needs, so one instance serves one shard.

    Parameters
    ----------
    settings : how far images may be distorted
    image_shape : rows and columns of an image
    dtype : float32 or float64, of the images

    Raises
    ------
    ArgumentError : for images of fewer than two rows or columns
    """

    def __init__(
        self, settings: Augmentation, image_shape: tuple[int, int], dtype: np.typing.DTypeLike
    ) -> None:
        settings = check(Augmentation, settings, "Augmenter", "settings")
        image_shape = check(tuple[Side, Side], image_shape, "Augmenter", "image_shape")
        if min(image_shape) < 2:
            shape = " x ".join(map(str, image_shape))
            raise ArgumentError(
                "Augmenter", ("image_shape",), f"needs images of at least 2 x 2 pixels, not of {shape}"
            )
        self.settings = settings
        self._translation, elastic_pixels, smoothness = settings.lengths(image_shape)
        self.rows, self.columns = rows, columns = image_shape
        dtype = check_dtype(dtype, "Augmenter")
        elastic = elastic_pixels > 0
        row_blur, self._row_basis = _basis(rows, smoothness, elastic, dtype)
        # A uniform draw of width 1 has variance 1/12.
        self._row_basis[:, :row_blur] *= math.sqrt(12) * elastic_pixels
        column_blur, column_basis = _basis(columns, smoothness, elastic, dtype)
        self._column_basis = np.ascontiguousarray(column_basis.T)
        self._lattice = row_blur, column_blur

        chunk = self._chunk = max(1, CHUNK_PIXELS // (rows * columns))
        pixels = chunk * rows * columns
        self._noise = np.empty(chunk * 2 * row_blur * column_blur, dtype)
        self._coefficients = np.empty((row_blur + 2) * 2 * chunk * (column_blur + 2), dtype)
        self._half = np.empty((row_blur + 2) * 2 * chunk * columns, dtype)
        self._places = np.empty(2 * pixels, dtype)
        self._corners = np.empty(2 * pixels, dtype)
        self._indices = np.empty(pixels, np.intp)
        self._neighbours = np.empty(4 * pixels, dtype)
        self._values = np.empty(4 * pixels, dtype)
        # The flat index of each image's first pixel; (row, image, column) as all arrays of a chunk.
        starts = np.arange(chunk, dtype=dtype)[:, None] * (rows * columns)
        self._starts = np.ascontiguousarray(np.broadcast_to(starts, (rows, chunk, columns)))
        # The last place keeps just below the edge, so that its lower and right neighbours exist.
        self._last = [np.nextafter(dtype.type(size - 1), dtype.type(0)) for size in image_shape]

    def __call__(self, images: np.ndarray, generator: np.random.Generator, out: np.ndarray) -> np.ndarray:
        """Write a distorted copy of each image to `out`.

        Parameters
        ----------
        images : (n, rows * columns), C-contiguous, of the instance's dtype
        generator : where the random draws come from
        out : like `images`, and not overlapping it

        Returns
        -------
        out
        """
        for start in range(0, len(images), self._chunk):
            stop = start + self._chunk
            self._distort(images[start:stop], generator, out[start:stop])
        return out

    def places(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Draw where `count` images (at most a chunk) are sampled: q(p) of the module's formula.

        Returns
        -------
        (rows, 2, count, columns): the row (0) and the column (1) in the input of each output pixel
        """
        row_blur, column_blur = self._lattice
        coefficients = _first(self._coefficients, row_blur + 2, 2, count, column_blur + 2)
        self._draw(coefficients, generator)
        half = _first(self._half, row_blur + 2, 2, count, self.columns)
        places = _first(self._places, self.rows, 2, count, self.columns)
        lines = coefficients.reshape(-1, column_blur + 2)
        np.dot(lines, self._column_basis, out=half.reshape(-1, self.columns))
        np.dot(self._row_basis, half.reshape(row_blur + 2, -1), out=places.reshape(self.rows, -1))
        return places

    def _draw(self, coefficients: np.ndarray, generator: np.random.Generator) -> None:
        """Fill C of the formula for each image, (lattice rows + 2, 2, images, lattice columns + 2)."""
        row_blur, _, count, column_blur = coefficients.shape
        row_blur, column_blur = row_blur - 2, column_blur - 2
        settings = self.settings
        ranges = (math.radians(settings.rotation_degrees), settings.scale, settings.scale, settings.shear,
                  self._translation, self._translation)  # fmt: skip
        draws = generator.random((6, count))
        draws -= 0.5
        draws *= 2 * np.array(ranges)[:, None]
        angle, taller, wider, shear, down, right = draws
        cosine, sine = np.cos(angle), np.sin(angle)
        taller += 1
        wider += 1
        # A maps x to the right and y down; its inverse undoes rotation, shear and scaling in turn.
        x_by_x, x_by_y = (cosine + shear * sine) / wider, (sine - shear * cosine) / wider
        y_by_x, y_by_y = -sine / taller, cosine / taller

        coefficients[row_blur:] = 0
        coefficients[:row_blur, :, :, column_blur:] = 0
        one, slope = -2, -1
        coefficients[one, 0, :, one] = (self.rows - 1) / 2 - y_by_x * right - y_by_y * down
        coefficients[one, 0, :, slope] = y_by_x
        coefficients[slope, 0, :, one] = y_by_y
        coefficients[one, 1, :, one] = (self.columns - 1) / 2 - x_by_x * right - x_by_y * down
        coefficients[one, 1, :, slope] = x_by_x
        coefficients[slope, 1, :, one] = x_by_y
        if self._noise.size:
            noise = _first(self._noise, row_blur, 2, count, column_blur)
            generator.random(out=noise, dtype=noise.dtype)
            np.subtract(noise, 0.5, out=coefficients[:row_blur, :, :, :column_blur])

    def _distort(self, images: np.ndarray, generator: np.random.Generator, out: np.ndarray) -> None:
        """Sample at most a chunk of images where `places` says, bilinearly."""
        rows, columns, count = self.rows, self.columns, len(images)
        places = self.places(count, generator)
        if rows == columns:
            np.clip(places, 0, self._last[0], out=places)
        else:
            for axis in range(2):
                np.clip(places[:, axis], 0, self._last[axis], out=places[:, axis])
        corners = _first(self._corners, *places.shape)
        np.floor(places, out=corners)
        places -= corners
        down, right = places[:, 0], places[:, 1]

        index = corners[:, 0]
        index *= columns
        index += corners[:, 1]
        index += self._starts[:, :count]
        indices = _first(self._indices, *index.shape)
        np.copyto(indices, index, casting="unsafe")  # exact: whole numbers below 2**24

        # One copy of the images per corner of a square of four pixels, each beginning at that corner,
        # so that the same indices find all four values: [left or right, upper or lower, ...].
        from_corner = 2, 2, images.size - columns - 1
        step = images.itemsize
        neighbours = _first(self._neighbours, *from_corner)
        neighbours[:] = np.ndarray(from_corner, images.dtype, images, strides=(step, columns * step, step))
        values = _first(self._values, 2, 2, *index.shape)
        # No index is out of bounds; "wrap" is NumPy's fastest way to make sure.
        np.take(neighbours, indices, axis=2, out=values, mode="wrap")

        value, change = values
        change -= value
        change *= right
        value += change
        upper, lower = value
        lower -= upper
        lower *= down
        np.add(upper, lower, out=out.reshape(count, rows, columns).transpose(1, 0, 2))


def _basis(size: int, smoothness: float, elastic: bool, dtype: np.dtype) -> tuple[int, np.ndarray]:
    """The number of lattice points along an axis, and B of the module's formula, (size, points + 2).

    The Gaussians at each pixel are scaled to a sum of squares of one, so that
    noise of variance 1 makes a field of variance 1 everywhere, at the borders too.
    """
    pixels = np.arange(size, dtype=np.float64)
    points = min(size, math.ceil(min(size, (size - 1) / smoothness)) + 1) if elastic else 0
    lattice = np.linspace(0, size - 1, points)
    with np.errstate(over="ignore"):  # far from a very narrow Gaussian: exp(-inf) = 0
        blur = np.exp(-0.5 * ((pixels[:, None] - lattice) / smoothness) ** 2)
    blur /= np.sqrt((blur**2).sum(axis=1, keepdims=True)) if elastic else 1
    line = np.stack([np.ones(size), pixels - (size - 1) / 2], axis=1)
    return points, np.concatenate([blur, line], axis=1).astype(dtype)


def _first(buffer: np.ndarray, *shape: int) -> np.ndarray:
    """The beginning of a flat buffer as a contiguous array of the given shape."""
    return buffer[: math.prod(shape)].reshape(shape)
