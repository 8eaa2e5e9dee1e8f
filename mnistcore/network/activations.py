"""Activation functions, each with its derivative.

A function replaces the pre-activations z of a layer by its activations a and
writes the slope da/dz, element by element, where the backward pass will want it.
The slope is found from a: relu' = [a > 0], sigmoid' = a (1 − a), tanh' = 1 − a².
"""

from typing import Protocol

import numpy as np


class Activation(Protocol):
    """An activation function of a layer."""

    def __call__(self, z: np.ndarray, slope: np.ndarray | None = None) -> None:
        """Turn z (batch, units) into a, in place, and write da/dz to `slope`, which is like it; None: not wanted."""


def identity(z: np.ndarray, slope: np.ndarray | None = None) -> None:
    if slope is not None:
        slope.fill(1)


def relu(z: np.ndarray, slope: np.ndarray | None = None) -> None:
    np.maximum(z, 0, out=z)
    if slope is not None:
        np.greater(z, 0, out=slope)


def relu_straight_through(z: np.ndarray, slope: np.ndarray | None = None) -> None:
    relu(z)
    identity(z, slope)


def sigmoid(z: np.ndarray, slope: np.ndarray | None = None) -> None:
    # 1 / (1 + exp(−z)) = ½ + ½ tanh(z/2), which cannot overflow.
    np.multiply(z, 0.5, out=z)
    np.tanh(z, out=z)
    np.multiply(z, 0.5, out=z)
    np.add(z, 0.5, out=z)
    if slope is not None:
        np.subtract(1, z, out=slope)
        np.multiply(slope, z, out=slope)


def tanh(z: np.ndarray, slope: np.ndarray | None = None) -> None:
    np.tanh(z, out=z)
    if slope is not None:
        np.multiply(z, z, out=slope)
        np.subtract(1, slope, out=slope)


def softmax(z: np.ndarray, slope: np.ndarray | None = None) -> None:
    # Shifting all logits of a row changes nothing; with the largest at 0, exp cannot overflow. Its derivative
    # is not element by element, so that it has no slope, and its place is the output layer.
    np.subtract(z, z.max(axis=1, keepdims=True), out=z)
    np.exp(z, out=z)
    np.divide(z, z.sum(axis=1, keepdims=True), out=z)


def softmax_backward(delta: np.ndarray, a: np.ndarray) -> None:
    """Turn ∂loss/∂a of a softmax, `delta` (batch, K), into ∂loss/∂z.

    ∂a_j/∂z_i = a_j ([i = j] − a_i), hence ∂loss/∂z_i = a_i (δ_i − Σ_j δ_j a_j).
    """
    delta -= np.einsum("ij,ij->i", delta, a)[:, None]
    delta *= a


ACTIVATIONS: dict[str, Activation] = {
    "identity": identity,
    "relu": relu,
    # Passes the gradient as if relu were the identity (Bengio et al. 2013, "straight-through").
    "relu-straight-through": relu_straight_through,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
}
