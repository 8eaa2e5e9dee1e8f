"""The driver: asks for proposals, hands them to the workers, and records what becomes of them.

One thread decides everything. What Dask and the terminal have to say waits for it in a queue. A trial is recorded
once its experiment is in the repository; until then the hub has it, so a driver that is killed loses nothing.
"""

import contextlib
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, cast

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker
from optuna.trial import Trial

from dvc_sweep import cluster, trial
from dvc_sweep.errors import BadInput
from dvc_sweep.git import author
from dvc_sweep.hub import Hub, Outcome
from dvc_sweep.project import Project, override
from dvc_sweep.runner import GRACE
from dvc_sweep.study import Study

ATTEMPTS = 3  # of a trial that a worker cannot run for reasons that are not the trial's
TICK = 0.5  # seconds between two looks at how many workers there are


class Listener(Protocol):
    """Who is told of what happens."""

    def ended(self, trial: Trial, name: str, outcome: Outcome) -> None: ...

    def pruned(self, trial: Trial, name: str, line: str) -> None: ...

    def note(self, line: str) -> None: ...


class Stopped(Exception):
    """Ended by a signal before all trials were done; the sweep can be resumed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


@dataclass
class _Running:
    trial: Trial
    attempt: int
    future: Future


class Driver:
    """Runs trials of `study` until there are `trials` of them."""

    def __init__(
        self,
        project: Project,
        name: str,
        hub: Hub,
        cache: str | None,
        study: Study,
        client: Client,
        listener: Listener,
    ) -> None:
        self.project, self.name, self.hub, self.cache, self.study = project, name, hub, cache, study
        self.listener = listener
        self._client, self.address = client, str(cast("Any", client.scheduler).address)
        self._topic = f"dvc-sweep-{hub.sweep}-{secrets.token_hex(4)}"
        self._news: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._running: dict[int, _Running] = {}
        self._waiting: list[tuple[Trial, int]] = []
        self._unfit: set[str] = set()
        self._troubles: Counter[int] = Counter()
        self._idle_noted = False
        self._slots: dict[str, int] = {}
        self._author = author(project.repository)
        self._signals: list[int] = []

    def run(self, trials: int) -> None:
        """Run until the study has `trials` trials and all have ended.

        Raises
        ------
        Stopped : after SIGINT or SIGTERM, once the running trials have ended
        BadInput : if no worker is left that can run trials
        """
        with self._signals_heeded():
            try:
                self._subscribe()
                self._recover()
                while self._fill(trials) or self._running or self._waiting:
                    self._handle()
                    if self._signals:
                        self._end_running()
                        raise Stopped(self._signals[0])
            finally:
                with contextlib.suppress(Exception):
                    self._client.close(timeout=2)

    # Proposals and workers

    def _recover(self) -> None:
        """Trials that an earlier driver has left: those the hub knows are done, the others run."""
        for left in self.study.running():
            outcome = self.hub.outcome(self.project.repository, left.number)
            if outcome is None:
                self._waiting.append((left, 0))
            else:
                self._record(left, outcome)

    def _fill(self, trials: int) -> bool:
        """Give each free slot a trial; whether there are trials left to propose."""
        most = trials if self.study.largest is None else min(trials, self.study.largest)
        left = len(self.study.trials) < most
        if not (left or self._waiting):
            return False
        workers = self._workers()
        while len(self._running) < sum(workers.values()) and (self._waiting or left):
            if self._waiting:
                self._submit(*self._waiting.pop(0), workers)
            else:
                self._submit(self.study.ask(), 0, workers)
                left = len(self.study.trials) < most
        return left

    def _workers(self) -> dict[str, int]:
        """How many trials each worker can run at a time."""
        try:
            threads = cast("dict[str, int]", self._client.nthreads())
        except (OSError, TimeoutError, ValueError, RuntimeError):
            return {}  # the scheduler is away; `_handle` sees to it
        fit = {address: count for address, count in threads.items() if address not in self._unfit}
        if threads and not fit:
            raise BadInput(f"no worker is left that can run trials; `dvc-sweep resume {self.name}` goes on")
        if not threads and not self._idle_noted:
            self.listener.note(f"the scheduler at {self.address} has no workers yet; waiting for one")
        self._idle_noted = not threads
        self._slots = {}
        for address, count in threads.items():
            host = address.rpartition("://")[2].rpartition(":")[0]
            self._slots[host] = self._slots.get(host, 0) + count
        return fit

    def _submit(self, proposed: Trial, attempt: int, workers: dict[str, int]) -> None:
        sweep, name = self.study.sweep, f"{self.name}-{proposed.number}"
        job = trial.Job(
            number=proposed.number,
            attempt=attempt,
            hub=self.hub,
            subfolder=self.project.subfolder,
            author=self._author,
            cache=self.cache,
            name=name,
            experiment=self.project.experiment(name),
            overrides=[override(key, value) for key, value in self.study.values(proposed).items()],
            target=sweep.target,
            metrics=sweep.objective.file,
            key=sweep.objective.key,
            curve=sweep.pruning.curve if sweep.pruning else None,
            topic=self._topic,
            slots=self._slots,
        )
        key = f"{name}-{secrets.token_hex(4)}"
        only = list(workers) if self._unfit else None
        future = self._client.submit(trial.run, job, key=key, pure=False, workers=only)
        self._running[proposed.number] = _Running(proposed, attempt, future)
        future.add_done_callback(lambda done: self._news.put(("done", (proposed.number, done))))

    # What happens

    def _subscribe(self) -> None:
        if self.study.sweep.pruning:
            self._client.subscribe_topic(self._topic, lambda event: self._news.put(("point", event[1])))

    def _handle(self) -> None:
        """Wait a moment for news, and deal with all there is."""
        if self._client.status != "running":
            self._reconnect()
        with contextlib.suppress(Empty):
            kind, news = self._news.get(timeout=TICK)
            while True:
                if kind == "point":
                    self._on_point(news)
                elif kind == "done":
                    self._on_done(*news)
                kind, news = self._news.get_nowait()

    def _on_point(self, point: dict[str, Any]) -> None:
        running = self._running.get(point["number"])
        if running is None or running.attempt != point["attempt"]:
            return
        if self.study.report(running.trial, point["step"], point["value"]):
            line = f"pruned at step {point['step']}, at {point['value']:g}"
            self.study.prune(running.trial, line)
            del self._running[point["number"]]
            running.future.cancel()
            self.listener.pruned(running.trial, f"{self.name}-{point['number']}", line)

    def _on_done(self, number: int, future: Future) -> None:
        running = self._running.get(number)
        if running is None or running.future is not future:
            return
        del self._running[number]
        try:
            outcome = future.result(timeout=60)
        except trial.Unfit as unfit:
            self._lay_off(running, *unfit.args)
            return
        except (FutureCancelledError, OSError, TimeoutError):
            outcome = None  # the scheduler is gone, or the worker with the result
        except KilledWorker:
            outcome = Outcome(
                number, "failed", line="each worker that ran it was killed, or ran out of memory"
            )
        except Exception as error:  # whatever a worker may raise
            outcome = self._after(running, error)
        if outcome is None:
            self._waiting.append((running.trial, running.attempt + 1))
        else:
            self._record(running.trial, outcome)

    def _after(self, running: _Running, error: Exception) -> Outcome | None:
        """A worker could not run the trial: once more, or this is its end."""
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        self._troubles[running.trial.number] += 1
        if self._troubles[running.trial.number] < ATTEMPTS:
            self.listener.note(f"{self.name}-{running.trial.number} runs again: {line}")
            return None
        return Outcome(running.trial.number, "failed", line=line)

    def _lay_off(self, running: _Running, address: str, reason: str) -> None:
        """A worker cannot run trials: it gets no more of them, and others get this one."""
        if address not in self._unfit:
            self._unfit.add(address)
            self.listener.note(f"worker {address} gets no more trials: {reason}")
        self._waiting.append((running.trial, running.attempt + 1))

    def _record(self, proposed: Trial, outcome: Outcome) -> None:
        name = f"{self.name}-{proposed.number}"
        if outcome.commit:
            self.hub.fetch_experiment(self.project.repository, self.project.experiment(name))
        self.study.tell(proposed, outcome)
        self.listener.ended(proposed, name, outcome)

    # The scheduler goes and comes

    def _reconnect(self) -> None:
        """Wait for the scheduler, however long; then run again what had not ended."""
        self.listener.note(f"the scheduler at {self.address} is gone; waiting for it")
        with contextlib.suppress(Exception):
            self._client.close(timeout=1)
        while not self._signals:
            try:
                self._client = cluster.connect(self.address)
            except BadInput:
                time.sleep(TICK)
            else:
                break
        else:
            return
        self.listener.note("the scheduler is back")
        self._subscribe()
        for one in self._running.values():  # a worker that has done it already will say so
            self._waiting.append((one.trial, one.attempt + 1))
        self._running.clear()

    # The end

    @contextlib.contextmanager
    def _signals_heeded(self) -> Iterator[None]:
        def heed(number: int, frame: object) -> None:
            if self._signals:
                os._exit(128 + number)  # workers and trials notice, and end
            self._signals.append(number)
            self._news.put(("signal", number))

        before = {number: signal.signal(number, heed) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end_running(self) -> None:
        """Have the running trials end tidily, and keep what has finished by then."""
        while True:  # finished already, and not looked at yet
            try:
                kind, news = self._news.get_nowait()
            except Empty:
                break
            if kind == "done":
                self._on_done(*news)
        if self._running:
            self.listener.note(f"stopping, with {len(self._running)} running; again to end at once")
        with contextlib.suppress(OSError, TimeoutError, ValueError, RuntimeError):
            self._client.cancel([running.future for running in self._running.values()], force=True)
            deadline = time.monotonic() + GRACE + 5
            while time.monotonic() < deadline and any(
                cast("dict[str, int]", self._client.run(trial.busy)).values()
            ):
                time.sleep(0.1)
