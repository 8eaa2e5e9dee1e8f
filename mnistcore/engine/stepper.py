"""One step of training: through a batch, forward and backward, to parameters that are a little better.

A step has three phases. Workers meet at a barrier after the first two.

1. By inputs. Each shard takes its columns of the batch's images through its rows
   of the first weights: a partial sum of the first layer's pre-activations.
2. By examples. Each part adds these up for its rows of the batch and takes them
   forward to the loss and back to the deltas, δ = ∂loss/∂z, of every layer; no
   row needs another. Of a small batch there is one part, which each worker does
   for itself, in memory of its own.
3. By parameters. Each shard forms the gradient of its rows of every weight
   matrix, aᵀ δ over the whole batch, and updates them. Those of the first matrix
   are the rows of phase 1: a shard goes on to the next batch without waiting for
   the others, and most of the parameters stay in one worker's cache.

So no gradient is ever summed over parts of a batch, and the bits depend on the
numbers of shards and parts, never on how many workers they are given to.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mnistcore.engine import passes
from mnistcore.engine.division import Division, evenly
from mnistcore.engine.passes import Call
from mnistcore.engine.team import Team
from mnistcore.engine.update import Descent, ParameterUpdate
from mnistcore.engine.windows import Window
from mnistcore.engine.workspace import Batch, Workspace
from mnistcore.network.network import Network

Position = tuple[int, int]  # names the random draws of a step
DrawMasks = Callable[[int, Position, list[np.ndarray | None]], None]
Augment = Callable[[int, Position, np.ndarray, np.ndarray], None]


class Draws(NamedTuple):
    """What is random in a step; None: not wanted.

    masks(part, position, masks) : fills the dropout masks, (rows, units) of each layer that drops, of a part of a batch
    augment(shard, position, images, out) : writes altered copies of images (n, features), a share of the batch
    """

    masks: DrawMasks | None
    augment: Augment | None


class Plan(NamedTuple):
    """The prepared calls of a step, and the views that they leave to be filled.

    batch : of its inputs; masks[part] : of dropout
    first_layer[shard], passes[part], update[shard] : the calls of the three phases
    """

    batch: Batch
    masks: list[list[np.ndarray | None]]
    first_layer: list[Call]
    passes: list[list[Call]]
    update: list[list[Call]]


class Stepper:
    """Takes the steps of a network's training, a group of them at a time.

    Every worker of the team has its own, a fork of the first, and calls the same methods.

    Parameters
    ----------
    network : its parameters are changed in place; if there are several workers, they share their memory
    images : (N, features) to choose batches from
    group : how many steps there are in a group, at most
    """

    def __init__(
        self, network: Network, images: np.ndarray, division: Division, descent: Descent, team: Team, group: int,
        draws: Draws,
    ) -> None:  # fmt: skip
        self.network, self._division, self._team, self._draws = network, division, team, draws
        self._workspace = Workspace(network, division, group, whole_gradient=descent.clip_norm is not None)
        self.update = ParameterUpdate(network, division, self._workspace, descent)
        self._window = Window(images, division.columns)
        if draws.augment is not None:
            share = -(-division.batch_size // division.shards), network.features
            self._whole_window = Window(images)
            self._originals, self._altered = (np.empty(share, network.precision) for _ in range(2))
        self._plans: dict[tuple[int, int], Plan] = {}
        self._updates: dict[int, list[list[Call]]] = {}
        self._begun = 0
        self._shards = self._parts = range(0)

    def begin(self, labels: np.ndarray) -> None:
        """Begin a group of steps with the labels (n,) of its batches, or targets (n, K); all but the last are full."""
        self._workspace.load_labels(labels)
        self._begun = 0
        self._shards, parts = self._team.own(self._division.shards), self._division.parts
        self._parts = self._team.own(parts) if parts > 1 else range(1)

    def step(
        self, rows: np.ndarray, rate: float, position: Position, weights: np.ndarray | None = None
    ) -> None:
        """Take one step, with the images of these numbers and the next labels of the group.

        rate : the learning rate
        position : names the random draws of this step
        weights : (n,) of the examples' losses, of a descent that is weighted
        """
        plan = self._plan(len(rows), self._begun)
        barrier, augment, draw_masks = self._team.barrier, self._draws.augment, self._draws.masks
        self._begun += 1
        self.update.begin(rate, len(rows), weights)
        if augment is not None:
            self._load_altered(augment, rows, plan.batch.inputs, position)
        for shard in self._shards:
            if augment is None:
                self._window.take(rows, plan.batch.inputs[shard], shard)
            plan.first_layer[shard]()
        barrier()
        for part in self._parts:
            if draw_masks is not None:
                draw_masks(part, position, plan.masks[part])
            for call in plan.passes[part]:
                call()
        barrier()
        for shard in self._shards:
            for call in plan.update[shard]:
                call()
        self.update.clip(self._shards, barrier)

    def evaluate(self, losses: np.ndarray, correct: np.ndarray) -> None:
        """Write each example's loss, and whether it was classified correctly, of the group so far, (n,).

        They are those that its step met, with the weights of the moment and with dropout. Each worker finds a share.
        """
        size = self._division.batch_size
        shares = evenly(self._begun, self._division.shards)
        for steps in (shares[shard] for shard in self._shards):
            start, end = steps.start * size, min(steps.stop * size, len(losses))
            if start < end:
                outputs = self._workspace.outputs_of_steps(steps)
                own_losses, own_correct = passes.losses_and_correct(self.network, outputs)
                losses[start:end], correct[start:end] = own_losses[: end - start], own_correct[: end - start]
        self._team.barrier()

    def _load_altered(
        self, augment: Augment, rows: np.ndarray, inputs: list[np.ndarray], position: Position
    ) -> None:
        """Alter the images, of which each shard does a share, since that needs all their columns."""
        self._team.barrier()  # until nobody works with the images of the last step any more
        shares = evenly(len(rows), self._division.shards)
        for shard in self._shards:
            share = shares[shard]
            count = share.stop - share.start
            if count:
                originals, altered = self._originals[:count], self._altered[:count]
                self._whole_window.take(rows[share], originals)
                augment(shard, position, originals, altered)
                for columns, array in zip(self._division.columns, inputs, strict=True):
                    array[share] = altered[:, columns]
        self._team.barrier()

    def _plan(self, examples: int, step: int) -> Plan:
        """What is to be done with a batch of so many examples, the `step`-th of its group."""
        # Gains 78 % on 784-40-10, 1 (float64): python -m benchmarks.tricks prepared-calls
        key = examples, step
        if key not in self._plans:
            self._plans[key] = self._prepare(examples, step)
        return self._plans[key]

    def _prepare(self, examples: int, step: int) -> Plan:
        batch = self._workspace.batch(examples, step)
        shares, scale = evenly(examples, self._division.parts), self.update.scale
        parts = [self._workspace.part(rows, step) for rows in shares]
        both_ways = [
            passes.forward(self.network, part)
            + passes.backward(self.network, part, scale[rows] if scale.ndim else scale)
            if len(part.targets)
            else []
            for part, rows in zip(parts, shares, strict=True)
        ]
        # The steps of a group differ in labels and outputs alone, which the update does not meet.
        if examples not in self._updates:
            self._updates[examples] = self._prepare_update(batch)
        masks, first_layer = [part.masks for part in parts], self._prepare_first_layer(batch)
        return Plan(batch, masks, first_layer, both_ways, self._updates[examples])

    def _prepare_first_layer(self, batch: Batch) -> list[Call]:
        return passes.first_layer(self.network, self._division.columns, batch)

    def _prepare_update(self, batch: Batch) -> list[list[Call]]:
        return self.update.prepare(batch)
