"""Intervals for one rate: ``k`` hits in ``n`` samples.

Rules:
    1. ``clopper_pearson*`` never covers less than 1 - alpha; the gate uses its one-sided bounds.
    2. ``wilson`` covers 1 - alpha on average and is shorter; tables and figures use it.
    3. Nothing observed (``n = 0``) excludes nothing: the interval is (0, 1).
    4. ``alpha`` is the total error rate: halved on each side by two-sided intervals, spent on one side by bounds.

Example:
    >>> low, high = clopper_pearson(0, 10)
    >>> (low, round(high, 4))
    (0.0, 0.3085)
"""

from __future__ import annotations

import math
from typing import Literal

from scipy.special import betaincinv, ndtri

from symbio_lab.errors import DataError
from symbio_lab.records import Interval

IntervalMethod = Literal["clopper_pearson", "wilson"]


def check_alpha(alpha: float) -> None:
    """Accept an error rate strictly between 0 and 1.

    Raises:
        DataError: ``alpha`` lies outside (0, 1).
    """
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha must lie in (0, 1), not {alpha}", hint="0.05 gives 95 % intervals")


def check_counts(k: int, n: int) -> None:
    """Accept whole counts with 0 <= k <= n.

    Raises:
        DataError: the counts are negative, fractional, or ``k`` exceeds ``n``.
    """
    if k != int(k) or n != int(n) or not 0 <= k <= n:
        raise DataError(f"{k} of {n} is not a count", hint="give whole numbers with 0 <= k <= n")


def wilson(k: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return the two-sided Wilson score interval of a rate.

    Args:
        k: hits, 0 <= k <= n.
        n: samples; 0 gives (0, 1).
        alpha: total error rate in (0, 1).

    Returns:
        Low and high bound in [0, 1]; exactly 0 at k = 0 and exactly 1 at k = n.

    Raises:
        DataError: impossible counts or alpha.

    References:
        Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22.
        Differs from the paper: nothing.

    >>> [round(bound, 4) for bound in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    check_counts(k, n)
    check_alpha(alpha)
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri(1.0 - alpha / 2.0))
    rate = k / n
    centre = rate + z * z / (2 * n)
    half = z * math.sqrt(rate * (1.0 - rate) / n + z * z / (4.0 * n * n))
    scale = 1.0 + z * z / n
    # The closed form is exact at the ends only up to rounding; a bound of -1e-18 would look like a bug.
    low = 0.0 if k == 0 else max(0.0, (centre - half) / scale)
    high = 1.0 if k == n else min(1.0, (centre + half) / scale)
    return low, high


def clopper_pearson(k: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return the two-sided exact interval of a rate, alpha / 2 on each side.

    Args:
        k: hits, 0 <= k <= n.
        n: samples; 0 gives (0, 1).
        alpha: total error rate in (0, 1).

    Returns:
        Low and high bound in [0, 1].

    Raises:
        DataError: impossible counts or alpha.

    References:
        Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
        binomial", Biometrika 26. Differs from the paper: beta quantiles instead of charts.
    """
    return clopper_pearson_lower(k, n, alpha / 2.0), clopper_pearson_upper(k, n, alpha / 2.0)


def clopper_pearson_lower(k: int, n: int, alpha: float = 0.05) -> float:
    """Return the one-sided exact lower bound of a rate: the truth lies below it with probability <= alpha.

    Args:
        k: hits, 0 <= k <= n.
        n: samples; 0 gives 0.
        alpha: error rate on this side, in (0, 1).

    Returns:
        Bound in [0, 1]; 0 when k = 0.

    Raises:
        DataError: impossible counts or alpha.

    References:
        Clopper and Pearson (1934). Differs from the paper: nothing.

    >>> round(clopper_pearson_lower(10, 10, 0.05), 4)  # 0.05 ** (1 / 10)
    0.7411
    """
    check_counts(k, n)
    check_alpha(alpha)
    return 0.0 if k == 0 else float(betaincinv(k, n - k + 1, alpha))


def clopper_pearson_upper(k: int, n: int, alpha: float = 0.05) -> float:
    """Return the one-sided exact upper bound of a rate: the truth lies above it with probability <= alpha.

    Args:
        k: hits, 0 <= k <= n.
        n: samples; 0 gives 1.
        alpha: error rate on this side, in (0, 1).

    Returns:
        Bound in [0, 1]; 1 when k = n.

    Raises:
        DataError: impossible counts or alpha.

    References:
        Clopper and Pearson (1934). Differs from the paper: nothing.

    >>> round(clopper_pearson_upper(0, 59, 0.05), 4)  # 1 - 0.05 ** (1 / 59)
    0.0495
    """
    check_counts(k, n)
    check_alpha(alpha)
    # Mirror image of the lower bound: the misses of k hits are the hits of n - k.
    return 1.0 - clopper_pearson_lower(n - k, n, alpha)


def to_interval(k: int, n: int, alpha: float = 0.05, method: IntervalMethod = "clopper_pearson") -> Interval:
    """Return a rate with its two-sided interval as a record.

    Args:
        k: hits, 0 <= k <= n.
        n: samples; 0 gives value None and bounds (0, 1).
        alpha: total error rate in (0, 1).
        method: ``clopper_pearson`` (never too short) or ``wilson`` (right on average).

    Returns:
        The record; value and bounds in [0, 1].

    Raises:
        DataError: impossible counts or alpha, or an unknown method.
    """
    if method not in ("clopper_pearson", "wilson"):
        raise DataError(f"unknown interval method {method!r}", hint="use clopper_pearson or wilson")
    low, high = (wilson if method == "wilson" else clopper_pearson)(k, n, alpha)
    return Interval(value=k / n if n else None, low=low, high=high, n=int(n), method=method)
