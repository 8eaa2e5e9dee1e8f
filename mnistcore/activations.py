"""Activation functions, each with its derivative.

Both work in place. The derivative is taken from the activation itself, so the
pre-activation need not be kept: relu' = [a > 0], sigmoid' = a(1 − a),
tanh' = 1 − a².
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Activation(NamedTuple):
    """A function and its derivative.

    forward(z) : replaces pre-activations z, (batch, units), by activations a
    backward(delta, a, scratch) : replaces ∂loss/∂a in `delta` by ∂loss/∂z; `scratch` is like `delta`
    """

    forward: Callable[[np.ndarray], None]
    backward: Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def _identity(z):
    pass


def _identity_backward(delta, a, scratch):
    pass


def _relu(z):
    np.maximum(z, 0, out=z)


def _relu_backward(delta, a, scratch):
    np.greater(a, 0, out=scratch)
    np.multiply(delta, scratch, out=delta)


def _sigmoid(z):
    # 1 / (1 + exp(−z)) = ½ + ½ tanh(z/2), which cannot overflow.
    np.multiply(z, 0.5, out=z)
    np.tanh(z, out=z)
    np.multiply(z, 0.5, out=z)
    np.add(z, 0.5, out=z)


def _sigmoid_backward(delta, a, scratch):
    np.subtract(1, a, out=scratch)
    np.multiply(scratch, a, out=scratch)
    np.multiply(delta, scratch, out=delta)


def _tanh(z):
    np.tanh(z, out=z)


def _tanh_backward(delta, a, scratch):
    np.multiply(a, a, out=scratch)
    np.subtract(1, scratch, out=scratch)
    np.multiply(delta, scratch, out=delta)


def _softmax(z):
    # Shifting all logits of a row changes nothing; with the largest at 0, exp cannot overflow.
    np.subtract(z, z.max(axis=1, keepdims=True), out=z)
    np.exp(z, out=z)
    np.divide(z, z.sum(axis=1, keepdims=True), out=z)


def _softmax_backward(delta, a, scratch):
    # ∂a_j/∂z_i = a_j([i = j] − a_i), hence ∂loss/∂z_i = a_i (δ_i − Σ_j δ_j a_j).
    np.multiply(delta, a, out=scratch)
    np.subtract(delta, scratch.sum(axis=1, keepdims=True), out=delta)
    np.multiply(delta, a, out=delta)


ACTIVATIONS = {
    "identity": Activation(_identity, _identity_backward),
    "relu": Activation(_relu, _relu_backward),
    # Passes the gradient as if relu were the identity (Bengio et al. 2013, "straight-through").
    "relu-straight-through": Activation(_relu, _identity_backward),
    "sigmoid": Activation(_sigmoid, _sigmoid_backward),
    "tanh": Activation(_tanh, _tanh_backward),
    "softmax": Activation(_softmax, _softmax_backward),
}
