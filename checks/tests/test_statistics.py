"""The statistics agree with SciPy, with published examples, and with simulation."""

import numpy
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dvc_checks import statistics

counts = st.integers(0, 400)


@settings(deadline=None)
@given(counts, counts)
def test_mcnemar_is_scipys_binomial_test(lost: int, gained: int) -> None:
    expected = scipy.stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert statistics.mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    assert statistics.mcnemar(0, 0) == 1
    assert statistics.mcnemar(0, 5) == 2 / 32
    assert statistics.mcnemar(5, 0) == 2 / 32
    assert statistics.mcnemar(1, 9) == 2 * (1 + 10) / 1024
    assert statistics.mcnemar(7, 7) == 1
    assert 0 < statistics.mcnemar(900, 3000) < 1e-200  # no overflow, no underflow on the way


@settings(deadline=None)
@given(counts, counts)
def test_wilson_is_scipys(successes: int, failures: int) -> None:
    total = successes + failures
    if not total:
        return
    expected = scipy.stats.binomtest(successes, total).proportion_ci(0.95, method="wilson")
    assert statistics.wilson(successes, total) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_paired_interval_is_newcombes_example() -> None:
    # Newcombe 1998, the counts 36, 12, 2, 0: a difference of 0.2, method 10 gives 0.0569 to 0.3404.
    low, high = statistics.paired_difference(both=36, lost=2, gained=12, neither=0)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)


@settings(deadline=None)
@given(counts, counts, counts, counts)
def test_the_paired_interval_holds_the_difference_and_mirrors(
    both: int, lost: int, gained: int, neither: int
) -> None:
    total = both + lost + gained + neither
    low, high = statistics.paired_difference(both, lost, gained, neither)
    assert -1 <= low <= high <= 1
    if total:
        assert low - 1e-12 <= (gained - lost) / total <= high + 1e-12
        mirrored = statistics.paired_difference(both, gained, lost, neither)
        assert mirrored == pytest.approx((-high, -low), abs=1e-9)


def test_the_paired_interval_covers_the_truth_95_times_in_100() -> None:
    generator = numpy.random.default_rng(0)
    chances = numpy.array([0.95, 0.02, 0.01, 0.02])  # both, lost, gained, neither
    draws = generator.multinomial(2000, chances, size=2000)
    truth = chances[2] - chances[1]
    covered = [
        low <= truth <= high for low, high in (statistics.paired_difference(*map(int, d)) for d in draws)
    ]
    assert 0.94 <= sum(covered) / len(covered) <= 0.97


def test_holm_by_hand() -> None:
    assert statistics.holm([]) == []
    assert statistics.holm([0.03]) == [0.03]
    assert statistics.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    adjusted = statistics.holm(p_values)
    for p, corrected in zip(p_values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p) + 1e-12 or corrected <= 1.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
