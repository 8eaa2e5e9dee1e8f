"""Twenty steps of training agree with scikit-learn's MLPClassifier, from the same weights, to rounding."""

import numpy as np
import pytest

from mnistcore.network.initializers import Glorot, Normal
from mnistcore.network.network import Dense, Network
from mnistcore.training.optimizers import SGD, Adam, Momentum, Nesterov
from mnistcore.training.run import train
from mnistcore.training.settings import Examples, Settings

BATCH, EPOCHS = 16, 5  # of 64 examples: 20 steps

CASES = {
    "sgd": (SGD(0.1), {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0.0}),
    "momentum": (
        Momentum(0.05, 0.9),
        {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.9, "nesterovs_momentum": False},
    ),
    "nesterov": (
        Nesterov(0.05, 0.9),
        {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.9, "nesterovs_momentum": True},
    ),
    "adam": (
        Adam(0.01, 0.8, 0.95, 1e-6),
        {"solver": "adam", "learning_rate_init": 0.01, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-6},
    ),
}


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "identity"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_twenty_steps(name, activation, alpha):
    from sklearn.neural_network import MLPClassifier

    optimizer, options = CASES[name]
    rng = np.random.default_rng(3)
    images, labels = rng.random((64, 12)), rng.permutation(np.arange(64) % 4)
    layers = [
        Dense(9, activation, weights=Glorot(), biases=Normal(0.1)),
        Dense(7, activation, weights=Glorot(), biases=Normal(0.1)),
        Dense(4, "softmax", weights=Glorot(), biases=Normal(0.1)),
    ]
    network = Network(12, layers, "cross-entropy", "float64").initialize(rng)
    given = [(layer.weights.copy(), layer.biases.copy()) for layer in network.layers]

    class Given(MLPClassifier):
        def _init_coef(self, fan_in, fan_out, dtype):
            return next(pair for pair in given if pair[0].shape == (fan_in, fan_out))

    theirs = Given(
        (9, 7), activation="logistic" if activation == "sigmoid" else activation, alpha=alpha, batch_size=BATCH,
        shuffle=False, max_iter=EPOCHS, tol=0.0, n_iter_no_change=EPOCHS + 1, **options,
    )  # fmt: skip
    theirs.fit(images, labels)
    # scikit-learn divides its decay by the batch, ours stands beside the mean loss.
    settings = Settings(epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, shuffle=False, l2=alpha / BATCH)
    history = train(network, Examples(images, labels), settings)

    for layer, weights, biases in zip(network.layers, theirs.coefs_, theirs.intercepts_, strict=True):
        assert layer.weights == pytest.approx(weights, rel=1e-9, abs=1e-12)
        assert layer.biases == pytest.approx(biases, rel=1e-9, abs=1e-12)
    if not alpha:  # their loss has the decay in it
        assert [epoch.train_loss for epoch in history] == pytest.approx(theirs.loss_curve_, rel=1e-10)
