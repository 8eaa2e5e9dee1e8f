"""A network packed small enough to travel inside the report, as text that report.js unpacks.

Weights are rounded to multiples of a step, as coarse as the page's promise
allows: that no probability differs from the network's own by more than
`TOLERANCE`. What a rounding error does depends on what the weight is
multiplied with, so a weight whose input is mostly faint gets a coarser step.
The whole numbers that result are written as Rice codes and those bits as
printable text, 13 to a pair of characters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnistcore.network.activations import ACTIVATIONS

TOLERANCE = (
    8e-5  # largest difference of a probability; the promise is 1e-4, and a browser adds rounding of its own
)
COARSEST = (
    8  # a row's step is at most 2**8 times its layer's: a pixel lit nowhere may still be lit by a drawing
)
UNREADABLE = frozenset("<&\\")  # characters that would mean something in HTML or JavaScript
ALPHABET = "".join(letter for letter in map(chr, range(33, 127)) if letter not in UNREADABLE)
LINE = 1000  # characters, so that text tools stay usable

SHIFT_BITS, RICE_BITS = 4, 5  # of a row's header


@dataclass(frozen=True)
class Layer:
    """`weights` (fan_in, units), `biases` (units,) or None, and the name of the activation."""

    weights: np.ndarray
    biases: np.ndarray | None
    activation: str


def forward(layers: Sequence[Layer], images: np.ndarray) -> Iterator[np.ndarray]:
    """The activations of each layer in turn, as the page computes them: (examples, units)."""
    values = images
    for layer in layers:
        values = values @ layer.weights
        if layer.biases is not None:
            values += layer.biases
        ACTIVATIONS[layer.activation](values)
        yield values


def pack(layers: Sequence[Layer], images: np.ndarray, outputs: np.ndarray) -> list[dict[str, Any]] | None:
    """Pack a network with the fewest bits that keep its outputs.

    Parameters
    ----------
    images : (examples, features), normalised: what the promise is checked on
    outputs : (examples, classes): what the network itself makes of them

    Returns
    -------
    for each layer its `inputs`, `units`, `activation`, whether it has `bias`,
    its `step`, and its `text`; None when no rounding keeps the promise
    """
    some = _telling(outputs)
    shifts = _shifts(layers, images[some])
    steps = _balance(layers, shifts, images[some], outputs[some])

    def error(factor: float, where: np.ndarray | slice) -> float:
        rounded = [_rounded(*parts) for parts in zip(layers, shifts, _scaled(steps, factor), strict=True)]
        return float(np.abs(_last(rounded, images[where]) - outputs[where]).max())

    quarter = 0  # the factor in quarters of a bit: coarser while the promise holds, then finer until it does
    while quarter < 60 and error(2 ** (quarter / 4), some) <= TOLERANCE:
        quarter += 2
    while quarter > -60 and error(2 ** (quarter / 4), some) > TOLERANCE:
        quarter -= 1
    while quarter > -60 and error(2 ** (quarter / 4), slice(None)) > TOLERANCE:
        quarter -= 1
    if quarter == -60:
        return None
    return [_packed(*parts) for parts in zip(layers, shifts, _scaled(steps, 2 ** (quarter / 4)), strict=True)]


def pack_evenly(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Pack a network without a promise, as `pack` does: each layer in steps of a 256th of its weights' deviation."""
    steps = [float(layer.weights.std()) / 256 or 1.0 for layer in layers]
    return [
        _packed(layer, np.zeros(len(layer.weights), np.int64), step)
        for layer, step in zip(layers, _scaled(steps, 1), strict=True)
    ]


def _packed(layer: Layer, shifts: np.ndarray, step: float) -> dict[str, Any]:
    return {
        "inputs": layer.weights.shape[0],
        "units": layer.weights.shape[1],
        "activation": layer.activation,
        "bias": layer.biases is not None,
        "step": step,
        "text": text_of(_bits(layer, shifts, step)),
    }


def _telling(outputs: np.ndarray) -> np.ndarray:
    """The examples that a rounding error shows in first: the thousand least confident, and some others."""
    unsure = np.argsort(outputs.max(axis=1), kind="stable")[:1000]
    return np.union1d(unsure, np.arange(min(500, len(outputs))))


def _last(layers: Sequence[Layer], images: np.ndarray) -> np.ndarray:
    *_, outputs = forward(layers, images)
    return outputs


def _shifts(layers: Sequence[Layer], images: np.ndarray) -> list[np.ndarray]:
    """By how many powers of two the step of an input's weights may be coarser: (fan_in,) integers a layer.

    An input counts by its fourth-power mean: between its mean square, which
    would forget a pixel that is rarely lit, and its maximum.
    """
    inputs = [images, *list(forward(layers, images))[:-1]]
    sizes = [np.mean(values.astype(np.float64) ** 4, axis=0) ** 0.25 for values in inputs]
    return [
        np.clip(np.rint(np.log2(max(size.max(), 1e-30) / np.maximum(size, 1e-30))), 0, COARSEST).astype(
            np.int64
        )
        for size in sizes
    ]


