"""Inverted dropout (Srivastava et al. 2014): in training, units are zeroed at random and the others scaled up.

A unit is kept with probability 1 − rate and then multiplied by 1 / (1 − rate), so
that its expected output is that of the whole network, which is what predicts.
"""

from collections.abc import Sequence

import numpy as np

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

    def __init__(self, rates: Sequence[float], units: Sequence[int], rows: int, seed: int, part: int) -> None:
        self._seed, self._part = seed, part
        self._layers: list[tuple[int, int, np.uint16, float]] = []
        start = 0
        for k, (rate, width) in enumerate(zip(rates, units, strict=True)):
            threshold = min(round(rate * LEVELS), LEVELS - 1)  # a rate just below 1 keeps something
            if threshold:
                self._layers.append((k, start, np.uint16(threshold), LEVELS / (LEVELS - threshold)))
                start += rows * width
        self._numbers = -(-start // 4) * 4  # random bits come 64 at a time
        self._steps = max(1, DRAWN // max(1, self._numbers))
        self._position: tuple[int, int] | None = None
        self._bits = np.empty((0, 0), np.uint16)

    def draw(self, masks: Sequence[np.ndarray | None], epoch: int, step: int) -> None:
        """Fill the masks, (rows, units) of each layer that drops; the same for the same (epoch, step).

        `step` is counted from 0 in its epoch. A layer's mask is 0 where a unit is dropped, 1 / (1 − rate) elsewhere.
        """
        if not self._layers:
            return
        block, index = divmod(step, self._steps)
        if self._position != (epoch, block):
            generator = stream(self._seed, "dropout", epoch, block, self._part)
            words = generator.bit_generator.random_raw(self._steps * self._numbers // 4)
            self._bits = words.view(np.uint16).reshape(self._steps, self._numbers)
            self._position = epoch, block
        for k, start, threshold, scale in self._layers:
            mask = masks[k]
            if mask is not None:
                bits = self._bits[index, start : start + mask.size].reshape(mask.shape)
                np.greater_equal(bits, threshold, out=mask)
                np.multiply(mask, scale, out=mask)
