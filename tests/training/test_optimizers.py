"""What an optimiser does with a gradient; more of it in test_against_sklearn.py and the engine's tests."""

import numpy as np
import pytest

from mnistcore.training.optimizers import Adam, AdamW, Momentum, Nesterov


def test_adamw_decays_apart_from_the_gradient():
    p, g = np.array([1.0, -2.0]), np.array([0.3, 0.0])
    slots, scratch = np.zeros((2, 2)), np.empty(2)
    AdamW(0.1, weight_decay=0.5, epsilon=1e-12).update(p, g.copy(), slots, scratch, 0.1, 1)
    # The first step of Adam is the learning rate, whatever the gradient; then nothing but decay.
    assert p == pytest.approx([1.0 * 0.95 - 0.1, -2.0 * 0.95])


def test_what_is_not_given_is_as_published():
    # Kingma & Ba 2015, algorithm 1; PyTorch's torch.optim.AdamW and Keras's for the decay; 0.9 is scikit-learn's.
    assert Adam() == Adam(0.001, beta1=0.9, beta2=0.999, epsilon=1e-8)
    assert AdamW() == AdamW(0.001, 0.9, 0.999, 1e-8, weight_decay=0.01)
    assert Momentum().momentum == Nesterov().momentum == 0.9
