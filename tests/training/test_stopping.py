"""When training ends before its last epoch."""

import math

from mnistcore.training.history import Epoch
from mnistcore.training.stopping import FirstRise, LossTarget, Patience


def epochs(train=(), validation=(), clean=()):
    count = max(len(train), len(validation), len(clean))
    pad = lambda values: [*values, *[math.nan] * (count - len(values))]  # noqa: E731
    return [
        Epoch(i, 0.1, t, 0.9, v, 0.9, c)
        for i, (t, v, c) in enumerate(zip(pad(train), pad(validation), pad(clean), strict=True), start=1)
    ]


def test_stopping_rules():
    assert not FirstRise().stops(epochs(train=[3, 2, 1]))
    assert FirstRise().stops(epochs(train=[3, 2, 2.1]))
    assert not LossTarget(0.01).stops(epochs(clean=[0.2, 0.011]))
    assert LossTarget(0.01).stops(epochs(clean=[0.2, 0.009]))
    assert not Patience(2).stops(epochs(validation=[3, 1, 2]))
    assert Patience(2).stops(epochs(validation=[3, 1, 2, 1.5]))
