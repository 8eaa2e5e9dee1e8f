"""Losses: how far a batch's outputs are from its targets, and the gradient by which training learns.

Cross-entropies are computed from the logits, together with their softmax or
sigmoid: the two derivatives cancel to `output − target`, nothing overflows, and
no logarithm of zero is taken.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mnistcore.network.activations import ACTIVATIONS, sigmoid, softmax_backward


class Loss(NamedTuple):
    """A loss, as training uses it. `z`, (batch, K), are the pre-activations of the output layer, and are kept.

    gradient(z, targets, delta, activation) : writes ∂loss/∂z to `delta`, (batch, K); each step wants it
    losses(z, targets, activation) : each example's loss, (batch,); wanted now and then, for many steps at once
    output : the activation it is made for; None: any
    """

    gradient: Callable[[np.ndarray, np.ndarray, np.ndarray, str], None]
    losses: Callable[[np.ndarray, np.ndarray, str], np.ndarray]
    output: str | None


# With p = softmax(z) and Σ t = 1: −Σ t log p = log Σ exp z − Σ t z, whose gradient is p − t.


def cross_entropy_gradient(z: np.ndarray, targets: np.ndarray, delta: np.ndarray, activation: str) -> None:
    np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True), out=delta)
    np.exp(delta, out=delta)
    np.divide(delta, np.add.reduce(delta, axis=1, keepdims=True), out=delta)
    np.subtract(delta, targets, out=delta)


def cross_entropy(z: np.ndarray, targets: np.ndarray, activation: str) -> np.ndarray:
    shifted = np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True))
    at_target = np.add.reduce(shifted * targets, axis=1)
    np.exp(shifted, out=shifted)
    return np.log(np.add.reduce(shifted, axis=1)) - at_target


# With o = sigmoid(z): −t log o − (1 − t) log(1 − o) = max(z, 0) − t z + log(1 + exp(−|z|)), summed over
# the outputs; its gradient is o − t.


def binary_cross_entropy_gradient(
    z: np.ndarray, targets: np.ndarray, delta: np.ndarray, activation: str
) -> None:
    np.copyto(delta, z)
    sigmoid(delta)
    np.subtract(delta, targets, out=delta)


def binary_cross_entropy(z: np.ndarray, targets: np.ndarray, activation: str) -> np.ndarray:
    terms = np.log1p(np.exp(-np.abs(z)))
    terms += np.maximum(z, 0)
    return np.add.reduce(terms, axis=1) - np.vecdot(z, targets)


# ½ Σ (o − t)², whose gradient with respect to the outputs o is o − t.


def squared_error_gradient(z: np.ndarray, targets: np.ndarray, delta: np.ndarray, activation: str) -> None:
    if activation == "identity":
        np.subtract(z, targets, out=delta)
        return
    outputs = z.copy(order="K")
    slope = None if activation == "softmax" else np.empty_like(z)
    ACTIVATIONS[activation](outputs, slope)
    np.subtract(outputs, targets, out=delta)
    if slope is None:
        softmax_backward(delta, outputs)
    else:
        np.multiply(delta, slope, out=delta)


def squared_error(z: np.ndarray, targets: np.ndarray, activation: str) -> np.ndarray:
    outputs = z.copy(order="K")
    ACTIVATIONS[activation](outputs)
    np.subtract(outputs, targets, out=outputs)
    return 0.5 * np.vecdot(outputs, outputs)


LOSSES = {
    "cross-entropy": Loss(cross_entropy_gradient, cross_entropy, "softmax"),
    "binary-cross-entropy": Loss(binary_cross_entropy_gradient, binary_cross_entropy, "sigmoid"),
    "squared-error": Loss(squared_error_gradient, squared_error, None),
}
