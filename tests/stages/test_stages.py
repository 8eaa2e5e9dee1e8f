"""The stage scripts as scripts: which copy of the code they run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import paths
from stages.parameters import STAGES

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (*(f"stages/{stage}.py" for stage in STAGES), "commands/predict.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_the_code_beside_it_whichever_copy_is_installed(script, tmp_path):
    """A queued experiment works in a copy of the project, while the workspace is what is installed."""
    for package in ("stages", "commands", "mnistcore"):
        shutil.copytree(ROOT / package, tmp_path / package)
    (tmp_path / "mnistcore/reproducible.py").write_text("raise SystemExit('the copy')\n")
    finished = subprocess.run(
        [sys.executable, str(tmp_path / script), "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.stderr.strip() == "the copy"


def test_a_script_is_short_and_reads_computes_and_writes():
    for script in (ROOT / "stages").glob("*.py"):
        lines = script.read_text().splitlines()
        assert len(lines) <= 150, f"{script.name}: {len(lines)} lines"


def test_the_pipeline_says_the_same_paths_as_the_stages():
    """What dvc.yaml lists as an output, and what a stage reads of another one, stands in stages/paths.py."""
    listed = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    outputs = {
        next(iter(out)) if isinstance(out, dict) else out
        for stage in listed
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, ())
    }
    ours = {str(path) for path in vars(paths).values() if isinstance(path, Path)}
    assert outputs == ours - {"params.yaml", "checkpoints"}
