"""Is a change in accuracy more than chance? Paired statistics for two classifiers on the same examples.

Counts are named after the 2×2 table of paired outcomes: `lost` examples were
right before and are wrong now, `gained` ones the reverse; the two together are
the discordant ones, and only they carry information about the change.
"""

import math
from fractions import Fraction

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


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    share, spread = successes / total, Z95 * Z95 / total
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return low, high


def paired_difference(both: int, lost: int, gained: int, neither: int) -> tuple[float, float]:
    """95 % interval of the change in accuracy, (gained − lost) / total.

    Newcombe's hybrid score interval for paired proportions: the two Wilson
    intervals, joined with the correlation of the pairs (Newcombe 1998,
    Statistics in Medicine 17:2635–2650, method 10).
    """
    total = both + lost + gained + neither
    if not total:
        return -1.0, 1.0
    before, after = (both + lost) / total, (both + gained) / total
    before_low, before_high = wilson(both + lost, total)
    after_low, after_high = wilson(both + gained, total)
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
