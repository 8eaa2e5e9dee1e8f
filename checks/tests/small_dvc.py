"""Small DVC projects for the tests of dvc-checks: files from a dict, Git and DVC for real, nothing shared.

DVC runs in this process, because starting it costs a second.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from dvc.repo import Repo

from dvc_checks.__main__ import main


class Project:
    """A Git repository with a DVC project in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.exists():
            return  # a clone
        root.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    autostage = false\n")
        (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (root / ".gitignore").write_text("__pycache__/\n")
        (root / ".dvcignore").write_text("__pycache__\n")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    def write(self, files: dict[str, str]) -> "Project":
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new))

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def commit(self, message: str = "a change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def repro(self, *targets: str) -> list[str]:
        """Run `dvc repro` in this process and return what it ran; commands find the Python that runs the tests."""
        before = os.getcwd()
        os.chdir(self.root)  # as DVC's command line would have it
        try:
            with Repo(str(self.root)) as repo:
                return [stage.addressing for stage in repo.reproduce(targets=list(targets) or None)]
        finally:
            os.chdir(before)

    def push(self) -> None:
        with Repo(str(self.root)) as repo:
            repo.push()

    def check(self, *arguments: str) -> Result:
        """Run `dvc-checks` on the project."""
        return run_checks("-C", str(self.root), *arguments)


def run_checks(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def isolate(monkeypatch: Any, folder: Path) -> None:
    """Keep DVC's and Git's own files, and the settings of whoever runs the tests, out of the way."""
    for name in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE", "GLOBAL_CACHE"):
        monkeypatch.setenv(f"DVC_{name}_DIR", str(folder / name))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
