"""The training loop: epochs of batches, each a step down the gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from mnistcore.errors import InputError
from mnistcore.history import Epoch
from mnistcore.network import Network
from mnistcore.optimizers import SGD, Optimizer
from mnistcore.propagation import Propagation
from mnistcore.schedules import Constant, Schedule
from mnistcore.stopping import Stopping
from mnistcore.streams import stream
from mnistcore.team import Team


class Examples(NamedTuple):
    """Images (N, features) and their labels (N,), integers below the number of classes."""

    images: np.ndarray
    labels: np.ndarray


class Augmenter(Protocol):
    """Alters the images of a batch, each by its own random draw."""

    def __call__(self, images: np.ndarray, generator: np.random.Generator, out: np.ndarray) -> np.ndarray:
        """Write altered copies of `images` (n, features) to `out`, which is like it."""


@dataclass(frozen=True)
class Averaging:
    """Exponential average of the weights, average ← decay · average + (1 − decay) · weights, every `steps` steps.

    The averaged weights are the run's result and what validation sees.
    """

    decay: float = 0.99
    steps: int = 10


@dataclass(frozen=True)
class Settings:
    """How to train.

    batch_size : examples per step; the last batch of an epoch may be smaller, unless `remainder` is "drop"
    reduction : whether a step descends the "mean" or the "sum" of its examples' losses
    l2 : adds ½ · l2 · Σ weights² (not biases) to the loss that a step descends
    clip_norm : the largest norm that the gradient may have; longer ones are shortened to it
    shuffle : whether each epoch goes through the examples in a new order
    augmenter : makes what alters the images before each step; called once per shard
    shards : parts that a batch is worked in; more workers than shards find nothing to do
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


class Diverged(InputError):
    """The loss became infinite or not a number."""


