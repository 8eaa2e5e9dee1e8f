"""The report: one HTML file that needs nothing else, with the network inside. Written by plot.

The words and the order are in template/report.html.j2, the looks in template/report.css,
what moves in template/report.js and template/pad.js. Here is what they are filled with.
"""

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnistcore.data.description import DatasetDescription
from mnistcore.data.normalization import Normalizer
from mnistcore.evaluation.metrics import Reliability, confusion_matrix, precision_and_recall, wilson_interval
from mnistcore.evaluation.predictions import Predictions
from mnistcore.files import replacing
from mnistcore.network.network import Network
from mnistcore.report import compression
from mnistcore.report.familiarity import Familiarity
from mnistcore.report.figures import TEMPLATE, UNITS_SHOWN, percent_decimals, whole_ticks
from mnistcore.report.framing import FRAMES

LARGEST = 3_000_000  # bytes of the whole file
MOST_PICTURES = 1200  # of errors; more of them are cut down to so many a cell of the matrix
FEWEST_SURE = 24  # pictures for a cell of right answers: the least sure ones
TYPICAL = 4  # test images of each class that the pad offers beside the hard ones
STROKES = {"mnist": "digit", "digits": "digit", "kmnist": "character"}  # garments are not made of strokes


def write_report(
    path: str | os.PathLike[str],
    *,
    description: DatasetDescription,
    normalizer: Normalizer,
    images: np.ndarray,
    predictions: Predictions,
    metrics: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
    bins: Reliability,
    network: Network,
    familiarity: Familiarity,
    worst: np.ndarray,
    parameters: Mapping[str, Any],
    made_of: Iterable[str | os.PathLike[str]],
) -> None:
    """Write the report: the same bytes for the same arguments, at most `LARGEST` of them.

    The network goes in, to run in the browser, if the pictures can be drawn
    and it fits; else the page says why there is no pad to draw on.

    Parameters
    ----------
    images : (examples, features), the normalised test images
    metrics : the content of metrics.json
    bins : of the reliability diagram
    worst : (shown,) rows of the mistakes to show, worst first
    parameters : what the network was trained with, by name, nested as they like
    made_of : the files whose SHA-256 the page gives
    """
    layers = [
        compression.Layer(layer.weights, layer.biases, layer.dense.activation) for layer in network.layers
    ]
    classes = description.classes
    counts = confusion_matrix(predictions.actual, predictions.predicted, len(classes))
    cells = _cells(predictions, len(classes))
    hard = np.unique(np.concatenate([worst, *(rows for line in cells for rows in line)])).astype(np.int64)
    typical = _typical(predictions.actual, len(classes))
    pictures = np.union1d(hard, typical)
    pixels = images[pictures] * normalizer.scale + normalizer.offset
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    panels = _panels(curves)
    content = {
        "description": description,
        "test_metrics": metrics["test"],
        "metrics": metrics,
        "network": network,
        "layers": layers,
        "size": network.parameters.size,
        "parameters": list(flat(parameters)),
        "normalizer": normalizer,
        "panels": panels,
        "epochs": [int(epoch) for epoch in curves["train/loss"][:, 0]],
        "held_out": "validation/loss" in curves,
        "table": _table(curves),
        "counts": counts.tolist(),
        "most": max(1, int((counts - np.diag(np.diag(counts))).max())),
        "per_class": per_class(classes, counts),
        "worst": _mistakes(classes, predictions, worst, network.probabilities(images[worst]), pictures),
        "bins": _bins(bins),
        "calibration_error": bins.expected_calibration_error,
        "units_shown": min(UNITS_SHOWN, layers[0].weights.shape[1]),
        "files": [(Path(name).as_posix(), sha256(name)) for name in made_of],
        "numpy": np.__version__,
        "pictures": compression.pictures_text(pixels),
        "stroke": STROKES.get(description.name),
        "erring": sum(
            len(rows) for is_, line in enumerate(cells) for guess, rows in enumerate(line) if is_ != guess
        ),
        "wrong": [
            {
                "name": classes[is_],
                "pictures": [
                    {
                        "row": int(row),
                        "place": int(np.searchsorted(pictures, row)),
                        "guess": classes[int(predictions.predicted[row])],
                    }
                    for row in sorted(row for guess, rows in enumerate(line) if is_ != guess for row in rows)
                ],
            }
            for is_, line in enumerate(cells)
        ],
        "columns": [_columns(len(worst), most) for most in (6, 4, 3)],
        "strip": _strip(metrics["test"]),
        "left": LEFT,
        "right": RIGHT,
        "top": TOP,
        "fonts": {
            font: base64.b64encode((TEMPLATE / f"{font}.ttf").read_bytes()).decode()
            for font in ("sans-regular", "sans-bold", "serif-regular")
        },
    }
    data = {
        "classes": classes,
        "shape": normalizer.image_shape,
        "brightest": int(pixels.max(initial=1)),
        "rows": pictures.tolist(),
        "confidence": [round(float(value), 4) for value in predictions.confidence[pictures]],
        "actual": predictions.actual[pictures].tolist(),
        "stroke": content["stroke"],
        "typical": np.searchsorted(pictures, typical).tolist(),
        "hard": np.searchsorted(pictures, hard[_spread(len(hard))]).tolist(),
        "cells": [[np.searchsorted(pictures, rows).tolist() for rows in line] for line in cells],
        "counts": content["counts"],
        "panels": [[line["points"] for line in panel["lines"]] for panel in panels],
        "epochs": content["epochs"],
    }
    page = b""
    if reason := _why_no_pad(description, normalizer):
        page = _render(content, data, None, reason)
    else:
        packed = compression.pack(layers, np.asarray(images), network.probabilities(images))
        if packed is not None:
            page = _render(content, data | _running(normalizer, layers, packed, familiarity), packed, "")
        if packed is None or len(page) > LARGEST:
            page = _render(content, data, None, f"its weights do not fit in a page of {LARGEST / 1e6:.0f} MB")
    with replacing(path) as file:
        file.write(page)


