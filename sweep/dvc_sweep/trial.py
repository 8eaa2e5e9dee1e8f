"""A trial on a worker: what Dask calls, and all that happens where it runs."""

import contextlib
import csv
import errno
import fcntl
import math
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO

import dask.config
import psutil
from distributed import Worker, get_worker

from dvc_sweep.clone import Clone
from dvc_sweep.git import GitError
from dvc_sweep.hub import Hub, Outcome
from dvc_sweep.runner import Runner

POLL = 0.2  # seconds between two looks at a running trial
LEAST_SPACE = 64 * 1024  # bytes; a disk with less, for so many seconds, is full
FULL_SECONDS = 5.0
LONGEST_TEXT = 1 << 20  # bytes of a log that are looked at
LONGEST_LOG = 20_000  # characters of a failed trial's log that are kept


class Unfit(Exception):
    """This worker cannot run trials; others may. Its arguments: the worker's address, and why."""


@dataclass(frozen=True)
class Job:
    """All that a worker is told of a trial."""

    number: int
    attempt: int
    hub: Hub
    subfolder: str  # of the DVC project in its Git repository
    author: dict[str, str]  # of its commits, as Git's settings
    cache: str | None  # DVC's cache, if it is shared
    name: str  # of the experiment
    experiment: str  # its ref
    overrides: list[str]
    target: str | None
    metrics: str
    key: str
    curve: str | None
    topic: str
    slots: dict[str, int] = field(default_factory=dict)  # trials at a time, by the host of the workers


def run(job: Job) -> Outcome | None:
    """Run a trial; None if the driver no longer wants it.

    Raises
    ------
    Unfit : if it is the machine that cannot do it
    """
    worker = get_worker()
    task = worker.get_current_task()
    with _Slot.taken(worker) as slot:
        try:
            return slot.run(job, lambda: _wanted(worker, task))
        except (OSError, GitError) as error:
            slot.clone.drop()
            if _disk_is_full(str(error), error, slot.folder):
                raise slot.unfit() from None
            raise


def busy() -> int:
    """How many trials run on this worker."""
    return _Slot.busy


def _wanted(worker: Worker, key: Any) -> bool:
    """Whether the driver still waits for this task; Dask marks it when it is cancelled, or the driver gone."""
    state = worker.state.tasks.get(key)
    return state is not None and state.state not in ("cancelled", "released", "forgotten", "error")


