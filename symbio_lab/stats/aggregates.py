"""Aggregates over runs that a few outliers cannot decide.

Example:
    >>> interquartile_mean([0.0, 1.0, 2.0, 99.0])
    1.5
"""

from __future__ import annotations

from scipy.stats import mannwhitneyu, trim_mean

from symbio_lab.stats.figures import Figures, checked_values


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
