"""The statistics agree with SciPy, with published examples, and with simulation."""

import math

import numpy
import pytest
import scipy.stats
from hypothesis import example, given, settings
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


# Chances of (both, lost, gained, neither): rare and common changes, models good and bad.
CHANCES = [
    (1 - lost - gained - neither, lost, gained, neither)
    for lost in (0.01, 0.05, 0.15, 0.3)
    for gained in (0.01, 0.05, 0.15, 0.3)
    for neither in (0.0, 0.05, 0.3)
]


def covered(chances: tuple[float, ...], tables: numpy.ndarray, weights: numpy.ndarray) -> float:
    """The share of tables, so weighted, whose interval holds the true difference."""
    truth = chances[2] - chances[1]
    intervals = [statistics.paired_difference(*map(int, table)) for table in tables]
    held = [low - 1e-12 <= truth <= high + 1e-12 for low, high in intervals]
    return float(numpy.asarray(weights)[held].sum() / numpy.sum(weights))


@pytest.mark.parametrize(
    "examples", [5, 12, pytest.param(20, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.slow)]
)
def test_newcombes_interval_of_few_examples_covers_the_truth(examples: int) -> None:
    """Not simulated: every possible outcome is gone through."""
    tables = numpy.array(
        [
            (both, lost, gained, examples - both - lost - gained)
            for both in range(examples + 1)
            for lost in range(examples + 1 - both)
            for gained in range(examples + 1 - both - lost)
        ]
    )
    found = [covered(c, tables, scipy.stats.multinomial.pmf(tables, examples, c)) for c in CHANCES]
    assert min(found) >= 0.94
    assert numpy.mean(found) >= 0.95


@pytest.mark.parametrize(
    "examples", [100, pytest.param(1000, marks=pytest.mark.slow), pytest.param(10000, marks=pytest.mark.slow)]
)
def test_newcombes_interval_covers_the_truth(examples: int, request: pytest.FixtureRequest) -> None:
    slow = request.node.get_closest_marker("slow") is not None
    generator = numpy.random.default_rng(0)
    found = []
    for chances in CHANCES if slow else CHANCES[::4]:
        draws = generator.multinomial(examples, chances, size=20000 if slow else 4000)
        tables, counts = numpy.unique(draws, axis=0, return_counts=True)
        found.append(covered(chances, tables, counts))
    assert min(found) >= 0.94 - (0.0 if slow else 0.007)  # two standard errors of the short simulation
    assert 0.949 <= numpy.mean(found) <= 0.97  # of many examples it is 0.95, and these are simulations


