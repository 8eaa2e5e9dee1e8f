"""Forward and backward through a network, batch after batch, in buffers that are allocated once.

A batch is worked in two phases, each cut into a fixed number of shards:

1. By examples. Each shard takes its rows of the batch forward to the loss and
   back to the deltas, δ = ∂loss/∂z, of every layer; no row needs another.
2. By parameters. Each shard forms the gradient of its rows of every weight
   matrix, aᵀ δ over the whole batch, and may update them at once.

So no gradient is ever summed over shards, and the bits depend on the number of
shards, never on how many workers they are given to.

With z = a W + b per layer (a the layer's inputs), the chain rule gives
    ∂loss/∂W = aᵀ δ,   ∂loss/∂b = Σ_batch δ,   ∂loss/∂a = δ Wᵀ,
and ∂loss/∂a times the slope of the activation is the δ of the layer below.
"""

from dataclasses import dataclass

import numpy as np

from mnistcore import shared
from mnistcore.activations import ACTIVATIONS
from mnistcore.losses import LOSSES
from mnistcore.network import Layer, Network

# A batch smaller than this many multiplications is not cut: smaller products and more calls would cost what it saves.
SMALLEST_SHARD = 1 << 20
# Elements of a gradient that is formed at a time: few enough to be used while still in the cache.
BLOCK = 1 << 16


@dataclass(frozen=True)
class Rows:
    """Views of the buffers for some rows of a batch: one shard of phase 1, or the whole batch.

    inputs (rows, features), labels (rows,), one-hot targets (rows, K), losses (rows,), correct (rows,)
    activations[k] : (rows, units) outputs of layer k, after dropout
    deltas[k] : (rows, units) δ of layer k; between the passes, the slope of its activation
    masks[k] : (rows, units) what dropout multiplies with; None: no dropout in layer k
    temporary[k], positive[k] : (rows, units) room for ∂loss/∂a, and for booleans
    """

    start: int
    inputs: np.ndarray
    targets: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    correct: np.ndarray
    activations: list[np.ndarray]
    deltas: list[np.ndarray]
    masks: list[np.ndarray | None]
    temporary: list[np.ndarray]
    positive: list[np.ndarray]


@dataclass(frozen=True)
class Stretch:
    """A stretch of the flat vector: some rows of a layer's weights, its biases, or both, one after the other.

    weights : (rows, units) room for the gradient of the weights; None: not of this stretch
    biases : (units,) room for that of the biases; None: not of this stretch
    gradient : (end − start,) both together
    """

    start: int
    end: int
    layer: int
    rows: slice
    gradient: np.ndarray
    weights: np.ndarray | None
    biases: np.ndarray | None


