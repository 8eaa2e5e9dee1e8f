"""`dvc-checks reproduce`: a deterministic pipeline comes out the same, and one that is not says by how much."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from small_dvc import Project, isolate

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")]

FILES = {
    "lib/__init__.py": "",
    "lib/noise.py": "import os\ndef noise():\n    return int(os.environ.get('NOISE', '0'))\n",
    "make.py": """
        import numpy
        from lib.noise import noise
        values = numpy.arange(12.0).reshape(3, 4)
        values[1, 2] += noise() / 8
        numpy.savez("model.npz", weights=values, bias=numpy.zeros(2))
        """,
    "evaluate.py": """
        import json, pathlib, numpy
        weights = numpy.load("model.npz")["weights"]
        accuracy = 0.9 + (weights.sum() - 66) / 1000
        json.dump({"test": {"accuracy": float(accuracy), "errors": 7}}, open("metrics.json", "w"))
        pathlib.Path("page.html").write_text(f"<p>{accuracy}</p>")
        pathlib.Path("table.csv").write_text(f"id,p\\n1,0.5\\n2,{accuracy:.4f}\\n")
        """,
    "dvc.yaml": """
        stages:
          make:
            cmd: PYTHONPATH=. python make.py
            deps: [lib/__init__.py, lib/noise.py, make.py, rows.csv]
            outs: [model.npz]
          evaluate:
            cmd: python evaluate.py
            deps: [evaluate.py, model.npz]
            metrics:
              - metrics.json: {cache: false}
            outs:
              - page.html: {cache: false}
              - table.csv
        """,
    "rows.csv": "1,2,3\n",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder / "home")
        project = Project(folder / "project")
        project.write({name: textwrap.dedent(text).lstrip() for name, text in FILES.items()})
        from dvc.repo import Repo

        with Repo(str(project.root)) as repo:
            repo.add([str(project.root / "rows.csv")])
        project.repro()
        project.commit()
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    isolate(monkeypatch, tmp_path / "home")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return made


def test_a_deterministic_pipeline_reproduces_and_leaves_nothing_behind(
    project: Project, tmp_path: Path
) -> None:
    before = project.git("status", "--porcelain")
    found = project.check("reproduce")
    commit = project.git("rev-parse", "--short=7", "HEAD")
    assert (found.exit_code, found.output) == (
        0,
        f"reproduce: 4 outputs of 2 stages at {commit} came out with the very hashes in dvc.lock\n",
    )
    assert project.git("status", "--porcelain") == before
    assert not list(tmp_path.glob("dvc-checks-*"))


def test_a_pipeline_that_does_not_repeat_says_where_it_begins_and_by_how_much(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISE", "2")
    found = project.check("reproduce")
    assert found.exit_code == 1
    output = found.output
    assert output.splitlines()[0].startswith("reproduce: 4 of 4 outputs of 2 stages")
    assert "  make: model.npz (its inputs were the same)" in output
    assert "weights: largest difference 0.25, at [1, 2]: 6 became 6.25; 1 of 12 values differ" in output
    assert "bias" not in output
    assert "  evaluate: metrics.json (its inputs differed already)" in output
    assert "test.accuracy 0.9 became 0.90025 (+0.00025)" in output
    assert "column p: 1 value differs, largest difference 0.000" in output
    assert "page.html" in output and "the first difference is in line 1" in output
    assert "environment: nothing recorded" in output and "openblas" in output.lower()


def test_a_tolerance_lets_the_metrics_decide(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE", "2")
    within = project.check("reproduce", "--tolerance", "0.001")
    assert within.exit_code == 0
    assert "differ in their bits; the metrics are within the tolerance" in within.output
    assert project.check("reproduce", "--tolerance", "accuracy=0.0001").exit_code == 1
    assert project.check("reproduce", "--tolerance", "accuracy=x").exit_code == 2


def test_without_the_originals_only_the_hashes_are_known(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert clone.check("reproduce").exit_code == 2  # rows.csv is nowhere to be had
    (clone.root / "rows.csv").write_text(FILES["rows.csv"])
    monkeypatch.setenv("NOISE", "2")
    found = clone.check("reproduce")
    assert found.exit_code == 1
    assert "only its hash is known" in found.output
    assert "test.accuracy 0.9 became 0.90025 (+0.00025)" in found.output  # Git keeps the metrics


def test_a_target_runs_what_it_needs_and_no_more(project: Project) -> None:
    found = project.check("reproduce", "--targets", "make")
    assert found.exit_code == 0
    assert "1 output of 1 stage" in found.output
    assert project.check("reproduce", "--targets", "nothing").exit_code == 2


def test_a_pipeline_that_fails_in_a_clean_clone_says_what_it_said(project: Project, tmp_path: Path) -> None:
    project.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    (clone.root / "rows.csv").write_text(FILES["rows.csv"])
    clone.write({"lib/noise.py": "raise SystemExit('out of luck')\n"})
    clone.commit()
    found = clone.check("reproduce")
    assert found.exit_code == 1
    assert "does not run in a clean clone" in found.output.splitlines()[0]
    assert "out of luck" in found.output


def test_the_recorded_environment_is_compared(
    made: Project, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    (clone.root / "rows.csv").write_text(FILES["rows.csv"])
    found = clone.check("reproduce", "--record")
    assert found.exit_code == 0
    recorded = clone.read("dvc.environment.json")
    assert '"numpy": "' in recorded and "openblas" in recorded.lower() and '"python": "CPython' in recorded
    clone.write({"dvc.environment.json": re.sub(r'"numpy": "[^"]+"', '"numpy": "1.0"', recorded)})
    clone.commit()
    monkeypatch.setenv("NOISE", "2")
    found = clone.check("reproduce", "--targets", "make")
    assert "environment: differs from the recorded one" in found.output
    assert re.search(r"numpy 1\.0 there, 2\.\S+ here", found.output)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_no_files_and_no_processes(
    project: Project, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    project.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    (clone.root / "rows.csv").write_text(FILES["rows.csv"])
    started = tmp_path / "started"
    clone.write(
        {
            "lib/noise.py": f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
        }
    )
    clone.commit()
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc_checks", "-C", str(clone.root), "reproduce"],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        if started.exists() and started.read_text():
            break
        time.sleep(0.1)
    assert list(tmp_path.glob("dvc-checks-*"))
    process.send_signal(number)
    assert process.wait(timeout=90) == status
    assert not list(tmp_path.glob("dvc-checks-*"))
    with pytest.raises(ProcessLookupError):
        for _ in range(50):
            os.kill(int(started.read_text()), 0)
            time.sleep(0.1)
