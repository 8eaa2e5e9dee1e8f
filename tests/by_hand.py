"""A stage, run by hand in a folder with a params.yaml."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


class Workplace:
    """A folder, the current one, with a copy of the project's params.yaml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parameters = YAML(typ="safe").load(ROOT / "params.yaml")
        self.set()

    def set(self, section: str = "", **values) -> None:
        """Change parameters of one section."""
        if section:
            self.parameters[section] |= values
        with open(self.folder / "params.yaml", "w", encoding="utf-8") as file:
            YAML(typ="safe").dump(self.parameters, file)

    def run(self, stage: str, *arguments: str) -> Result:
        """Run a stage in this process."""
        module = __import__(f"stages.{stage}", fromlist=["main"])
        return CliRunner().invoke(module.main, list(arguments), prog_name=stage, catch_exceptions=False)

    def done(self, stage: str, *arguments: str) -> str:
        """Run a stage that ends well; gives its one line."""
        result = self.run(stage, *arguments)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.startswith(f"{stage}: ") and result.stdout.count("\n") == 1
        return result.stdout

    def refused(self, stage: str, *words: str, arguments: tuple[str, ...] = ()) -> str:
        """Run a stage that ends with exit status 2 and one line with all of `words`, and writes nothing."""
        before = self.files()
        result = self.run(stage, *arguments)
        line = result.stderr.splitlines()[-1]
        assert result.exit_code == 2 and result.stdout == ""
        assert line.startswith(f"{stage}: ") and all(word in line for word in words), line
        assert self.files() == before
        return result.stderr

    def files(self) -> dict[str, bytes]:
        """Path and content of every file in the folder."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}

    def start(self, code: str, **options) -> subprocess.Popen:
        """Run Python code in a process of its own, in this folder."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        return subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def peak_megabytes(self, stage: str) -> float:
        """The most memory that a stage had resident at any moment, run in a process of its own."""
        if not Path("/proc/self/status").exists():
            pytest.skip("needs /proc to tell the memory of a process")
        # Not getrusage: what it tells of a new process can be the memory of the one that started it.
        code = f"""
import stages.{stage}
stages.{stage}.main([], prog_name="{stage}", standalone_mode=False)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
        output, errors = self.start(code).communicate(timeout=100)
        assert output, errors
        return int(output.split()[-1]) / 1024
