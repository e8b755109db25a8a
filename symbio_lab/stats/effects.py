"""How large a paired difference is, in the unit of the figures and without one.

Example:
    >>> shift = hodges_lehmann([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    >>> shift.value, shift.low, shift.high
    (3.5, 1.0, 6.0)
    >>> rank_biserial([1.0, 2.0, -3.0])
    0.0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from symbio_lab.records import Interval
from symbio_lab.stats.figures import Figures, checked_values
from symbio_lab.stats.intervals import check_alpha


def hodges_lehmann(differences: Figures, alpha: float = 0.05) -> Interval:
    """Return the shift between two arms with its exact interval: the median of all pairwise averages.

    Args:
        differences: first minus second, one for each incident, of shape (n,).
        alpha: total error rate in (0, 1); the interval's is the largest attainable one below it.

    Returns:
        The shift in the unit of the differences; bounds None where n is too small for this alpha (6 incidents are
        enough at 0.05).

    Raises:
        DataError: nothing is given, a figure is not finite, or an impossible alpha.

    References:
        Hollander and Wolfe (1999), "Nonparametric Statistical Methods", sections 3.2 and 3.3.
    """
    values = checked_values(differences)
    check_alpha(alpha)
    n = values.size
    rows, columns = np.triu_indices(n)
    averages = np.sort((values[rows] + values[columns]) / 2)
    shift = float(np.median(averages))
    cumulative = np.cumsum(_signed_rank_counts(n)) / 2.0**n
    # The number of averages left out at each end: the most whose tail is at most alpha / 2.
    out = int(np.searchsorted(cumulative, alpha / 2, side="right"))
    if out == 0:
        return Interval(shift, None, None, n, "hodges_lehmann")
    return Interval(shift, float(averages[out - 1]), float(averages[-out]), n, "hodges_lehmann")


def rank_biserial(differences: Figures) -> float:
    """Return the matched-pairs rank-biserial correlation in [-1, 1]: 1 when the first arm is better every time.

    Differences of zero are left out; 0 when nothing remains.

    Raises:
        DataError: nothing is given, or a figure is not finite.

    References:
        Kerby (2014), "The Simple Difference Formula", Comprehensive Psychology 3.
    """
    values = checked_values(differences)
    moved = values[values != 0]
    if moved.size == 0:
        return 0.0
    ranks = rankdata(np.abs(moved))
    return float((ranks[moved > 0].sum() - ranks[moved < 0].sum()) / ranks.sum())


def _signed_rank_counts(n: int) -> NDArray[np.float64]:
    """Return how many of the 2^n sign patterns give each signed-rank sum 0, 1, ... n (n + 1) / 2."""
    counts = np.ones(1)
    for rank in range(1, n + 1):
        shifted = np.concatenate([np.zeros(rank), counts])
        counts = np.concatenate([counts, np.zeros(rank)]) + shifted
    return counts
