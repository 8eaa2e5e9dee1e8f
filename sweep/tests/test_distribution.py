"""The package as a whole: it stands alone, and its command is there both ways."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dvc_sweep

SOURCES = sorted(Path(dvc_sweep.__file__).parent.glob("*.py"))
# What pyproject.toml names; and NumPy and psutil, which Optuna and Dask require.
OTHERS = {
    "click",
    "configobj",
    "dask",
    "distributed",
    "dvc",
    "jinja2",
    "numpy",
    "optuna",
    "psutil",
    "ruamel",
    "tqdm",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_imports_nothing_but_itself_what_it_names_and_the_standard_library(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module
            found.add(node.module.partition(".")[0])
    assert found - sys.stdlib_module_names <= OTHERS | {"dvc_sweep"}


@pytest.mark.parametrize("command", [["-m", "dvc_sweep"], [str(Path(sys.executable).with_name("dvc-sweep"))]])
def test_the_command_is_there_both_ways(command: list[str]) -> None:
    start = command if command[0] != "-m" else [sys.executable, *command]
    done = subprocess.run([*start, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: dvc-sweep [OPTIONS] COMMAND")
