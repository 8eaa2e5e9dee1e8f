"""Where a metric stands for several seeds: in one file, or in the files of a `foreach` or `matrix` over seeds."""

import ast
import re
from collections.abc import Iterator
from typing import Any

from dvc_checks.differences import is_number
from dvc_checks.stages import Stage

LISTS = ("seeds", "seed", "list")  # keys of a list that says which seeds the other lists are of
BETTER = re.compile(
    r"acc|auc|f1|precision|recall|score|r2|iou|dice|bleu|rouge|map\b|sensitivity|specificity|reward"
)
WORSE = re.compile(r"loss|err|mae|mse|rmse|mape|perplexity|brier|logloss|nll|wer\b|cer\b|fid\b|distance")


def samples(values: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, float]]]:
    """Every metric that has a value for each of several seeds: (key, seed: value).

    Taken for such are the values below a key that has "seed" in its name, or is one of `keys`: a mapping
    from whole numbers to values (or to sections that hold one), and lists as long as the list of seeds
    beside or above them. Numbers for each class of a classifier look the same, so nothing else is.
    """
    yield from _samples(values, "", None, False, keys)


def _samples(
    values: Any, prefix: str, named: list[str] | None, below: bool, keys: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, float]]]:
    if not isinstance(values, dict):
        return
    own = next((v for k in LISTS if _is_list(v := values.get(k)) and (below or k != "list")), None)
    if own is not None:
        named = [str(seed) for seed in own]
    if below and len(values) > 1 and all(re.fullmatch(r"\d+", str(key)) for key in values):
        yield from _by_seed({str(seed): value for seed, value in values.items()}, prefix)
        return
    for key, value in values.items():
        dotted = f"{prefix}.{key}" if prefix else str(key)
        if value is own:
            continue
        if named and _is_list(value) and len(value) == len(named):
            yield dotted.removesuffix(".each"), dict(zip(named, value, strict=True))
        else:
            yield from _samples(
                value, dotted, named, below or "seed" in str(key).lower() or dotted in keys, keys
            )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(map(is_number, value))


def _by_seed(sections: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, float]]]:
    """One sample of values, or one for each number that all sections hold."""
    if all(map(is_number, sections.values())):
        yield prefix, sections
    elif all(isinstance(section, dict) for section in sections.values()):
        for key in next(iter(sections.values())):
            inner = {seed: section.get(key) for seed, section in sections.items()}
            yield from _by_seed(inner, f"{prefix}.{key}" if prefix else str(key))


def of_stage(stage: Stage, over: str) -> tuple[str, str] | None:
    """The group (`train@*`) and the seed of a stage that was expanded over seeds; `over` is what it goes over."""
    suffix = stage.key.removeprefix(f"{stage.entry}@")
    name = stage.name.removesuffix(stage.key) + stage.entry
    try:
        axes = list(ast.literal_eval(over))
    except (ValueError, SyntaxError):
        axes = []
    parts = suffix.split("-")
    if "seed" not in over.lower():
        return None
    if len(axes) == len(parts) and all(isinstance(axis, str) for axis in axes) and over.startswith("{"):
        place = next((i for i, axis in enumerate(axes) if "seed" in axis.lower()), None)
        if place is None:
            return None
        group = "-".join("*" if i == place else part for i, part in enumerate(parts))
        return f"{name}@{group}", parts[place]
    return f"{name}@*", suffix


def sign(name: str) -> int:
    """+1 where more is better, by the name of a metric, -1 where less is, 0 where that cannot be told."""
    last = name.lower().rpartition(": ")[2]
    if WORSE.search(last):
        return -1
    return 1 if BETTER.search(last) else 0
