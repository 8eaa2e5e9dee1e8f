"""How much memory training takes beyond its data."""

import math
import tracemalloc

import numpy as np
import pytest

from mnistcore.engine import shared_memory
from mnistcore.network.initializers import Glorot
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.optimizers import SGD, Momentum
from mnistcore.training.run import train
from mnistcore.training.settings import Examples, Settings


@pytest.mark.parametrize("optimizer", [SGD(0.01), Momentum(0.01)])
@pytest.mark.parametrize("sizes", [(784, 256, 256), (784, 1000, 500)])
@pytest.mark.parametrize("workers", [1, 2])
def test_training_needs_less_memory_than_three_times_its_parameters_and_a_batch(
    optimizer, sizes, workers, monkeypatch
):
    """Of one worker, or of several over a network that they share."""
    features, *hidden = sizes
    batch = 128
    data = Examples(
        np.ones((2200, features), "float32"), np.zeros(2200, np.uint8)
    )  # more than one group of steps
    layers = [*(Dense(units, "relu", weights=Glorot()) for units in hidden), Dense(10, "softmax")]
    network = Network(features, layers)
    if workers > 1:
        network = shared_memory.shared(network)
    network.initialize(stream(0, "weights"))
    own = network.parameters.nbytes
    activations = 4 * batch * sum((*sizes, 10))
    train(network, data, Settings(epochs=1, batch_size=batch), workers=workers)  # imports, caches
    sizes_of_shared, zeros = [], shared_memory.zeros  # which tracemalloc does not see

    def counted(shape, dtype):
        sizes_of_shared.append(math.prod(shape) * np.dtype(dtype).itemsize)
        return zeros(shape, dtype)

    monkeypatch.setattr(shared_memory, "zeros", counted)
    tracemalloc.start()
    train(network, data, Settings(epochs=1, batch_size=batch, optimizer=optimizer), workers=workers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes_of_shared) > activations
    assert own + sum(sizes_of_shared) + peak < 3 * own + activations
