"""`dvc-checks compare`: what moved between two commits, and is it more than chance?

Parameters and metrics are set side by side. Predictions (a table with the
columns `actual` and `predicted`, one row an example) are compared example by
example with an exact McNemar test; several such tables are corrected by Holm.
"""

import csv
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc_checks import data, differences, effects, internals, pipeline, snapshot, statistics
from dvc_checks.errors import BadInput
from dvc_checks.pipeline import Pipeline
from dvc_checks.stages import Stage

WORKSPACE = "workspace"
PICTURES = (".png", ".svg", ".jpg", ".jpeg", ".gif")


@dataclass(frozen=True)
class Predictions:
    """One table of predictions."""

    actual: tuple[str, ...]
    predicted: tuple[str, ...]
    confidence: tuple[str, ...]  # empty if the table has no such column


@dataclass
class Side:
    """What is known of one of the two commits."""

    name: str  # the commit in short, or "workspace"
    commit: str  # in full; for the workspace, the commit it is based on
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)  # path: digest
    images: dict[str, Path] = field(default_factory=dict)  # predictions: an array of pictures, one an example


@dataclass
class Test:
    """One table of predictions, before and after."""

    path: str
    reason: str = ""  # why it could not be tested; the rest is then empty
    examples: int = 0
    before: float = 0.0  # accuracy
    after: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)  # 95 %, of the difference
    lost: list[int] = field(default_factory=list)  # right before, wrong now
    gained: list[int] = field(default_factory=list)
    p: float = 1.0
    p_holm: float = 1.0
    gone: bool = False
    changed: bool = False  # whether any prediction is another one
    pictures: dict[int, list[str]] = field(default_factory=dict)  # example: its drawing

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass
class Comparison:
    """All that moved."""

    old: Side
    new: Side
    params: list[tuple[str, str, Any, Any]]  # file, key, before, after
    metrics: list[tuple[str, str, Any, Any]]
    tests: list[Test]
    figures: list[str]  # pictures that changed

    def worse(self, level: float) -> list[Test]:
        """The tables that got worse by more than chance at this level, and those that are gone."""
        return [test for test in self.tests if test.gone or (test.change < 0 and test.p_holm < level)]


def compare(directory: str, old: str, new: str | None) -> Comparison:
    """Set two commits side by side, or a commit and the workspace."""
    with ExitStack() as stack:
        before, after = (stack.enter_context(_side(directory, revision)) for revision in (old, new))
        tests = [
            _test(path, before, after) for path in dict.fromkeys([*before.predictions, *after.predictions])
        ]
        testable = [test for test in tests if test.changed]  # predictions nobody touched are no hypothesis
        for test, p in zip(testable, statistics.holm([test.p for test in testable]), strict=True):
            test.p_holm = p
        comparison = Comparison(
            before,
            after,
            _moved(before.params, after.params),
            _moved(before.metrics, after.metrics),
            tests,
            [path for path, digest in after.figures.items() if before.figures.get(path) != digest],
        )
        for test in tests:
            _keep_pictures(test, after)
        return comparison


def _keep_pictures(test: Test, side: Side) -> None:
    """Draw the examples now: the file may be in a clone that is about to go."""
    from dvc_checks import pictures

    path = side.images.get(test.path)
    if path:
        shown = [*test.lost[: pictures.SHOWN], *test.gained[: pictures.SHOWN]]
        test.pictures = pictures.draw(path, shown)


@contextmanager
def _side(directory: str, revision: str | None) -> Iterator[Side]:
    with ExitStack() as stack:
        if revision is None:
            project = home = pipeline.load(directory)
            side = Side(WORKSPACE, snapshot.resolve("HEAD", directory))
        else:
            copy = stack.enter_context(snapshot.clone(directory, revision))
            project = pipeline.load(copy.root)
            try:
                home = pipeline.load(directory)
            except BadInput:
                home = project
            side = Side(copy.commit[:7], copy.commit)
        _read(side, project, home, stack)
        yield side


