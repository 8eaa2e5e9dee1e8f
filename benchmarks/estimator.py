"""Our MLPClassifier beside scikit-learn's: seconds of `fit` to the same number of epochs, in one run, taking turns.

    python -m benchmarks.estimator

Both take their defaults (Adam, batches of 200) but for what a row says. NumPy is left as a user has it: BLAS takes
the threads that it likes, and ours has one worker for each of them; the last columns are ours with one worker.
"""

import statistics
import time
import warnings
from pathlib import Path

import click
import numpy as np
from sklearn import neural_network
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

from mnistcore.data import idx
from mnistcore.interop import MLPClassifier

RAW = Path(__file__).parents[1] / "data" / "raw"
ROUNDS = 5


@click.command()
@click.option("--examples", default=60_000, show_default=True, help="Images of MNIST.")
@click.option("--epochs", default=2, show_default=True, help="Of MNIST; the small set has its usual 200.")
def main(examples: int, epochs: int) -> None:
    """Time both estimators, the median of five, and print a table."""
    images = idx.read(RAW / "train-images-idx3-ubyte")[:examples].reshape(-1, 784)
    labels = np.asarray(idx.read(RAW / "train-labels-idx1-ubyte")[:examples])
    rows = []
    for dtype in ("float64", "float32"):
        scaled = (images / 255).astype(dtype)
        for units in (100, 256):
            settings = {"hidden_layer_sizes": (units, units), "max_iter": epochs}
            rows.append((f"MNIST, {units}-{units}, {dtype}", scaled, labels, settings))
    small, classes = make_classification(200, 20, random_state=0)
    rows.append(("200 × 20", small, classes, {}))
    click.echo(
        "| data, hidden units | scikit-learn | ours | times as fast | ours, 1 worker | times as fast |"
    )
    click.echo("|---|---:|---:|---:|---:|---:|")
    for name, x, y, settings in rows:
        theirs = neural_network.MLPClassifier(random_state=0, **settings)
        ours, one = (MLPClassifier(random_state=0, workers=workers, **settings) for workers in (None, 1))
        base, usual, alone = _medians([theirs, ours, one], x, y)
        assert len(ours.loss_curve_) == len(theirs.loss_curve_) == len(one.loss_curve_)
        click.echo(
            f"| {name} | {base:.3f} s | {usual:.3f} s | {base / usual:.2f} | {alone:.3f} s | {base / alone:.2f} |"
        )


def _medians(estimators: list, x: np.ndarray, y: np.ndarray) -> list[float]:
    """Seconds of each one's fit, the median of the rounds; in each round every one has its turn."""
    taken: list[list[float]] = [[] for _ in estimators]
    for _ in range(ROUNDS):
        for estimator, seconds in zip(estimators, taken, strict=True):
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                estimator.fit(x, y)
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in taken]


if __name__ == "__main__":
    main()
