"""A small copy of this project that has been run once by the real DVC, for tests to take copies of.

The digits, a tiny network and two epochs: the whole pipeline in seconds. Each
project keeps DVC's caches and configuration to itself, so that tests can run
side by side and leave nothing in the home of whoever runs them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "stages",
    "commands",
    "mnistcore",
    "dvc.yaml",
    "libraries.yaml",
    "params.yaml",
    ".dvc",
    ".dvcignore",
    ".gitignore",
    "data",
    "models",
)

SMALL = {
    "fetch.dataset": "digits",
    "fetch.source": None,
    "preprocess.divisor": 16,
    "preprocess.examples": 600,
    "batch.batch_size": 32,
    "batch.validation_examples": 100,
    "train": {
        "seeds": [0],
        "precision": "float32",
        "layers": [{"units": 16, "activation": "relu"}, {"units": 10, "activation": "softmax"}],
        "loss": "cross-entropy",
        "epochs": 2,
        "optimizer": {"name": "sgd", "learning_rate": 0.2},
    },
    "plot.mistakes": 6,
    "plot.dpi": 50,
}

yaml = YAML()


class Project:
    """A folder with Git, DVC and the pipeline, and an environment of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        state = path.parent / f".{path.name}-state"
        self.environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(state / "home"),
            "PYTHONPATH": str(path),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(state / "site-cache"),
            "DVC_GLOBAL_CONFIG_DIR": str(state / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(state / "system"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "tests",
            "GIT_AUTHOR_EMAIL": "tests@localhost",
            "GIT_COMMITTER_NAME": "tests",
            "GIT_COMMITTER_EMAIL": "tests@localhost",
            "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib")),
        }

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        """Run a command here and return what it prints; its exit status has to be `status`."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == status, f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def dvc(self, *arguments: str, status: int = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, status=status)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def change(self, where: str, value: object) -> None:
        """Set one leaf of params.yaml, named as `section.key` or `section.key.0.key`, as an editor would."""
        *parents, last = where.split(".")
        document = yaml.load(self.file("params.yaml"))
        at = document
        for key in parents:
            at = at[int(key) if isinstance(at, list) else key]
        at[int(last) if isinstance(at, list) else last] = value
        with open(self.file("params.yaml"), "w", encoding="utf-8") as file:
            yaml.dump(document, file)

    def file(self, name: str) -> Path:
        return self.path / name

    def copy_to(self, path: Path) -> "Project":
        """A copy with its cache and history, but its own environment."""
        shutil.copytree(self.path, path, symlinks=True)
        return Project(path)

    def inside(self, folder: str) -> "Project":
        """The same, seen from one of its folders."""
        project = Project(self.path / folder)
        project.environment = self.environment
        return project

    def clone_to(self, path: Path) -> "Project":
        """What `git clone` gives: no data, no cache."""
        self.git("clone", "--quiet", str(self.path), str(path))
        return Project(path)


@contextmanager
def dvc_within(project: Project) -> Iterator[Repo]:
    """DVC in this process, in the folder of `project`: starting it anew each time would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.environment.items():
            patch.setenv(name, value)
        patch.chdir(project.path)
        with Repo() as repo:
            yield repo


def ran(output: str) -> list[str]:
    """The stages that `dvc repro` says it ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def prepare(path: Path) -> None:
    """Make the project at `path`, run it once, and commit all of it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *PARTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    project = Project(path)
    for where, value in SMALL.items():
        project.change(where, value)
    project.git("init", "--quiet", "--initial-branch=main")
    project.commit("The pipeline")
    project.dvc("repro")
    project.commit("Its results")
