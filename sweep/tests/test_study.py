"""Proposals are functions of seed and number; a journal survives what a kill does to it."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dvc_sweep.hub import Outcome
from dvc_sweep.space import Choices, Objective, Pruning, Range, Sweep
from dvc_sweep.study import Study

SPACE = {"rate": Range(0.01, 1.0, log=True), "units": Range(8, 64), "kind": Choices((None, "a", [1, 2]))}


def sweep(sampler: str = "random", **options: Any) -> Sweep:
    return Sweep(Objective("m.json", "m", "minimize"), SPACE, {"fixed": 1}, sampler=sampler, **options)


def run(
    path: Path, one: Sweep, trials: int, at_a_time: int = 1, afresh: bool = False
) -> list[dict[str, Any]]:
    """Ask and tell, several at a time, in a process of their own for each if `afresh`."""
    study = Study(path, "s", one, writing=True)
    asked = []
    while len(study.trials) < trials:
        if afresh:
            study = Study(path, "s", one, writing=True)
        asked.append(study.ask())
        if len(asked) == at_a_time:
            for trial in asked:
                study.tell(trial, Outcome(trial.number, "complete", trial.params["rate"]))
            asked = []
    return [study.values(trial) for trial in study.trials]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sweep_that_is_interrupted_proposes_what_one_in_peace_proposes(
    tmp_path: Path, sampler: str
) -> None:
    in_peace = run(tmp_path / "a", sweep(sampler), 20)
    assert run(tmp_path / "b", sweep(sampler), 20, afresh=True) == in_peace
    assert run(tmp_path / "c", sweep(sampler, seed=1), 20) != in_peace
    assert len({str(one) for one in in_peace}) == 20
    assert {str(one["kind"]) for one in in_peace} == {"None", "a", "[1, 2]"}
    assert all(one["fixed"] == 1 and 0.01 <= one["rate"] <= 1 and 8 <= one["units"] <= 64 for one in in_peace)


def test_random_proposals_do_not_depend_on_how_many_run_at_a_time(tmp_path: Path) -> None:
    assert run(tmp_path / "a", sweep(), 12) == run(tmp_path / "b", sweep(), 12, at_a_time=3)


def test_tpe_finds_better_than_random(tmp_path: Path) -> None:
    best = {
        name: min(one["rate"] for one in run(tmp_path / name, sweep(name), 40)[20:])
        for name in ("tpe", "random")
    }
    assert best["tpe"] < best["random"]


def test_a_grid_is_proposed_in_its_order_and_has_an_end(tmp_path: Path) -> None:
    one = Sweep(
        Objective("m", "m", "minimize"),
        {"a": Range(0.1, 0.3, step=0.1), "b": Choices(("x", [1]))},
        {},
        sampler="grid",
    )
    study = Study(tmp_path / "j", "s", one, writing=True)
    found = [tuple(study.values(study.ask()).values()) for _ in range(study.largest or 0)]
    assert found == [(a, b) for a in (0.1, 0.2, 0.3) for b in ("x", [1])]


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_kill_at_any_byte_of_the_journal_loses_no_proposal(tmp_path: Path, sampler: str) -> None:
    """Cut anywhere, the journal gives the same trials again as soon as the sweep goes on."""
    one = Sweep(
        Objective("m", "m", "minimize"), {"a": Choices((1, 2, 3)), "b": Choices((4, 5))}, {}, sampler=sampler
    )
    whole = tmp_path / "whole"
    study = Study(whole, "s", one, writing=True)
    for _ in range(3):
        trial = study.ask()
        study.tell(trial, Outcome(trial.number, "complete", 1.0, seconds=2.0, worker="w"))
    wanted = [trial.params for trial in study.trials]
    content = whole.read_bytes()
    for end in range(content.index(b"\n") + 1, len(content), 37):
        cut = tmp_path / f"cut-{end}"
        cut.write_bytes(content[:end])
        (tmp_path / f"{cut.name}.lock").symlink_to(cut)  # as the writer that was killed may have left it
        study = Study(cut, "s", one, writing=True)
        for trial in study.running():
            study.tell(trial, Outcome(trial.number, "complete", 1.0))
        while len(study.trials) < 3:
            trial = study.ask()
            study.tell(trial, Outcome(trial.number, "complete", 1.0))
        again = [trial.params for trial in study.trials]
        if sampler == "grid":
            assert again == wanted
        assert [one.state for one in study.trials] == [TrialState.COMPLETE] * 3
        assert all(len(params) == 2 for params in again)


@pytest.mark.parametrize(
    ("pruner", "options"),
    [("median", {"startup_trials": 3, "warmup_steps": 1}), ("hyperband", {"max_resource": 9})],
)
def test_a_hopeless_curve_is_recognised(tmp_path: Path, pruner: str, options: dict[str, Any]) -> None:
    study = Study(tmp_path / "j", "s", sweep(pruning=Pruning("c", pruner, options)), writing=True)
    ends = []
    for number in range(12):
        trial = study.ask()
        level = 10.0 if number in (6, 9) else 1.0
        hopeless = next((step for step in range(9) if study.report(trial, step, level - step / 10)), None)
        ends.append(hopeless)
        if hopeless is None:
            study.tell(trial, Outcome(number, "complete", level))
        else:
            study.prune(trial, "pruned")
    if pruner == "median":
        assert [number for number, end in enumerate(ends) if end is not None] == [6, 9]
        assert ends[6] == 1  # the first step after the warm-up
    else:
        assert ends[6] is not None or ends[9] is not None
    assert not study.report(study.ask(), 0, 1.0)


def test_a_step_told_twice_counts_once(tmp_path: Path) -> None:
    study = Study(tmp_path / "j", "s", sweep(pruning=Pruning("c", "median", {})), writing=True)
    trial = study.ask()
    for value in (1.0, 2.0):
        assert not study.report(trial, 0, value)
    assert study.trials[0].intermediate_values == {0: 1.0}


def test_reading_a_study_writes_nothing(tmp_path: Path) -> None:
    run(tmp_path / "j", sweep(), 3)
    before = (tmp_path / "j").read_bytes()
    assert Study(tmp_path / "j", "s", sweep()).best() is not None
    assert (tmp_path / "j").read_bytes() == before
    assert isinstance(Study(tmp_path / "j", "s", sweep()).study, optuna.Study)


def test_of_a_trial_that_a_kill_cut_short_what_there_is_is_shown(tmp_path: Path) -> None:
    study = Study(tmp_path / "journal", "s", sweep(), writing=True)
    study._study.ask()
    assert study.values(study.trials[0]) == {"fixed": 1}