def _render(content: dict[str, Any], data: dict[str, Any], packed: list | None, why_no_pad: str) -> bytes:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "thousands": thousands}
    inline = {
        name: Markup((TEMPLATE / file).read_text(encoding="utf-8"))  # noqa: S704  files of our own
        for name, file in (("css", "report.css"), ("js", "report.js"), ("pad_js", "pad.js"))
    }
    template = environment.get_template("report.html.j2")
    return template.render(content, data=data, packed=packed, why_no_pad=why_no_pad, **inline).encode()


def percent(value: float, decimals: int = 2) -> str:
    """A part of one in percent, with a thin space before the sign."""
    return f"{100 * value:.{decimals}f}\u202f%"


def thousands(value: float) -> str:
    """A number with commas between its thousands."""
    return f"{value:,}"


def _why_no_pad(description: DatasetDescription, normalizer: Normalizer) -> str:
    if description.name not in STROKES:
        return f"the pictures of {description.title} are not made of strokes"
    if normalizer.image_shape not in FRAMES:
        rows, columns = normalizer.image_shape
        return f"no way is known to frame a drawing as {rows} × {columns} pixels"
    return ""


def _running(
    normalizer: Normalizer,
    layers: Sequence[compression.Layer],
    packed: list[dict[str, Any]],
    familiarity: Familiarity,
) -> dict[str, Any]:
    """What the page needs, beside the packed weights, to run the network on a drawing."""
    frame = FRAMES[normalizer.image_shape]
    strength = np.square(layers[0].weights, dtype=np.float64).sum(axis=0)
    classifier = [  # of which the page takes the last sum
        compression.Layer(layer.weights, layer.biases, activation)
        for layer, activation in zip(familiarity.classifier.layers, ("relu", "identity"), strict=True)
    ]

    def short(values: np.ndarray) -> list[float]:  # one number where all are the same
        values = values.astype(np.float32).astype(np.float64)
        return values[:1].tolist() if (values == values[0]).all() else values.tolist()

    return {
        "frame": {"box": frame.box, "centre": frame.centre, "brightest": frame.brightest},
        "offset": short(normalizer.offset),
        "scale": short(normalizer.scale),
        "classifier": compression.pack_evenly(classifier),
        "layers": [{name: value for name, value in layer.items() if name != "text"} for layer in packed],
        "units": np.argsort(-strength, kind="stable")[:UNITS_SHOWN].tolist(),
    }


