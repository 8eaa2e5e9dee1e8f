"""The published experiments as plain loops, as their notebooks wrote them: the baseline for speed.

Each has the shape that its notebook's loop had: one example at a time or whole
batches as matrices, rows or `np.matrix` columns, NumPy's functions or Python's
under `np.vectorize`. Every step allocates its arrays anew, and the arithmetic is
float64. The mathematics is the corrected one (the replay alone keeps its original
slip), and the batches keep the size they begin with. These loops share
no line with `mnistcore` and yet have to reach the same figures: so they are
also the independent check of the recipes.

Each loop is a generator over epochs. It yields `(error, accuracy, predict)`:
the training error and accuracy of the epoch, and `predict(images)`, which
gives the outputs of the network as it then stands.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.random import RandomState

Epochs = Iterator[tuple[float, float, Callable[[np.ndarray], np.ndarray]]]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _sigmoid_of_one(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _slope_of_one(activation: float) -> float:
    return activation * (1 - activation)


one_by_one_sigmoid = np.vectorize(_sigmoid_of_one, otypes=[float])
one_by_one_slope = np.vectorize(_slope_of_one, otypes=[float])


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def one_by_one_relu40(
    images: np.ndarray,
    targets: np.ndarray,
    random: RandomState,
    drop: bool = False,
    straight_through: bool = False,
) -> Epochs:
    """784-40-10, no biases, squared error, one example at a time: mnist1000-replay, -plain, -dropout."""
    weights_1 = 0.2 * random.random_sample((images.shape[1], 40)) - 0.1
    weights_2 = 0.2 * random.random_sample((40, 10)) - 0.1

    def predict(x: np.ndarray) -> np.ndarray:
        return np.dot(np.maximum(np.dot(x, weights_1), 0), weights_2)

    while True:
        error, correct = 0.0, 0
        for i in range(len(images)):
            inputs, wanted = images[i : i + 1], targets[i : i + 1]
            hidden = np.dot(inputs, weights_1)
            hidden = (hidden > 0) * hidden
            slope = np.ones_like(hidden) if straight_through else hidden > 0
            if drop:
                mask = 2 * random.randint(2, size=hidden.shape)
                hidden, slope = hidden * mask, slope * mask
            outputs = np.dot(hidden, weights_2)
            error += np.sum((wanted - outputs) ** 2)
            correct += int(np.argmax(outputs) == np.argmax(wanted))
            output_delta = wanted - outputs
            hidden_delta = np.dot(output_delta, weights_2.T) * slope
            weights_2 += 0.005 * np.dot(hidden.T, output_delta)
            weights_1 += 0.005 * np.dot(inputs.T, hidden_delta)
        yield error / len(images), correct / len(images), predict


def batches_of_100(
    images: np.ndarray, targets: np.ndarray, random: RandomState, softmax_tanh: bool = False
) -> Epochs:
    """784-100-10, no biases, half of the hidden units dropped, batches of 100: mnist1000-batch, -softmax."""
    bound, step = (0.01, 2 / (100 * 100)) if softmax_tanh else (0.1, 0.001)
    weights_1 = 2 * bound * random.random_sample((images.shape[1], 100)) - bound
    weights_2 = 0.2 * random.random_sample((100, 10)) - 0.1

    def activation(x: np.ndarray) -> np.ndarray:
        return np.tanh(x) if softmax_tanh else np.maximum(x, 0)

    def predict(x: np.ndarray) -> np.ndarray:
        return np.dot(activation(np.dot(x, weights_1)), weights_2)

    while True:
        error, correct = 0.0, 0
        for start in range(0, len(images), 100):
            inputs, wanted = images[start : start + 100], targets[start : start + 100]
            hidden = activation(np.dot(inputs, weights_1))
            slope = 1 - hidden**2 if softmax_tanh else (hidden > 0) * 1.0
            mask = 2 * random.randint(2, size=hidden.shape)
            dropped = hidden * mask
            outputs = np.dot(dropped, weights_2)
            if softmax_tanh:
                outputs = softmax(outputs)
            error += np.sum((wanted - outputs) ** 2)
            for k in range(len(inputs)):
                correct += int(np.argmax(outputs[k]) == np.argmax(wanted[k]))
            output_delta = wanted - outputs
            hidden_delta = np.dot(output_delta, weights_2.T) * slope * mask
            weights_2 += step * np.dot(dropped.T, output_delta)
            weights_1 += step * np.dot(inputs.T, hidden_delta)
        yield error / len(images), correct / len(images), predict


def relu256(images: np.ndarray, targets: np.ndarray, random: RandomState, keep: float = 0.45) -> Epochs:
    """784-256-256-10 with dropout, batches of 128 as matrices: mnist-relu256."""
    sizes = [images.shape[1], 256, 256, targets.shape[1]]
    bounds = [np.sqrt(6 / (i + o)) for i, o in pairwise(sizes)]
    weights = [random.uniform(-b, b, (i, o)) for b, i, o in zip(bounds, sizes, sizes[1:], strict=False)]
    biases = [np.zeros((1, o)) for o in sizes[1:]]
    bands = [0.01504, 0.01362, 0.01288, 0.0120, 0.0114, 0.01101]
    rate = 0.1

    def predict(x: np.ndarray) -> np.ndarray:
        x = np.maximum(np.dot(x, weights[0]) + biases[0], 0)
        x = np.maximum(np.dot(x, weights[1]) + biases[1], 0)
        return softmax(np.dot(x, weights[2]) + biases[2])

    while True:
        order = random.permutation(len(images))
        for start in range(0, len(images), 128):
            batch = order[start : start + 128]
            inputs, wanted = images[batch], targets[batch]
            mask_1 = (random.random_sample((len(batch), 256)) < keep) / keep
            mask_2 = (random.random_sample((len(batch), 256)) < keep) / keep
            sum_1 = np.dot(inputs, weights[0]) + biases[0]
            hidden_1 = np.maximum(sum_1, 0) * mask_1
            sum_2 = np.dot(hidden_1, weights[1]) + biases[1]
            hidden_2 = np.maximum(sum_2, 0) * mask_2
            outputs = softmax(np.dot(hidden_2, weights[2]) + biases[2])
            delta_3 = (outputs - wanted) / len(batch)
            delta_2 = np.dot(delta_3, weights[2].T) * (sum_2 > 0) * mask_2
            delta_1 = np.dot(delta_2, weights[1].T) * (sum_1 > 0) * mask_1
            pairs = [(inputs, delta_1), (hidden_1, delta_2), (hidden_2, delta_3)]
            for layer, (activations, delta) in enumerate(pairs):
                weights[layer] = weights[layer] - rate * np.dot(activations.T, delta)
                biases[layer] = biases[layer] - rate * delta.sum(axis=0, keepdims=True)
        outputs = predict(images)
        error = -np.mean(np.log(np.sum(outputs * targets, axis=1) + 1e-300))
        rate = 0.1 / (1 + sum(error < band for band in bands))
        yield error, np.mean(outputs.argmax(1) == targets.argmax(1)), predict


def sigmoid100(images: np.ndarray, targets: np.ndarray, random: RandomState, scaled: bool = False) -> Epochs:
    """784-100-100-10, all sigmoid, no biases, batches of 100 as matrices: mnist-sigmoid100 and -scaled.

    The derivative goes through Python, number by number, as the notebook's did.
    """
    sizes = [images.shape[1], 100, 100, targets.shape[1]]
    weights = [random.standard_normal((i, o)) for i, o in pairwise(sizes)]
    if scaled:
        weights = [w / np.sqrt(len(w)) for w in weights]
    velocities = [np.zeros_like(w) for w in weights]

    def predict(x: np.ndarray) -> np.ndarray:
        for w in weights:
            x = sigmoid(np.dot(x, w))
        return x

    while True:
        error, correct = 0.0, 0
        for start in range(0, len(images), 100):
            inputs, wanted = images[start : start + 100], targets[start : start + 100]
            hidden_1 = sigmoid(np.dot(inputs, weights[0]))
            hidden_2 = sigmoid(np.dot(hidden_1, weights[1]))
            outputs = sigmoid(np.dot(hidden_2, weights[2]))
            error -= np.sum(wanted * np.log(outputs + 1e-300) + (1 - wanted) * np.log(1 - outputs + 1e-300))
            correct += np.sum(outputs.argmax(1) == wanted.argmax(1))
            delta_3 = outputs - wanted
            delta_2 = np.dot(delta_3, weights[2].T) * one_by_one_slope(hidden_2)
            delta_1 = np.dot(delta_2, weights[1].T) * one_by_one_slope(hidden_1)
            pairs = [(inputs, delta_1), (hidden_1, delta_2), (hidden_2, delta_3)]
            for layer, (activations, delta) in enumerate(pairs):
                velocities[layer] = 0.01 * velocities[layer] - 0.01 * np.dot(activations.T, delta)
            for layer in range(3):
                weights[layer] = weights[layer] + velocities[layer]
        yield error / len(images), correct / len(images), predict


def digits_relu200(images: np.ndarray, targets: np.ndarray, random: RandomState) -> Epochs:
    """64-200-150-10, relu and softmax, one example at a time as np.matrix columns: digits-relu200."""
    sizes = [images.shape[1], 200, 150, targets.shape[1]]
    drawn = [random.normal(0, 0.1, (i, o)) for i, o in pairwise(sizes)]
    weights = [np.asmatrix(w.T) for w in drawn]
    biases = [np.asmatrix(random.normal(0, 0.1, (1, o))).T for o in sizes[1:]]

    def predict(x: np.ndarray) -> np.ndarray:
        x = np.asmatrix(x).T
        x = np.maximum(weights[0] * x + biases[0], 0)
        x = np.maximum(weights[1] * x + biases[1], 0)
        return softmax(np.asarray((weights[2] * x + biases[2]).T))

    while True:
        error, correct = 0.0, 0
        for i in random.permutation(len(images)):
            inputs, wanted = np.asmatrix(images[i]).T, np.asmatrix(targets[i]).T
            hidden_1 = np.maximum(weights[0] * inputs + biases[0], 0)
            hidden_2 = np.maximum(weights[1] * hidden_1 + biases[1], 0)
            sums = weights[2] * hidden_2 + biases[2]
            exponentials = np.exp(sums - sums.max())
            outputs = exponentials / exponentials.sum()
            error -= float(np.log(outputs + 1e-300).T.dot(wanted)[0, 0])
            correct += int(np.argmax(outputs) == np.argmax(wanted))
            delta_3 = outputs - wanted
            delta_2 = np.multiply(weights[2].T * delta_3, hidden_2 > 0)
            delta_1 = np.multiply(weights[1].T * delta_2, hidden_1 > 0)
            pairs = [(inputs, delta_1), (hidden_1, delta_2), (hidden_2, delta_3)]
            for layer, (activations, delta) in enumerate(pairs):
                weights[layer] = weights[layer] - 0.002 * delta * activations.T
                biases[layer] = biases[layer] - 0.002 * delta
        yield error, correct / len(images), predict


def sigmoid20(images: np.ndarray, targets: np.ndarray, random: RandomState, frozen: bool = False) -> Epochs:
    """784-20-10, sigmoid, quadratic cost, batches of 10, one example at a time: mnist-sigmoid20, -frozen.

    The activations go through Python, number by number, as the notebook's did.
    """
    weights = [random.standard_normal((images.shape[1], 20)), random.standard_normal((20, targets.shape[1]))]
    biases = [random.standard_normal((1, 20)), random.standard_normal((1, targets.shape[1]))]

    def predict(x: np.ndarray) -> np.ndarray:
        return sigmoid(np.dot(sigmoid(np.dot(x, weights[0]) + biases[0]), weights[1]) + biases[1])

    for rate in [2.0] * 31 + [0.4] * 30 + [0.01] * 5:
        error, correct = 0.0, 0
        order = random.permutation(len(images))
        for start in range(0, len(images), 10):
            batch = order[start : start + 10]
            weight_steps = [np.zeros_like(w) for w in weights]
            bias_steps = [np.zeros_like(b) for b in biases]
            for i in batch:
                inputs, wanted = images[i : i + 1], targets[i : i + 1]
                hidden = one_by_one_sigmoid(np.dot(inputs, weights[0]) + biases[0])
                outputs = one_by_one_sigmoid(np.dot(hidden, weights[1]) + biases[1])
                error += 0.5 * np.sum((outputs - wanted) ** 2)
                correct += int(np.argmax(outputs) == np.argmax(wanted))
                delta_2 = (outputs - wanted) * one_by_one_slope(outputs)
                delta_1 = np.dot(delta_2, weights[1].T) * one_by_one_slope(hidden)
                if not frozen:
                    weight_steps[0] += np.dot(inputs.T, delta_1)
                weight_steps[1] += np.dot(hidden.T, delta_2)
                bias_steps[0] += delta_1
                bias_steps[1] += delta_2
            for layer in range(2):
                weights[layer] -= rate / len(batch) * weight_steps[layer]
                biases[layer] -= rate / len(batch) * bias_steps[layer]
        yield error / len(images), correct / len(images), predict


LOOPS: dict[str, Callable[[np.ndarray, np.ndarray, RandomState], Epochs]] = {
    "mnist1000-replay": partial(one_by_one_relu40, straight_through=True),
    "mnist1000-plain": one_by_one_relu40,
    "mnist1000-dropout": partial(one_by_one_relu40, drop=True),
    "mnist1000-batch": batches_of_100,
    "mnist1000-softmax": partial(batches_of_100, softmax_tanh=True),
    "digits-relu200": digits_relu200,
    "mnist-sigmoid20": sigmoid20,
    "mnist-sigmoid20-frozen": partial(sigmoid20, frozen=True),
    "mnist-sigmoid100": sigmoid100,
    "mnist-sigmoid100-scaled": partial(sigmoid100, scaled=True),
    "mnist-relu256": relu256,
}
