"""Checkpoints: where a training run stands, so that a killed one continues to the same bits.

All random draws are named by (seed, purpose, position), so the position is all
of the random state that there is.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np

from mnistcore.arguments import NotNegative, check
from mnistcore.arrays import save_arrays


class State(NamedTuple):
    """All that a run remembers between two steps; flat, since each field is an entry of the file.

    step : steps done of the epoch begun
    updates : steps done in all
    finished : whether the run is over, and `parameters` its result
    best_loss, clean_loss : what stopping rules and schedules go by
    parameters (P,), slots (slots, P) of the optimiser, average (P,) and best (P,) or length 0
    history (epochs, 7) : the figures of the epochs done
    losses, correct : of the examples done in the epoch begun
    """

    step: int
    updates: int
    finished: bool
    best_loss: float
    clean_loss: float
    parameters: np.ndarray
    slots: np.ndarray
    average: np.ndarray
    best: np.ndarray
    history: np.ndarray
    losses: np.ndarray
    correct: np.ndarray

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return len(self.history)


class Checkpoint:
    """The checkpoint of one run, in one file.

    Parameters
    ----------
    path : the file
    fingerprint : names what the run computes from (parameters, data, code); called when first needed,
        as it may have to read all the data
    seconds : how often to write

    Attributes
    ----------
    foreign : whether `load` found a file that is damaged or of another run
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Callable[[], str], seconds: float) -> None:
        self.path, self.foreign = Path(path), False
        self.seconds = check(NotNegative, seconds, "Checkpoint", "seconds")
        check(Callable[[], str], fingerprint, "Checkpoint", "fingerprint")
        self._make_fingerprint = fingerprint
        self._fingerprint: str | None = None
        self._last = monotonic()

    def _of_run(self) -> str:
        if self._fingerprint is None:
            self._fingerprint = self._make_fingerprint()
        return self._fingerprint

    def load(self) -> State | None:
        """The state to continue from; None if there is no checkpoint of this run."""
        self.foreign = False
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                header = json.loads(str(file["header"][()]))
                if header.pop("fingerprint") == self._of_run():
                    arrays = {name: file[name] for name in file.files if name != "header"}
                    return State(**header, **arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile):
            pass
        self.foreign = True
        return None

    def due(self) -> bool:
        """Whether it is time to write."""
        return monotonic() - self._last >= self.seconds

    def save(self, state: State) -> None:
        """Write the state; a kill leaves the checkpoint before it or this one."""
        header, arrays = {"fingerprint": self._of_run()}, {}
        for name, value in state._asdict().items():
            (arrays if isinstance(value, np.ndarray) else header)[name] = value
        save_arrays(self.path, {"header": np.array(json.dumps(header)), **arrays})
        self._last = monotonic()
