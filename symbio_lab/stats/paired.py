"""Comparisons of two answers to the same questions, and weighted sums of figures with intervals.

A paired table counts samples by correctness before and after a change::

                    after right   after wrong
    before right        n11           n10       (n10: broken, negative flips)
    before wrong        n01           n00       (n01: fixed, positive flips)

Example:
    >>> change = paired_difference(n11=60, n10=2, n01=14, n00=24)
    >>> change.value
    0.12
    >>> change.low > 0
    True
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import bdtr

from symbio_lab.errors import DataError
from symbio_lab.records import Interval
from symbio_lab.stats.intervals import check_alpha, check_counts, wilson


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided exact McNemar p-value of two discordant counts.

    Args:
        b: pairs that only the first got right.
        c: pairs that only the second got right.

    Returns:
        p in (0, 1]; 1 when there is no discordant pair.

    Raises:
        DataError: a count is negative or fractional.

    References:
        McNemar (1947), "Note on the sampling error of the difference between correlated proportions or
        percentages", Psychometrika 12; exact form: binomial test of b in b + c against 1/2.
        Differs from the paper: exact instead of chi-square.

    >>> round(mcnemar_exact(1, 9), 5)
    0.02148
    """
    check_counts(b, b + c)
    if b + c == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(b, c), b + c, 0.5)))


def paired_difference(n11: int, n10: int, n01: int, n00: int, alpha: float = 0.05) -> Interval:
    """Return the accuracy change, after minus before, with Newcombe's square-and-add interval.

    Args:
        n11: right before and after.
        n10: right before, wrong after.
        n01: wrong before, right after.
        n00: wrong before and after.
        alpha: total error rate in (0, 1).

    Returns:
        Value ``(n01 - n10) / n`` and bounds, all in [-1, 1]; value None and bounds (-1, 1) when all counts are 0.

    Raises:
        DataError: a count is negative or fractional, or alpha is impossible.

    References:
        Newcombe (1998), "Improved confidence intervals for the difference between binomial proportions based
        on paired data", Statistics in Medicine 17, 2635-2650, method 10.
        Differs from the paper: the sign; Newcombe subtracts second from first, ``delta_`` here is after - before.
    """
    counts = (n11, n10, n01, n00)
    n = sum(counts)
    for count in counts:
        check_counts(count, max(n, count))
    check_alpha(alpha)
    if n == 0:
        return Interval(None, -1.0, 1.0, 0, "newcombe_paired")
    right_after, right_before = n11 + n01, n11 + n10
    after, before = right_after / n, right_before / n
    after_low, after_high = wilson(right_after, n, alpha)
    before_low, before_high = wilson(right_before, n, alpha)
    phi = _corrected_phi(n11, n10, n01, n00)
    below, above = after - after_low, before_high - before
    low = (after - before) - math.sqrt(max(0.0, below**2 - 2.0 * phi * below * above + above**2))
    below, above = before - before_low, after_high - after
    high = (after - before) + math.sqrt(max(0.0, below**2 - 2.0 * phi * below * above + above**2))
    return Interval((n01 - n10) / n, max(-1.0, low), min(1.0, high), n, "newcombe_paired")


def _corrected_phi(n11: int, n10: int, n01: int, n00: int) -> float:
    """Return the phi correlation with Newcombe's continuity correction of its numerator, in [-1, 1]."""
    margins = (n11 + n10) * (n01 + n00) * (n11 + n01) * (n10 + n00)
    if margins == 0:
        return 0.0
    numerator = float(n11 * n00 - n10 * n01)
    if numerator > 0:
        numerator = max(numerator - (n11 + n10 + n01 + n00) / 2.0, 0.0)
    return numerator / math.sqrt(margins)


def weighted_sum(intervals: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Return the weighted sum of independent figures with its MOVER interval.

    The distance from each estimate to its own bound stands in for its standard error, so bounds stay
    asymmetric where the parts are. Parts of weight 0 are left out.

    Args:
        intervals: independent estimates, all at the same alpha.
        weights: one finite weight each, of any sign.

    Returns:
        The sum with bounds; ``n`` is the sum of the parts' n. Value and bounds are None when a part has none.

    Raises:
        DataError: the lengths differ, nothing is given, or a weight is not finite.

    References:
        Zou and Donner (2008), "Construction of confidence limits about effect measures: a general approach",
        Statistics in Medicine 27, 1693-1702, for independent estimates.
        Differs from the paper: any number of weighted terms (their equations 2 and 3, applied to w * theta).

    >>> part = Interval(0.2, 0.1, 0.4, 50)
    >>> both = weighted_sum([part, part], [0.5, 0.5])
    >>> (round(both.low, 4), round(both.high, 4))
    (0.1293, 0.3414)
    """
    if len(intervals) != len(weights) or not intervals:
        raise DataError(f"{len(intervals)} intervals and {len(weights)} weights", hint="give one weight each")
    if not all(math.isfinite(weight) for weight in weights):
        raise DataError("a weight is not finite", hint="give finite weights")
    total = below = above = 0.0
    n = 0
    for part, weight in zip(intervals, weights, strict=True):
        if weight == 0:
            continue
        n += part.n
        if part.value is None or part.low is None or part.high is None:
            return Interval(None, None, None, sum(i.n for i in intervals), "mover")
        total += weight * part.value
        ends = (weight * part.low, weight * part.high)
        below += (weight * part.value - min(ends)) ** 2
        above += (max(ends) - weight * part.value) ** 2
    return Interval(total, total - math.sqrt(below), total + math.sqrt(above), n, "mover")
