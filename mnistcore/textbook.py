"""How a fully connected network learns, in plain NumPy, from top to bottom.

Nothing here is fast and nothing is hidden: arrays are made wherever one is wanted,
and each formula stands beside the line that computes it. `mnistcore.engine` computes
the same with every trick; a test holds it to this page. Shapes: a batch of B inputs
of n features is x (B, n); a layer of m units has weights W (n, m) and biases b (m,).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array


@dataclass
class Layer:
    """One dense layer, a = f(x W + b); `frozen` names what does not learn, of "weights" and "biases"."""

    weights: Array
    biases: Array | None
    activation: str
    frozen: tuple[str, ...] = ()


Layers = Sequence[Layer]
Masks = (
    Sequence[Array | float] | None
)  # of each layer, what dropout multiplies its outputs with; 1: no dropout
Pairs = list[
    tuple[Array, Array | None]
]  # of each layer, something of its weights, and of its biases if it has any

# Activations f(z), each with its slope f'(z), which can be told from a = f(z) itself.


def sigmoid(z: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(z / 2)  # = 1 / (1 + exp(−z)), without its overflow


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))  # the same shift for a whole row changes nothing
    return e / e.sum(axis=1, keepdims=True)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),
    "relu-straight-through": (lambda z: np.maximum(z, 0), np.ones_like),  # as if it were the identity
    "sigmoid": (sigmoid, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "softmax": (softmax, lambda a: a * (1 - a)),  # the diagonal alone; `through_activation` has the whole
}


def through_activation(g: Array, a: Array, activation: str) -> Array:
    """From g = ∂loss/∂a to δ = ∂loss/∂z, where a = f(z)."""
    if activation == "softmax":  # the one f whose outputs depend on all of z: ∂a_j/∂z_i = a_j ([i = j] − a_i)
        return a * (g - (g * a).sum(axis=1, keepdims=True))
    return g * ACTIVATIONS[activation][1](a)


# Losses, from the output layer's pre-activations z and the targets t, both (B, K). Each returns the
# losses of the examples, (B,), and δ = ∂loss/∂z, (B, K).


def cross_entropy(z: Array, t: Array, activation: str = "softmax") -> tuple[Array, Array]:
    """−Σ t log p with p = softmax(z). As log p = z − log Σ exp z and Σ t = 1: ∂loss/∂z = p − t."""
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(t * log_p).sum(axis=1), np.exp(log_p) - t


def binary_cross_entropy(z: Array, t: Array, activation: str = "sigmoid") -> tuple[Array, Array]:
    """−Σ [t log o + (1 − t) log(1 − o)] with o = sigmoid(z) is Σ [log(1 + exp z) − t z]: ∂loss/∂z = o − t."""
    log_term = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))  # log(1 + exp z), without its overflow
    return (log_term - t * z).sum(axis=1), sigmoid(z) - t


def squared_error(z: Array, t: Array, activation: str) -> tuple[Array, Array]:
    """½ Σ (o − t)² with o = f(z): ∂loss/∂o = o − t, and on through f."""
    o = ACTIVATIONS[activation][0](z)
    return 0.5 * ((o - t) ** 2).sum(axis=1), through_activation(o - t, o, activation)


LOSSES = {
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "squared-error": squared_error,
}


def dropout_mask(shape: tuple[int, int], rate: float, generator: np.random.Generator) -> Array:
    """What a hidden layer's outputs are multiplied with: 0 for a part `rate` of them, 1 / (1 − rate) for the
    rest, so that their expectation stays what it is (Srivastava et al. 2014, inverted)."""
    return (generator.random(shape) >= rate) / (1 - rate)


def forward(layers: Layers, x: Array, masks: Masks = None) -> tuple[list[Array], list[Array]]:
    """Each layer's inputs, and each layer's outputs before dropout; those of the last layer are left as z."""
    inputs, outputs = [], []
    for layer, mask in zip(layers, masks or [1.0] * len(layers), strict=True):
        z = x @ layer.weights + (0 if layer.biases is None else layer.biases)
        inputs.append(x)
        outputs.append(z if layer is layers[-1] else ACTIVATIONS[layer.activation][0](z))
        x = outputs[-1] * mask
    return inputs, outputs


def backward(layers: Layers, inputs: list[Array], outputs: list[Array], delta: Array, masks: Masks) -> Pairs:
    """(∂loss/∂W, ∂loss/∂b) of every layer, from the last one's δ = ∂loss/∂z.

    z_ij = Σ_k x_ik W_kj + b_j depends on W_kj through x_ik, so ∂loss/∂W_kj = Σ_i x_ik δ_ij, which is xᵀ δ;
    on b_j with slope 1, so ∂loss/∂b = Σ_i δ_i; and on x_ik through W_kj, so ∂loss/∂x = δ Wᵀ. The inputs x are
    the outputs a of the layer below times its mask: hence ∂loss/∂a = δ Wᵀ · mask, and through f its own δ.
    """
    gradients: Pairs = []
    for k in reversed(range(len(layers))):
        gradients.append((inputs[k].T @ delta, None if layers[k].biases is None else delta.sum(axis=0)))
        if k:
            g = delta @ layers[k].weights.T * (masks[k - 1] if masks else 1)
            delta = through_activation(g, outputs[k - 1], layers[k - 1].activation)
    return gradients[::-1]


def trained(layers: Layers, pairs: Pairs | None = None) -> list[Array]:
    """The arrays that learn: the layers' weights and biases, or their gradients `pairs`, without what is frozen."""
    return [
        array
        for layer, pair in zip(layers, pairs or [(one.weights, one.biases) for one in layers], strict=True)
        for name, array in zip(("weights", "biases"), pair, strict=True)
        if array is not None and name not in layer.frozen
    ]


