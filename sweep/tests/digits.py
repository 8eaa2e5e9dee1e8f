"""A small DVC project on the digits, and what the tests do with it: run `dvc` and `dvc-sweep` for real, and a cluster.

Three stages in one script: split the digits, train a softmax regression with a curve as DVCLive writes it, evaluate.
Everything is kept to the project's own folder, so that tests can run side by side.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from dvc_sweep.runner import Runner

yaml = YAML(typ="safe", pure=True)

PIPELINE = """\
stages:
  split:
    cmd: python stage.py split
    deps: [stage.py, digits.csv]
    params: [split]
    outs: [data.npz]
  train:
    cmd: python stage.py train
    deps: [stage.py, data.npz]
    params: [train]
    outs: [model.npy]
    plots: [curve.tsv: {cache: false}]  # not among the outs: of a stage with such an out, DVC keeps no run
  evaluate:
    cmd: python stage.py evaluate
    deps: [stage.py, data.npz, model.npy]
    metrics: [metrics.json: {cache: false}]
"""

PARAMETERS = """\
# every knob
split:
  held_out: 400   # of 1797
train:
  learning_rate: 0.1
  l2: 0.0001
  epochs: 3
  pause: 0.0      # seconds per epoch
  note: null
"""

STAGE = """\
import json, os, sys, time
import numpy as np
from ruamel.yaml import YAML

parameters = YAML(typ="safe", pure=True).load(open("params.yaml"))


def loss(weights, images, labels):
    scores = images @ weights
    scores -= scores.max(axis=1, keepdims=True)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return p, -np.log(p[np.arange(len(labels)), labels] + 1e-12).mean()


def split():
    table = np.loadtxt("digits.csv", delimiter=",", dtype=np.float64)
    n = parameters["split"]["held_out"]
    images, labels = table[:, :-1] / 16, table[:, -1].astype(int)
    np.savez("data.npz", a=images[n:], b=labels[n:], c=images[:n], d=labels[:n])


