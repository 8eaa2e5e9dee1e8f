"""Learning-rate schedules: by what the optimiser's learning rate is multiplied at each step."""

import bisect
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from mnistcore.arguments import ArgumentError, AtLeast, Checked, Count, Named, NotNegative, Positive


@runtime_checkable
class Schedule(Protocol):
    """The learning-rate multiplier of a step.

    needs_clean_loss : whether it goes by the training loss without dropout, which costs a pass over the data
    """

    needs_clean_loss: ClassVar[bool]

    def multiplier(self, progress: float, epochs: int, clean_loss: float) -> float:
        """The multiplier after `progress` epochs (fractions of epochs count) of a run of `epochs`.

        clean_loss : the mean training loss without dropout after the last whole epoch; inf before that
        """
        ...


@dataclass(frozen=True)
class Constant(Checked):
    """Always 1."""

    needs_clean_loss: ClassVar[bool] = False

    def multiplier(self, progress, epochs, clean_loss):
        return 1.0


@dataclass(frozen=True)
class Steps(Checked):
    """Changes after given numbers of epochs: factors[k] once after[k] epochs are done, 1 before."""

    after: Annotated[tuple[Count, ...], AtLeast(1)]
    factors: tuple[NotNegative, ...]
    needs_clean_loss: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.after) != sorted(set(self.after)):
            raise ArgumentError("Steps", ("after",), "should be ascending", self.after)
        _check_pairs(self.factors, self.after, "Steps", "after")

    def multiplier(self, progress, epochs, clean_loss):
        return (1.0, *self.factors)[bisect.bisect_right(self.after, progress)]


@dataclass(frozen=True)
class Cosine(Checked):
    """Rises linearly from 0 over the warm-up, then falls along half a cosine to `final` (Loshchilov & Hutter 2017)."""

    warmup_epochs: NotNegative = 0.0
    final: NotNegative = 0.0
    needs_clean_loss: ClassVar[bool] = False

    def multiplier(self, progress, epochs, clean_loss):
        if progress < self.warmup_epochs:
            return progress / self.warmup_epochs
        done = (progress - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@dataclass(frozen=True)
class LossBands(Checked):
    """Falls with the training loss, measured without dropout after each epoch.

    Below losses[k] the multiplier is factors[k]; losses descend.
    """

    losses: Annotated[tuple[Positive, ...], AtLeast(1)]
    factors: tuple[NotNegative, ...]
    needs_clean_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.losses) != sorted(set(self.losses), reverse=True):
            raise ArgumentError("LossBands", ("losses",), "should be descending", self.losses)
        _check_pairs(self.factors, self.losses, "LossBands", "losses")

    def multiplier(self, progress, epochs, clean_loss):
        passed = sum(clean_loss < bound for bound in self.losses)
        return (1.0, *self.factors)[passed]


def _check_pairs(factors: tuple[float, ...], places: tuple[float, ...], owner: str, name: str) -> None:
    if len(factors) != len(places):
        raise ArgumentError(owner, ("factors",), f"should be one for each of `{name}`", factors)


SCHEDULES: dict[str, type] = {
    "constant": Constant,
    "steps": Steps,
    "cosine": Cosine,
    "loss-bands": LossBands,
}
AnySchedule = Annotated[Schedule, Named(SCHEDULES)]
