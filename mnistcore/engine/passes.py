"""Forward and backward through a network as lists of prepared calls.

In a small network most of a step's time goes into finding out what to do. So each
call is prepared once, with its function and its arrays, and a step only makes them,
one after the other. What they compute is in `mnistcore.textbook`: with z = a W + b
for each layer (a the layer's inputs),

    ∂loss/∂W = aᵀ δ,   ∂loss/∂b = Σ_batch δ,   ∂loss/∂a = δ Wᵀ,

and ∂loss/∂a times the slope of the activation is the δ of the layer below.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mnistcore.engine.division import ParameterBlock
from mnistcore.engine.workspace import Batch, Outputs, Part
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.losses import LOSSES
from mnistcore.network.network import Network

Call = Callable[[], object]


def first_layer(network: Network, columns: Sequence[slice], batch: Batch) -> list[Call]:
    """For each shard: from its columns of the images to its partial sum of the first layer's pre-activations."""
    weights = network.layers[0].weights
    return [
        product(inputs, weights[own], out)
        for inputs, own, out in zip(batch.inputs, columns, batch.sums, strict=True)
    ]


def forward(network: Network, part: Part) -> list[Call]:
    """From those partial sums to the outputs; in training, to the slopes of the hidden activations as well."""
    calls: list[Call] = []
    total, z = part.sums[0], part.outputs[0]
    for another in part.sums[1:]:
        calls.append(partial(np.add, total, another, z))
        total = z
    for k, layer in enumerate(network.layers):
        z = part.outputs[k]
        if k:
            calls.append(product(part.outputs[k - 1], layer.weights, z))
        if layer.biases is not None:
            calls.append(partial(np.add, z, layer.biases, z))
        if layer is network.layers[-1]:
            break
        slope, mask = part.deltas[k] if part.deltas else None, part.masks[k]
        calls.append(partial(ACTIVATIONS[layer.dense.activation], z, slope))
        if mask is not None and slope is not None:
            calls.append(partial(np.multiply, z, mask, z))
            calls.append(partial(np.multiply, slope, mask, slope))
    return calls


def backward(network: Network, part: Part, scale: np.ndarray) -> list[Call]:
    """From the outputs to the δ of every layer that trains or has one below it that does.

    scale : () or (rows, 1) what the δ of the outputs, and so every gradient, is multiplied with
    """
    layers, delta = network.layers, part.deltas[-1]
    calls: list[Call] = [
        partial(
            LOSSES[network.loss].gradient, part.outputs[-1], part.targets, delta, layers[-1].dense.activation
        ),
        partial(np.multiply, delta, scale, delta),
    ]
    lowest = next(
        (k for k, layer in enumerate(layers) if layer.weights_train or layer.biases_train), len(layers)
    )
    for k in range(len(layers) - 1, lowest, -1):
        gradient, slope = part.gradients[k - 1], part.deltas[k - 1]
        calls.append(product(part.deltas[k], layers[k].weights.T, gradient))
        calls.append(partial(np.multiply, gradient, slope, slope))
    return calls


def gradient(block: ParameterBlock, inputs: np.ndarray, delta: np.ndarray, out: np.ndarray) -> list[Call]:
    """From the whole batch's inputs to a block's rows, (n, rows), and δ, (n, units), to the block's gradient, flat."""
    calls: list[Call] = []
    weights, biases = out[: block.biases - block.start], out[block.biases - block.start :]
    if weights.size:
        calls.append(product(inputs.T, delta, weights.reshape(-1, delta.shape[1])))
    if biases.size:
        calls.append(column_sums(delta, biases))
    return calls


def column_sums(a: np.ndarray, out: np.ndarray) -> Call:
    """The call that writes the sums over the rows of a (n, m) to `out` (m,), as a product with ones."""
    # Gains 4 % on 784-40-10, 10: python -m benchmarks.tricks sums-as-products
    ones = np.ones(len(a), a.dtype)
    return partial(ones.dot, a, out) if a.flags.c_contiguous else partial(np.matmul, ones, a, out)


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Call:
    """The call that writes a b to `out`.

    `a.dot` is the shorter one, but it can only write what is contiguous, and of columns that lie apart it
    would make a copy first.
    """
    # Gains 6 % on 784-40-10, 1 (float64): python -m benchmarks.tricks dot-where-it-can
    if out.flags.c_contiguous and a.flags.forc:
        return partial(a.dot, b, out)
    return partial(np.matmul, a, b, out)


def losses_and_correct(network: Network, outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Each example's loss, (n,), and whether its largest output is that of its label, (n,)."""
    losses = LOSSES[network.loss].losses(outputs.z, outputs.targets, network.layers[-1].dense.activation)
    return losses, outputs.z.argmax(axis=1) == outputs.labels
