"""Gradients of parameter blocks, and the clipping of the whole."""

import math

import numpy as np
import pytest

from mnistcore.engine.division import BLOCK, LARGE, Division
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.optimizers import SGD, Adam
from mnistcore.training.run import train
from mnistcore.training.settings import Settings


@pytest.mark.parametrize(
    "hidden", [30, 500, 1100]
)  # gradients whole, in blocks, and in the larger ones of a large network
def test_a_gradient_formed_by_two_workers_is_the_gradient(blobs, hidden):
    data = blobs(20, 1000, 10)
    network = Network(1000, [Dense(hidden), Dense(10, "softmax")], precision="float64").initialize(
        stream(2, "weights")
    )
    (w1, b1), (w2, b2) = [(layer.weights.copy(), layer.biases.copy()) for layer in network.layers]
    assert (network.parameters.size >= LARGE) == (hidden == 1100) and (w1.size > 4 * BLOCK) == (hidden > 30)
    division = Division(network, 20, 3)
    assert (division.shards, division.parts) == (3, 1 if hidden == 30 else 3)
    train(network, data, Settings(epochs=1, batch_size=20, optimizer=SGD(0.5), shards=3), workers=2)

    x, t = data.images, np.eye(10)[data.labels]
    a = np.maximum(x @ w1 + b1, 0)
    e = np.exp(a @ w2 + b2)
    delta2 = (e / e.sum(axis=1, keepdims=True) - t) / 20
    delta1 = (delta2 @ w2.T) * (a > 0)
    expected = [
        (w1 - 0.5 * x.T @ delta1, b1 - 0.5 * delta1.sum(0)),
        (w2 - 0.5 * a.T @ delta2, b2 - 0.5 * delta2.sum(0)),
    ]
    for layer, (weights, biases) in zip(network.layers, expected, strict=True):
        assert np.abs(layer.weights - weights).max() < 1e-12 and np.abs(layer.biases - biases).max() < 1e-12


def first_step(optimizer, clip_norm, blobs, fresh, shards=1) -> np.ndarray:
    """What the parameters change by in a step of the whole data."""
    network = fresh()
    before = network.parameters.copy()
    settings = Settings(
        epochs=1, batch_size=200, optimizer=optimizer, clip_norm=clip_norm, l2=0.01, shards=shards
    )
    train(network, blobs(), settings)
    return network.parameters - before


@pytest.mark.parametrize("shards", [1, 3])
def test_clipping_shortens_the_gradient_to_the_norm_and_leaves_a_short_one(blobs, fresh, shards, monkeypatch):
    monkeypatch.setattr("mnistcore.engine.division.SMALLEST_SHARD", 1)
    gradient = -first_step(SGD(1.0), None, blobs, fresh)
    norm = np.linalg.norm(gradient)
    assert norm > 0.1
    for clip_norm in (0.01, 0.99 * norm, 1.01 * norm):
        shortened = gradient * min(1, clip_norm / norm)
        step = first_step(SGD(0.5), clip_norm, blobs, fresh, shards)
        assert step == pytest.approx(-0.5 * shortened, rel=1e-9)
        # With an ε of the gradient's size, the first step of Adam depends on how long the gradient is.
        root = math.sqrt(1 - 0.999)
        expected = -0.1 * root * shortened / (root * np.abs(shortened) + 0.001)
        step = first_step(Adam(0.1, epsilon=0.001), clip_norm, blobs, fresh, shards)
        assert step == pytest.approx(expected, rel=1e-9)
