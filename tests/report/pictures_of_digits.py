"""Pictures of digits such as people take and draw: pens, fonts, papers, lights, noise, rulings, frames. Seeded."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# How people draw each digit: strokes through points of the unit square, x to the right and y down.
STROKES: dict[int, list[list[list[tuple[float, float]]]]] = {
    0: [[[(0.55, 0), (0.15, 0.15), (0.05, 0.55), (0.25, 0.95), (0.6, 1), (0.92, 0.7), (0.95, 0.35), (0.8, 0.05), (0.5, 0)]]],
    1: [[[(0.5, 0), (0.5, 0.5), (0.48, 1)]], [[(0.6, 0), (0.5, 0.5), (0.42, 1)]], [[(0.3, 0.2), (0.55, 0)], [(0.55, 0), (0.55, 1)]]],
    2: [
        [[(0.1, 0.25), (0.25, 0.03), (0.6, 0), (0.88, 0.2), (0.8, 0.45), (0.45, 0.75), (0.08, 1)], [(0.08, 1), (0.95, 0.98)]],
        [[(0.1, 0.2), (0.4, 0), (0.8, 0.1), (0.85, 0.4), (0.5, 0.75), (0.1, 0.97), (0.15, 0.8), (0.4, 0.88), (0.95, 1)]],
    ],
    3: [[[(0.1, 0.1), (0.5, 0), (0.85, 0.2), (0.65, 0.43), (0.4, 0.48)], [(0.4, 0.48), (0.8, 0.55), (0.9, 0.8), (0.55, 1), (0.08, 0.9)]]],
    4: [
        [[(0.25, 0), (0.12, 0.35), (0.1, 0.58), (0.5, 0.6), (0.95, 0.55)], [(0.75, 0.05), (0.72, 0.5), (0.68, 1)]],
        [[(0.65, 0), (0.35, 0.35), (0.05, 0.68)], [(0.05, 0.68), (0.95, 0.66)], [(0.65, 0), (0.64, 1)]],
    ],
    5: [[[(0.85, 0), (0.2, 0.03)], [(0.2, 0.03), (0.15, 0.42)], [(0.15, 0.42), (0.5, 0.36), (0.88, 0.55), (0.85, 0.85), (0.5, 1), (0.08, 0.92)]]],
    6: [[[(0.7, 0), (0.35, 0.2), (0.12, 0.55), (0.15, 0.85), (0.45, 1), (0.8, 0.9), (0.85, 0.65), (0.55, 0.52), (0.2, 0.68)]]],
    7: [
        [[(0.05, 0.05), (0.92, 0.03)], [(0.92, 0.03), (0.6, 0.5), (0.4, 1)]],
        [[(0.05, 0.08), (0.9, 0.05)], [(0.9, 0.05), (0.6, 0.45), (0.35, 1)], [(0.3, 0.52), (0.8, 0.48)]],
    ],
    8: [[[(0.8, 0.12), (0.45, 0), (0.15, 0.2), (0.45, 0.45), (0.82, 0.7), (0.6, 0.98), (0.25, 0.95), (0.15, 0.72), (0.5, 0.47), (0.85, 0.22), (0.75, 0.08)]]],
    9: [
        [[(0.82, 0.2), (0.5, 0), (0.18, 0.15), (0.2, 0.42), (0.5, 0.5), (0.8, 0.25)], [(0.84, 0.12), (0.8, 0.5), (0.7, 1)]],
    ],
}  # fmt: skip


def smooth(points: np.ndarray, steps: int = 12) -> np.ndarray:
    """A curve through the points (Catmull-Rom)."""
    if len(points) < 3:
        return points
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False)
    ]
    return np.vstack([*pieces, points[-1:]])


def drawn_strokes(digit: int, random: np.random.Generator, wobble: float = 0.025) -> list[np.ndarray]:
    """The strokes of a digit as some hand would draw it, in a box of height 1 and its own width."""
    width, slant, turn = random.uniform(0.5, 0.75), random.uniform(-0.12, 0.22), random.uniform(-0.08, 0.08)
    if digit == 1:
        width = 0.5
    way = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    strokes = []
    variants = STROKES[digit]
    for points in variants[random.integers(len(variants))]:
        xy = np.array(points) + random.normal(0, wobble, (len(points), 2)) * [0.7, 1]
        xy[:, 0] = (xy[:, 0] - 0.5) * width + slant * (0.5 - xy[:, 1])
        strokes.append(smooth(xy @ way))
    return strokes


@cache
def fonts() -> list[str]:
    """The plain fonts that come with Matplotlib."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [
        str(folder / f"{name}.ttf")
        for name in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "STIXGeneralItalic")
    ]


