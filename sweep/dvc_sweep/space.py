"""A sweep as its YAML file describes it: the space, the objective, how to search; every line checked.

Whether the keys exist and the pipeline takes the values is for `project` to say.
"""

import difflib
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dvc_sweep.errors import BadInput

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = {
    "median": ("startup_trials", "warmup_steps"),
    "hyperband": ("min_resource", "max_resource", "reduction_factor"),
}
LARGEST_GRID = 1_000_000
PARAMETERS = "params.yaml"  # where DVC looks for a parameter whose file is not named


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; of integers if both are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self) -> list[float] | None:
        """All the values, if they can be counted."""
        if self.step is None and not (self.integer and not self.log):
            return None
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step or 1))
        count = int((high - low) // step) + 1
        if count > LARGEST_GRID:
            return None
        kind = int if self.integer else float
        return [kind(low + index * step) for index in range(count)]  # in decimals: 0.1, 0.2, 0.3

    def ends(self) -> list[Any]:
        return [self.low, self.high]


@dataclass(frozen=True)
class Choices:
    """One of a few values of any kind that YAML knows."""

    values: tuple[Any, ...]

    def grid(self) -> list[Any]:
        return list(self.values)

    ends = grid


@dataclass(frozen=True)
class Objective:
    """The number to be made as large or as small as can be: `key` of the metrics file `file`."""

    file: str
    key: str
    direction: Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Pruning:
    """Which curve tells of a hopeless trial, and the pruner that judges it."""

    curve: str
    pruner: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A whole sweep file."""

    objective: Objective
    space: dict[str, Range | Choices]
    constants: dict[str, Any]
    target: str | None = None
    sampler: str = "tpe"
    seed: int = 0
    pruning: Pruning | None = None
    check: str | None = None

    def grid(self) -> list[dict[str, Any]]:
        """The points of the grid, the last key changing fastest."""
        axes = [axis.grid() or [] for axis in self.space.values()]
        return [dict(zip(self.space, point, strict=True)) for point in itertools.product(*axes)]

    def corners(self) -> list[dict[str, Any]]:
        """A few points that have every choice and both ends of every range among them."""
        ends = {key: axis.ends() for key, axis in self.space.items()}
        most = max(len(values) for values in ends.values())
        return [
            {key: values[min(index, len(values) - 1)] for key, values in ends.items()} | self.constants
            for index in range(most)
        ]


def read(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises
    ------
    BadInput : naming the file and the key, for anything that is not a sweep
    """
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise BadInput(f"{path}: not readable as YAML: nested too deeply") from None
    except (YAMLError, ValueError) as error:
        where, problem = "", str(error)
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            where, problem = f"line {error.problem_mark.line + 1}: ", error.problem or problem
        raise BadInput(f"{path}: {where}not readable as YAML: {problem[:200]}") from None
    try:
        return _sweep(document)
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}") from None
    except RecursionError:
        raise BadInput(
            f"{path}: nested too deeply; does an alias stand for a list or map that it is in?"
        ) from None


