"""`dvc repro` in a process of its own, to be ended at will; what it has made, and what it has left behind."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

from dvc_project import Project
from ruamel.yaml import YAML

LEFTOVERS = ("**/*.partial", "**/.npm-*", "checkpoints", "**/*.tmp", "**/*.temp", "**/*.unlocked")

yaml = YAML(typ="safe", pure=True)


def hashes(project: Project) -> dict[str, str]:
    """What the pipeline has made, by name, and what DVC has recorded of it."""
    made = [path for folder in ("data", "models", "reports") for path in project.file(folder).rglob("*")]
    found = {
        str(path.relative_to(project.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in made
        if path.is_file()
    }
    lock = yaml.load(project.file("dvc.lock"))["stages"]
    return found | {
        f"dvc.lock: {name}": json.dumps(stage["outs"], sort_keys=True) for name, stage in lock.items()
    }


def leftovers(project: Project) -> list[str]:
    """Temporary files, of the project's stages and of DVC, in the project and in its cache.

    Not those in DVC's cache of runs, of a kilobyte: DVC leaves one when the kill meets it while it writes there,
    and does not look at it again.
    """
    runs = project.file(".dvc/cache/runs")
    found = [
        path
        for pattern in LEFTOVERS
        for path in project.path.glob(pattern)
        if ".git" not in path.parts and runs not in path.parents
    ]
    return [str(path.relative_to(project.path)) for path in found]


def forget(project: Project, stages: tuple[str, ...]) -> None:
    """Make DVC forget that it ran `stages`: it will run them again, and not take their outputs from its cache."""
    shutil.rmtree(project.file(".dvc/cache/runs"), ignore_errors=True)
    lock = yaml.load(project.file("dvc.lock"))
    for stage in stages:
        lock["stages"].pop(stage, None)
    with open(project.file("dvc.lock"), "w", encoding="utf-8") as file:
        yaml.dump(lock, file)


class Repro:
    """`dvc repro` in a process group of its own, to be ended at a chosen moment."""

    def __init__(self, project: Project) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=project.path,
            env=project.environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.printed = ""

    def wait_for(self, stage: str) -> None:
        """Return when DVC says that it runs `stage`."""
        for line in self.process.stdout:
            self.printed += line
            if line.startswith(f"Running stage '{stage}'"):
                return
        raise AssertionError(f"{stage} did not run:\n{self.printed}")

    def end(self, number: int) -> bool:
        """Send the signal to all its processes; False if it had ended before."""
        alive = self.process.poll() is None
        if alive:
            os.killpg(self.process.pid, number)
        self.printed += self.process.communicate(timeout=60)[0]
        return alive and self.process.returncode != 0
