"""The buffers of the passes, allocated once, and views of them.

A step allocates nothing: its matrix products write where the next ones read. What
one worker of a team writes and another one reads lies in memory that they share.
"""

from typing import NamedTuple

import numpy as np

from mnistcore.engine import shared_memory
from mnistcore.engine.division import Division, ParameterBlock
from mnistcore.network.network import Network

# Batches of so many examples have their few outputs column by column in memory, so that sums over the classes run
# along the batch. In smaller batches it is the number and the length of the calls that counts. A sum's order decides
# its rounding, so committed models hang on this: it stays until results change for a better reason.
# Gains 3 % on 784-1000-500-10, 128: python -m benchmarks.tricks outputs-by-columns
COLUMNS = 16


class Outputs(NamedTuple):
    """The pre-activations of the output layer, (n, K), with the one-hot targets, (n, K), and labels, (n,)."""

    z: np.ndarray
    targets: np.ndarray
    labels: np.ndarray


class Batch(NamedTuple):
    """Views for a whole batch of n examples, as phases 1 and 3 want them.

    inputs[shard] : (n, columns) the shard's columns of the images
    sums[shard] : (n, units) its partial sum of the first layer's pre-activations; an only shard's is outputs[0]
    outputs[k] : (n, units) of layer k, after dropout; of the output layer, its pre-activations z
    deltas[k] : (n, units) δ = ∂loss/∂z of layer k; between the passes, the slope of its activation
    """

    inputs: list[np.ndarray]
    sums: list[np.ndarray]
    outputs: list[np.ndarray]
    deltas: list[np.ndarray]


class Part(NamedTuple):
    """Views for some rows of a batch, as phase 2 wants them.

    sums, outputs, deltas : as in `Batch`
    masks[k] : (rows, units) what dropout multiplies the outputs of layer k with; None: no dropout there
    gradients[k] : (rows, units) room for ∂loss/∂a of hidden layer k, all in one place
    targets : (rows, K)
    """

    sums: list[np.ndarray]
    outputs: list[np.ndarray]
    deltas: list[np.ndarray]
    masks: list[np.ndarray | None]
    gradients: list[np.ndarray]
    targets: np.ndarray


class Workspace:
    """Buffers for one network and the batches of a division.

    Parameters
    ----------
    steps : for how many batches in a row there is room for labels and outputs
    training : whether there are deltas and masks
    whole_gradient : whether there is room for the gradient of all parameters at once; otherwise all parameter
        blocks share one small buffer, each worker its own, and a gradient has to be used before the next is formed
    """

    def __init__(
        self, network: Network, division: Division, steps: int = 1, training: bool = True, whole_gradient: bool = False
    ) -> None:  # fmt: skip
        size, dtype, classes = division.batch_size, network.precision, network.classes
        zeros = np.zeros if division.parts == 1 else shared_memory.zeros
        units = [layer.units for layer in network.layers]
        self._classes = np.arange(classes)
        self._inputs = [shared_memory.zeros((size, c.stop - c.start), dtype) for c in division.columns]
        self._sums = [
            shared_memory.zeros((size, units[0]), dtype) for _ in division.columns if division.shards > 1
        ]
        self._labels = np.zeros((steps, size), np.intp)
        by_columns = size >= COLUMNS
        shape = (classes, size) if by_columns else (size, classes)
        self._targets, self._z, last_deltas = (
            array.transpose(0, 2, 1) if by_columns else array
            for array in (
                np.empty((steps, *shape), dtype),
                zeros((steps, *shape), dtype),
                zeros((int(training), *shape), dtype),
            )
        )
        self._hidden = [zeros((size, n), dtype) for n in units[:-1]]
        self._deltas = [*(zeros((size, n), dtype) for n in units[:-1]), last_deltas[0]] if training else []
        self._masks = [
            np.empty((size, layer.units), dtype) if training and layer.dense.drop_rate else None
            for layer in network.layers
        ]
        self._hidden_units = units[:-1] if training else []
        self._gradient = np.empty(len(network.parameters), dtype) if whole_gradient else None
        # ∂loss/∂a of a layer and the gradient of a block have their turns in this, one after the other.
        lengths = [division.largest_part * n for n in units[:-1]]
        if not whole_gradient:
            lengths += [block.end - block.start for shard in division.blocks for block in shard]
        self._scratch = np.empty(max(lengths, default=0) if training else 0, dtype)

    def load_labels(self, labels: np.ndarray) -> None:
        """Take the labels of the batches that come next; all but the last batch are full.

        labels : (n,) integers; or (n, K) the targets themselves, of examples with any number of labels
        """
        if labels.ndim == 2:
            for targets, start in zip(
                self._targets, range(0, len(labels), len(self._labels[0])), strict=False
            ):
                own = labels[start : start + len(targets)]
                targets[: len(own)] = own
            return
        self._labels.reshape(-1)[: len(labels)] = labels
        np.equal(self._labels[:, :, None], self._classes, out=self._targets)

    def batch(self, examples: int, step: int = 0) -> Batch:
        """Views for a batch of so many examples, the `step`-th of those whose labels were loaded."""
        outputs = [*_cut(self._hidden, slice(examples)), self._z[step][:examples]]
        sums = _cut(self._sums, slice(examples)) or outputs[:1]
        return Batch(_cut(self._inputs, slice(examples)), sums, outputs, _cut(self._deltas, slice(examples)))

    def part(self, rows: slice, step: int = 0) -> Part:
        """Views for these rows of that batch."""
        count = rows.stop - rows.start
        outputs = [*_cut(self._hidden, rows), self._z[step][rows]]
        return Part(
            _cut(self._sums, rows) or outputs[:1],
            outputs,
            _cut(self._deltas, rows),
            [None if mask is None else mask[rows] for mask in self._masks],
            [self._scratch[: count * n].reshape(count, n) for n in self._hidden_units],
            self._targets[step][rows],
        )

    def gradient(self, block: ParameterBlock) -> np.ndarray:
        """Room for the gradient of a parameter block, (its length,)."""
        if self._gradient is None:
            return self._scratch[: block.end - block.start]
        return self._gradient[block.start : block.end]

    def outputs(self, examples: int) -> Outputs:
        """What a first batch of so many examples has come to."""
        return Outputs(self._z[0][:examples], self._targets[0][:examples], self._labels[0][:examples])

    def outputs_of_steps(self, steps: slice) -> Outputs:
        """What whole batches have come to, one after the other: copies, n = steps · batch size."""
        z, targets = (
            array[steps].transpose(2, 0, 1).reshape(len(self._classes), -1).T
            for array in (self._z, self._targets)
        )
        return Outputs(z, targets, self._labels[steps].reshape(-1))


def _cut(arrays: list[np.ndarray], rows: slice) -> list[np.ndarray]:
    return [array[rows] for array in arrays]
