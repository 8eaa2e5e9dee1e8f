"""What each recipe is and what it reached, read from its folder: about.yaml, reports/ and timings.json."""

import json
import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mnistcore.arguments import ArgumentError, Checked
from mnistcore.errors import InputError
from mnistcore.evaluation.metrics import confusion_matrix
from mnistcore.evaluation.metrics_file import read_metrics
from stages import schema
from stages.curves import read_curves
from stages.parameters import shown

HERE = Path(__file__).parent
TIMINGS = HERE / "timings.json"


@dataclass(frozen=True)
class Printed(Checked):
    """The table that a notebook printed: text, since every digit counts."""

    passes: tuple[int, ...]
    error: tuple[str, ...]
    accuracy: tuple[str, ...]
    test_error: str
    test_accuracy: str


@dataclass(frozen=True)
class About(Checked):
    """`about.yaml`, what a recipe's own figures do not say; every key is optional.

    published : the test accuracy that the notebook printed; published_note : what is said in its place
    at_least, between : where the mean test accuracy has to be
    what, wrong, right : the story, Markdown; {NAME} in it is the accuracy of a recipe, {NAME:epochs} its epochs
    differs : what else differs from the notebook
    """

    published: float | None = None
    published_note: str = ""
    at_least: float | None = None
    between: tuple[float, float] | None = None
    what: str = ""
    wrong: str = ""
    differs: str = ""
    right: str = ""
    printed: Printed | None = None


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
    InputError : a recipe that has not been run, or an about.yaml that is not one
    """
    folder = HERE / name
    if not (folder / "reports" / "metrics.json").exists():
        raise InputError(f"{name}: has no reports/metrics.json; run `python -m recipes run {name}` first")
    metrics = read_metrics(folder / "reports" / "metrics.json")
    timings = json.loads(TIMINGS.read_text(encoding="utf-8")) if TIMINGS.exists() else {"recipes": {}}
    return Result(
        name=name,
        about=_about(folder / "about.yaml"),
        metrics=metrics,
        timing=timings["recipes"].get(name),
    )


@dataclass(frozen=True)
class Result:
    """A recipe's description (`about.yaml`), its metrics, and its timing if it was measured."""

    name: str
    about: About
    metrics: dict[str, Any]
    timing: dict[str, float] | None

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed."""
        if "seeds" in self.metrics:
            return self.metrics["seeds"]["test"]["accuracy"]["each"]
        return [self.metrics["test"]["accuracy"]]

    @property
    def mean(self) -> float:
        """Test accuracy, the mean over the seeds."""
        return statistics.fmean(self.accuracies)

    @property
    def sd(self) -> float:
        """Sample standard deviation of the test accuracy over the seeds; NaN for one seed."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan

    @property
    def reached(self) -> bool:
        """Whether the mean is where RECIPES.md wants it."""
        low, high = self.about.between or (self.about.at_least or 0.0, 1.0)
        return low <= self.mean <= high

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """The learning curves of the first seed, such as "train/loss": (epochs, 2), epoch and value."""
        return read_curves(HERE / self.name / "reports" / "curves")

    @property
    def epochs(self) -> int:
        """How many epochs the first seed was trained for."""
        return len(self.curves["train/loss"])

    def confusion(self) -> np.ndarray:
        """How often each class (row) was taken for each class (column) by the first seed's network."""
        path = HERE / self.name / "reports" / "predictions.csv"
        pairs = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1), dtype=np.int64)
        return confusion_matrix(*pairs.T, int(pairs.max()) + 1)


def _about(path: Path) -> About:
    if not path.exists():
        return About()
    try:
        return schema.build(About, _yaml(path))
    except ArgumentError as error:
        raise InputError(f"{path}: {error.line(shown=shown)}") from None


def _yaml(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())[:200]}") from None
