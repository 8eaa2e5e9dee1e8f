"""Forward and backward through a network, batch after batch, in buffers that are allocated once.

A batch is worked in two phases, each cut into a fixed number of shards:

1. By examples. Each shard takes its rows of the batch forward to the loss and
   back to the deltas, δ = ∂loss/∂z, of every layer; no row needs another.
2. By parameters. Each shard forms the gradient of its rows of every weight
   matrix, aᵀ δ over the whole batch, and updates those parameters at once.

So no gradient is ever summed over shards, and the bits depend on the number of
shards, never on how many threads work them.

With z = a W + b per layer (a the layer's inputs), the chain rule gives
    ∂loss/∂W = aᵀ δ,   ∂loss/∂b = Σ_batch δ,   ∂loss/∂a = δ Wᵀ,
and the activation's derivative turns ∂loss/∂a into the δ of the layer below.
"""

from dataclasses import dataclass, field

import numpy as np

from mnistcore.activations import ACTIVATIONS
from mnistcore.losses import LOSSES
from mnistcore.network import Network


@dataclass
class Rows:
    """Views of the buffers for some rows of a batch: one shard of phase 1, or the batch as a whole.

    inputs : (rows, features), targets (rows, K), labels (rows,)
    activations[k] : (rows, units) of layer k before dropout; dropped[k] after it (the same array without)
    deltas[k] : (rows, units) ∂loss/∂z of layer k
    """

    inputs: np.ndarray
    targets: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    correct: np.ndarray
    activations: list[np.ndarray]
    dropped: list[np.ndarray]
    masks: list[np.ndarray | None]
    deltas: list[np.ndarray]
    scratch: list[np.ndarray]


@dataclass
class Stretch:
    """A stretch of the flat vector that one shard of phase 2 works on, and how its gradient is made.

    products : (inputs, deltas, gradient) for gradient = inputsᵀ deltas; inputs None for biases
    """

    start: int
    end: int
    decays: bool
    layer: int
    rows: slice | None = None  # of the weight matrix; None: the biases
    gradient: np.ndarray = field(default_factory=lambda: np.empty(0))