def _cells(predictions: Predictions, classes: int) -> list[list[np.ndarray]]:
    """The rows of the test images that the page shows for each cell of the matrix, most telling first."""
    cells = []
    for actual in range(classes):
        line = []
        for predicted in range(classes):
            rows = np.flatnonzero((predictions.actual == actual) & (predictions.predicted == predicted))
            surest = rows[np.argsort(-predictions.confidence[rows], kind="stable")]
            line.append(surest[::-1][:FEWEST_SURE] if actual == predicted else surest)
        cells.append(line)
    sizes = [
        len(rows) for actual, line in enumerate(cells) for guess, rows in enumerate(line) if actual != guess
    ]
    most = max(sizes)
    while sum(min(size, most) for size in sizes) > MOST_PICTURES and most > 1:
        most -= 1
    return [
        [rows if actual == guess else rows[:most] for guess, rows in enumerate(line)]
        for actual, line in enumerate(cells)
    ]


def _typical(actual: np.ndarray, classes: int) -> np.ndarray:
    """The first `TYPICAL` test images of each class, in the order of the file: whatever they are like."""
    rows = [np.flatnonzero(actual == name)[:TYPICAL] for name in range(classes)]
    return np.sort(np.concatenate(rows))


def _spread(count: int) -> np.ndarray:
    """All of `count` places, neighbours far apart."""
    step = next(step for step in range(max(1, int(count * 0.382)), count + 2) if math.gcd(step, count) == 1)
    return np.arange(count) * step % max(count, 1)


def _mistakes(
    classes: Sequence[str],
    predictions: Predictions,
    worst: np.ndarray,
    outputs: np.ndarray,
    pictures: np.ndarray,
) -> list[dict[str, Any]]:
    places = np.searchsorted(pictures, worst).tolist()
    mistakes = []
    for row, place, output in zip(worst.tolist(), places, outputs, strict=True):
        best = np.argsort(-output, kind="stable")[:3].tolist()
        mistakes.append(
            {
                "row": row,
                "place": place,
                "actual": classes[int(predictions.actual[row])],
                "predicted": classes[int(predictions.predicted[row])],
                "confidence": float(predictions.confidence[row]),
                "best": [(classes[name], float(np.clip(output[name], 0, 1))) for name in best],
            }
        )
    return mistakes


def per_class(classes: Sequence[str], counts: np.ndarray) -> list[dict[str, Any]]:
    """Name, precision, recall and number of examples of each class, by a confusion matrix (actual, predicted)."""
    precision, recall = precision_and_recall(counts)
    columns = zip(classes, precision.tolist(), recall.tolist(), counts.sum(axis=1).tolist(), strict=True)
    return [dict(zip(("name", "precision", "recall", "examples"), values, strict=True)) for values in columns]


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as names with dots and the values as text: `optimizer.name`, `adam`."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from flat(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and any(isinstance(part, Mapping) for part in value):
        for place, part in enumerate(value):
            yield from flat(part, f"{name}.{place}")
    else:
        yield (
            name,
            value if isinstance(value, str) else "none" if value in (None, [], {}) else json.dumps(value),
        )


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- Geometry of the drawings. All coordinates are of an SVG's viewBox, to a tenth.

LEFT, RIGHT, TOP, BOTTOM = 60, 348, 12, 200


