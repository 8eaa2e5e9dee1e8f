"""The gradient that a training step descends is that of the loss, for every combination of options."""

import itertools

import numpy as np
import pytest

from mnistcore.engine import division
from mnistcore.engine.division import Division, evenly
from mnistcore.network.initializers import Normal
from mnistcore.network.network import Dense, Network
from mnistcore.training.dropout import Dropout
from mnistcore.training.optimizers import SGD
from mnistcore.training.run import train
from mnistcore.training.settings import Examples, Settings

BATCH, FEATURES, CLASSES, SHARDS = 7, 6, 4, 3
ENDINGS = [
    ("cross-entropy", "softmax"),
    ("binary-cross-entropy", "sigmoid"),
    *(("squared-error", output) for output in ("identity", "relu", "sigmoid", "tanh", "softmax")),
]
FORMULAS = {
    "identity": lambda z: z,
    "relu": lambda z: np.where(z > 0, z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
}


def examples(rng):
    return Examples(rng.standard_normal((BATCH, FEATURES)), rng.integers(0, CLASSES, BATCH))


def network(activation, loss, output, bias, frozen, drop_rate, rng):
    drawn = {"weights": Normal(0.7), "biases": Normal(0.5), "bias": bias, "frozen": frozen}
    layers = [
        Dense(5, activation, drop_rate=drop_rate, **drawn),
        Dense(3, activation, drop_rate=drop_rate, **(drawn | {"frozen": ()})),
        Dense(CLASSES, output, **(drawn | {"frozen": ()})),
    ]
    return Network(FEATURES, layers, loss, "float64").initialize(rng)


def masks_of(net, drop_rate):
    """What dropout multiplies with in the first step of seed 0."""
    cut = Division(net, BATCH, SHARDS)
    rates = [layer.dense.drop_rate for layer in net.layers]
    units = [layer.units for layer in net.layers]
    masks = [np.ones((BATCH, width)) for width in units]
    for part, rows in enumerate(evenly(BATCH, cut.parts)):
        of_part = [mask[rows] if rate else None for mask, rate in zip(masks, rates, strict=True)]
        Dropout(rates, units, cut.largest_part, seed=0, part=part).draw(of_part, epoch=1, step=0)
    return masks


def loss_by_formula(parameters, net, data, masks, l2):
    """The batch's mean loss, written as in a textbook, sharing no code with the library."""
    a, start, decay = data.images, 0, 0.0
    for layer, mask in zip(net.layers, masks, strict=True):
        fan_in, units = a.shape[1], layer.dense.units
        weights = parameters[start : start + fan_in * units].reshape(fan_in, units)
        start += fan_in * units
        z = a @ weights
        decay += 0.5 * l2 * (weights**2).sum()
        if layer.dense.bias:
            z = z + parameters[start : start + units]
            start += units
        a = FORMULAS[layer.dense.activation](z) * mask
    t = np.eye(CLASSES)[data.labels]
    if net.loss == "cross-entropy":
        losses = -(t * np.log(a)).sum(axis=1)
    elif net.loss == "binary-cross-entropy":
        losses = -(t * np.log(a) + (1 - t) * np.log(1 - a)).sum(axis=1)
    else:
        losses = 0.5 * ((a - t) ** 2).sum(axis=1)
    return losses.mean() + decay


def numerical_gradient(function, p, h=1e-5):
    """Central differences of fourth order."""
    gradient = np.empty_like(p)
    for i in range(len(p)):
        moved = p.copy()
        values = []
        for k in (-2, -1, 1, 2):
            moved[i] = p[i] + k * h
            values.append(function(moved))
        gradient[i] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    return gradient


@pytest.mark.parametrize("smallest", [{}, {"SMALLEST_SHARD": 1}, {"SMALLEST_SHARD": 1, "SMALLEST_PART": 1}])
@pytest.mark.parametrize(("loss", "output"), ENDINGS)
@pytest.mark.parametrize("activation", ["identity", "relu", "sigmoid", "tanh"])
def test_a_step_descends_the_numerical_gradient(activation, loss, output, smallest, monkeypatch):
    """In one shard, in three, and in three with as many parts of the batch."""
    for name, value in smallest.items():
        monkeypatch.setattr(division, name, value)
        monkeypatch.setattr(division, "SMALLEST_CUT", 1)
    options = itertools.product([True, False], [0.0, 0.4], [0.0, 0.3], [(), ("weights",), ("biases",)])
    for bias, drop_rate, l2, frozen in options:
        rng = np.random.default_rng(5)
        data = examples(rng)
        net = network(activation, loss, output, bias, frozen, drop_rate, rng)
        before, masks = net.parameters.copy(), masks_of(net, drop_rate)
        settings = Settings(
            epochs=1, batch_size=BATCH, optimizer=SGD(1.0), l2=l2, shuffle=False, shards=SHARDS
        )
        (epoch,) = train(net, data, settings, seed=0)

        if not frozen:  # what is frozen changes nothing in it
            begin = before
            expected = numerical_gradient(lambda p: loss_by_formula(p, net, data, masks, l2), before)  # noqa: B023
        assert np.array_equal(before, begin)
        first = net.layers[0]
        held = np.zeros(len(before), bool)
        if "weights" in frozen:
            held[: first.weights.size] = True
        if "biases" in frozen and bias:
            held[first.weights.size : first.weights.size + first.dense.units] = True
        descended = before - net.parameters
        assert not descended[held].any()
        error = np.linalg.norm((descended - expected)[~held]) / np.linalg.norm(expected[~held])
        assert error < 1e-6, (bias, drop_rate, frozen, l2)
        without_decay = loss_by_formula(before, net, data, masks, 0.0)
        assert epoch.train_loss == pytest.approx(without_decay, rel=1e-12)


def test_straight_through_descends_the_gradient_of_the_identity():
    rng = np.random.default_rng(5)
    data = examples(rng)
    net = network("relu-straight-through", "squared-error", "identity", True, (), 0.0, rng)
    before = net.parameters.copy()
    x, (one, two, three) = data.images, [(layer.weights.copy(), layer.biases.copy()) for layer in net.layers]
    a1 = np.maximum(x @ one[0] + one[1], 0)
    a2 = np.maximum(a1 @ two[0] + two[1], 0)
    delta3 = (a2 @ three[0] + three[1] - np.eye(CLASSES)[data.labels]) / BATCH
    delta2 = delta3 @ three[0].T
    delta1 = delta2 @ two[0].T
    expected = [x.T @ delta1, delta1.sum(0), a1.T @ delta2, delta2.sum(0), a2.T @ delta3, delta3.sum(0)]
    train(net, data, Settings(epochs=1, batch_size=BATCH, optimizer=SGD(1.0), shuffle=False))
    assert before - net.parameters == pytest.approx(np.concatenate([g.ravel() for g in expected]), rel=1e-9)


@pytest.mark.parametrize("drop_rate", [0.0, 0.4])
@pytest.mark.parametrize("frozen", [(), ("weights",), ("biases",)])
def test_one_example_at_a_time_descends_the_same_gradient(drop_rate, frozen):
    """The way that skips dark pixels agrees with the general one, reached here by a decay of almost nothing."""
    rng = np.random.default_rng(5)
    images = rng.standard_normal((20, FEATURES)) * (rng.random((20, FEATURES)) < 0.3)
    data = Examples(images, rng.integers(0, CLASSES, 20))
    results = []
    for l2 in (0.0, 1e-300):
        net = network("tanh", "cross-entropy", "softmax", True, frozen, drop_rate, np.random.default_rng(1))
        train(net, data, Settings(epochs=3, batch_size=1, optimizer=SGD(0.1), l2=l2))
        results.append(net.parameters)
    assert results[0] == pytest.approx(results[1], rel=1e-12)


def test_summed_gradients_are_the_mean_times_the_batch():
    moved = []
    for reduction in ("mean", "sum"):
        rng = np.random.default_rng(5)
        data = examples(rng)
        net = network("tanh", "cross-entropy", "softmax", True, (), 0.0, rng)
        before = net.parameters.copy()
        train(net, data, Settings(epochs=1, batch_size=BATCH, optimizer=SGD(1.0), reduction=reduction))
        moved.append(net.parameters - before)
    assert moved[1] == pytest.approx(BATCH * moved[0], rel=1e-9)


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize(("loss", "output"), ENDINGS[:2])
def test_cross_entropies_are_right_and_finite_for_logits_of_any_size(loss, output, size):
    from scipy.special import log_expit, log_softmax

    logits = size * np.array([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    targets = np.eye(3)[[0, 0, 1, 2]]
    net = Network(3, [Dense(3, output, bias=False)], loss, "float64")
    net.layers[0].weights[...] = np.eye(3)
    outputs, mean = net.evaluate(logits, targets)
    if output == "softmax":
        expected = -(targets * log_softmax(logits, axis=1)).sum(axis=1)
    else:
        expected = -(targets * log_expit(logits) + (1 - targets) * log_expit(-logits)).sum(axis=1)
    assert np.isfinite(outputs).all()
    assert mean == pytest.approx(expected.mean(), rel=1e-12)
    data = Examples(logits, targets.argmax(axis=1))
    train(net, data, Settings(epochs=1, batch_size=4, optimizer=SGD(1e-9), shuffle=False))
    assert np.isfinite(net.parameters).all()