def errors(
    shape: str, generator: numpy.random.Generator, examples: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The errors of two models on the same examples: what they share, and what each adds."""
    shared = {
        "normal": generator.normal,
        "laplace": generator.laplace,
        "heavy": lambda size: generator.standard_t(5, size),
        "even": lambda size: generator.uniform(-1, 1, size),
    }[shape](size=examples)
    return shared + 0.5 * generator.normal(size=examples), shared + 0.6 * generator.normal(size=examples)


def bootstrap_covers(shape: str, loss: str, examples: int, trials: int) -> tuple[float, float]:
    """How often the interval holds the truth; and how often two equal models are told apart at 5 %."""
    generator = numpy.random.default_rng(7)
    power = 1 if loss == "absolute" else 2
    large = [numpy.abs(error) ** power for error in errors(shape, generator, 2_000_000)]
    truth = float(large[1].mean() - large[0].mean())
    held = alarms = 0
    for _ in range(trials):
        old, new = (numpy.abs(error) ** power for error in errors(shape, generator, examples))
        low, high = statistics.bootstrap((new - old).tolist()).interval
        held += low <= truth <= high
        swap = (
            generator.random(examples) < 0.5
        )  # which of two is the old one is decided by lot: no difference
        null = numpy.where(swap, new - old, old - new)
        alarms += statistics.bootstrap(null.tolist()).p <= 0.05
    return held / trials, alarms / trials


def test_the_bootstrap_covers_the_truth_and_seldom_cries_wolf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 199)
    found = [bootstrap_covers("normal", loss, 25, 150) for loss in ("absolute", "squared")]
    assert min(held for held, _ in found) >= 0.91  # two standard errors of so short a simulation below 0.945
    assert max(alarms for _, alarms in found) <= 0.09


@pytest.mark.slow
@pytest.mark.parametrize("examples", [15, 60])
@pytest.mark.parametrize("loss", ["absolute", "squared"])
def test_the_bootstrap_covers_the_truth_for_errors_of_many_shapes(
    loss: str, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 399)
    trials = 800
    tolerance = 2 * (0.05 * 0.95 / trials) ** 0.5
    found = [
        bootstrap_covers(shape, loss, examples, trials) for shape in ("normal", "laplace", "heavy", "even")
    ]
    assert min(held for held, _ in found) >= 0.95 - tolerance
    assert numpy.mean([held for held, _ in found]) >= 0.95 - tolerance / 2
    assert max(alarms for _, alarms in found) <= 0.05 + tolerance


def test_the_bootstrap_is_seeded_and_agrees_with_student_on_many_normal_examples() -> None:
    values = numpy.random.default_rng(3).normal(0.1, 1, 400).tolist()
    found = statistics.bootstrap(values)
    assert found == statistics.bootstrap(values)
    reference = scipy.stats.ttest_1samp(values, 0)
    interval = reference.confidence_interval()
    assert found.interval == pytest.approx((interval.low, interval.high), abs=0.01)
    assert found.p == pytest.approx(float(reference[1]), abs=0.02)
    assert (found.p <= 0.05) == (found.interval[0] > 0 or found.interval[1] < 0)
    many = numpy.random.default_rng(4).normal(1, 1, 20_000).tolist()
    assert statistics.bootstrap(many).change == pytest.approx(numpy.mean(many))
    width = statistics.bootstrap(many).interval[1] - statistics.bootstrap(many).interval[0]
    assert width == pytest.approx(2 * 1.96 / 20_000**0.5, rel=0.15)


def test_the_bootstrap_of_the_least() -> None:
    assert statistics.bootstrap([0.0] * 5) == statistics.Estimate(0.0, (0.0, 0.0), 1.0)
    assert statistics.bootstrap([1.0] * 5).p < 0.01
    assert statistics.bootstrap([0.0, 1.0]).p > 0.05


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-3, 60), st.integers(1, 2000))
@example(1.001, 1)
def test_students_t_is_scipys(t: float, freedom: int) -> None:
    assert statistics.student_tails(t, freedom) == pytest.approx(2 * scipy.stats.t.sf(t, freedom), rel=1e-9)
    assert statistics.student_quantile(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize("t", [0.0, 1e-12, 1e-8, 1e-3, 0.5, 2.0])
def test_students_t_of_one_degree_is_cauchys(t: float) -> None:
    """Near 0, where SciPy's is off in the ninth place."""
    assert statistics.student_tails(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), rel=1e-14)


def samples_cover(function: str, sizes: tuple[int, int], spread: float, trials: int) -> tuple[float, float]:
    generator = numpy.random.default_rng(11)
    before = generator.normal(0, 1, (trials, sizes[0])).tolist()
    after = generator.normal(0, spread, (trials, sizes[1])).tolist()
    found = [getattr(statistics, function)(a, b) for a, b in zip(before, after, strict=True)]
    held = sum(one.interval[0] <= 0 <= one.interval[1] for one in found) / trials
    return held, sum(one.p < 0.05 for one in found) / trials


@pytest.mark.parametrize("trials", [600, pytest.param(30000, marks=pytest.mark.slow)])
def test_intervals_of_a_few_seeds_cover_the_truth_whatever_their_spread(trials: int) -> None:
    tolerance = 3 * (0.05 * 0.95 / trials) ** 0.5
    found = [
        samples_cover("independent_samples", sizes, spread, trials)
        for sizes in ((2, 2), (2, 10), (3, 3), (3, 5), (5, 10))
        for spread in (0.1, 1.0, 5.0)
    ]
    found += [samples_cover("paired_samples", (n, n), 1.0, trials) for n in (2, 3, 5)]
    assert min(held for held, _ in found) >= 0.95 - tolerance
    assert numpy.mean([held for held, _ in found]) >= 0.95
    assert max(alarms for _, alarms in found) <= 0.05 + tolerance


def test_the_rate_of_false_alarms_of_mcnemar_and_of_holm() -> None:
    generator = numpy.random.default_rng(5)
    tables = generator.multinomial(300, (0.8, 0.06, 0.06, 0.08), size=(2000, 8))
    p_values = [[statistics.mcnemar(int(t[1]), int(t[2])) for t in family] for family in tables]
    assert numpy.mean([p < 0.05 for family in p_values for p in family]) <= 0.05
    assert numpy.mean([min(statistics.holm(family)) < 0.05 for family in p_values]) <= 0.05
    assert numpy.mean([min(family) < 0.05 for family in p_values]) > 0.1  # what the correction is for


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