class _Slot:
    """A place on a worker where one trial at a time can run: a clone, a process with DVC, a share of the cores."""

    free: ClassVar["list[_Slot]"] = []
    busy = 0
    lock = threading.Lock()

    @classmethod
    @contextlib.contextmanager
    def taken(cls, worker: Worker) -> "Iterator[_Slot]":
        with cls.lock:
            slot = cls.free.pop() if cls.free else cls(worker, cls.busy)
            cls.busy += 1
        try:
            yield slot
        finally:
            with cls.lock:
                cls.busy -= 1
                cls.free.append(slot)

    def __init__(self, worker: Worker, index: int) -> None:
        self.worker = worker
        self.folder = Path(worker.local_directory) / f"sweep-{index}"
        self.clone = Clone(self.folder / "clone")
        self.host = worker.address.rpartition("://")[2].rpartition(":")[0]
        self._place = _take_place()
        self._runner: Runner | None = None

    @property
    def runner(self) -> Runner:
        if self._runner is None or self._runner.process.poll() is not None:
            self._runner = Runner(self._environment())
        return self._runner

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self.worker.nanny:
            # Dask's nanny gives its workers a single BLAS thread each; here a trial's cores decide, or the user.
            before = psutil.Process(os.getppid()).environ()
            for name in dask.config.get("distributed.nanny.pre-spawn-environ", {}):
                environment.pop(name, None)
                if name in before:
                    environment[name] = before[name]
        return environment | {
            "DVC_NO_ANALYTICS": "true",
            "DVC_EXP_AUTO_PUSH": "false",
            "DVC_SITE_CACHE_DIR": str(self.folder / "site-cache"),
        }

    def run(self, job: Job, wanted: Any) -> Outcome | None:
        started = time.monotonic()
        cache = Path(job.cache) if job.cache else Path(self.worker.local_directory).parent / "dvc-sweep-cache"
        self.folder.mkdir(parents=True, exist_ok=True)
        if job.cache and not Path(job.hub.url).exists():
            reason = f"does not see {job.hub.url}; machines that share no folder need --hub"
            raise Unfit(self.worker.address, reason)
        self.clone.prepare(job.hub, job.subfolder, cache, shared := job.cache is not None, job.author)
        if (earlier := job.hub.outcome(self.clone.folder, job.number)) is not None:
            return earlier  # another worker ran it, and was lost before it could say so
        arguments = ["exp", "run", "--name", job.name]
        for override in job.overrides:
            arguments += ["--set-param", override]
        targets = [job.target] if job.target else []
        status = self._dvc(job, [*arguments, *([] if shared else ["--pull"]), *targets], wanted, watched=True)
        if status is None:
            return None
        outcome = self._outcome(job, status)
        if outcome.commit and not shared:
            with_deps = ["--with-deps"] if targets else []
            status = self._dvc(job, ["push", "--quiet", "--run-cache", *with_deps, *targets], wanted)
            if status is None:
                return None
            if status:
                raise OSError(errno.EIO, f"dvc push: {_reason(_text(self._log))}")
        seconds = time.monotonic() - started
        complete = Outcome(**{**vars(outcome), "seconds": round(seconds, 2), "worker": socket.gethostname()})
        return job.hub.put(self.clone.folder, complete, job.experiment)

    def unfit(self) -> Unfit:
        return Unfit(self.worker.address, f"no space left on the disk of {self.folder}")

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _dvc(self, job: Job, arguments: list[str], wanted: Any, watched: bool = False) -> int | None:
        """Run a dvc command to its end, telling the curve; None if the driver lost interest in the meantime."""
        folder = self.clone.folder / job.subfolder
        curve = _Curve(folder / job.curve) if watched and job.curve else None
        cores = _share(self._place, job.slots.get(self.host, self.worker.state.nthreads))
        self.runner.start(arguments, folder, self._log, cores)
        had_space = time.monotonic()
        while (status := self.runner.status(POLL)) is None:
            if shutil.disk_usage(self.folder).free >= LEAST_SPACE:
                had_space = time.monotonic()
            # DVC's own database tries again for ever where there is no space for it.
            full = time.monotonic() - had_space > FULL_SECONDS
            if full or not wanted():
                self.runner.end()
                self.clone.drop()
                if full:
                    raise self.unfit()
                return None
            for step, value in curve.news() if curve else ():
                report = {"number": job.number, "attempt": job.attempt, "step": step, "value": value}
                self.worker.log_event(job.topic, report)
        return status

    def _outcome(self, job: Job, status: int) -> Outcome:
        if status:
            log = _text(self._log)
            if status < 0:
                self.clone.drop()  # killed, and who knows in the middle of what
            reason = _reason(log) or f"dvc ended with status {status}"
            if _disk_is_full(log, None, self.folder):
                raise self.unfit()
            return Outcome(job.number, "failed", line=reason, log=log[-LONGEST_LOG:])
        commit = self.clone.commit(job.experiment)
        if commit is None:
            return Outcome(
                job.number, "failed", line="dvc made no experiment of it", log=_text(self._log)[-LONGEST_LOG:]
            )
        value = metric(self.clone.folder / job.subfolder / job.metrics, job.key)
        if isinstance(value, str):
            return Outcome(job.number, "failed", line=f"{job.metrics}: {value}")
        return Outcome(job.number, "complete", value, commit)


