"""Negative and positive flips: what a patch breaks and repairs.

References:
    Yan et al. 2021, Positive-congruent training, section 3 (negative flip rate); Xie et al. 2021, Regression bugs
    are in your model, section 2. Differs from the papers: conditional on the base's outcome.
"""

from __future__ import annotations

from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.records import Interval
from symbio_lab.stats.intervals import to_interval


def negative_flip_rate(outcomes: Outcomes, alpha: float = 0.05) -> Interval:
    """Return P[wrong after | right before], in [0, 1], with its Clopper-Pearson interval."""
    kept, broken, _, _ = outcomes.counts()
    return to_interval(broken, kept + broken, alpha)


def positive_flip_rate(outcomes: Outcomes, alpha: float = 0.05) -> Interval:
    """Return P[right after | wrong before], in [0, 1], with its Clopper-Pearson interval."""
    _, _, fixed, unfixed = outcomes.counts()
    return to_interval(fixed, fixed + unfixed, alpha)
