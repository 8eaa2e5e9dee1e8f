"""What stages read of one another, made up by hand to be of other types, contradictory, endless, or not to be drawn."""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import any_network

from mnistcore.data.batches import read_batches_description
from mnistcore.data.description import DatasetDescription, read_dataset_description
from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.evaluation.metrics import over_seeds, per_class, summary
from mnistcore.evaluation.metrics_file import read_metrics, write_metrics
from mnistcore.evaluation.predictions import read_predictions
from mnistcore.network import model
from mnistcore.network.network import Dense
from mnistcore.report import figures
from stages.curves import NEEDED, read_curves
from stages.curves_parameters import read_parameters

FEW = np.arange(3)
DESCRIPTION = {"name": "tiny", "title": "tiny", "classes": ["0", "1", "2"]}
BATCHES = {
    "batch_size": 8, "remainder": "keep", "features": 16, "classes": 3, "image_shape": [4, 4],
    "train": {"examples": 30, "batches": 4, "last_batch": 6},
    "validation": {"examples": 6, "batches": 1, "last_batch": 6},
}  # fmt: skip
VALUES = (None, True, "text", "2024-01-01", [], {}, [[1]], -1, 0.5, 2, 1e308, math.nan, math.inf, 10**400)


def row(done: str, sees: str, times: int = 1) -> pytest.MarkDecorator:
    return pytest.mark.fault("Between the stages", done, sees, times=times)


