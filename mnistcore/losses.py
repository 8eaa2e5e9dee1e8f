"""Losses: how far a batch's outputs are from its targets, and the gradient that training descends.

Cross-entropies are computed from the logits, together with their softmax or
sigmoid: the two derivatives cancel to `output − target`, and nothing
overflows or takes the logarithm of zero.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mnistcore.activations import ACTIVATIONS


class Loss(NamedTuple):
    """A loss, as training uses it.

    compute(z, targets, losses, delta, activation)
        replaces the output layer's pre-activations `z`, (batch, K), by its activations, writes
        each example's loss to `losses`, (batch,), and ∂loss/∂z to `delta`, (batch, K)
    outputs : the activations it can be used with; None: any
    """

    compute: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str], None]
    outputs: tuple[str, ...] | None = None


def _cross_entropy(z, targets, losses, delta, activation):
    # With p = softmax(z) and Σ targets = 1: −Σ t log p = log Σ exp z − Σ t z, whose gradient is p − t.
    np.subtract(z, z.max(axis=1, keepdims=True), out=z)
    np.einsum("ij,ij->i", z, targets, out=losses)
    np.exp(z, out=z)
    total = z.sum(axis=1, keepdims=True)
    np.divide(z, total, out=z)
    np.log(total, out=total)
    np.subtract(total[:, 0], losses, out=losses)
    np.subtract(z, targets, out=delta)


def _binary_cross_entropy(z, targets, losses, delta, activation):
    # With o = sigmoid(z): −t log o − (1 − t) log(1 − o) = max(z, 0) − t z + log(1 + exp(−|z|)); gradient o − t.
    np.abs(z, out=delta)
    np.negative(delta, out=delta)
    np.exp(delta, out=delta)
    np.log1p(delta, out=delta)
    np.add.reduce(delta, axis=1, out=losses)
    np.maximum(z, 0, out=delta)
    losses += delta.sum(axis=1)
    losses -= np.einsum("ij,ij->i", z, targets)
    ACTIVATIONS["sigmoid"].forward(z)
    np.subtract(z, targets, out=delta)


def _squared_error(z, targets, losses, delta, activation):
    # ½ Σ (o − t)², whose gradient with respect to o is o − t.
    forward, backward = ACTIVATIONS[activation]
    forward(z)
    np.subtract(z, targets, out=delta)
    np.einsum("ij,ij->i", delta, delta, out=losses)
    np.multiply(losses, 0.5, out=losses)
    backward(delta, z, np.empty_like(z))


LOSSES = {
    "cross-entropy": Loss(_cross_entropy, ("softmax",)),
    "binary-cross-entropy": Loss(_binary_cross_entropy, ("sigmoid",)),
    "squared-error": Loss(_squared_error),
}
