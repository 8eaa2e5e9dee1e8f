"""The training loop: what each setting does, resuming, diverging, memory; and the ten lines of the README."""

import math
import os
import random
import time
import tracemalloc

import numpy as np
import pytest

from mnistcore.engine import shared_memory
from mnistcore.engine.propagation import BLOCK, LARGE, Propagation
from mnistcore.engine.team import Team
from mnistcore.errors import InputError
from mnistcore.network.initializers import Glorot
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.checkpoint import Checkpoint
from mnistcore.training.dropout import Dropout
from mnistcore.training.history import Epoch
from mnistcore.training.optimizers import SGD, Adam, AdamW, Momentum
from mnistcore.training.run import Diverged, train
from mnistcore.training.schedules import Constant, Cosine, LossBands, Steps
from mnistcore.training.settings import Averaging, Examples, Settings
from mnistcore.training.stopping import FirstRise, LossTarget, Patience


def blobs(count=200, features=20, classes=4, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return Examples(
        (rng.random((classes, features))[labels] + 0.3 * rng.random((count, features))).astype(dtype), labels
    )


def fresh(features=20, classes=4, precision="float64", hidden=(Dense(16, "tanh"),)):
    return Network(features, [*hidden, Dense(classes, "softmax")], precision=precision).initialize(
        stream(1, "weights")
    )


def test_ten_lines_train_a_network():
    """The example of the README."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (images / 16).astype("float32"), labels, random_state=0
    )
    network = Network(64, [Dense(100, "relu"), Dense(10, "softmax")]).initialize(stream(0, "weights"))
    train(network, Examples(train_x, train_y), Settings(epochs=30, batch_size=32, optimizer=Adam(0.003)))
    assert (network.predict(test_x) == test_y).mean() > 0.97


@pytest.mark.parametrize("hidden", [(Dense(300, "relu", drop_rate=0.3), Dense(120, "tanh", drop_rate=0.2))])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_workers_do_not_change_the_bits(hidden, clip_norm):
    results = []
    for workers in (1, 2, 4):
        network = fresh(200, 10, "float32", hidden)
        data = blobs(230, 200, 10, "float32")
        settings = Settings(epochs=2, batch_size=100, optimizer=Momentum(0.05), shards=5, clip_norm=clip_norm)
        train(network, data, settings, workers=workers)
        results.append(network.parameters.tobytes())
    assert len(set(results)) == 1


class Noise:
    """Adds to each pixel, and dawdles."""

    def __call__(self, images, generator, out):
        np.add(images, generator.random(images.shape, images.dtype), out=out)
        dawdle()


class Dawdling(Momentum):
    def update(self, *args):
        super().update(*args)
        dawdle()


def dawdle():
    """Wait for up to a millisecond, each process for times of its own."""
    time.sleep(DELAYS.setdefault(os.getpid(), random.Random(os.getpid())).random() / 1000)


DELAYS = {}


@pytest.mark.parametrize("hidden", [(), (30,), (300, 120)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_norm": 0.5, "l2": 0.01},
        {"averaging": Averaging(0.8, 1)},
        {"augmenter": Noise},
        {"shards": 5},
    ],
)
@pytest.mark.parametrize("smallest_part", [1, 1 << 40])  # phase 2 cut, or done by each worker for itself
def test_no_worker_runs_ahead_of_what_others_still_need(hidden, options, smallest_part, monkeypatch):
    """However long each process takes over each part of a step."""
    barrier, results = Team.barrier, []

    def late(team):
        barrier(team)
        dawdle()

    monkeypatch.setattr("mnistcore.engine.propagation.SMALLEST_SHARD", 1)
    monkeypatch.setattr("mnistcore.engine.propagation.SMALLEST_PART", smallest_part)
    data = blobs(230, 200, 10, "float32")
    for workers in (1, 2, 3):
        network = fresh(200, 10, "float32", [Dense(units, "relu", drop_rate=0.2) for units in hidden])
        settings = Settings(
            **{"epochs": 6, "batch_size": 100, "optimizer": Dawdling(0.05), "shards": 3} | options
        )
        if workers > 1:
            monkeypatch.setattr(Team, "barrier", late)
        train(network, data, settings, workers=workers)
        results.append(network.parameters.tobytes())
    assert len(set(results)) == 1


class Doubling:
    def __call__(self, images, generator, out):
        np.multiply(images, 2, out=out)


@pytest.mark.parametrize("shards", [1, 3])
def test_training_sees_all_images_altered(shards):
    data, results = blobs(230, 200, 10), []
    for examples, augmenter in ((data, Doubling), (Examples(2 * data.images, data.labels), None)):
        network = fresh(200, 10, hidden=(Dense(50),))
        train(
            network,
            examples,
            Settings(epochs=1, batch_size=100, shards=shards, augmenter=augmenter),
            workers=2,
        )
        results.append(network.parameters)
    assert np.array_equal(*results)


class Stop(Exception):
    pass


@pytest.mark.parametrize("stopping", [None, Patience(3), LossTarget(1e-9)])
def test_resuming_from_any_point_gives_the_same_bits(tmp_path, stopping, monkeypatch):
    monkeypatch.setattr("mnistcore.training.run.REPORTED", 50)
    data, held_out = blobs(), blobs(seed=1)
    settings = Settings(
        epochs=5, batch_size=16, optimizer=AdamW(0.05, weight_decay=0.1), averaging=Averaging(0.8, 3),
        schedule=Cosine(1.0), stopping=stopping,
    )  # fmt: skip
    hidden = (Dense(16, "relu", drop_rate=0.4),)

    def run(stop_after, path):
        seen, looks = [], [0]

        def progress(examples, note):
            looks[0] += 1
            if looks[0] == stop_after:
                raise Stop

        network = fresh(hidden=hidden)
        checkpoint = Checkpoint(path, lambda: "this run", 0)
        try:
            train(network, data, settings, validation=held_out, checkpoint=checkpoint, on_progress=progress,
                  on_epoch=seen.append)  # fmt: skip
        except Stop:
            return None
        return network.parameters.tobytes(), seen

    expected = run(None, tmp_path / "whole.npz")
    for stop_after in range(1, 25, 4):
        path = tmp_path / f"{stop_after}.npz"
        if run(stop_after, path) is None:
            result = run(3, path) or run(None, path)  # stopped a second time
            assert repr(result) == repr(expected)


def test_a_finished_checkpoint_is_the_result_and_another_run_s_is_not_used(tmp_path):
    data, path = blobs(), tmp_path / "run.npz"
    network = fresh()
    train(network, data, Settings(epochs=2), checkpoint=Checkpoint(path, lambda: "a", 0))
    again = fresh()
    history = train(again, data, Settings(epochs=2), checkpoint=Checkpoint(path, lambda: "a", 0))
    assert np.array_equal(again.parameters, network.parameters) and len(history) == 2
    other = Checkpoint(path, lambda: "b", 0)
    assert other.load() is None and other.foreign
    path.write_bytes(path.read_bytes()[:200])
    damaged = Checkpoint(path, lambda: "a", 0)
    assert damaged.load() is None and damaged.foreign
    assert Checkpoint(tmp_path / "none.npz", lambda: "a", 0).load() is None


@pytest.mark.parametrize("workers", [1, 2])
def test_divergence_is_told_with_epoch_step_and_cause_and_leaves_the_checkpoint(tmp_path, workers):
    data = blobs(400, 100, 4, "float32")
    path = tmp_path / "run.npz"
    network = fresh(100, 4, "float32", (Dense(300, "relu"),))
    schedule = Steps((1,), (1e30,))
    settings = Settings(epochs=3, batch_size=100, optimizer=SGD(0.1), schedule=schedule)
    with pytest.raises(
        Diverged, match=r"(infinite|NaN) in epoch 2, step [123] of 4, at learning rate 1e\+29"
    ):
        train(network, data, settings, workers=workers, checkpoint=Checkpoint(path, lambda: "a", 0))
    state = Checkpoint(path, lambda: "a", 0).load()
    assert state.epoch == 1 and np.isfinite(state.parameters).all()


def test_shuffling_makes_a_new_order_each_epoch_and_each_seed_its_own():
    def after(epochs, seed, shuffle=True):
        network = fresh()
        train(network, blobs(), Settings(epochs=epochs, batch_size=20, shuffle=shuffle), seed=seed)
        return network.parameters

    assert not np.array_equal(after(1, 0), after(1, 1))
    assert np.array_equal(after(1, 0, False), after(1, 1, False))
    orders = [stream(0, "shuffle", epoch).permutation(200).tolist() for epoch in (1, 2)]
    assert orders[0] != orders[1] and sorted(orders[0]) == list(range(200))


def test_the_remainder_is_trained_on_or_dropped():
    seen = {}
    for remainder in ("keep", "drop"):
        total = [0]
        train(fresh(), blobs(), Settings(epochs=1, batch_size=64, remainder=remainder),
              on_progress=lambda n, note: total.__setitem__(0, total[0] + n))  # noqa: B023  # fmt: skip
        seen[remainder] = total[0]
    assert seen == {"keep": 200, "drop": 192}


@pytest.mark.parametrize("batch_size", [1, 7, 64, 100])  # one by one; cut by columns; by examples, too
@pytest.mark.parametrize(
    ("loss", "output"),
    [("cross-entropy", "softmax"), ("binary-cross-entropy", "sigmoid"), ("squared-error", "identity")],
)
def test_loss_and_accuracy_of_an_epoch_are_those_of_its_examples(loss, output, batch_size, monkeypatch):
    """At a learning rate next to zero every step sees the same network; looks are few and many, batches full and not."""
    monkeypatch.setattr("mnistcore.training.run.STEPS", 3)
    data = blobs(250, 200, 10)
    network = Network(200, [Dense(300), Dense(10, output)], loss, "float64").initialize(stream(3, "weights"))
    settings = Settings(epochs=1, batch_size=batch_size, optimizer=SGD(1e-300))
    (epoch,) = train(network, data, settings, workers=2)
    _, expected = network.evaluate(data.images, np.eye(10)[data.labels])
    assert epoch.train_loss == pytest.approx(expected, rel=1e-12)
    assert epoch.train_accuracy == (network.predict(data.images) == data.labels).mean()


@pytest.mark.parametrize(
    "hidden", [30, 500, 1100]
)  # gradients whole, in blocks, and in the larger ones of a large network
def test_a_gradient_formed_by_two_workers_is_the_gradient(hidden):
    data = blobs(20, 1000, 10)
    network = Network(1000, [Dense(hidden), Dense(10, "softmax")], precision="float64").initialize(
        stream(2, "weights")
    )
    (w1, b1), (w2, b2) = [(layer.weights.copy(), layer.biases.copy()) for layer in network.layers]
    assert (network.parameters.size >= LARGE) == (hidden == 1100) and (w1.size > 4 * BLOCK) == (hidden > 30)
    propagation = Propagation(network, 20, 3)
    assert (propagation.shards, propagation.parts) == (3, 1 if hidden == 30 else 3)
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


def test_dropout_drops_at_its_rate_scales_what_is_kept_and_repeats():
    network = Network(8, [Dense(500, drop_rate=0.3), Dense(10, "softmax")])
    rows = Propagation(network, 64).plan(64).batch
    dropout = Dropout([0.3, 0.0], [500, 10], 64, seed=4, part=0)
    dropout.draw(rows, 1, 0)
    mask = rows.masks[0].copy()
    kept = mask > 0
    assert kept.mean() == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / mask.size))
    assert mask[kept] == pytest.approx(np.full(kept.sum(), 1 / 0.7), rel=1e-4)
    dropout.draw(rows, 1, 1)
    assert (mask != rows.masks[0]).mean() == pytest.approx(0.42, abs=0.02)
    dropout.draw(rows, 1, 0)
    assert np.array_equal(mask, rows.masks[0])


def test_adamw_decays_apart_from_the_gradient():
    p, g = np.array([1.0, -2.0]), np.array([0.3, 0.0])
    slots, scratch = np.zeros((2, 2)), np.empty(2)
    AdamW(0.1, weight_decay=0.5, epsilon=1e-12).update(p, g.copy(), slots, scratch, 0.1, 1)
    # The first step of Adam is the learning rate, whatever the gradient; then nothing but decay.
    assert p == pytest.approx([1.0 * 0.95 - 0.1, -2.0 * 0.95])


@pytest.mark.parametrize("optimizer", [SGD(0.5), Adam(0.1)])
def test_clipping_shortens_the_gradient_to_the_norm(optimizer):
    data = blobs()

    def first_step(clip_norm):
        network = fresh()
        before = network.parameters.copy()
        settings = Settings(epochs=1, batch_size=200, optimizer=optimizer, clip_norm=clip_norm)
        train(network, data, settings)
        return network.parameters - before

    free = first_step(None)
    assert first_step(1e6) == pytest.approx(free, rel=1e-12)
    clipped = first_step(0.01)
    if isinstance(optimizer, SGD):
        assert np.linalg.norm(clipped) == pytest.approx(0.5 * 0.01)
        assert clipped / np.linalg.norm(clipped) == pytest.approx(free / np.linalg.norm(free), rel=1e-9)


def test_averaging_is_what_results_and_is_validated():
    data, held_out = blobs(), blobs(seed=1)
    network = fresh()
    start = network.parameters.copy()
    plain = fresh()
    settings = Settings(epochs=1, batch_size=200, shuffle=False, averaging=Averaging(0.75, 1))
    (epoch,) = train(network, data, settings, validation=held_out)
    train(plain, data, Settings(epochs=1, batch_size=200, shuffle=False))
    assert network.parameters == pytest.approx(0.75 * start + 0.25 * plain.parameters, rel=1e-12)
    _, loss = network.evaluate(held_out.images, np.eye(4)[held_out.labels])
    assert epoch.validation_loss == pytest.approx(loss, rel=1e-12)


def test_schedules():
    multipliers = [Cosine(2.0, 0.1).multiplier(progress, 10, math.inf) for progress in (0.5, 2.0, 6.0, 10.0)]
    assert multipliers == pytest.approx([0.25, 1.0, 0.55, 0.1])
    steps = Steps((31, 61), (0.2, 0.0025))
    assert [steps.multiplier(p, 66, 0) for p in (0, 30.99, 31.0, 60.9, 61.1)] == [1, 1, 0.2, 0.2, 0.0025]
    bands = LossBands((0.02, 0.01), (1 / 2, 1 / 3))
    assert [bands.multiplier(0, 9, loss) for loss in (math.inf, 0.02, 0.019, 0.0099)] == [1, 1, 1 / 2, 1 / 3]
    assert Constant().multiplier(3, 9, 1) == 1


def epochs(train=(), validation=(), clean=()):
    count = max(len(train), len(validation), len(clean))
    pad = lambda values: [*values, *[math.nan] * (count - len(values))]  # noqa: E731
    return [
        Epoch(i, 0.1, t, 0.9, v, 0.9, c)
        for i, (t, v, c) in enumerate(zip(pad(train), pad(validation), pad(clean), strict=True), start=1)
    ]


def test_stopping_rules():
    assert not FirstRise().stops(epochs(train=[3, 2, 1]))
    assert FirstRise().stops(epochs(train=[3, 2, 2.1]))
    assert not LossTarget(0.01).stops(epochs(clean=[0.2, 0.011]))
    assert LossTarget(0.01).stops(epochs(clean=[0.2, 0.009]))
    assert not Patience(2).stops(epochs(validation=[3, 1, 2]))
    assert Patience(2).stops(epochs(validation=[3, 1, 2, 1.5]))


def test_patience_keeps_the_weights_of_the_lowest_validation_loss():
    data, held_out = blobs(40), blobs(400, seed=0)
    network = fresh()
    settings = Settings(epochs=200, batch_size=4, optimizer=SGD(1.0), stopping=Patience(4))
    history = train(network, data, settings, validation=held_out)
    assert len(history) < 200
    _, loss = network.evaluate(held_out.images, np.eye(4)[held_out.labels])
    assert loss == pytest.approx(min(epoch.validation_loss for epoch in history), rel=1e-12)


def test_the_clean_loss_is_the_training_loss_without_dropout():
    data = blobs()
    network = fresh(hidden=(Dense(16, "relu", drop_rate=0.5),))
    (epoch,) = train(network, data, Settings(epochs=1, stopping=LossTarget(0.001)))
    assert epoch.clean_loss == pytest.approx(
        network.evaluate(data.images, np.eye(4)[data.labels])[1], rel=1e-12
    )


def test_the_augmenter_alters_the_images_and_shards_draw_apart():
    calls = []

    class Dark:
        def __call__(self, images, generator, out):
            calls.append((len(images), generator.random()))
            out[...] = 0

    network = fresh(20, 4, "float32", (Dense(2000, "relu"), Dense(200, "relu")))
    data = blobs(100, 20, 4, "float32")
    before = network.layers[0].weights.copy()
    train(network, data, Settings(epochs=1, batch_size=50, augmenter=Dark))
    assert np.array_equal(network.layers[0].weights, before)  # dark pixels have no gradient
    assert [count for count, _ in calls] == [25] * 4 and len({draw for _, draw in calls}) == 4


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="hold some examples out"):
        train(fresh(), blobs(), Settings(stopping=Patience(2)))
    with pytest.raises(InputError, match="there are none"):
        train(fresh(), Examples(np.empty((0, 20)), np.empty(0, int)), Settings())


@pytest.mark.parametrize("optimizer", [SGD(0.01), Momentum(0.01)])
@pytest.mark.parametrize("sizes", [(784, 256, 256), (784, 1000, 500)])
def test_training_needs_less_memory_than_three_times_its_parameters_and_a_batch(
    optimizer, sizes, monkeypatch
):
    features, *hidden = sizes
    batch = 128
    data = Examples(
        np.ones((2200, features), "float32"), np.zeros(2200, np.uint8)
    )  # more than between two looks
    layers = [*(Dense(units, "relu", weights=Glorot()) for units in hidden), Dense(10, "softmax")]
    network = Network(features, layers).initialize(stream(0, "weights"))
    own = network.parameters.nbytes
    activations = 4 * batch * sum((*sizes, 10))
    train(network, data, Settings(epochs=1, batch_size=batch), workers=2)  # imports, caches
    sizes_of_shared, zeros = [], shared_memory.zeros  # which tracemalloc does not see

    def counted(shape, dtype):
        sizes_of_shared.append(math.prod(shape) * np.dtype(dtype).itemsize)
        return zeros(shape, dtype)

    monkeypatch.setattr(shared_memory, "zeros", counted)
    tracemalloc.start()
    train(network, data, Settings(epochs=1, batch_size=batch, optimizer=optimizer), workers=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes_of_shared) > activations
    assert own + sum(sizes_of_shared) + peak < 3 * own + activations


def test_workers_train_a_network_over_parameters_of_the_callers_own():
    networks = [fresh(200, 10, "float32", (Dense(300, "relu"),)) for _ in range(2)]
    own = networks[1].parameters.copy()
    networks[1] = Network.from_architecture(networks[1].architecture(), own)
    for network, workers in zip(networks, (1, 2), strict=True):
        train(network, blobs(230, 200, 10, "float32"), Settings(epochs=1, batch_size=100), workers=workers)
    assert np.array_equal(networks[0].parameters, own)
