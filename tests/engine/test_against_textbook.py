"""The engine computes what `mnistcore.textbook` says: every option, alone and with every other, ten steps deep."""

import itertools
import math
import random
from functools import partial

import numpy as np
import pytest

from mnistcore import textbook
from mnistcore.network.initializers import Normal
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.dropout import Dropout
from mnistcore.training.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from mnistcore.training.run import train
from mnistcore.training.settings import Averaging, Examples, Settings

EXAMPLES, FEATURES, HIDDEN, CLASSES, STEPS = 40, 12, (9, 7), 4, 10

# Of losses and outputs, the pairs that there are.
ENDS = [
    ("cross-entropy", "softmax"),
    ("binary-cross-entropy", "sigmoid"),
    *(("squared-error", output) for output in textbook.ACTIVATIONS),
]
OPTIONS = {
    "hidden": [name for name in textbook.ACTIVATIONS if name != "softmax"],
    "end": ENDS,
    "bias": [True, False],
    "frozen": [(), ("weights",), ("biases",), ("weights", "biases")],
    "drop_rate": [0.0, 0.3],
    "l2": [0.0, 0.05],
    "clip_norm": [None, 0.2],
    "optimizer": ["sgd", "momentum", "nesterov", "adam", "adamw"],
    "averaging": [None, Averaging(0.7, 1), Averaging(0.9, 3)],
    "reduction": ["mean", "sum"],
    "remainder": ["keep", "drop"],
    "batch_size": [1, 7, 16, 32],  # one by one; output row by row; column by column
    "shards": [1, 2, 3],
    "cut": [True, False],  # whether a step's middle is cut by examples, too
}


def optimizer(name: str, rate: float):
    """The engine's, and the textbook's."""
    means = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6}
    return {
        "sgd": (SGD(rate), partial(textbook.sgd, rate=rate)),
        "momentum": (Momentum(rate, 0.8), partial(textbook.momentum, rate=rate, mu=0.8)),
        "nesterov": (Nesterov(rate, 0.8), partial(textbook.nesterov, rate=rate, mu=0.8)),
        "adam": (Adam(rate, **means), partial(textbook.adam, rate=rate, **means)),
        "adamw": (
            AdamW(rate, **means, weight_decay=0.1),
            partial(textbook.adam, rate=rate, **means, decay=0.1),
        ),
    }[name]


def cases(count: int, seed: int) -> list[dict]:
    """Random combinations; they go on until each value of each option has met each value of every other."""
    generator = random.Random(seed)
    found, missing = [], set(pairs_of(OPTIONS))
    while len(found) < count or missing:
        case = {name: generator.choice(values) for name, values in OPTIONS.items()}
        missing -= set(pairs_of({name: [value] for name, value in case.items()}))
        found.append(case)
    return found


def pairs_of(options: dict[str, list]) -> list[tuple]:
    return [
        (one, a, other, b)
        for one, other in itertools.combinations(options, 2)
        for a in options[one]
        for b in options[other]
    ]


@pytest.fixture
def masks(monkeypatch) -> dict[tuple[int, int], list]:
    """What dropout has drawn, for each (epoch, step): of each part of the batch, each layer's mask, or 1."""
    drawn, draw = {}, Dropout.draw

    def noted(self, masks, epoch, step):
        draw(self, masks, epoch, step)
        of_part = [1.0 if mask is None else mask.copy() for mask in masks]
        drawn.setdefault((epoch, step), []).append(of_part)

    monkeypatch.setattr(Dropout, "draw", noted)
    return drawn


def steps_of(settings: Settings, seed: int) -> list[np.ndarray]:
    """The numbers of the examples of each step."""
    steps = []
    for epoch in range(1, settings.epochs + 1):
        order = stream(seed, "shuffle", epoch).permutation(EXAMPLES)
        batches = [order[a : a + settings.batch_size] for a in range(0, EXAMPLES, settings.batch_size)]
        steps += [b for b in batches if settings.remainder == "keep" or len(b) == settings.batch_size]
    return steps


