"""One contestant in a process of its own: gets ready, then runs an epoch for each line it is sent.

    python contestant.py NAME CASE THREADS IMAGES LABELS

Each process has its own environment, so that the pinning that makes our bits
the same everywhere slows no other one down. Every line of input holds a number
of examples; the answer is the seconds that an epoch over so many took.
"""

import functools
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from benchmarks.cases import CASES, RATE, Case

Epoch = Callable[[int], None]


def ours(case: Case, threads: int, images: np.ndarray, labels: np.ndarray) -> Epoch:
    from mnistcore.network.network import Dense, Network
    from mnistcore.streams import stream
    from mnistcore.training.optimizers import SGD
    from mnistcore.training.run import train
    from mnistcore.training.settings import Examples, Settings

    *hidden, output = case.sizes[1:]
    layers = [*(Dense(units, "relu") for units in hidden), Dense(output, "softmax")]
    network = Network(case.sizes[0], layers, "cross-entropy", case.dtype).initialize(stream(0, "weights"))
    settings = Settings(epochs=1, batch_size=case.batch, optimizer=SGD(RATE), shards=threads)

    @functools.cache
    def some(examples: int) -> Examples:  # they look at every number that they are given, once
        return Examples(images[:examples], labels[:examples])

    def epoch(examples: int) -> None:
        train(network, some(examples), settings, workers=threads)

    return epoch


def bare(case: Case, threads: int, images: np.ndarray, labels: np.ndarray) -> Epoch:
    """The matrix products of forward and backward pass alone, into arrays that exist: what no code can avoid."""
    rng = np.random.default_rng(0)
    sizes, count = case.sizes, len(case.sizes) - 1
    activations = [rng.random((case.batch, n)).astype(case.dtype) for n in sizes]
    deltas = [rng.random((case.batch, n)).astype(case.dtype) for n in sizes]
    outputs = [np.empty((case.batch, n), case.dtype) for n in sizes]
    weights = [rng.random((a, b)).astype(case.dtype) for a, b in pairwise(sizes)]
    gradients = [np.empty_like(w) for w in weights]

    def epoch(examples: int) -> None:
        for _ in range(-(-examples // case.batch)):
            for k in range(count):
                np.dot(activations[k], weights[k], out=outputs[k + 1])
            for k in range(count - 1, -1, -1):
                np.dot(activations[k].T, deltas[k + 1], out=gradients[k])
                if k:
                    np.dot(deltas[k + 1], weights[k].T, out=outputs[k])

    return epoch


def torch(case: Case, threads: int, images: np.ndarray, labels: np.ndarray) -> Epoch:
    import torch

    torch.set_num_threads(threads)
    layers: list[torch.nn.Module] = []
    for a, b in zip(case.sizes, case.sizes[1:], strict=False):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(getattr(torch, case.dtype))
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    x, y = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))

    def epoch(examples: int) -> None:
        order = torch.randperm(examples)
        for start in range(0, examples, case.batch):
            chosen = order[start : start + case.batch]
            optimizer.zero_grad()
            criterion(model(x[chosen]), y[chosen]).backward()
            optimizer.step()

    return epoch


def sklearn(case: Case, threads: int, images: np.ndarray, labels: np.ndarray) -> Epoch:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        case.sizes[1:-1],
        solver="sgd",
        batch_size=case.batch,
        learning_rate_init=RATE,
        momentum=0.0,
        alpha=0.0,
    )
    model.partial_fit(images[: case.batch], labels[: case.batch], classes=np.arange(case.sizes[-1]))

    def epoch(examples: int) -> None:
        model.partial_fit(images[:examples], labels[:examples])

    return epoch


def _jax(case: Case):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", case.dtype == "float64")
    keys = jax.random.split(jax.random.key(0), len(case.sizes) - 1)
    parameters = [
        (jax.random.normal(key, (a, b), case.dtype) * (2 / a) ** 0.5, jnp.zeros(b, case.dtype))
        for key, a, b in zip(keys, case.sizes, case.sizes[1:], strict=False)
    ]

    def loss(parameters, x, y):
        for weights, biases in parameters[:-1]:
            x = jax.nn.relu(x @ weights + biases)
        weights, biases = parameters[-1]
        logits = jax.nn.log_softmax(x @ weights + biases)
        return -jnp.take_along_axis(logits, y[:, None], axis=1).mean()

    def step(parameters, x, y):
        gradients = jax.grad(loss)(parameters, x, y)
        return jax.tree.map(lambda p, g: p - jnp.asarray(RATE, p.dtype) * g, parameters, gradients)

    return jax, jnp, parameters, step


def jax_step(case: Case, threads: int, images: np.ndarray, labels: np.ndarray) -> Epoch:
    """One compiled step per batch."""
    jax, jnp, parameters, step = _jax(case)
    x, y = jnp.asarray(images), jnp.asarray(labels.astype(np.int32))
    gathering = jax.jit(lambda p, x, y, chosen: step(p, x[chosen], y[chosen]), donate_argnums=0)
    rng, state = np.random.default_rng(0), [parameters]

    def epoch(examples: int) -> None:
        order = rng.permutation(examples).astype(np.int32)
        for start in range(0, examples, case.batch):
            state[0] = gathering(state[0], x, y, order[start : start + case.batch])
        jax.block_until_ready(state[0])

    return epoch


def jax_scan(case: Case, threads: int, images: np.ndarray, labels: np.ndarray) -> Epoch:
    """The whole epoch as one compiled program."""
    jax, jnp, parameters, step = _jax(case)
    x, y = jnp.asarray(images), jnp.asarray(labels.astype(np.int32))

    def whole(parameters, x, y, order):
        def body(parameters, chosen):
            return step(parameters, x[chosen], y[chosen]), None

        return jax.lax.scan(body, parameters, order)[0]

    compiled = jax.jit(whole, donate_argnums=0)
    rng, state = np.random.default_rng(0), [parameters]

    def epoch(examples: int) -> None:
        full = examples // case.batch * case.batch  # a scan wants batches of one size
        order = rng.permutation(examples)[:full].astype(np.int32).reshape(-1, case.batch)
        state[0] = jax.block_until_ready(compiled(state[0], x, y, order))

    return epoch


CONTESTANTS = {
    "ours": ours,
    "torch": torch,
    "torch-avx2": torch,
    "sklearn": sklearn,
    "jax-step": jax_step,
    "jax-scan": jax_scan,
    "bare": bare,
    "bare-pinned": bare,
}


def main() -> None:
    name, case, threads, images, labels = sys.argv[1:]
    case, threads = CASES[int(case)], int(threads)
    if hasattr(os, "sched_setaffinity") and threads == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    x = (np.load(images).astype(case.dtype) / 255).astype(case.dtype)
    epoch = CONTESTANTS[name](case, threads, x, np.load(labels))
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        epoch(int(line))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
