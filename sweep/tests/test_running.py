"""A sweep from end to end: what DVC then knows, one worker and three, pruning, several machines, the page."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from digits import SWEEP, Cluster, Project, until

from dvc_sweep.__main__ import main

pytestmark = pytest.mark.integration


def test_each_trial_is_an_experiment_that_dvc_knows(swept: tuple[Project, str]) -> None:
    project, printed = swept
    baseline = project.git("rev-parse", "HEAD")
    assert project.git("status", "--porcelain") == ""  # the workspace is left alone

    assert re.search(r"grid: 6 trials: 4 complete, 2 failed, in \d+\.\d s", printed)
    for number in (2, 3):
        assert f"grid-{number} failed: train: params.yaml: train.learning_rate: should be above 0" in printed
    [best] = re.findall(r"best: dvc exp apply (grid-\d)", printed)

    shown = json.loads(project.dvc("exp", "show", "--json"))
    [head] = [one for one in shown if one["rev"] == baseline]
    found = {one["name"]: one["revs"][0]["data"] for one in head["experiments"]}
    assert sorted(found) == ["grid-0", "grid-1", "grid-4", "grid-5"]
    values = {
        name: tuple(
            data["params"]["params.yaml"]["data"]["train"][key] for key in ("learning_rate", "l2", "epochs")
        )
        for name, data in found.items()
    }
    assert values == {
        "grid-0": (0.01, 0.0001, 2), "grid-1": (0.01, 0.01, 2), "grid-4": (0.5, 0.0001, 2), "grid-5": (0.5, 0.01, 2),
    }  # fmt: skip
    accuracy = {
        name: data["metrics"]["metrics.json"]["data"]["held_out"]["accuracy"] for name, data in found.items()
    }
    assert accuracy[best] == max(accuracy.values())
    rows = [
        line.split() for line in printed.splitlines() if line.startswith("grid-") and "failed:" not in line
    ]
    assert rows[0][:2] == [best, f"{accuracy[best]:.6g}"]

    difference = project.dvc("exp", "diff", "grid-0", "grid-4", "--json")
    assert json.loads(difference)["params"]["params.yaml"]["train.learning_rate"]["new"] == 0.5
    project.dvc("exp", "branch", "grid-0", "kept")
    assert project.git("rev-parse", "kept") == project.experiments()["grid-0"]

    (project.root / "runs.txt").unlink(missing_ok=True)
    project.dvc("exp", "apply", best)
    lock = (project.root / "dvc.lock").read_text()
    again = project.dvc("repro")
    assert again.count("didn't change, skipping") == 3 and "Running" not in again
    assert not (project.root / "runs.txt").exists()
    assert (
        (project.root / "dvc.lock").read_text()
        == lock
        == project.git("show", f"{project.experiments()[best]}:dvc.lock") + "\n"
    )

    with contextlib.chdir(project.root):
        assert (
            "grid: done, 6 of 6 trials: 4 complete, 2 failed" in CliRunner().invoke(main, ["status"]).stdout
        )
        log = CliRunner().invoke(main, ["show", "grid", "2"]).stdout
    assert "train.learning_rate: -1" in log and "failed to reproduce 'train'" in log
    _check_page((project.root / "grid.html").read_text(), complete=4)


def _check_page(page: str, complete: int) -> None:
    """Self-contained, with its four pictures, each of which has every complete trial."""
    assert not re.search(r"(src|href)=|@import|url\(|https?://(?!www\.w3\.org)", page)
    assert page.count("<circle") == complete * 3  # the history, and a slice for each of two parameters
    assert page.count("<path data-trial") == complete
    assert "<h2>Importance</h2>" in page and "nan" not in page.lower()


@pytest.mark.slow
def test_one_worker_and_three_give_the_same_set_of_experiments(project: Project) -> None:
    seen = {}
    for sampler, options in (("grid", ()), ("random", ("--trials", "6"))):
        text = SWEEP.replace("grid", sampler)
        if sampler == "random":
            text = text.replace("[0.01, 0.1, 0.5]", "{low: 0.01, high: 1.0, log: true}")
        project.write("grid.yaml", text)
        project.commit()
        for workers in ("1", "3"):
            shutil.rmtree(project.root / ".dvc/cache/runs")  # each computes for itself
            shutil.rmtree(project.root / ".dvc/tmp/sweeps", ignore_errors=True)
            project.sweep("run", "grid.yaml", "--name", "same", "--workers", workers, *options)
            seen[sampler, workers] = project.hashes()
            assert len(seen[sampler, workers]) == 6
            project.run("dvc", "exp", "remove", "-A", "-q")
        assert seen[sampler, "1"] == seen[sampler, "3"]
    assert seen["grid", "1"] != seen["random", "1"]


@pytest.mark.slow
def test_a_known_result_costs_no_run(project: Project, machines: Cluster) -> None:
    """A trial that meets DVC's run cache trains nothing; and cores are shared out between two workers."""
    project.write("grid.yaml", SWEEP.replace("[0.0001, 0.01]", "[0.0001]"))
    project.commit()
    for name in ("one", "two"):
        machines.worker(name, nanny=name == "two")
    until(lambda: _log(machines).count("Register worker") >= 2)
    project.sweep("run", "grid.yaml", "--scheduler", machines.address)
    first = [*machines.trials("one"), *machines.trials("two")]
    assert sorted(first) == ["grid-0", "grid-1", "grid-2"]
    runs = [
        json.loads(line)
        for file in machines.folder.rglob("runs.txt")
        for line in file.read_text().splitlines()
    ]
    printed = project.sweep("run", "grid.yaml", "--name", "again", "--scheduler", machines.address)
    assert "again: 3 trials: 3 complete" in printed
    assert [*machines.trials("one"), *machines.trials("two")] == []
    hashes = project.hashes()
    for number in range(3):
        assert hashes[f"again-{number}"] == hashes[f"grid-{number}"]
    cores = sorted(os.sched_getaffinity(0))
    assert {tuple(one[1]) for one in runs} <= {
        tuple(cores[: len(cores) // 2]),
        tuple(cores[len(cores) // 2 :]),
    }
    assert {one[2] for one in runs} == {None}  # Dask's own OMP_NUM_THREADS=1 is not the trial's


def _log(machines: Cluster) -> str:
    return (machines.folder / "scheduler.log").read_text()


PRUNED = """\
objective: {file: metrics.json, key: held_out.accuracy, direction: maximize}
sampler: grid
space: {train.learning_rate: [0.5, 0.2, 0.1, 0.00001, 0.00002]}
constants: {train.epochs: 8, train.pause: 1.0}
pruning: {curve: curve.tsv, startup_trials: 3, warmup_steps: 1}
"""


@pytest.mark.slow
def test_a_hopeless_trial_is_ended_early(project: Project) -> None:
    project.write("pruned.yaml", PRUNED)
    project.commit()
    printed = project.sweep("run", "pruned.yaml", "--workers", "1")
    assert "pruned: 5 trials: 3 complete, 2 pruned" in printed
    assert re.search(r"pruned-3 +pruned +1e-05 +pruned at step [1-6], at 0\.\d+", printed)
    assert sorted(project.experiments()) == ["pruned-0", "pruned-1", "pruned-2"]
    assert "2 pruned" in (project.root / "pruned.html").read_text()


@pytest.mark.slow
def test_machines_that_share_no_folder_use_hub_and_remote(
    project: Project, machines: Cluster, tmp_path: Path
) -> None:
    """The workers know a Git URL and a DVC remote, and nothing of the project's folder."""
    project.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    project.commit()
    project.run("dvc", "push", "--quiet")
    hub = tmp_path / "hub.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(hub)], check=True)
    machines.worker("one")
    machines.worker("two")
    printed = project.sweep("run", "grid.yaml", "--scheduler", machines.address, "--hub", f"file://{hub}")
    assert "6 trials: 6 complete" in printed
    [commands, best] = re.findall(r"best: (.* && dvc exp apply (grid-\d))", printed)[0]
    model = project.hashes()[best]["stages"]["train"]["outs"][1]["md5"]
    cached = project.root / ".dvc/cache/files/md5" / model[:2] / model[2:]
    assert not cached.exists()
    for command in commands.split(" && "):
        project.run(*command.split())
    assert cached.exists()
    again = project.run("dvc", "repro").stdout
    assert again.count("didn't change, skipping") == 3


@pytest.mark.slow
def test_a_project_in_a_subfolder_is_swept(project: Project, tmp_path: Path) -> None:
    """Not at the root of its Git repository, with a target, and TPE."""
    outer = Project(tmp_path / "outer", tmp_path / "home")
    outer.root.mkdir()
    outer.git("init", "--quiet", "--initial-branch=main")
    inner = Project(outer.root / "inner", tmp_path / "home")
    shutil.copytree(project.root, inner.root, ignore=shutil.ignore_patterns(".git", ".dvc"))
    inner.run("dvc", "init", "--subdir", "--quiet")
    inner.write("sweep.yaml", SWEEP.replace("grid", "tpe") + "target: train\n")
    inner.write(
        "sweep.yaml", (inner.root / "sweep.yaml").read_text().replace("target: train", "target: evaluate")
    )
    inner.commit()
    printed = inner.sweep("run", "sweep.yaml", "--trials", "2", "--workers", "1")
    assert "sweep: 2 trials: 2 complete" in printed
    assert sorted(inner.experiments()) == ["sweep-0", "sweep-1"]
    inner.run("dvc", "exp", "apply", "sweep-1")
    assert "Running" not in inner.run("dvc", "repro").stdout
