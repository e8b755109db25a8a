"""Comparisons of arms over incidents by ranks: Wilcoxon with Holm's correction, Friedman with its critical difference.

Example:
    >>> comparisons = wilcoxon_holm({"a - b": [1, 2, 3, 4, 5, 6], "a - c": [1, -2, 3, -4, 5, -6]})
    >>> [round(comparison.p_adjusted, 3) for comparison in comparisons]
    [0.062, 0.844]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range, wilcoxon
from statsmodels.stats.multitest import multipletests

from symbio_lab.errors import DataError
from symbio_lab.stats.figures import Figures, checked_values
from symbio_lab.stats.intervals import check_alpha


@dataclass(frozen=True, slots=True)
class RankComparison:
    """One contrast: its differences' count ``n``, raw p, and p after Holm's correction over the family."""

    name: str
    n: int
    p: float
    p_adjusted: float


@dataclass(frozen=True, slots=True)
class FriedmanResult:
    """Arms by mean rank (1 is best), Friedman's p, and how far mean ranks must lie apart to differ."""

    mean_ranks: Mapping[str, float]
    p: float
    critical_difference: float
    n: int


def holm(p_values: Figures) -> tuple[float, ...]:
    """Return p-values corrected for all of them being tried, in the order given.

    Raises:
        DataError: nothing is given, or a p-value lies outside [0, 1].

    References:
        Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6;
        ``statsmodels.stats.multitest.multipletests``.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    p = checked_values(p_values)
    if p.min() < 0 or p.max() > 1:
        raise DataError("a p-value lies outside [0, 1]", hint="give p-values")
    return tuple(float(value) for value in multipletests(p, method="holm")[1])


def wilcoxon_holm(differences: Mapping[str, Figures]) -> tuple[RankComparison, ...]:
    """Return two-sided signed-rank tests of one family of contrasts, corrected together.

    Args:
        differences: for each contrast, one paired difference for each incident; zeros are left out, as
            Wilcoxon did, and ``n`` counts what remains (p is 1 when nothing does).

    Raises:
        DataError: no contrast, an empty one, or a difference that is not finite.

    References:
        Wilcoxon (1945), "Individual comparisons by ranking methods", Biometrics 1; Demsar (2006), section 3.1.3.
    """
    if not differences:
        raise DataError("no contrast to test", hint="give the differences of at least one contrast")
    rows = {name: checked_values(values) for name, values in differences.items()}
    moved = {name: row[row != 0] for name, row in rows.items()}
    p_values = [float(wilcoxon(row).pvalue) if row.size else 1.0 for row in moved.values()]
    adjusted = holm(p_values)
    return tuple(
        RankComparison(name, row.size, p, q)
        for (name, row), p, q in zip(moved.items(), p_values, adjusted, strict=True)
    )


def friedman(figures: Mapping[str, Figures], alpha: float = 0.05) -> FriedmanResult:
    """Rank arms within each incident, larger figures first, and say which distances of mean ranks count.

    Args:
        figures: for each of at least 3 arms, one figure for each incident, in the same order.
        alpha: error rate of the critical difference in (0, 1).

    Raises:
        DataError: fewer than 3 arms or 2 incidents, rows of different length, or a figure that is not finite.

    References:
        Demsar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, sections 3.2.2-3.2.4
        (Nemenyi's critical difference).
    """
    check_alpha(alpha)
    rows = {name: checked_values(values) for name, values in figures.items()}
    sizes = {row.size for row in rows.values()}
    if len(rows) < 3 or len(sizes) != 1 or min(sizes) < 2:
        raise DataError(
            f"{len(rows)} arms over {sorted(sizes)} incidents cannot be ranked",
            hint="give at least 3 arms with one figure for each of the same incidents, at least 2",
        )
    n, k = min(sizes), len(rows)
    ranks = rankdata(-np.stack(list(rows.values())), axis=0)
    means = {name: float(mean) for name, mean in zip(rows, ranks.mean(axis=1), strict=True)}
    tied = bool((ranks == ranks[:1]).all())
    p = 1.0 if tied else float(friedmanchisquare(*rows.values()).pvalue)
    q = float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return FriedmanResult(means, p, q * math.sqrt(k * (k + 1) / (6 * n)), n)
