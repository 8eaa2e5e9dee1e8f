"""A fully connected network: dense layers over one flat vector of parameters.

Each layer's weights and biases are views into the vector, so an optimiser, a
checkpoint and an average of weights are operations on one array.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

import numpy as np

from mnistcore.arguments import (
    ArgumentError,
    AtLeast,
    Bounds,
    Checked,
    Count,
    OneOf,
    Part,
    Precision,
    check,
    check_array,
)
from mnistcore.network.activations import ACTIVATIONS
from mnistcore.network.initializers import AnyInitializer, Generator, He, Zeros
from mnistcore.network.losses import LOSSES

PRECISIONS = get_args(Precision)
Units = Annotated[int, Bounds(least=1, most=1_000_000)]


@dataclass(frozen=True)
class Dense(Checked):
    """One dense layer: activation(x W + b), with a field for each thing that a user can set about it.

    units : outputs of the layer
    activation : a name of `mnistcore.network.activations.ACTIVATIONS`
    bias : whether there is a b
    drop_rate : the part of the outputs set to zero in training, in [0, 1) (inverted dropout)
    frozen : what training leaves as it was drawn, of "weights" and "biases"
    weights, biases : how they are drawn

    Raises
    ------
    ArgumentError : for a value that cannot be meant
    """

    units: Units
    activation: Annotated[str, OneOf(ACTIVATIONS)] = "relu"
    bias: bool = True
    drop_rate: Part = 0.0
    frozen: tuple[Literal["weights", "biases"], ...] = ()
    weights: AnyInitializer = He()
    biases: AnyInitializer = Zeros()


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

    @property
    def fan_in(self) -> int:
        return self.weights.shape[0]

    @property
    def units(self) -> int:
        return self.dense.units

    @property
    def weights_train(self) -> bool:
        return "weights" not in self.dense.frozen

    @property
    def biases_train(self) -> bool:
        return self.biases is not None and "biases" not in self.dense.frozen


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
    ArgumentError : for a combination that cannot be
    """

    def __init__(
        self,
        features: int,
        layers: Sequence[Dense],
        loss: str = "cross-entropy",
        precision: str = "float32",
        parameters: np.ndarray | None = None,
    ) -> None:
        features, layers = _validate(features, layers, loss, precision)
        self.features, self.loss, self.precision = features, loss, precision
        sizes = [features, *(dense.units for dense in layers)]
        count = sum(a * b + b * d.bias for (a, b), d in zip(pairwise(sizes), layers, strict=True))
        if parameters is None:
            try:
                parameters = np.zeros(count, precision)
            except MemoryError:
                raise ArgumentError(
                    "Network", ("layers",), f"{count:,} parameters do not fit in memory"
                ) from None
        parameters = check_array(parameters, "Network", "parameters", kinds="f", shape=(count,))
        if parameters.dtype != precision or not (
            parameters.flags.c_contiguous and parameters.flags.writeable
        ):
            problem = f"should be {precision}, writeable and without gaps, is {parameters.dtype}"
            raise ArgumentError("Network", ("parameters",), problem)
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

    def over(self, parameters: np.ndarray) -> "Network":
        """The same network over other parameters, (P,), taken over without a copy."""
        dense = [layer.dense for layer in self.layers]
        return Network(self.features, dense, self.loss, self.precision, parameters)

    @property
    def classes(self) -> int:
        return self.layers[-1].dense.units

    def initialize(self, generator: Generator) -> "Network":
        """Draw all parameters, layer by layer, weights before biases; returns the network itself."""
        check(Generator, generator, "Network.initialize", "generator")
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

        chunk : images worked at a time, which bounds the memory

        Raises
        ------
        ArgumentError : for images that are not such an array
        """
        images = self._check_images(images)
        chunk = check(Count, chunk, "probabilities", "chunk")
        outputs = np.empty((len(images), self.classes), self.precision)
        for start in range(0, len(images), chunk):
            z = self._pre_activations(images[start : start + chunk])
            ACTIVATIONS[self.layers[-1].dense.activation](z)
            outputs[start : start + chunk] = z
        return outputs

    def _check_images(self, images: np.ndarray) -> np.ndarray:
        """Of any numbers: a network of one precision reads images of the other, and bytes."""
        return check_array(images, "Network", "images", kinds="fiu", shape=(None, self.features))

    def _pre_activations(self, images: np.ndarray) -> np.ndarray:
        """z = a W + b of the output layer, (N, K)."""
        a = np.asarray(images, self.precision)
        for layer in self.layers:
            a = a @ layer.weights
            if layer.biases is not None:
                a += layer.biases
            if layer is not self.layers[-1]:
                ACTIVATIONS[layer.dense.activation](a)
        return a

    def evaluate(self, images: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float]:
        """The output activations, (N, K), and the mean loss of images (N, features) with targets (N, K)."""
        images = self._check_images(images)
        if not len(images):
            raise ArgumentError("Network", ("images",), "there are none, and so no mean")
        check_array(targets, "Network", "targets", kinds="f", shape=(len(images), self.classes))
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
        owner = "Network.from_architecture"
        check(dict, architecture, owner, "architecture")
        for name in ("features", "layers", "loss", "precision"):
            if name not in architecture:
                raise ArgumentError(owner, ("architecture",), f"has no {name}")
        layers = [Dense(**layer) for layer in architecture["layers"]]
        return cls(
            architecture["features"], layers, architecture["loss"], architecture["precision"], parameters
        )


def _validate(
    features: int, layers: Sequence[Dense], loss: str, precision: str
) -> tuple[int, Sequence[Dense]]:
    owner = "Network"
    features = check(Units, features, owner, "features")
    layers = check(Annotated[tuple[Dense, ...], AtLeast(1)], layers, owner, "layers")
    check(Annotated[str, OneOf(LOSSES)], loss, owner, "loss")
    check(Precision, precision, owner, "precision")
    *hidden, last = enumerate(layers)
    for place, dense in hidden:
        if dense.activation == "softmax":
            raise ArgumentError(owner, ("layers", place, "activation"), "softmax is for the output layer")
    if last[1].drop_rate:
        raise ArgumentError(owner, ("layers", last[0], "drop_rate"), "the output layer cannot drop units")
    output = LOSSES[loss].output
    if output not in (None, last[1].activation):
        problem = f"{loss} needs a {output} output, not {last[1].activation}"
        raise ArgumentError(owner, ("loss",), problem)
    return features, layers
