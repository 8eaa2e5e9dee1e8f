"""A training run: what each setting does to it, and what it says of itself."""

import numpy as np
import pytest

from mnistcore.errors import InputError
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.optimizers import SGD, Adam
from mnistcore.training.run import train
from mnistcore.training.settings import Averaging, Examples, Settings
from mnistcore.training.stopping import LossTarget, Patience


def test_a_few_lines_train_a_network():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (images / 16).astype("float32"), labels, random_state=0
    )
    network = Network(64, [Dense(100, "relu"), Dense(10, "softmax")]).initialize(stream(0, "weights"))
    train(network, Examples(train_x, train_y), Settings(epochs=30, batch_size=32, optimizer=Adam(0.003)))
    assert (network.predict(test_x) == test_y).mean() > 0.97


class Recording:
    """Leaves the images as they are, and notes the first pixel of each."""

    def __init__(self, seen):
        self.seen = seen

    def __call__(self, images, generator, out):
        self.seen.extend(images[:, 0].tolist())
        out[...] = images


def test_shuffling_makes_a_new_order_each_epoch_and_each_seed_its_own(blobs, fresh):
    data = blobs()
    data.images[:, 0] = np.arange(200)  # tells them apart

    def orders(seed, **how):
        seen = []
        settings = Settings(epochs=3, batch_size=20, shards=1, augmenter=lambda: Recording(seen), **how)
        train(fresh(), data, settings, seed=seed)
        assert len(seen) == 600
        return [tuple(seen[start : start + 200]) for start in (0, 200, 400)]

    shuffled = [*orders(0), *orders(1)]
    assert len(set(shuffled)) == 6
    assert all(sorted(order) == list(range(200)) for order in shuffled)
    assert orders(0) == shuffled[:3]
    assert set(orders(0, shuffle=False)) == {tuple(range(200))}


def test_the_remainder_is_trained_on_or_dropped(blobs, fresh):
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
def test_loss_and_accuracy_of_an_epoch_are_those_of_its_examples(
    blobs, loss, output, batch_size, monkeypatch
):
    """At a learning rate next to zero every step sees the same network; groups of steps are few and many, batches full and not."""
    monkeypatch.setattr("mnistcore.training.run.STEPS", 3)
    data = blobs(250, 200, 10)
    network = Network(200, [Dense(300), Dense(10, output)], loss, "float64").initialize(stream(3, "weights"))
    settings = Settings(epochs=1, batch_size=batch_size, optimizer=SGD(1e-300))
    (epoch,) = train(network, data, settings, workers=2)
    _, expected = network.evaluate(data.images, np.eye(10)[data.labels])
    assert epoch.train_loss == pytest.approx(expected, rel=1e-12)
    assert epoch.train_accuracy == (network.predict(data.images) == data.labels).mean()


def test_averaging_is_what_results_and_is_validated(blobs, fresh):
    data, held_out = blobs(), blobs(seed=1)
    one, two, network = fresh(), fresh(), fresh()
    whole = {"batch_size": 200, "shuffle": False}  # one step an epoch
    train(one, data, Settings(epochs=1, **whole))
    train(two, data, Settings(epochs=2, **whole))
    settings = Settings(epochs=2, averaging=Averaging(0.75, 1), **whole)
    *_, epoch = train(network, data, settings, validation=held_out)
    # The weights at the start are no part of it, however few have been averaged.
    expected = (0.75 * one.parameters + two.parameters) / 1.75
    assert network.parameters == pytest.approx(expected, rel=1e-12)
    _, loss = network.evaluate(held_out.images, np.eye(4)[held_out.labels])
    assert epoch.validation_loss == pytest.approx(loss, rel=1e-12)


def test_patience_keeps_the_weights_of_the_lowest_validation_loss(blobs, fresh):
    data, held_out = blobs(40), blobs(400, seed=0)
    network = fresh()
    settings = Settings(epochs=200, batch_size=4, optimizer=SGD(1.0), stopping=Patience(4))
    history = train(network, data, settings, validation=held_out)
    assert len(history) < 200
    _, loss = network.evaluate(held_out.images, np.eye(4)[held_out.labels])
    assert loss == pytest.approx(min(epoch.validation_loss for epoch in history), rel=1e-12)


def test_the_clean_loss_is_the_training_loss_without_dropout(blobs, fresh):
    data = blobs()
    network = fresh(hidden=(Dense(16, "relu", drop_rate=0.5),))
    (epoch,) = train(network, data, Settings(epochs=1, stopping=LossTarget(0.001)))
    assert epoch.clean_loss == pytest.approx(
        network.evaluate(data.images, np.eye(4)[data.labels])[1], rel=1e-12
    )


class Doubling:
    def __call__(self, images, generator, out):
        np.multiply(images, 2, out=out)


@pytest.mark.parametrize("shards", [1, 3])
def test_training_sees_all_images_altered(blobs, fresh, shards):
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


def test_the_augmenter_alters_the_images_and_shards_draw_apart(blobs, fresh):
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


def test_impossible_settings_are_refused(blobs, fresh):
    with pytest.raises(InputError, match="hold some examples out"):
        train(fresh(), blobs(), Settings(stopping=Patience(2)))
    with pytest.raises(InputError, match="there are none"):
        train(fresh(), Examples(np.empty((0, 20)), np.empty(0, int)), Settings())


def test_a_clipping_that_never_comes_about_changes_nothing_where_layers_widen(blobs, fresh):
    networks = []
    for clip_norm in (None, 1e9):
        network = fresh(hidden=(Dense(3, "tanh"), Dense(60, "tanh")))
        train(network, blobs(), Settings(epochs=2, batch_size=50, clip_norm=clip_norm))
        networks.append(network)
    np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("batch_size", "reported"), [(64, [64, 64, 64, 8]), (16, [48, 48, 48, 48, 8])])
def test_progress_is_reported_after_so_many_examples_but_a_batch_at_least(
    blobs, fresh, batch_size, reported, monkeypatch
):
    monkeypatch.setattr("mnistcore.training.run.EXAMPLES", 50)
    seen = []
    train(
        fresh(), blobs(), Settings(epochs=2, batch_size=batch_size),
        on_progress=lambda examples, note: seen.append((note, examples)),
    )  # fmt: skip
    assert seen == [(f"epoch {number}", examples) for number in (1, 2) for examples in reported]
