"""How many samples would decide: the size at which a one-sided exact bound clears its limit.

The gate prints it beside ``undecided``, so that a user knows what waiting for more samples would buy.

Example:
    >>> num_samples_to_decide(k=0, n=20, limit=0.05, alpha=0.05, side="upper")  # 1 - 0.05 ** (1 / 59) < 0.05
    59
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from symbio_lab.errors import DataError
from symbio_lab.stats.intervals import check_alpha, check_counts

Side = Literal["lower", "upper"]
MAX_SAMPLES = 10_000_000
"""Beyond this the answer is None: such a rate is at its limit for every practical purpose."""
_CHUNK = 65_536


def num_samples_to_decide(k: int, n: int, limit: float, alpha: float = 0.05, side: Side = "lower") -> int | None:
    """Return the total number of samples at which the bound clears ``limit``, if the observed rate stays.

    Hits are rounded against the claim (down for ``lower``, up for ``upper``), so the answer is what whole
    samples need. Samples already seen count.

    Args:
        k: hits so far, 0 <= k <= n.
        n: samples so far.
        limit: rate to clear, in (0, 1).
        alpha: error rate on this side, in (0, 1); already divided by the number of looks.
        side: ``lower`` asks for lower bound >= limit, ``upper`` for upper bound <= limit.

    Returns:
        A total >= n, or None: nothing seen yet, the observed rate is on the wrong side of the limit (or on
        it), or more than ``MAX_SAMPLES`` would be needed.

    Raises:
        DataError: impossible counts, alpha, limit or side.

    References:
        Clopper and Pearson (1934) for the bound. Differs from the paper: nothing.
    """
    check_counts(k, n)
    check_alpha(alpha)
    if side not in ("lower", "upper"):
        raise DataError(f"unknown side {side!r}", hint="use lower or upper")
    if not 0.0 < limit < 1.0:
        raise DataError(f"limit must lie in (0, 1), not {limit}")
    if side == "upper":
        # An upper bound on hits is a lower bound on misses: one search serves both sides.
        k, limit = n - k, 1.0 - limit
    if n == 0 or k / n <= limit:
        return None
    start = max(n, _continuous_size(k, n, limit, alpha))
    while start <= MAX_SAMPLES:
        sizes = np.arange(start, min(start + _CHUNK, MAX_SAMPLES + 1), dtype=np.int64)
        hits = sizes * k // n
        bounds = np.where(hits > 0, betaincinv(np.maximum(hits, 1), sizes - hits + 1, alpha), 0.0)
        clears = np.flatnonzero(bounds >= limit)
        if clears.size:
            return int(sizes[clears[0]])
        start += _CHUNK
    return None


def num_samples_for_power(
    rate: float, limit: float, alpha: float = 0.05, side: Side = "lower", *, power: float = 0.8, most: int = 20_000
) -> int | None:
    """Return how many samples make the bound clear ``limit`` with probability ``power``, if ``rate`` is the truth.

    The power of an exact test goes up and down with n, because counts are whole; the answer is the smallest n from
    which on the power stays.

    Args:
        rate: the assumed truth, in [0, 1].
        limit: rate to clear, in (0, 1).
        alpha: error rate on this side, in (0, 1); already divided by the number of looks.
        side: ``lower`` asks for lower bound >= limit, ``upper`` for upper bound <= limit.
        power: wanted probability, in (0, 1).
        most: None beyond this size.

    Returns:
        The size, or None: the rate is on the wrong side of the limit (or on it), or more than ``most`` are needed.

    Raises:
        DataError: an impossible rate, limit, alpha, power or side.

    References:
        Chernick and Liu (2002), "The saw-toothed behavior of power versus sample size", The American Statistician 56.
        Differs from the paper: the one-sided Clopper-Pearson bound of the gate.

    >>> num_samples_for_power(0.5, 0.10), num_samples_for_power(0.02, 0.05, side="upper")
    (10, 286)
    """
    from scipy.stats import binom

    check_alpha(alpha)
    if side not in ("lower", "upper"):
        raise DataError(f"unknown side {side!r}", hint="use lower or upper")
    if not 0.0 < limit < 1.0 or not 0.0 <= rate <= 1.0 or not 0.0 < power < 1.0:
        raise DataError(f"impossible: rate {rate}, limit {limit}, power {power}")
    if side == "upper":
        # An upper bound on hits is a lower bound on misses: one search serves both sides.
        rate, limit = 1.0 - rate, 1.0 - limit
    if rate <= limit:
        return None
    sizes = np.arange(1, most + 1)
    # The fewest hits that clear: hits above them clear as well.
    fewest = _fewest_hits(sizes, limit, alpha)
    enough = np.where(fewest <= sizes, binom.sf(fewest - 1, sizes, rate), 0.0) >= power
    if not enough[-1]:
        return None
    short = np.flatnonzero(~enough)
    return int(sizes[short[-1]]) + 1 if short.size else 1


def _fewest_hits(sizes: NDArray[np.int64], limit: float, alpha: float) -> NDArray[np.int64]:
    """Return for each size the fewest hits whose lower bound reaches ``limit``; size + 1 where none does."""
    from scipy.stats import binom

    # Lower bound(k, n) >= limit exactly when P(X >= k | n, limit) <= alpha.
    fewest = binom.isf(alpha, sizes, limit).astype(np.int64) + 1
    return np.where(binom.sf(fewest - 1, sizes, limit) <= alpha, fewest, fewest + 1)


def _continuous_size(k: int, n: int, limit: float, alpha: float) -> int:
    """Return the size that would do if hits could be fractional: a floor for the search over whole counts."""

    def clears(size: int) -> bool:
        hits = size * k / n
        return bool(betaincinv(hits, size - hits + 1, alpha) >= limit)

    low, high = 0, 1
    while not clears(high):
        low, high = high, 2 * high
        if low > MAX_SAMPLES:
            return low
    while high - low > 1:
        middle = math.floor((low + high) / 2)
        low, high = (low, middle) if clears(middle) else (middle, high)
    return high
