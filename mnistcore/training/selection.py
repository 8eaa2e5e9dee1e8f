"""Which weights a run results in: the last ones, their average, or those of the lowest validation loss."""

import math

import numpy as np

from mnistcore.network.network import Network
from mnistcore.training.settings import Averaging


class Selection:
    """What a run keeps of a network's weights while it changes them.

    Attributes
    ----------
    evaluated : the network that validation sees, over the averaged weights if there are such
    average (P,) : the running average of the weights, or length 0
    best (P,), best_loss : the weights of the lowest validation loss so far, or length 0, and that loss
    """

    def __init__(self, network: Network, averaging: Averaging | None, keeps_best: bool) -> None:
        self._parameters, self._keeps_best = network.parameters, keeps_best
        self._decay, self._every = (averaging.decay, averaging.steps) if averaging is not None else (0.0, 0)
        self.average = network.parameters.copy() if averaging is not None else network.parameters[:0]
        self.evaluated = network.over(self.average) if averaging is not None else network
        self.best, self.best_loss = network.parameters[:0], math.inf

    def averages_after(self, steps: int) -> bool:
        """Whether the weights enter the average after so many steps of the run."""
        return self._every > 0 and steps % self._every == 0

    def update_average(self, steps: int) -> None:
        """Let the network's weights enter the average, after so many steps of the run.

        Of n weights w the average is (1 − d) Σ dⁿ⁻ᵏ wₖ / (1 − dⁿ), d the decay: as in Adam, the denominator corrects
        the bias towards where an average would begin (Kingma & Ba 2015, section 3).
        """
        share = (1 - self._decay) / (1 - self._decay ** (steps // self._every))
        self.average += share * (self._parameters - self.average)

    def validated(self, loss: float) -> None:
        """Keep the evaluated weights if their validation loss is the lowest so far."""
        if self._keeps_best and loss < self.best_loss:
            self.best, self.best_loss = self.evaluated.parameters.copy(), loss

    def result(self) -> np.ndarray:
        """The weights that the run results in, (P,)."""
        if len(self.best):
            return self.best
        return self.average if len(self.average) else self._parameters
