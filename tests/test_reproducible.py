"""Pinning: what the process computes with does not depend on the shell, and what cannot be pinned is said."""

import json
import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels are pinned on x86-64")


def kernels(code: str = "", **environment: str) -> dict:
    script = (
        f"{code}\nimport mnistcore.reproducible as r, json\n"
        "print(json.dumps({'difference': r.difference(), **r.kernels()}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENBLAS_CORETYPE": "SkylakeX", "NPY_DISABLE_CPU_FEATURES": "X86_V3"},
        {"OPENBLAS_NUM_THREADS": "8", "OMP_NUM_THREADS": "8", "GOTO_NUM_THREADS": "8"},
    ],
)
def test_the_pins_win_over_the_shell(environment):
    found = kernels(**environment)
    assert found["difference"] is None
    assert (found["blas kernel"], found["blas threads"], found["simd"]) == ("Haswell", "1", "X86_V3")


def test_numpy_imported_too_early_is_said():
    assert "imported before" in kernels("import numpy", OPENBLAS_CORETYPE="Nehalem")["difference"]
