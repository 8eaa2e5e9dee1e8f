"""A team of processes that walk through one computation side by side.

The first process forks the others. All run the same program over the same data
and take the same decisions; each does its own shards of the work, and between two
phases they meet at a barrier. What one has to see of another's work lies in memory
that they share (`mnistcore.engine.shared_memory`).

Threads would pass the interpreter's lock to and fro around every small NumPy call;
forks do not meet at all but at a barrier, which takes them a microsecond.
"""

import os
import signal
import sys
import warnings
from typing import NoReturn

from mnistcore.errors import InputError

# Gains 22 % on 784-40-10, 10: python -m benchmarks.tricks spinning
SPINS = 1000  # times a process asks whether the others have arrived before it sleeps until they have: about 0.2 ms
PATIENCE = 0.1  # seconds asleep before it asks whether the others still live
SIGNALS = {signal.SIGINT, signal.SIGTERM}


class Team:
    """Some processes that work together; a context manager, outside of which only the first one exists.

    Where processes cannot be forked safely (not on Linux), the team is the calling process alone.

    Parameters
    ----------
    workers : how many processes, the calling one among them

    Attributes
    ----------
    workers : how many there are
    rank : which of them this process is, from 0
    """

    def __init__(self, workers: int) -> None:
        # Gains 90 % on 784-256-256-10, 128: python -m benchmarks.tricks two-workers
        self.rank, self.workers = 0, 1
        self._children: list[int] = []
        self._errors: tuple[int, int] | None = (
            None  # the pipe in which the others say why they end: read, write
        )
        if workers > 1 and sys.platform == "linux":
            import multiprocessing  # slow to import

            try:
                self._arrived = [multiprocessing.get_context("fork").Semaphore(0) for _ in range(workers)]
            except OSError:  # no shared memory for them in this container
                return
            self.workers = workers

    @property
    def leads(self) -> bool:
        """Whether this process is the one that called; it alone tells the world what happens."""
        return self.rank == 0

    def own(self, shards: int) -> range:
        """The shards, of so many, that this process works."""
        return range(self.rank, shards, self.workers)

    def barrier(self) -> None:
        """Return when all have arrived at this point.

        Raises
        ------
        InputError, MemoryError : in the first process, when another one has ended; why
        """
        if self.workers == 1:
            return
        mine = self._arrived[self.rank]
        for rank, other in enumerate(self._arrived):
            if rank != self.rank:
                other.release()
        for _ in range(self.workers - 1):
            for _ in range(SPINS):
                if mine.acquire(False):
                    break
            else:
                while not mine.acquire(True, PATIENCE):
                    self._check_others()

    def __enter__(self) -> "Team":
        if self.workers == 1:
            return self
        self._leader = os.getpid()
        self._errors = os.pipe()
        os.set_blocking(self._errors[0], False)
        # No signal may reach a fork before it has learnt to leave signals to the first process.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            try:
                self._fork_all()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except OSError:  # no more processes allowed: alone, then
            self._end_children()
            self.workers = 1
        except BaseException:  # a signal that had to wait
            self._end_children()
            raise
        return self

    def _fork_all(self) -> None:
        for rank in range(1, self.workers):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # a fork needs no other thread here
                child = os.fork()
            if child == 0:
                self.rank, self._children = rank, []
                for number in SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
                return
            self._children.append(child)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if not self.leads:
            self._leave(error)
        self._end_children()

    def _leave(self, error: BaseException | None) -> NoReturn:
        if error is not None and self._errors is not None:
            os.write(self._errors[1], f"{type(error).__name__}: {error}".encode()[:4096])
        os._exit(0)

    def _end_children(self) -> None:
        for child in self._children:
            os.kill(child, signal.SIGKILL)  # nobody else waits for it, so the number is still its own
            os.waitpid(child, 0)
        self._children = []
        for end in self._errors or ():
            os.close(end)
        self._errors = None

    def _check_others(self) -> None:
        """End with the first process; in it, raise what another one has ended with."""
        if not self.leads:
            if os.getppid() != self._leader:
                os._exit(1)
            return
        for child in self._children:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self._children.remove(child)
                why = self._read_error()
                if why.startswith("MemoryError"):
                    raise MemoryError(why)
                exit_code = os.waitstatus_to_exitcode(status)
                if exit_code == -signal.SIGBUS:
                    why = "status -7; a file may have become shorter while it was read"
                why = why or f"status {exit_code}; the system may have run out of memory"
                raise InputError(f"training: a worker ended: {why}")

    def _read_error(self) -> str:
        try:
            return os.read(self._errors[0], 4096).decode(errors="replace") if self._errors is not None else ""
        except BlockingIOError:
            return ""
