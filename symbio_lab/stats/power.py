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
