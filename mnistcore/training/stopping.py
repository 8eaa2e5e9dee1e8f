"""Stopping rules: when training ends before its last epoch."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from mnistcore.arguments import Checked, Count, Named, Positive
from mnistcore.training.history import Epoch


@runtime_checkable
class Stopping(Protocol):
    """Decides after each epoch.

    needs_clean_loss : whether it goes by the training loss without dropout
    keeps_best : whether the run's result are the weights of the lowest validation loss, not the last ones
    """

    needs_clean_loss: ClassVar[bool]
    keeps_best: ClassVar[bool]

    def stops(self, history: list[Epoch]) -> bool:
        """Whether training ends after the epochs in `history`."""
        ...


@dataclass(frozen=True)
class LossTarget(Checked):
    """Stops when the training loss, measured without dropout, falls below `loss`."""

    loss: Positive
    needs_clean_loss: ClassVar[bool] = True
    keeps_best: ClassVar[bool] = False

    def stops(self, history):
        return history[-1].clean_loss < self.loss


@dataclass(frozen=True)
class Patience(Checked):
    """Stops when the validation loss has not fallen for `epochs` epochs; keeps the weights where it was lowest."""

    epochs: Count
    needs_clean_loss: ClassVar[bool] = False
    keeps_best: ClassVar[bool] = True

    def stops(self, history):
        losses = [epoch.validation_loss for epoch in history]
        return len(losses) - 1 - losses.index(min(losses)) >= self.epochs


@dataclass(frozen=True)
class FirstRise(Checked):
    """Stops at the first epoch whose training loss, as summed while training, is above that of the epoch before."""

    needs_clean_loss: ClassVar[bool] = False
    keeps_best: ClassVar[bool] = False

    def stops(self, history):
        return len(history) > 1 and history[-1].train_loss > history[-2].train_loss


STOPPING_RULES: dict[str, type] = {
    "loss-target": LossTarget,
    "patience": Patience,
    "first-rise": FirstRise,
}
AnyStopping = Annotated[Stopping, Named(STOPPING_RULES)]
