"""Whether a picture is like those a network was trained on, or another mark: a letter, a cross, a scribble.

A network that tells ten digits apart takes anything for one of them, often with confidence. Its hidden layers see
more: on them, a small network learns to tell training images from marks that are made for it (outlier exposure:
Hendrycks, Mazeika and Dietterich, "Deep anomaly detection with outlier exposure", 2019).
"""

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from mnistcore.arrays import load_arrays, save_arrays
from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.network import Dense, Network
from mnistcore.report.framing import FRAMES
from mnistcore.report.marks import marks
from mnistcore.streams import stream
from mnistcore.textbook import Layer, epoch, nesterov, trained

EXAMPLES = 40_000  # training images to fit it, at most four fifths of them; and a quarter as many marks
HELD_OUT = 10_000  # further training images, which choose the threshold
# Of those other images, so many are called unfamiliar. The aim is 2 % of a test set: the rate of 10,000 images is
# known to within a standard deviation of 0.12 points, the difference of two such rates to 0.17, and 1.5 leaves three.
ALARMS = 0.015
FEWEST = 50  # images to fit it; with fewer nothing is unfamiliar
UNITS = 2048  # of the hidden layers at most, the last ones
CLASSIFIER = (Dense(64), Dense(1, "sigmoid"))  # the layers that give the probability of a mark
LESSONS = 100_000  # images and marks that it is shown in training, again and again if there are fewer
BATCH, RATE, MOMENTUM = 128, 0.1, 0.9


@dataclass(frozen=True)
class Familiarity:
    """A network that judges the hidden activations of another one.

    Attributes
    ----------
    classifier : takes hidden activations, gives the probability of a mark; the threshold is in its last bias
    network : the SHA-256 of the parameters of the network it belongs to
    """

    classifier: Network
    network: str

    def score(self, network: Network, images: np.ndarray) -> np.ndarray:
        """How unlike the training images these are, (N,): unfamiliar above zero. `images` are normalised.

        It is the logarithm of the odds that it is a mark, less the threshold.
        """
        return np.concatenate([_odds(self.classifier, hidden) for hidden in _hidden(network, images)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file that `load` reads, whole or not at all."""
        save_arrays(path, {"parameters": self.classifier.parameters, "network": np.array(self.network)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network) -> "Familiarity":
        """Read what `save` wrote.

        Raises
        ------
        InputError : if it is not such a file, whole, and of this very network
        """
        stored = load_arrays(Path(path), {"parameters": ("float32", (None,)), "network": ("str", ())})
        if str(stored["network"]) != digest(network):
            raise InputError(f"{path}: is of another network than models/model.npz; run plot again")
        found = nothing_unfamiliar(network)
        if stored["parameters"].shape != found.classifier.parameters.shape:
            count = found.classifier.parameters.size
            raise InputError(
                f"{path}: has {stored['parameters'].size:,} parameters, and should have {count:,}"
            )
        found.classifier.parameters[...] = stored["parameters"]
        return found


def nothing_unfamiliar(network: Network) -> Familiarity:
    """Where nothing could be learnt: every score is −1."""
    units = sum(layer.units for layer in network.layers[:-1]) or network.features
    classifier = Network(min(units, UNITS), CLASSIFIER, "binary-cross-entropy")
    cast("np.ndarray", classifier.layers[-1].biases)[0] = -1
    return Familiarity(classifier, digest(network))


@np.errstate(all="ignore")  # what is not finite is looked for
def fit(network: Network, normalizer: Normalizer, images: np.ndarray) -> Familiarity:
    """Fit the classifier to the first training images and to marks, the threshold to the images after them.

    Where no way is known to frame a mark as the data set would, where there are too few images, and where the
    network's activations are no numbers to learn from, nothing is unfamiliar.

    Parameters
    ----------
    images : (N, features), normalised training images; a part of them is used
    """
    how, fitted = FRAMES.get(normalizer.image_shape), min(EXAMPLES, 4 * len(images) // 5)
    found = nothing_unfamiliar(network)
    if how is None or fitted < FEWEST:
        return found
    pictures = normalizer.transform(marks(fitted // 4, how, stream(0, "marks")))
    hidden = np.concatenate([*_hidden(network, images[:fitted]), *_hidden(network, pictures)])
    size = float(
        np.sqrt(np.vdot(hidden, hidden) / hidden.size)
    )  # the classifier learns on a scale of its own
    if not (np.isfinite(size) and size):
        return found
    hidden /= size
    classifier = nothing_unfamiliar(network).classifier.initialize(stream(0, "familiarity"))
    _train(classifier, hidden, np.repeat(np.array([0, 1], np.float32), [fitted, len(pictures)])[:, None])
    classifier.layers[0].weights[...] /= size
    fresh = Familiarity(classifier, digest(network))
    scores = fresh.score(network, images[fitted : fitted + HELD_OUT])
    if not np.isfinite(scores).all():
        return found
    cast("np.ndarray", classifier.layers[-1].biases)[0] -= max(np.quantile(scores, 1 - ALARMS), 0)
    return fresh


def _train(classifier: Network, hidden: np.ndarray, is_mark: np.ndarray) -> None:
    """Descend the cross-entropy by steps with Nesterov's momentum, whose rate falls as a cosine does.

    By the textbook, not by mnistcore.training: a report that is drawn, and `predict`, have no need of all that.

    Parameters
    ----------
    hidden : (N, units) float32
    is_mark : (N, 1) float32, 0 or 1
    """
    layers = [Layer(one.weights, one.biases, one.dense.activation) for one in classifier.layers]
    memories = [np.zeros((2, *array.shape), array.dtype) for array in trained(layers)]
    random, steps = stream(0, "familiarity batches"), LESSONS // BATCH
    rounds = -(-steps * BATCH // len(hidden))
    order = np.concatenate([random.permutation(len(hidden)) for _ in range(rounds)])

    def step(p: np.ndarray, g: np.ndarray, memory: np.ndarray, t: int) -> None:
        nesterov(p, g, memory, t, RATE / 2 * (1 + math.cos(math.pi * (t - 1) / steps)), MOMENTUM)

    batches = order[: steps * BATCH].reshape(steps, BATCH)
    epoch(layers, hidden, is_mark, batches, step, memories, loss=classifier.loss)


def _odds(classifier: Network, hidden: np.ndarray) -> np.ndarray:
    """(N, units) to (N,): the logarithm of the odds that it is a mark."""
    first, last = classifier.layers
    return (np.maximum(hidden @ first.weights + first.biases, 0) @ last.weights + last.biases)[:, 0]


def _hidden(network: Network, images: np.ndarray, chunk: int = 1000) -> Iterator[np.ndarray]:
    """The activations of the hidden units side by side, float32, of so many images at a time.

    Without a hidden layer, those of the input.
    """
    for start in range(0, len(images), chunk):
        values = np.asarray(images[start : start + chunk], network.precision)
        parts = [] if len(network.layers) > 1 else [values]
        for layer in network.layers[:-1]:
            values = values @ layer.weights
            if layer.biases is not None:
                values += layer.biases
            ACTIVATIONS[layer.dense.activation](values)
            parts.append(values)
        yield np.concatenate(parts, axis=1)[:, -UNITS:].astype(np.float32)


def digest(network: Network) -> str:
    """The SHA-256 of a network's parameters."""
    return hashlib.sha256(np.ascontiguousarray(network.parameters).tobytes()).hexdigest()
