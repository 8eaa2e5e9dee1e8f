"""Several workers take the same steps to the same bits, however long each takes over its part."""

import os
import random
import time

import numpy as np
import pytest

from mnistcore.engine.evaluator import Evaluator
from mnistcore.engine.team import Team
from mnistcore.network.network import Dense, Network
from mnistcore.training.optimizers import Momentum
from mnistcore.training.run import train
from mnistcore.training.settings import Averaging, Settings


@pytest.mark.parametrize("hidden", [(Dense(300, "relu", drop_rate=0.3), Dense(120, "tanh", drop_rate=0.2))])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_workers_do_not_change_the_bits(blobs, fresh, hidden, clip_norm):
    results = []
    for workers in (1, 2, 4):
        network = fresh(200, 10, "float32", hidden)
        data = blobs(230, 200, 10, "float32")
        settings = Settings(epochs=2, batch_size=100, optimizer=Momentum(0.05), shards=5, clip_norm=clip_norm)
        train(network, data, settings, workers=workers)
        results.append(network.parameters.tobytes())
    assert len(set(results)) == 1


class Noise:
    """Adds to each pixel, and dawdles."""

    def __call__(self, images, generator, out):
        np.add(images, generator.random(images.shape, images.dtype), out=out)
        dawdle()


class Dawdling(Momentum):
    def update(self, *args):
        super().update(*args)
        dawdle()


def dawdle():
    """Wait for up to a millisecond, each process for times of its own."""
    time.sleep(DELAYS.setdefault(os.getpid(), random.Random(os.getpid())).random() / 1000)


DELAYS = {}


@pytest.mark.parametrize("hidden", [(), (30,), (300, 120)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_norm": 0.5, "l2": 0.01},
        {"averaging": Averaging(0.8, 1)},
        {"augmenter": Noise},
        {"shards": 5},
    ],
)
@pytest.mark.parametrize("smallest_part", [1, 1 << 40])  # phase 2 cut, or done by each worker for itself
def test_no_worker_runs_ahead_of_what_others_still_need(
    blobs, fresh, hidden, options, smallest_part, monkeypatch
):
    """However long each process takes over each part of a step."""
    barrier, results = Team.barrier, []

    def late(team):
        barrier(team)
        dawdle()

    monkeypatch.setattr("mnistcore.engine.division.SMALLEST_SHARD", 1)
    monkeypatch.setattr("mnistcore.engine.division.SMALLEST_PART", smallest_part)
    data = blobs(230, 200, 10, "float32")
    for workers in (1, 2, 3):
        network = fresh(200, 10, "float32", [Dense(units, "relu", drop_rate=0.2) for units in hidden])
        settings = Settings(
            **{"epochs": 6, "batch_size": 100, "optimizer": Dawdling(0.05), "shards": 3} | options
        )
        if workers > 1:
            monkeypatch.setattr(Team, "barrier", late)
        train(network, data, settings, workers=workers)
        results.append(network.parameters.tobytes())
    assert len(set(results)) == 1


def test_workers_train_a_network_over_parameters_of_the_callers_own(blobs, fresh):
    networks = [fresh(200, 10, "float32", (Dense(300, "relu"),)) for _ in range(2)]
    own = networks[1].parameters.copy()
    networks[1] = Network.from_architecture(networks[1].architecture(), own)
    for network, workers in zip(networks, (1, 2), strict=True):
        train(network, blobs(230, 200, 10, "float32"), Settings(epochs=1, batch_size=100), workers=workers)
    assert np.array_equal(networks[0].parameters, own)


@pytest.mark.parametrize("slow_leader", [True, False])
def test_an_evaluation_ends_when_all_have_added_up_and_read_the_sums(blobs, fresh, slow_leader, monkeypatch):
    network, both, barrier = fresh(), (blobs(300), blobs(300, seed=1)), Team.barrier
    expected = [Evaluator(Team(1), 3).evaluate(network, some.images, some.labels) for some in both]

    def late(team):
        if team.leads is not slow_leader:
            time.sleep(0.02)  # the other one adds up late
        barrier(team)
        if team.leads is slow_leader:
            time.sleep(0.02)  # this one reads late

    monkeypatch.setattr("mnistcore.engine.evaluator.CHUNK", 50)
    monkeypatch.setattr(Team, "barrier", late)
    evaluator = Evaluator(team := Team(2), 3)
    with team:
        results = [evaluator.evaluate(network, some.images, some.labels) for some in both]
    assert results == pytest.approx(np.array(expected), rel=1e-12)
