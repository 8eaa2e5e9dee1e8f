"""The training loop: epochs of batches, each a step down the gradient."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from mnistcore.engine import shared_memory
from mnistcore.engine.propagation import Calls, OneByOne, Propagation, Stretch, evenly
from mnistcore.engine.team import Team
from mnistcore.engine.windows import Window
from mnistcore.errors import InputError
from mnistcore.network.network import Network
from mnistcore.streams import stream
from mnistcore.training.checkpoint import Checkpoint, State
from mnistcore.training.dropout import Dropout
from mnistcore.training.history import Epoch
from mnistcore.training.optimizers import SGD
from mnistcore.training.settings import Examples, Settings, check_initialized, check_run

# Steps between two looks at the losses, the clock and the progress bar: so many, or as many as have so many examples.
STEPS, REPORTED = 64, 1024
MEASURED = 512  # examples at a time when only a loss is measured


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
    InputError : for what cannot be meant, or does not fit together; see `check_run`
    """
    check_run(network, examples, settings, validation, seed, workers)
    check_initialized(network)
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

    def __init__(
        self, network, examples, settings, validation, seed, workers, checkpoint, on_progress
    ) -> None:
        self.trained = network
        if not shared_memory.is_shared(network.parameters):
            network = _over(network, shared_memory.zeros(network.parameters.shape, network.precision))
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
        self.between_looks = max(1, min(STEPS, REPORTED // size, self.steps))
        self.whole_gradient = None if settings.clip_norm is None else np.empty_like(parameters)
        if self.one_by_one:
            self.propagation = OneByOne(network, self.between_looks)
        else:
            self.propagation = Propagation(
                network, size, settings.shards, self.between_looks, gradient=self.whole_gradient
            )
        self.shards = self.propagation.shards
        self.team = Team(min(workers, self.shards))
        stretches = self.propagation.stretches
        self.squares = shared_memory.zeros((self.shards,), np.float64)
        self.slots = shared_memory.zeros((settings.optimizer.slots, len(parameters)), parameters.dtype)
        longest = max((s.end - s.start for shard in stretches for s in shard), default=0)
        uses_scratch = settings.l2 or settings.optimizer.uses_scratch
        scratch = np.empty((self.shards, longest if uses_scratch else 0), parameters.dtype)
        # For each shard: its stretches, each with room like it, and with its update, which wants rate and step.
        self.stretches = [
            [(s, room[: s.end - s.start], self._update(s, room[: s.end - s.start])) for s in shard]
            for shard, room in zip(stretches, scratch, strict=True)
        ]

        self.window = Window(examples.images, self.propagation.columns)
        self.labels = np.asarray(examples.labels)
        rates = [layer.dense.drop_rate for layer in network.layers]
        units = [layer.dense.units for layer in network.layers]
        rows, parts = self.propagation.largest, range(self.propagation.parts)
        self.dropouts = [Dropout(rates, units, rows, seed, part) for part in parts] if any(rates) else []
        self.augmenters = [settings.augmenter() for _ in range(self.shards)] if settings.augmenter else []
        if self.augmenters:
            self.whole_images = Window(examples.images)
            self.originals, self.altered = np.empty(
                (2, -(-size // self.shards), network.features), parameters.dtype
            )

        self.history: list[Epoch] = []
        self.step, self.updates, self.finished = 0, 0, False
        self.average = parameters.copy() if settings.averaging else parameters[:0]
        self.judged = _over(network, self.average) if settings.averaging else network
        self.best, self.best_loss, self.clean_loss = parameters[:0], math.inf, math.inf
        # Of the examples of the epoch, in its order.
        self.losses, self.correct = (
            shared_memory.zeros((self.used,), parameters.dtype),
            shared_memory.zeros((self.used,), bool),
        )
        self.measures = shared_memory.zeros((self.shards, 2), np.float64)

    def _update(self, stretch: Stretch, scratch: np.ndarray) -> Callable[[float, int], None]:
        slots = self.slots[:, stretch.start : stretch.end]
        return partial(self.settings.optimizer.update, stretch.parameters, stretch.gradient, slots, scratch)

    def epoch(self) -> None:
        """Go through the examples once, or through what is left of them in this epoch."""
        number = len(self.history) + 1
        if self.settings.shuffle:
            order = stream(self.seed, "shuffle", number).permutation(len(self.examples.images))
        else:
            order = np.arange(len(self.examples.images))
        while self.step < self.steps:
            done = self.step * self.size
            self._take_steps(number, order[done : min(done + self.between_looks * self.size, self.used)])
        self.step = 0
        self.history.append(self._figures(number))
        if self.team.leads:
            self._save_if_due()

    def over(self) -> bool:
        """Whether the last epoch is done, or a stopping rule says so."""
        if not self.history:
            return False
        stopping = self.settings.stopping
        return len(self.history) == self.settings.epochs or (
            stopping is not None and stopping.stops(self.history)
        )

    def _take_steps(self, number: int, chosen: np.ndarray) -> None:
        """Some steps in a row, through the chosen examples, and then a look at how they went."""
        team, parts = self.team, self.propagation.parts
        own, own_parts = team.own(self.shards), team.own(parts) if parts > 1 else range(1)
        self.propagation.expect(self.labels[chosen])
        first, looked = self.step, self.step * self.size
        for start in range(0, len(chosen), self.size):
            self._take_step(number, first, own, own_parts, chosen[start : start + self.size])
        self._judge(first, own, len(chosen))
        self._look(number, looked, looked + len(chosen))

    def _take_step(self, number: int, first: int, own: range, own_parts: range, chosen: np.ndarray) -> None:
        index, propagation, wait = self.step, self.propagation, self.team.barrier
        plan = propagation.plan(len(chosen), index - first)
        self.step += 1
        self.updates += 1
        self._set_rate(number - 1 + (index + 0.5) / self.steps, len(chosen))
        if self.augmenters:
            wait()  # until nobody works with the images of the last step any more
            for shard in own:
                self._augment(shard, plan.batch.inputs, number, index, chosen)
            wait()
        for shard in own:
            if not self.augmenters:
                self.window.take(chosen, plan.batch.inputs[shard], shard)
            plan.enter[shard]()
        wait()
        for part in own_parts:
            if self.dropouts:
                self.dropouts[part].draw(plan.rows[part], number, index)
            for call in plan.passes[part]:
                call()
        wait()
        if self.one_by_one:
            propagation.descend(plan.batch)
        else:
            for shard in own:
                self._work_parameters(shard, plan.gradients[shard])
            if self.whole_gradient is not None:
                wait()
                self._update_clipped(own)
        averaging = self.settings.averaging
        if averaging is not None and self.updates % averaging.steps == 0:
            wait()
            self.average *= averaging.decay
            self.average += (1 - averaging.decay) * self.parameters

    def _set_rate(self, progress: float, examples: int) -> None:
        """The learning rate after `progress` epochs, and what the step's (batch, K) deltas are multiplied with."""
        settings = self.settings
        multiplier = settings.schedule.multiplier(progress, settings.epochs, self.clean_loss)
        self.rate = settings.optimizer.learning_rate * multiplier
        # Where the optimiser only multiplies by the learning rate, these deltas are the cheapest place.
        self.folded = self.rate if settings.optimizer.rate_folded else 1.0
        self.propagation.scale[()] = self.folded / examples if settings.reduction == "mean" else self.folded

    def _augment(
        self, shard: int, inputs: list[np.ndarray], number: int, index: int, chosen: np.ndarray
    ) -> None:
        """Before phase 1: alter a share of the chosen images, which needs all their columns."""
        rows = evenly(len(chosen), self.shards)[shard]
        count = rows.stop - rows.start
        if count:
            originals, altered = self.originals[:count], self.altered[:count]
            self.whole_images.take(chosen[rows], originals)
            generator = stream(self.seed, "augmentation", number, index, shard)
            self.augmenters[shard](originals, generator, altered)
            for columns, array in zip(self.propagation.columns, inputs, strict=True):
                array[rows] = altered[:, columns]

    def _work_parameters(self, shard: int, gradients: list[Calls]) -> None:
        """Phase 3 for one shard: the gradient of its parameters, stretch by stretch, and their update."""
        l2, at_once = self.settings.l2 * self.folded, self.whole_gradient is None
        rate, updates = self.rate, self.updates
        for calls, (stretch, scratch, update) in zip(gradients, self.stretches[shard]):  # noqa: B905 (takes longer)
            for call in calls:
                call()
            if l2 and stretch.weights is not None:
                count = stretch.weights.size
                np.multiply(stretch.parameters[:count], l2, out=scratch[:count])
                np.add(stretch.gradient[:count], scratch[:count], out=stretch.gradient[:count])
            if at_once:
                update(rate, updates)
        if not at_once:
            self.squares[shard] = sum(
                float(np.dot(s.gradient, s.gradient)) for s, _, _ in self.stretches[shard]
            )

    def _update_clipped(self, own: range) -> None:
        norm = math.sqrt(self.squares.sum()) / self.folded if self.folded else 0.0
        for shard in own:
            for stretch, _, update in self.stretches[shard]:
                if norm > self.settings.clip_norm:
                    np.multiply(stretch.gradient, self.settings.clip_norm / norm, out=stretch.gradient)
                update(self.rate, self.updates)

    def _judge(self, first: int, own: range, examples: int) -> None:
        """Losses and right answers of the steps since `first`, of which each worker finds a part."""
        parts = evenly(self.step - first, self.shards)
        for part in (parts[shard] for shard in own):
            start, end = part.start * self.size, min(part.stop * self.size, examples)
            if start < end:
                losses, correct = self.propagation.judge_steps(part)
                place = slice(first * self.size + start, first * self.size + end)
                self.losses[place], self.correct[place] = losses[: end - start], correct[: end - start]
        self.team.barrier()

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
        propagation, window = Propagation(network, size, training=False), Window(examples.images)
        for shard in self.team.own(self.shards):
            self.measures[shard] = 0
            for start in range(shard * size, count, self.shards * size):
                end = min(start + size, count)
                plan = propagation.plan(end - start)
                propagation.expect(examples.labels[start:end])
                window.copy(slice(start, end), plan.batch.inputs[0])
                for call in (*plan.enter, *plan.passes[0]):
                    call()
                losses, correct = propagation.judge(plan.batch)
                self.measures[shard] += losses.sum(dtype=np.float64), correct.sum()
        self.team.barrier()
        loss, correct = self.measures.sum(axis=0).tolist()
        self.team.barrier()  # until all have read the sums
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
