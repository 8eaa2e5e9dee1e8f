"""What is known after each epoch of training."""

import math
from typing import NamedTuple


class Epoch(NamedTuple):
    """Figures of one epoch, all that its row of the curves has; losses are means over examples.

    The training loss and accuracy come from the forward passes of training
    itself, so with the weights of the moment and with dropout; `clean_loss` is
    measured afterwards, without it, where a schedule or stopping rule asks.
    NaN: not measured.
    """

    number: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float = math.nan
    validation_accuracy: float = math.nan
    clean_loss: float = math.nan
