"""The learning-rate multiplier along a run."""

import math

import pytest

from mnistcore.training.schedules import Constant, Cosine, LossBands, Steps


def test_schedules():
    multipliers = [Cosine(2.0, 0.1).multiplier(progress, 10, math.inf) for progress in (0.5, 2.0, 6.0, 10.0)]
    assert multipliers == pytest.approx([0.25, 1.0, 0.55, 0.1])
    steps = Steps((31, 61), (0.2, 0.0025))
    assert [steps.multiplier(p, 66, 0) for p in (0, 30.99, 31.0, 60.9, 61.1)] == [1, 1, 0.2, 0.2, 0.0025]
    bands = LossBands((0.02, 0.01), (1 / 2, 1 / 3))
    assert [bands.multiplier(0, 9, loss) for loss in (math.inf, 0.02, 0.019, 0.0099)] == [1, 1, 1 / 2, 1 / 3]
    assert Constant().multiplier(3, 9, 1) == 1
