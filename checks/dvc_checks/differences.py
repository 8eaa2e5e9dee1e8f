"""By how much two versions of an output differ: arrays, metrics, tables, text, bytes."""

import csv
import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from dvc_checks import data, fastyaml
from dvc_checks.effects import leaves
from dvc_checks.output import count

LINES = 8  # what is shown of one output


def describe(old: Path, new: Path) -> list[str]:
    """Say how two files or folders differ, the largest first where that can be told; at most a few lines."""
    before, after = data.files(old), data.files(new)
    lines: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        prefix = f"{name}: " if name else ""
        if name not in after:
            lines.append(f"{prefix}is gone")
        elif name not in before:
            lines.append(f"{prefix}is new")
        elif data.digest(before[name]) != data.digest(after[name]):
            lines += [prefix + line for line in _describe_file(before[name], after[name])]
    if len(lines) > LINES:
        lines = [*lines[:LINES], f"and {count(len(lines) - LINES, 'more difference')}"]
    return lines


def _describe_file(old: Path, new: Path) -> list[str]:
    compare = {
        ".npy": _arrays,
        ".npz": _arrays,
        ".json": _values,
        ".yaml": _values,
        ".yml": _values,
        ".csv": _rows,
        ".tsv": _rows,
    }.get(new.suffix.lower(), _text)
    try:
        return list(compare(old, new)) or ["the same values, written differently"]
    except Exception:  # not what its name says, or damaged; and NumPy may not be installed
        return list(_text(old, new))


def _arrays(old: Path, new: Path) -> Iterator[str]:
    import numpy

    before, after = (numpy.load(path, allow_pickle=False, mmap_mode="r") for path in (old, new))
    if old.suffix.lower() == ".npy":
        before, after = {"": before}, {"": after}
    for name in dict.fromkeys([*before, *after]):
        prefix = f"{name}: " if name else ""
        if name not in after or name not in before:
            yield f"{prefix}{'is gone' if name not in after else 'is new'}"
            continue
        a, b = before[name], after[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            yield f"{prefix}{a.dtype}{list(a.shape)} became {b.dtype}{list(b.shape)}"
        elif a.dtype.kind in "biufc":
            yield from (prefix + line for line in _largest(numpy, a, b))
        elif not numpy.array_equal(a, b):
            yield f"{prefix}differs"


def _largest(numpy: Any, a: Any, b: Any) -> Iterator[str]:
    differing = 0
    largest, where, pair = -1.0, 0, (0.0, 0.0)
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    for start in range(0, flat_a.size, 1 << 22):
        x, y = flat_a[start : start + (1 << 22)], flat_b[start : start + (1 << 22)]
        unequal = ~((x == y) | ((x != x) & (y != y)))
        found = int(unequal.sum())
        differing += found
        if found:
            gap = numpy.where(unequal, abs(x.astype(complex if a.dtype.kind == "c" else float) - y), 0)
            gap = numpy.where(numpy.isnan(gap), numpy.inf, gap)
            place = int(gap.argmax())
            if gap[place] > largest:
                largest, where, pair = float(gap[place]), start + place, (x[place].item(), y[place].item())
    if differing:
        index = [int(i) for i in numpy.unravel_index(where, a.shape)]
        yield (
            f"largest difference {largest:.3g}, at {index}: {pair[0]:.9g} became {pair[1]:.9g}; "
            f"{differing:,} of {a.size:,} values differ"
        )


def read_values(path: Path) -> Any:
    """The values of a JSON or YAML file.

    Raises
    ------
    ValueError : for a file that is neither
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply to be read") from None
    try:
        return fastyaml.load(text)
    except YAMLError as error:
        raise ValueError(str(error)) from None


def is_number(value: Any) -> bool:
    """Whether a value is a number a difference can be taken of (True and False are not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(old: Any, new: Any) -> bool:
    """Whether two values are equal; NaN equals itself here."""
    return old == new or (old != old and new != new)


def deltas(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """The leaves that differ as (key, old, new), the largest relative change first; None: not there."""
    before, after = dict(leaves(old)), dict(leaves(new))
    changed = [
        (key, before.get(key), after.get(key))
        for key in dict.fromkeys([*before, *after])
        if not same(before.get(key), after.get(key)) or (key in before) != (key in after)
    ]

    def size(item: tuple[str, Any, Any]) -> float:
        _, a, b = item
        return abs(b - a) / max(abs(a), abs(b)) if is_number(a) and is_number(b) else 2.0

    return sorted(changed, key=size, reverse=True)


def _values(old: Path, new: Path) -> Iterator[str]:
    for key, a, b in deltas(read_values(old), read_values(new)):
        delta = f" ({b - a:+.6g})" if is_number(a) and is_number(b) else ""
        yield f"{key} {_brief(a)} became {_brief(b)}{delta}"


def _brief(value: Any) -> str:
    text = f"{value:.9g}" if isinstance(value, float) else json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:39] + "…"


def _rows(old: Path, new: Path) -> Iterator[str]:
    delimiter = "\t" if new.suffix.lower() == ".tsv" else ","
    before, after = (
        list(csv.reader(path.read_text(encoding="utf-8").splitlines(), delimiter=delimiter))
        for path in (old, new)
    )
    if not before or not after or before[0] != after[0] or len(before) != len(after):
        yield f"{count(len(before), 'row')} became {count(len(after), 'row')}"
        return
    changed = [(a, b) for a, b in zip(before[1:], after[1:], strict=True) if a != b]
    yield f"{len(changed):,} of {len(before) - 1:,} rows differ"
    for column, name in enumerate(before[0]):
        pairs = [(a[column], b[column]) for a, b in changed if a[column] != b[column]]
        if pairs:
            try:
                largest = f"largest difference {max(abs(float(b) - float(a)) for a, b in pairs):.3g}"
            except ValueError:
                largest = f"for example {pairs[0][0]} became {pairs[0][1]}"
            yield f"column {name}: {count(len(pairs), 'value differs', 'values differ')}, {largest}"


def _text(old: Path, new: Path) -> Iterator[str]:
    before, after = old.read_bytes(), new.read_bytes()
    size = (
        f"{len(before):,} bytes became {len(after):,}"
        if len(before) != len(after)
        else f"{len(after):,} bytes"
    )
    if b"\0" in before[:8192] or b"\0" in after[:8192]:
        place = next(
            (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
            min(map(len, (before, after))),
        )
        yield f"{size}; the first difference is at byte {place:,}"
        return
    lines = zip_longest(before.splitlines(), after.splitlines())
    for number, (a, b) in enumerate(lines, 1):
        if a != b:
            yield f"{size}; the first difference is in line {number}"
            return
