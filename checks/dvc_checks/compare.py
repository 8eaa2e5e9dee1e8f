"""`dvc-checks compare`: what moved between two commits, and is it more than chance?

Parameters and metrics are set side by side. Predictions (a table with a column of
what is and one of what was predicted, one row an example) are compared example by
example: classes with an exact McNemar test, numbers with a paired bootstrap. Metrics
of several seeds are compared as samples. What is tested together is corrected by Holm.
"""

import csv
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc_checks import data, differences, effects, internals, pipeline, seeds, snapshot, statistics
from dvc_checks.errors import BadInput
from dvc_checks.pipeline import Pipeline
from dvc_checks.stages import Source, Stage
from dvc_checks.statistics import Estimate

WORKSPACE = "workspace"
PICTURES = (".png", ".svg", ".jpg", ".jpeg", ".gif")
TABLES = (".csv", ".tsv", ".json", ".jsonl")
# Names of columns, as they are found in the wild; the first that is there is taken.
ACTUAL = (
    *("actual", "y_true", "true", "truth", "ground_truth", "target", "targets", "label", "labels"),
    *("expected", "observed", "y", "gt", "true_label", "actual_value", "y_test"),
)
PREDICTED = (
    *("predicted", "y_pred", "pred", "prediction", "predictions", "preds", "yhat", "y_hat", "forecast"),
    *("predicted_label", "pred_label", "estimate", "output"),
)


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
    samples: dict[str, dict[str, float]] = field(default_factory=dict)  # metric: seed: value
    images: dict[str, Path] = field(default_factory=dict)  # predictions: an array of pictures, one an example


@dataclass
class Measure:
    """One number that tells how good a model is, before and after."""

    name: str
    before: float
    after: float
    estimate: Estimate
    sign: int  # +1: more is better, -1: less is better, 0: that cannot be told from its name
    p_holm: float = 1.0

    @property
    def improved(self) -> float:
        """The change, positive for the better."""
        return self.sign * self.estimate.change


@dataclass
class Test:
    """One table of predictions, or one metric of several seeds, before and after."""

    path: str
    kind: str = ""  # "classification", "regression" or "seeds"; the rest is empty without
    reason: str = ""  # why it could not be tested
    examples: int = 0  # or seeds
    measures: list[Measure] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)  # right before, wrong now
    gained: list[int] = field(default_factory=list)
    gone: bool = False
    changed: bool = False  # whether any prediction, or value, is another one
    pictures: dict[int, list[str]] = field(default_factory=dict)  # example: its drawing
    pairing: str = ""  # of seeds: "paired by seed", or how many of each


@dataclass
class Comparison:
    """All that moved."""

    old: Side
    new: Side
    params: list[tuple[str, str, Any, Any]]  # file, key, before, after
    metrics: list[tuple[str, str, Any, Any]]
    tests: list[Test]
    figures: list[str]  # pictures that changed

    def worse(self, level: float) -> list[tuple[Test, Measure | None]]:
        """What got worse by more than chance at this level, and the tables that are gone."""
        return [
            *((test, None) for test in self.tests if test.gone),
            *((test, m) for test in self.tests for m in test.measures if m.improved < 0 and m.p_holm < level),
        ]


@dataclass(frozen=True)
class Columns:
    """How predictions are to be read; what is not given is found."""

    actual: str | None = None
    predicted: str | None = None
    kind: str | None = None  # "classification" or "regression"
    seeds: tuple[str, ...] = ()  # keys of metrics files below which there is a value for each seed


def compare(directory: str, old: str, new: str | None, columns: Columns = Columns()) -> Comparison:
    """Set two commits, experiments or the workspace (None) side by side."""
    with ExitStack() as stack:
        before, after = (stack.enter_context(_side(directory, revision, columns)) for revision in (old, new))
        comparison = _compared(before, after, columns)
        correct([comparison])
        return comparison


def experiments(directory: str, baseline: str, columns: Columns = Columns()) -> list[Comparison]:
    """Every experiment that started from a commit, against that commit; corrected for each other."""
    commit = snapshot.resolve(baseline, directory)
    found = {name: ref for name, start, ref in snapshot.experiments(directory) if start == commit}
    if not found:
        raise BadInput(f"no experiment starts from {baseline}: `dvc exp list --all-commits` shows them all")
    comparisons = []
    with _side(directory, baseline, columns) as before:
        for name, ref in found.items():
            with _side(directory, ref, columns) as after:
                after.name = name
                comparisons.append(_compared(before, after, columns))
    correct(comparisons)
    return comparisons


def correct(comparisons: list[Comparison]) -> None:
    """Holm's correction over everything that was tested; what nobody touched is no hypothesis."""
    measures = [m for found in comparisons for test in found.tests if test.changed for m in test.measures]
    adjusted = statistics.holm([measure.estimate.p for measure in measures])
    for measure, p in zip(measures, adjusted, strict=True):
        measure.p_holm = p


