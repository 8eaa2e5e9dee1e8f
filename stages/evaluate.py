"""Stage 5 of the pipeline: metrics with their uncertainty, and every prediction."""

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
from mnistcore.data.parts import Part, open_part
from mnistcore.errors import InputError
from mnistcore.evaluation import metrics
from mnistcore.evaluation.metrics_file import write_metrics
from mnistcore.evaluation.predictions import Predictions, write_predictions
from mnistcore.network import model
from mnistcore.network.network import Network
from stages.command import Stage, summarize, writing
from stages.parameters import read_section
from stages.paths import BATCHES, DATASET, METRICS, MODEL, PREDICTIONS, PROCESSED
from stages.progress import Progress

DESCRIPTION = PROCESSED / DATASET
SETS = {"train": BATCHES / "train", "validation": BATCHES / "validation", "test": PROCESSED / "test"}
AT_A_TIME = 5000  # images: what a layer computes for them at once is what takes the memory


@dataclass(frozen=True)
class Evaluate(Checked):
    """Section `evaluate`."""

    calibration_bins: Annotated[int, Bounds(least=1, most=1000)]


@click.command(cls=Stage)
def main() -> None:
    """Evaluate the trained network on its training, validation and test images.

    \b
    Writes reports/metrics.json      every metric with its uncertainty
           reports/predictions.csv   actual class, predicted class and
                                     confidence of every test image

    With several seeds, the predictions and metrics are of the first, and the
    mean, the standard deviation and each value over all of them stand under
    "seeds".
    """
    started = time.monotonic()
    section = read_section("evaluate", Evaluate)
    names = read_dataset_description(DESCRIPTION).classes
    seeds, networks = model.load(MODEL)
    sets = {name: open_part(folder) for name, folder in SETS.items()}
    for name, examples in sets.items():
        _check_fit(SETS[name], examples, networks[0], len(names))
    for name in ("train", "test"):
        if not len(sets[name].labels):
            raise InputError(f"{SETS[name]}: has no images; run the stage that makes it")
    if not len(sets["validation"].labels):
        del sets["validation"]

    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sets}
    tested: list[Predictions] = []
    total = len(networks) * sum(len(examples.labels) for examples in sets.values())
    with Progress("evaluate", total, "images") as progress:
        for network in networks:
            for name, examples in sets.items():
                found, loss = _predict(network, examples, progress)
                if name == "test":
                    tested.append(found)
                results[name].append(metrics.summary(*found, loss, len(names), section.calibration_bins))

    predictions = tested[0]
    report: dict[str, Any] = {name: result[0] for name, result in results.items()}
    report["test"] |= {"per_class": metrics.per_class(predictions.actual, predictions.predicted, names)}
    if len(networks) > 1:
        spread = {name: metrics.over_seeds(result) for name, result in results.items()}
        report["seeds"] = {"list": [int(seed) for seed in seeds]} | spread
    with writing(METRICS.parent):
        write_predictions(PREDICTIONS, predictions)
        write_metrics(METRICS, report)
    errors, examples = report["test"]["errors"], report["test"]["examples"]
    summarize(f"{METRICS} and {PREDICTIONS}: {errors:,} errors in {examples:,} test images", started)


def _check_fit(folder: Path, examples: Part, network: Network, classes: int) -> None:
    features, units = network.layers[0].weights.shape[0], network.layers[-1].weights.shape[1]
    if examples.images.shape[1] != features:
        raise InputError(
            f"{MODEL}: takes images of {features} pixels, those in {folder} have {examples.images.shape[1]}; "
            "run train again"
        )
    if not classes == units == examples.targets.shape[1]:
        raise InputError(
            f"{MODEL}: tells {units} classes apart, {DESCRIPTION} names {classes}, {folder} has "
            f"{examples.targets.shape[1]}; run the stages before again"
        )


def _predict(network: Network, examples: Part, progress: Progress) -> tuple[Predictions, float]:
    """Predict every example, a chunk at a time; and the mean of the network's own loss over all."""
    predicted, confidence, loss = [], [], 0.0
    for start in range(0, len(examples.labels), AT_A_TIME):
        chunk = slice(start, start + AT_A_TIME)
        with np.errstate(all="ignore"):  # what is not finite is told below
            outputs, chunk_loss = network.evaluate(examples.images[chunk], examples.targets[chunk])
        if not (np.isfinite(outputs).all() and np.isfinite(chunk_loss)):
            raise InputError(
                f"{MODEL}: its outputs are not finite; the training diverged: try a lower learning rate"
            )
        loss += chunk_loss * len(outputs)
        for column, part in zip((predicted, confidence), metrics.predict(outputs), strict=True):
            column.append(part)
        progress.update(len(outputs))
    actual = examples.labels.astype(np.int64)
    return Predictions(actual, np.concatenate(predicted), np.concatenate(confidence)), loss / len(actual)


if __name__ == "__main__":
    main(prog_name="evaluate")