def _balance(
    layers: Sequence[Layer], shifts: Sequence[np.ndarray], images: np.ndarray, outputs: np.ndarray
) -> list[float]:
    """A step for each layer, such that a weight here does as much harm as a weight there."""
    exact = _last(layers, images)
    steps = []
    for place, (layer, shift) in enumerate(zip(layers, shifts, strict=True)):
        trial = float(np.abs(layer.weights).max()) / 1024 or 1.0
        rounded = _rounded(layer, shift, trial)
        harm = np.abs(_last([*layers[:place], rounded, *layers[place + 1 :]], images) - exact).mean()
        steps.append(trial * TOLERANCE / 4 * layer.weights.size**0.5 / max(float(harm), 1e-12))
    return [step / sum(layer.weights.size for layer in layers) ** 0.5 for step in steps]


def _scaled(steps: Sequence[float], factor: float) -> list[float]:
    """Steps times a factor, kept to four leading bits: exact in any arithmetic, the same on any machine."""
    mantissas, exponents = np.frexp(np.multiply(steps, factor))
    return np.ldexp(np.rint(mantissas * 16) / 16, exponents).tolist()


def _whole(layer: Layer, shifts: np.ndarray, step: float) -> np.ndarray:
    return np.rint(layer.weights / np.ldexp(step, shifts)[:, None]).astype(np.int64)


def _rounded(layer: Layer, shifts: np.ndarray, step: float) -> Layer:
    """The layer as the page will have it."""
    weights = (_whole(layer, shifts, step) * np.ldexp(step, shifts)[:, None]).astype(np.float32)
    biases = None if layer.biases is None else layer.biases.astype(np.float32)
    return replace(layer, weights=weights.astype(layer.weights.dtype), biases=biases)


def _bits(layer: Layer, shifts: np.ndarray, step: float) -> np.ndarray:
    """A layer as bits: each row's shift and Rice parameter, the rows' Rice codes, the biases as floats."""
    whole = _whole(layer, shifts, step)
    folded = np.where(whole >= 0, 2 * whole, -2 * whole - 1)  # 0, −1, 1, −2, … as 0, 1, 2, 3, …
    costs = np.stack([((folded >> rice) + 1 + rice).sum(axis=1) for rice in range(2**RICE_BITS)])
    rice = costs.argmin(axis=0)
    parts = [_fixed(shifts << RICE_BITS | rice, SHIFT_BITS + RICE_BITS), _rice_codes(folded, rice)]
    if layer.biases is not None:
        parts.append(_fixed(layer.biases.astype(np.float32).view(np.uint32).astype(np.int64), 32))
    return np.concatenate(parts)


def _fixed(values: np.ndarray, width: int) -> np.ndarray:
    return (values[:, None] >> np.arange(width)[::-1] & 1).astype(np.uint8).ravel()


def _rice_codes(values: np.ndarray, rice: np.ndarray) -> np.ndarray:
    """Rice codes of (rows, columns) numbers, one parameter k a row: value >> k ones, a zero, the low k bits.

    Source: R. F. Rice and J. R. Plaunt (1971), IEEE Trans. Commun. Technol. 19, 889–897.
    """
    low = np.repeat(rice, values.shape[1])
    values = values.ravel()
    high = values >> low
    ends = np.cumsum(high + 1 + low)
    zeros = ends - low - 1  # where each code's zero stands
    turns = np.zeros(int(ends[-1]) + 1, np.int8)
    turns[zeros - high] += 1  # a code starts here; two can't start at one place
    turns[zeros] -= 1
    bits = np.cumsum(turns[:-1], dtype=np.int8).astype(np.uint8)
    for place in range(int(rice.max(initial=0))):
        has = low > place
        bits[(ends - 1 - place)[has]] = values[has] >> place & 1
    return bits


def text_of(bits: np.ndarray) -> str:
    """Bits as printable text, 13 to a pair of characters (91² ≥ 2¹³), zeros at the end; lines of `LINE`.

    Source of the idea: J. Henke's basE91.
    """
    padded = np.concatenate([bits, np.zeros(-len(bits) % 13, np.uint8)]).reshape(-1, 13)
    values = padded.astype(np.int64) @ (1 << np.arange(13)[::-1])
    letters = np.frombuffer(ALPHABET.encode("ascii"), np.uint8)
    pairs = letters[np.stack(np.divmod(values, len(ALPHABET)), axis=1)].tobytes().decode("ascii")
    return "\n".join(pairs[start : start + LINE] for start in range(0, len(pairs), LINE))


def pictures_text(pictures: np.ndarray) -> str:
    """Pictures (count, pixels) uint8 as text: a run of zeros as 0 and its length, else each value itself."""
    values = np.ascontiguousarray(pictures, dtype=np.uint8).ravel()
    out = bytearray()
    zero = values == 0
    edges = np.flatnonzero(np.diff(zero.astype(np.int8), prepend=0, append=0))
    before = 0
    for start, end in edges.reshape(-1, 2).tolist():
        out += values[before:start].tobytes()
        while start < end:
            length = min(end - start, 255)
            out += bytes((0, length))
            start += length
        before = end
    out += values[before:].tobytes()
    return text_of(np.unpackbits(np.frombuffer(bytes(out), np.uint8)))
