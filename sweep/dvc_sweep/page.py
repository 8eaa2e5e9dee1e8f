"""The page of a sweep: history, importances, parallel coordinates and slices, in one file that needs nothing else.

The pictures are SVG, drawn here; Optuna computes the importances. They are what its own visualisations show, in a
file of some kilobytes where Plotly's script alone has four megabytes.
"""

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jinja2
from optuna.trial import FrozenTrial, TrialState

from dvc_sweep.space import Choices, Range, label, shown
from dvc_sweep.study import Study
from dvc_sweep.terminal import STATES, counted, ranked

# Dark to light as Matplotlib's viridis, the lightest left out: worst to best.
COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (190, 220, 50))
MOST_LINES = 2000  # trials in a picture; of more, the best
GENERATOR = '<meta name="generator" content="dvc-sweep">'
FEWEST = 10  # complete trials that importances are made of


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, from 0 to 1, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """An axis: numbers between two ends, in proportion or by their logarithm, or categories."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    categories: tuple[Any, ...] = ()

    def at(self, value: Any) -> float:
        """Where `value` is, from 0 to 1."""
        if self.categories:
            return (self.categories.index(value) + 0.5) / len(self.categories)
        low, high, value = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self, most: int = 5) -> list[Tick]:
        if self.categories:
            return [
                Tick(self.at(one), shown(one) if not isinstance(one, str) else one) for one in self.categories
            ]
        if self.log and self.high / self.low >= 10:
            powers = range(
                math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1
            )
            every = max(1, math.ceil(len(powers) / most))
            found = [10.0**power for power in powers][::every]
            if len(found) < 3:  # a decade or two: their ends, too
                found = sorted({self.low, *found, self.high})
        else:
            rough = (self.high - self.low) / most or 1.0
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough * 0.999)
            first = math.ceil(self.low / step - 1e-9)
            found = [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [Tick(self.at(one), f"{one:.6g}") for one in found]


def scale_of(axis: Range | Choices) -> Scale:
    """The axis of a parameter, from one end of its space to the other."""
    if isinstance(axis, Choices):
        return Scale(categories=tuple(label(value) for value in axis.values))
    return Scale(axis.low, axis.high, axis.log)


def _around(values: Sequence[float]) -> Scale:
    """An axis for these values, with a little space on either side."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return Scale(low - margin, high + margin)


def _colour(part: float) -> str:
    place = min(max(part, 0.0), 1.0) * (len(COLOURS) - 1)
    index = min(int(place), len(COLOURS) - 2)
    mixed = (
        round(one + (other - one) * (place - index))
        for one, other in zip(COLOURS[index], COLOURS[index + 1], strict=True)
    )
    return "#" + "".join(f"{one:02x}" for one in mixed)


def importances(study: Study) -> dict[str, float]:
    """How far each parameter tells the best tenth of the trials from all, by PED-ANOVA; or nothing."""
    complete = [one for one in study.trials if one.state == TrialState.COMPLETE]
    if len(complete) < FEWEST or len({one.value for one in complete}) < 2 or len(study.sweep.space) < 2:
        return {}
    from optuna.importance import get_param_importances  # loads scikit-learn, 90 MB

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = get_param_importances(study.study)
        except (RuntimeError, ValueError):  # too few trials
            return {}
    return found if all(math.isfinite(value) for value in found.values()) and any(found.values()) else {}


def write(path: Path, name: str, study: Study) -> None:
    """Write the page of a study to `path`, whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dvc_sweep", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("page.html.j2").render(_context(name, study))
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def may_be_written(path: Path) -> bool:
    """Whether there is nothing at `path`, or a page of a sweep."""
    if not path.exists():
        return True
    return path.is_file() and GENERATOR in path.read_text(encoding="utf-8", errors="replace")[:2000]


def value_of(one: FrozenTrial) -> float:
    """The value of a complete trial."""
    return cast("float", one.value)


def _context(name: str, study: Study) -> dict[str, Any]:
    maximize = study.sweep.objective.direction == "maximize"
    complete = [one for one in ranked(study) if one.state == TrialState.COMPLETE][:MOST_LINES]
    values = [value_of(one) for one in complete]
    objective = _around(values)
    worst, best = (
        (min(values), max(values)) if maximize else (max(values), min(values)) if values else (0.0, 1.0)
    )
    scales = {key: scale_of(axis) for key, axis in study.sweep.space.items()}

    def goodness(one: FrozenTrial) -> float:
        return (value_of(one) - worst) / (best - worst) if best != worst else 1.0

    def title(one: FrozenTrial) -> str:
        settings = ", ".join(f"{key} {_number(one.params[key])}" for key in scales)
        return f"{name}-{one.number}: {_number(one.value)} ({settings})"

    points = [
        {
            "number": one.number,
            "y": objective.at(value_of(one)),
            "params": {key: scale.at(one.params[key]) for key, scale in scales.items()},
            "colour": _colour(goodness(one)),
            "title": title(one),
            "best": index == 0,
        }
        for index, one in enumerate(complete)
    ]
    points.reverse()  # the best are drawn last, on top
    so_far, course = None, []
    for one in sorted(complete, key=lambda one: one.number):
        value = value_of(one)
        if so_far is None or (value > so_far if maximize else value < so_far):
            so_far = value
            course.append((one.number, objective.at(so_far)))
    last = max((one.number for one in study.trials), default=0)
    return {
        "name": name,
        "objective": study.sweep.objective,
        "sampler": study.sweep.sampler,
        "constants": {key: shown(value) for key, value in study.sweep.constants.items()},
        "summary": counted(study),
        "best": complete[0] if complete else None,
        "points": points,
        "course": course,
        "numbers": Scale(-0.5, last + 0.5),
        "scale": objective,
        "scales": scales,
        "importances": importances(study),
        "others": [
            (one.number, STATES[one.state])
            for one in study.trials
            if one.state in (TrialState.FAIL, TrialState.PRUNED)
        ],
        "rows": [
            (
                one.number,
                _number(one.value) if one.state == TrialState.COMPLETE else STATES[one.state],
                [_number(one.params.get(key)) for key in scales],
                one.user_attrs.get("line", ""),
            )
            for one in ranked(study)[:MOST_LINES]
        ],
    }


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else shown(value)
