"""Twenty steps of training agree with PyTorch's, from the same weights, in float64, to rounding.

Run in the benchmark environment, where PyTorch is. It covers what scikit-learn cannot express:
AdamW, clipping, binary cross-entropy, squared error, layers without bias, frozen layers, dropout with
the same masks, straight-through relu.
"""

import mnistcore.reproducible  # noqa: F401  (before NumPy)

import itertools

import numpy as np
import torch

from mnistcore.network.initializers import LeCun, Normal
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.dropout import Dropout
from mnistcore.training.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from mnistcore.training.run import train
from mnistcore.training.settings import Examples, Settings

BATCH, EPOCHS, COUNT, FEATURES, CLASSES = 16, 5, 64, 12, 4
TINY = 1e-30  # PyTorch and scikit-learn differ in where Adam's ε stands; with this one nothing is left of it


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(context, z):
        return z.clamp(min=0)

    @staticmethod
    def backward(context, gradient):
        return gradient


ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "relu-straight-through": StraightThrough.apply,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda z: torch.softmax(z, dim=1),
}


def loss_of(name: str, output: str, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    targets = torch.nn.functional.one_hot(labels, CLASSES).to(z.dtype)
    if name == "cross-entropy":
        return torch.nn.functional.cross_entropy(z, labels)
    if name == "binary-cross-entropy":
        return torch.nn.functional.binary_cross_entropy_with_logits(z, targets, reduction="sum") / len(z)
    return 0.5 * ((ACTIVATIONS[output](z) - targets) ** 2).sum() / len(z)


def optimizer_of(ours, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    rate = ours.learning_rate
    if isinstance(ours, AdamW):
        return torch.optim.AdamW(
            parameters, rate, (ours.beta1, ours.beta2), ours.epsilon, weight_decay=ours.weight_decay
        )
    if isinstance(ours, Adam):
        return torch.optim.Adam(parameters, rate, (ours.beta1, ours.beta2), ours.epsilon)
    if isinstance(ours, SGD):
        return torch.optim.SGD(parameters, rate)
    return torch.optim.SGD(parameters, rate, ours.momentum, nesterov=isinstance(ours, Nesterov))


def compare(activation, ending, optimizer, bias, drop_rate, frozen, l2, clip_norm) -> float:
    """The largest difference of any parameter after training, relative to the largest parameter."""
    loss, output = ending
    rng = np.random.default_rng(3)
    images, labels = rng.random((COUNT, FEATURES)), rng.integers(0, CLASSES, COUNT)
    drawn = {"bias": bias, "weights": LeCun(), "biases": Normal(0.1)}
    layers = [
        Dense(9, activation, drop_rate=drop_rate, frozen=frozen, **drawn),
        Dense(7, activation, **drawn),
        Dense(CLASSES, output, **drawn),
    ]
    network = Network(FEATURES, layers, loss, "float64").initialize(stream(1, "weights"))

    weights = [
        torch.tensor(layer.weights, requires_grad="weights" not in layer.dense.frozen)
        for layer in network.layers
    ]
    biases = [
        torch.tensor(layer.biases, requires_grad="biases" not in layer.dense.frozen) if bias else None
        for layer in network.layers
    ]
    trained = [p for p in (*weights, *biases) if p is not None and p.requires_grad]
    step = optimizer_of(optimizer, trained)
    masks = [np.empty((BATCH, 9)) if drop_rate else None, None, None]
    dropout = Dropout([drop_rate, 0, 0], [9, 7, CLASSES], BATCH, seed=0, part=0)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for epoch in range(1, EPOCHS + 1):
        for index in range(COUNT // BATCH):
            chosen = slice(index * BATCH, (index + 1) * BATCH)
            dropout.draw(masks, epoch, index)
            a = x[chosen]
            for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                z = a @ w if b is None else a @ w + b
                if k < 2:
                    a = ACTIVATIONS[activation](z)
                    if masks[k] is not None:
                        a = a * torch.from_numpy(masks[k].copy())
            value = loss_of(loss, output, z, y[chosen])
            value = value + 0.5 * l2 * sum((w**2).sum() for w in weights if w.requires_grad)
            step.zero_grad()
            value.backward()
            if clip_norm is not None:
                # Not clip_grad_norm_, which adds 1e-6 to the norm.
                norm = torch.sqrt(sum((p.grad**2).sum() for p in trained))
                for p in trained:
                    p.grad *= min(1.0, clip_norm / float(norm))
            step.step()

    settings = Settings(
        epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, shuffle=False, l2=l2, clip_norm=clip_norm
    )
    train(network, Examples(images, labels), settings)
    worst, largest = 0.0, 1e-300
    for layer, w, b in zip(network.layers, weights, biases, strict=True):
        pairs = [(layer.weights, w)] + ([(layer.biases, b)] if bias else [])
        for mine, theirs in pairs:
            worst = max(worst, float(np.abs(mine - theirs.detach().numpy()).max()))
            largest = max(largest, float(np.abs(mine).max()))
    return worst / largest


def main() -> None:
    torch.set_num_threads(1)
    endings = [
        ("cross-entropy", "softmax"),
        ("binary-cross-entropy", "sigmoid"),
        *(("squared-error", name) for name in ("identity", "relu", "sigmoid", "tanh", "softmax")),
    ]
    hidden = [name for name in ACTIVATIONS if name != "softmax"]
    optimizers = [
        SGD(0.1), Momentum(0.05, 0.9), Nesterov(0.05, 0.9), Adam(0.01, epsilon=TINY),
        AdamW(0.01, weight_decay=0.1, epsilon=TINY),
    ]  # fmt: skip
    worst, count = 0.0, 0
    plain = (True, 0.0, (), 0.0, None)
    cases = [(a, e, o, *plain) for a, e, o in itertools.product(hidden, endings, optimizers)]
    options = itertools.product(
        [True, False], [0.0, 0.4], [(), ("weights",), ("biases",)], [0.0, 0.1], [None, 0.05]
    )
    cases += [("tanh", endings[0], SGD(0.1), *option) for option in options]
    for case in cases:
        difference = compare(*case)
        worst, count = max(worst, difference), count + 1
        if not difference < 1e-10:
            raise SystemExit(f"PyTorch and we disagree by {difference:.1e} on {case}")
    print(
        f"{count} training runs of {EPOCHS * COUNT // BATCH} steps agree with PyTorch to {worst:.1e} at worst"
    )


if __name__ == "__main__":
    main()
