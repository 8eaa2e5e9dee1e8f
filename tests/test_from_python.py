"""The core, called from Python with what cannot be meant: one line that names it, at the door, and no hang."""

import ast
import contextlib
import dataclasses
import gzip
import itertools
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mnistcore import files
from mnistcore.arguments import Checked
from mnistcore.arrays import load_arrays, open_array, save_arrays
from mnistcore.data import datasets, gzipped, idx, normalization, sources
from mnistcore.data.batches import (
    BatchesDescription,
    Size,
    gather,
    open_batches,
    read_batches_description,
    size_of,
    write_batches_description,
)
from mnistcore.data.description import (
    DatasetDescription,
    read_dataset_description,
    write_dataset_description,
)
from mnistcore.data.download import fetch
from mnistcore.data.holdout import split
from mnistcore.data.labels import check_labels, one_hot
from mnistcore.data.parts import open_part
from mnistcore.errors import InputError
from mnistcore.evaluation import metrics
from mnistcore.evaluation.metrics_file import Scores, Spread, read_metrics, write_metrics
from mnistcore.evaluation.predictions import Predictions, read_predictions, write_predictions
from mnistcore.interop import estimator, onnx
from mnistcore.network import initializers, model
from mnistcore.network.network import Dense, Network
from mnistcore.report import framing, pictures
from mnistcore.streams import legacy_stream, stream
from mnistcore.training import optimizers, schedules, stopping
from mnistcore.training.augmentation import Augmentation, Augmenter
from mnistcore.training.checkpoint import Checkpoint
from mnistcore.training.optimizers import SGD, Adam, Momentum
from mnistcore.training.run import train
from mnistcore.training.settings import Averaging, Examples, Settings, check_initialized, check_run

CALLS, MANY = 400, 10_000  # of the property, quick and slow
SECONDS = 2  # of this process, for a call

IMAGES = np.random.default_rng(0).random((12, 4), np.float32)
LABELS = np.arange(12) % 3
SCORES = {"accuracy": 0.5, "accuracy_ci95": (0.1, 0.9), "error_rate": 0.5, "errors": 1, "examples": 2, "loss": 1.0, "macro_f1": 0.5,
          "expected_calibration_error": 0.1}  # fmt: skip


DESCRIPTION = DatasetDescription("a", "A", ("0", "1", "2"))


def fresh() -> Network:
    return Network(4, [Dense(5), Dense(3, "softmax")]).initialize(stream(0, "weights"))


def fit(**changed: object) -> None:
    """Train for an epoch on 12 examples, with something changed."""
    given: dict = {"images": IMAGES, "labels": LABELS, "network": fresh(), "validation": None} | changed
    examples = Examples(given.pop("images"), given.pop("labels"))
    how = {name: given.pop(name) for name in ("seed", "workers") if name in given}
    network, validation, chosen = given.pop("network"), given.pop("validation"), given.pop("settings", None)
    train(
        network,
        examples,
        chosen or Settings(**{"epochs": 1, "batch_size": 4} | given),
        validation=validation,
        **how,
    )


def with_(value: float) -> np.ndarray:
    images = IMAGES.copy()
    images[7, 2] = value
    return images


