"""The model card: every figure in it is that of metrics.json, or found again here from the predictions."""

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from report_page import any_network, blots
from ruamel.yaml import YAML
from scipy.stats import binomtest

from mnistcore.data.description import DatasetDescription
from mnistcore.data.normalization import divide
from mnistcore.evaluation import metrics
from mnistcore.evaluation.predictions import Predictions
from mnistcore.network.network import Dense
from mnistcore.report.card import write_card

ROOT = Path(__file__).parents[2]
CARD = ROOT / "reports" / "MODEL_CARD.md"
# Of the model hub's specification of its front matter.
KNOWN = {"license", "library_name", "pipeline_tag", "tags", "datasets", "metrics", "model-index"}


def percent(value, decimals=2):
    return f"{100 * value:.{decimals}f} %"


def parts(card):
    """(front matter, the rest)"""
    _, front, body = card.replace("\u202f", " ").split("---\n", 2)
    return YAML(typ="safe", pure=True).load(front), body


def table(body, first):
    """The cells of the table whose head begins with `first`."""
    lines = body.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |")) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def check(card, figures, actual, predicted, confidence, bins):
    """Every figure of the card against the content of metrics.json and the predictions."""
    front, body = parts(card)
    test = figures["test"]
    assert (
        set(front) <= KNOWN and front["license"] == "mit" and front["pipeline_tag"] == "image-classification"
    )
    (result,) = front["model-index"][0]["results"]
    reported = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert reported == {"accuracy": test["accuracy"], "f1": test["macro_f1"]}
    assert result["task"]["type"] == front["pipeline_tag"] and result["dataset"]["split"] == "test"

    low, high = map(percent, test["accuracy_ci95"])
    errors = f"{test['errors']:,} error{'s' if test['errors'] != 1 else ''}."
    assert (
        f"It read {percent(test['accuracy'])} of {test['examples']:,} test images right "
        f"(95 % interval {low} to {high}):\n{errors}"
    ) in body
    names = [name for name in ("train", "validation", "test") if name in figures]
    assert table(body, "images") == [
        [
            name, percent(one["accuracy"]), " to ".join(map(percent, one["accuracy_ci95"])), f"{one['errors']:,}",
            f"{one['examples']:,}", f"{one['loss']:.4f}", percent(one["macro_f1"]),
            percent(one["expected_calibration_error"]),
        ]
        for name, one in ((name, figures[name]) for name in names)
    ]  # fmt: skip
    is_, claimed = Counter(actual), Counter(predicted)
    right = Counter(a for a, p in zip(actual, predicted, strict=True) if a == p)
    expected = []
    for number, name in enumerate(test["per_class"]["precision"]):
        row = [name]
        for kind, of in (("precision", claimed[number]), ("recall", is_[number])):
            interval = binomtest(right[number], of).proportion_ci(0.95, "wilson") if of else (0, 1)
            row += [percent(test["per_class"][kind][name]), " to ".join(map(percent, interval))]
        expected.append([*row, f"{is_[number]:,}"])
    assert table(body, "class") == expected
    assert f"calibration error over the test images is {percent(test['expected_calibration_error'])}." in body
    place = [min(int(np.ceil(c * bins - 1e-9)) - 1, bins - 1) if c else 0 for c in confidence]
    correct = [a == p for a, p in zip(actual, predicted, strict=True)]
    expected = []
    for number in sorted(set(place)):
        own = [row for row, found in enumerate(place) if found == number]
        expected.append(
            [
                f"{percent(number / bins, 1)} to {percent((number + 1) / bins, 1)}", f"{len(own):,}",
                percent(np.mean([confidence[row] for row in own])), percent(np.mean([correct[row] for row in own])),
            ]
        )  # fmt: skip
    assert table(body, "confidence") == expected


def test_the_committed_card_is_of_the_committed_metrics_and_predictions():
    figures = json.loads((ROOT / "reports" / "metrics.json").read_text(encoding="utf-8"))
    with open(ROOT / "reports" / "predictions.csv", encoding="utf-8") as file:
        rows = [(int(r["actual"]), int(r["predicted"]), float(r["confidence"])) for r in csv.DictReader(file)]
    bins = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["plot"]["calibration_bins"]
    card = CARD.read_text(encoding="utf-8")
    check(card, figures, *zip(*rows, strict=True), bins)
    hashes = dict(table(card, "file"))
    for name in ("reports/metrics.json", "reports/predictions.csv"):
        assert hashes[name].strip("`") == hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def made(tmp_path, name, classes, validation=True, seeds=False, output="softmax"):
    """A card of a network of random weights, with what was judged and predicted."""
    network = any_network([Dense(6), Dense(len(classes), output)])
    images, labels = (blots(80) / 255).astype(np.float32), np.arange(80) % len(classes)
    predicted, confidence = metrics.predict(network.probabilities(images))
    predictions = Predictions(labels, predicted, np.round(confidence, 6))
    one = metrics.summary(labels, predicted, confidence, 0.123456789, len(classes), 7)
    figures = {"train": one, "test": one | {"per_class": metrics.per_class(labels, predicted, classes)}}
    if validation:
        figures["validation"] = one
    if seeds:
        figures["seeds"] = {"list": [0, 1, 2], "test": {"accuracy": {"mean": 0.98765, "sd": 0.00123}}}
    figures = metrics.rounded(figures)
    written = []
    for file in ("one.md", "two.md"):
        write_card(
            tmp_path / file,
            description=DatasetDescription(name, name.upper(), classes),
            normalizer=divide(255, (28, 28), "float32"),
            predictions=predictions,
            metrics=figures,
            bins=metrics.reliability(predictions.confidence, predicted == labels, 7),
            network=network,
            epochs=3,
            parameters={"optimizer": {"name": "adam"}, "layers": [{"units": 6}, {"units": 10}]},
            made_of=[__file__],
        )
        written.append((tmp_path / file).read_bytes())
    assert written[0] == written[1]
    card = written[0].decode()
    check(card, figures, labels.tolist(), predicted.tolist(), predictions.confidence.tolist(), 7)
    return card


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("validation", [True, False])
def test_any_data_set(tmp_path, validation, output):
    card = made(tmp_path, "letters", ("a: b", "c", "#e"), validation, output=output)
    assert ("The validation images were held out" in card) == validation
    assert ("gives the probability of each" in card) == (output == "softmax")
    assert "datasets" not in parts(card)[0]
    assert ["optimizer.name", "adam"] in table(card, "parameter")
    assert (
        dict(table(card, "file")).popitem()[1].strip("`")
        == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    )


def test_seeds_are_told_where_there_are_several(tmp_path):
    card = made(tmp_path, "mnist", tuple("0123456789"), seeds=True)
    assert "Trained with 3 seeds" in card
    assert "accuracy is 98.77\u202f%, its standard deviation 0.12\u202f%" in card
    assert parts(card)[0]["datasets"] == ["ylecun/mnist"]


def test_the_python_of_the_card_is_python():
    blocks = re.findall(r"```python\n(.*?)```", CARD.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, str(CARD), "exec")
