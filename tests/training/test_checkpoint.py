"""Checkpoints: a run continues from any of them, a finished one is the result, and a diverged run leaves it."""

import numpy as np
import pytest

from mnistcore.network.network import Dense
from mnistcore.training.checkpoint import Checkpoint
from mnistcore.training.optimizers import SGD, AdamW
from mnistcore.training.run import Diverged, train
from mnistcore.training.schedules import Cosine, Steps
from mnistcore.training.settings import Averaging, Settings
from mnistcore.training.stopping import LossTarget, Patience


class Stop(Exception):
    pass


@pytest.mark.parametrize("stopping", [None, Patience(3), LossTarget(1e-9)])
def test_resuming_from_any_point_gives_the_same_bits(blobs, fresh, tmp_path, stopping, monkeypatch):
    monkeypatch.setattr("mnistcore.training.run.EXAMPLES", 50)
    data, held_out = blobs(), blobs(seed=1)
    settings = Settings(
        epochs=5, batch_size=16, optimizer=AdamW(0.05, weight_decay=0.1), averaging=Averaging(0.8, 3),
        schedule=Cosine(1.0), stopping=stopping,
    )  # fmt: skip
    hidden = (Dense(16, "relu", drop_rate=0.4),)

    def run(stop_after, path):
        seen, looks = [], [0]

        def progress(examples, note):
            looks[0] += 1
            if looks[0] == stop_after:
                raise Stop

        network = fresh(hidden=hidden)
        checkpoint = Checkpoint(path, lambda: "this run", 0)
        try:
            train(network, data, settings, validation=held_out, checkpoint=checkpoint, on_progress=progress,
                  on_epoch=seen.append)  # fmt: skip
        except Stop:
            return None
        return network.parameters.tobytes(), seen

    expected = run(None, tmp_path / "whole.npz")
    for stop_after in range(1, 25, 4):
        path = tmp_path / f"{stop_after}.npz"
        if run(stop_after, path) is None:
            result = run(3, path) or run(None, path)  # stopped a second time
            assert repr(result) == repr(expected)


def test_a_finished_checkpoint_is_the_result_and_another_run_s_is_not_used(blobs, fresh, tmp_path):
    data, path = blobs(), tmp_path / "run.npz"
    network = fresh()
    train(network, data, Settings(epochs=2), checkpoint=Checkpoint(path, lambda: "a", 0))
    again = fresh()
    history = train(again, data, Settings(epochs=2), checkpoint=Checkpoint(path, lambda: "a", 0))
    assert np.array_equal(again.parameters, network.parameters) and len(history) == 2
    other = Checkpoint(path, lambda: "b", 0)
    assert other.load() is None and other.foreign
    path.write_bytes(path.read_bytes()[:200])
    damaged = Checkpoint(path, lambda: "a", 0)
    assert damaged.load() is None and damaged.foreign
    assert Checkpoint(tmp_path / "none.npz", lambda: "a", 0).load() is None


@pytest.mark.parametrize("workers", [1, 2])
def test_divergence_is_told_with_epoch_step_and_cause_and_leaves_the_checkpoint(
    blobs, fresh, tmp_path, workers
):
    data = blobs(400, 100, 4, "float32")
    path = tmp_path / "run.npz"
    network = fresh(100, 4, "float32", (Dense(300, "relu"),))
    schedule = Steps((1,), (1e30,))
    settings = Settings(epochs=3, batch_size=100, optimizer=SGD(0.1), schedule=schedule)
    with pytest.raises(
        Diverged, match=r"(infinite|NaN) in epoch 2, step [123] of 4, at learning rate 1e\+29"
    ):
        train(network, data, settings, workers=workers, checkpoint=Checkpoint(path, lambda: "a", 0))
    state = Checkpoint(path, lambda: "a", 0).load()
    assert state.epoch == 1 and np.isfinite(state.parameters).all()
