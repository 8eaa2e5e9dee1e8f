"""Digits drawn on the pad as people do: with a mouse, a pen or a finger, of any size, upright or turned. Seeded."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pictures_of_digits import drawn_strokes

HANDS = {
    "mouse": (0.006, 7),
    "touch": (0.003, 12),
    "pen": (0.0015, 30),
}  # tremble, points in a stroke at most
KINDS = ("upright", "small", "turned")


class Drawing(NamedTuple):
    """Strokes in parts of the pad's side, x to the right and y down, in the order they are drawn."""

    kind: str
    hand: str
    digit: int
    strokes: list[list[list[float]]]


def drawings(kind: str, each: int, seed: int) -> Iterator[Drawing]:
    """`each` drawings of every digit by every hand: of a third to nine tenths of the pad; or small, of a tenth to a
    fifth of it; or turned, by 30 degrees to either side."""
    random = np.random.default_rng([seed, KINDS.index(kind)])
    for number in range(each):
        for hand in HANDS:
            for digit in range(10):
                size = random.uniform(0.1, 0.2) if kind == "small" else random.uniform(0.33, 0.9)
                turn = 30 * (-1) ** number if kind == "turned" else 0
                yield Drawing(
                    kind, hand, digit, placed(drawn_strokes(digit, random), size, turn, hand, random)
                )


def european_ones(count: int, seed: int) -> Iterator[Drawing]:
    """A 1 with a flag of a quarter to half its height, which some draw in one stroke and some in two."""
    random = np.random.default_rng(seed)
    for number in range(count):
        top, aslant = np.array([0.5, 0.0]), np.deg2rad(random.uniform(25, 60))
        flag = top + random.uniform(0.25, 0.5) * np.array([-np.sin(aslant), np.cos(aslant)])
        foot = np.array([random.uniform(0.25, 0.55), 1.0])
        strokes = (
            [np.array([flag, top, foot])] if number % 2 else [np.array([flag, top]), np.array([top, foot])]
        )
        hand = list(HANDS)[number % 3]
        yield Drawing("european", hand, 1, placed(strokes, random.uniform(0.33, 0.9), 0, hand, random))


def placed(
    strokes: list[np.ndarray], size: float, turn: float, hand: str, random: np.random.Generator
) -> list[list[list[float]]]:
    """The strokes somewhere on the pad: turned by degrees, the larger side `size`, the points as the hand gives them."""
    tremble, most = HANDS[hand]
    angle = np.deg2rad(turn)
    way = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    strokes = [evenly(stroke @ way, most) for stroke in strokes]
    points = np.vstack(strokes)
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    scale = size / extent.max()
    corner = 0.04 + random.uniform(0, 1, 2) * (0.92 - scale * extent)
    return [
        ((stroke - low) * scale + corner + random.normal(0, tremble * size / 0.6, stroke.shape))
        .round(4)
        .tolist()
        for stroke in strokes
    ]


def evenly(stroke: np.ndarray, most: int) -> np.ndarray:
    """Points at even distances along the stroke, at most so many, its corners kept."""
    if len(stroke) <= most:
        return stroke
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
    along = np.linspace(0, length[-1], most)
    return np.stack([np.interp(along, length, axis) for axis in stroke.T], axis=1)