def train():
    own = parameters["train"]
    if own["learning_rate"] <= 0:
        sys.exit("train: params.yaml: train.learning_rate: should be above 0")
    with open("runs.txt", "a") as runs:  # not in Git: tells which trials ran here, and how often
        runs.write(json.dumps([os.environ.get("DVC_EXP_NAME"), sorted(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS")]) + "\\n")
    data = np.load("data.npz")
    weights = np.zeros((64, 10))
    with open("curve.tsv", "w") as curve:
        curve.write("step\\taccuracy\\n")
        for epoch in range(own["epochs"]):
            for start in range(0, len(data["a"]), 50):
                images, labels = data["a"][start:start + 50], data["b"][start:start + 50]
                p, _ = loss(weights, images, labels)
                p[np.arange(len(labels)), labels] -= 1
                weights -= own["learning_rate"] * (images.T @ p / len(labels) + own["l2"] * weights)
            if not np.isfinite(weights).all():
                sys.exit(f"train: diverged in epoch {epoch}")
            accuracy = (np.argmax(data["c"] @ weights, axis=1) == data["d"]).mean()
            curve.write(f"{epoch}\\t{accuracy}\\n")
            curve.flush()
            time.sleep(own["pause"])
    np.save("model.npy", weights)


def evaluate():
    data, weights = np.load("data.npz"), np.load("model.npy")
    _, value = loss(weights, data["c"], data["d"])
    accuracy = (np.argmax(data["c"] @ weights, axis=1) == data["d"]).mean()
    json.dump({"held_out": {"loss": value, "accuracy": accuracy}}, open("metrics.json", "w"))


globals()[sys.argv[1]]()
"""

SWEEP = """\
objective: {file: metrics.json, key: held_out.accuracy, direction: maximize}
sampler: grid
space:
  train.learning_rate: [0.01, 0.1, 0.5]
  train.l2: [0.0001, 0.01]
constants: {train.epochs: 2}
"""


class Project:
    """A Git repository with the pipeline, and an environment of its own."""

    _runner: Runner | None = None

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.environment = {
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("DVC_", "GIT_", "DASK_"))
            },
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(home),
            "TMPDIR": str(home),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(home / "site-cache"),
            "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "tests",
            "GIT_AUTHOR_EMAIL": "tests@localhost",
            "GIT_COMMITTER_NAME": "tests",
            "GIT_COMMITTER_EMAIL": "tests@localhost",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def run(
        self, *command: str, status: int = 0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=cwd or self.root, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a session of its own."""
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip

    def dvc(self, *arguments: str, status: int = 0) -> str:
        """Run `dvc` without the second that it takes to be imported; what it prints, on either stream."""
        if Project._runner is None:
            Project._runner = Runner(self.environment)
        log = self.root.parent / "dvc.log"
        Project._runner.start(list(arguments), self.root, log, [])
        ended = Project._runner.status(120)
        assert ended == status, f"{arguments}: {ended}\n{log.read_text()}"
        return log.read_text()

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout.strip()

    def sweep(self, *arguments: str, status: int = 0) -> str:
        """Run `dvc-sweep`; what it prints, on either stream."""
        done = self.run("dvc-sweep", *arguments, status=status)
        return done.stdout + done.stderr

    def write(self, name: str, text: str) -> Path:
        (self.root / name).write_text(text)
        return self.root / name

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.git("rev-parse", "HEAD")

    # What a sweep has left

    def experiments(self) -> dict[str, str]:
        """The commit of each experiment, by name."""
        lines = self.git("for-each-ref", "--format=%(refname:lstrip=4) %(objectname)", "refs/exps/*/*/*")
        return dict(line.split() for line in lines.splitlines())

    def hashes(self) -> dict[str, Any]:
        """What dvc.lock of each experiment says: hashes of all outputs, values of all parameters."""
        return {
            name: yaml.load(self.git("show", f"{commit}:dvc.lock"))
            for name, commit in self.experiments().items()
        }

    def outputs(self, *keys: str) -> dict[tuple[Any, ...], dict[str, str]]:
        """The hashes of what the experiments trained and measured, by the values of these keys of `train`."""
        found = {}
        for lock in self.hashes().values():
            stages = lock["stages"]
            outs = [*stages["train"]["outs"], *stages["evaluate"]["outs"]]
            train = stages["train"]["params"]["params.yaml"]["train"]
            found[tuple(train[key] for key in keys)] = {out["path"]: out["md5"] for out in outs}
        return found

    def journal(self, name: str) -> list[dict[str, Any]]:
        text = (self.root / ".dvc/tmp/sweeps" / name / "journal.log").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def ended(self, name: str) -> int:
        """How many trials of a running sweep have ended (operation 6 of the journal sets a state)."""
        with_state = [one for one in self.journal(name) if one["op_code"] == 6]
        return sum(one["state"] in (1, 2, 3) for one in with_state)


def make(root: Path, home: Path) -> Project:
    """The project, committed and run once."""
    import numpy as np
    from sklearn.datasets import load_digits

    home.mkdir(parents=True)
    root.mkdir(parents=True)
    project = Project(root, home)
    project.git("init", "--quiet", "--initial-branch=main")
    project.dvc("init", "--quiet")
    images, labels = load_digits(return_X_y=True)
    np.savetxt(root / "digits.csv", np.c_[images, labels], fmt="%d", delimiter=",")
    for name, text in {"dvc.yaml": PIPELINE, "params.yaml": PARAMETERS, "stage.py": STAGE}.items():
        project.write(name, text)
    project.write(".gitignore", "/data.npz\n/model.npy\n/runs.txt\n*.html\n__pycache__/\n")
    project.write("grid.yaml", SWEEP)
    project.dvc("repro", "--quiet")
    project.commit()
    return project


def until(happened: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something to happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if happened():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {seconds} s")


def a_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Cluster:
    """A scheduler and workers as processes of their own on loopback, as a user starts them."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.folder = project, folder
        self.port = a_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[str]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.scheduler = self.start_scheduler()

    def _start(self, name: str, *command: str) -> subprocess.Popen[str]:
        log = open(self.folder / f"{name}.log", "a")  # noqa: SIM115  (the process has it)
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.project.environment, text=True, start_new_session=True,
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def start_scheduler(self) -> subprocess.Popen[str]:
        return self._start(
            "scheduler", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard",
            "--no-show",
        )  # fmt: skip

    def worker(self, name: str, folder: Path | None = None, nanny: bool = False) -> subprocess.Popen[str]:
        place = folder or self.folder / name
        place.mkdir(exist_ok=True)
        return self._start(
            name, "dask", "worker", self.address, "--name", name, "--nthreads", "1", "--no-dashboard",
            "--nanny" if nanny else "--no-nanny", "--local-directory", str(place), "--host", "127.0.0.1",
        )  # fmt: skip

    def trials(self, name: str) -> list[str]:
        """Names of the experiments whose training has begun on a worker, once for each time."""
        found = []
        for file in (self.folder / name).rglob("runs.txt"):
            found += [json.loads(line)[0] for line in file.read_text().splitlines()]
        return found

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def cluster(project: Project, folder: Path) -> Iterator[Cluster]:
    one = Cluster(project, folder)
    try:
        yield one
    finally:
        one.close()