class Propagation:
    """Buffers and passes for one network and batches of up to `batch_size` examples.

    Parameters
    ----------
    network : its parameters are read in place
    shards : into how many parts both phases are cut
    backward : whether deltas and gradients are wanted, and dropout applied
    """

    block = 1 << 16  # elements of a gradient stretch: small enough to be updated while still in the cache

    def __init__(self, network: Network, batch_size: int, shards: int = 1, backward: bool = True) -> None:
        self.network, self.shards, self.backward = network, shards, backward
        dtype, units = network.precision, [layer.dense.units for layer in network.layers]
        self._compute = LOSSES[network.loss].compute
        self.inputs = np.empty((batch_size, network.features), dtype)
        self.targets = np.empty((batch_size, network.classes), dtype)
        self.labels = np.empty(batch_size, np.intp)
        self.losses = np.empty(batch_size, dtype)
        self.correct = np.empty(batch_size, bool)
        self.activations = [np.empty((batch_size, n), dtype) for n in units]
        dropping = [backward and layer.dense.drop_rate > 0 for layer in network.layers]
        self.masks = [np.empty_like(a) if d else None for a, d in zip(self.activations, dropping, strict=True)]
        self.dropped = [np.empty_like(a) if d else a for a, d in zip(self.activations, dropping, strict=True)]
        self.deltas = [np.empty_like(a) for a in self.activations] if backward else self.activations
        self.scratch = [np.empty_like(a) for a in self.activations] if backward else self.activations
        self._plans: dict[int, list[Rows]] = {}

    def plan(self, examples: int) -> list[Rows]:
        """The shards of a batch of so many examples; the last entry is the batch as a whole."""
        if examples not in self._plans:
            bounds = [examples * shard // self.shards for shard in range(self.shards + 1)]
            self._plans[examples] = [
                *(self._rows(a, b) for a, b in zip(bounds, bounds[1:], strict=False)),
                self._rows(0, examples),
            ]
        return self._plans[examples]

    def _rows(self, a: int, b: int) -> Rows:
        def cut(arrays: list) -> list:
            return [None if array is None else array[a:b] for array in arrays]

        return Rows(
            self.inputs[a:b], self.targets[a:b], self.labels[a:b], self.losses[a:b], self.correct[a:b],
            cut(self.activations), cut(self.dropped), cut(self.masks), cut(self.deltas), cut(self.scratch),
        )  # fmt: skip

    def forward(self, rows: Rows) -> None:
        """From `rows.inputs` to the losses, the correct answers, and the δ of the outputs."""
        a, last = rows.inputs, len(self.network.layers) - 1
        for k, layer in enumerate(self.network.layers):
            z = rows.activations[k]
            np.matmul(a, layer.weights, out=z)
            if layer.biases is not None:
                np.add(z, layer.biases, out=z)
            if k < last:
                ACTIVATIONS[layer.dense.activation].forward(z)
                if rows.masks[k] is not None:
                    np.multiply(z, rows.masks[k], out=rows.dropped[k])
                a = rows.dropped[k]
        delta = rows.deltas[last] if self.backward else np.empty_like(z)
        self._compute(z, rows.targets, rows.losses, delta, layer.dense.activation)
        np.equal(z.argmax(axis=1), rows.labels, out=rows.correct)

    def back(self, rows: Rows, scale: float) -> None:
        """From the δ of the outputs, multiplied by `scale`, to the δ of every layer that needs one."""
        layers = self.network.layers
        delta = rows.deltas[-1]
        np.multiply(delta, delta.dtype.type(scale), out=delta)
        lowest = next((k for k, layer in enumerate(layers) if _trains(layer)), len(layers))
        for k in range(len(layers) - 1, lowest, -1):
            below = rows.deltas[k - 1]
            np.matmul(rows.deltas[k], layers[k].weights.T, out=below)
            if rows.masks[k - 1] is not None:
                np.multiply(below, rows.masks[k - 1], out=below)
            backward = ACTIVATIONS[layers[k - 1].dense.activation].backward
            backward(below, rows.activations[k - 1], rows.scratch[k - 1])

    def stretches(self, gradient: np.ndarray | None = None) -> list[list[Stretch]]:
        """For each shard, the stretches of the flat vector that it works on.

        gradient : (P,) where the whole gradient is to go; None: each stretch's gradient is used at once
            and overwritten by the next
        """
        dtype = self.network.precision
        shared = [np.empty(0, dtype) for _ in range(self.shards)]
        result: list[list[Stretch]] = [[] for _ in range(self.shards)]
        for k, layer in enumerate(self.network.layers):
            fan_in, units = layer.weights.shape
            if "weights" not in layer.dense.frozen:
                for shard in range(self.shards):
                    a, b = fan_in * shard // self.shards, fan_in * (shard + 1) // self.shards
                    height = max(1, self.block // units)
                    for top in range(a, b, height):
                        rows = slice(top, min(top + height, b))
                        start, end = layer.start + rows.start * units, layer.start + rows.stop * units
                        result[shard].append(Stretch(start, end, True, k, rows))
            if layer.biases is not None and "biases" not in layer.dense.frozen:
                start = layer.start + fan_in * units
                result[-1].append(Stretch(start, start + units, False, k))
        for shard, stretches in enumerate(result):
            longest = max((s.end - s.start for s in stretches), default=0)
            shared[shard] = np.empty(longest, dtype)
            for s in stretches:
                s.gradient = shared[shard][: s.end - s.start] if gradient is None else gradient[s.start : s.end]
        return result

    def gradient(self, stretch: Stretch, batch: Rows) -> np.ndarray:
        """Form the gradient of a stretch from the deltas of the whole batch."""
        delta, g = batch.deltas[stretch.layer], stretch.gradient
        if stretch.rows is None:
            np.add.reduce(delta, axis=0, out=g)
        else:
            a = batch.inputs if stretch.layer == 0 else batch.dropped[stretch.layer - 1]
            np.matmul(a[:, stretch.rows].T, delta, out=g.reshape(-1, delta.shape[1]))
        return g


def _trains(layer) -> bool:
    frozen = layer.dense.frozen
    return "weights" not in frozen or (layer.biases is not None and "biases" not in frozen)
