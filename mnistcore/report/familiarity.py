"""Whether a picture is like those a network was trained on, or another mark: a letter, a cross, a scribble.

A network that tells ten digits apart takes anything for one of them, often with confidence. Its hidden layers see
more: on them, a small network learns to tell training images from marks that are made for it (outlier exposure:
Hendrycks, Mazeika and Dietterich, "Deep anomaly detection with outlier exposure", 2019).
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from mnistcore.arrays import load_arrays, save_arrays
from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.network import Dense, Network
from mnistcore.report.framing import FRAMES, Frame
from mnistcore.streams import stream

EXAMPLES = 40_000  # training images to fit it, at most four fifths of them; and a quarter as many marks
HELD_OUT = 10_000  # further training images, which choose the threshold
# Of those other images, so many are called unfamiliar. The aim is 2 % of a test set: the rate of 10,000 images is
# known to within a standard deviation of 0.12 points, the difference of two such rates to 0.17, and 1.5 leaves three.
ALARMS = 0.015
FEWEST = 50  # images to fit it; with fewer nothing is unfamiliar
UNITS = 2048  # of the hidden layers at most, the last ones
JUDGE = (Dense(64), Dense(1, "sigmoid"))  # the layers that give the probability of a mark
LESSONS = 100_000  # images and marks that it is shown in training, again and again if there are fewer
BATCH, RATE, MOMENTUM = 128, 0.1, np.float32(0.9)

SHARES = (0.15, 0.45, 0.1, 0.1, 0.2)  # of the marks: of strokes, letters, signs, crosses, scribbles
MANY = (0.4, 0.3, 0.2, 0.1)  # of those of strokes: shares of two (one alone would be a 1), of three, ...
STROKES, POINTS = 14, 36  # of a mark at most; of a stroke
PART = 250  # marks drawn at a time, which fit the processor's cache
THINNEST, THICKEST = 0.06, 0.24  # of the box: the pen's width

# The alphabets without the letters that are drawn as a digit is (I, O, S, Z, b, g, l, q, ...), and some signs. Each
# glyph is strokes, a stroke is the points it is drawn through: the column and the row, both from 0 to 8.
LETTERS = """
4008 4088 1565;  4008 4088 2464;  0805102030508588 0585;  8170300206387887;  8000 0008 0888 0464
7150201234122506286887;  8000 0008 0464;  8170300206387884 8454;  0008 8088 0484;  0008 8005 2488
0008 8004 0488;  0008 0888;  0800 0045 4580 8088;  0810 1048 4870 7088;  0800 0088 8880;  0008 0060826404
0008 0070838505;  0008 0060826404 4488;  0008 0070828404 0488;  0080 4048;  000538588580;  0005286785 8088
0048 4880;  0028 2842 4268 6880;  0006284642 4246688680;  0020684888 8060482808;  0044 8044 4448;  0044 8008
7150200306285774 707688;  114072767888 7434062858 5876;  11407278 74340628585876;  7150200306387887
7463340628586876 7078;  75340427385774 7088;  048471401104174887;  0484 847140110417487887;  0583614013163988
81604248 1373;  8140204648 0474;  0008 0533638588;  0008 0443648588;  0008 7305 2578;  0008 05536445 4588
0008 02204248 42608288;  0008 0330608388;  0008 02408388;  0008 013071743504;  0008 0040828404;  0008 033071
0008 02306082;  40465887 0282;  3048 0383;  0005286784 8088;  0003484580;  0044 8018;  00033472 80764817
0048 8038;  0003358481 8018;  0008 0080;  4008 4088 0888;  4008 4088;  0080 1474 0888;  0008 8088 0080
8000 0044 4408 0888;  4048 4204468442;  4048 0003458380;  28041140718468 0828 6888;  80572804205188
1020 2088 4408;  0181 2128 6168;  4048 0088 8008;  0008 0880 8088;  0008 4048 8088 0888
0008 0444 60424668868260;  8088 8020022484 4408;  0008 0050723404 34765808
"""
SIGNS = """
2028 6068 0282 0686;  0282 0686
8008 1020211110 6777786867;  022060824446 4748;  0528 2840 4080;  0484 6284 8466;  0448 4880
0080 8088 8808 0800;  0080 8088 8808 0800 0088 8008;  0888 0804 0440 4084 8488;  4028 2883 8303 0368 6840
44536546252251838748;  42200248 42608248;  6024 2464 6428;  8004 0488;  6020 2028 2868
"""


@dataclass(frozen=True)
class Familiarity:
    """A network that judges the hidden activations of another one.

    Attributes
    ----------
    judge : takes hidden activations, gives the probability of a mark; the threshold is in its last bias
    network : the SHA-256 of the parameters of the network it belongs to
    """

    judge: Network
    network: str

    def score(self, network: Network, images: np.ndarray) -> np.ndarray:
        """How unlike the training images these are, (N,): unfamiliar above zero. `images` are normalised.

        It is the logarithm of the odds that it is a mark, less the threshold.
        """
        return np.concatenate([_odds(self.judge, hidden) for hidden in _hidden(network, images)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file that `load` reads, whole or not at all."""
        save_arrays(path, {"parameters": self.judge.parameters, "network": np.array(self.network)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network) -> "Familiarity":
        """Read what `save` wrote.

        Raises
        ------
        InputError : if it is not such a file, whole, and of this very network
        """
        stored = load_arrays(Path(path), {"parameters": ("float32", (None,)), "network": ("str", ())})
        if str(stored["network"]) != digest(network):
            raise InputError(f"{path}: is of another network than models/model.npz; run plot again")
        found = nothing_unfamiliar(network)
        if stored["parameters"].shape != found.judge.parameters.shape:
            count = found.judge.parameters.size
            raise InputError(
                f"{path}: has {stored['parameters'].size:,} parameters, and should have {count:,}"
            )
        found.judge.parameters[...] = stored["parameters"]
        return found


def nothing_unfamiliar(network: Network) -> Familiarity:
    """Where nothing could be learnt: every score is −1."""
    units = sum(layer.units for layer in network.layers[:-1]) or network.features
    judge = Network(min(units, UNITS), JUDGE, "binary-cross-entropy")
    cast("np.ndarray", judge.layers[-1].biases)[0] = -1
    return Familiarity(judge, digest(network))


@np.errstate(all="ignore")  # what is not finite is looked for
def fit(network: Network, normalizer: Normalizer, images: np.ndarray) -> Familiarity:
    """Fit the judge to the first training images and to marks, the threshold to the images after them.

    Where no way is known to frame a mark as the data set would, where there are too few images, and where the
    network's activations are no numbers to learn from, nothing is unfamiliar.

    Parameters
    ----------
    images : (N, features), normalised training images; a part of them is used
    """
    how, fitted = FRAMES.get(normalizer.image_shape), min(EXAMPLES, 4 * len(images) // 5)
    found = nothing_unfamiliar(network)
    if how is None or fitted < FEWEST:
        return found
    pictures = normalizer.transform(marks(fitted // 4, how, stream(0, "marks")))
    hidden = np.concatenate([*_hidden(network, images[:fitted]), *_hidden(network, pictures)])
    size = float(np.sqrt(np.vdot(hidden, hidden) / hidden.size))  # the judge learns on a scale of its own
    if not (np.isfinite(size) and size):
        return found
    hidden /= size
    judge = nothing_unfamiliar(network).judge.initialize(stream(0, "familiarity"))
    _train(judge, hidden, np.repeat(np.array([0, 1], np.float32), [fitted, len(pictures)])[:, None])
    judge.layers[0].weights[...] /= size
    fresh = Familiarity(judge, digest(network))
    scores = fresh.score(network, images[fitted : fitted + HELD_OUT])
    if not np.isfinite(scores).all():
        return found
    cast("np.ndarray", judge.layers[-1].biases)[0] -= max(np.quantile(scores, 1 - ALARMS), 0)
    return fresh


def _train(judge: Network, hidden: np.ndarray, is_mark: np.ndarray) -> None:
    """Descend the cross-entropy by steps with Nesterov's momentum, whose rate falls as a cosine does.

    Not by mnistcore.training: a report that is drawn, and `predict`, have no need of all that.

    Parameters
    ----------
    hidden : (N, units) float32
    is_mark : (N, 1) float32, 0 or 1
    """
    velocity, slope = np.zeros_like(judge.parameters), judge.over(np.zeros_like(judge.parameters))
    (first, last), (first_slope, last_slope) = judge.layers, slope.layers
    random, order = stream(0, "familiarity batches"), np.empty(0, int)
    for step in range(LESSONS // BATCH):
        if len(order) < BATCH:
            order = np.concatenate([order, random.permutation(len(hidden))])
        rows, order = order[:BATCH], order[BATCH:]
        inputs = hidden[rows]
        inner = np.maximum(inputs @ first.weights + first.biases, 0)
        wrong = (1 / (1 + np.exp(-(inner @ last.weights + last.biases))) - is_mark[rows]) / len(rows)
        back = wrong @ last.weights.T * (inner > 0)
        for layer, values, errors in ((first_slope, inputs, back), (last_slope, inner, wrong)):
            np.matmul(values.T, errors, out=layer.weights)
            errors.sum(axis=0, out=layer.biases)
        velocity = MOMENTUM * velocity + slope.parameters
        rate = RATE / 2 * (1 + np.cos(np.pi * step / (LESSONS // BATCH)))
        judge.parameters -= np.float32(rate) * (slope.parameters + MOMENTUM * velocity)


def _odds(judge: Network, hidden: np.ndarray) -> np.ndarray:
    """(N, units) to (N,): the logarithm of the odds that it is a mark."""
    first, last = judge.layers
    return (np.maximum(hidden @ first.weights + first.biases, 0) @ last.weights + last.biases)[:, 0]


def _hidden(network: Network, images: np.ndarray, chunk: int = 1000) -> Iterator[np.ndarray]:
    """The activations of the hidden units side by side, float32, of so many images at a time.

    Without a hidden layer, those of the input.
    """
    for start in range(0, len(images), chunk):
        values = np.asarray(images[start : start + chunk], network.precision)
        parts = [] if len(network.layers) > 1 else [values]
        for layer in network.layers[:-1]:
            values = values @ layer.weights
            if layer.biases is not None:
                values += layer.biases
            ACTIVATIONS[layer.dense.activation](values)
            parts.append(values)
        yield np.concatenate(parts, axis=1)[:, -UNITS:].astype(np.float32)


def digest(network: Network) -> str:
    """The SHA-256 of a network's parameters."""
    return hashlib.sha256(np.ascontiguousarray(network.parameters).tobytes()).hexdigest()


# ---- Marks. Points are complex numbers, x + iy with y downwards; strokes are (count, STROKES, POINTS) of them.


def marks(count: int, how: Frame, random: np.random.Generator) -> np.ndarray:
    """Pictures of what is no digit, framed as the data set's: (count, rows, columns) uint8.

    Strokes at random, letters as they are written and printed, signs turned by any angle, crosses, and scribbles;
    with pens of any width, the thinnest first.
    """
    counts = np.diff(np.rint(count * np.cumsum((0, *SHARES))).astype(int))
    makers = (_strokes, _letters, _signs, _crosses, _scribbles)
    made = [make(size, random) for make, size in zip(makers, counts, strict=True)]
    strokes, many = (np.concatenate(parts) for parts in zip(*made, strict=True))
    order, pens = random.permutation(count), np.sort(random.uniform(THINNEST, THICKEST, count)) * how.box
    parts = [slice(start, start + PART) for start in range(0, count, PART)]
    return np.concatenate(
        [_drawn(strokes[order[part]], many[order[part]], pens[part], how) for part in parts]
    )


def _strokes(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two to five strokes, straight or bent, most of them beginning on one before, some crossing it."""
    along, every = np.linspace(0, 1, POINTS), np.arange(count)
    strokes = np.zeros((count, STROKES, POINTS), complex)

    def corner() -> np.ndarray:  # about a corner, the middle of a side, or the centre
        x, y = random.integers(0, 3, (2, count)) / 2 + random.normal(0, 0.05, (2, count))
        return x + 1j * y

    for number in range(len(MANY) + 1):
        start, end = corner(), corner()
        if number:
            ends = (POINTS - 1) * random.integers(2, size=count)
            where = np.where(random.random(count) < 0.5, random.integers(POINTS, size=count), ends)
            before = strokes[every, random.integers(number, size=count), where]
            start = np.where(random.random(count) < 0.8, before, start)
        across = np.where(random.random(count) < 0.3, random.uniform(0, 0.8, count), 0)
        start = start + across * (start - end)
        bend = np.where(random.random(count) < 0.6, 0, random.normal(0, 0.5, count))
        a, b, c = (
            point[:, None] for point in (start, (start + end) / 2 + 1j * bend * (end - start).conj(), end)
        )
        strokes[:, number] = (1 - along) ** 2 * a + 2 * along * (1 - along) * b + along**2 * c
    np.real(strokes)[...] *= random.uniform(0.5, 1, (count, 1, 1))
    return _turned(strokes, random.normal(0, 0.1, count)), random.choice(len(MANY), count, p=MANY) + 2


def _crosses(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two to four straight lines through about one point, in directions about evenly spread."""
    many, small = random.integers(2, 5, count), (count, STROKES)
    angles = np.pi * (np.arange(STROKES) / many[:, None] + random.uniform(0, 1, (count, 1)))
    arms = random.uniform(0.35, 0.5, small) * np.exp(1j * (angles + random.normal(0, 0.12, small)))
    middles = random.normal(0, 0.07, (*small, 2)) @ [1, 1j]
    return middles[..., None] + arms[..., None] * np.linspace(-1, 1, POINTS), many


def _scribbles(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One long line, which swings to and fro at four frequencies and drifts on."""
    along = np.linspace(0, 1, STROKES * POINTS)
    line = along * (random.normal(0, 1.5, (count, 2)) @ [1, 1j])[:, None]
    for _ in range(4):
        swings = random.uniform(0, 9, (count, 1))
        for axis in (1, 1j):
            phase, size = random.uniform(0, 2 * np.pi, (count, 1)), random.exponential(1, (count, 1))
            line += axis * size / (1 + swings / 3) * np.sin(2 * np.pi * swings * along + phase)
    return line.reshape(count, STROKES, POINTS), random.integers(6, STROKES + 1, count)


def _letters(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    strokes, many = _varied(LETTERS, count, random)
    return _turned(strokes, random.normal(0, 0.1, count)), many


def _signs(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    strokes, many = _varied(SIGNS, count, random)
    return _turned(strokes, random.uniform(0, 2 * np.pi, count)), many


def _turned(strokes: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return strokes * np.exp(1j * angle)[:, None, None]


def _varied(glyphs: str, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Some of the glyphs, three of ten with serifs; each stroke moved a little, the whole bent and slanted."""
    table, sizes = _glyphs(glyphs)
    which = 2 * random.integers(len(table) // 2, size=count) + (random.random(count) < 0.3)
    strokes = table[which]
    middle, small = strokes.mean(axis=2, keepdims=True), (count, STROKES, 1)
    strokes = middle + (strokes - middle) * random.normal(1, 0.07, small)
    strokes += random.normal(0, 0.025, (*small, 2)) @ [1, 1j]
    x, y = strokes.real, strokes.imag
    bends = (random.normal(0, 0.18, (3, count, 2)) @ [1, 1j])[..., None, None]
    strokes = strokes + bends[0] * x * x + bends[1] * x * y + bends[2] * y * y
    strokes.real *= random.uniform(0.5, 1.1, (count, 1, 1))
    strokes.real -= strokes.imag * random.normal(0.08, 0.15, (count, 1, 1))
    return strokes, sizes[which]


def _glyphs(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The strokes of each glyph about the origin, and how many they are; each twice, then with serifs."""
    glyphs = []
    for glyph in text.replace("\n", ";").split(";"):
        strokes = [
            np.array([int(x) + 1j * int(y) for x, y in zip(stroke[::2], stroke[1::2], strict=True)]) / 8
            for stroke in glyph.split()
        ]
        ends = [
            end for one in strokes if len(one) == 2 and one[0].imag != one[1].imag for end in one
        ]  # of straight ones
        serifs = [np.array([end - 0.17, end + 0.17]) for end in ends if end.imag in (0, 1)]
        glyphs += [strokes, (strokes + serifs)[:STROKES]] if strokes else []
    table = np.zeros((len(glyphs), STROKES, POINTS), complex)
    for place, glyph in enumerate(glyphs):
        table[place, : len(glyph)] = [_curve(stroke) - (0.5 + 0.5j) for stroke in glyph]
    return table, np.array([len(glyph) for glyph in glyphs])


def _curve(points: np.ndarray) -> np.ndarray:
    """`POINTS` on a smooth line through these, (n,): a spline of Catmull and Rom (1974)."""
    ends = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    place = np.linspace(0, len(points) - 1, POINTS)
    piece = np.minimum(place.astype(int), len(points) - 2)
    t, (a, b, c, d) = place - piece, (ends[piece + later] for later in range(4))
    return b + (c - a) * t / 2 + (2 * a - 5 * b + 4 * c - d) * t**2 / 2 + (3 * b - a - 3 * c + d) * t**3 / 2


def _drawn(strokes: np.ndarray, many: np.ndarray, pens: np.ndarray, how: Frame) -> np.ndarray:
    """The first `many` of the strokes, with pens so wide: (count, *how.shape) uint8."""
    count, shape = len(strokes), np.array(how.shape)
    line = strokes[np.arange(STROKES) < many[:, None]].ravel()
    points, number = np.stack([np.imag(line), np.real(line)]), np.repeat(np.arange(count), many * POINTS)
    firsts = (np.cumsum(many) - many) * POINTS
    low, high, total = (of.reduceat(points, firsts, axis=1) for of in (np.minimum, np.maximum, np.add))
    scale = (how.box - pens) / np.maximum((high - low).max(axis=0), 1e-6)
    centre = (total / (many * POINTS) - low) * scale
    room = np.maximum(shape[:, None] - (high - low) * scale - pens, 0)
    corner = np.clip(how.centre + 0.5 - centre - pens / 2, 0, room) + pens / 2
    points = (points - low[:, number]) * scale[number] + corner[:, number]

    reach = int(np.ceil(pens.max() / 2 + 0.5))
    rows, columns = shape + 2 * reach  # with a margin, so that no dot is cut
    ink, pixel = np.zeros(count * rows * columns, np.float32), np.floor(points).astype(int)
    (down, across), edge = (points - pixel - 0.5).astype(np.float32), (pens / 2 + 0.5).astype(np.float32)
    places, edge = (number * rows + pixel[0] + reach) * columns + pixel[1] + reach, edge[number]
    for row in range(-reach, reach + 1):  # each point is a dot; one pixel of every dot at a time
        for column in range(-reach, reach + 1):
            far = np.sqrt((row - down) ** 2 + (column - across) ** 2)
            np.maximum.at(ink, places + (row * columns + column), np.clip(edge - far, 0, 1))
    ink = ink.reshape(count, rows, columns)[:, reach:-reach, reach:-reach]
    return np.floor(ink * how.brightest + 0.5).astype(np.uint8)
