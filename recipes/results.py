"""What each recipe is and what it reached, read from its folder: about.yaml, reports/ and timings.json."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mnistcore.errors import InputError

HERE = Path(__file__).parent
TIMINGS = HERE / "timings.json"


def names() -> list[str]:
    """The recipes in the order of recipes/dvc.yaml, the one place that lists them."""
    for entry in _yaml(HERE / "dvc.yaml")["vars"]:
        if "recipes" in entry:
            return list(entry["recipes"])
    raise InputError(f"{HERE / 'dvc.yaml'}: vars has no list 'recipes'")


def load(name: str) -> "Result":
    """Read one recipe. `about.yaml` and a timing are optional; the reports are not.

    Raises
    ------
    InputError : for a recipe that has not been run
    """
    folder = HERE / name
    about = folder / "about.yaml"
    try:
        metrics = json.loads((folder / "reports" / "metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{name}: has no reports/metrics.json; run `python -m recipes run {name}` first"
        ) from None
    timings = json.loads(TIMINGS.read_text(encoding="utf-8")) if TIMINGS.exists() else {"recipes": {}}
    return Result(
        name=name,
        about=_yaml(about) if about.exists() else {},
        metrics=metrics,
        timing=timings["recipes"].get(name),
    )


@dataclass(frozen=True)
class Result:
    """A recipe's description (`about.yaml`), its metrics, and its timing if it was measured."""

    name: str
    about: dict[str, Any]
    metrics: dict[str, Any]
    timing: dict[str, float] | None

    @property
    def seeds(self) -> list[int]:
        """The seeds trained; a single one is not named by the metrics."""
        return self.metrics["seeds"]["list"] if "seeds" in self.metrics else [0]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed."""
        if "seeds" in self.metrics:
            return self.metrics["seeds"]["test"]["accuracy"]["each"]
        return [self.metrics["test"]["accuracy"]]

    @property
    def mean(self) -> float:
        """Test accuracy, the mean over the seeds."""
        return float(np.mean(self.accuracies))

    @property
    def sd(self) -> float:
        """Sample standard deviation of the test accuracy over the seeds; NaN for one seed."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else float("nan")

    @property
    def reached(self) -> bool:
        """Whether the mean is where RECIPES.md wants it."""
        low, high = self.about.get("between", (self.about.get("at_least", 0.0), 1.0))
        return low <= self.mean <= high

    def curve(self, what: str) -> np.ndarray:
        """One learning curve of the first seed, such as "loss": (epochs, 2) float64, epoch and value."""
        path = HERE / self.name / "reports" / "curves" / "plots" / "metrics" / "train" / f"{what}.tsv"
        return np.loadtxt(path, skiprows=1, ndmin=2, delimiter="\t")

    @cached_property
    def epochs(self) -> int:
        """How many epochs the first seed was trained for."""
        return len(self.curve("loss"))

    def confusion(self) -> np.ndarray:
        """How often each class (row) was taken for each class (column) by the first seed's network."""
        pairs = np.loadtxt(
            HERE / self.name / "reports" / "predictions.csv",
            delimiter=",",
            skiprows=1,
            usecols=(0, 1),
            dtype=int,
        )
        counts = np.zeros((pairs.max() + 1,) * 2, dtype=int)
        np.add.at(counts, (pairs[:, 0], pairs[:, 1]), 1)
        return counts


def _yaml(path: Path) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
