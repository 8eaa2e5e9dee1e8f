"""What the command says while a sweep runs, and the tables it ends with."""

import sys
import time
from typing import Any

import click
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from dvc_sweep.hub import Outcome
from dvc_sweep.space import shown
from dvc_sweep.study import Study

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class Progress:
    """A bar on a terminal, with the best so far; a line every few seconds where there is none."""

    seconds_between_lines = 5.0

    def __init__(self, name: str, study: Study, total: int) -> None:
        self._name, self._total = name, total
        self._maximize = study.sweep.objective.direction == "maximize"
        self._best: tuple[float, str] | None = None
        if (best := study.best()) is not None and best.value is not None:
            self._best = best.value, f"{name}-{best.number}"
        self._done = sum(one.state.is_finished() for one in study.trials)
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=self._done, desc=name, unit="trial", leave=False)
            self._bar.set_postfix_str(self._note())
        self._last = time.monotonic()

    def ended(self, trial: Trial, name: str, outcome: Outcome) -> None:
        if outcome.value is None:
            self.note(f"{name} failed: {outcome.line}")
        elif self._best is None or (
            outcome.value > self._best[0] if self._maximize else outcome.value < self._best[0]
        ):
            self._best = outcome.value, name
        self._step()

    def pruned(self, trial: Trial, name: str, line: str) -> None:
        self._step()

    def note(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        click.echo(line, err=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _note(self) -> str:
        return f"best {self._best[0]:.6g} ({self._best[1]})" if self._best else "none complete yet"

    def _step(self) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(self._note(), refresh=False)
            self._bar.update(1)
        elif time.monotonic() - self._last >= self.seconds_between_lines:
            self._last = time.monotonic()
            self.note(f"{self._name}: {self._done} of {self._total} trials, {self._note()}")


def counted(study: Study, of: int | None = None) -> str:
    """`40 trials: 37 complete, 2 pruned, 1 failed`."""
    trials = study.trials
    numbers = {word: sum(STATES[one.state] == word for one in trials) for word in STATES.values()}
    counts = ", ".join(f"{number} {word}" for word, number in numbers.items() if number)
    total = len(trials) if of is None else of
    return f"{total} trial{'s' if total != 1 else ''}" + (f": {counts}" if counts else "")


def ranked(study: Study) -> list[FrozenTrial]:
    """The trials, the best first; then those without a value."""
    sign = -1 if study.sweep.objective.direction == "maximize" else 1

    def rank(one: FrozenTrial) -> tuple[Any, ...]:
        complete = one.state == TrialState.COMPLETE
        return (not complete, sign * one.value if complete and one.value is not None else 0, one.number)

    return sorted(study.trials, key=rank)


def table(name: str, study: Study, most: int | None = None) -> list[str]:
    """A line for each trial, the best first, at most so many."""
    trials = ranked(study)
    keys = list(study.sweep.space)
    heads = ["trial", study.sweep.objective.key, *_shortened(keys), ""]
    rows = [
        [
            f"{name}-{one.number}",
            f"{one.value:.6g}" if one.state == TrialState.COMPLETE else STATES[one.state],
            *(_short(one.params.get(key)) for key in keys),
            str(one.user_attrs.get("line", ""))[:100],
        ]
        for one in trials[:most]
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *rows]
    ]
    if len(rows) < len(trials):
        lines.append(f"… and {len(trials) - len(rows)} more: `dvc-sweep show {name}`")
    return lines


def details(name: str, study: Study, one: FrozenTrial) -> list[str]:
    """All that is known of a trial."""
    state = (
        STATES[one.state]
        if one.value is None
        else f"{STATES[one.state]}, {study.sweep.objective.key} {one.value:.8g}"
    )
    lines = [
        f"{name}-{one.number}: {state}",
        *(f"  {key}: {shown(value)}" for key, value in study.values(one).items()),
    ]
    known = {"commit": "experiment", "seconds": "seconds", "worker": "worker", "line": "why"}
    lines += [f"  {word}: {one.user_attrs[key]}" for key, word in known.items() if key in one.user_attrs]
    return lines + [f"    {line}" for line in one.user_attrs.get("log", "").splitlines()]


def _shortened(keys: list[str]) -> list[str]:
    """The last parts of dotted keys, without their file, as many as it takes to tell them apart."""
    for parts in range(1, 10):
        short = [".".join(key.rpartition(":")[2].split(".")[-parts:]) for key in keys]
        if len(set(short)) == len(keys):
            return short
    return keys


def _short(value: Any) -> str:
    return (
        f"{value:.4g}" if isinstance(value, float) else shown(value) if not isinstance(value, str) else value
    )
