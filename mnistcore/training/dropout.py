"""Inverted dropout (Srivastava et al. 2014): in training, units are zeroed at random and the others scaled up.

A unit is kept with probability 1 − rate and then multiplied by 1 / (1 − rate), so
that its expected output is that of the whole network, which is what predicts.
"""

import numpy as np

from mnistcore.engine.propagation import Rows
from mnistcore.streams import stream

LEVELS = 1 << 16  # a rate is rounded to a multiple of 1 / LEVELS
DRAWN = 1 << 14  # random numbers drawn at a time, if a step needs fewer


class Dropout:
    """Draws the masks of one part of a batch.

    Parameters
    ----------
    rates : the drop rate of each layer
    units : the units of each layer
    rows : examples of the part, at most
    seed, part : name the random stream
    """

    def __init__(self, rates: list[float], units: list[int], rows: int, seed: int, part: int) -> None:
        self.seed, self.part = seed, part
        self._layers = []
        start = 0
        for k, (rate, width) in enumerate(zip(rates, units, strict=True)):
            threshold = min(round(rate * LEVELS), LEVELS - 1)  # a rate just below 1 keeps something
            if threshold:
                scale = LEVELS / (LEVELS - threshold)
                self._layers.append((k, start, width, np.uint16(threshold), scale))
                start += rows * width
        self._numbers = -(-start // 4) * 4  # random bits come 64 at a time
        self._steps = max(1, DRAWN // max(1, self._numbers))
        self._position: tuple[int, int] | None = None
        self._bits = np.empty((0, 0), np.uint16)

    def draw(self, rows: Rows, epoch: int, step: int) -> None:
        """Fill `rows.masks` for one step, counted from 0 in its epoch; the same for the same (epoch, step)."""
        if not self._layers:
            return
        block, index = divmod(step, self._steps)
        if self._position != (epoch, block):
            generator = stream(self.seed, "dropout", epoch, block, self.part)
            words = generator.bit_generator.random_raw(self._steps * self._numbers // 4)
            self._bits = words.view(np.uint16).reshape(self._steps, self._numbers)
            self._position = epoch, block
        for k, start, width, threshold, scale in self._layers:
            mask, kept = rows.masks[k], rows.positive[k]
            bits = self._bits[index, start : start + len(mask) * width].reshape(-1, width)
            np.greater_equal(bits, threshold, out=kept)
            np.multiply(kept, mask.dtype.type(scale), out=mask)
