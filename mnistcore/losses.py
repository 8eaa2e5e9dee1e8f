"""Losses: how far a batch's outputs are from its targets, and the gradient that training descends.

Cross-entropies are computed from the logits, together with their softmax or
sigmoid: the two derivatives cancel to `output − target`, nothing overflows, and
no logarithm of zero is taken.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mnistcore.activations import ACTIVATIONS, sigmoid, softmax_backward


class Loss(NamedTuple):
    """A loss, as training uses it.

    compute(z, targets, losses, delta, activation)
        replaces the output layer's pre-activations `z`, (batch, K), by its activations, writes
        each example's loss to `losses`, (batch,), and ∂loss/∂z to `delta`, (batch, K)
    output : the activation it is made for; None: any
    """

    compute: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str], None]
    output: str | None


def cross_entropy(z, targets, losses, delta, activation):
    # With p = softmax(z) and Σ t = 1: −Σ t log p = log Σ exp z − Σ t z, whose gradient is p − t.
    np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True), out=z)
    np.multiply(z, targets, out=delta)
    np.add.reduce(delta, axis=1, out=losses)
    np.exp(z, out=z)
    total = np.add.reduce(z, axis=1, keepdims=True)
    np.divide(z, total, out=z)
    np.log(total, out=total)
    np.subtract(total[:, 0], losses, out=losses)
    np.subtract(z, targets, out=delta)


def binary_cross_entropy(z, targets, losses, delta, activation):
    # With o = sigmoid(z): −t log o − (1 − t) log(1 − o) = max(z, 0) − t z + log(1 + exp(−|z|)), summed over
    # the outputs; its gradient is o − t.
    np.abs(z, out=delta)
    np.negative(delta, out=delta)
    np.exp(delta, out=delta)
    np.log1p(delta, out=delta)
    delta += np.maximum(z, 0)
    np.vecdot(z, targets, out=losses)
    np.subtract(np.add.reduce(delta, axis=1), losses, out=losses)
    sigmoid(z)
    np.subtract(z, targets, out=delta)


def squared_error(z, targets, losses, delta, activation):
    # ½ Σ (o − t)², whose gradient with respect to the outputs o is o − t.
    with_slope = activation not in ("identity", "softmax")
    slope, positive = (np.empty_like(z), np.empty(z.shape, bool)) if with_slope else (None, None)
    ACTIVATIONS[activation](z, slope, positive)
    np.subtract(z, targets, out=delta)
    np.vecdot(delta, delta, out=losses)
    np.multiply(losses, 0.5, out=losses)
    if activation == "softmax":
        softmax_backward(delta, z)
    elif with_slope:
        np.multiply(delta, slope, out=delta)


LOSSES = {
    "cross-entropy": Loss(cross_entropy, "softmax"),
    "binary-cross-entropy": Loss(binary_cross_entropy, "sigmoid"),
    "squared-error": Loss(squared_error, None),
}