# What an optimiser does in step t, from 1, with an array p and its gradient g. What it remembers of p between
# steps is `memory`, two arrays like p that begin as zero.


def sgd(p: Array, g: Array, memory: Array, t: int, rate: float) -> None:
    p -= rate * g


def momentum(p: Array, g: Array, memory: Array, t: int, rate: float, mu: float = 0.9) -> None:
    memory[0] = mu * memory[0] - rate * g  # Polyak 1964
    p += memory[0]


def nesterov(p: Array, g: Array, memory: Array, t: int, rate: float, mu: float = 0.9) -> None:
    memory[0] = mu * memory[0] - rate * g  # Sutskever et al. 2013, with p where the next gradient is taken
    p += mu * memory[0] - rate * g


def adam(p: Array, g: Array, memory: Array, t: int, rate: float,
         beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, decay: float = 0.0) -> None:  # fmt: skip
    p -= rate * decay * p  # AdamW, Loshchilov & Hutter 2019; Adam itself has no decay
    memory[0] = beta1 * memory[0] + (1 - beta1) * g  # Kingma & Ba 2015, as at the end of their section 2
    memory[1] = beta2 * memory[1] + (1 - beta2) * g**2
    p -= rate * np.sqrt(1 - beta2**t) / (1 - beta1**t) * memory[0] / (np.sqrt(memory[1]) + epsilon)


def gradients(
    layers: Layers, x: Array, targets: Array, loss: str = "cross-entropy", masks: Masks = None,
    reduction: str = "mean", l2: float = 0.0, clip_norm: float = np.inf,
) -> tuple[Array, list[Array]]:  # fmt: skip
    """The losses of a batch, (B,), and the gradient that a step goes down, for each array of `trained`.

    It is that of the mean (or sum) of the losses plus ½ · l2 · Σ W², shortened to the length `clip_norm`.
    """
    inputs, outputs = forward(layers, x, masks)
    losses, delta = LOSSES[loss](outputs[-1], targets, layers[-1].activation)
    pairs = backward(layers, inputs, outputs, delta / (len(x) if reduction == "mean" else 1), masks)
    pairs = [(w + l2 * layer.weights, b) for layer, (w, b) in zip(layers, pairs, strict=True)]
    found = trained(layers, pairs)
    norm = np.sqrt(sum((g**2).sum() for g in found))
    return losses, [g * clip_norm / norm if norm > clip_norm else g for g in found]


def epoch(
    layers: Layers, images: Array, targets: Array, batches: Iterable[Array],
    optimizer: Callable[[Array, Array, Array, int], None], memories: list[Array], done: int = 0, **how,
) -> tuple[float, int]:  # fmt: skip
    """One step for each of `batches`, which holds the numbers of its examples; the mean loss, and the steps `done`.

    memories : what the optimiser remembers of each array of `trained`, (2, *its shape)
    how : loss, masks, reduction, l2 and clip_norm, as in `gradients`
    """
    losses = []
    for t, batch in enumerate(batches, done + 1):
        found, slopes = gradients(layers, images[batch], targets[batch], **how)
        for p, g, memory in zip(trained(layers), slopes, memories, strict=True):
            optimizer(p, g, memory, t)
        losses.append(found)
    return float(np.concatenate(losses).mean()), done + len(losses)


def predict(layers: Layers, images: Array) -> Array:
    """The class of the largest output, (N,), of images (N, n)."""
    return forward(layers, images)[1][-1].argmax(axis=1)
