"""metrics.json: what its figures can be, its one writer and its one reader. Written by evaluate."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from mnistcore.arguments import ArgumentError, AtLeast, Bounds, Checked, Count, NotNegative, Whole, check
from mnistcore.errors import InputError
from mnistcore.evaluation.metrics import DECIMALS, rounded
from mnistcore.files import read_json, replacing

SETS = ("train", "validation", "test")  # the second only where images were held out
Share = Annotated[float, Bounds(least=0, most=1)]


@dataclass(frozen=True)
class Scores(Checked):
    """The metrics of one set of images, field by field as `metrics.summary` has them.

    Raises
    ------
    ArgumentError : for what is none of it, or does not go together
    """

    accuracy: Share
    accuracy_ci95: tuple[Share, Share]
    error_rate: Share
    errors: Whole
    examples: Count
    loss: NotNegative
    macro_f1: Share
    expected_calibration_error: Share

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.accuracy_ci95
        right = 1 - self.errors / self.examples
        almost = 2 * 10**-DECIMALS
        if not (
            math.isclose(self.accuracy, right, rel_tol=0, abs_tol=almost)
            and math.isclose(self.error_rate, 1 - right, rel_tol=0, abs_tol=almost)
            and low - almost <= self.accuracy <= high + almost
        ):
            raise ArgumentError(
                "Scores", ("accuracy",), f"not that of {self.errors} errors in {self.examples}"
            )


@dataclass(frozen=True)
class Spread(Checked):
    """One metric over several seeds, as `metrics.over_seeds` has it."""

    mean: NotNegative
    sd: NotNegative
    each: Annotated[tuple[NotNegative, ...], AtLeast(2)]


def write_metrics(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write metrics as JSON, rounded, the same bytes every time.

    Parameters
    ----------
    content : for each of `SETS` a summary; that of test with "per_class"; and, of several seeds, "seeds"

    Raises
    ------
    ArgumentError : for what `read_metrics` would refuse
    """
    content = rounded(dict(check(Mapping, content, "write_metrics", "content")))
    _check(content)
    with replacing(path, "w") as file:
        json.dump(content, file, ensure_ascii=False, indent=2)
        file.write("\n")


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_metrics` wrote.

    Raises
    ------
    InputError : missing, not JSON, or anything that evaluate does not write; names the figure
    """
    content = read_json(path, "evaluate")
    try:
        _check(content)
    except ArgumentError as error:
        raise InputError(f"{path}: {error.line()}; run evaluate again") from None
    return content


def _check(content: Any) -> None:
    _keys(content, ("train", "test"), ("validation", "seeds"))
    for name in SETS:
        if name in content:
            _made(Scores, content[name], name, beside=("per_class",) if name == "test" else ())
    shares = _keys(content["test"]["per_class"], ("precision", "recall"), (), "test", "per_class")
    for name, of_classes in shares.items():
        path = ("test", "per_class", name)
        for label, share in check(dict, of_classes, "", *path).items():
            check(Share, share, "", *path, label)
    if "seeds" not in content:
        return
    given = {name for name in SETS if name in content}
    seeds = _keys(content["seeds"], ("list", *given), (), "seeds")
    count = len(check(Annotated[tuple[Whole, ...], AtLeast(2)], seeds["list"], "", "seeds", "list"))
    names = [name for name in Scores.__dataclass_fields__ if name not in ("examples", "accuracy_ci95")]
    for name in given:
        for metric, spread in _keys(seeds[name], names, (), "seeds", name).items():
            if len(_made(Spread, spread, "seeds", name, metric).each) != count:
                raise ArgumentError("", ("seeds", name, metric, "each"), f"should be {count} figures")


def _keys(value: Any, needed: Sequence[str], maybe: Sequence[str], *path: str) -> dict[str, Any]:
    keys = set(check(dict, value, "", *path))
    if not set(needed) <= keys <= {*needed, *maybe}:
        raise ArgumentError("", path, f"should have the keys {', '.join(needed)}, and no others")
    return value


def _made(kind: type, value: Any, *path: str, beside: Sequence[str] = ()) -> Any:
    """The dataclass of the figures in a mapping, which may have keys beside its own."""
    own = tuple(kind.__dataclass_fields__)
    values = _keys(value, (*own, *beside), (), *path)
    try:
        return kind(**{name: values[name] for name in own})
    except ArgumentError as error:
        raise ArgumentError("", (*path, *error.path), error.problem, error.value) from None