def train(
    network: Network,
    examples: Examples,
    settings: Settings,
    *,
    validation: Examples | None = None,
    seed: int = 0,
    workers: int = 1,
    on_progress: Callable[[int, str], None] = lambda examples, note: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train the network in place, from the weights it has, and return the history of its epochs.

    Parameters
    ----------
    validation : measured after each epoch, never trained on
    seed : of shuffling, dropout and augmentation
    workers : threads; they change the time, never the bits
    on_progress : told the number of examples just worked, and a note
    on_epoch : told each epoch's figures

    Raises
    ------
    Diverged : when the loss becomes infinite or NaN
    """
    with Team(min(workers, settings.shards)) as team, np.errstate(all="ignore"):
        run = _Run(network, examples, settings, validation, seed, team)
        history: list[Epoch] = []
        for number in range(1, settings.epochs + 1):
            history.append(run.epoch(number, on_progress))
            on_epoch(history[-1])
            if settings.stopping is not None and settings.stopping.stops(history):
                break
        run.finish()
    return history


class _Run:
    """One training run: its buffers, and what it remembers between steps."""

    def __init__(self, network, examples, settings, validation, seed, team):
        self.network, self.examples, self.settings = network, examples, settings
        self.validation, self.seed, self.team = validation, seed, team
        size = min(settings.batch_size, len(examples.images))
        self.propagation = Propagation(network, size, settings.shards)
        parameters = network.parameters
        self.slots = np.zeros((settings.optimizer.slots, len(parameters)), parameters.dtype)
        self.whole = np.empty_like(parameters) if settings.clip_norm is not None else None
        self.stretches = self.propagation.stretches(self.whole)
        longest = max((s.end - s.start for stretches in self.stretches for s in stretches), default=0)
        self.scratch = np.empty((settings.shards, longest), parameters.dtype)
        self.one_hot = np.eye(network.classes, dtype=parameters.dtype)
        self.average = parameters.copy() if settings.averaging else None
        self.augmenters = [settings.augmenter() for _ in range(settings.shards)] if settings.augmenter else []
        self.best, self.best_loss = None, math.inf
        self.clean_loss = math.inf
        self.step = 0
        if settings.remainder == "drop":
            self.used = len(examples.images) // size * size
        else:
            self.used = len(examples.images)
        self.losses = np.empty(self.used, parameters.dtype)
        self.correct = np.empty(self.used, bool)

    def epoch(self, number: int, on_progress) -> Epoch:
        settings, size = self.settings, self.settings.batch_size
        count = len(self.examples.images)
        order = stream(self.seed, "shuffle", number).permutation(count) if settings.shuffle else np.arange(count)
        steps = math.ceil(self.used / size)
        for index in range(steps):
            start, end = index * size, min((index + 1) * size, self.used)
            progress = number - 1 + (index + 0.5) / steps
            rate = settings.optimizer.learning_rate * settings.schedule.factor(
                progress, settings.epochs, self.clean_loss
            )
            self._step(number, index, order[start:end], slice(start, end), rate)
            if not np.isfinite(self.losses[start:end]).all():
                raise Diverged(
                    f"training diverged: the loss became {self.losses[start:end].sum()} in epoch {number}, "
                    f"step {index + 1} of {steps}, at learning rate {rate:g}; most likely the learning rate is "
                    "too high or the initial weights are too large"
                )
            on_progress(end - start, f"epoch {number}")
        return self._figures(number, rate)

    def _step(self, number, index, chosen, where, rate):
        self.step += 1
        settings, propagation, network = self.settings, self.propagation, self.network
        optimizer, step, parameters = settings.optimizer, self.step, network.parameters
        n = len(chosen)
        *shards, batch = propagation.plan(n)
        bounds = [n * shard // settings.shards for shard in range(settings.shards + 1)]
        scale = 1 / n if settings.reduction == "mean" else 1.0
        folded = rate if optimizer.rate_folded else 1.0

        def examples_phase(shard):
            rows = shards[shard]
            if not len(rows.labels):
                return
            own = chosen[bounds[shard] : bounds[shard + 1]]
            if not self.augmenters:
                np.take(self.examples.images, own, axis=0, out=rows.inputs, mode="clip")
            else:
                generator = stream(self.seed, "augmentation", number, index, shard)
                self.augmenters[shard](self.examples.images[own], generator, rows.inputs)
            rows.labels[...] = self.examples.labels[own]
            np.take(self.one_hot, rows.labels, axis=0, out=rows.targets, mode="clip")
            self._draw_masks(rows, number, index, shard)
            propagation.forward(rows)
            propagation.back(rows, scale * folded)

        def gradient_phase(shard):
            for stretch in self.stretches[shard]:
                g = propagation.gradient(stretch, batch)
                if settings.l2 and stretch.decays:
                    scratch = self.scratch[shard, : len(g)]
                    np.multiply(parameters[stretch.start : stretch.end], settings.l2 * folded, out=scratch)
                    np.add(g, scratch, out=g)
                if self.whole is None:
                    update(shard, stretch)

        def update(shard, stretch):
            a, b = stretch.start, stretch.end
            scratch = self.scratch[shard, : b - a]
            optimizer.update(parameters[a:b], stretch.gradient, self.slots[:, a:b], scratch, rate, step)

        def update_phase(shard):
            for stretch in self.stretches[shard]:
                update(shard, stretch)

        self.team.run(examples_phase, settings.shards)
        self.losses[where], self.correct[where] = batch.losses, batch.correct
        self.team.run(gradient_phase, settings.shards)
        if self.whole is not None:
            self._clip(folded)
            self.team.run(update_phase, settings.shards)
        if self.average is not None and step % settings.averaging.steps == 0:
            self.average *= settings.averaging.decay
            self.average += (1 - settings.averaging.decay) * parameters

    def _clip(self, folded):
        squares = sum(float(np.dot(s.gradient, s.gradient)) for shard in self.stretches for s in shard)
        norm = math.sqrt(squares) / folded if folded else 0.0
        if norm > self.settings.clip_norm:
            for shard in self.stretches:
                for stretch in shard:
                    stretch.gradient *= self.settings.clip_norm / norm

    def _draw_masks(self, rows, number, index, shard):
        generator = None
        for mask, layer in zip(rows.masks, self.network.layers, strict=True):
            if mask is not None:
                generator = generator or stream(self.seed, "dropout", number, index, shard)
                rate = layer.dense.drop_rate
                np.greater_equal(generator.random(mask.shape, np.float32), rate, out=mask)
                mask *= 1 / (1 - rate)

    def _figures(self, number, rate) -> Epoch:
        train_loss = float(self.losses.sum(dtype=np.float64)) / self.used
        result = Epoch(number, rate, train_loss, float(self.correct.sum()) / self.used)
        stopping, schedule = self.settings.stopping, self.settings.schedule
        if schedule.needs_clean_loss or (stopping is not None and stopping.needs_clean_loss):
            self.clean_loss, _ = self._measure(self.network, self.examples)
            result = result._replace(clean_loss=self.clean_loss)
        if self.validation is not None and len(self.validation.images):
            loss, accuracy = self._measure(self._result(), self.validation)
            result = result._replace(validation_loss=loss, validation_accuracy=accuracy)
            if stopping is not None and stopping.keeps_best and loss < self.best_loss:
                self.best, self.best_loss = self._result().parameters.copy(), loss
        return result

    def _result(self) -> Network:
        if self.average is None:
            return self.network
        return Network(
            self.network.features,
            [layer.dense for layer in self.network.layers],
            self.network.loss,
            self.network.precision,
            self.average,
        )

    def _measure(self, network, examples) -> tuple[float, float]:
        """Mean loss and accuracy of the network as it is, without dropout."""
        propagation = Propagation(network, min(1024, len(examples.images)), 1, backward=False)
        total, correct = 0.0, 0
        for start in range(0, len(examples.images), 1024):
            labels = np.asarray(examples.labels[start : start + 1024])
            rows = propagation.plan(len(labels))[-1]
            rows.inputs[...] = examples.images[start : start + 1024]
            rows.labels[...] = labels
            np.take(self.one_hot, rows.labels, axis=0, out=rows.targets, mode="clip")
            propagation.forward(rows)
            total += float(rows.losses.sum(dtype=np.float64))
            correct += int(rows.correct.sum())
        return total / len(examples.images), correct / len(examples.images)

    def finish(self) -> None:
        if self.best is not None:
            self.network.parameters[...] = self.best
        elif self.average is not None:
            self.network.parameters[...] = self.average
