"""The ONNX file gives what the network gives, in another library's runtime."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from mnistcore.data.description import DatasetDescription
from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.evaluation.metrics import per_class, summary
from mnistcore.evaluation.metrics_file import write_metrics
from mnistcore.network import model
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.initializers import Normal
from mnistcore.network.network import Dense, Network

ROOT = Path(__file__).parents[2]
onnx = pytest.importorskip("onnx", reason="of the extra [onnx]")
runtime = pytest.importorskip("onnxruntime", reason="of the extra [onnx]")

from mnistcore.interop.onnx import OPERATOR_OF, export, graph_of, main  # noqa: E402

ROWS, COLUMNS, CLASSES = 5, 4, ("ah", "bé", "c")
OUTPUTS = {"softmax": "cross-entropy", "sigmoid": "binary-cross-entropy"}
DESCRIPTION = DatasetDescription("letters", "Letters", CLASSES)


def run(exported, images):
    session = runtime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "label"], {"images": images})


def normalizer(dtype, rng):
    offset, scale = rng.normal(100, 20, ROWS * COLUMNS), rng.uniform(20, 90, ROWS * COLUMNS)
    return Normalizer("standardize", offset.astype(dtype), scale.astype(dtype), (ROWS, COLUMNS))


def network(hidden, output, precision="float32", bias=True, seed=0):
    drawn = {"weights": Normal(0.5), "biases": Normal(0.5), "bias": bias}
    layers = [Dense(7, hidden, **drawn), Dense(6, hidden, **drawn), Dense(len(CLASSES), output, **drawn)]
    loss = OUTPUTS.get(output, "squared-error")
    return Network(ROWS * COLUMNS, layers, loss, precision).initialize(np.random.default_rng(seed))


def by_hand(net, normal, images):
    """What is computed, in float64, from the definitions."""
    functions = {
        "identity": lambda z: z,
        "relu": lambda z: np.where(z > 0, z, 0),
        "relu-straight-through": lambda z: np.where(z > 0, z, 0),
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "tanh": np.tanh,
        "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
    }
    a = (images.reshape(len(images), -1) - normal.offset.astype(float)) / normal.scale
    for layer in net.layers:
        a = a @ layer.weights.astype(float) + (0 if layer.biases is None else layer.biases)
        a = functions[layer.dense.activation](a)
    return a


@pytest.mark.parametrize("output", sorted(ACTIVATIONS))
@pytest.mark.parametrize("hidden", sorted(set(ACTIVATIONS) - {"softmax"}))
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_activation_and_output(hidden, output, precision):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (40, ROWS, COLUMNS), np.uint8)
    net, normal = network(hidden, output, precision, bias=hidden != "tanh"), normalizer(precision, rng)
    probabilities, label = run(graph_of(net, normal, DESCRIPTION).SerializeToString(), images)
    assert probabilities.dtype == precision and label.dtype == np.int64
    expected = by_hand(net, normal, images)
    assert probabilities == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert probabilities == pytest.approx(net.probabilities(normal.transform(images)), rel=1e-5, abs=1e-5)
    assert label.tolist() == expected.argmax(axis=1).tolist()


def test_every_activation_of_the_core_is_known():
    assert set(OPERATOR_OF) == set(ACTIVATIONS)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_images(count):
    rng = np.random.default_rng(2)
    mixed = network("relu", "softmax", "float32"), normalizer("float64", rng)
    exported = graph_of(*mixed, DESCRIPTION)
    probabilities, label = run(exported.SerializeToString(), np.zeros((count, ROWS, COLUMNS), np.uint8))
    assert probabilities.shape == (count, 3) and label.shape == (count,)


def test_the_first_of_equal_outputs_is_the_label():
    net = Network(ROWS * COLUMNS, [Dense(3, "identity")], "squared-error")  # all zero
    normal = normalizer("float32", np.random.default_rng(3))
    _, label = run(
        graph_of(net, normal, DESCRIPTION).SerializeToString(), np.ones((2, ROWS, COLUMNS), np.uint8)
    )
    assert label.tolist() == [0, 0]


@pytest.fixture
def project(tmp_path):
    """models/, data/processed/ and reports/ as the pipeline leaves them, with two seeds."""
    networks = [network("relu", "softmax", seed=seed) for seed in (0, 1)]
    model.save(tmp_path / "models" / "model.npz", [0, 1], networks)
    processed = tmp_path / "data" / "processed"
    processed.mkdir(parents=True)
    normalizer("float32", np.random.default_rng(4)).save(processed / "normalizer.npz")
    (processed / "dataset.json").write_text(json.dumps(asdict(DESCRIPTION)), "utf-8")
    (tmp_path / "reports").mkdir()
    labels, half = np.zeros(14, int), np.arange(14) % 2
    scores = summary(labels, half, np.full(14, 0.5), 0.7, len(DESCRIPTION.classes), 5)
    test = scores | {"per_class": per_class(labels, half, DESCRIPTION.classes)}
    write_metrics(tmp_path / "reports" / "metrics.json", {"train": scores, "test": test})
    return tmp_path


def test_the_command_writes_a_whole_and_told_model_twice_the_same(project):
    written = []
    for number, name in enumerate(("one.onnx", "two.onnx")):
        subprocess.run(
            [sys.executable, "-m", "mnistcore.interop.onnx", "models/model.npz", name],
            cwd=project, check=True, env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(number)},
        )  # fmt: skip
        written.append((project / name).read_bytes())
    assert written[0] == written[1]
    exported = onnx.load_from_string(written[0])
    onnx.checker.check_model(exported, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(exported, strict_mode=True)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    }
    assert shapes["images"] == ["N", ROWS, COLUMNS]
    assert (shapes["normalized"], shapes["layer2.z"]) == (["N", ROWS * COLUMNS], ["N", 6])
    assert (shapes["probabilities"], shapes["label"]) == (["N", 3], ["N"])
    metadata = {entry.key: entry.value for entry in exported.metadata_props}
    assert json.loads(metadata["classes"]) == list(CLASSES) and metadata["data_set"] == "letters"
    metrics = json.loads(metadata["metrics"])
    assert (metrics["accuracy"], metrics["errors"]) == (0.5, 7)
    hashed = subprocess.check_output(["sha256sum", "models/model.npz"], cwd=project, text=True)
    assert metadata["sha256 of model.npz"] == hashed.split()[0]
    graph = exported.graph
    for part in (exported, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        assert part.doc_string
    images = np.random.default_rng(5).integers(0, 256, (9, ROWS, COLUMNS), np.uint8)
    first = model.load(project / "models" / "model.npz")[1][0]
    normal = Normalizer.load(project / "data" / "processed" / "normalizer.npz")
    expected = first.probabilities(normal.transform(images))
    assert run(written[0], images)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("models/model.npz", "model.npz: not found"),
        ("data/processed/normalizer.npz", "normalizer.npz: not found"),
        ("reports/metrics.json", "name it with --metrics"),
    ],
)
def test_what_is_missing_is_told_in_one_line(project, capsys, missing, says):
    (project / missing).unlink()
    assert main([str(project / "models" / "model.npz"), str(project / "m.onnx")]) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1
    assert not (project / "m.onnx").exists()


def test_another_data_sets_normalizer_is_refused(project):
    (project / "data" / "processed" / "dataset.json").write_text(
        json.dumps(asdict(replace(DESCRIPTION, classes=("a", "b")))), "utf-8"
    )
    with pytest.raises(InputError, match="do not belong together"):
        export(project / "models" / "model.npz", project / "m.onnx")


PROJECTS = (ROOT, *sorted((ROOT / "recipes").iterdir()))
TRAINED = [folder for folder in PROJECTS if (folder / "models" / "model.npz").is_file()]


@pytest.mark.skipif(not TRAINED, reason="nothing has been trained here")
@pytest.mark.parametrize("folder", TRAINED, ids=lambda folder: folder.name if folder != ROOT else "headline")
def test_every_test_image_of_what_was_trained_here(folder, tmp_path):
    export(folder / "models" / "model.npz", tmp_path / "m.onnx")
    processed = folder / "data" / "processed"
    normal = Normalizer.load(processed / "normalizer.npz")
    images = np.load(processed / "test" / "images.npy")
    pixels = np.rint(images * normal.scale + normal.offset).astype(np.uint8)
    assert np.array_equal(normal.transform(pixels), images)  # the raw pixels themselves
    probabilities, label = run((tmp_path / "m.onnx").read_bytes(), pixels.reshape(-1, *normal.image_shape))
    trained = model.load(folder / "models" / "model.npz")[1][0]
    expected = trained.probabilities(images)
    assert len(label) == len(np.load(processed / "test" / "labels.npy"))
    assert np.abs(probabilities - expected).max() < 1e-5
    assert np.array_equal(label, trained.predict(images))
