"""Locality: share of out-of-scope answers that the patch leaves as they were.

References:
    De Cao et al. 2021, section 3 (retain rate).
"""

from __future__ import annotations

from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.records import Interval
from symbio_lab.stats.intervals import to_interval


def locality(outcomes: Outcomes, alpha: float = 0.05) -> Interval:
    """Return P[answer unchanged], in [0, 1], with its Clopper-Pearson interval."""
    same = sum(b == a for b, a in zip(outcomes.before, outcomes.after, strict=True))
    return to_interval(same, len(outcomes), alpha)
