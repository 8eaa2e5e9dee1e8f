"""Makes reports for the tests: of a network trained in a moment on the 8 x 8 digits, or of any other."""

import warnings
from pathlib import Path

import numpy as np

from mnistcore.data.description import DatasetDescription
from mnistcore.data.normalization import divide
from mnistcore.evaluation import metrics
from mnistcore.evaluation.predictions import Predictions
from mnistcore.network.network import Dense, Network
from mnistcore.report.familiarity import nothing_unfamiliar
from mnistcore.report.page import write_report


def trained_on_digits():
    """A network 64 → 24 relu → 10 softmax of about 95 % accuracy, test images and their labels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        (images / 16).astype(np.float32), labels, test_size=0.33, random_state=42
    )
    fitted = MLPClassifier(
        24, learning_rate_init=0.01, max_iter=12, random_state=0, tol=0, n_iter_no_change=99
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged, and need not
        fitted.fit(train, train_labels)
    parts = [part.ravel() for pair in zip(fitted.coefs_, fitted.intercepts_, strict=True) for part in pair]
    dense = [Dense(24), Dense(10, "softmax")]
    return Network(64, dense, parameters=np.concatenate(parts).astype(np.float32)), test, test_labels


def any_network(dense, features=784, precision="float32", seed=0):
    """A network of random weights, large enough for outputs that differ."""
    loss = {"softmax": "cross-entropy", "sigmoid": "binary-cross-entropy"}.get(
        dense[-1].activation, "squared-error"
    )
    network = Network(features, dense, loss, precision)
    generator = np.random.default_rng(seed)
    for layer in network.layers:
        layer.weights[...] = generator.normal(0, 1.6 / np.sqrt(len(layer.weights) / 4), layer.weights.shape)
        if layer.biases is not None:
            layer.biases[...] = generator.normal(0, 0.1, layer.biases.shape)
    return network


def blots(count, shape=(28, 28), seed=0):
    """Pictures of soft blots on an empty ground, (count, pixels) uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = generator.uniform(0.25, 0.75, (count, 3, 2)) * shape
    sizes = generator.uniform(0.05, 0.12, (count, 3, 1, 1)) * shape[0]
    far = (rows - centres[..., 0, None, None]) ** 2 + (columns - centres[..., 1, None, None]) ** 2
    ink = np.exp(-far / (2 * sizes**2)).max(axis=1)
    return np.where(ink < 0.05, 0, 255 * ink).astype(np.uint8).reshape(count, -1)


def make(
    path,
    network,
    images,
    labels,
    *,
    name="mnist",
    normalizer=None,
    classes=tuple("0123456789"),
    mistakes=12,
    epochs=5,
    more=None,
    losses=None,
    familiarity=None,
):
    """Write a report as plot does; `images` are normalised. Returns its path."""
    shape = (8, 8) if network.features == 64 else (28, 28)
    outputs = network.probabilities(images)
    predicted, confidence = metrics.predict(outputs)
    labels = np.asarray(labels, np.int64)
    predictions = Predictions(labels, predicted, np.round(confidence, 6))
    wrong = np.flatnonzero(predicted != labels)
    steps = np.arange(1, epochs + 1)
    figures = metrics.summary(labels, predicted, confidence, 0.1, len(classes), 15)
    write_report(
        path,
        description=DatasetDescription(
            name, {"mnist": "MNIST", "digits": "8×8 digits"}.get(name, name), classes
        ),
        normalizer=normalizer or divide(16 if shape == (8, 8) else 255, shape, network.precision),
        images=images,
        predictions=predictions,
        metrics={"test": figures} | (more or {}),
        curves={
            "train/loss": np.stack([steps, 0.5 / steps if losses is None else losses], axis=1),
            "train/accuracy": np.stack([steps, 1 - 0.2 / steps], axis=1),
            "validation/loss": np.stack([steps, 0.6 / steps], axis=1),
            "validation/accuracy": np.stack([steps, 1 - 0.25 / steps], axis=1),
            "learning_rate": np.stack([steps, 0.01 / steps], axis=1),
        },
        bins=metrics.reliability(confidence, predicted == labels, 15),
        network=network,
        familiarity=familiarity or nothing_unfamiliar(network),
        worst=wrong[np.argsort(-confidence[wrong], kind="stable")][:mistakes],
        parameters={
            "epochs": epochs,
            "optimizer": {"name": "adam"},
            "layers": [{"units": 24}, {"units": 10}],
        },
        made_of=[__file__],
    )
    return Path(path)
