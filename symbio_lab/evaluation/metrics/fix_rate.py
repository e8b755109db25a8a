"""Fix rate (efficacy): share of the base's failures that the patch answers rightly.

References:
    De Cao et al. 2021, Editing factual knowledge in language models, section 3 (success rate).
    Differs from the paper: on held-out failures, never on those trained on.
"""

from __future__ import annotations

from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.records import Interval
from symbio_lab.stats.intervals import to_interval


def fix_rate(outcomes: Outcomes, alpha: float = 0.05) -> Interval:
    """Return P[right after | wrong before], in [0, 1], with its Clopper-Pearson interval."""
    _, _, fixed, unfixed = outcomes.counts()
    return to_interval(fixed, fixed + unfixed, alpha)
