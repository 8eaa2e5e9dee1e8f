"""Whether a picture is like those a network was trained on, or another mark: a letter, a cross, a scribble.

A network that tells ten digits apart takes anything for one of them, often with confidence. Its hidden layers see
more: for each class, Fisher's linear discriminant there tells images read as it from random strokes read as it.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnistcore.arrays import load_arrays, save_arrays
from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.network import Network
from mnistcore.report.framing import FRAMES, Frame
from mnistcore.streams import stream

EXAMPLES = 20_000  # training images to fit it, and as many marks
HELD_OUT = 10_000  # further training images, which choose the threshold
ALARMS = 0.018  # of those other images are called unfamiliar
UNITS = 2048  # of the hidden layers at most, the last ones
FEWEST = 10  # images and marks; a class with fewer finds nothing unfamiliar

MANY = (0.08, 0.34, 0.3, 0.18, 0.1)  # shares of the marks of one stroke, of two, ...
STROKES, POINTS = 14, 25  # of a mark at most; of a stroke
PART = 500  # marks drawn at a time, which fit the processor's cache
THINNEST, THICKEST = 0.08, 0.22  # of the box: the pen's width


@dataclass(frozen=True)
class Familiarity:
    """A linear discriminant for each class.

    Attributes
    ----------
    weights : (classes, units) float32, of the hidden units
    bias : (classes,) float32: above zero, a picture read as that class is unfamiliar
    network : the SHA-256 of the parameters of the network it belongs to
    """

    weights: np.ndarray
    bias: np.ndarray
    network: str

    def score(self, network: Network, images: np.ndarray) -> np.ndarray:
        """How unlike the training images these are, (N,): unfamiliar above zero. `images` are normalised."""
        hidden, read = _hidden(network, images)
        return (hidden * self.weights[read]).sum(axis=1) + self.bias[read]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file that `load` reads, whole or not at all."""
        save_arrays(path, {"weights": self.weights, "bias": self.bias, "network": np.array(self.network)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network) -> "Familiarity":
        """Read what `save` wrote.

        Raises
        ------
        InputError : if it is not such a file, whole, and of this very network
        """
        wanted = {"weights": ("float32", (None, None)), "bias": ("float32", (None,)), "network": ("str", ())}
        stored = load_arrays(Path(path), wanted)
        if str(stored["network"]) != digest(network):
            raise InputError(f"{path}: is of another network than models/model.npz; run plot again")
        return cls(stored["weights"], stored["bias"], str(stored["network"]))


def fit(network: Network, normalizer: Normalizer, images: np.ndarray) -> Familiarity:
    """Fit the discriminants to the first training images, the threshold to the ones after them.

    A class's discriminant is C⁻¹ (m₁ − m₀), with the means of the marks and of the images read as it, and C the sum
    of their covariances, shrunk half-way to a multiple of the identity (Fisher, "The use of multiple measurements in
    taxonomic problems", 1936; Ledoit and Wolf, 2004, for the shrinkage). Its values are set in standard deviations
    of the images', so that one threshold serves all classes. Where no way is known to frame a mark as the data set
    would, nothing is unfamiliar.

    Parameters
    ----------
    images : (N, features), normalised training images; a part of them is used
    """
    how = FRAMES.get(normalizer.image_shape)
    fitted = min(EXAMPLES, len(images) // 2)
    seen, read = _hidden(network, np.asarray(images[:fitted]))
    if how is None:
        nothing = np.zeros((network.classes, seen.shape[1]), np.float32)
        return Familiarity(nothing, np.full(network.classes, -1, np.float32), digest(network))
    pictures = _in_all_ways(marks(-(-max(fitted, FEWEST) // 4), how, stream(0, "marks")), how)
    marked, taken = _hidden(network, normalizer.transform(pictures))
    weights = np.zeros((network.classes, seen.shape[1]))
    bias = np.full(network.classes, -1.0)
    for name in range(network.classes):
        one, other = seen[read == name], marked[taken == name]
        if min(len(one), len(other)) < FEWEST:
            continue
        covariance = _covariance(one) + _covariance(other)
        covariance[np.diag_indices_from(covariance)] += max(np.trace(covariance) / len(covariance), 1e-12)
        direction = np.linalg.solve(
            covariance, other.mean(axis=0, dtype=np.float64) - one.mean(axis=0, dtype=np.float64)
        )
        if not np.isfinite(direction).all():  # the network's values are beyond what a float holds
            continue
        values = one @ direction
        deviation = float(values.std()) or 1.0
        weights[name], bias[name] = direction / deviation, -values.mean() / deviation
    found = Familiarity(weights.astype(np.float32), bias.astype(np.float32), digest(network))
    others = np.asarray(images[fitted : fitted + HELD_OUT])
    scores = found.score(network, others)
    if len(others) and np.isfinite(scores).all():
        bias -= max(np.quantile(scores, 1 - ALARMS), 0)
    return Familiarity(found.weights, bias.astype(np.float32), found.network)


def _covariance(values: np.ndarray) -> np.ndarray:
    """(n, units) to (units, units) float64."""
    centred = values - values.mean(axis=0)
    return (centred.T @ centred).astype(np.float64) / len(values)


def _hidden(network: Network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The activations of the hidden units side by side, (N, units), and the class that is read, (N,).

    Without a hidden layer, those of the input.
    """
    values, parts = images, []
    for layer in network.layers:
        parts.append(values)
        values = values @ layer.weights
        if layer.biases is not None:
            values += layer.biases
        ACTIVATIONS[layer.dense.activation](values)
    return np.concatenate(parts[1:] or parts, axis=1)[:, -UNITS:], values.argmax(axis=1)


def digest(network: Network) -> str:
    """The SHA-256 of a network's parameters."""
    return hashlib.sha256(np.ascontiguousarray(network.parameters).tobytes()).hexdigest()


def marks(count: int, how: Frame, random: np.random.Generator) -> np.ndarray:
    """Pictures of random strokes, framed as the data set's: (count, rows, columns) uint8.

    Each has one to five strokes, or in a scribble many more, straight or bent, most of them beginning on one before,
    some crossing it: so there are crosses, hooks, forks and loops, as in letters and signs.
    """
    box = np.stack([random.uniform(0.5, 1, count), np.ones(count)], axis=1)
    along = np.linspace(0, 1, POINTS)[:, None]
    every, wild = (
        np.arange(count),
        random.random((count, 1)) < 0.25,
    )  # the wild ones go on and on, to anywhere
    strokes = np.empty((count, STROKES, POINTS, 2))
    for number in range(STROKES):
        start, end = _corners(random, count), _corners(random, count)
        end = np.where(wild, random.random((count, 2)), end)
        if number:
            before = strokes[every, random.integers(number, size=count)]
            ends = (POINTS - 1) * random.integers(2, size=count)
            where = np.where(random.random(count) < 0.5, random.integers(POINTS, size=count), ends)
            start = np.where(random.random((count, 1)) < 0.8, before[every, where], start)
            start = np.where(wild, strokes[:, number - 1, -1], start)
        across = ~wild & (random.random((count, 1)) < 0.3)
        start = start + np.where(across, random.uniform(0, 0.8, (count, 1)), 0) * (start - end)
        bend = (end - start)[:, ::-1] * [1, -1] * random.normal(0, 0.5, (count, 1))
        middle = (start + end) / 2 + np.where(random.random((count, 1)) < 0.6, 0, bend)
        a, b, c = (point[:, None] for point in (start, middle, end))
        strokes[:, number] = (1 - along) ** 2 * a + 2 * along * (1 - along) * b + along**2 * c
    strokes *= box[:, None, None]
    angle = random.normal(0, 0.1, count)
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=-1).reshape(
        -1, 1, 2, 2
    )
    many = np.where(
        wild[:, 0], random.integers(3, STROKES + 1, count), random.choice(len(MANY), count, p=MANY) + 1
    )
    pens = random.uniform(THINNEST, THICKEST, count) * how.box
    strokes = strokes @ turn
    parts = [slice(start, start + PART) for start in range(0, count, PART)]
    return np.concatenate([_drawn(strokes[part], many[part], pens[part], how) for part in parts])


def _corners(random: np.random.Generator, count: int) -> np.ndarray:
    """Places in the unit square, (count, 2): about a corner, the middle of a side, or the centre."""
    return random.integers(0, 3, (count, 2)) / 2 + random.normal(0, 0.05, (count, 2))


def _in_all_ways(pictures: np.ndarray, how: Frame) -> np.ndarray:
    """(count, rows, columns) as they are, and turned over either axis and both: drawing takes longer."""
    off = [round(2 * how.centre) - (side - 1) for side in how.shape]  # how far a turn moves the centre
    over = np.roll(pictures[:, ::-1], off[0], axis=1)
    both = np.concatenate([pictures, over])
    return np.concatenate([both, np.roll(both[:, :, ::-1], off[1], axis=2)])


def _drawn(strokes: np.ndarray, many: np.ndarray, pens: np.ndarray, how: Frame) -> np.ndarray:
    """Strokes (count, STROKES, POINTS, 2), of which the first `many`, with pens so wide: (count, *how.shape) uint8."""
    count, shape = len(strokes), np.array(how.shape)
    present = np.repeat(np.arange(STROKES) < many[:, None], POINTS, axis=1)[..., None]
    points = strokes.reshape(count, -1, 2)[..., ::-1]  # row and column
    low = np.where(present, points, np.inf).min(axis=1)
    extent = np.where(present, points, -np.inf).max(axis=1) - low
    scale = (how.box - pens) / np.maximum(extent.max(axis=1), 1e-6)
    points, extent = (points - low[:, None]) * scale[:, None, None], extent * scale[:, None]
    centre = (points * present).sum(axis=1) / present.sum(axis=1)
    corner = np.clip(
        how.centre + 0.5 - centre - pens[:, None] / 2, 0, np.maximum(shape - extent - pens[:, None], 0)
    )
    points += (corner + pens[:, None] / 2)[:, None]

    numbers, places = np.nonzero(present[..., 0])
    points, half = points[numbers, places], pens[numbers] / 2
    reach = int(np.ceil(THICKEST * how.box / 2 + 0.5))
    ink = np.zeros((count, *(shape + 2 * reach)), np.float32)  # with a margin, so that no dot is cut
    pixel = np.floor(points).astype(int)
    for down in range(-reach, reach + 1):  # each point is a dot; one pixel of every dot at a time
        for across in range(-reach, reach + 1):
            rows, columns = pixel[:, 0] + down, pixel[:, 1] + across
            far = np.hypot(rows + 0.5 - points[:, 0], columns + 0.5 - points[:, 1])
            dot = np.clip(half + 0.5 - far, 0, 1).astype(np.float32)
            np.maximum.at(ink, (numbers, rows + reach, columns + reach), dot)
    return np.floor(ink[:, reach:-reach, reach:-reach] * how.brightest + 0.5).astype(np.uint8)
