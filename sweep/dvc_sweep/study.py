"""The proposals and what became of them: an Optuna study, in a journal that survives whoever writes it.

A proposal is a function of the seed and its number (and, for TPE, of the results known when it was made), never of
how many proposals this process has made before. So a sweep that was interrupted goes on as if it had not been.
"""

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from dvc_sweep.hub import Outcome
from dvc_sweep.space import Choices, Pruning, Range, Sweep, label

optuna.logging.set_verbosity(optuna.logging.ERROR)  # what there is to say of a trial, the driver says
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


class Study:
    """The study of one sweep, read from its journal."""

    def __init__(self, journal: Path, name: str, sweep: Sweep, writing: bool = False) -> None:
        """`writing` is for the one process that goes on with it; what a kill has left half-written goes."""
        if writing:
            _mend(journal)
        self.sweep = sweep
        self._grid = sweep.grid() if sweep.sampler == "grid" else None
        storage = JournalStorage(JournalFileBackend(str(journal)))
        if writing:
            optuna.create_study(
                storage=storage, study_name=name, direction=sweep.objective.direction, load_if_exists=True
            )
        self._study = optuna.load_study(storage=storage, study_name=name, pruner=_pruner(sweep.pruning))

    @property
    def largest(self) -> int | None:
        """How many trials there can be at most."""
        return None if self._grid is None else len(self._grid)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    @property
    def study(self) -> optuna.Study:
        """Optuna's own study, to be read."""
        return self._study

    def best(self) -> FrozenTrial | None:
        with contextlib.suppress(ValueError):  # none is complete
            return self._study.best_trial
        return None

    def running(self) -> list[Trial]:
        """The trials that were proposed and have no end yet."""
        return [
            self._proposed(Trial(self._study, frozen._trial_id))
            for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]

    def ask(self) -> Trial:
        """Propose the next trial."""
        self._study.sampler = self._sampler(len(self.trials))
        return self._proposed(self._study.ask())

    def _proposed(self, trial: Trial) -> Trial:
        """The trial with a value for each parameter; those that it has already, it keeps."""
        self._study.sampler = self._sampler(trial.number)
        for key, axis in self.sweep.space.items():
            _suggest(trial, key, axis)
        return trial

    def _sampler(self, number: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self.sweep.seed, number]).generate_state(1)[0])
        if self._grid is not None:
            point = {key: label(value) for key, value in self._grid[number].items()}
            return PartialFixedSampler(point, RandomSampler(seed))
        return TPESampler(seed=seed) if self.sweep.sampler == "tpe" else RandomSampler(seed)

    def values(self, trial: Trial | FrozenTrial) -> dict[str, Any]:
        """What a trial sets, by parameter: proposals as they are, not as labels, and the constants."""
        found: dict[str, Any] = {}
        for key, axis in self.sweep.space.items():
            if key not in trial.params:  # a kill came between the trial and its values
                continue
            value = trial.params[key]
            if isinstance(axis, Choices):
                value = next(one for one in axis.values if label(one) == value)
            found[key] = value
        return found | self.sweep.constants

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Record how a trial ended."""
        for name in ("seconds", "worker", "line", "log", "commit"):
            if value := getattr(outcome, name):
                trial.set_user_attr(name, value)
        if outcome.state == "complete":
            self._study.tell(trial, outcome.value)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Record a point of a trial's curve; whether the trial is hopeless."""
        if step in self._study._storage.get_trial(trial._trial_id).intermediate_values:
            return False  # told by an earlier attempt
        trial.report(value, step)
        return trial.should_prune()

    def prune(self, trial: Trial, line: str) -> None:
        """Record that a trial was ended early."""
        trial.set_user_attr("line", line)
        self._study.tell(trial, state=TrialState.PRUNED)


def _suggest(trial: Trial, key: str, axis: Range | Choices) -> None:
    if isinstance(axis, Choices):
        trial.suggest_categorical(key, [label(value) for value in axis.values])
    elif axis.integer:
        trial.suggest_int(key, int(axis.low), int(axis.high), step=int(axis.step or 1), log=axis.log)
    else:
        trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)


def _pruner(pruning: Pruning | None) -> BasePruner:
    if pruning is None:
        return NopPruner()
    options = dict(pruning.options)
    if pruning.pruner == "hyperband":
        return HyperbandPruner(**options)
    names = {"startup_trials": "n_startup_trials", "warmup_steps": "n_warmup_steps"}
    return MedianPruner(**{names[key]: value for key, value in options.items()})


def _mend(journal: Path) -> None:
    """Take away what the kill of an earlier writer has left: its lock, and half of a last line."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink()
    if journal.exists():
        whole = journal.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            os.truncate(journal, end)