def _sweep(document: Any) -> Sweep:
    optional = ("target", "sampler", "seed", "constants", "pruning", "check")
    _keys("", document, ("objective", "space"), optional)
    target, check = document.get("target"), document.get("check")
    for name, value in (("target", target), ("check", check)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise BadInput(f"{name}: should be text, is {shown(value)}")
    sampler = document.get("sampler", "tpe")
    if sampler not in SAMPLERS:
        raise BadInput(f"sampler: should be one of {', '.join(SAMPLERS)}, is {shown(sampler)}")
    seed = document.get("seed", 0)
    if not _is_integer(seed) or not 0 <= seed < 2**32:
        raise BadInput(f"seed: should be an integer from 0 to {2**32 - 1}, is {shown(seed)}")
    constants = document.get("constants") or {}
    for name, mapping in (("space", document["space"]), ("constants", constants)):
        if not isinstance(mapping, dict) or not all(isinstance(key, str) and key for key in mapping):
            raise BadInput(f"{name}: should be parameters and their values, is {shown(mapping)}")
    if not document["space"]:
        raise BadInput("space: is empty")
    space = {key: _axis(f"space: {key}", value) for key, value in document["space"].items()}
    for key, value in constants.items():
        _value(f"constants: {key}", value)
    _no_overlaps([("space", key) for key in space] + [("constants", key) for key in constants])
    if sampler == "grid":
        for key, axis in space.items():
            if axis.grid() is None:
                raise BadInput(f"space: {key}: a grid needs a list of values, or a range with a step")
        if (size := math.prod(len(axis.grid() or ()) for axis in space.values())) > LARGEST_GRID:
            raise BadInput(f"space: a grid of {size:,} points; {LARGEST_GRID:,} is the most")
    return Sweep(
        _objective(document["objective"]), space, constants, target, sampler, seed,
        _pruning(document.get("pruning")), check,
    )  # fmt: skip


def _no_overlaps(keys: list[tuple[str, str]]) -> None:
    """Refuse two keys, each after its section, of which one sets what the other does, or a part of it."""
    for (earlier, other), (where, key) in itertools.combinations(keys, 2):
        (file, name), (other_file, other_name) = split(key), split(other)
        if file == other_file and f"{name}.".startswith(f"{other_name}."):
            within = "the same as" if name == other_name else "a part of"
            raise BadInput(f"{where}: {key}: is {within} {other} in the {earlier}; take one of the two out")
        if file == other_file and f"{other_name}.".startswith(f"{name}."):
            raise BadInput(f"{where}: {key}: has {other} of the {earlier} in it; take one of the two out")


def split(key: str) -> tuple[str, str]:
    """A parameter's file and its name in it: `other.yaml:train.epochs`, or just `train.epochs`."""
    file, separator, name = key.rpartition(":")
    return (os.path.normpath(file), name) if separator else (PARAMETERS, key)


def _objective(value: Any) -> Objective:
    _keys("objective", value, ("file", "key", "direction"))
    for name in ("file", "key"):
        if not isinstance(value[name], str) or not value[name]:
            raise BadInput(f"objective: {name}: should be text, is {shown(value[name])}")
    if value["direction"] not in ("minimize", "maximize"):
        raise BadInput(
            f"objective: direction: should be minimize or maximize, is {shown(value['direction'])}"
        )
    return Objective(value["file"], value["key"], value["direction"])


def _axis(where: str, value: Any) -> Range | Choices:
    if isinstance(value, list):
        return _choices(where, value)
    if not isinstance(value, dict):
        raise BadInput(
            f"{where}: should be a list of values or a range {{low: …, high: …}}, is {shown(value)}"
        )
    _keys(where, value, ("low", "high"), ("log", "step"))
    low, high, log, step = value["low"], value["high"], value.get("log", False), value.get("step")
    for name, number in (("low", low), ("high", high), ("step", step)):
        if not _is_number(number) and not (name == "step" and number is None):
            raise BadInput(f"{where}: {name}: should be a finite number, is {shown(number)}")
    if not isinstance(log, bool):
        raise BadInput(f"{where}: log: should be true or false, is {shown(log)}")
    if not low < high:
        raise BadInput(f"{where}: low should be below high, but {low} is not below {high}")
    if not math.isfinite(float(high) - float(low)):
        raise BadInput(
            f"{where}: high - low should be a finite number, but {low} and {high} are too far apart"
        )
    if log and low <= 0:
        raise BadInput(f"{where}: low: should be above 0 where log is true, is {low}")
    if log and step is not None:
        raise BadInput(f"{where}: has both log and step; one of them has to go")
    if step is not None and not 0 < step <= high - low:
        raise BadInput(f"{where}: step: should be above 0 and at most high - low, is {step}")
    if step is not None and (high - low) / step > 2**53:
        raise BadInput(f"{where}: step: is too small for a range from {low} to {high}, is {step}")
    integer = _is_integer(low) and _is_integer(high) and (step is None or _is_integer(step))
    if not integer:
        low, high, step = float(low), float(high), None if step is None else float(step)
    return Range(low, high, log, step)


def _choices(where: str, values: list[Any]) -> Choices:
    if not values:
        raise BadInput(f"{where}: the list is empty")
    for value in values:
        _value(where, value)
    labels = [label(value) for value in values]
    for index, value in enumerate(values):
        if (first := labels.index(labels[index])) == index:
            continue
        if shown(values[first]) == shown(value):
            raise BadInput(f"{where}: {shown(value)} is there twice")
        both = f"{shown(values[first])} and {shown(value)}"  # 1 and true, or 1 and 1.0
        raise BadInput(f"{where}: DVC and Optuna take {both} for the same; take one of the two out")
    return Choices(tuple(values))


def _value(where: str, value: Any) -> None:
    """Refuse what cannot be handed to `dvc exp run --set-param`."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_]\w*", key):
                raise BadInput(f"{where}: the key {shown(key)} cannot be handed to dvc")
            _value(f"{where}.{key}", one)
    elif isinstance(value, list):
        for one in value:
            _value(where, one)
    elif isinstance(value, str):
        if "${" in value or "\n" in value:
            raise BadInput(
                f"{where}: {shown(value)} has '${{' or a line break in it, which dvc does not take"
            )
    elif value is not None and not isinstance(value, bool) and not _is_number(value):
        raise BadInput(
            f"{where}: should be a number, text, true, false, null, or a list or map of them, is {shown(value)}"
        )


def _pruning(value: Any) -> Pruning | None:
    if value is None:
        return None
    every = dict.fromkeys(itertools.chain.from_iterable(PRUNERS.values()))
    _keys("pruning", value, ("curve",), ("pruner", *every))
    curve, pruner = value["curve"], value.get("pruner", "median")
    if not isinstance(curve, str) or not curve:
        raise BadInput(f"pruning: curve: should be a file that DVCLive writes, is {shown(curve)}")
    if not isinstance(pruner, str) or pruner not in PRUNERS:
        raise BadInput(f"pruning: pruner: should be one of {', '.join(PRUNERS)}, is {shown(pruner)}")
    options = {key: one for key, one in value.items() if key not in ("curve", "pruner")}
    for key, number in options.items():
        if key not in PRUNERS[pruner]:
            raise BadInput(
                f"pruning: {key}: is not of the pruner {pruner}, which has {', '.join(PRUNERS[pruner])}"
            )
        least = {"reduction_factor": 2, "min_resource": 1, "max_resource": 1}.get(key, 0)
        if not _is_integer(number) or number < least:
            raise BadInput(f"pruning: {key}: should be an integer of {least} or more, is {shown(number)}")
    least, most = options.get("min_resource", 1), options.get("max_resource")
    if most is not None and most < least:
        raise BadInput(f"pruning: max_resource: should be min_resource ({least}) or more, is {most}")
    return Pruning(curve, pruner, options)


def _keys(where: str, value: Any, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    prefix = f"{where}: " if where else ""
    known = [*required, *optional]
    if not isinstance(value, Mapping):
        raise BadInput(f"{prefix}should have the keys {', '.join(known)}, is {shown(value)}")
    for key in value:
        if key not in known:
            raise BadInput(f"{prefix}unknown key {shown(key)}{nearest(key, known)}")
    for key in required:
        if key not in value:
            raise BadInput(f"{prefix}has no '{key}'")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # an integer may be larger than any float


def label(value: Any) -> str | float | int | bool | None:
    """What stands for a choice in the study: itself, or its JSON if it is a list or a map."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def shown(value: Any) -> str:
    """A value in one short line, in the words of YAML."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def nearest(key: Any, known: Iterable[str]) -> str:
    """`; did you mean '…'?`, or nothing."""
    close = difflib.get_close_matches(str(key), list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
