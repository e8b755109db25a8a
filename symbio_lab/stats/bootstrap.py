"""Bootstrap intervals of a mean: over runs, and over blocks of runs.

Rules:
    1. Randomness comes from the generator that the caller gives; same seed, same interval.
    2. Runs of one incident are not independent: whoever claims something beyond the incidents at hand
       resamples incidents, by ``hierarchical_bootstrap``.
    3. Fewer than ``MIN_BLOCKS`` blocks are refused: they say too little about how incidents differ.

Example:
    >>> interval = bca_interval([0.1, 0.2, 0.2, 0.3, 0.4], rng=np.random.default_rng(0))
    >>> interval.low < 0.24 < interval.high
    True
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, stdtrit
from scipy.stats import bootstrap

from symbio_lab.errors import DataError
from symbio_lab.records import Interval
from symbio_lab.stats.figures import Figures, checked_values
from symbio_lab.stats.intervals import check_alpha

MIN_BLOCKS = 8


def bca_interval(
    values: Figures, *, rng: np.random.Generator, alpha: float = 0.05, num_resamples: int = 9999
) -> Interval:
    """Return the mean with its bias-corrected and accelerated bootstrap interval.

    Args:
        values: independent figures of shape (n,), n >= 2; for a paired comparison, the differences.
        rng: source of the resamples.
        alpha: total error rate in (0, 1).
        num_resamples: resamples drawn.

    Returns:
        Mean and bounds in the unit of ``values``; bounds None when all figures are equal, since resampling
        equal figures says nothing about their spread.

    Raises:
        DataError: fewer than 2 figures, one that is not finite, or an impossible alpha.

    References:
        Efron (1987), "Better Bootstrap Confidence Intervals", JASA 82; ``scipy.stats.bootstrap``.
    """
    array = checked_values(values)
    check_alpha(alpha)
    if array.size < 2:
        raise DataError("one figure has no bootstrap interval", hint="give at least 2 independent figures")
    mean = float(array.mean())
    if np.ptp(array) == 0:
        return Interval(mean, None, None, array.size, "bca")
    result = bootstrap(
        (array,), np.mean, confidence_level=1 - alpha, n_resamples=num_resamples, method="BCa", rng=rng, batch=1000
    )
    low, high = result.confidence_interval
    return Interval(mean, float(low), float(high), array.size, "bca")


def hierarchical_bootstrap(
    blocks: Sequence[Figures], *, rng: np.random.Generator, alpha: float = 0.05, num_resamples: int = 9999
) -> Interval:
    """Return the mean of the blocks' means with an interval from resampling blocks, then runs in each.

    Plain percentiles miss the truth too often when blocks are few (about 9 % of the time at 8 blocks of 3, for a
    stated 5 %), so the percentiles are moved outwards as far as Student's t with one degree of freedom less than
    there are blocks asks for. Resampling within blocks as well counts the variance within twice, and was kept all the
    same. Share of intervals of a stated 5 % that missed, blocks of 3, 2,000 simulations each of 600 resamples, by ratio
    of the variance between blocks to that within (0.25 / 1 / 4), both ways with widened percentiles:

    ===========  ====================  =====================
    blocks       both levels (here)    upper level only
    ===========  ====================  =====================
    8, normal    1.6 / 3.6 / 5.3 %     6.4 / 6.2 / 6.2 %
    13, normal   2.0 / 2.5 / 4.2 %     5.2 / 4.7 / 5.3 %
    20, normal   2.9 / 3.1 / 4.7 %     6.5 / 5.2 / 5.9 %
    8, skewed    1.9 / 4.0 / 6.8 %     6.2 / 8.2 / 9.1 %
    13, skewed   1.8 / 4.2 / 7.5 %     6.2 / 7.8 / 8.7 %
    20, skewed   1.9 / 3.8 / 7.0 %     6.0 / 6.4 / 8.1 %
    ===========  ====================  =====================

    Skewed: exponential differences between blocks.

    Args:
        blocks: one row of figures for each incident, at least ``MIN_BLOCKS``; rows may differ in length.
        rng: source of the resamples.
        alpha: total error rate in (0, 1).
        num_resamples: resamples drawn.

    Returns:
        The mean, each block with the same weight; ``n`` is the number of blocks.

    Raises:
        DataError: too few blocks, an empty block, a figure that is not finite, or an impossible alpha.

    References:
        Davison and Hinkley (1997), "Bootstrap Methods and their Application", section 3.8;
        Hesterberg (2015), "What Teachers Should Know About the Bootstrap", The American Statistician 69, section 5.2
        (expanded percentile interval).
    """
    rows = [checked_values(block) for block in blocks]
    check_alpha(alpha)
    if len(rows) < MIN_BLOCKS:
        raise DataError(
            f"{len(rows)} blocks are too few to resample (at least {MIN_BLOCKS})",
            hint="list the blocks one by one, and call what you see exploratory",
        )
    chosen = rng.integers(len(rows), size=(num_resamples, len(rows)))
    means = np.empty(chosen.shape)
    for index, row in enumerate(rows):
        places = chosen == index
        draws = rng.integers(row.size, size=(int(places.sum()), row.size))
        means[places] = row[draws].mean(axis=1)
    tail = float(ndtr(stdtrit(len(rows) - 1, alpha / 2) * (len(rows) / (len(rows) - 1)) ** 0.5))
    low, high = np.quantile(means.mean(axis=1), [tail, 1 - tail])
    mean = float(np.mean([row.mean() for row in rows]))
    return Interval(mean, float(low), float(high), len(rows), "hierarchical_bootstrap")
