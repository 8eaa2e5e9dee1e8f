"""The training loop: epochs of batches, each a step down the gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from mnistcore import shared
from mnistcore.checkpoint import Checkpoint, State
from mnistcore.dropout import Dropout
from mnistcore.errors import InputError
from mnistcore.history import Epoch
from mnistcore.network import Network
from mnistcore.optimizers import SGD, Optimizer
from mnistcore.propagation import OneByOne, Propagation, Rows, Stretch
from mnistcore.schedules import Constant, Schedule
from mnistcore.stopping import Patience, Stopping
from mnistcore.streams import stream
from mnistcore.team import Team
from mnistcore.windows import Window

REPORTED = 4096  # examples between two looks at the losses, the clock and the progress bar
MEASURED = 1024  # examples at a time when only a loss is measured


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
    checkpoint: Checkpoint | None = None,
    on_progress: Callable[[int, str], None] = lambda examples, note: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train the network in place, from the weights it has, and return the history of its epochs.

    Parameters
    ----------
    validation : measured after each epoch, never trained on
    seed : of shuffling, dropout and augmentation
    workers : processes that share the work; they change the time, never the bits
    checkpoint : where to continue from, and what to write now and then; its last state is the finished run
    on_progress : told the number of examples just worked, and a note
    on_epoch : told each epoch's figures; first those before the checkpoint, if there is one

    Raises
    ------
    Diverged : when the loss becomes infinite or NaN; a checkpoint is left as it was before
    InputError : when there is nothing to train on, or nothing to measure patience by
    """
    if not len(examples.images):
        raise InputError("training: there are no examples")
    if isinstance(settings.stopping, Patience) and (validation is None or not len(validation.images)):
        raise InputError("training: stopping by patience goes by the validation loss; hold some examples out")
    with np.errstate(all="ignore"):
        run = _Run(network, examples, settings, validation, seed, workers, checkpoint, on_progress)
        run.resume()
        for epoch in run.history:
            on_epoch(epoch)
        with run.team as team:  # every worker runs this
            while not run.over():
                run.epoch()
                if team.leads:
                    on_epoch(run.history[-1])
        run.finish()
    return run.history