def _panels(curves: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Loss and accuracy, and the learning rate if it changes, each a panel with its ticks and its lines."""
    wanted = [
        ("Loss", [("train", "train/loss"), ("validation", "validation/loss")]),
        ("Accuracy", [("train", "train/accuracy"), ("validation", "validation/accuracy")]),
    ]
    rate = curves.get("learning_rate")
    if rate is not None and np.unique(rate[:, 1]).size > 1:
        wanted.append(("Learning rate", [("rate", "learning_rate")]))
    return [
        _panel(title, [(label, curves[name]) for label, name in lines if name in curves])
        for title, lines in wanted
    ]


def _panel(title: str, lines: Sequence[tuple[str, np.ndarray]]) -> dict[str, Any]:
    values = np.concatenate([points[:, 1] for _, points in lines])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    logarithmic = (
        low > 0 and high > 20 * low and title != "Learning rate"
    )  # a decay to zero has no such scale
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [
            multiple * 10.0**power
            for power in powers
            for multiple in ((1, 2, 5) if high < 200 * low else (1,))
        ]
        ticks = ticks[sum(tick <= low for tick in ticks) - 1 :]
        ticks = ticks[: sum(tick < high for tick in ticks) + 1]
        low, high = ticks[0], ticks[-1]
    else:
        ticks = _ticks(low, high)
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    epochs = lines[0][1][:, 0]
    first, last = (float(epochs[0]), float(epochs[-1])) if len(epochs) > 1 else (epochs[0] - 1, epochs[0] + 1)

    def across(epoch: float) -> float:
        return round(LEFT + (epoch - first) / (last - first) * (RIGHT - LEFT), 1)

    def down(value: float) -> float:
        part = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return round(BOTTOM - part * (BOTTOM - TOP), 1)

    is_accuracy = title == "Accuracy"
    decimals = percent_decimals(ticks)
    return {
        "title": title,
        "logarithmic": logarithmic,
        "x_ticks": [(across(tick), str(tick)) for tick in whole_ticks(int(epochs[0]), int(epochs[-1]))],
        "y_ticks": [
            (down(tick), percent(tick, decimals) if is_accuracy else f"{tick:.4g}") for tick in ticks
        ],
        "lines": [
            {
                "label": label,
                "points": [  # without a height where there is no number, as when training diverged
                    [across(epoch), down(value), percent(value) if is_accuracy else f"{value:.3g}"]
                    if math.isfinite(value)
                    else [across(epoch), None, "no number"]
                    for epoch, value in points.tolist()
                ],
            }
            for label, points in lines
        ],
    }


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that enclose low to high."""
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    for multiple in (1, 2, 5, 10):
        if math.ceil(high / (step * multiple)) - math.floor(low / (step * multiple)) <= 6:
            step *= multiple
            break
    return [step * place for place in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _columns(count: int, most: int) -> int:
    """How many columns, up to `most`, fill the last row best: all of them where it can be, the more the better."""
    return max(range(max(1, (most + 1) // 2), most + 1), key=lambda columns: (-(-count % columns), columns))


def _table(curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The curves as a table, for those who read rather than look: column heads and rows of text."""
    by_epoch = {name: dict(points.tolist()) for name, points in curves.items()}
    heads = list(by_epoch)

    def text(name: str, epoch: float) -> str:
        value = by_epoch[name].get(epoch)
        return "" if value is None else percent(value) if name.endswith("accuracy") else f"{value:.3g}"

    rows = [(int(epoch), [text(name, epoch) for name in heads]) for epoch in by_epoch["train/loss"]]
    return {"heads": [head.replace("/", " ").replace("_", " ") for head in heads], "rows": rows}


def _bins(bins: Reliability) -> list[dict[str, Any]]:
    """The filled bins of the reliability diagram, with the coordinates of their dot, interval and bar."""
    many, most = len(bins.counts), int(bins.counts.max())

    def down(part: float) -> float:  # as tall as it is wide
        return round(TOP + (1 - part) * (RIGHT - LEFT), 1)

    def tall(count: float) -> float:  # from a little below one prediction, so that one is seen
        return round(50 * math.log(count / 0.7) / math.log(max(most, 2) / 0.7), 1)

    drawn = []
    for place in np.flatnonzero(bins.counts).tolist():
        count, accuracy = int(bins.counts[place]), float(bins.accuracy[place])
        low, high = wilson_interval(round(accuracy * count), count)
        drawn.append(
            {
                "from": place / many,
                "to": (place + 1) / many,
                "count": count,
                "accuracy": accuracy,
                "confidence": float(bins.confidence[place]),
                "low": low,
                "high": high,
                "x": round(LEFT + float(bins.confidence[place]) * (RIGHT - LEFT), 1),
                "y": down(accuracy),
                "y_low": down(low),
                "y_high": down(high),
                "bar_x": round(LEFT + (place + 0.08) / many * (RIGHT - LEFT), 1),
                "bar_width": round(0.84 / many * (RIGHT - LEFT), 1),
                "bar_height": tall(count),
            }
        )
    return drawn


def _strip(test_metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The headline's interval on a short scale around it."""
    low, high = test_metrics["accuracy_ci95"]
    margin = (high - low) / 4
    ticks = [tick for tick in _ticks(max(0.0, low - margin), min(1.0, high + margin)) if tick <= 1 + 1e-9]
    decimals = percent_decimals(ticks)
    labelled = ticks[:: 2 if len(ticks) > 5 else 1]
    first, last = ticks[0], ticks[-1]

    def across(value: float) -> float:
        return round(2 + (value - first) / (last - first) * 356, 1)

    return {
        "low": across(low),
        "high": across(high),
        "at": across(test_metrics["accuracy"]),
        "ticks": [(across(tick), percent(tick, decimals) if tick in labelled else "") for tick in ticks],
    }
