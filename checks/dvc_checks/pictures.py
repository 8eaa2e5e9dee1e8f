"""Pictures of single examples as text: they show in a GitHub comment, and need no server."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

SHOWN = 10  # of the examples lost, and of those gained
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bits of Braille patterns, (row, column)


def holds(path: Path, examples: int) -> bool:
    """Whether a .npy file holds that many grey pictures: (N, height, width), or (N, side × side)."""
    try:
        import numpy

        array = numpy.load(path, allow_pickle=False, mmap_mode="r")
    except Exception:  # its header is text that NumPy takes apart; and NumPy may not be installed
        return False
    return array.dtype.kind in "biuf" and array.shape[:1] == (examples,) and _size(array.shape) is not None


def _size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    if len(shape) == 3 and min(shape[1:]) >= 4 and max(shape[1:]) <= 64:
        return shape[1], shape[2]
    if len(shape) == 2 and 16 <= shape[1] <= 64 * 64 and math.isqrt(shape[1]) ** 2 == shape[1]:
        return math.isqrt(shape[1]), math.isqrt(shape[1])
    return None


def draw(path: Path, indices: list[int]) -> dict[int, list[str]]:
    """Draw examples: a dot for each pixel above the middle of its picture's range."""
    import numpy

    array = numpy.load(path, allow_pickle=False, mmap_mode="r")
    size = _size(array.shape)
    return (
        {index: _dots(numpy.asarray(array[index], float).reshape(size)) for index in indices} if size else {}
    )


def _dots(pixels: "numpy.ndarray") -> list[str]:
    """Braille for pictures of more than 16 pixels across; for smaller ones half blocks, twice as wide."""
    dark = pixels > (pixels.min() + pixels.max()) / 2
    height, width = dark.shape
    if width <= 16:
        rows = [*dark.tolist(), [False] * width][: height + height % 2]
        return [
            "".join(" ▀▄█"[up + 2 * down] for up, down in zip(*rows[i : i + 2], strict=True))
            for i in range(0, len(rows), 2)
        ]
    lines = []
    for top in range(0, height, 4):
        line = ""
        for left in range(0, width, 2):
            block = dark[top : top + 4, left : left + 2].tolist()
            line += chr(
                0x2800
                + sum(
                    bit
                    for dots, bits in zip(block, DOTS, strict=False)  # the last block may be cut off
                    for dot, bit in zip(dots, bits, strict=False)
                    if dot
                )
            )
        lines.append(line)
    return lines


def _blank(line: str) -> str:
    """What fills a line up: an empty Braille pattern is not as wide as a space in every font."""
    return "\u2800" if line and line[0] >= "\u2800" else " "


def side_by_side(blocks: list[tuple[list[str], str]], across: int = 5) -> list[str]:
    """Set drawings in rows, each above its caption."""
    lines = []
    for start in range(0, len(blocks), across):
        row = blocks[start : start + across]
        widths = [max(len(caption), *(len(line) for line in drawing)) + 2 for drawing, caption in row]
        for number in range(max(len(drawing) for drawing, _ in row)):
            cells = [drawing[number] if number < len(drawing) else "" for drawing, _ in row]
            lines.append(
                "".join(c.ljust(w, _blank(c)) for c, w in zip(cells, widths, strict=True)).rstrip(" ")
            )
        lines.append("".join(caption.ljust(w) for (_, caption), w in zip(row, widths, strict=True)).rstrip())
        lines.append("")
    return lines[:-1]