class _Run:
    """One training run: its buffers, and what it remembers between steps.

    Each worker of the team has its own, a fork of the first. Their attributes stay equal, since all go through
    the same steps; the arrays that they fill together are shared.
    """

    def __init__(self, network, examples, settings, validation, seed, workers, checkpoint, on_progress) -> None:
        self.trained = network
        if not shared.is_shared(network.parameters):
            network = _over(network, shared.zeros(network.parameters.shape, network.precision))
            network.parameters[...] = self.trained.parameters
        self.network, self.examples, self.settings = network, examples, settings
        self.validation, self.seed = validation, seed
        self.checkpoint, self.on_progress = checkpoint, on_progress
        self.parameters = parameters = network.parameters
        size = min(settings.batch_size, len(examples.images))
        self.used = len(examples.images)
        if settings.remainder == "drop":
            self.used -= self.used % size
        self.size, self.steps = size, math.ceil(self.used / size)

        plain = isinstance(settings.optimizer, SGD) and not settings.l2 and settings.clip_norm is None
        self.one_by_one = size == 1 and plain
        self.propagation = OneByOne(network) if self.one_by_one else Propagation(network, size, settings.shards)
        self.shards = self.propagation.shards
        self.team = Team(min(workers, self.shards))
        self.whole_gradient = None if settings.clip_norm is None else np.empty_like(parameters)
        self.stretches = self.propagation.stretches(self.whole_gradient)
        self.squares = shared.zeros((self.shards,), np.float64)
        self.slots = shared.zeros((settings.optimizer.slots, len(parameters)), parameters.dtype)
        longest = max((s.end - s.start for shard in self.stretches for s in shard), default=0)
        uses_scratch = settings.l2 or settings.optimizer.uses_scratch
        self.scratch = np.empty((self.shards, longest if uses_scratch else 0), parameters.dtype)

        self.window, self.labels = Window(examples.images), np.asarray(examples.labels)
        rates = [layer.dense.drop_rate for layer in network.layers]
        units = [layer.dense.units for layer in network.layers]
        rows = -(-size // self.shards)
        self.dropouts = [Dropout(rates, units, rows, seed, shard) for shard in range(self.shards)]
        self.augmenters = [settings.augmenter() for _ in range(self.shards)] if settings.augmenter else []

        self.history: list[Epoch] = []
        self.step, self.updates, self.finished = 0, 0, False
        self.average = parameters.copy() if settings.averaging else parameters[:0]
        self.judged = _over(network, self.average) if settings.averaging else network
        self.best, self.best_loss, self.clean_loss = parameters[:0], math.inf, math.inf
        self.losses = np.empty(self.used, parameters.dtype)
        self.correct = np.empty(self.used, bool)
        self.measures = shared.zeros((self.shards, 2), np.float64)

    def epoch(self) -> None:
        """Go through the examples once, or through what is left of them in this epoch."""
        settings, number = self.settings, len(self.history) + 1
        if settings.shuffle:
            order = stream(self.seed, "shuffle", number).permutation(len(self.examples.images))
        else:
            order = np.arange(len(self.examples.images))
        looked = self.step * self.size
        base, factor = settings.optimizer.learning_rate, settings.schedule.factor
        for index in range(self.step, self.steps):
            progress = number - 1 + (index + 0.5) / self.steps
            self.rate = base * factor(progress, settings.epochs, self.clean_loss)
            start = index * self.size
            self._take_step(number, index, order[start : start + self.size] if start + self.size <= self.used
                            else order[start : self.used], start)  # fmt: skip
            done = min(start + self.size, self.used)
            if done - looked >= REPORTED or done == self.used:
                self._look(number, looked, done)
                looked = done
        self.step = 0
        self.history.append(self._figures(number))
        if self.team.leads:
            self._save_if_due()

    def over(self) -> bool:
        """Whether the last epoch is done, or a stopping rule says so."""
        if not self.history:
            return False
        stopping = self.settings.stopping
        return len(self.history) == self.settings.epochs or (stopping is not None and stopping.stops(self.history))

    def _take_step(self, number: int, index: int, chosen: np.ndarray, start: int) -> None:
        self.updates += 1
        self.number, self.index, self.chosen = number, index, chosen
        n = len(chosen)
        self.parts, self.batch = self.propagation.plan(n)
        # Where the optimiser only multiplies by the learning rate, the (batch, K) deltas are the cheapest place.
        self.folded = self.rate if self.settings.optimizer.rate_folded else 1.0
        self.scale = self.folded / n if self.settings.reduction == "mean" else self.folded
        own = self.team.own(self.shards)
        for shard in own:
            self._work_examples(shard)
        self.team.wait()
        self.losses[start : start + n] = self.batch.losses
        self.correct[start : start + n] = self.batch.correct
        if self.one_by_one:
            self.propagation.descend(self.batch)
        else:
            for shard in own:
                self._work_parameters(shard)
            self.team.wait()
            if self.whole_gradient is not None:
                self._update_clipped(own)
                self.team.wait()
        averaging = self.settings.averaging
        if averaging is not None and self.updates % averaging.steps == 0:
            self.average *= averaging.decay
            self.average += (1 - averaging.decay) * self.parameters

    def _work_examples(self, shard: int) -> None:
        """Phase 1 for one shard: gather its examples, forward, backward."""
        rows = self.parts[shard]
        if not len(rows.labels):
            return
        own = self.chosen[rows.start : rows.start + len(rows.labels)]
        if self.augmenters:
            generator = stream(self.seed, "augmentation", self.number, self.index, shard)
            self.augmenters[shard](self.window.take(own), generator, rows.inputs)
        else:
            self.window.take(own, rows.inputs)
        rows.labels[...] = self.labels[own]
        self.dropouts[shard].draw(rows, self.number, self.index)
        self.propagation.forward(rows)
        self.propagation.backward(rows, self.scale)

    def _work_parameters(self, shard: int) -> None:
        """Phase 2 for one shard: the gradient of its parameters, stretch by stretch, and their update."""
        l2 = self.settings.l2 * self.folded
        for stretch in self.stretches[shard]:
            g = self.propagation.gradient(stretch, self.batch)
            if l2 and stretch.weights is not None:
                count = stretch.weights.size
                decay = self.scratch[shard, :count]
                np.multiply(self.parameters[stretch.start : stretch.start + count], l2, out=decay)
                np.add(g[:count], decay, out=g[:count])
            if self.whole_gradient is None:
                self._update(shard, stretch)
        if self.whole_gradient is not None:
            self.squares[shard] = sum(float(np.dot(s.gradient, s.gradient)) for s in self.stretches[shard])

    def _update(self, shard: int, stretch: Stretch) -> None:
        a, b = stretch.start, stretch.end
        scratch = self.scratch[shard, : b - a]
        self.settings.optimizer.update(
            self.parameters[a:b], stretch.gradient, self.slots[:, a:b], scratch, self.rate, self.updates
        )

    def _update_clipped(self, own: range) -> None:
        norm = math.sqrt(self.squares.sum()) / self.folded if self.folded else 0.0
        for shard in own:
            for stretch in self.stretches[shard]:
                if norm > self.settings.clip_norm:
                    np.multiply(stretch.gradient, self.settings.clip_norm / norm, out=stretch.gradient)
                self._update(shard, stretch)

    def _look(self, number: int, looked: int, done: int) -> None:
        """Now and then: stop if the loss is no number, report progress, write a checkpoint."""
        bad = np.flatnonzero(~np.isfinite(self.losses[looked:done]))
        if len(bad):
            value = self.losses[looked + bad[0]]
            step = (looked + int(bad[0])) // self.size + 1
            raise Diverged(
                f"the loss became {'infinite' if np.isinf(value) else 'NaN'} in epoch {number}, "
                f"step {step} of {self.steps}, at learning rate {self.rate:g}; most likely the learning rate "
                "is too high or the initial weights are too large"
            )
        self.step = -(-done // self.size)
        if self.team.leads:
            self.on_progress(done - looked, f"epoch {number}")
            if done < self.used:
                self._save_if_due()

    def _figures(self, number: int) -> Epoch:
        """Sum up an epoch, and measure what validation, schedule and stopping rule want to know."""
        train_loss = float(self.losses.sum(dtype=np.float64)) / self.used
        result = Epoch(number, self.rate, train_loss, int(self.correct.sum()) / self.used)
        stopping, schedule = self.settings.stopping, self.settings.schedule
        if schedule.needs_clean_loss or (stopping is not None and stopping.needs_clean_loss):
            self.clean_loss, _ = self._measure(self.network, self.examples)
            result = result._replace(clean_loss=self.clean_loss)
        if self.validation is not None and len(self.validation.images):
            loss, accuracy = self._measure(self.judged, self.validation)
            result = result._replace(validation_loss=loss, validation_accuracy=accuracy)
            if stopping is not None and stopping.keeps_best and loss < self.best_loss:
                self.best, self.best_loss = self.judged.parameters.copy(), loss
        return result

    def _measure(self, network: Network, examples: Examples) -> tuple[float, float]:
        """Mean loss and accuracy of the network as it predicts, without dropout."""
        count = len(examples.images)
        size = min(count, MEASURED)
        propagation = Propagation(network, size, self.shards, training=False)
        own, window = self.team.own(propagation.shards), Window(examples.images)
        self.measures[own] = 0
        for start in range(0, count, size):
            parts, _ = propagation.plan(min(size, count - start))
            for shard in own:
                rows = parts[shard]
                chosen = slice(start + rows.start, start + rows.start + len(rows.labels))
                window.copy(chosen, rows.inputs)
                rows.labels[...] = examples.labels[chosen]
                propagation.forward(rows)
                self.measures[shard] += rows.losses.sum(dtype=np.float64), rows.correct.sum()
        self.team.wait()
        loss, correct = self.measures[: propagation.shards].sum(axis=0).tolist()
        self.team.wait()  # until all have read the sums
        return loss / count, correct / count

    def _state(self) -> State:
        history = np.array(self.history, np.float64).reshape(-1, len(Epoch._fields))
        done = min(self.step * self.size, self.used)
        return State(
            len(self.history), self.step, self.updates, self.parameters, self.slots, self.average, self.best,
            self.best_loss, self.clean_loss, history, self.losses[:done], self.correct[:done], self.finished,
        )  # fmt: skip

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one of this run."""
        state = self.checkpoint.load() if self.checkpoint is not None else None
        if state is None:
            return
        self.history = [Epoch(int(number), *rest) for number, *rest in state.history.tolist()]
        self.step, self.updates, self.finished = state.step, state.updates, state.finished
        self.parameters[...], self.slots[...] = state.parameters, state.slots
        self.average[...], self.best = state.average, state.best
        self.best_loss, self.clean_loss = state.best_loss, state.clean_loss
        self.losses[: len(state.losses)], self.correct[: len(state.correct)] = state.losses, state.correct
        self.on_progress(state.epoch * self.used + len(state.losses), "continued")

    def finish(self) -> None:
        """Put the run's result into the network."""
        if not self.finished:
            if len(self.best):
                self.parameters[...] = self.best
            elif len(self.average):
                self.parameters[...] = self.average
            self.finished = True
            if self.checkpoint is not None:
                self.checkpoint.save(self._state())
        if self.trained is not self.network:
            self.trained.parameters[...] = self.parameters

    def _save_if_due(self) -> None:
        if self.checkpoint is not None and self.checkpoint.due():
            self.checkpoint.save(self._state())


def _over(network: Network, parameters: np.ndarray) -> Network:
    """The same network over other parameters."""
    dense = [layer.dense for layer in network.layers]
    return Network(network.features, dense, network.loss, network.precision, parameters)
