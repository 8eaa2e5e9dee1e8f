"""The metrics against published values, hand computations and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from mnistcore.evaluation import metrics


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # R. G. Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_wilson_interval_is_newcombes_published_one(successes, trials, low, high):
    assert metrics.wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 7, 594, 10_000])
def test_the_wilson_interval_agrees_with_scipy_from_none_to_all(trials):
    for successes in {0, 1, trials // 2, trials - 1, trials}:
        theirs = binomtest(successes, trials).proportion_ci(method="wilson")
        assert metrics.wilson_interval(successes, trials) == pytest.approx(
            (theirs.low, theirs.high), abs=1e-12
        )


def test_the_wilson_interval_stays_a_proportion_and_knows_nothing_of_no_trials():
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)
    assert metrics.wilson_interval(10, 10)[1] == 1.0
    assert metrics.wilson_interval(0, 10)[0] == 0.0


def drawn(seed, examples=500, classes=5, missing=()):
    """Actual and predicted classes that agree about half the time; `missing` classes occur in neither."""
    random = np.random.default_rng(seed)
    allowed = np.setdiff1d(np.arange(classes), missing)
    actual, guess = random.choice(allowed, examples), random.choice(allowed, examples)
    return actual, np.where(random.random(examples) < 0.5, actual, guess)


@pytest.mark.parametrize("missing", [(), (2,), (0, 4)])
def test_counts_and_rates_agree_with_scikit_learn(missing):
    actual, predicted = drawn(0, missing=missing)
    labels = np.arange(5)
    confusion = metrics.confusion_matrix(actual.astype(np.uint8), predicted, 5)
    assert np.array_equal(confusion, sk.confusion_matrix(actual, predicted, labels=labels))
    precision, recall = metrics.precision_and_recall(confusion)
    options = {"labels": labels, "average": None, "zero_division": 0}
    assert precision == pytest.approx(sk.precision_score(actual, predicted, **options))
    assert recall == pytest.approx(sk.recall_score(actual, predicted, **options))
    assert metrics.macro_f1(confusion) == pytest.approx(sk.f1_score(actual, predicted, average="macro"))


def test_uint8_labels_of_many_classes_do_not_wrap_around():
    actual = np.array([25, 25, 0], np.uint8)
    confusion = metrics.confusion_matrix(actual, np.array([25, 3, 0]), 26)
    assert (confusion[25, 25], confusion[25, 3], confusion[0, 0], confusion.sum()) == (1, 1, 1, 3)


def test_a_class_never_predicted_costs_macro_f1_and_warns_nobody():
    actual, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])
    # class 0: F1 = 2*2/(3+2) = 0.8; class 1: 0
    assert metrics.macro_f1(metrics.confusion_matrix(actual, predicted, 2)) == pytest.approx(0.4)


def test_the_calibration_error_is_the_hand_computed_one():
    confidence = np.array([0.95, 0.85, 0.90, 0.40, 0.35])
    correct = np.array([True, True, False, True, False])
    # Two bins: (0, .5] holds .40 and .35: |1/2 - .375| = .125; (.5, 1] holds three: |2/3 - .9| = .2333...
    bins = metrics.reliability(confidence, correct, 2)
    assert bins.counts.tolist() == [2, 3]
    assert bins.accuracy == pytest.approx([0.5, 2 / 3])
    assert bins.confidence == pytest.approx([0.375, 0.9])
    assert bins.expected_calibration_error == pytest.approx(2 / 5 * 0.125 + 3 / 5 * (0.9 - 2 / 3))


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    for bins in (10, 15, 20):
        for m in range(1, bins + 1):
            counts = metrics.reliability(np.array([m / bins]), np.array([True]), bins).counts
            assert counts[m - 1] == 1, (bins, m)
    assert metrics.reliability(np.array([0.0]), np.array([True]), 10).counts[0] == 1


def test_the_calibration_error_agrees_with_a_plain_loop():
    random = np.random.default_rng(1)
    confidence, correct = random.random(400), random.random(400) < 0.7
    expected = 0.0
    for m in range(15):
        inside = [i for i, c in enumerate(confidence) if m / 15 < c <= (m + 1) / 15]
        if inside:
            gap = sum(correct[i] for i in inside) / len(inside) - sum(confidence[i] for i in inside) / len(
                inside
            )
            expected += len(inside) / 400 * abs(gap)
    assert metrics.reliability(confidence, correct, 15).expected_calibration_error == pytest.approx(expected)


def test_empty_bins_have_no_mean_and_do_not_count():
    bins = metrics.reliability(np.array([1.0, 1.0]), np.array([True, True]), 4)
    assert np.isnan(bins.accuracy[:3]).all()
    assert bins.expected_calibration_error == 0.0


def test_the_largest_output_wins_and_confidence_is_a_proportion():
    outputs = np.array([[0.2, 0.7, 0.1], [1.4, 0.3, -0.2], [-3.0, -1.0, -2.0], [0.5, 0.5, 0.0]], np.float32)
    predicted, confidence = metrics.predict(outputs)
    assert predicted.tolist() == [1, 0, 1, 0]
    assert confidence == pytest.approx([0.7, 1.0, 0.0, 0.5])


def test_the_summary_of_hand_counted_predictions():
    actual, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    summary = metrics.summary(actual, predicted, np.array([0.9, 0.6, 0.8, 1.0]), 0.25, 2, 1)
    assert summary["errors"] == 1 and summary["examples"] == 4
    assert summary["accuracy"] == 0.75 and summary["error_rate"] == 0.25
    assert summary["loss"] == 0.25
    assert summary["expected_calibration_error"] == pytest.approx(0.825 - 0.75)
    low, high = summary["accuracy_ci95"]
    assert low < 0.75 < high
    classes = metrics.per_class(actual, predicted, ["no", "yes"])
    assert classes["precision"] == pytest.approx({"no": 1.0, "yes": 2 / 3})
    assert classes["recall"] == pytest.approx({"no": 0.5, "yes": 1.0})


def test_several_seeds_are_told_as_mean_deviation_and_each():
    actual = np.array([0, 0, 1, 1])
    one = metrics.summary(actual, actual, np.ones(4), 0.1, 2, 5)
    two = metrics.summary(actual, 1 - actual, np.ones(4), 0.3, 2, 5)
    spread = metrics.over_seeds([one, two])
    assert spread["accuracy"]["each"] == [1.0, 0.0]
    assert spread["accuracy"]["mean"] == 0.5
    assert spread["loss"]["sd"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert "accuracy_ci95" not in spread and "examples" not in spread


def test_rounding_reaches_every_float_and_nothing_else():
    assert metrics.rounded({"a": [1 / 3, 2], "b": {"c": "1/3", "d": 0.25}}) == {
        "a": [0.333333, 2],
        "b": {"c": "1/3", "d": 0.25},
    }


def test_of_a_class_of_one_example_read_right_precision_and_recall_are_1():
    precision, recall = metrics.precision_and_recall(np.eye(3, dtype=int))
    assert precision.tolist() == recall.tolist() == [1, 1, 1]