def check(case: dict, seed: int, masks: dict, monkeypatch) -> None:
    monkeypatch.setattr("mnistcore.engine.division.SMALLEST_SHARD", 1)
    monkeypatch.setattr("mnistcore.engine.division.SMALLEST_PART", 1 if case["cut"] else 1 << 40)
    monkeypatch.setattr("mnistcore.engine.division.SMALLEST_CUT", 1)
    generator = np.random.default_rng(seed)
    images = generator.random((EXAMPLES, FEATURES)) * (generator.random((EXAMPLES, FEATURES)) < 0.7)
    labels = generator.integers(0, CLASSES, EXAMPLES)
    loss, output = case["end"]
    dense = [
        Dense(
            units, case["hidden"], case["bias"], case["drop_rate"], case["frozen"], Normal(0.5), Normal(0.5)
        )
        for units in HIDDEN
    ]
    network = Network(FEATURES, [*dense, Dense(CLASSES, output, case["bias"])], loss, "float64").initialize(
        generator
    )
    layers = [
        textbook.Layer(
            layer.weights.copy(),
            None if layer.biases is None else layer.biases.copy(),
            layer.dense.activation,
            layer.dense.frozen,
        )
        for layer in network.layers
    ]
    per_epoch = len(
        steps_of(Settings(epochs=1, batch_size=case["batch_size"], remainder=case["remainder"]), 0)
    )
    # Small enough that no linear network diverges, of which the engine would say so and the textbook would not.
    rate = 0.003 / (case["batch_size"] if case["reduction"] == "sum" else 1)
    of_engine, of_textbook = optimizer(case["optimizer"], rate)
    settings = Settings(
        epochs=math.ceil(STEPS / per_epoch),
        optimizer=of_engine,
        **{
            name: case[name]
            for name in ("batch_size", "remainder", "reduction", "l2", "clip_norm", "averaging", "shards")
        },
    )
    masks.clear()
    history = train(network, Examples(images, labels), settings, seed=seed)

    targets = np.eye(CLASSES)[labels]
    memories = [np.zeros((2, *p.shape)) for p in textbook.trained(layers)]
    average, weight, losses = [np.zeros_like(p) for p in textbook.trained(layers)], 0.0, []
    for done, batch in enumerate(steps_of(settings, seed)):
        of_step = masks and [*zip(*masks[1 + done // per_epoch, done % per_epoch], strict=True)]
        mean, _ = textbook.epoch(
            layers, images, targets, [batch], of_textbook, memories, done,
            loss=loss, l2=case["l2"], clip_norm=case["clip_norm"] or np.inf, reduction=case["reduction"],
            masks=of_step and [np.vstack(m) if isinstance(m[0], np.ndarray) else 1.0 for m in of_step],
        )  # fmt: skip
        losses.append((mean, len(batch)))
        averaging = case["averaging"]
        if averaging and (done + 1) % averaging.steps == 0:
            average = [
                averaging.decay * a + p for a, p in zip(average, textbook.trained(layers), strict=True)
            ]
            weight = averaging.decay * weight + 1
    last = losses[-per_epoch:]
    assert history[-1].train_loss == pytest.approx(
        sum(mean * n for mean, n in last) / sum(n for _, n in last), rel=1e-11
    ), case
    if case["averaging"]:
        for p, a in zip(textbook.trained(layers), average, strict=True):
            p[...] = a / weight
    for ours, theirs in zip(network.layers, layers, strict=True):
        for p, q in ((ours.weights, theirs.weights), (ours.biases, theirs.biases)):
            if q is not None:
                np.testing.assert_allclose(p, q, rtol=0, atol=1e-12 * np.abs(q).max(), err_msg=str(case))


def test_each_pair_of_options(masks, monkeypatch):
    for seed, case in enumerate(cases(600, seed=0)):
        check(case, seed, masks, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_many_more_combinations(seed, masks, monkeypatch):
    for number, case in enumerate(cases(4000, seed)):
        check(case, number, masks, monkeypatch)
