"""predictions.csv: what was predicted for each test image, in the order of the file. Written by evaluate.

It is kept in Git: a paired test between two commits needs every prediction.
"""

import csv
import os
from typing import NamedTuple

import numpy as np

from mnistcore.arguments import Count, check, check_array
from mnistcore.errors import InputError
from mnistcore.files import read_text, replacing

HEADER = ("actual", "predicted", "confidence")
LONGEST_LINE = 64  # bytes


class Predictions(NamedTuple):
    """One entry per test image: `actual` and `predicted` (N,) int64, `confidence` (N,) float64 in [0, 1]."""

    actual: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray


def write_predictions(path: str | os.PathLike[str], predictions: Predictions) -> None:
    """Write a line per prediction, confidence to six decimals.

    Raises
    ------
    InputError : for columns of other types, or of different lengths
    """
    for name, column, kinds in zip(Predictions._fields, predictions, ("iu", "iu", "f"), strict=True):
        check_array(column, "write_predictions", name, kinds=kinds, shape=(len(predictions.actual),))
    with replacing(path, "w") as file:
        file.write(",".join(HEADER) + "\n")
        for actual, predicted, confidence in zip(*(column.tolist() for column in predictions), strict=True):
            file.write(f"{actual},{predicted},{confidence:.6f}\n")


def read_predictions(path: str | os.PathLike[str], labels: np.ndarray, classes: int) -> Predictions:
    """Read the predictions for the test images whose labels are `labels`.

    Raises
    ------
    InputError : not such a file, or not the predictions for these images
    """
    check_array(labels, "read_predictions", "labels", kinds="iu", shape=(None,))
    check(Count, classes, "read_predictions", "classes")
    again = "run evaluate again"
    text = read_text(path, "evaluate", (len(labels) + 1) * LONGEST_LINE)
    try:
        header, *rows = csv.reader(text.splitlines())
        if tuple(header) != HEADER:
            raise InputError(f"{path}: its first line should be {','.join(HEADER)}; {again}")
        table = np.array([[float(cell) for cell in row] for row in rows]).reshape(len(rows), len(HEADER))
    except (ValueError, csv.Error):
        raise InputError(f"{path}: not a table of numbers {','.join(HEADER)}; {again}") from None
    actual, predicted, confidence = table.T
    if len(table) != len(labels):
        raise InputError(f"{path}: {len(table):,} predictions for {len(labels):,} test images; {again}")
    if not np.array_equal(actual, labels):
        row = int((actual != labels).argmax())
        raise InputError(
            f"{path}: line {row + 2} says class {actual[row]:g}, the test label is {labels[row]}; {again}"
        )
    if not (np.isin(predicted, np.arange(classes)).all() and ((confidence >= 0) & (confidence <= 1)).all()):
        raise InputError(
            f"{path}: a class outside 0 to {classes - 1}, or a confidence outside 0 to 1; {again}"
        )
    return Predictions(actual.astype(np.int64), predicted.astype(np.int64), confidence)