def _compared(before: Side, after: Side, columns: Columns) -> Comparison:
    names = dict.fromkeys([*before.predictions, *after.predictions])
    tests = [_test(path, before, after, columns.kind) for path in names]
    tests += [
        _test_seeds(name, before.samples[name], after.samples[name])
        for name in before.samples
        if name in after.samples
    ]
    for test in tests:
        _keep_pictures(test, after)
    return Comparison(
        before,
        after,
        _moved(before.params, after.params),
        _moved(before.metrics, after.metrics),
        tests,
        [path for path, digest in after.figures.items() if before.figures.get(path) != digest],
    )


def _keep_pictures(test: Test, side: Side) -> None:
    """Draw the examples now: the file may be in a clone that is about to go."""
    from dvc_checks import pictures

    path = side.images.get(test.path)
    if path:
        shown = [*test.lost[: pictures.SHOWN], *test.gained[: pictures.SHOWN]]
        test.pictures = pictures.draw(path, shown)


@contextmanager
def _side(directory: str, revision: str | None, columns: Columns) -> Iterator[Side]:
    with ExitStack() as stack:
        if revision is None or revision == WORKSPACE:
            project = home = pipeline.load(directory)
            side = Side(WORKSPACE, snapshot.resolve("HEAD", directory))
        else:
            try:
                copy = stack.enter_context(snapshot.clone(directory, revision))
            except snapshot.NoProject:  # nothing was there yet
                commit = snapshot.resolve(revision, directory)
                yield Side(commit[:7], commit)
                return
            project = pipeline.load(copy.root)
            try:
                home = pipeline.load(directory)
            except BadInput:
                home = project
            side = Side(snapshot.experiment(revision, directory) or copy.commit[:7], copy.commit)
        _read(side, project, home, stack, columns)
        yield side


def _read(side: Side, project: Pipeline, home: Pipeline, stack: ExitStack, columns: Columns) -> None:
    fetched = Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="dvc-checks-", ignore_cleanup_errors=True))
    )
    for file in effects.params_files(project):
        values = effects.read_params(project, file)
        if values is not None:
            side.params[file] = dict(_leaves(values))
    for maker, out in project.outputs():
        path = project.root / out.path
        small = out.kind in ("metric", "plot") or path.suffix.lower() in TABLES
        if not path.exists() and out.inside and small and data.original(home, out, fetched / out.path):
            path = fetched / out.path
        for name, file in data.files(path).items():
            label = f"{out.path}/{name}" if name else out.path
            suffix = file.suffix.lower()
            if suffix in PICTURES:
                side.figures[label] = data.digest(file)
            elif suffix in TABLES and (table := read_predictions(file, columns)):
                side.predictions[label] = table
                if isinstance(maker, Stage) and (
                    images := _images(project, home, maker, len(table.actual), fetched)
                ):
                    side.images[label] = images
            elif out.kind == "metric":
                _read_metrics(side, label, file, columns, _seed_of(maker))
    for dvcfile, name in internals.top_level_metrics(project.dvc):
        path = (project.root / project.relative(dvcfile)).parent / name
        if path.is_file():
            _read_metrics(side, project.relative(path), path, columns)


def _read_metrics(
    side: Side, label: str, file: Path, columns: Columns, seed: tuple[str, str] | None = None
) -> None:
    try:
        values = differences.read_values(file)
    except (OSError, ValueError):
        return
    if not isinstance(values, (dict, int, float)):
        return
    side.metrics[label] = dict(_leaves(values))
    for key, sample in seeds.samples(values, columns.seeds):
        side.samples[f"{label}: {key}"] = sample
    if seed is not None:
        for key, value in side.metrics[label].items():
            if differences.is_number(value):
                side.samples.setdefault(f"{seed[0]}: {key}", {})[seed[1]] = value


def _seed_of(maker: Stage | Source) -> tuple[str, str] | None:
    """The group of a stage that `foreach` or `matrix` made one of for each seed, and its seed."""
    if not isinstance(maker, Stage) or maker.entry == maker.key:
        return None
    over = next((text for entry, text, _ in internals.expansions(maker) if entry == maker.entry), "")
    return seeds.of_stage(maker, over)


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves with their dotted keys, taking lists of mappings (the layers of a network) apart as well."""
    for key, value in effects.leaves(values, prefix):
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for place, item in enumerate(value):
                yield from _leaves(item, f"{key}.{place}" if key else str(place))
        else:
            yield key, value


def read_predictions(path: Path, columns: Columns = Columns()) -> Predictions | None:
    """The predictions in a CSV, TSV, JSON (a list of records) or JSONL file; None if it holds something else."""
    try:
        header, rows = _records(path)
    except (OSError, ValueError, csv.Error):
        return None
    lower = {name.lower(): name for name in reversed(header)}
    actual = columns.actual or next((lower[name] for name in ACTUAL if name in lower), None)
    predicted = columns.predicted or next((lower[name] for name in PREDICTED if name in lower), None)
    if actual not in header or predicted not in header:
        return None

    def column(name: str | None) -> tuple[str, ...]:
        place = header.index(name) if name in header else None
        return () if place is None else tuple(row[place].strip() for row in rows)

    return Predictions(column(actual), column(predicted), column(lower.get("confidence")))


def _records(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table; ValueError for what is not one."""
    if path.suffix.lower() in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip()]
        records = json.loads(text) if path.suffix.lower() == ".json" else [json.loads(line) for line in lines]
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError("not a list of records")
        header = list(records[0]) if records else []
        if any(record.keys() != set(header) for record in records):
            raise ValueError("records of different keys")
        return header, [["" if record[k] is None else str(record[k]) for k in header] for record in records]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        header = [name.strip() for name in next(reader, [])]
        rows = [row for row in reader if row]
    if any(len(row) != len(header) for row in rows):
        raise ValueError("rows of different lengths")
    return header, rows


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


