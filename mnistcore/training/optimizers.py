"""Optimisers: how a gradient moves the parameters.

Each works element by element and in place on any piece of the flat vector, so
that workers can update different parameter blocks at once.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import numpy as np

from mnistcore.arguments import Checked, Named, NotNegative, Part, Positive
from mnistcore.engine.update import UpdateRule


@runtime_checkable
class Optimizer(UpdateRule, Protocol):
    """An update rule with a learning rate."""

    @property
    def learning_rate(self) -> float:
        """What a schedule multiplies."""
        ...


@dataclass(frozen=True)
class SGD(Checked):
    """p ← p − rate · g."""

    learning_rate: Positive = 0.1
    slots: ClassVar[int] = 0
    rate_folded: ClassVar[bool] = True
    uses_scratch: ClassVar[bool] = False

    def update(self, p, g, slots, scratch, rate, step):
        np.subtract(p, g, out=p)


@dataclass(frozen=True)
class Momentum(Checked):
    """v ← momentum · v − rate · g;  p ← p + v (Polyak 1964)."""

    learning_rate: Positive = 0.1
    momentum: Part = 0.9
    slots: ClassVar[int] = 1
    rate_folded: ClassVar[bool] = True
    uses_scratch: ClassVar[bool] = False

    def update(self, p, g, slots, scratch, rate, step):
        v = slots[0]
        np.multiply(v, self.momentum, out=v)
        np.subtract(v, g, out=v)
        np.add(p, v, out=p)


@dataclass(frozen=True)
class Nesterov(Checked):
    """v ← momentum · v − rate · g;  p ← p + momentum · v − rate · g (Sutskever et al. 2013, rewritten)."""

    learning_rate: Positive = 0.1
    momentum: Part = 0.9
    slots: ClassVar[int] = 1
    rate_folded: ClassVar[bool] = True
    uses_scratch: ClassVar[bool] = True

    def update(self, p, g, slots, scratch, rate, step):
        v = slots[0]
        np.multiply(v, self.momentum, out=v)
        np.subtract(v, g, out=v)
        np.subtract(p, g, out=p)
        np.multiply(v, self.momentum, out=scratch)
        np.add(p, scratch, out=p)


@dataclass(frozen=True)
class Adam(Checked):
    """Steps scaled by running means of the gradient and its square (Kingma & Ba 2015), with that paper's constants.

    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²
    p ← p − rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε), the order given at the end of their section 2.

    Its slots are m / (1 − β₁) and v / (1 − β₂), which saves two passes of twelve; one factor of the rate makes up.
    """

    learning_rate: Positive = 0.001
    beta1: Part = 0.9
    beta2: Part = 0.999
    epsilon: Positive = 1e-8
    slots: ClassVar[int] = 2
    rate_folded: ClassVar[bool] = False
    uses_scratch: ClassVar[bool] = True

    def update(self, p, g, slots, scratch, rate, step):
        m, v = slots
        np.multiply(g, g, out=scratch)
        np.multiply(v, self.beta2, out=v)
        np.add(v, scratch, out=v)
        np.multiply(m, self.beta1, out=m)
        np.add(m, g, out=m)
        np.sqrt(v, out=scratch)
        np.add(scratch, self.epsilon / math.sqrt(1 - self.beta2), out=scratch)
        np.divide(m, scratch, out=scratch)
        factor = (1 - self.beta1) / math.sqrt(1 - self.beta2)
        correction = math.sqrt(1 - self.beta2**step) / (1 - self.beta1**step)
        np.multiply(scratch, rate * factor * correction, out=scratch)
        np.subtract(p, scratch, out=p)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decay apart from the gradient: first p ← p − rate · weight_decay · p (Loshchilov & Hutter 2019).

    Biases decay too, as in the paper.
    """

    weight_decay: NotNegative = 0.01

    def update(self, p, g, slots, scratch, rate, step):
        np.multiply(p, 1 - rate * self.weight_decay, out=p)
        super().update(p, g, slots, scratch, rate, step)


OPTIMIZERS: dict[str, type] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "adamw": AdamW,
}
AnyOptimizer = Annotated[Optimizer, Named(OPTIMIZERS)]
