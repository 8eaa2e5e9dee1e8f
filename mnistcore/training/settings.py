"""What a run of training is given: the examples, and how to train on them; each checks itself, and one the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np

from mnistcore.arguments import (
    ArgumentError,
    Bounds,
    Checked,
    Count,
    NotNegative,
    Part,
    Positive,
    Precision,
    Whole,
    check,
    check_array,
)
from mnistcore.engine.windows import Window
from mnistcore.network.initializers import Zeros
from mnistcore.network.network import Network
from mnistcore.training.optimizers import SGD, AnyOptimizer
from mnistcore.training.schedules import AnySchedule, Constant
from mnistcore.training.stopping import AnyStopping, Patience

SCANNED = 1 << 20  # bytes of images looked at at a time


@dataclass(frozen=True, eq=False)
class Examples:
    """What to learn from, or to measure on.

    images : (N, features) float32 or float64, finite; in memory, or mapped from a file
    labels : (N,) integers from 0

    Raises
    ------
    ArgumentError : for anything else
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images = check_array(self.images, "Examples", "images", kinds="f", shape=(None, None))
        labels = check_array(self.labels, "Examples", "labels", kinds="iu", shape=(None,))
        check(Precision, images.dtype.name, "Examples", "images", "dtype")
        if len(images) != len(labels):
            raise ArgumentError("Examples", ("labels",), f"{len(labels):,} for {len(images):,} images")
        if images.shape[1] == 0:
            raise ArgumentError("Examples", ("images",), "have no pixels")
        if len(labels) and labels.min() < 0:
            raise ArgumentError(
                "Examples", ("labels",), f"should be 0 or more, row {int(labels.argmin())} is {labels.min()}"
            )
        self._check_finite()

    def _check_finite(self) -> None:
        window, rows = Window(self.images), max(1, SCANNED // max(1, self.images[:1].nbytes))
        chunk = np.empty((min(rows, len(self.images)), self.images.shape[1]), self.images.dtype)
        for start in range(0, len(self.images), rows):
            some = chunk[: len(self.images) - start]
            window.copy(slice(start, start + len(some)), some)
            # One pass by BLAS: NaN and infinity stay in a sum of squares. It may overflow as well, so look closer then.
            if not math.isfinite(np.vdot(some, some)) and not np.isfinite(some).all():
                row = start + int((~np.isfinite(some)).any(axis=1).argmax())
                raise ArgumentError("Examples", ("images",), f"should be finite, row {row} is not")


class Augmenter(Protocol):
    """Alters the images of a batch, each by its own random draw."""

    def __call__(self, images: np.ndarray, generator: np.random.Generator, out: np.ndarray) -> np.ndarray:
        """Write altered copies of `images` (n, features) to `out`, which is like it."""
        ...


@dataclass(frozen=True)
class Averaging(Checked):
    """Exponential average of the weights, taken every `steps` steps: each counts `decay` times as much as the next.

    Validation sees the averaged weights, and they are the run's result (Polyak & Juditsky 1992 on why).
    """

    decay: Part = 0.99
    steps: Count = 10


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """How to train: a field for each thing that a user can set about a run, however many those are.

    batch_size : examples per step; the last batch of an epoch may be smaller, unless `remainder` is "drop"
    reduction : whether a step descends the "mean" or the "sum" of its examples' losses
    shuffle : whether each epoch goes through the examples in a new order
    l2 : adds ½ · l2 · Σ weights² (not biases) to the loss that a step descends
    clip_norm : the largest norm that the gradient may have; a longer one is shortened to it
    augmenter : makes what alters the images before each step; called once per shard
    shards : into how many parts a step's work is cut, at most; more workers than that find nothing to do

    Raises
    ------
    ArgumentError : for a value that cannot be meant
    """

    batch_size: Count = 128
    remainder: Literal["keep", "drop"] = "keep"
    reduction: Literal["mean", "sum"] = "mean"
    epochs: Count = 10
    shuffle: bool = True
    optimizer: AnyOptimizer = SGD()
    schedule: AnySchedule = Constant()
    l2: NotNegative = 0.0
    clip_norm: Positive | None = None
    stopping: AnyStopping | None = None
    averaging: Averaging | None = None
    augmenter: Callable[[], Augmenter] | None = None
    shards: Annotated[int, Bounds(least=1, most=64)] = 2


def check_run(
    network: Network,
    examples: Examples,
    settings: Settings,
    validation: Examples | None = None,
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Refuse what does not fit together, before any work; each of them has checked itself.

    Raises
    ------
    ArgumentError : names what does not fit, as `Settings.averaging.steps`
    """
    owner = "train"
    check(Network, network, owner, "network")
    check(Settings, settings, owner, "settings")
    check(Whole, seed, owner, "seed")
    check(Count, workers, owner, "workers")
    for name, some in (("examples", examples), ("validation", validation)):
        if some is not None or name == "examples":
            _check_fit(network, check(Examples, some, owner, name), name)
    if not len(examples.images):
        raise ArgumentError(owner, ("examples",), "there are none")
    if isinstance(settings.stopping, Patience) and (validation is None or not len(validation.images)):
        problem = "patience goes by the validation loss; hold some examples out"
        raise ArgumentError("Settings", ("stopping",), problem)
    size = min(settings.batch_size, len(examples.images))
    whole, left = divmod(len(examples.images), size)
    steps = settings.epochs * (whole + (left > 0 and settings.remainder == "keep"))
    if settings.averaging is not None and settings.averaging.steps > steps:
        problem = f"the run has {steps:,} steps, so that no weights would come into the average"
        raise ArgumentError("Settings", ("averaging", "steps"), problem, settings.averaging.steps)


def check_initialized(network: Network) -> None:
    """Refuse a network whose weights nobody has drawn: all its units would learn the same.

    Raises
    ------
    ArgumentError : all parameters are zero, although its layers say otherwise
    """
    check(Network, network, "train", "network")
    drawn = any(not isinstance(layer.dense.weights, Zeros) for layer in network.layers)
    if drawn and not network.parameters.any():
        problem = 'its weights are all zero; `initialize(stream(0, "weights"))` draws them'
        raise ArgumentError("train", ("network",), problem)


def _check_fit(network: Network, examples: Examples, name: str) -> None:
    images, labels = examples.images, examples.labels
    if images.shape[1] != network.features:
        problem = f"of {images.shape[1]:,} pixels, the network takes {network.features:,}"
        raise ArgumentError("train", (name, "images"), problem)
    if images.dtype != network.precision:
        raise ArgumentError(
            "train", (name, "images"), f"{images.dtype}, the network's precision is {network.precision}"
        )
    if len(labels) and labels.max() >= network.classes:
        problem = f"row {int(labels.argmax())} is {labels.max()}; the network's classes are 0 to {network.classes - 1}"
        raise ArgumentError("train", (name, "labels"), problem)
