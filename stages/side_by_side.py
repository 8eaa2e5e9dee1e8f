"""Several seeds trained side by side, each in a process of its own, which tells its progress in lines of JSON."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from mnistcore.errors import InputError
from mnistcore.training.history import Epoch

OnEpoch = Callable[[Epoch], None]
OnProgress = Callable[[int, str], None]
POLL = 0.05  # seconds between two polls for who has ended


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def send_epoch(epoch: Epoch) -> None:
    """In the process of a seed: a list for an epoch. If its reader is gone, the process ends here."""
    print(json.dumps(epoch), flush=True)


def send_progress(examples: int, note: str) -> None:
    """In the process of a seed: a number for examples worked."""
    print(json.dumps(examples), flush=True)


def train_side_by_side(
    script: str, seeds: Sequence[int], workers: int, on_epoch: OnEpoch, on_progress: OnProgress
) -> None:
    """Run `script` with --seed and --workers for each seed: as many at a time as there are workers, or all of
    them at once where the last few would otherwise leave workers idle (three seeds on two cores share them evenly).

    on_epoch : told the epochs of the first seed, whose curves are kept
    on_progress : told the examples that any of them has worked

    Raises
    ------
    InputError : one of them was ended from outside
    SystemExit : one of them has ended with a line of its own
    """
    at_once = len(seeds) if workers > 1 and len(seeds) < 2 * workers else min(workers, len(seeds))
    each = str(max(1, workers // at_once))
    lock, waiting, running = threading.Lock(), list(seeds), dict[int, _Process]()

    def follow(seed: int, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            message = json.loads(line)
            with lock:
                if not isinstance(message, list):
                    on_progress(message, f"seed {seed}")
                elif seed == seeds[0]:
                    on_epoch(Epoch(*message))

    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                seed = waiting.pop(0)
                command = [sys.executable, script, "--seed", str(seed), "--workers", each]
                running[seed] = _Process(command, lambda process, seed=seed: follow(seed, process))
            time.sleep(POLL)
            for seed, process in list(running.items()):
                if process.over():
                    del running[seed]
                    _check(seed, process.status)
    finally:
        for process in running.values():
            process.end()


class _Process:
    """A process, and the thread that reads what it prints."""

    def __init__(self, command: Sequence[str], follow: Callable[[subprocess.Popen[str]], None]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=follow, args=(self._process,), daemon=True)
        self._thread.start()

    def over(self) -> bool:
        """Whether it has printed all it had to, and ended."""
        return not self._thread.is_alive() and self._process.poll() is not None

    @property
    def status(self) -> int:
        return self._process.returncode

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()


def _check(seed: int, status: int) -> None:
    if status < 0:
        name = signal.Signals(-status).name
        raise InputError(f"seed {seed}: its process was ended by {name}; run it again to continue")
    if status:
        sys.exit(2)  # the process has said why