def _read(side: Side, project: Pipeline, home: Pipeline, stack: ExitStack) -> None:
    fetched = Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="dvc-checks-", ignore_cleanup_errors=True))
    )
    for file in effects.params_files(project):
        values = effects.read_params(project, file)
        if values is not None:
            side.params[file] = dict(_leaves(values))
    for maker, out in project.outputs():
        path = project.root / out.path
        small = out.kind in ("metric", "plot") or path.suffix.lower() in (".csv", ".tsv", ".json")
        if not path.exists() and out.inside and small and data.original(home, out, fetched / out.path):
            path = fetched / out.path
        for name, file in data.files(path).items():
            label = f"{out.path}/{name}" if name else out.path
            suffix = file.suffix.lower()
            if suffix in PICTURES:
                side.figures[label] = data.digest(file)
            elif suffix in (".csv", ".tsv") and (table := read_predictions(file)):
                side.predictions[label] = table
                if isinstance(maker, Stage) and (
                    images := _images(project, home, maker, len(table.actual), fetched)
                ):
                    side.images[label] = images
            elif out.kind == "metric":
                _read_metrics(side, label, file)
    for dvcfile, name in internals.top_level_metrics(project.dvc):
        path = (project.root / project.relative(dvcfile)).parent / name
        if path.is_file():
            _read_metrics(side, project.relative(path), path)


def _read_metrics(side: Side, label: str, file: Path) -> None:
    try:
        values = differences.read_values(file)
    except (OSError, ValueError):
        return
    if isinstance(values, (dict, int, float)):
        side.metrics[label] = dict(_leaves(values))


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves with their dotted keys, taking lists of mappings (the layers of a network) apart as well."""
    for key, value in effects.leaves(values, prefix):
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for place, item in enumerate(value):
                yield from _leaves(item, f"{key}.{place}" if key else str(place))
        else:
            yield key, value


def read_predictions(path: Path) -> Predictions | None:
    """The predictions in a CSV or TSV file; None if it holds something else."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(rows, [])]
            if "actual" not in header or "predicted" not in header:
                return None
            body = [row for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    if any(len(row) != len(header) for row in body):
        return None

    def column(name: str) -> tuple[str, ...]:
        place = header.index(name)
        return tuple(row[place].strip() for row in body)

    return Predictions(
        column("actual"), column("predicted"), column("confidence") if "confidence" in header else ()
    )


def _images(project: Pipeline, home: Pipeline, stage: Stage, examples: int, fetched: Path) -> Path | None:
    """An array of one picture an example among what the stage read, if it is at hand."""
    from dvc_checks import pictures

    for dep in stage.deps:
        for base in (project.root, home.root):
            for file in data.files(base / dep.path).values() if dep.inside else ():
                if file.suffix == ".npy" and pictures.holds(file, examples):
                    return file
    return None


def _moved(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> list[tuple[str, str, Any, Any]]:
    """What differs, in the order of the files; None stands for what is not there."""
    moved = []
    for file in dict.fromkeys([*after, *before]):
        old, new = before.get(file, {}), after.get(file, {})
        moved += [
            (file, key, old.get(key), new.get(key))
            for key in dict.fromkeys([*new, *old])
            if not differences.same(old.get(key), new.get(key)) or (key in old) != (key in new)
        ]
    return moved


def _test(path: str, before: Side, after: Side) -> Test:
    old, new = before.predictions.get(path), after.predictions.get(path)
    if old is None:
        return Test(path, reason="is new: there is nothing to compare it with")
    if new is None:
        return Test(path, reason=f"is gone: it was there at {before.name}", gone=True)
    if old.actual != new.actual:
        return Test(path, reason="is about another test set: the actual labels differ, so it is not tested")
    if not new.actual:
        return Test(path, reason="holds no examples")
    right_before = [a == p for a, p in zip(old.actual, old.predicted, strict=True)]
    right_after = [a == p for a, p in zip(new.actual, new.predicted, strict=True)]
    pairs = list(zip(right_before, right_after, strict=True))
    lost = [index for index, (was, now) in enumerate(pairs) if was and not now]
    gained = [index for index, (was, now) in enumerate(pairs) if now and not was]
    both = sum(was and now for was, now in pairs)
    neither = len(pairs) - both - len(lost) - len(gained)
    return Test(
        path,
        examples=len(pairs),
        before=sum(right_before) / len(pairs),
        after=sum(right_after) / len(pairs),
        interval=statistics.paired_difference(both, len(lost), len(gained), neither),
        lost=lost,
        gained=gained,
        p=statistics.mcnemar(len(lost), len(gained)),
        changed=old.predicted != new.predicted,
    )


def base_url(directory: str) -> str:
    """Where GitHub serves raw files of this repository; "" if it is not known to be on GitHub."""
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    name = os.environ.get("GITHUB_REPOSITORY", "")
    if not name:
        try:
            origin = snapshot.git("remote", "get-url", "origin", cwd=directory).strip()
        except BadInput:
            return ""
        found = re.search(r"github\.com[:/]([^/]+/[^/]+?)(\.git)?/?$", origin)
        name = found.group(1) if found else ""
    return f"{server}/{name}/raw" if name else ""
