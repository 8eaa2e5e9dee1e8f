"""A team of threads that does the same tasks again and again, with little delay between.

NumPy lets other threads run while it multiplies matrices, so threads suffice.
"""

import contextvars
import threading
from collections.abc import Callable, Sequence

import numpy as np


class Team:
    """Runs tasks on `workers` threads, the calling one among them; use as a context manager.

    Which thread does which task is fixed (task i goes to worker i mod workers), and results never
    depend on it: tasks of one `run` must not touch each other's data.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._task: Callable[[int], None] = lambda index: None
        self._count = 0
        self._stopping = False
        self._errors: list[BaseException] = []
        self._start = [threading.Lock() for _ in range(workers - 1)]
        self._done = [threading.Lock() for _ in range(workers - 1)]
        for lock in (*self._start, *self._done):
            lock.acquire()
        self._threads = [
            # In a copy of the caller's context, where NumPy keeps what to do about overflows.
            threading.Thread(target=contextvars.copy_context().run, args=(self._serve, number), daemon=True)
            for number in range(1, workers)
        ]

    def __enter__(self) -> "Team":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping = True
        for lock in self._start:
            lock.release()
        for thread in self._threads:
            thread.join()

    def run(self, task: Callable[[int], None], count: int) -> None:
        """Call task(0) … task(count − 1), and return when all are done."""
        helpers = min(self.workers, count) - 1
        if helpers <= 0:
            for index in range(count):
                task(index)
            return
        self._task, self._count = task, count
        for lock in self._start[:helpers]:
            lock.release()
        try:
            for index in range(0, count, self.workers):
                task(index)
        finally:
            for lock in self._done[:helpers]:
                lock.acquire()
        if self._errors:
            raise self._errors.pop()

    def _serve(self, number: int) -> None:
        with np.errstate(all="ignore"):  # as in the calling thread; it does not pass to this one
            while True:
                self._start[number - 1].acquire()
                if self._stopping:
                    return
                try:
                    for index in range(number, self._count, self.workers):
                        self._task(index)
                except BaseException as error:  # handed to the calling thread
                    self._errors.append(error)
                self._done[number - 1].release()
