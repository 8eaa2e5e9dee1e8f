"""Runs `dvc` for a worker, one command after the other: a process with DVC imported that forks for each.

Importing DVC takes longer than what it then does for a small trial. And the worker may be killed at any moment: this
process notices that its standard input has ended, and takes the trial and all that it started down with it.

Lines of JSON come in, {"run": […], …} or {"end": seconds}; the status of each run goes out, a number a line.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO, cast

GRACE = 10.0  # seconds that a trial has to end after SIGINT, before SIGKILL

# What `dvc exp run` and `dvc push` import on their way.
MODULES = """
    dulwich.porcelain dvc.api dvc.cachemgr dvc.commands.data_sync dvc.commands.experiments.run dvc.logger
    dvc.repo.experiments.executor.local dvc.repo.experiments.queue.celery dvc.repo.experiments.queue.workspace
    dvc.repo.experiments.run dvc.repo.fetch dvc.repo.push dvc.repo.reproduce dvc.utils.hydra dvc_http
    hydra._internal.config_loader_impl hydra.core.override_parser.overrides_parser networkx omegaconf pygit2
    ruamel.yaml sqltrie
"""


class Runner:
    """The worker's end: start a command, look whether it has ended, end it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dvc_sweep.runner"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        self._requests, self._replies = (
            cast("TextIO", one) for one in (self.process.stdin, self.process.stdout)
        )
        self._status: int | None = None
        self._ended = threading.Event()

    def start(self, arguments: list[str], folder: Path, log: Path, cores: list[int]) -> None:
        """Start `dvc ARGUMENTS` in `folder`, with all it prints going to `log`, on these cores (none: on all)."""
        self._ended.clear()
        self._send({"run": arguments, "folder": str(folder), "log": str(log), "cores": cores})
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        line = self._replies.readline()
        self._status = int(line) if line.strip() else -int(signal.SIGKILL)
        self._ended.set()

    def status(self, timeout: float) -> int | None:
        """The exit status of the command, waiting up to `timeout` seconds for it; None if it still runs."""
        return self._status if self._ended.wait(timeout) else None

    def end(self, grace: float = GRACE) -> int:
        """Interrupt the command, as Ctrl-C would; kill it if it has not ended `grace` seconds later."""
        self._send({"end": grace})
        self._ended.wait()
        return cast("int", self._status)

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._requests.close()
        self.process.wait()
        self._replies.close()

    def _send(self, message: dict[str, object]) -> None:
        self._requests.write(json.dumps(message) + "\n")
        self._requests.flush()


class _Command:
    """A forked process in which DVC runs, the leader of its own session."""

    def __init__(self, message: dict) -> None:
        self.pid = os.fork()
        if not self.pid:
            _run(message)
        self.ended = threading.Event()
        self.waiter = threading.Thread(target=self.wait, daemon=True)
        self.waiter.start()

    def wait(self) -> None:
        """Wait for its end and tell its status."""
        _, status = os.waitpid(self.pid, 0)
        self._signal(signal.SIGKILL)  # what it has left behind in its session
        self.ended.set()
        with contextlib.suppress(OSError):  # the worker is gone
            print(os.waitstatus_to_exitcode(status), flush=True)

    def end(self, grace: float) -> None:
        self._signal(signal.SIGINT)
        if not self.ended.wait(grace):
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _run(message: dict) -> None:
    """The forked process."""
    status = 255
    try:
        os.setsid()
        # Whatever whoever started the worker had.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(message["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(message["folder"])
        if message["cores"]:
            os.sched_setaffinity(0, message["cores"])
        from dvc.cli import main

        status = main(message["run"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # nothing may come back from here
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in MODULES.split():
        with contextlib.suppress(ImportError):  # another version of DVC has it elsewhere, and will find it
            importlib.import_module(module)
    command = None
    for line in sys.stdin:
        message = json.loads(line)
        if "run" in message:
            if command:
                command.waiter.join()  # a fork copies the locks that other threads hold, and not the threads
            command = _Command(message)
        elif command:
            threading.Thread(target=command.end, args=[message["end"]], daemon=True).start()
    if command and not command.ended.is_set():
        command.end(GRACE)
        command.ended.wait(GRACE)


if __name__ == "__main__":
    main()
