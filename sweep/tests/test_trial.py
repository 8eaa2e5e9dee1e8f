"""What a worker makes of a trial's log, metrics, curve and of the cores it may use."""

import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from dvc_sweep import trial
from dvc_sweep.hub import Hub

STAGE = """\
Reproducing experiment 'a-1'
Running stage 'train':
> python stages/train.py
train:  10%|#         | 1/10\rtrain: 100%|##########| 10/10
train: seed 0: diverged in epoch 2
ERROR: failed to reproduce 'train': failed to run: python stages/train.py, exited with 2
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (STAGE, "train: seed 0: diverged in epoch 2"),
        (STAGE.replace("train: seed 0: diverged in epoch 2\n", "Traceback (most recent call last):\n  File\nValueError: bad\n"), "ValueError: bad"),
        (
            "Running stage 'train':\n> kill -9 $$\nERROR: failed to reproduce 'train': failed to run: kill -9 $$, exited with -9\n",
            "failed to reproduce 'train': failed to run: kill -9 $$, exited with -9",
        ),
        ("something\nERROR: failed to reproduce 'train': missing data 'source': data.csv\n", "failed to reproduce 'train': missing data 'source': data.csv"),
        ("fatal: no such thing\n", "fatal: no such thing"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_line_that_says_why(log: str, line: str) -> None:
    assert trial._reason(log) == line


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": {"b": [1, 2.5]}}', 2.5),
        ('{"a": {"b": [1, NaN]}}', "a.b.1 is nan"),
        ('{"a": {"b": [1, true]}}', "a.b.1 is no number"),
        ('{"a": {"b": [1, "2"]}}', "a.b.1 is no number"),
        ('{"a": {"b": [1]}}', "has no 'a.b.1'"),
        ('{"a": {"b"', "cannot be read"),
        (None, "was not written"),
    ],
)
def test_a_metric_is_a_finite_number_or_what_is_wrong(
    tmp_path: Path, text: str | None, found: float | str
) -> None:
    path = tmp_path / "m.json"
    if text is not None:
        path.write_text(text)
    value = trial.metric(path, "a.b.1")
    assert value.startswith(found) if isinstance(found, str) and isinstance(value, str) else value == found


def test_keys_of_metrics_may_have_dots(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"map@.5": 1, "val.loss": {"a.b": [2]}, "val": {"loss": {"c": 3}}}')
    for key, value in {"map@.5": 1, "val.loss.a.b.0": 2, "val.loss.c": 3}.items():
        assert trial.metric(tmp_path / "m.json", key) == value
    assert trial.metric(tmp_path / "m.json", "val.loss.b") == "has no 'val.loss.b'"


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff" * (3 << 20) + b"\nlast")
    text = trial._text(tmp_path / "log")
    assert len(text) == 1 << 20 and text.endswith("\nlast")
    assert trial._text(tmp_path / "none") == ""


def test_metrics_in_yaml_and_toml_are_read(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("a: {b: 1e-3}\n")
    (tmp_path / "m.toml").write_text("[a]\nb = 2\n")
    assert trial.metric(tmp_path / "m.yaml", "a.b") == 1e-3
    assert trial.metric(tmp_path / "m.toml", "a.b") == 2.0


def test_a_curve_is_read_as_it_grows_and_the_baselines_is_not(tmp_path: Path) -> None:
    path = tmp_path / "curve.tsv"
    path.write_text("step\taccuracy\n0\t0.9\n")
    curve = trial._Curve(path)
    assert curve.news() == []
    path.unlink()
    assert curve.news() == []
    path.write_text("step\taccuracy\n0\t0.1\n1\t0.")  # a line that is being written
    assert curve.news() == [(0, 0.1)]
    path.write_text("step\taccuracy\n0\t0.1\n1\t0.25\n2\tnan\n")
    [first, second] = curve.news()
    assert first == (1, 0.25) and second[0] == 2 and math.isnan(second[1])
    assert curve.news() == []


@pytest.mark.parametrize(
    ("cores", "slots", "shares"),
    [
        ({0, 1}, 1, [[0, 1]]),
        ({0, 1}, 2, [[0], [1]]),
        ({2, 3, 5, 7, 8}, 2, [[2, 3], [5, 7, 8]]),
        ({4}, 3, [[4], [4], [4]]),
        ({0, 1}, 3, [[0], [1], [0]]),
    ],
)
def test_cores_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], slots: int, shares: list[list[int]]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    with open(os.devnull) as held:
        assert [trial._share((number, held), slots) for number in range(slots)] == shares


def test_places_on_a_machine_are_taken_and_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trial.tempfile, "gettempdir", lambda: str(tmp_path))
    first, second = trial._take_place(), trial._take_place()
    assert (first[0], second[0]) == (0, 1)
    first[1].close()
    third = trial._take_place()
    assert third[0] == 0
    for place in (second, third):
        place[1].close()


def test_a_worker_that_does_not_see_the_folder_says_what_to_do(tmp_path: Path) -> None:
    """As on another machine, where the hub's path leads nowhere."""
    far = SimpleNamespace(local_directory=str(tmp_path), address="tcp://10.0.0.2:4000", nanny=None)
    job = trial.Job(
        number=0, attempt=0, hub=Hub("/nowhere/hub.git", "s-1"), subfolder=".", author={}, cache="/nowhere/cache",
        name="s-0", experiment="refs/exps/00/1/s-0", overrides=[], target=None, metrics="m.json", key="m", curve=None,
        topic="t",
    )  # fmt: skip
    with pytest.raises(trial.Unfit) as caught:
        trial._Slot(far, 0).run(job, lambda: True)
    line = "does not see /nowhere/hub.git; machines that share no folder need --hub"
    assert caught.value.args == ("tcp://10.0.0.2:4000", line)