AVERAGE = (
    "Settings.averaging.steps: the run has 3 steps, so that no weights would come into the average, is 4"
)
REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("SGD.learning_rate: should be greater than 0, is -0.1", lambda: SGD(-0.1)),
    ("SGD.learning_rate: should be a finite number, is nan", lambda: SGD(math.nan)),
    ("SGD.learning_rate: should be a valid number, is '0.1'", lambda: SGD("0.1")),
    ("Momentum.momentum: should be greater than or equal to 0, is -2.0", lambda: Momentum(0.1, -2)),
    ("Adam.beta1: should be less than 1, is 1.0", lambda: Adam(beta1=1)),
    ("Settings.clip_norm: should be greater than 0, is -1.0", lambda: Settings(clip_norm=-1)),
    ("Settings.clip_norm: should be a finite number, is nan", lambda: Settings(clip_norm=math.nan)),
    ("Settings.shards: should be greater than or equal to 1, is -3", lambda: Settings(shards=-3)),
    ("Settings.epochs: should be greater than or equal to 1, is 0", lambda: Settings(epochs=0)),
    ("Settings.epochs: should be a valid integer, is 1.5", lambda: Settings(epochs=1.5)),
    ("Settings.epochs: should be a valid integer, is True", lambda: Settings(epochs=True)),
    ("Settings.batch_size: should be greater than or equal to 1, is 0", lambda: Settings(batch_size=0)),
    ("Settings.reduction: should be 'mean' or 'sum', is 'avg'", lambda: Settings(reduction="avg")),
    ("Settings.optimizer: should be an Optimizer, is <class 'mnistcore.training.optimizers.SGD'>",
     lambda: Settings(optimizer=SGD)),
    ("Averaging.steps: should be greater than or equal to 1, is 0", lambda: Averaging(steps=0)),
    ("Steps.after: should be ascending, is [3, 1]", lambda: schedules.Steps((3, 1), (0.5, 0.1))),
    ("Steps.factors: should be one for each of `after`, is [0.5]", lambda: schedules.Steps((1, 3), (0.5,))),
    ("LossBands.losses: should be descending, is [0.1, 0.2]", lambda: schedules.LossBands((0.1, 0.2), (0.5, 0.1))),
    ("Uniform.low: should not be above high, -1.0, is 1.0", lambda: initializers.Uniform(1, -1)),
    ("Normal.deviation: should be a finite number, is nan", lambda: initializers.Normal(math.nan)),
    ("Dense.frozen: should be a valid list, is 'weights'", lambda: Dense(3, frozen="weights")),
    ("Dense.frozen.0: should be 'weights' or 'biases', is 'weight'", lambda: Dense(3, frozen=("weight",))),
    ("Network.parameters: should have shape (43), has (42,)", lambda: Network(4, [Dense(5), Dense(3, "softmax")],
     parameters=np.zeros(42, np.float32))),
    ("Examples.labels: should be 0 or more, row 2 is -1", lambda: fit(labels=np.where(LABELS == 0, -1, LABELS)[::-1])),
    ("Examples.labels: should be integers, is float64", lambda: fit(labels=LABELS + 0.5)),
    ("Examples.labels: should be integers, is <U1", lambda: fit(labels=LABELS.astype("U1"))),
    ("Examples.labels: should have shape (any), has (12, 3)", lambda: fit(labels=np.eye(3, dtype=int)[LABELS])),
    ("Examples.labels: 11 for 12 images", lambda: fit(labels=LABELS[:11])),
    ("train.examples.labels: row 5 is 12; the network's classes are 0 to 2",
     lambda: fit(labels=np.where(np.arange(12) == 5, 12, LABELS))),
    ("Examples.images: should be finite, row 7 is not", lambda: fit(images=with_(math.nan))),
    ("Examples.images: should be finite, row 7 is not", lambda: fit(images=with_(math.inf))),
    ("Reliability.confidence: should be from 0 to 1 in every filled bin",
     lambda: metrics.Reliability(np.array([1, 2]), np.array([0.5, -0.1]), np.array([0.5, 1]))),
    ("Reliability.accuracy: should be from 0 to 1 in every filled bin",
     lambda: metrics.Reliability(np.array([1, 2]), np.array([0.5, 1]), np.array([0.5, 1.1]))),
    ("Examples.images: should be floats, is object", lambda: fit(images=IMAGES.astype(object))),
    ("train.examples.labels: row 5 is 3; the network's classes are 0 to 2",
     lambda: fit(labels=np.where(np.arange(12) == 5, 3, LABELS))),
    ("train.examples.images: float64, the network's precision is float32", lambda: fit(images=IMAGES.astype(float))),
    ("train.examples.images: of 3 pixels, the network takes 4", lambda: fit(images=IMAGES[:, :3].copy())),
    ("train.validation.labels: row 2 is 9; the network's classes are 0 to 2",
     lambda: fit(validation=Examples(IMAGES, LABELS + 7))),
    ("train.settings: should be a Settings, is <class 'mnistcore.training.settings.Settings'>",
     lambda: fit(settings=Settings)),
    ("train.workers: should be greater than or equal to 1, is -2", lambda: fit(workers=-2)),
    ("train.seed: should be greater than or equal to 0, is -1", lambda: fit(seed=-1)),
    ("train.network: its weights are all zero; `initialize(stream(0, \"weights\"))` draws them",
     lambda: fit(network=Network(4, [Dense(3, "softmax")]))),
    (AVERAGE, lambda: fit(averaging=Averaging(0.9, 4))),
    ("Settings.stopping: patience goes by the validation loss; hold some examples out",
     lambda: fit(stopping=stopping.Patience(2))),
    ("Network.loss: should be 'cross-entropy', 'binary-cross-entropy' or 'squared-error', is 'hope'",
     lambda: Network(4, [Dense(3, "softmax")], "hope")),
    ("Network.precision: should be 'float32' or 'float64', is 'float16'",
     lambda: Network(4, [Dense(3, "softmax")], precision="float16")),
    ("Augmentation.elastic_pixels: should be less than or equal to 1000, is 1000.5", lambda: Augmentation(elastic_pixels=1000.5)),
    ("split.labels: should be integers, is float64", lambda: split(LABELS.astype(float), 3, 0)),
    ("legacy_stream.seed: should be less than 4294967296, is 4294967296", lambda: legacy_stream(2**32)),
    ("stream: should be whole numbers from 0 around the name of a purpose, is [-1, 'weights']",
     lambda: stream(-1, "weights")),
    ("gather.rows: should be from 0 to 2, are -1 to 1", lambda: gather("three.npy", np.array([1, -1]), "some.npy")),
    ("wilson_interval.successes: should be less than or equal to 10, is 11", lambda: metrics.wilson_interval(11, 10)),
    ("reliability.confidence: should be from 0 to 1, of one prediction or more",
     lambda: metrics.reliability(np.array([1.5]), np.array([True]), 5)),
    ("predict.outputs: should be finite, of one class or more", lambda: metrics.predict(np.array([[0.5, math.nan]]))),
    ("predict.outputs: should be finite, of one class or more", lambda: metrics.predict(np.zeros((2, 0)))),
    ("over_seeds.summaries.1.accuracy: should be a valid number, is None",
     lambda: metrics.over_seeds([{"accuracy": 0.5}, {"accuracy": None}])),
    ("Normalizer.method: should be 'divide', 'min-max' or 'standardize', is 'hope'",
     lambda: normalization.Normalizer("hope", np.zeros(4, np.float32), np.ones(4, np.float32), (2, 2))),
    ("macro_f1.confusion: should be counts, as many rows as columns, is an array (2, 3) of int64",
     lambda: metrics.macro_f1(np.ones((2, 3), int))),
    ("confusion_matrix.actual: should be integers, is float64",
     lambda: metrics.confusion_matrix(LABELS / 2, LABELS, 3)),
    ("confusion_matrix.predicted: should be classes from 0 to 2, are 0 to 3",
     lambda: metrics.confusion_matrix(LABELS, (LABELS + 1) % 3 * 3 // 2, 3)),
    ("check_labels.labels: should be integers, is float64", lambda: check_labels(LABELS / 2, 3, "labels")),
    ("check_labels.classes: should be less than or equal to 1000000, is 1000001",
     lambda: check_labels(LABELS, 1_000_001, "labels")),
    ("Dense.units: should be less than or equal to 1000000, is 1000001", lambda: Dense(1_000_001)),
    ("one_hot: example 0 has label -1; the classes are 0 to 2", lambda: one_hot(np.array([-1]), 3, "float32")),
    ("probabilities.chunk: should be greater than or equal to 1, is -1", lambda: fresh().probabilities(IMAGES, chunk=-1)),
    ("model.save.networks: 1 for 2 seeds", lambda: model.save("model.npz", [0, 1], [fresh()])),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with what the calls read."""
    monkeypatch.chdir(tmp_path)
    np.save("three.npy", np.zeros((3, 2), np.float32))
    return tmp_path


@pytest.mark.parametrize(("line", "call"), REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(
    folder: Path, line: str, call: Callable[[], object]
) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == line
    assert [path.name for path in folder.iterdir()] == ["three.npy"]


def test_a_network_of_zeros_that_is_meant_is_trained() -> None:
    """One layer from zero is a convex problem, and so a good beginning."""
    network = Network(4, [Dense(3, "softmax", weights=initializers.Zeros())])
    fit(network=network)
    assert network.parameters.any()


def test_pixels_whose_squares_overflow_are_finite_numbers() -> None:
    Examples(np.full((2, 3), 1e30, np.float32), np.zeros(2, int))


def test_what_numpy_and_python_know_as_numbers_and_lists_is_taken() -> None:
    settings = Settings(epochs=np.int64(2), l2=np.float32(0.5), optimizer=SGD(1))
    assert (settings.epochs, settings.l2, settings.optimizer) == (2, 0.5, SGD(1.0))
    assert type(settings.epochs) is int and type(settings.optimizer.learning_rate) is float
    assert Dense(3, frozen=["biases"]).frozen == ("biases",)
    with pytest.raises(TypeError):
        Settings(64)  # type: ignore[misc]
    assert initializers.Uniform(0.5, 0.5).low == 0.5


def test_what_is_not_given_is_as_documented() -> None:
    assert Settings() == Settings(
        batch_size=128, remainder="keep", reduction="mean", epochs=10, shuffle=True, optimizer=SGD(0.1),
        schedule=schedules.Constant(), l2=0.0, clip_norm=None, stopping=None, averaging=None, augmenter=None, shards=2,
    )  # fmt: skip
    assert Averaging() == Averaging(decay=0.99, steps=10)


def checked(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        if one.__module__.startswith("mnistcore."):
            yield one
        yield from checked(one)


@pytest.mark.parametrize("kind", sorted(checked(Checked), key=lambda one: one.__name__))
def test_what_was_checked_stays_as_it_was(kind: type) -> None:
    one = object.__new__(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.anything = -1


# Any function and any constructor of the core, with any value in place of any argument.

CALLABLES: list[tuple[Callable, dict[str, object]]] = [
    *((one, {"learning_rate": 0.1, "momentum": 0.5}) for one in (optimizers.Momentum, optimizers.Nesterov)),
    (SGD, {"learning_rate": 0.1}),
    (Adam, {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}),
    (optimizers.AdamW, {"learning_rate": 0.1, "weight_decay": 0.1}),
    (schedules.Steps, {"after": (1, 2), "factors": (0.5, 0.2)}),
    (schedules.Cosine, {"warmup_epochs": 1, "final": 0.1}),
    (schedules.LossBands, {"losses": (0.5, 0.2), "factors": (0.5, 0.2)}),
    (stopping.LossTarget, {"loss": 0.1}),
    (stopping.Patience, {"epochs": 2}),
    (initializers.Uniform, {"low": 0, "high": 1}),
    (initializers.Normal, {"deviation": 1}),
    (Dense, {"units": 3, "activation": "relu", "bias": True, "drop_rate": 0.1, "frozen": (), "weights": initializers.He(),
             "biases": initializers.Zeros()}),
    (Network, {"features": 4, "layers": [Dense(3, "softmax")], "loss": "cross-entropy", "precision": "float32",
               "parameters": np.zeros(15, np.float32)}),
    (lambda images, chunk: fresh().probabilities(images, chunk), {"images": IMAGES, "chunk": 5}),
    (lambda images: fresh().predict(images), {"images": IMAGES}),
    (lambda images, targets: fresh().evaluate(images, targets), {"images": IMAGES, "targets": np.eye(3, dtype="f")[LABELS]}),
    (lambda generator: fresh().initialize(generator), {"generator": np.random.default_rng(0)}),
    (model.save, {"path": "model.npz", "seeds": [0], "networks": [fresh()]}),
    (model.load, {"path": "model.npz"}),
    (Averaging, {"decay": 0.5, "steps": 2}),
    (Augmentation, {"rotation_degrees": 1, "scale": 0.1, "shear": 0.1, "translation_pixels": 1, "elastic_pixels": 1,
                    "elastic_smoothness": 2}),
    (Augmenter, {"settings": Augmentation(scale=0.1), "image_shape": (4, 4), "dtype": "float32"}),
    (Examples, {"images": IMAGES, "labels": LABELS}),
    (Settings, {"epochs": 1, "batch_size": 4, "remainder": "keep", "reduction": "mean", "optimizer": SGD(), "l2": 0.1,
                "schedule": schedules.Constant(), "clip_norm": 1.0, "shuffle": True, "stopping": None, "averaging": None,
                "augmenter": None, "shards": 1}),
    (fit, {"images": IMAGES, "labels": LABELS, "validation": Examples(IMAGES, LABELS), "seed": 0, "workers": 1, "l2": 0.0,
           "clip_norm": None, "averaging": None, "batch_size": 4, "shards": 2, "stopping": None, "optimizer": SGD()}),
    (Checkpoint, {"path": "checkpoint.npz", "fingerprint": str, "seconds": 1.0}),
    (metrics.predict, {"outputs": IMAGES}),
    (metrics.wilson_interval, {"successes": 3, "trials": 5}),
    (metrics.confusion_matrix, {"actual": LABELS, "predicted": LABELS, "classes": 3}),
    (metrics.precision_and_recall, {"confusion": np.eye(3, dtype=int)}),
    (metrics.macro_f1, {"confusion": np.eye(3, dtype=int)}),
    (metrics.reliability, {"confidence": IMAGES[:, 0], "correct": LABELS == 0, "bins": 5}),
    (metrics.Reliability, {"counts": np.array([1, 0]), "confidence": np.array([0.5, 0]), "accuracy": np.array([0.5, 0])}),
    (metrics.summary, {"actual": LABELS, "predicted": LABELS, "confidence": IMAGES[:, 0], "loss": 1.0, "classes": 3,
                       "calibration_bins": 5}),
    (metrics.per_class, {"actual": LABELS, "predicted": LABELS, "names": ("a", "b", "c")}),
    (metrics.over_seeds, {"summaries": [{"a": 1.0}, {"a": 2.0}]}),
    (metrics.rounded, {"value": {"a": 1.0}}),
    (lambda **columns: write_predictions("p.csv", Predictions(**columns)),
     {"actual": LABELS, "predicted": LABELS, "confidence": IMAGES[:, 0].astype(float)}),
    (read_predictions, {"path": "p.csv", "labels": LABELS, "classes": 3}),
    (Scores, SCORES),
    (Spread, {"mean": 0.5, "sd": 0.1, "each": (0.4, 0.6)}),
    (write_metrics, {"path": "metrics.json", "content": {"train": SCORES, "test": SCORES | {"per_class": {"precision": {}, "recall": {}}}}}),
    (read_metrics, {"path": "metrics.json"}),
    (files.read_text, {"path": "batches.json", "maker": "batch", "most": 1000}),
    (files.read_json, {"path": "batches.json", "maker": "batch"}),
    (split, {"labels": LABELS, "held_out": 3, "seed": 0}),
    (check_labels, {"labels": LABELS, "classes": 3, "name": "labels", "first": 0}),
    (one_hot, {"labels": LABELS, "classes": 3, "dtype": "float32"}),
    (size_of, {"examples": 5, "batch_size": 2, "remainder": "keep"}),
    (Size, {"examples": 5, "batches": 3, "last_batch": 1}),
    (BatchesDescription, {"batch_size": 2, "remainder": "keep", "features": 4, "classes": 3, "image_shape": (2, 2),
                          "train": Size(5, 3, 1), "validation": Size(0, 0, 0)}),
    (gather, {"source": "three.npy", "rows": np.array([0, 2]), "destination": "some.npy"}),
    (read_batches_description, {"path": "batches.json"}),
    (DatasetDescription, {"name": "a", "title": "A", "classes": ("0", "1")}),
    (read_dataset_description, {"path": "dataset.json"}),
    (open_part, {"folder": "."}),
    (normalization.divide, {"divisor": 255, "image_shape": (2, 2), "dtype": "float32"}),
    (lambda method, chunk, image_shape, dtype: normalization.fit(method, [chunk], image_shape, dtype),
     {"method": "min-max", "chunk": np.ones((3, 2, 2), np.uint8), "image_shape": (2, 2), "dtype": "float64"}),
    (normalization.Normalizer, {"method": "divide", "offset": np.zeros(4), "scale": np.ones(4), "image_shape": (2, 2)}),
    (lambda images: normalization.divide(255, (2, 2), "float32").transform(images), {"images": IMAGES}),
    (normalization.Normalizer.load, {"path": "normalizer.npz"}),
    (idx.encode, {"array": np.ones((2, 2), np.uint8)}),
    (idx.decode, {"data": idx.encode(np.ones((2, 2), np.uint8))}),
    (idx.read, {"path": "images"}),
    (open_array, {"path": "three.npy", "dtype": "float32", "shape": (None, None)}),
    (save_arrays, {"path": "some.npz", "arrays": {"a": LABELS}}),
    (framing.Frame, {"shape": (8, 8), "box": 8, "centre": 3.5, "brightest": 16}),
    (framing.frame_of, {"shape": (8, 8)}),
    (framing.frame, {"ink": IMAGES, "how": framing.FRAMES[8, 8]}),
    (stream, {"seed": 0, "purpose": "weights"}),
    (legacy_stream, {"seed": 0}),
    (stopping.FirstRise, {}),
    (schedules.Constant, {}),
    *((one, {}) for one in (initializers.Zeros, initializers.Glorot, initializers.He, initializers.LeCun)),
    (lambda parameters: fresh().over(parameters), {"parameters": np.zeros(43, np.float32)}),
    (Network.from_architecture, {"architecture": fresh().architecture(), "parameters": np.zeros(43, np.float32)}),
    (check_run, {"network": fresh(), "examples": Examples(IMAGES, LABELS), "settings": Settings(), "validation": None,
                 "seed": 0, "workers": 1}),
    (check_initialized, {"network": fresh()}),
    (load_arrays, {"path": "some.npz", "expected": {"a": ("int64", (None,))}}),
    (open_batches, {"folder": "."}),
    (write_batches_description, {"path": "batches.json", "description": BatchesDescription(2, "keep", 4, 3, (2, 2), Size(5, 3, 1),
                                                                                           Size(0, 0, 0))}),
    (write_dataset_description, {"path": "dataset.json", "description": DESCRIPTION}),
    (lambda limit: list(gzipped.decompress([gzip.compress(b"abc")], limit, "it")), {"limit": 5}),
    (idx.header_of, {"path": "images"}),
    (idx.write, {"path": "images", "array": np.ones((3, 2, 2), np.uint8)}),
    (lambda path, rows, first: list(itertools.islice(idx.chunks(path, rows, first), 9)), {"path": "images", "rows": 2, "first": 1}),
    (lambda path: normalization.divide(255, (2, 2), "float32").save(path), {"path": "normalizer.npz"}),
    (sources.check_named, {"source": "https://example.org/", "where": "it"}),
    (fetch, {"dataset": datasets.Dataset(DESCRIPTION, (datasets.File("f", (2,), "0" * 64),)), "folder": "raw",
             "named": ("nowhere",)}),
    (lambda path, mode: written(path, mode), {"path": "some.txt", "mode": "w"}),
    (lambda folder: held(folder), {"folder": "held"}),
    (lambda **given: fit_estimator(**given),
     {"X": IMAGES, "y": LABELS, "hidden_layer_sizes": (4,), "activation": "relu", "solver": "adam", "alpha": 0.1, "batch_size": 4,
      "learning_rate": "constant", "learning_rate_init": 0.01, "shuffle": True, "random_state": 0, "tol": 1e-4, "momentum": 0.9,
      "early_stopping": False, "validation_fraction": 0.3, "beta_1": 0.9, "epsilon": 1e-8, "n_iter_no_change": 2}),
    (onnx.graph_of, {"network": Network(4, [Dense(3, "softmax")]), "normalizer": normalization.divide(255, (2, 2), "float32"),
                     "description": DESCRIPTION}),
    (onnx.export, {"source": "model.npz", "target": "model.onnx"}),
    (pictures.is_picture, {"path": "one.png"}),
    (pictures.read_digits, {"path": "one.png", "how": framing.FRAMES[8, 8]}),
    (pictures.read_picture, {"path": "one.png"}),
]  # fmt: skip


def written(path: str, mode: str) -> None:
    with files.replacing(path, mode) as file:
        file.write("" if "b" not in mode else b"")


def held(folder: str) -> None:
    with files.exclusive(folder):
        pass


def fit_estimator(X: np.ndarray, y: np.ndarray, **given: object) -> None:
    # What scikit-learn's estimators raise, by its own rules, and what `Odd` raises when scikit-learn shows it.
    with contextlib.suppress(ValueError, ZeroDivisionError):
        estimator.MLPClassifier(max_iter=2, **given).fit(X, y).predict(X)


# What is not in the table, and why: a room, a module, or a name in it.
LEFT_OUT = {
    "engine": "takes what `train` and the estimator have checked; checks in each step would cost time",
    "network.network.Layer": "made by `Network`",
    "network.activations": "of the engine's steps",
    "network.losses": "of the engine's steps",
    "training.dropout": "of the engine's steps",
    "training.selection": "made by `train`",
    "training.run.augmentation": "made by `train`",
    "training.run.draw_masks": "made by `train`",
    "textbook": "plain NumPy to read and to type in, with NumPy's own errors",
    "report.card": "draws what other stages wrote, which their readers have checked",
    "report.compression": "packs a network and pictures that are at hand",
    "report.familiarity": "is fitted to what other stages wrote, which their readers have checked",
    "report.marks": "makes pictures for report.familiarity, which gives it its own numbers",
    "report.figures": "draws what other stages wrote, which their readers have checked",
    "report.page": "draws what other stages wrote, which their readers have checked",
    "report.pictures.find_digits": "takes what `read_picture` returns",
    "arguments": "is what the others check with",
    "arrays.Writer": "chunks of our own making",
    "arrays.writing_array": "chunks of our own making",
    "data.idx.read_header": "takes an open file",
    "data.sources.sources_of": "of `fetch`",
    "data.urls": "takes what `check_named` has seen to be text",
    "interop.onnx.main": "the command line",
    "reproducible": "no arguments",
}


class Odd:
    """An object of somebody's own, which does not even have a text."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
    | st.sampled_from([2**31, 2**62, 2**63, 10**30, 10**400, -1, 0, 1e300, 1e-300, np.float32("nan"), np.int8(3), np.bool_(1),
                       1j, "\0", "\ud800", "x" * 300, "", "three.npy", "three.npy/x", "/", "..", "nowhere/x", "float32", "relu", SGD, SGD(), Dense(2), Settings, Odd(), Odd, object(), str, min, Path("x")])
)  # fmt: skip
DTYPES = st.sampled_from(
    ["f4", "f8", ">f4", "f2", "i8", "u1", "i1", "u8", "?", "c16", "U2", "O", "M8[s]", "V4"]
)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def full(dtype: str, shape: tuple[int, ...], value: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.full(shape, value).astype(dtype)


ARRAYS = st.builds(lambda dtype, shape: np.zeros(shape, dtype), DTYPES, SHAPES) | st.builds(
    full, st.sampled_from(["f4", "f8", "i8", "i2"]), st.sampled_from([(12,), (12, 4), (12, 3), (3, 3), (15,)]),
    st.sampled_from([-1, 0.5, 1, 2, 3, 100, math.nan, math.inf]),
)  # fmt: skip
ANYTHING = (
    SCALARS
    | ARRAYS
    | st.lists(SCALARS, max_size=3)
    | st.tuples(SCALARS, SCALARS)
    | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
)


@contextlib.contextmanager
def not_for_ever() -> Iterator[None]:
    """A call that hangs is ended, and one that works for longer than it may is an error."""

    def late(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    started = time.process_time()
    try:
        yield
        assert time.process_time() - started < SECONDS
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_any_argument(chosen: tuple[Callable, dict], data: st.DataObject) -> None:
    call, valid = chosen
    names = data.draw(st.lists(st.sampled_from(sorted(valid)), min_size=1, max_size=2, unique=True))
    changed = {name: data.draw(ANYTHING) for name in names}
    with warnings.catch_warnings(), not_for_ever():
        warnings.simplefilter("ignore")
        try:
            call(**valid | changed)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
        except TypeError:
            pass
        except OSError as error:  # a name of a file that the system doesn't take
            assert error.filename is not None


def often(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


any_argument = given(chosen=st.sampled_from([one for one in CALLABLES if one[1]]), data=st.data())


@often(CALLS)
@any_argument
def test_any_argument_is_taken_or_refused(
    folder: Path, chosen: tuple[Callable, dict], data: st.DataObject
) -> None:
    check_any_argument(chosen, data)


@pytest.mark.slow
@often(MANY)
@any_argument
def test_many_arguments_are_taken_or_refused(
    folder: Path, chosen: tuple[Callable, dict], data: st.DataObject
) -> None:
    check_any_argument(chosen, data)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(("call", "valid"), CALLABLES)
def test_the_arguments_that_are_changed_are_taken_as_they_are(
    folder: Path, call: Callable, valid: dict
) -> None:
    with contextlib.suppress(InputError):  # a file that is not there
        call(**valid)
        return
    assert {"path", "folder", "source"} & valid.keys()


def constructed(node: ast.ClassDef) -> bool:
    bases = {ast.unparse(base) for base in node.bases}
    return not bases & {"Protocol", "NamedTuple"} and not any(
        "Error" in base or base == "Exception" for base in bases
    )


def test_every_public_function_and_constructor_is_in_the_table_or_argued() -> None:
    source = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(source) if isinstance(node, ast.Name)}
    core, missing, left_out = Path(files.__file__).parent, [], set()
    for path in sorted(core.rglob("*.py")):
        module = ".".join(path.relative_to(core).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef) or (
                isinstance(node, ast.ClassDef) and constructed(node)
            )
            if not public or node.name.startswith("_"):
                continue
            names = {module.partition(".")[0], module, f"{module}.{node.name}"} & LEFT_OUT.keys()
            left_out |= names
            if not names and node.name not in used:
                missing.append(f"{module}.{node.name}")
    assert missing == [] and left_out == LEFT_OUT.keys()