class _Curve:
    """A table of steps and values that DVCLive appends to, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stale = self._stamp()  # what lies there before the trial is of the baseline
        self._last_step = -math.inf

    def _stamp(self) -> tuple[int, ...] | None:
        with contextlib.suppress(OSError):
            stat = self._path.stat()
            return stat.st_ino, stat.st_mtime_ns, stat.st_size
        return None

    def news(self) -> list[tuple[int, float]]:
        """The steps that have come since the last call."""
        stamp = self._stamp()
        if stamp is None or stamp == self._stale:
            return []
        found = []
        with contextlib.suppress(OSError), open(self._path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(_whole_lines(file), delimiter="\t"):
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    step, value = int(row["step"]), float(list(row.values())[-1])
                    if step > self._last_step:
                        self._last_step = step
                        found.append((step, value))
        return found


def _whole_lines(file: TextIO) -> Iterator[str]:
    return (line for line in file if line.endswith("\n"))


def load(path: Path) -> Any:
    """The content of a metrics or parameters file, in any of the formats that DVC reads."""
    from dvc.utils.serialize import LOADERS

    return LOADERS[path.suffix.lower()](str(path))


def metric(path: Path, key: str) -> float | str:
    """The number at the dotted `key` of a metrics file, or what is wrong with it."""
    from dvc.utils.serialize import ParseError

    try:
        value = load(path)
    except FileNotFoundError:
        return "was not written"
    except (ParseError, OSError) as error:
        return f"cannot be read: {' '.join(str(error).split())}"
    try:
        value = _at(value, key.split("."))
    except KeyError:
        return f"has no '{key}'"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{key} is no number"
    return float(value) if math.isfinite(value) else f"{key} is {value}"


def _at(value: Any, parts: list[str]) -> Any:
    """What lies in nested mappings and lists at a dotted key; a mapping's own key may have dots in it."""
    if not parts:
        return value
    if isinstance(value, list) and parts[0].isdigit() and int(parts[0]) < len(value):
        return _at(value[int(parts[0])], parts[1:])
    if isinstance(value, dict):
        for count in range(len(parts), 0, -1):
            with contextlib.suppress(KeyError):
                return _at(value[".".join(parts[:count])], parts[count:])
    raise KeyError(parts[0])


def _text(log: Path) -> str:
    """The end of a log, at most a megabyte."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LONGEST_TEXT))
        return file.read().decode("utf-8", errors="replace")
    return ""


def _reason(log: str) -> str:
    """The one line of a log that says why: the last one of the stage that failed, or else DVC's own."""
    lines = [line.split("\r")[-1].rstrip() for line in log.splitlines()]
    lines = [line for line in lines if line]
    errors = [index for index, line in enumerate(lines) if line.startswith("ERROR: ")]
    if not errors:
        return lines[-1][:500] if lines else ""
    first = errors[0]
    own = lines[first].removeprefix("ERROR: ")
    above = lines[first - 1] if first else ""
    if "failed to run" not in own or above.startswith(("> ", "Running stage", "WARNING: ")):
        return own[:500]
    return above[:500]


def _disk_is_full(text: str, error: Exception | None, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if any(os.strerror(number) in text for number in (errno.ENOSPC, errno.EDQUOT)):
        return True
    return shutil.disk_usage(folder if folder.exists() else folder.parent).free < LEAST_SPACE


def _take_place() -> tuple[int, TextIO]:
    """The lowest number that no other slot on this machine has, held until this process ends."""
    folder = Path(tempfile.gettempdir()) / f"dvc-sweep-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    number = 0
    while True:
        file = open(folder / f"place-{number}", "w")  # noqa: SIM115  (held until the process ends)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, file
        file.close()
        number += 1


def _share(place: tuple[int, TextIO], slots: int) -> list[int]:
    """The cores of one slot of `slots` on this machine: an equal part of those this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    number = place[0] % slots
    if slots >= len(cores):
        return [cores[number % len(cores)]]
    return cores[number * len(cores) // slots : (number + 1) * len(cores) // slots]
