"""Is a change more than chance? Paired statistics for two models on the same examples, and for seeds.

Plain Python, for DVC brings no NumPy. Counts are named after the 2×2 table of paired outcomes: `lost` examples were
right before and are wrong now, `gained` ones the reverse; the two together are
the discordant ones, and only they carry information about the change.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p-value of the exact McNemar test.

    If the change did nothing, each discordant example is as likely gained as
    lost, so `gained` follows a binomial distribution with probability ½; the
    tail is summed in whole numbers (McNemar 1947; exact form in Agresti,
    Categorical Data Analysis, section 11.1).
    """
    total = lost + gained
    term = tail = 1  # the number of ways to draw k of `total`, summed up to the smaller count
    for k in range(min(lost, gained)):
        term = term * (total - k) // (k + 1)
        tail += term
    return min(1.0, float(Fraction(2 * tail, 2**total)))


def wilson(successes: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    share, spread = successes / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return low, high


def paired_difference(both: int, lost: int, gained: int, neither: int) -> tuple[float, float]:
    """95 % interval of the change in accuracy, (gained − lost) / total.

    Newcombe's hybrid score interval for paired proportions: the two Wilson
    intervals, joined with the correlation of the pairs (Newcombe 1998,
    Statistics in Medicine 17:2635–2650, method 10). Of fewer than 30 examples it would cover as
    little as 93 %; there Student's 97.5 % point takes the place of the normal distribution's.
    """
    total = both + lost + gained + neither
    if not total:
        return -1.0, 1.0
    before, after = (both + lost) / total, (both + gained) / total
    z = student_quantile(total - 1) if 1 < total < 30 else Z95
    before_low, before_high = wilson(both + lost, total, z)
    after_low, after_high = wilson(both + gained, total, z)
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    product = both * neither - lost * gained
    if product > 0:
        product = max(product - total / 2, 0)  # his continuity correction
    correlation = product / math.sqrt(margins) if margins else 0.0

    def reach(up: float, down: float) -> float:
        return math.sqrt(max(0.0, up * up - 2 * correlation * up * down + down * down))

    change = after - before
    return (
        max(-1.0, change - reach(after - after_low, before_high - before)),
        min(1.0, change + reach(after_high - after, before - before_low)),
    )


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values for testing several things at once (Holm 1979): all may be held to one level."""
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


@dataclass(frozen=True)
class Estimate:
    """A change, with its 95 % interval and the two-sided p-value of there being none."""

    change: float
    interval: tuple[float, float]
    p: float


RESAMPLES = 1999
GROUPS = 500  # more examples than this are first gathered, by lot, in so many groups


def bootstrap(differences: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of paired differences, by the symmetric studentised bootstrap.

    Each resample gives a t statistic about the mean that was measured; the 95th percentile of their
    absolute values takes the place of Student's (Hall 1988, Annals of Statistics 16:927-953). The
    p-value is read off the same resamples, so it is below 0.05 just when the interval leaves 0 out;
    beyond the last resample it is Student's.
    """
    count = len(differences)
    mean = math.fsum(differences) / count
    draw = random.Random(seed)  # noqa: S311  resamples, and keeps no secret
    centred = [value - mean for value in differences]
    if count > GROUPS:
        draw.shuffle(centred)
        centred = [math.fsum(centred[start::GROUPS]) * GROUPS / count for start in range(GROUPS)]
    size = len(centred)
    error = math.sqrt(math.fsum(value * value for value in centred) / (size - 1) / size)
    if not error:
        return Estimate(mean, (mean, mean), 1.0 if not mean else 1 / (RESAMPLES + 1))
    pairs = [complex(value, value * value) for value in centred]  # one sum for both moments
    resampled = []
    for _ in range(RESAMPLES):
        total = sum(draw.choices(pairs, k=size), 0j)
        middle = total.real / size
        variance = (total.imag / size - middle * middle) / (size - 1)
        resampled.append(abs(middle) / math.sqrt(variance) if variance > 1e-30 * error * error else math.inf)
    resampled.sort()
    reach = resampled[math.ceil(0.95 * (RESAMPLES + 1)) - 1] * error
    t = abs(mean) / error
    p = (1 + sum(value >= t for value in resampled)) / (RESAMPLES + 1)
    if resampled[-1] < t:
        p = min(p, student_tails(t, size - 1))
    return Estimate(mean, (mean - reach, mean + reach), p)


def paired_samples(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """The mean change of pairs, such as runs with the same seed: Student's t. Two pairs or more."""
    differences = [new - old for old, new in zip(before, after, strict=True)]
    mean, variance = _moments(differences)
    return _student(mean, variance / len(differences), len(differences) - 1)


def independent_samples(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """The change of the mean between two samples of any variances, two or more values each.

    Welch's t with as many degrees of freedom as the smaller sample alone has: so the interval covers at
    least 95 % whatever the variances are, which Welch's own degrees do not for samples as small as
    a few seeds (Mickey and Brown 1966, Annals of Mathematical Statistics 37:639-643).
    """
    (old, old_variance), (new, new_variance) = _moments(before), _moments(after)
    squared = old_variance / len(before) + new_variance / len(after)
    return _student(new - old, squared, min(len(before), len(after)) - 1)


def _moments(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _student(change: float, squared_error: float, freedom: int) -> Estimate:
    error = math.sqrt(squared_error)
    if not error:  # nothing varies; what signs alone would say, if each were as likely as the other
        return Estimate(change, (change, change), 2 / 2 ** (freedom + 1) if change else 1.0)
    reach = student_quantile(freedom) * error
    return Estimate(change, (change - reach, change + reach), student_tails(abs(change) / error, freedom))


def student_tails(t: float, freedom: int) -> float:
    """The chance that Student's t lies farther from 0 than `t`, on either side."""
    square = t * t
    if square < 1:  # from the other end: beside the freedom, a small square would be lost
        return 1 - _incomplete_beta(square / (freedom + square), 0.5, freedom / 2)
    return _incomplete_beta(freedom / (freedom + square), freedom / 2, 0.5)


@cache
def student_quantile(freedom: int) -> float:
    """The 97.5 % point of Student's t, by bisection."""
    low, high = 0.0, 13.0  # at one degree it is 12.7
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if student_tails(middle, freedom) > 0.05 else (low, middle)
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22), after Lentz."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    value = denominator
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / (1 + term * denominator or tiny)
            numerator = 1 + term / numerator or tiny
            value *= numerator * denominator
        if abs(numerator * denominator - 1) < 1e-15:
            break
    return front * value / a
