"""Networks, their initial weights, and the model file."""

import json
import math

import numpy as np
import pytest

from mnistcore.errors import InputError
from mnistcore.network import model
from mnistcore.network.initializers import Glorot, He, LeCun, Normal, Uniform, Zeros
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream

LAYERS = [Dense(5, "relu"), Dense(4, "tanh", bias=False), Dense(3, "softmax")]


def test_repr_reads_like_the_architecture():
    assert repr(Network(784, [Dense(512, "relu"), Dense(10, "softmax")])) == "784 → 512 relu → 10 softmax"


def test_layers_are_views_of_one_flat_vector():
    network = Network(6, LAYERS)
    assert network.parameters.shape == (6 * 5 + 5 + 5 * 4 + 4 * 3 + 3,)
    network.parameters[...] = np.arange(len(network.parameters))
    assert network.layers[0].weights[0].tolist() == [0, 1, 2, 3, 4]
    assert network.layers[0].biases.tolist() == [30, 31, 32, 33, 34]
    assert network.layers[1].biases is None
    assert network.layers[2].biases.tolist() == [67, 68, 69]


def test_probabilities_do_not_depend_on_the_chunk():
    network = Network(6, LAYERS, precision="float64").initialize(stream(0, "weights"))
    images = np.random.default_rng(0).random((50, 6))
    whole = network.probabilities(images)
    assert whole.sum(axis=1) == pytest.approx(np.ones(50))
    assert network.probabilities(images, chunk=7) == pytest.approx(whole, rel=1e-12)
    assert (network.predict(images) == whole.argmax(axis=1)).all()


@pytest.mark.parametrize(
    ("initializer", "mean", "deviation"),
    [
        (Zeros(), 0, 0),
        (Uniform(-0.1, 0.3), 0.1, 0.4 / math.sqrt(12)),
        (Normal(0.7), 0, 0.7),
        (Glorot(), 0, math.sqrt(2 / (300 + 200))),
        (He(), 0, math.sqrt(2 / 300)),
        (LeCun(), 0, math.sqrt(1 / 300)),
    ],
)
def test_initializers_have_the_published_mean_and_deviation(initializer, mean, deviation):
    drawn = initializer.draw((300, 200), 300, 200, stream(0, "weights"))
    assert drawn.mean() == pytest.approx(mean, abs=4 * deviation / math.sqrt(drawn.size) + 1e-12)
    assert drawn.std() == pytest.approx(deviation, rel=0.02)


def test_legacy_weights_are_those_of_the_notebook():
    layers = [Dense(40, bias=False, weights=Uniform()), Dense(10, "identity", bias=False, weights=Uniform())]
    network = Network(784, layers, "squared-error", "float64").initialize(np.random.RandomState(1))
    legacy = np.random.RandomState(1)
    assert np.array_equal(network.layers[0].weights, 0.2 * legacy.random_sample((784, 40)) - 0.1)
    assert np.array_equal(network.layers[1].weights, 0.2 * legacy.random_sample((40, 10)) - 0.1)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_model_file_holds_all_that_is_needed(tmp_path, precision):
    networks = [
        Network(6, LAYERS, precision=precision).initialize(stream(seed, "weights")) for seed in (3, 5)
    ]
    model.save(tmp_path / "model.npz", [3, 5], networks)
    seeds, loaded = model.load(tmp_path / "model.npz")
    assert seeds == [3, 5]
    for before, after in zip(networks, loaded, strict=True):
        assert repr(before) == repr(after)
        assert np.array_equal(before.parameters, after.parameters)
        assert after.precision == precision and after.loss == "cross-entropy"
    first = (tmp_path / "model.npz").read_bytes()
    model.save(tmp_path / "again.npz", [3, 5], networks)
    assert (tmp_path / "again.npz").read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a | {"features": 7},
        lambda a: a | {"layers": []},
        lambda a: a | {"layers": [{"units": "5"}]},
        lambda a: a | {"loss": "hope"},
        lambda a: a | {"precision": "float16"},
        lambda a: [],
        lambda a: {},
    ],
)
def test_a_model_that_does_not_hold_together_is_refused_in_one_line(tmp_path, change):
    network = Network(6, LAYERS)
    path = tmp_path / "model.npz"
    architecture = json.dumps(change(network.architecture()))
    np.savez(
        path,
        parameters=network.parameters[None],
        seeds=np.zeros(1, np.int64),
        architecture=np.array(architecture),
    )
    with pytest.raises(InputError, match="run the train stage again") as caught:
        model.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "loss", "line"),
    [
        ([("relu",)], "cross-entropy", "Network.loss: cross-entropy needs a softmax output, not relu"),
        ([("softmax",)], "binary-cross-entropy", "Network.loss: binary-cross-entropy needs a sigmoid output, not softmax"),
        ([("sofmax",)], "squared-error", "Dense.activation: should be 'identity', 'relu', 'relu-straight-through', "
         "'sigmoid', 'tanh' or 'softmax', is 'sofmax'"),
        ([("softmax",), ("softmax",)], "cross-entropy", "Network.layers.0.activation: softmax is for the output layer"),
        ([("softmax", True, 0.5)], "cross-entropy", "Network.layers.0.drop_rate: the output layer cannot drop units"),
        ([("relu", True, 1.0), ("softmax",)], "cross-entropy", "Dense.drop_rate: should be less than 1, is 1.0"),
        ([], "cross-entropy", "Network.layers: should have at least 1 item, is []"),
    ],
)  # fmt: skip
def test_impossible_networks_are_refused(layers, loss, line):
    with pytest.raises(InputError) as caught:
        Network(6, [Dense(3, *layer) for layer in layers], loss)
    assert str(caught.value) == line


def test_models_of_two_seeds_need_two_networks(tmp_path):
    networks = [Network(6, LAYERS), Network(7, LAYERS)]
    for seeds, given in (([3, 5], networks[:1]), ([], []), ([3, 5], networks), ([-1], networks[:1])):
        with pytest.raises(InputError, match=r"model\.save"):
            model.save(tmp_path / "model.npz", seeds, given)
    assert not (tmp_path / "model.npz").exists()


@pytest.mark.parametrize("seeds", [0, 1, 3])
def test_a_model_file_of_other_seeds_than_networks_is_refused(tmp_path, seeds):
    network, path = Network(6, LAYERS), tmp_path / "model.npz"
    np.savez(
        path,
        parameters=np.stack([network.parameters] * 2),
        seeds=np.arange(seeds),
        architecture=np.array(json.dumps(network.architecture())),
    )
    with pytest.raises(InputError, match=f"2 networks for {seeds} seeds; run the train stage again"):
        model.load(path)


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        (np.eye(3)[[0, 1]], r"shape"),
        (np.eye(4)[[0, 1, 2]], r"shape"),
        (np.eye(3, dtype=int), r"int"),
    ],
)
def test_targets_that_are_not_of_these_images_are_refused(targets, line):
    network = Network(2, [Dense(3, "softmax")], "cross-entropy", "float64").initialize(stream(0, "weights"))
    images = np.ones((3, 2))
    assert network.evaluate(images, np.eye(3))[1] > 0
    with pytest.raises(InputError, match=rf"targets.*{line}"):
        network.evaluate(images, targets)
