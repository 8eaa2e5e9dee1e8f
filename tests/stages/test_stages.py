"""The stage scripts as scripts: which copy of the code they run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("fetch", "preprocess", "batch", "train", "evaluate", "plot", "predict")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_the_code_beside_it_whichever_copy_is_installed(script, tmp_path):
    """A queued experiment works in a copy of the project, while the workspace is what is installed."""
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    shutil.copytree(ROOT / "mnistcore", tmp_path / "mnistcore")
    (tmp_path / "mnistcore/reproducible.py").write_text("raise SystemExit('the copy')\n")
    finished = subprocess.run(
        [sys.executable, str(tmp_path / f"stages/{script}.py"), "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.stderr.strip() == "the copy"
