"""Initial weights: the distributions that a layer's weights and biases are drawn from.

With too large a variance signals explode from layer to layer, with too small a
one they fade; Glorot's, He's and LeCun's rules choose it from the fan-in and fan-out.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import numpy as np

from mnistcore.arguments import ArgumentError, Checked, Named, NotNegative

Generator = np.random.Generator | np.random.RandomState


@runtime_checkable
class Initializer(Protocol):
    """Draws an array of initial values."""

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, generator: Generator) -> np.ndarray:
        """Values of the given shape, float64, for a layer of the given fan-in and fan-out."""
        ...


@dataclass(frozen=True)
class Zeros(Checked):
    """All zero; usual for biases."""

    def draw(self, shape, fan_in, fan_out, generator):
        return np.zeros(shape)


@dataclass(frozen=True)
class Uniform(Checked):
    """Uniform in [low, high)."""

    low: float = -0.1
    high: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ArgumentError("Uniform", ("low",), f"should not be above high, {self.high}", self.low)

    def draw(self, shape, fan_in, fan_out, generator):
        # Written out, since RandomState and Generator share `random` but not the bits of `uniform`.
        return (self.high - self.low) * generator.random(shape) + self.low


@dataclass(frozen=True)
class Normal(Checked):
    """Normal around zero with the given standard deviation."""

    deviation: NotNegative = 1.0

    def draw(self, shape, fan_in, fan_out, generator):
        return self.deviation * generator.standard_normal(shape)


@dataclass(frozen=True)
class Glorot(Checked):
    """Uniform in ±√(6 / (fan_in + fan_out)), for tanh and sigmoid (Glorot & Bengio 2010, eq. 16)."""

    def draw(self, shape, fan_in, fan_out, generator):
        bound = math.sqrt(6.0 / (fan_in + fan_out))
        return Uniform(-bound, bound).draw(shape, fan_in, fan_out, generator)


@dataclass(frozen=True)
class He(Checked):
    """Normal with deviation √(2 / fan_in), for relu (He et al. 2015, eq. 10)."""

    def draw(self, shape, fan_in, fan_out, generator):
        return math.sqrt(2.0 / fan_in) * generator.standard_normal(shape)


@dataclass(frozen=True)
class LeCun(Checked):
    """Normal with deviation 1 / √fan_in, which keeps the variance of a linear layer (LeCun et al. 1998, eq. 16)."""

    def draw(self, shape, fan_in, fan_out, generator):
        return math.sqrt(1.0 / fan_in) * generator.standard_normal(shape)


INITIALIZERS: dict[str, type] = {
    "zeros": Zeros,
    "uniform": Uniform,
    "normal": Normal,
    "glorot": Glorot,
    "he": He,
    "lecun": LeCun,
}
AnyInitializer = Annotated[Initializer, Named(INITIALIZERS)]
