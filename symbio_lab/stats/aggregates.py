"""Aggregates over runs that a few outliers cannot decide.

Import from this module: it needs ``scipy.stats``, which the gate does not.

Example:
    >>> interquartile_mean([0.0, 1.0, 2.0, 99.0])
    1.5
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, trim_mean

from symbio_lab.errors import DataError

# One row of figures, shape (n,).
Figures = Sequence[float] | NDArray[np.float64]


def checked_values(values: Figures) -> NDArray[np.float64]:
    """Return finite figures as an array of shape (n,), n >= 1.

    Raises:
        DataError: nothing is given, a figure is not finite, or they do not form one row.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"figures of shape {array.shape}", hint="give one row of at least one figure")
    if not np.isfinite(array).all():
        raise DataError("a figure is not finite", hint="leave out runs without a figure, and say how many")
    return array


def interquartile_mean(values: Figures) -> float:
    """Return the mean of the middle half: a quarter of the figures is cut off at each end, rounded down.

    Raises:
        DataError: nothing is given, or a figure is not finite.

    References:
        Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice", section 4.3.
    """
    return float(trim_mean(checked_values(values), 0.25))


def probability_of_improvement(x: Figures, y: Figures) -> float:
    """Return how often a run of ``x`` beats a run of ``y``; ties count one half.

    Returns:
        Mann-Whitney U over ``len(x) * len(y)``, in [0, 1].

    Raises:
        DataError: one side is empty, or a figure is not finite.

    References:
        Agarwal et al. (2021), section 4.3, for one task; average over tasks for their figure.

    >>> probability_of_improvement([1, 2], [0, 2])
    0.625
    """
    first, second = checked_values(x), checked_values(y)
    u = mannwhitneyu(first, second, method="asymptotic").statistic
    return float(u) / (first.size * second.size)


def performance_profile(values: Figures, thresholds: Figures) -> tuple[float, ...]:
    """Return, for each threshold, the share of runs strictly above it.

    Raises:
        DataError: one side is empty, or a figure is not finite.

    References:
        Agarwal et al. (2021), section 4.2 (run-score distributions).

    >>> performance_profile([0.1, 0.5, 0.9, 0.9], [0.0, 0.5, 0.9])
    (1.0, 0.5, 0.0)
    """
    runs, cuts = checked_values(values), checked_values(thresholds)
    return tuple(float(share) for share in (runs[None, :] > cuts[:, None]).mean(axis=1))
