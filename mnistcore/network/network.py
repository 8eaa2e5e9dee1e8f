"""A fully connected network: dense layers over one flat vector of parameters.

Each layer's weights and biases are views into the vector, so an optimiser, a
checkpoint and an average of weights are operations on one array.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from mnistcore.errors import InputError
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.initializers import Generator, He, Initializer, Zeros
from mnistcore.network.losses import LOSSES

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Dense:
    """One dense layer: activation(x W + b).

    units : outputs of the layer
    activation : a name of `mnistcore.network.activations.ACTIVATIONS`
    bias : whether there is a b
    drop_rate : the part of the outputs set to zero in training, in [0, 1) (inverted dropout)
    frozen : what training leaves as it was drawn, of "weights" and "biases"
    weights, biases : how they are drawn
    """

    units: int
    activation: str = "relu"
    bias: bool = True
    drop_rate: float = 0.0
    frozen: tuple[Literal["weights", "biases"], ...] = ()
    weights: Initializer = He()
    biases: Initializer = Zeros()


@dataclass(frozen=True)
class Layer:
    """A dense layer in place: its description, and views of its parameters.

    weights : (fan_in, units)
    biases : (units,), or None
    start : where the weights begin in the flat vector; the biases follow them
    """

    dense: Dense
    weights: np.ndarray
    biases: np.ndarray | None
    start: int


class Network:
    """Dense layers, a loss, and the flat vector of their parameters.

    Parameters
    ----------
    features : length of an input
    layers : from the first hidden layer to the output
    loss : a name of `mnistcore.network.losses.LOSSES`
    precision : "float32" or "float64"
    parameters : (P,) the flat vector, taken over without a copy; None: zeros, until `initialize`

    Raises
    ------
    InputError : for a combination that cannot be
    """

    def __init__(
        self,
        features: int,
        layers: list[Dense],
        loss: str = "cross-entropy",
        precision: str = "float32",
        parameters: np.ndarray | None = None,
    ) -> None:
        _validate(features, layers, loss, precision)
        self.features, self.loss, self.precision = features, loss, precision
        sizes = [features, *(dense.units for dense in layers)]
        count = sum(a * b + b * d.bias for (a, b), d in zip(pairwise(sizes), layers, strict=True))
        if parameters is None:
            parameters = np.zeros(count, precision)
        if parameters.shape != (count,) or parameters.dtype != precision:
            raise InputError(
                f"network: {count:,} parameters of {precision} expected, "
                f"got an array {parameters.shape} of {parameters.dtype}"
            )
        self.parameters = parameters
        self.layers: list[Layer] = []
        start = 0
        for (fan_in, units), dense in zip(pairwise(sizes), layers, strict=True):
            end = start + fan_in * units
            weights = parameters[start:end].reshape(fan_in, units)
            biases = parameters[end : end + units] if dense.bias else None
            self.layers.append(Layer(dense, weights, biases, start))
            start = end + units * dense.bias

    def __repr__(self) -> str:
        """The architecture in one line, such as `784 → 512 relu → 10 softmax`."""
        return " → ".join(
            [str(self.features), *(f"{layer.dense.units} {layer.dense.activation}" for layer in self.layers)]
        )

    @property
    def classes(self) -> int:
        return self.layers[-1].dense.units

    def initialize(self, generator: Generator) -> "Network":
        """Draw all parameters, layer by layer, weights before biases; returns the network itself."""
        for layer in self.layers:
            fan_in, units = shape = layer.weights.shape
            layer.weights[...] = layer.dense.weights.draw(shape, fan_in, units, generator)
            if layer.biases is not None:
                layer.biases[...] = layer.dense.biases.draw((units,), fan_in, units, generator)
        return self

    def probabilities(self, images: np.ndarray, chunk: int = 1024) -> np.ndarray:
        """The output activations, (N, K), of images (N, features), without dropout.

        Of a softmax output these are probabilities that sum to one, of a
        sigmoid output one probability per class, otherwise plain scores.
        """
        outputs = np.empty((len(images), self.classes), self.precision)
        for start in range(0, len(images), chunk):
            z = self._pre_activations(images[start : start + chunk])
            ACTIVATIONS[self.layers[-1].dense.activation](z)
            outputs[start : start + chunk] = z
        return outputs

    def _pre_activations(self, images: np.ndarray) -> np.ndarray:
        """z = a W + b of the output layer, (N, K)."""
        a = np.asarray(images, self.precision)
        for layer in self.layers:
            z = a @ layer.weights
            if layer.biases is not None:
                z += layer.biases
            if layer is not self.layers[-1]:
                ACTIVATIONS[layer.dense.activation](z)
            a = z
        return z

    def evaluate(self, images: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float]:
        """The output activations, (N, K), and the mean loss of images (N, features) with targets (N, K)."""
        outputs, activation = self._pre_activations(images), self.layers[-1].dense.activation
        losses = LOSSES[self.loss].losses(outputs, targets, activation)
        ACTIVATIONS[activation](outputs)
        return outputs, float(losses.mean(dtype=np.float64))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The class of the largest output, (N,), for images (N, features)."""
        return self.probabilities(images).argmax(axis=1)

    def architecture(self) -> dict[str, Any]:
        """What rebuilds the network around a vector of parameters, ready for JSON."""
        return {
            "features": self.features,
            "layers": [
                {"units": layer.dense.units, "activation": layer.dense.activation, "bias": layer.dense.bias}
                for layer in self.layers
            ],
            "loss": self.loss,
            "precision": self.precision,
        }

    @classmethod
    def from_architecture(cls, architecture: dict[str, Any], parameters: np.ndarray) -> "Network":
        """The network that `architecture` describes, over the given parameters."""
        layers = [Dense(**layer) for layer in architecture["layers"]]
        return cls(
            architecture["features"], layers, architecture["loss"], architecture["precision"], parameters
        )


def _validate(features: int, layers: list[Dense], loss: str, precision: str) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"network: precision '{precision}' is not one of {', '.join(PRECISIONS)}")
    if loss not in LOSSES:
        raise InputError(f"network: loss '{loss}' is not one of {', '.join(LOSSES)}")
    if not layers or features < 1 or any(dense.units < 1 for dense in layers):
        raise InputError("network: needs at least one layer, and at least one unit in each")
    for number, dense in enumerate(layers, start=1):
        if dense.activation not in ACTIVATIONS:
            raise InputError(
                f"network: layer {number}: activation '{dense.activation}' is not one of {', '.join(ACTIVATIONS)}"
            )
        if not 0 <= dense.drop_rate < 1:
            raise InputError(f"network: layer {number}: drop_rate {dense.drop_rate} is not in [0, 1)")
    if layers[-1].drop_rate:
        raise InputError("network: the output layer cannot drop units")
    if any(dense.activation == "softmax" for dense in layers[:-1]):
        raise InputError("network: softmax is for the output layer")
    output = LOSSES[loss].output
    if output not in (None, layers[-1].activation):
        raise InputError(f"network: the loss '{loss}' needs a {output} output, not '{layers[-1].activation}'")