def scores() -> dict[str, Any]:
    actual = np.arange(30) % 3
    predicted = np.where(np.arange(30) < 7, 0, actual)
    one = summary(actual, predicted, np.full(30, 0.75), 0.5, 3, 5)
    seeds = {"list": [0, 7]} | {name: over_seeds([one, one]) for name in ("train", "test")}
    test = one | {"per_class": per_class(actual, predicted, ("a", "b", "c"))}
    return {"train": one, "test": test, "seeds": seeds}


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in nested values, the whole first."""
    yield path
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inside, (*path, key))


def exchanged(value: Any, path: tuple, other: Any) -> Any:
    """The same nested values, but for one."""
    if not path:
        return other
    value = value.copy()
    value[path[0]] = exchanged(value[path[0]], path[1:], other)
    return value


def refused(read: Callable[[], Any], path: Path) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(InputError) as caught:
        read()
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < 500
    return line


@pytest.mark.parametrize(
    ("whole", "read"),
    [
        (scores(), read_metrics),
        (DESCRIPTION, read_dataset_description),
        (BATCHES, read_batches_description),
    ],
    ids=["metrics.json", "dataset.json", "batches.json"],
)
@row(
    "each value in metrics.json, dataset.json and batches.json exchanged for others, of other types and sizes",
    "one line that names the file and the figure, such as `plot: reports/metrics.json: test.loss: should be a "
    "finite number, …`; or a figure that it may have",
    times=len(VALUES) * len([*places(scores()), *places(DESCRIPTION), *places(BATCHES)]) // 9,
)
def test_values_of_other_types_are_refused(tmp_path, whole, read):
    path = tmp_path / "file.json"
    taken = set()
    for number, place in enumerate(places(whole)):
        for value in VALUES[number % 3 :: 3]:
            path.write_text(json.dumps(exchanged(whole, place, value)))
            try:
                read(path)
            except InputError as error:
                line = str(error)
                assert line.startswith(str(path)) and "\n" not in line and len(line) < 500
            else:
                taken.add(place[-1] if place else "the whole")
    # A name may be any text, a loss any number; the others are bound by what stands beside them.
    free = {
        "name",
        "title",
        "loss",
        "macro_f1",
        "expected_calibration_error",
        "mean",
        "sd",
        "precision",
        "recall",
    }
    assert {place for place in taken if isinstance(place, str)} <= free | {"a", "b", "c"}
    path.write_text(json.dumps(whole))
    assert read(path)


@row(
    "metrics.json whose figures contradict one another",
    "`… not that of 1 errors in 30; run evaluate again`",
    3,
)
def test_metrics_that_contradict_one_another(tmp_path):
    for name in ("accuracy", "error_rate", "errors"):
        path = tmp_path / "metrics.json"
        path.write_text(json.dumps(exchanged(scores(), ("test", name), 1)))
        assert "test.accuracy: not that of " in refused(lambda path=path: read_metrics(path), path)


@row("keys missing, beside the others, or twice; NaN for a number", "one line", 4)
def test_other_keys_than_evaluate_writes(tmp_path):
    path = tmp_path / "metrics.json"
    missing = scores()
    del missing["test"]
    for text in (
        json.dumps(missing),
        json.dumps(scores() | {"tests": 1}),
        json.dumps(scores())[:-1] + ', "train": 1}',
        json.dumps(exchanged(scores(), ("train", "loss"), math.nan)),
    ):
        path.write_text(text)
        refused(lambda: read_metrics(path), path)


def test_metrics_come_back_as_they_were_written_and_no_others_are(tmp_path):
    write_metrics(tmp_path / "metrics.json", scores())
    assert read_metrics(tmp_path / "metrics.json")["test"]["errors"] == scores()["test"]["errors"]
    with pytest.raises(InputError, match=r"train\.loss: should be a finite number"):
        write_metrics(tmp_path / "other.json", exchanged(scores(), ("train", "loss"), math.inf))
    assert not (tmp_path / "other.json").exists()


NAMES = {
    "a NUL": "a\0b", "an escape sequence": "\x1b[31m", "a line end": "a\nb", "a separator of lines": "a\u2028b",
    "a lone surrogate": "\ud800", "nothing": "", "a blank": " ", "5,000 letters": "x" * 5000,
}  # fmt: skip


@row(
    f"the name of a class that is or has {', '.join(NAMES)}; one name twice",
    "`…: data/processed/dataset.json: classes.0: should be a line of 1 to 100 letters, without control characters, is …`",
    times=len(NAMES) + 1,
)
def test_names_of_classes_that_cannot_be_drawn(tmp_path):
    path = tmp_path / "dataset.json"
    for name in NAMES.values():
        path.write_text(json.dumps(exchanged(DESCRIPTION, ("classes", 0), name)))
        assert "classes.0: should be a line" in refused(lambda: read_dataset_description(path), path)
    path.write_text(json.dumps(exchanged(DESCRIPTION, ("classes", 0), "1")))
    assert "classes: has one name twice" in refused(lambda: read_dataset_description(path), path)


@row("names of classes with `$`, `\\`, `<`, `{{`, or from right to left", "they are drawn as they are", 6)
@row(
    "names of classes in a script that the figures' fonts lack",
    "`plot: the figures' fonts have no …: boxes in their place; …`, once, and no warnings",
)
@pytest.mark.filterwarnings("error")
def test_names_of_any_script_are_drawn(tmp_path):
    names = ["$x_{$", r"\frac", "</b>", "{{x}}", "שלום", "100 %", "あ漢", "👩‍👧"]
    assert DatasetDescription("any", "any", tuple(names)).classes == tuple(names)
    assert set(figures.unknown_letters(names)) >= {"あ", "漢", "👩"}
    assert not figures.unknown_letters(names[:6])
    figures.save(figures.confusion(np.eye(8, dtype=int), names), tmp_path / "a.png", 50)
    drawn = figures.confusion(np.eye(8, dtype=int), names).axes[0].get_xticklabels()
    assert drawn[0].get_text() == "$x_{$" and not drawn[0].get_parse_math()


def test_256_classes_fit_in_memory():
    figure = figures.confusion(np.zeros((256, 256), int), [str(name) for name in range(256)])
    assert (figure.get_size_inches() < 30).all()


def curves(folder: Path, lines: dict[str, str]) -> Path:
    for name in NEEDED:
        path = folder / "plots/metrics" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"step\t{path.stem}\n{lines.get(path.stem, '1 0.5|2 0.25')}\n".replace("|", "\n").replace(
                " ", "\t"
            )
        )
    return folder / "plots/metrics/train"


ODD_CURVES = {
    "its steps should be the epochs": (
        "inf 1",
        "nan 1",
        "2 1|1 1",
        "1 1|1 1",
        "1.5 1",
        "1e300 1|2 1",
        "-1 1",
    ),
    "is no loss": ("1 -1|2 1", "1 1e308|2 1", "1 1|2 5e-324", "1 -inf|2 1"),
    "not a table of numbers": ("1 x|2 1", "1 1 1|2 1", "1 1||", "\0"),
}


@row(
    "curves with epochs that are infinite, no whole numbers, twice or in another order; with losses of 1e308 or below 0",
    "one line, such as `plot: reports/curves/plots/metrics/train/loss.tsv: 1e+308 is no loss; run train again`",
    times=sum(map(len, ODD_CURVES.values())),
)
def test_curves_that_no_training_has(tmp_path):
    for message, tables in ODD_CURVES.items():
        for lines in tables:
            path = curves(tmp_path, {"loss": lines}) / "loss.tsv"
            assert message in refused(lambda: read_curves(tmp_path), path), lines
    path = curves(tmp_path, {"accuracy": "1 2|2 1"}) / "accuracy.tsv"
    assert "2 is no accuracy" in refused(lambda: read_curves(tmp_path), path)


@pytest.mark.filterwarnings("error")
@row(
    "curves that end in infinity or NaN, and those over 200 powers of ten",
    "they are drawn, as far as there is something",
    3,
)
def test_curves_of_a_diverged_training_are_drawn(tmp_path):
    for lines in ("1 1|2 inf", "1 nan|2 nan", "1 1e100|2 1e-100"):
        curves(tmp_path, {"loss": lines})
        figures.save(figures.learning_curves(read_curves(tmp_path)), tmp_path / "a.png", 50)


PARAMETERS = {
    "a date": "a: 2024-01-01\n", "an alias that holds itself": "a: &a [*a]\n", "bytes": "a: !!binary aGk=\n",
    "aliases for 10¹¹ values": "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    "merge keys for as many": "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)),
    "a set": "a: !!set {x}\n", "a list for a key": "? [a]\n: 1\n", "6,000 hexadecimal digits": f"a: 0x{'f' * 6000}\n",
    "a surrogate": 'a: "\\ud800"\n', "an escape sequence": 'a: "\\e[31m"\n', "infinity": "a: .inf\n", "100,000 brackets": "[" * 100_000,
    "a list": "[1]\n", "nothing": "", "no YAML": "a: [\n", "a tag": "a: !!python/object:os.x 1\n", "an impossible date": "a: 2024-99-99\n",
}  # fmt: skip


@row(
    f"reports/curves/params.yaml with {', '.join(PARAMETERS)}",
    "one line, such as `plot: reports/curves/params.yaml: datetime.date(2024, 1, 1) is no parameter; run train again`",
    times=len(PARAMETERS),
)
def test_parameters_that_no_training_has(tmp_path):
    path = tmp_path / "params.yaml"
    for text in PARAMETERS.values():
        path.write_text(text)
        refused(lambda: read_parameters(tmp_path), path)
    path.write_text("a: [{b: 1, c: null}, 0.5, true]\n")
    assert read_parameters(tmp_path) == {"a": [{"b": 1, "c": None}, 0.5, True]}


@pytest.mark.filterwarnings("error")
@row(
    "a model of infinite parameters",
    "`…: models/model.npz: its parameters are not finite; the training diverged: …`, and no warning",
    3,
)
def test_a_model_that_is_not_finite(tmp_path):
    path = tmp_path / "model.npz"
    for value in (np.inf, -np.inf, np.nan):
        network = any_network([Dense(10, "softmax")], 64)
        network.parameters[3] = value
        model.save(path, [0], [network])
        assert "not finite" in refused(lambda: model.load(path), path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@row("a pipe, a folder or a device in the place of each", "`…: not a file; run … again`, at once", 24)
def test_pipes_folders_and_devices(tmp_path):
    tables = curves(tmp_path, {})
    reads = [
        (tmp_path / "metrics.json", read_metrics),
        (tmp_path / "dataset.json", read_dataset_description),
        (tmp_path / "batches.json", read_batches_description),
        (tmp_path / "predictions.csv", lambda path: read_predictions(path, FEW, 3)),
        (tmp_path / "model.npz", model.load),
        (tmp_path / "normalizer.npz", Normalizer.load),
        (tmp_path / "params.yaml", lambda path: read_parameters(path.parent)),
        (tables / "loss.tsv", lambda _: read_curves(tmp_path)),
    ]
    for path, read in reads:
        for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")):
            path.unlink(missing_ok=True)
            make(path)
            assert "not a file" in refused(lambda read=read, path=path: read(path), path)
            path.rmdir() if path.is_dir() else path.unlink()
        if path.suffix == ".tsv":
            curves(tmp_path, {})
