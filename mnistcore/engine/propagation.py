"""Forward and backward through a network, batch after batch, in buffers that are allocated once.

A batch is worked in three phases, each cut into a fixed number of shards or parts:

1. By inputs. Each shard takes its columns of the batch's images through its rows
   of the first weights: a partial sum of the first layer's pre-activations.
2. By examples. Each part adds these up for its rows of the batch and takes them
   forward to the loss and back to the deltas, δ = ∂loss/∂z, of every layer; no
   row needs another. Of a small batch there is one part, which each worker does
   for itself, in memory of its own.
3. By parameters. Each shard forms the gradient of its rows of every weight
   matrix, aᵀ δ over the whole batch, and may update them at once. Those of the
   first matrix are the rows of phase 1: a shard goes on to the next batch without
   waiting for the others, and most of the parameters stay in one worker's cache.

So no gradient is ever summed over parts of a batch, and the bits depend on the
numbers of shards and parts, never on how many workers they are given to.

In a small network most of a step's time goes into calls. So each is prepared once,
with its function and its arrays, and a step only makes them, one after the other.
And since descending needs the gradient of the loss, not its value, the outputs of
some steps in a row are kept, and losses and right answers found from them at once.

With z = a W + b per layer (a the layer's inputs), the chain rule gives
    ∂loss/∂W = aᵀ δ,   ∂loss/∂b = Σ_batch δ,   ∂loss/∂a = δ Wᵀ,
and ∂loss/∂a times the slope of the activation is the δ of the layer below.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mnistcore.engine import shared_memory
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.losses import LOSSES
from mnistcore.network.network import Layer, Network

# A batch is not cut so far that a shard, or a part of phase 2, would have fewer of its multiplications than this: the
# calls and the waiting would cost more than is saved. Phase 2 has more calls for its work.
SMALLEST_SHARD, SMALLEST_PART = 1 << 17, 1 << 20
SMALLEST_CUT = 1 << 12  # weights; of a smaller matrix one shard forms the gradient
# Elements of a gradient that is formed at a time: few enough to be used while still in the cache. Networks with more
# than LARGE parameters have the memory for more, which makes their products a little faster.
BLOCK, LARGE_BLOCK, LARGE = 40 << 10, 128 << 10, 1 << 20
# Batches of so many examples have their few outputs column by column in memory, so that sums over them run along the
# batch. In smaller batches it is the number and the length of the calls that counts.
COLUMNS = 16


Calls = list[Callable[[], object]]


@dataclass(frozen=True)
class Rows:
    """Views of the buffers for some rows of a batch: one part of phase 2, or the whole batch.

    start, end : which rows of the batch
    labels (rows,), one-hot targets (rows, K)
    inputs[shard] : (rows, columns) those columns of the images that are the shard's in phase 1
    sums[shard] : (rows, units) its partial sum of the first layer; that of an only shard is activations[0]
    activations[k] : (rows, units) outputs of layer k, after dropout; of the output layer, the pre-activations
    deltas[k] : (rows, units) δ of layer k; between the passes, the slope of its activation
    masks[k] : (rows, units) what dropout multiplies with; None: no dropout in layer k
    temporary[k], positive[k] : (rows, units) room in a hidden layer for ∂loss/∂a, and for booleans; of a part
    """

    start: int
    end: int
    targets: np.ndarray
    labels: np.ndarray
    inputs: list[np.ndarray]
    sums: list[np.ndarray]
    activations: list[np.ndarray]
    deltas: list[np.ndarray]
    masks: list[np.ndarray | None]
    temporary: list[np.ndarray]
    positive: list[np.ndarray]


@dataclass(frozen=True)
class Stretch:
    """A stretch of the flat vector: some rows of a layer's weights, its biases, or both, one after the other.

    rows : which columns of the layer's inputs meet those weights; in the first layer, of the shard's columns
    parameters : (end − start,) themselves
    weights : (rows, units) room for the gradient of the weights; None: not of this stretch
    biases : (units,) room for that of the biases; None: not of this stretch
    gradient : (end − start,) both together
    """

    start: int
    end: int
    layer: int
    shard: int
    rows: slice
    parameters: np.ndarray
    gradient: np.ndarray
    weights: np.ndarray | None
    biases: np.ndarray | None


@dataclass(frozen=True)
class Plan:
    """What is to be done with a batch.

    batch, rows[part] : views of the buffers, for the whole batch and for the parts of phase 2
    enter[shard] : the call that is phase 1, once the inputs are there
    passes[part] : the calls of phase 2
    gradients[shard] : the calls that form the gradient of each of its stretches, in their order
    """

    batch: Rows
    rows: list[Rows]
    enter: list[Callable[[], object]]
    passes: list[Calls]
    gradients: list[list[Calls]]


class Propagation:
    """Buffers and passes for one network and batches of up to `batch_size` examples.

    Parameters
    ----------
    network : its parameters are read in place
    shards : into how many parts each phase may be cut
    steps : for how many batches there is room for labels and outputs
    training : whether deltas are wanted, and dropout applied
    gradient : (P,) where the whole gradient is to go; None: all stretches share one small buffer
        (each worker its own), so each gradient has to be used before the next is formed

    Attributes
    ----------
    shards, parts : into how many shards phases 1 and 3 are cut, and into how many parts phase 2
    stretches : for each shard of phase 3, the stretches of the flat vector that it works on, in order
    scale : () what the δ of the outputs are multiplied with
    largest : examples of a part, at most
    columns : which columns of the images are each shard's, in phase 1

    What one worker of a team writes and another one reads is in memory that they share.
    """

    def __init__(
        self, network: Network, batch_size: int, shards: int = 1, steps: int = 1, training: bool = True,
        gradient: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.network, self.training = network, training
        multiplications = batch_size * len(network.parameters)
        self.shards, self.parts = (
            max(1, min(shards, multiplications // smallest)) for smallest in (SMALLEST_SHARD, SMALLEST_PART)
        )
        zeros = np.zeros if self.parts == 1 else shared_memory.zeros
        dtype, units = network.precision, [layer.dense.units for layer in network.layers]
        self.columns = evenly(network.features, self.shards)
        self._inputs = [shared_memory.zeros((batch_size, c.stop - c.start), dtype) for c in self.columns]
        self._sums = (
            [shared_memory.zeros((batch_size, units[0]), dtype) for _ in self.columns]
            if self.shards > 1
            else []
        )
        self._ones = np.ones(batch_size, dtype)
        self._labels, self._classes = np.zeros((steps, batch_size), np.intp), np.arange(network.classes)
        by_columns = batch_size >= COLUMNS
        shape = (steps, network.classes, batch_size) if by_columns else (steps, batch_size, network.classes)
        self._targets, self._outputs, output_deltas = (
            array.transpose(0, 2, 1) if by_columns else array
            for array in (
                np.empty(shape, dtype),
                zeros(shape, dtype),
                zeros((int(training), *shape[1:]), dtype),
            )
        )
        shapes = [(batch_size, n) for n in units[:-1]]
        self._activations = [zeros(shape, dtype) for shape in shapes]
        self._deltas: list[np.ndarray | None] = [None] * len(units)
        if training:
            self._deltas = [*(zeros(shape, dtype) for shape in shapes), output_deltas[0]]
        self._masks = [
            np.empty((batch_size, layer.dense.units), dtype) if training and layer.dense.drop_rate else None
            for layer in network.layers
        ]
        self.largest = -(-batch_size // self.parts)
        self._loss, self._ending = LOSSES[network.loss], network.layers[-1].dense.activation
        self.scale = np.ones((), dtype)
        # np.dot is the shorter call, but cannot write column by column.
        products = [np.dot] * (len(units) - 1) + [np.matmul if by_columns else np.dot]
        self._layers = [
            (k, layer.weights, layer.biases, ACTIVATIONS[layer.dense.activation], product)
            for (k, layer), product in zip(enumerate(network.layers), products, strict=True)
        ]
        self._first_weights = [network.layers[0].weights[c] for c in self.columns]
        self._lowest = next((k for k, layer in enumerate(network.layers) if any(_trains(layer))), len(units))
        cuts = self._cuts() if training else [[]] * self.shards
        lengths = [end - start for shard in cuts for start, _, end, *_ in shard] if gradient is None else []
        # Booleans, ∂loss/∂a and gradients have their turns in this, one after the other.
        self._room = np.empty(max(self.largest * max(units[:-1], default=0), *lengths, 0), dtype)
        self.stretches = [[self._stretch(*cut, gradient) for cut in shard] for shard in cuts]
        self._plans: dict[tuple[int, int], Plan] = {}

    def expect(self, labels: np.ndarray) -> None:
        """Take the labels, (n,), of the batches that come next; all but the last batch are full."""
        self._labels.reshape(-1)[: len(labels)] = labels
        np.equal(self._labels[:, :, None], self._classes, out=self._targets)

    def plan(self, examples: int, step: int = 0) -> Plan:
        """What is to be done with a batch of so many examples, the `step`-th of those expected."""
        key = examples, step
        if key not in self._plans:
            if step:
                self._plans[key] = self._of_step(self.plan(examples), step)
            else:
                rows = [self._rows(part.start, part.stop) for part in evenly(examples, self.parts)]
                batch = self._rows(0, examples)
                self._plans[key] = Plan(
                    batch, rows, self._enter(batch), [self._pass(part) for part in rows],
                    [[self._gradient(stretch, batch) for stretch in shard] for shard in self.stretches],
                )  # fmt: skip
        return self._plans[key]

    def _rows(self, a: int, b: int) -> Rows:
        def some(arrays: list) -> list:
            return [None if array is None else array[a:b] for array in arrays]

        def room(array: np.ndarray) -> list[np.ndarray]:
            # There is room for one part; as a whole, a batch goes through no pass.
            return [array[: (b - a) * n].reshape(b - a, n) for n in units] if b - a <= self.largest else []

        units = [layer.dense.units for layer in self.network.layers[:-1]]
        activations = [*some(self._activations), self._outputs[0][a:b]]
        return Rows(
            a, b, self._targets[0][a:b], self._labels[0, a:b], some(self._inputs),
            some(self._sums) or activations[:1], activations, some(self._deltas), some(self._masks),
            room(self._room), room(self._room.view(bool)),
        )  # fmt: skip

    def _of_step(self, plan: Plan, step: int) -> Plan:
        """The same for another step, which has labels and outputs of its own."""

        def moved(rows: Rows) -> Rows:
            place = slice(rows.start, rows.end)
            activations = [*rows.activations[:-1], self._outputs[step][place]]
            return replace(
                rows,
                targets=self._targets[step][place],
                labels=self._labels[step, place],
                sums=rows.sums if self._sums else activations[:1],
                activations=activations,
            )

        batch, rows = moved(plan.batch), [moved(part) for part in plan.rows]
        return replace(
            plan, batch=batch, rows=rows, enter=self._enter(batch), passes=[self._pass(part) for part in rows]
        )

    def _enter(self, batch: Rows) -> list[Callable[[], object]]:
        """For each shard: from its columns of the inputs to its partial sum of the first layer's pre-activations."""
        product = self._layers[0][-1]
        return [
            partial(product, inputs, weights, out)
            for inputs, weights, out in zip(batch.inputs, self._first_weights, batch.sums, strict=True)
        ]

    def _pass(self, rows: Rows) -> Calls:
        """From those partial sums to the outputs; in training, to all slopes, and back to the δ of what trains."""
        if rows.start == rows.end:
            return []
        last = self._layers[-1][0]
        calls: Calls = []
        total, a = rows.sums[0], rows.activations[0]
        for other in rows.sums[1:]:
            calls.append(partial(np.add, total, other, a))
            total = a
        for k, weights, biases, activate, product in self._layers:
            z = rows.activations[k]
            if k:
                calls.append(partial(product, a, weights, z))
            if biases is not None:
                calls.append(partial(np.add, z, biases, z))
            if k == last:
                break
            slope, mask = rows.deltas[k], rows.masks[k]
            calls.append(partial(activate, z, slope, rows.positive[k]))
            if mask is not None:
                calls += partial(np.multiply, z, mask, z), partial(np.multiply, slope, mask, slope)
            a = z
        if not self.training:
            return calls
        delta = rows.deltas[last]
        calls.append(partial(self._loss.gradient, z, rows.targets, delta, self._ending))
        calls.append(partial(np.multiply, delta, self.scale, delta))
        for k in range(last, self._lowest, -1):
            below, slope = rows.temporary[k - 1], rows.deltas[k - 1]
            calls.append(partial(rows.deltas[k].dot, self._layers[k][1].T, below))
            calls.append(partial(np.multiply, below, slope, slope))
        return calls

    def judge(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Losses (rows,) and right answers (rows,) of rows that went forward."""
        return self._judge(rows.activations[-1], rows.targets, rows.labels)

    def judge_steps(self, steps: slice) -> tuple[np.ndarray, np.ndarray]:
        """The same of whole batches, one after the other: (steps · batch size,) each."""
        outputs, targets = (
            array[steps].transpose(2, 0, 1).reshape(self.network.classes, -1).T
            for array in (self._outputs, self._targets)
        )
        return self._judge(outputs, targets, self._labels[steps].reshape(-1))

    def _judge(
        self, outputs: np.ndarray, targets: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._loss.losses(outputs, targets, self._ending), outputs.argmax(axis=1) == labels

    def _cuts(self) -> list[list[tuple[int, int, int, int, int, slice]]]:
        """For each shard, where its stretches lie in the flat vector and in the network."""
        block = BLOCK if len(self.network.parameters) < LARGE else LARGE_BLOCK
        bounds: list[list[tuple]] = [[] for _ in range(self.shards)]
        for k, layer in enumerate(self.network.layers):
            fan_in, units = layer.weights.shape
            with_weights, with_biases = _trains(layer)
            if not with_weights:
                if with_biases:
                    bounds[-1].append((k, self.shards - 1, slice(fan_in, fan_in), True))
                continue
            height = max(1, block // units)
            # A small matrix is the first shard's; the first matrix goes by the columns of the images.
            shards = self.shards if k == 0 or layer.weights.size >= SMALLEST_CUT else 1
            for shard, own in enumerate(evenly(fan_in, shards)):
                for top in range(own.start, own.stop, height):
                    rows = slice(top, min(top + height, own.stop))
                    bounds[shard].append((k, shard, rows, with_biases and rows.stop == fan_in))
        return [[self._cut(*bound) for bound in shard] for shard in bounds]

    def _cut(
        self, k: int, shard: int, rows: slice, with_biases: bool
    ) -> tuple[int, int, int, int, int, slice]:
        """Where some rows of a layer's weights begin, where its biases begin, and where all of it ends."""
        layer = self.network.layers[k]
        units = layer.dense.units
        middle = layer.start + rows.stop * units
        return layer.start + rows.start * units, middle, middle + units * with_biases, k, shard, rows

    def _stretch(
        self, start: int, middle: int, end: int, k: int, shard: int, rows: slice, gradient: np.ndarray | None
    ) -> Stretch:
        g = self._room[: end - start] if gradient is None else gradient[start:end]
        shape = rows.stop - rows.start, self.network.layers[k].dense.units
        weights, biases = g[: middle - start].reshape(shape), g[middle - start :]
        first = 0 if k else self.columns[shard].start
        return Stretch(
            start, end, k, shard, slice(rows.start - first, rows.stop - first), self.network.parameters[start:end], g,
            weights if weights.size else None, biases if biases.size else None,
        )  # fmt: skip

    def _gradient(self, stretch: Stretch, batch: Rows) -> Calls:
        """From the activations and deltas of the whole batch to the gradient of a stretch."""
        calls: Calls = []
        delta = batch.deltas[stretch.layer]
        if stretch.weights is not None:
            a = batch.activations[stretch.layer - 1] if stretch.layer else batch.inputs[stretch.shard]
            # Of columns that lie apart, np.dot would make a copy first; otherwise it is the shorter call.
            product = np.dot if len(stretch.weights) == a.shape[1] else np.matmul
            calls.append(partial(product, a[:, stretch.rows].T, delta, stretch.weights))
        if stretch.biases is not None:
            product = self._layers[stretch.layer][-1]
            calls.append(partial(product, self._ones[: len(delta)], delta, stretch.biases))
        return calls


class OneByOne(Propagation):
    """Batches of one example under plain gradient descent: most of its pixels are zero.

    A pixel of zero adds nothing to the first layer's pre-activations, and its row
    of the weights gets no gradient. So only the other rows are read and written.
    """

    def __init__(self, network: Network, steps: int = 1) -> None:
        super().__init__(network, 1, steps=steps)
        self._trained = [(k, layer, *_trains(layer)) for k, layer in enumerate(network.layers)]
        self._gradients = [np.empty_like(layer.weights) for layer in network.layers]

    def _enter(self, batch: Rows) -> list[Callable[[], object]]:
        return [partial(self._enter_lit, batch.inputs[0][0], batch.sums[0][0])]

    def _enter_lit(self, x: np.ndarray, out: np.ndarray) -> None:
        (self._lit,) = x.nonzero()
        self._light = x.take(self._lit)
        self._lit_weights = self._first_weights[0].take(self._lit, axis=0)
        self._light.dot(self._lit_weights, out)

    def descend(self, batch: Rows) -> None:
        """Subtract each layer's gradient, already multiplied by the learning rate, from its parameters."""
        for k, layer, weights_train, biases_train in self._trained:
            delta = batch.deltas[k]
            if weights_train:
                if k:
                    g = self._gradients[k]
                    batch.activations[k - 1].T.dot(delta, g)
                    np.subtract(layer.weights, g, out=layer.weights)
                else:
                    g = self._gradients[0][: len(self._lit)]
                    self._light[:, None].dot(delta, g)
                    layer.weights[self._lit] = np.subtract(self._lit_weights, g, out=g)
            if biases_train:
                np.subtract(layer.biases, delta[0], out=layer.biases)


def evenly(n: int, parts: int) -> list[slice]:
    """The numbers below n in so many parts, as even as can be; where n is smaller, some are empty."""
    return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]


def _trains(layer: Layer) -> tuple[bool, bool]:
    """Whether its weights, and whether its biases train."""
    frozen = layer.dense.frozen
    return "weights" not in frozen, layer.biases is not None and "biases" not in frozen
