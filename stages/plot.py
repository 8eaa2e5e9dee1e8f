"""Stage 6 of the pipeline: the figures, the report and the model card."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this copy of the code, whichever is installed

import stages.interrupt  # noqa: F401  (first of all)
import mnistcore.reproducible  # noqa: F401  (before NumPy)

import time
from dataclasses import dataclass
from typing import Annotated, Any

import click
import numpy as np

from mnistcore.arguments import Bounds, Checked
from mnistcore.data.description import read_dataset_description
from mnistcore.data.normalization import Normalizer
from mnistcore.data.parts import open_part
from mnistcore.errors import InputError
from mnistcore.evaluation import metrics
from mnistcore.evaluation.metrics_file import read_metrics
from mnistcore.evaluation.predictions import Predictions, read_predictions
from mnistcore.network import model
from mnistcore.report import familiarity, figures
from mnistcore.report.card import write_card
from mnistcore.report.page import write_report
from stages import paths
from stages.command import Stage, say, summarize, writing
from stages.curves import read_curves
from stages.curves_parameters import read_parameters
from stages.parameters import read_section
from stages.paths import FIGURES, METRICS, MODEL, PREDICTIONS, PROCESSED, REPORT

MADE_OF = (  # what the report gives the SHA-256 of
    MODEL,
    PROCESSED / paths.NORMALIZER,
    *(PROCESSED / part / name for part in ("train", "test") for name in (paths.IMAGES, paths.LABELS)),
    PREDICTIONS,
    METRICS,
)


@dataclass(frozen=True)
class Plot(Checked):
    """Section `plot`."""

    mistakes: Annotated[int, Bounds(least=1, most=200)]
    calibration_bins: Annotated[int, Bounds(least=1, most=100)]
    dpi: Annotated[int, Bounds(least=50, most=400)]


@click.command(cls=Stage)
def main() -> None:
    """Draw the figures into reports/figures; write index.html, MODEL_CARD.md and familiarity.npz in reports.

    Reads the learning curves, the metrics and predictions of evaluate, the
    model, and the images. The same inputs give the same bytes.
    """
    started = time.monotonic()
    section = read_section("plot", Plot)
    description = read_dataset_description(PROCESSED / paths.DATASET)
    names = description.classes
    normalizer = Normalizer.load(PROCESSED / paths.NORMALIZER)
    rows, columns = normalizer.image_shape
    train, test = open_part(PROCESSED / "train"), open_part(PROCESSED / "test")
    predictions = read_predictions(PREDICTIONS, test.labels, len(names))
    summary = _read_metrics(predictions)
    curves, parameters = read_curves(paths.CURVES), read_parameters(paths.CURVES)
    network = model.load(MODEL)[1][0]
    weights = network.layers[0].weights
    if not len(weights) == rows * columns == test.images.shape[1] == train.images.shape[1]:
        raise InputError(
            f"{MODEL}: takes images of {len(weights)} pixels, {PROCESSED} has {rows} × {columns} in "
            f"normalizer.npz and {test.images.shape[1]} in test; run the stages before again"
        )
    with np.errstate(all="ignore"):
        if not np.isfinite(network.probabilities(test.images)).all():
            raise InputError(f"{MODEL}: its outputs are not finite; run train again")
    if unknown := figures.unknown_letters(names):
        say(
            f"the figures' fonts have no {unknown[:10]}: boxes in their place; the report has the names of the classes"
        )

    counts = metrics.confusion_matrix(predictions.actual, predictions.predicted, len(names))
    wrong = predictions.predicted != predictions.actual
    worst = _worst(predictions, section.mistakes)
    bins = metrics.reliability(predictions.confidence, ~wrong, section.calibration_bins)
    drawn = {
        "learning-curves": figures.learning_curves(curves),
        "confusion-matrix": figures.confusion(counts, names),
        "worst-mistakes": figures.mistakes(
            (test.images[worst] * normalizer.scale + normalizer.offset).reshape(-1, rows, columns),
            [names[label] for label in predictions.actual[worst]],
            [names[label] for label in predictions.predicted[worst]],
            predictions.confidence[worst],
            int(wrong.sum()),
        ),
        "first-layer": figures.first_layer(
            weights, normalizer.image_shape, names if len(network.layers) == 1 else None
        ),
        "reliability": figures.reliability_diagram(bins),
        "precision-and-recall": figures.per_class(counts, names),
    }
    shared: dict[str, Any] = {  # on the page and on the card
        "description": description,
        "normalizer": normalizer,
        "predictions": predictions,
        "metrics": summary,
        "bins": bins,
        "network": network,
        "parameters": parameters,
        "made_of": MADE_OF,
    }
    with writing(REPORT.parent):
        FIGURES.mkdir(parents=True, exist_ok=True)
        for old in FIGURES.iterdir():  # by hand, outside DVC, figures of an earlier version may be left
            if old.stem not in drawn:
                old.unlink()
        for name, figure in drawn.items():
            figures.save(figure, FIGURES / f"{name}.png", section.dpi)
        (familiar := familiarity.fit(network, normalizer, train.images)).save(paths.FAMILIARITY)
        write_report(REPORT, **shared, familiarity=familiar, images=test.images, curves=curves, worst=worst)
        write_card(paths.CARD, **shared, epochs=len(curves["train/loss"]))
    summarize(f"{REPORT}, {paths.CARD} and {len(drawn)} figures in {FIGURES}", started)


def _worst(predictions: Predictions, most: int) -> np.ndarray:
    """The rows of the mistakes made with the most confidence, first in the file first among equals."""
    wrong = np.flatnonzero(predictions.predicted != predictions.actual)
    return wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:most]


def _read_metrics(predictions: Predictions) -> dict[str, Any]:
    """metrics.json, checked to be of the same run as the predictions."""
    summary = read_metrics(METRICS)
    errors, examples = summary["test"]["errors"], summary["test"]["examples"]
    found = int((predictions.predicted != predictions.actual).sum())
    if (errors, examples) != (found, len(predictions.actual)):
        raise InputError(
            f"{METRICS}: tells of {errors} errors in {examples}, {PREDICTIONS} of {found} in "
            f"{len(predictions.actual)}; they are of different runs, run evaluate again"
        )
    return summary


if __name__ == "__main__":
    main(prog_name="plot")