class Propagation:
    """Buffers and passes for one network and batches of up to `batch_size` examples.

    Parameters
    ----------
    network : its parameters are read in place
    shards : into how many parts both phases are cut; small batches of small networks are not
    training : whether deltas are wanted, and dropout applied

    What one worker of a team writes and another one reads (inputs, activations, deltas, losses) is in
    memory that they share.
    """

    def __init__(self, network: Network, batch_size: int, shards: int = 1, training: bool = True) -> None:
        self.network, self.training = network, training
        multiplications = batch_size * len(network.parameters)
        self.shards = max(1, min(shards, multiplications // SMALLEST_SHARD))
        dtype, units = network.precision, [layer.dense.units for layer in network.layers]
        widest = max(units)
        self._inputs = shared.zeros((batch_size, network.features), dtype)
        self._ones = np.ones(batch_size, dtype)
        self._labels = np.empty(batch_size, np.intp)
        self._losses = shared.zeros((batch_size,), dtype)
        self._correct = shared.zeros((batch_size,), bool)
        # The outputs are few: column by column in memory, so that sums over them run along the batch.
        self._targets = np.empty((network.classes, batch_size), dtype).T
        self._classes = np.arange(network.classes)
        shapes = [(batch_size, n) for n in units[:-1]]
        self._activations = [shared.zeros(shape, dtype) for shape in shapes]
        self._activations.append(shared.zeros((network.classes, batch_size), dtype).T)
        self._deltas: list[np.ndarray | None] = [None] * len(units)
        if training:
            self._deltas = [shared.zeros(shape, dtype) for shape in shapes]
            self._deltas.append(shared.zeros((network.classes, batch_size), dtype).T)
        self._masks = [
            np.empty((batch_size, layer.dense.units), dtype) if training and layer.dense.drop_rate else None
            for layer in network.layers
        ]
        self._temporary = np.empty((batch_size, widest), dtype)
        self._positive = np.empty((batch_size, widest), bool)
        self._compute = LOSSES[network.loss].compute
        self._layers = [
            (k, layer.weights, layer.biases, ACTIVATIONS[layer.dense.activation])
            for k, layer in enumerate(network.layers)
        ]
        self._lowest = next((k for k, layer in enumerate(network.layers) if _trains(layer)), len(units))
        self._plans: dict[int, tuple[list[Rows], Rows]] = {}

    def plan(self, examples: int) -> tuple[list[Rows], Rows]:
        """The shards of a batch of so many examples, and the batch as a whole."""
        if examples not in self._plans:
            bounds = [examples * shard // self.shards for shard in range(self.shards + 1)]
            shards = [self._rows(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
            self._plans[examples] = shards, self._rows(0, examples)
        return self._plans[examples]

    def _rows(self, a: int, b: int) -> Rows:
        def cut(arrays: list) -> list:
            return [None if array is None else array[a:b] for array in arrays]

        def room(array: np.ndarray) -> list[np.ndarray]:
            flat = array[a:b].reshape(-1)
            *hidden, classes = [layer.dense.units for layer in self.network.layers]
            rooms = [flat[: (b - a) * n].reshape(b - a, n) for n in hidden]
            return [*rooms, flat[: (b - a) * classes].reshape(classes, b - a).T]

        return Rows(
            a, self._inputs[a:b], self._targets[a:b], self._labels[a:b], self._losses[a:b], self._correct[a:b],
            cut(self._activations), cut(self._deltas), cut(self._masks),
            room(self._temporary), room(self._positive),
        )  # fmt: skip

    def forward(self, rows: Rows) -> None:
        """From the inputs and labels to the losses, the right answers, the δ of the outputs and all slopes."""
        np.equal(rows.labels[:, None], self._classes, out=rows.targets)
        a, last = rows.inputs, self._layers[-1][0]
        for k, weights, biases, activate in self._layers:
            z = rows.activations[k]
            if k:
                np.matmul(a, weights, out=z)
            else:
                self._first_product(a, weights, z)
            if biases is not None:
                np.add(z, biases, out=z)
            if k == last:
                break
            slope, mask = rows.deltas[k], rows.masks[k]
            activate(z, slope, rows.positive[k])
            if mask is not None:
                np.multiply(z, mask, out=z)
                np.multiply(slope, mask, out=slope)
            a = z
        delta = rows.deltas[last] if self.training else rows.temporary[last]
        self._compute(z, rows.targets, rows.losses, delta, self.network.layers[-1].dense.activation)
        np.equal(z.argmax(axis=1), rows.labels, out=rows.correct)

    def _first_product(self, inputs: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
        np.matmul(inputs, weights, out=out)

    def backward(self, rows: Rows, scale: float) -> None:
        """From the δ of the outputs, multiplied by `scale`, to the δ of every layer that trains."""
        deltas, last = rows.deltas, self._layers[-1][0]
        if scale != 1:
            np.multiply(deltas[last], scale, out=deltas[last])
        for k in range(last, self._lowest, -1):
            np.matmul(deltas[k], self._layers[k][1].T, out=rows.temporary[k - 1])
            np.multiply(rows.temporary[k - 1], deltas[k - 1], out=deltas[k - 1])

    def stretches(self, gradient: np.ndarray | None = None) -> list[list[Stretch]]:
        """For each shard of phase 2, the stretches of the flat vector that it works on, in order.

        gradient : (P,) where the whole gradient is to go; None: the stretches of a shard share one
            small buffer, so each gradient has to be used before the next is formed
        """
        bounds: list[list[tuple]] = [[] for _ in range(self.shards)]
        for k, layer in enumerate(self.network.layers):
            fan_in, units = layer.weights.shape
            with_biases = layer.biases is not None and "biases" not in layer.dense.frozen
            if "weights" in layer.dense.frozen:
                if with_biases:
                    bounds[-1].append((k, slice(fan_in, fan_in), True))
                continue
            height = max(1, BLOCK // units)
            for shard in range(self.shards):
                first, past = fan_in * shard // self.shards, fan_in * (shard + 1) // self.shards
                for top in range(first, past, height):
                    rows = slice(top, min(top + height, past))
                    bounds[shard].append((k, rows, with_biases and rows.stop == fan_in))
        return [self._cut(shard, gradient) for shard in bounds]

    def _cut(self, bounds: list[tuple], gradient: np.ndarray | None) -> list[Stretch]:
        cuts = []
        for k, rows, with_biases in bounds:
            layer = self.network.layers[k]
            units = layer.dense.units
            middle = layer.start + rows.stop * units
            cuts.append((layer.start + rows.start * units, middle, middle + units * with_biases, k, rows))
        room = np.empty(max((end - start for start, _, end, *_ in cuts), default=0), self.network.precision)
        result = []
        for start, middle, end, k, rows in cuts:
            g = room[: end - start] if gradient is None else gradient[start:end]
            weights, biases = g[: middle - start].reshape(rows.stop - rows.start, self.network.layers[k].dense.units), g[middle - start :]
            result.append(
                Stretch(start, end, k, rows, g, weights if weights.size else None, biases if biases.size else None)
            )
        return result

    def gradient(self, stretch: Stretch, batch: Rows) -> np.ndarray:
        """Form the gradient of a stretch from the activations and deltas of the whole batch."""
        delta = batch.deltas[stretch.layer]
        if stretch.weights is not None:
            a = batch.activations[stretch.layer - 1] if stretch.layer else batch.inputs
            np.matmul(a[:, stretch.rows].T, delta, out=stretch.weights)
        if stretch.biases is not None:
            np.matmul(self._ones[: len(delta)], delta, out=stretch.biases)
        return stretch.gradient


class OneByOne(Propagation):
    """Batches of one example under plain gradient descent: most of its pixels are zero.

    A pixel of zero adds nothing to the first layer's pre-activations, and its row
    of the weights gets no gradient. So only the other rows are read and written.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network, 1)
        self._trained = [(k, layer) for k, layer in enumerate(network.layers) if _trains(layer)]

    def _first_product(self, inputs: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
        x = inputs[0]
        (self._lit,) = x.nonzero()
        self._light = x.take(self._lit)
        self._lit_weights = weights.take(self._lit, axis=0)
        np.matmul(self._light, self._lit_weights, out=out[0])

    def descend(self, batch: Rows) -> None:
        """Subtract each layer's gradient, already multiplied by the learning rate, from its parameters."""
        for k, layer in self._trained:
            delta = batch.deltas[k]
            if "weights" not in layer.dense.frozen:
                if k:
                    np.subtract(layer.weights, batch.activations[k - 1].T * delta, out=layer.weights)
                else:
                    step = self._light[:, None] * delta
                    layer.weights[self._lit] = np.subtract(self._lit_weights, step, out=step)
            if layer.biases is not None and "biases" not in layer.dense.frozen:
                np.subtract(layer.biases, delta[0], out=layer.biases)


def _trains(layer: Layer) -> bool:
    frozen = layer.dense.frozen
    return "weights" not in frozen or (layer.biases is not None and "biases" not in frozen)