def ink_of(digit: int, height: int, pen: str, random: np.random.Generator) -> Image.Image:
    """A mask, 255 for full ink, tight around the digit."""
    if pen == "font":
        font = ImageFont.truetype(fonts()[random.integers(len(fonts()))], height)
        left, top, right, bottom = font.getbbox(str(digit))
        mask = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
        ImageDraw.Draw(mask).text((4 - left, 4 - top), str(digit), 255, font)
    else:
        part = {"hair": 0.03, "ball": 0.05, "pencil": 0.06, "felt": 0.1, "marker": 0.14}[pen]
        strokes = drawn_strokes(digit, random)
        points = np.vstack(strokes)
        line, low = max(1.5, part * height), points.min(axis=0)
        span = (points.max(axis=0) - low) * height
        scale = 3 if height < 400 else 1
        mask = Image.new("L", tuple(int(scale * (s + 2 * line + 4)) for s in span))
        draw = ImageDraw.Draw(mask)
        for stroke in strokes:
            xy = [tuple(scale * ((p - low) * height + line + 2)) for p in stroke]
            draw.line(xy, 255, max(1, round(scale * line)), "curve")
            for x, y in (xy[0], xy[-1]):
                r = scale * line / 2
                draw.ellipse((x - r, y - r, x + r, y + r), 255)
        mask = mask.resize((max(1, mask.width // scale), max(1, mask.height // scale)), Image.Resampling.BOX)
    return mask.crop(mask.getbbox())


class Scene(NamedTuple):
    """What a picture is of. `kind` names the trouble in it; `digits` are its right answers, left to right."""

    kind: str
    pen: str
    part: float
    digits: tuple[int, ...]
    picture: Image.Image


PENS = ("hair", "ball", "pencil", "felt", "marker", "font")
KINDS = (
    "plain", "inverted", "specks", "noise", "strong noise", "ruled", "squared", "vignette", "gradient", "shadow",
    "photo", "pencil photo", "table", "frame", "coloured", "dark board", "jpeg", "grain", "yellowed", "blurred",
)  # fmt: skip


def scene(kind: str, part: float, random: np.random.Generator, count: int = 1) -> Scene:
    """`count` digits (0: a blank picture), each `part` of the picture's height, with the trouble `kind`."""
    height = int(random.choice([240, 400, 640, 900]))
    width = int(height * random.choice([0.8, 1.0, 1.33])) if count < 2 else int(height * 1.6)
    pens = {"pencil photo": ("pencil",), "dark board": ("felt", "marker", "ball")}.get(kind, PENS)
    pen = str(random.choice(pens))
    if pen == "hair" and part < 0.3:
        pen = "ball"
    paper = np.full((height, width, 3), 1.0) * random.uniform(0.85, 1.0)
    ink_colour = np.array([0.05, 0.05, 0.1]) + random.uniform(0, 0.15)
    if pen == "pencil":
        ink_colour = np.full(3, random.uniform(0.3, 0.5))
    if kind == "coloured":
        ink_colour, ground = (np.array(c) for c in COLOURS[random.integers(len(COLOURS))])
        paper[...] = ground
    if kind == "yellowed":
        paper[...] = [0.9, 0.85, 0.65]
    if kind in ("inverted", "dark board"):
        paper, ink_colour = np.full_like(paper, random.uniform(0.02, 0.25)), np.array([0.95, 0.95, 0.9])
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    if kind in ("ruled", "squared"):
        gap, thick = int(height * random.uniform(0.05, 0.12)), max(1, height // 300)
        colour = np.array([0.6, 0.7, 0.9]) if random.random() < 0.6 else np.full(3, 0.65)
        start = random.integers(gap)
        for offset in range(thick):
            paper[start + offset :: gap] = colour
            if kind == "squared":
                paper[:, start + offset :: gap] = colour
    mask = np.zeros((height, width))
    digits = tuple(int(d) for d in random.integers(0, 10, count))
    tall = max(12, int(part * height))
    margin = 0.12 if kind in ("table", "frame") else 0.03
    glyphs = [ink_of(d, tall, pen, random) for d in digits]
    glyphs = [g.resize((max(1, round(g.width * tall / g.height)), tall)) for g in glyphs]
    spare = width * (1 - 2 * margin) - sum(g.width for g in glyphs)
    gaps = (
        np.diff(np.sort(random.uniform(0, 1, count)), prepend=0)
        if count == 1
        else np.full(count, 1 / (count + 1))
    )
    x = margin * width
    for glyph, gap in zip(glyphs, gaps, strict=True):
        x += gap * max(spare, 0)
        low, high = margin * height, height * (1 - margin) - tall
        y = random.uniform(low, max(low, high)) if count == 1 else (low + max(low, high)) / 2
        y, left = int(y), int(min(x, max(0, width - glyph.width)))
        pixels = np.asarray(glyph) / 255
        place = mask[y : y + glyph.height, left : left + glyph.width]
        place[...] = np.maximum(place, pixels[: place.shape[0], : place.shape[1]])
        x += glyph.width
    if pen == "pencil":  # graphite catches on the grain of the paper
        mask = mask * np.clip(random.normal(0.85, 0.2, mask.shape), 0.3, 1)
    if kind == "blurred":
        mask = (
            np.asarray(
                Image.fromarray((255 * mask).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.01 * tall))
            )
            / 255
        )
    picture = paper * (1 - mask[..., None]) + ink_colour * mask[..., None]
    if kind == "specks":
        for _ in range(random.integers(1, 5)):
            r, y, x = (
                max(1, int(height * random.uniform(0.003, 0.008))),
                random.integers(height),
                random.integers(width),
            )
            picture[max(0, y - r) : y + r, max(0, x - r) : x + r] = ink_colour
    if kind in ("vignette", "photo", "pencil photo"):
        away = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
        picture = (
            picture
            * (1 - random.uniform(0.4, 0.8) * away / away.max() * (0.6 if "photo" in kind else 1))[..., None]
        )
    if kind in ("gradient", "photo", "pencil photo"):
        angle = random.uniform(0, 2 * np.pi)
        light = np.cos(angle) * columns + np.sin(angle) * rows
        light = (light - light.min()) / np.ptp(light)
        picture = picture * (1 - random.uniform(0.2, 0.5) * light)[..., None]
    if kind == "shadow":  # of a hand or a head: a soft edge across the picture
        edge = columns * random.uniform(-1, 1) + rows - random.uniform(0.2, 0.8)
        picture = picture * (1 - 0.35 / (1 + np.exp(-edge * 25)))[..., None]
    if kind == "table":
        wood, side = np.array([0.35, 0.22, 0.12]) * random.uniform(0.6, 1.4), random.integers(4)
        strip = int(random.uniform(0.04, 0.11) * (height if side < 2 else width))
        where = [np.s_[:strip], np.s_[-strip:], np.s_[:, :strip], np.s_[:, -strip:]][side]
        picture[where] = wood * random.uniform(0.85, 1.15, (*picture[where].shape[:2], 1))
    if kind == "frame":
        strip = int(random.uniform(0.02, 0.08) * height)
        for where in (np.s_[:strip], np.s_[-strip:], np.s_[:, :strip], np.s_[:, -strip:]):
            picture[where] = random.uniform(0.0, 0.25)
    noise = {
        "noise": 6 / 255,
        "strong noise": 16 / 255,
        "photo": 5 / 255,
        "pencil photo": 4 / 255,
        "table": 3 / 255,
    }.get(kind, 0)
    if kind == "grain":
        picture = (
            picture
            + 0.05
            * np.asarray(
                Image.fromarray(
                    random.integers(0, 256, (height // 3 + 1, width // 3 + 1)).astype(np.uint8)
                ).resize((width, height))
            )[..., None]
            / 255
        )
    picture = picture + random.normal(0, noise, picture.shape) if noise else picture
    image = Image.fromarray((255 * picture.clip(0, 1)).round().astype(np.uint8))
    if kind in ("jpeg", "photo", "pencil photo", "table"):
        import io

        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=int(random.integers(35, 90)))
        image = Image.open(packed)
        image.load()
    return Scene(kind, pen, part, digits, image)


# Ink and ground, some of them as bright as each other.
COLOURS = [
    ((0.85, 0.1, 0.1), (0.1, 0.50, 0.1)), ((0.1, 0.2, 0.8), (1.0, 1.0, 1.0)), ((0.9, 0.1, 0.2), (1.0, 0.95, 0.9)),
    ((0.1, 0.5, 0.2), (0.95, 0.95, 0.8)), ((1.0, 0.9, 0.2), (0.1, 0.15, 0.5)), ((0.2, 0.3, 0.9), (0.8, 0.35, 0.2)),
]  # fmt: skip


def scenes(part: float, each: int, seed: int) -> Iterator[Scene]:
    """`each` pictures of every kind, one digit in each."""
    for number, kind in enumerate(KINDS):
        random = np.random.default_rng([seed, number, int(100 * part)])
        for _ in range(each):
            yield scene(kind, part, random)
