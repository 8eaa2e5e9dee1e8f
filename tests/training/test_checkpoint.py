"""Checkpoints: a run continues from any of them, a finished one is the result, and a diverged run leaves it.

What is damaged is not used; what only pretends to be of this run is refused.
"""

import random
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import damage
import numpy as np
import pytest

from mnistcore.errors import InputError
from mnistcore.network.network import Dense
from mnistcore.training.checkpoint import Checkpoint, State
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
        seen, calls = [], [0]

        def progress(examples, note):
            calls[0] += 1
            if calls[0] == stop_after:
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
    assert other.load() is None and other.unused == "of other parameters, data or code"
    none = Checkpoint(tmp_path / "none.npz", lambda: "a", 0)
    assert none.load() is None and not none.unused


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


def test_states_are_saved_after_each_group_of_steps_and_after_each_epoch(blobs, fresh, tmp_path, monkeypatch):
    saved: list[State] = []
    monkeypatch.setattr("mnistcore.training.run.EXAMPLES", 50)  # three steps of 16 examples
    monkeypatch.setattr(Checkpoint, "save", lambda self, state: saved.append(state))
    checkpoint = Checkpoint(tmp_path / "run.npz", lambda: "this run", 0)
    train(fresh(), blobs(), Settings(epochs=2, batch_size=16), checkpoint=checkpoint)
    assert [state.step for state in saved] == [3, 6, 9, 12, 0] * 2 + [0]
    assert [state.epoch for state in saved] == [0] * 4 + [1] * 5 + [2] * 2
    assert [state.updates for state in saved] == [3, 6, 9, 12, 13, 16, 19, 22, 25, 26, 26]
    assert [state.finished for state in saved] == [False] * 10 + [True]


STATE = State(
    step=1, updates=4, finished=False, best_loss=0.5, clean_loss=np.inf, parameters=np.linspace(0, 1, 404),
    slots=np.zeros((0, 404)), average=np.zeros(0), best=np.zeros(0), history=np.ones((1, 7)),
    losses=np.array([0.25] * 80), correct=np.ones(80, bool),
)  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """One that holds `STATE`, after a step of the second epoch of three steps each."""
    checkpoint = Checkpoint(tmp_path / "run.npz", lambda: "this run", 0)
    checkpoint.save(STATE)
    return checkpoint


def check_damaged(checkpoint: Checkpoint, damaged: Iterable[bytes]) -> None:
    """Each is said to be damaged and not used, or is what was saved (a date in the zip was changed, say)."""
    seen = 0
    for data in damaged:
        checkpoint.path.write_bytes(data)
        state = checkpoint.load()
        assert (state is None) == (checkpoint.unused == "damaged")
        assert state is None or all(np.array_equal(a, b) for a, b in zip(state, STATE, strict=True))
        seen += state is None
    assert seen > 50


def test_a_damaged_checkpoint_is_not_used(checkpoint: Checkpoint) -> None:
    whole = checkpoint.path.read_bytes()
    fields = random.Random(0).sample(list(damage.changed_fields(whole)), 150)
    check_damaged(checkpoint, [*fields, *islice(damage.changed_bytes(whole, random.Random(0)), 150)])


@pytest.mark.slow
def test_a_checkpoint_damaged_in_thousands_of_ways_is_not_used(checkpoint: Checkpoint) -> None:
    whole = checkpoint.path.read_bytes()
    check_damaged(checkpoint, damage.changed_fields(whole))
    check_damaged(checkpoint, islice(damage.changed_bytes(whole, random.Random(1)), 20_000))
    check_damaged(checkpoint, (whole[:length] for length in range(len(whole))))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", np.array(2)),
        ("updates", np.array(5)),
        ("finished", np.array(True)),
        ("best_loss", np.array(0.25)),
        ("parameters", STATE.parameters[:-1]),
        ("parameters", STATE.parameters + 1e-16),
        ("history", np.ones((9, 7))),
        ("history", np.full((1, 7), "text")),
        ("losses", STATE.losses.reshape(2, 40)),
        ("correct", np.ones(81, bool)),
        ("fingerprint", np.array("another run")),
        ("digest", np.array("0" * 64)),
        ("digest", np.array(5)),
    ],
)
def test_content_that_was_changed_is_damage(checkpoint: Checkpoint, name: str, value: np.ndarray) -> None:
    with np.load(checkpoint.path) as file:
        np.savez(checkpoint.path, **{**file, name: value})
    assert checkpoint.load() is None and checkpoint.unused == "damaged"


@pytest.mark.parametrize(
    "changed",
    [
        {"step": 3, "losses": np.zeros(200), "correct": np.ones(200, bool), "updates": 6},
        {"step": -1, "updates": 2},
        {"updates": 5},
        {"parameters": np.ones(403)},
        {"parameters": STATE.parameters.astype(np.float32)},
        {"slots": np.zeros((1, 404))},
        {"average": np.zeros(404)},
        {"best": np.zeros(403)},
        {"history": np.ones((3, 7)), "updates": 10},
        {"losses": np.zeros(81)},
        {"losses": np.zeros(81), "correct": np.ones(81, bool)},
    ],
)
def test_another_run_under_the_same_fingerprint_is_refused(
    blobs, fresh, checkpoint: Checkpoint, changed
) -> None:
    network, settings = fresh(), Settings(epochs=2, batch_size=80)
    checkpoint.save(STATE)
    assert len(train(network, blobs(), settings, checkpoint=checkpoint)) == 2
    checkpoint.save(STATE._replace(**changed))
    with pytest.raises(
        InputError, match=r"run\.npz: has this run's fingerprint and is of another run; remove it$"
    ):
        train(fresh(), blobs(), settings, checkpoint=checkpoint)


def test_a_fingerprint_is_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fingerprint: should be a valid string, is 5"):
        Checkpoint(tmp_path / "run.npz", lambda: 5, 0).save(STATE)


def test_a_checkpoint_is_due_when_its_seconds_are_over(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("mnistcore.training.checkpoint.monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path / "training.npz", lambda: "this run", 60)
    for passed, due in ((0, False), (59, False), (1, True)):
        now[0] += passed
        assert checkpoint.due() == due
