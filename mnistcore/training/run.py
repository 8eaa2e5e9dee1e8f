"""One training run: epochs of batches, from the first step to the weights that result."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mnistcore.engine import shared_memory
from mnistcore.engine.division import Division
from mnistcore.engine.evaluator import Evaluator
from mnistcore.engine.single_example import SingleExampleStepper
from mnistcore.engine.stepper import Augment, DrawMasks, Draws, Position, Stepper
from mnistcore.engine.team import Team
from mnistcore.engine.update import Descent
from mnistcore.errors import InputError
from mnistcore.network.network import Network
from mnistcore.streams import stream
from mnistcore.training.checkpoint import Checkpoint, State
from mnistcore.training.dropout import Dropout
from mnistcore.training.history import Epoch
from mnistcore.training.optimizers import SGD
from mnistcore.training.selection import Selection
from mnistcore.training.settings import Augmenter, Examples, Settings, check_initialized, check_run

# Steps from one report to the next, of losses and progress: so many, or as many as have so many examples.
# Gains 84 % on 784-40-10, 1 (float64): python -m benchmarks.tricks deferred-losses
STEPS, EXAMPLES = 64, 1024


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
    validation : evaluated after each epoch, never trained on
    seed : of shuffling, dropout and augmentation
    workers : processes that share the work; they change the time, never the bits. Several of them work on a copy of
        the parameters, unless those lie in memory that they share (`mnistcore.engine.shared_memory.shared`)
    checkpoint : where to continue from, and what to write now and then; its last state is the finished run
    on_progress : called with the number of examples just worked, and a note
    on_epoch : called with each epoch's figures; first those before the checkpoint, if there is one

    Raises
    ------
    Diverged : when the loss becomes infinite or NaN; a checkpoint is left as it was before
    InputError : for what cannot be meant, or does not fit together; see `check_run`. And for a checkpoint of another
        network or other settings under the same fingerprint
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
    if run.network is not network:
        network.parameters[...] = run.network.parameters
    return run.history


class _Batching(NamedTuple):
    """How an epoch goes through the examples.

    size : examples of a batch
    used : examples of an epoch, without a remainder that is dropped
    steps : batches of an epoch
    group : steps from one report to the next
    """

    size: int
    used: int
    steps: int
    group: int

    @classmethod
    def of(cls, examples: int, settings: Settings) -> "_Batching":
        size = min(settings.batch_size, examples)
        used = examples - examples % size if settings.remainder == "drop" else examples
        steps = math.ceil(used / size)
        return cls(size, used, steps, max(1, min(STEPS, EXAMPLES // size, steps)))


class _Run:
    """A training run: where it stands between two steps, and what happens there.

    Each worker of the team has its own, a fork of the first. Their attributes stay equal, since all go through
    the same steps; the arrays that they fill together are shared.
    """

    def __init__(
        self,
        network: Network,
        examples: Examples,
        settings: Settings,
        validation: Examples | None,
        seed: int,
        workers: int,
        checkpoint: Checkpoint | None,
        on_progress: Callable[[int, str], None],
    ) -> None:
        self.examples, self.settings, self.validation, self.seed = examples, settings, validation, seed
        self.checkpoint, self.on_progress = checkpoint, on_progress
        self.batching = batching = _Batching.of(len(examples.images), settings)
        plain = isinstance(settings.optimizer, SGD) and not settings.l2 and settings.clip_norm is None
        single = batching.size == 1 and plain
        division = Division(network, batching.size, 1 if single else settings.shards)
        self.team = Team(min(workers, division.shards))
        self.network = network if self.team.workers == 1 else shared_memory.shared(network)
        self.stepper = (SingleExampleStepper if single else Stepper)(
            self.network, examples.images, division, _descent(settings), self.team, batching.group,
            Draws(draw_masks(network, division, seed), augmentation(settings.augmenter, division, seed)),
        )  # fmt: skip
        self.evaluator = Evaluator(self.team, division.shards)
        stopping = settings.stopping
        keeps_best = stopping is not None and stopping.keeps_best
        self.selection = Selection(self.network, settings.averaging, keeps_best)
        self.history: list[Epoch] = []
        self.step, self.learning_rate, self.clean_loss, self.finished = 0, math.nan, math.inf, False
        # Of the examples of the epoch, in its order.
        self.losses = shared_memory.zeros((batching.used,), network.precision)
        self.correct = shared_memory.zeros((batching.used,), bool)

    def over(self) -> bool:
        """Whether the last epoch is done, or a stopping rule says so."""
        if not self.history:
            return False
        stopping = self.settings.stopping
        return len(self.history) >= self.settings.epochs or (
            stopping is not None and stopping.stops(self.history)
        )

    def epoch(self) -> None:
        """Go through the examples once, or through what is left of them in this epoch."""
        number, batching = len(self.history) + 1, self.batching
        if self.settings.shuffle:
            order = stream(self.seed, "shuffle", number).permutation(len(self.examples.images))
        else:
            order = np.arange(len(self.examples.images))
        while self.step < batching.steps:
            start = self.step * batching.size
            end = min(start + batching.group * batching.size, batching.used)
            self._take_steps(number, order[start:end])
            self._report(number, start, end)
        self.step = 0
        self.history.append(self._figures(number))
        if self.team.leads:
            self._save_if_due()

    def _take_steps(self, number: int, chosen: np.ndarray) -> None:
        """Take a group of steps, through the chosen examples."""
        stepper, selection, settings, batching = self.stepper, self.selection, self.settings, self.batching
        first = self.step * batching.size
        stepper.begin(self.examples.labels[chosen])
        for start in range(0, len(chosen), batching.size):
            progress = number - 1 + (self.step + 0.5) / batching.steps
            multiplier = settings.schedule.multiplier(progress, settings.epochs, self.clean_loss)
            self.learning_rate = settings.optimizer.learning_rate * multiplier
            stepper.step(chosen[start : start + batching.size], self.learning_rate, (number, self.step))
            self.step += 1
            if selection.averages_after(stepper.update.steps):
                self.team.barrier()
                selection.update_average(stepper.update.steps)
        place = slice(first, first + len(chosen))
        stepper.evaluate(self.losses[place], self.correct[place])

    def _report(self, number: int, start: int, end: int) -> None:
        """After a group of steps: stop if a loss is no number, report progress, write a checkpoint."""
        bad = np.flatnonzero(~np.isfinite(self.losses[start:end]))
        if len(bad):
            value = self.losses[start + bad[0]]
            step = (start + int(bad[0])) // self.batching.size + 1
            raise Diverged(
                f"the loss became {'infinite' if np.isinf(value) else 'NaN'} in epoch {number}, "
                f"step {step} of {self.batching.steps}, at learning rate {self.learning_rate:g}; most likely "
                "the learning rate is too high or the initial weights are too large"
            )
        if self.team.leads:
            self.on_progress(end - start, f"epoch {number}")
            if end < self.batching.used:
                self._save_if_due()

    def _figures(self, number: int) -> Epoch:
        """Sum up an epoch, and evaluate what validation, schedule and stopping rule go by."""
        used = self.batching.used
        train_loss = float(self.losses.sum(dtype=np.float64)) / used
        figures = Epoch(number, self.learning_rate, train_loss, int(self.correct.sum()) / used)
        stopping, schedule = self.settings.stopping, self.settings.schedule
        if schedule.needs_clean_loss or (stopping is not None and stopping.needs_clean_loss):
            self.clean_loss, _ = self._evaluate(self.network, self.examples)
            figures = figures._replace(clean_loss=self.clean_loss)
        if self.validation is not None and len(self.validation.images):
            loss, accuracy = self._evaluate(self.selection.evaluated, self.validation)
            figures = figures._replace(validation_loss=loss, validation_accuracy=accuracy)
            self.selection.validated(loss)
        return figures

    def _evaluate(self, network: Network, examples: Examples) -> tuple[float, float]:
        return self.evaluator.evaluate(network, examples.images, examples.labels)

    def finish(self) -> None:
        """Put the run's result into the network."""
        if not self.finished:
            self.network.parameters[...] = self.selection.result()
            self.finished = True
            if self.checkpoint is not None:
                self.checkpoint.save(self._state())

    def _save_if_due(self) -> None:
        if self.checkpoint is not None and self.checkpoint.due():
            self.checkpoint.save(self._state())

    def _state(self) -> State:
        update, selection = self.stepper.update, self.selection
        done = min(self.step * self.batching.size, self.batching.used)
        return State(
            step=self.step,
            updates=update.steps,
            finished=self.finished,
            best_loss=selection.best_loss,
            clean_loss=self.clean_loss,
            parameters=self.network.parameters,
            slots=update.slots,
            average=selection.average,
            best=selection.best,
            history=np.array(self.history, np.float64).reshape(-1, len(Epoch._fields)),
            losses=self.losses[:done],
            correct=self.correct[:done],
        )

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one of this run."""
        state = self.checkpoint.load() if self.checkpoint is not None else None
        if self.checkpoint is None or state is None:
            return
        if not self._fits(state):
            raise InputError(
                f"{self.checkpoint.path}: has this run's fingerprint and is of another run; remove it"
            )
        update, selection, done = self.stepper.update, self.selection, len(state.losses)
        self.step, update.steps, self.finished = state.step, state.updates, state.finished
        selection.best_loss, self.clean_loss = state.best_loss, state.clean_loss
        self.network.parameters[...], update.slots[...] = state.parameters, state.slots
        selection.average[...], selection.best = state.average, state.best
        self.history = [Epoch(int(number), *figures) for number, *figures in state.history.tolist()]
        self.losses[:done], self.correct[:done] = state.losses, state.correct
        self.on_progress(state.epoch * self.batching.used + done, "continued")

    def _fits(self, state: State) -> bool:
        """Whether a state can be one of this run; the fingerprint that says so is whatever the caller took for it."""
        own, batching = self._state(), self.batching
        done = min(state.step * batching.size, batching.used)
        return (
            state.parameters.dtype == own.parameters.dtype
            and state.parameters.shape == own.parameters.shape
            and state.slots.shape == own.slots.shape
            and state.average.shape == own.average.shape
            and len(state.best) in (0, len(own.parameters))
            and state.epoch <= self.settings.epochs
            and 0 <= state.step < batching.steps
            and len(state.losses) == len(state.correct) == done
            and state.updates == state.epoch * batching.steps + state.step
        )


def _descent(settings: Settings) -> Descent:
    return Descent(settings.optimizer, settings.l2, settings.reduction, settings.clip_norm)


def draw_masks(network: Network, division: Division, seed: int) -> DrawMasks | None:
    """Dropout, with random numbers of each part's own."""
    rates, units = zip(*((layer.dense.drop_rate, layer.units) for layer in network.layers), strict=True)
    if not any(rates):
        return None
    rows = division.largest_part
    dropouts = [Dropout(rates, units, rows, seed, part) for part in range(division.parts)]
    return lambda part, position, masks: dropouts[part].draw(masks, *position)


def augmentation(make: Callable[[], Augmenter] | None, division: Division, seed: int) -> Augment | None:
    """An augmenter for each shard, with random numbers of its own."""
    if make is None:
        return None
    augmenters = [make() for _ in range(division.shards)]

    def augment(shard: int, position: Position, images: np.ndarray, out: np.ndarray) -> None:
        augmenters[shard](images, stream(seed, "augmentation", *position, shard), out)

    return augment
