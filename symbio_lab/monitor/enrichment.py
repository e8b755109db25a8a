"""Which conditions fail more often than the rest of the traffic, and say something that the others do not say.

Rules:
    1. A condition is tested against the rows outside it, by Fisher's exact test, one-sided; Benjamini-Hochberg at
       level q over all conditions says which stand out at all.
    2. The most significant one is taken and its rows are set aside. The next must stand out on what is left as well
       (p at most q): a second name for the same failures, or a wider condition that only borrows them, does not.
    3. That second test is a search rule, not a proof: what is found is confirmed on rows that the search never saw
       (``monitor/slices.py``).

References:
    Fisher (1935), The Design of Experiments; Benjamini and Hochberg (1995), JRSS B 57.
    Rounds on what is left: the covering loop of separate-and-conquer rule learning, Fürnkranz (1999), AI Review 13.
    Differs from the papers: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix
from scipy.stats import false_discovery_control, hypergeom

from symbio_lab.errors import DataError
from symbio_lab.stats.intervals import check_alpha

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Whole = NDArray[np.int64]
Counts = Whole | int


@dataclass(frozen=True, slots=True)
class Enriched:
    """One condition that fails more often than what lies outside it."""

    column: int
    """Which of the P conditions."""
    p_value: float
    """Fisher's, one-sided, on the rows that were left in its round."""
    num_inside: int
    """Rows inside, of those left."""
    num_failed: int
    """Failures inside, of those left."""


def enrichment_p(inside: BoolArray, failed: BoolArray) -> float:
    """Return the one-sided p-value that the rows inside fail no more often than the rows outside.

    Args:
        inside: (N,).
        failed: (N,).

    >>> inside, failed = np.arange(20) < 10, np.arange(20) < 6
    >>> round(enrichment_p(inside, failed), 4)
    0.0054
    """
    return float(hypergeom.sf(int((inside & failed).sum()) - 1, len(failed), int(failed.sum()), int(inside.sum())))


def odds_ratio(num_failed: Counts, num_inside: Counts, all_failed: int, num_rows: int) -> FloatArray:
    """Return the odds to fail inside over the odds to fail outside, half a row added to each cell.

    Args:
        num_failed: failures inside.
        num_inside: rows inside.
        all_failed: failures inside and outside.
        num_rows: rows inside and outside.

    References:
        Haldane (1956), Annals of Human Genetics 20; Anscombe (1956), Biometrika 43. Differs from the papers: nothing.

    >>> float(odds_ratio(6, 10, 6, 20).round(1))
    30.3
    """
    k, n = np.asarray(num_failed, dtype=np.float64), np.asarray(num_inside, dtype=np.float64)
    right_outside = num_rows - n - all_failed + k
    ratio: FloatArray = (k + 0.5) * (right_outside + 0.5) / ((n - k + 0.5) * (all_failed - k + 0.5))
    return ratio


def enriched(
    holds: csr_matrix,
    failed: BoolArray,
    *,
    q: float = 0.05,
    most: int = 12,
    min_failures: int = 5,
    min_odds_ratio: float = 1.5,
) -> tuple[Enriched, ...]:
    """Return the conditions that stand out, the most significant first.

    Args:
        holds: whether condition p holds for row i, (N, P), 0 or 1.
        failed: whether row i failed, (N,).
        q: false-discovery level over all conditions, and level of the test on what is left.
        most: conditions at most.
        min_failures: failures inside, of those left.
        min_odds_ratio: how many times the odds to fail outside a condition must reach inside, on the rows left.

    Raises:
        DataError: shapes differ, or q lies outside (0, 1).
    """
    check_alpha(q)
    if holds.shape[0] != len(failed):
        raise DataError(f"{holds.shape[0]} rows of conditions for {len(failed)} outcomes")
    columns, live = csc_matrix(holds), np.ones(len(failed), dtype=np.bool_)
    names = np.flatnonzero(_standing_out(columns, failed, min_failures, min_odds_ratio, q))
    columns = columns[:, names]
    found: list[Enriched] = []
    while len(found) < most and len(names):
        p_values, (num_inside, num_failed) = _tested(columns, failed, live)
        total, wrong = int(live.sum()), int((live & failed).sum())
        odds = odds_ratio(num_failed, num_inside, wrong, total)
        eligible = (p_values <= q) & (num_failed >= min_failures) & (odds >= min_odds_ratio)
        if not eligible.any():
            break
        # On large traffic p-values underflow to 0 together: then the standardised excess decides.
        excess = _standardised(num_failed, num_inside, wrong, total)
        best = min(np.flatnonzero(eligible), key=lambda j: (p_values[j], -excess[j], num_inside[j], j))
        found.append(Enriched(int(names[best]), float(p_values[best]), int(num_inside[best]), int(num_failed[best])))
        live = live & ~np.asarray(columns[:, best].todense()).ravel().astype(np.bool_)
    return tuple(found)


def _standardised(num_failed: Whole, num_inside: Whole, wrong: int, total: int) -> FloatArray:
    """Return the excess of failures inside over what chance gives, in standard deviations (hypergeometric)."""
    rate = wrong / total
    variance = num_inside * rate * (1 - rate) * (total - num_inside) / max(total - 1, 1)
    excess: FloatArray = (num_failed - num_inside * rate) / np.sqrt(np.maximum(variance, 1e-12))
    return excess


def _tested(columns: csc_matrix, failed: BoolArray, live: BoolArray) -> tuple[FloatArray, tuple[Whole, Whole]]:
    """Return Fisher's p of each condition on the rows left, and how many of them are inside and failed inside."""
    hits = live & failed
    num_inside = np.asarray(columns.T @ live.astype(np.int64)).ravel()
    num_failed = np.asarray(columns.T @ hits.astype(np.int64)).ravel()
    p_values: FloatArray = hypergeom.sf(num_failed - 1, int(live.sum()), int(hits.sum()), num_inside)
    return p_values, (num_inside, num_failed)


def _standing_out(
    columns: csc_matrix, failed: BoolArray, min_failures: int, min_odds_ratio: float, q: float
) -> BoolArray:
    """Return which conditions stand out on all rows, (P,)."""
    if not columns.shape[1] or not failed.any() or failed.all():
        return np.zeros(columns.shape[1], dtype=np.bool_)
    p_values, (num_inside, num_failed) = _tested(columns, failed, np.ones(len(failed), dtype=np.bool_))
    odds = odds_ratio(num_failed, num_inside, int(failed.sum()), len(failed))
    passing: BoolArray = false_discovery_control(np.minimum(p_values, 1.0)) <= q
    return passing & (num_failed >= min_failures) & (odds >= min_odds_ratio)