def _test(path: str, before: Side, after: Side, kind: str | None) -> Test:
    old, new = before.predictions.get(path), after.predictions.get(path)
    if old is None:
        return Test(path, reason="is new: there is nothing to compare it with")
    if new is None:
        return Test(path, reason=f"is gone: it was there at {before.name}", gone=True)
    if not new.actual:
        return Test(path, reason="holds no examples")
    kind = kind or ("regression" if _of_numbers(old) or _of_numbers(new) else "classification")
    return (_test_numbers if kind == "regression" else _test_classes)(path, old, new)


ANOTHER = "is about another test set: the actual {} differ, so it is not tested"


def _test_classes(path: str, old: Predictions, new: Predictions) -> Test:
    actual, other = [_class(text) for text in new.actual], [_class(text) for text in old.actual]
    if actual != other:
        return Test(path, reason=ANOTHER.format("labels"))
    right_before = [a == _class(p) for a, p in zip(actual, old.predicted, strict=True)]
    right_after = [a == _class(p) for a, p in zip(actual, new.predicted, strict=True)]
    pairs = list(zip(right_before, right_after, strict=True))
    lost = [index for index, (was, now) in enumerate(pairs) if was and not now]
    gained = [index for index, (was, now) in enumerate(pairs) if now and not was]
    both = sum(was and now for was, now in pairs)
    neither = len(pairs) - both - len(lost) - len(gained)
    estimate = Estimate(
        (len(gained) - len(lost)) / len(pairs),
        statistics.paired_difference(both, len(lost), len(gained), neither),
        statistics.mcnemar(len(lost), len(gained)),
    )
    accuracies = sum(right_before) / len(pairs), sum(right_after) / len(pairs)
    return Test(
        path,
        "classification",
        examples=len(pairs),
        measures=[Measure("accuracy", *accuracies, estimate, sign=1)],
        lost=lost,
        gained=gained,
        changed=old.predicted != new.predicted,
    )


def _test_numbers(path: str, old: Predictions, new: Predictions) -> Test:
    columns = [_numbers(column) for column in (old.actual, old.predicted, new.actual, new.predicted)]
    if None in columns:
        return Test(path, reason="holds something else than numbers, so it is not compared as a regression")
    was, before, actual, after = (column or [] for column in columns)
    if was != actual:
        return Test(path, reason=ANOTHER.format("values"))
    if len(actual) < 2:
        return Test(path, reason="holds one example alone")
    measures = []
    for name, loss in (("mean absolute error", abs), ("mean squared error", lambda error: error * error)):
        old_losses = [loss(p - a) for p, a in zip(before, actual, strict=True)]
        new_losses = [loss(p - a) for p, a in zip(after, actual, strict=True)]
        estimate = statistics.bootstrap([n - o for o, n in zip(old_losses, new_losses, strict=True)])
        means = math.fsum(old_losses) / len(actual), math.fsum(new_losses) / len(actual)
        measures.append(Measure(name, *means, estimate, sign=-1))
    return Test(path, "regression", "", len(actual), measures, changed=before != after)


def _test_seeds(name: str, old: dict[str, float], new: dict[str, float]) -> Test:
    """Seeds that both sides have are pairs, if all are; otherwise they are two samples."""
    paired = old.keys() == new.keys()
    if min(len(old), len(new)) < 2:
        return Test(name, reason="has one seed alone")
    if paired:
        estimate = statistics.paired_samples(list(old.values()), [new[seed] for seed in old])
    else:
        estimate = statistics.independent_samples(list(old.values()), list(new.values()))
    means = math.fsum(old.values()) / len(old), math.fsum(new.values()) / len(new)
    return Test(
        name,
        "seeds",
        "",
        len(new),
        [Measure("mean", *means, estimate, seeds.sign(name))],
        changed=old != new,
        pairing=f"{len(new)} seeds, paired" if paired else f"{len(old)} and {len(new)} seeds",
    )


def _class(text: str) -> str:
    """A label; 1.0 is 1."""
    if text.endswith(".0") and text[:-2].lstrip("-").isdigit():
        return text[:-2]
    return text


def _numbers(texts: tuple[str, ...]) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _of_numbers(table: Predictions) -> bool:
    """Whether a table is one of a regression: numbers, and predictions that are no label and no whole number."""
    actual, predicted = _numbers(table.actual), _numbers(table.predicted)
    if actual is None or predicted is None:
        return False
    labels = set(actual)
    return any(value not in labels and not value.is_integer() for value in predicted)


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
