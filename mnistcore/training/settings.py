"""What a run of training is given: the examples, and how to train on them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from mnistcore.training.optimizers import SGD, Optimizer
from mnistcore.training.schedules import Constant, Schedule
from mnistcore.training.stopping import Stopping


class Examples(NamedTuple):
    """Images (N, features) of the network's precision, and their labels (N,), integers below the classes."""

    images: np.ndarray
    labels: np.ndarray


class Augmenter(Protocol):
    """Alters the images of a batch, each by its own random draw."""

    def __call__(self, images: np.ndarray, generator: np.random.Generator, out: np.ndarray) -> np.ndarray:
        """Write altered copies of `images` (n, features) to `out`, which is like it."""


@dataclass(frozen=True)
class Averaging:
    """Exponential average of the weights: average ← decay · average + (1 − decay) · weights, every `steps` steps.

    Validation sees the averaged weights, and they are the run's result (Polyak & Juditsky 1992 on why).
    """

    decay: float = 0.99
    steps: int = 10


@dataclass(frozen=True)
class Settings:
    """How to train.

    batch_size : examples per step; the last batch of an epoch may be smaller, unless `remainder` is "drop"
    reduction : whether a step descends the "mean" or the "sum" of its examples' losses
    l2 : adds ½ · l2 · Σ weights² (not biases) to the loss that a step descends
    clip_norm : the largest norm that the gradient may have; a longer one is shortened to it
    shuffle : whether each epoch goes through the examples in a new order
    augmenter : makes what alters the images before each step; called once per shard
    shards : into how many parts a step's work is cut, at most; more workers than that find nothing to do
    """

    epochs: int = 10
    batch_size: int = 128
    remainder: Literal["keep", "drop"] = "keep"
    reduction: Literal["mean", "sum"] = "mean"
    optimizer: Optimizer = SGD()
    schedule: Schedule = Constant()
    l2: float = 0.0
    clip_norm: float | None = None
    shuffle: bool = True
    stopping: Stopping | None = None
    averaging: Averaging | None = None
    augmenter: Callable[[], Augmenter] | None = None
    shards: int = 2
