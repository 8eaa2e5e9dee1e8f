"""How good a classifier is, and how sure one can be of that. Used by evaluate and plot.

Everything here is a function of three things: the actual classes, the
predicted ones, and the confidence in each prediction. What a network's outputs
have to do with the latter two is said once, in `predict`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from mnistcore.arguments import ArgumentError, AtLeast, Bounds, Whole, check, check_array

DECIMALS = 6  # of every number in a metrics file: far below the noise, and a diff of two files stays readable
Classes = Annotated[int, Bounds(least=1, most=10_000)]  # a confusion matrix of more would fill the memory
Bins = Annotated[int, Bounds(least=1, most=1_000_000)]
Z_95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


def predict(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class each row of outputs stands for, and the confidence in it.

    The class is that of the largest output (the first of equal ones). Softmax
    outputs are probabilities, so the largest is the confidence. Sigmoid and
    linear outputs are taken as they are, clipped to [0, 1]: a network trained
    towards one-hot targets puts its estimate of the probability there.

    Parameters
    ----------
    outputs : (examples, classes) floats, as from `Network.probabilities`

    Returns
    -------
    predicted : (examples,) int64
    confidence : (examples,) float64 in [0, 1]

    Raises
    ------
    ArgumentError : for outputs that are not finite, or none
    """
    check_array(outputs, "predict", "outputs", kinds="f", shape=(None, None))
    if not outputs.shape[1] or not np.isfinite(outputs).all():
        raise ArgumentError("predict", ("outputs",), "should be finite, of one class or more")
    predicted = outputs.argmax(axis=1)
    winning = np.take_along_axis(outputs, predicted[:, None], axis=1)[:, 0]
    return predicted, np.clip(winning.astype(np.float64), 0.0, 1.0)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion.

    Unlike the textbook's p ± z·√(p(1−p)/n) it stays inside [0, 1] and covers
    what it says for proportions near 1, where a good classifier's accuracy is.
    Of 0 trials nothing is known: (0, 1).

    Source: E. B. Wilson (1927), J. Am. Stat. Assoc. 22, 209–212; method 3 of
    R. G. Newcombe (1998), Statistics in Medicine 17, 857–872.
    """
    trials = check(Whole, trials, "wilson_interval", "trials")
    successes = check(Annotated[int, Bounds(least=0, most=trials)], successes, "wilson_interval", "successes")
    if trials == 0:
        return 0.0, 1.0
    proportion, square = successes / trials, Z_95**2
    centre = proportion + square / (2 * trials)
    half = Z_95 * (proportion * (1 - proportion) / trials + square / (4 * trials**2)) ** 0.5
    low, high = (centre - half) / (1 + square / trials), (centre + half) / (1 + square / trials)
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def confusion_matrix(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (row) was taken for each class (column): (classes, classes) int64.

    Raises
    ------
    ArgumentError : for a class beyond 0 to `classes` − 1, or arrays (examples,) of different lengths
    """
    classes = check(Classes, classes, "confusion_matrix", "classes")
    check_array(actual, "confusion_matrix", "actual", kinds="iu", shape=(None,))
    check_array(predicted, "confusion_matrix", "predicted", kinds="iu", shape=(len(actual),))
    for name, column in (("actual", actual), ("predicted", predicted)):
        if len(column) and not 0 <= column.min() <= column.max() < classes:
            problem = f"should be classes from 0 to {classes - 1}, are {column.min()} to {column.max()}"
            raise ArgumentError("confusion_matrix", (name,), problem)
    pairs = actual.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def precision_and_recall(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of what was predicted as a class, the part that is; of what is, the part that was found.

    Returns two (classes,) float64 arrays. A class that was never predicted has
    precision 0, a class without examples recall 0, as in scikit-learn.

    Raises
    ------
    ArgumentError : for what `confusion_matrix` could not have made
    """
    _check_confusion(confusion, "precision_and_recall")
    found = np.diag(confusion).astype(np.float64)
    precision = found / np.maximum(confusion.sum(axis=0), 1)
    recall = found / np.maximum(confusion.sum(axis=1), 1)
    return precision, recall


def macro_f1(confusion: np.ndarray) -> float:
    """The harmonic mean of precision and recall, averaged over the classes that occur at all.

    Raises
    ------
    ArgumentError : for what `confusion_matrix` could not have made, or where no class occurs
    """
    _check_confusion(confusion, "macro_f1")
    if not confusion.any():
        raise ArgumentError("macro_f1", ("confusion",), "counts no example")
    found = np.diag(confusion)
    named = confusion.sum(axis=0) + confusion.sum(axis=1)  # F1 = 2·found / (predicted + actual)
    occurs = named > 0
    return float(np.mean(2 * found[occurs] / named[occurs]))


def _check_confusion(confusion: np.ndarray, owner: str) -> None:
    check_array(confusion, owner, "confusion", kinds="iu", shape=(None, None))
    if confusion.shape[0] != confusion.shape[1] or (confusion < 0).any():
        raise ArgumentError(owner, ("confusion",), "should be counts, as many rows as columns", confusion)


@dataclass(frozen=True, eq=False)
class Reliability:
    """What confidence is worth, in bins of equal width over [0, 1]; at least one bin is filled.

    `counts` (bins,) int64, and for each bin the mean `confidence` and the
    `accuracy` of the predictions in it, (bins,) float64, NaN in an empty one.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def __post_init__(self) -> None:
        counts = check_array(self.counts, "Reliability", "counts", kinds="iu", shape=(None,))
        if not counts.any() or (counts < 0).any():
            raise ArgumentError("Reliability", ("counts",), "should be 0 or more, and not all 0")
        for name in ("confidence", "accuracy"):
            means = check_array(getattr(self, name), "Reliability", name, kinds="f", shape=counts.shape)
            if not ((means >= 0) & (means <= 1) | (counts == 0)).all():
                raise ArgumentError("Reliability", (name,), "should be from 0 to 1 in every filled bin")

    @property
    def expected_calibration_error(self) -> float:
        """|accuracy − confidence| of the bins, weighted by their counts.

        Source: C. Guo et al. (2017), On Calibration of Modern Neural Networks, ICML, equation 3.
        """
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(self.counts[filled] @ gaps / self.counts.sum())


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int) -> Reliability:
    """Sort predictions into bins ((m−1)/M, m/M] by their confidence, as Guo et al. do.

    Parameters
    ----------
    confidence : (examples,) floats in [0, 1]; 0 itself goes into the first bin
    correct : (examples,) bool
    bins : M, how many

    Raises
    ------
    ArgumentError : for no predictions, or a confidence beyond [0, 1]
    """
    bins = check(Bins, bins, "reliability", "bins")
    check_array(confidence, "reliability", "confidence", kinds="f", shape=(None,))
    check_array(correct, "reliability", "correct", kinds="b", shape=(len(confidence),))
    if not (len(confidence) and ((confidence >= 0) & (confidence <= 1)).all()):
        raise ArgumentError(
            "reliability", ("confidence",), "should be from 0 to 1, of one prediction or more"
        )
    # Compared with the very edges a reader would write down, so that 0.3 of ten bins is in (0.2, 0.3].
    place = np.clip(np.searchsorted(np.arange(bins + 1) / bins, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # an empty bin has no mean: 0/0 is NaN
        return Reliability(
            counts,
            np.bincount(place, weights=confidence, minlength=bins) / counts,
            np.bincount(place, weights=correct, minlength=bins) / counts,
        )


def summary(
    actual: np.ndarray,
    predicted: np.ndarray,
    confidence: np.ndarray,
    loss: float,
    classes: int,
    calibration_bins: int,
) -> dict[str, Any]:
    """Every metric of one set of predictions, plain numbers, unrounded.

    Parameters
    ----------
    actual, predicted : (examples,) integers, at least one example
    confidence : (examples,) floats in [0, 1]
    loss : the mean of the network's own loss over these examples

    Raises
    ------
    ArgumentError : as `confusion_matrix` and `reliability`
    """
    confusion = confusion_matrix(actual, predicted, classes)
    examples, loss = len(actual), check(float, loss, "summary", "loss")
    if not examples:
        raise ArgumentError("summary", ("actual",), "there are no examples")
    correct = predicted == actual
    right = int(np.count_nonzero(correct))
    return {
        "accuracy": right / examples,
        "accuracy_ci95": list(wilson_interval(right, examples)),
        "error_rate": (examples - right) / examples,
        "errors": examples - right,
        "examples": examples,
        "loss": loss,
        "macro_f1": macro_f1(confusion),
        "expected_calibration_error": reliability(
            confidence, correct, calibration_bins
        ).expected_calibration_error,
    }


def per_class(actual: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision and recall of each class, under its name."""
    names = check(tuple[str, ...], names, "per_class", "names")
    if len(set(names)) < len(names):
        raise ArgumentError("per_class", ("names",), "has one name twice", names)
    precision, recall = precision_and_recall(confusion_matrix(actual, predicted, len(names)))
    return {
        "precision": dict(zip(names, precision.tolist(), strict=True)),
        "recall": dict(zip(names, recall.tolist(), strict=True)),
    }


def over_seeds(summaries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each scalar metric of several seeds, two or more, as its mean, standard deviation (n − 1), and each value."""
    summaries = check(Annotated[tuple[dict, ...], AtLeast(2)], summaries, "over_seeds", "summaries")
    spread = {}
    for name, first in summaries[0].items():
        if isinstance(first, (int, float)) and name != "examples":
            each = [one.get(name) for one in summaries]
            for place, value in enumerate(each):
                check(float, value, "over_seeds", "summaries", place, name)
            values = np.array(each, np.float64)
            spread[name] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "each": each}
    return spread


def rounded(value: Any) -> Any:
    """The same nested metrics with every float rounded to `DECIMALS` decimals."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
