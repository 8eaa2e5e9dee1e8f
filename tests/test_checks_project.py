"""The checks on this project itself: its lists of code are exact, and its stages read what they declare."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dvc_project import Project

from dvc_checks.__main__ import main

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")]


def run_checks(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.fixture
def finished(prepared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The digits run, with the environment that keeps its DVC to itself."""
    for name, value in prepared.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHELL", "/bin/sh")
    return prepared


def test_every_stage_lists_exactly_the_code_it_imports() -> None:
    found = run_checks("-C", str(ROOT), "deps")
    assert found.exit_code == 0, found.output
    assert "only a run can tell" not in found.output


def test_every_leaf_reruns_its_own_stage() -> None:
    found = run_checks("-C", str(ROOT), "effects", "--json")
    assert found.exit_code == 0, found.output
    for effect in json.loads(found.output)["effects"]:
        if effect["file"] == "params.yaml":
            assert effect["direct"] == [effect["key"].partition(".")[0]], effect


def test_a_run_of_the_small_project_is_locked_and_reads_what_it_declares(finished: Project) -> None:
    directory = str(finished.path)
    assert run_checks("-C", directory, "lock").exit_code == 0
    found = run_checks("-C", directory, "effects", "--run")
    assert found.exit_code == 0, found.output
    assert "6 stages, 6 of them run and watched" in found.output


@pytest.mark.slow
def test_the_small_project_reproduces_and_a_changed_seed_does_not(finished: Project, tmp_path: Path) -> None:
    copy = finished.copy_to(tmp_path / "project")
    found = run_checks("-C", str(copy.path), "reproduce")
    assert found.exit_code == 0, found.output
    copy.change("batch.seed", 1)
    copy.commit("Another seed, and a lock that is not true for it")
    found = run_checks("-C", str(copy.path), "lock", "HEAD")
    assert found.exit_code == 1
    assert "parameter batch differs: seed was 0 when the stage ran, is 1 now" in found.output
    found = run_checks("-C", str(copy.path), "reproduce")
    assert found.exit_code == 1
    assert "batch: data/batches (its inputs were the same)" in found.output
