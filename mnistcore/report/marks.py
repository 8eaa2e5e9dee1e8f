"""Pictures of what is no digit: strokes at random, letters, signs, crosses and scribbles.

They are for `mnistcore.report.familiarity` to learn from. Points are complex numbers, x + iy with y downwards;
strokes are arrays (count, STROKES, POINTS) of them.
"""

import numpy as np

from mnistcore.report.framing import Frame

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
    slack = np.maximum(shape[:, None] - (high - low) * scale - pens, 0)
    corner = np.clip(how.centre + 0.5 - centre - pens / 2, 0, slack) + pens / 2
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
