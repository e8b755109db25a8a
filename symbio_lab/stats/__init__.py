"""Pure statistics: intervals for rates, paired comparisons, and how many samples decide.

No I/O, and randomness only from a generator that the caller gives. Statistics over whole sweeps need
``scipy.stats`` or statsmodels, which are slow to import, and stand in modules of their own: ``aggregates``,
``bootstrap``, ``ranks``, ``survival``.

Example:
    >>> from symbio_lab.stats import clopper_pearson_lower
    >>> round(clopper_pearson_lower(45, 50, alpha=0.05), 3)
    0.801
"""

from __future__ import annotations

from symbio_lab.stats.intervals import (
    clopper_pearson,
    clopper_pearson_lower,
    clopper_pearson_upper,
    to_interval,
    wilson,
)
from symbio_lab.stats.paired import mcnemar_exact, paired_difference, weighted_sum
from symbio_lab.stats.power import num_samples_to_decide

__all__ = [
    "clopper_pearson",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "mcnemar_exact",
    "num_samples_to_decide",
    "paired_difference",
    "to_interval",
    "weighted_sum",
    "wilson",
]
