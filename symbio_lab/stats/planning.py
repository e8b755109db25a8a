"""How many incidents a registered contrast needs.

Example:
    >>> blocks_needed(difference=1.0, spread=1.0), blocks_needed(difference=1.0, spread=1.0, num_contrasts=12)
    (11, 19)
"""

from __future__ import annotations

import math

from statsmodels.stats.power import TTestPower

from symbio_lab.errors import DataError
from symbio_lab.stats.intervals import check_alpha

EFFICIENCY = 3 / math.pi
"""Asymptotic efficiency of the signed-rank test against Student's t where differences are normal; higher elsewhere."""
MOST_BLOCKS = 100_000


def blocks_needed(
    difference: float, spread: float, *, num_contrasts: int = 1, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return the number of incidents at which a signed-rank test finds a difference with this power.

    Student's t over incidents, divided by the signed-rank test's efficiency, at the strictest level that Holm's
    correction may ask of a contrast (``alpha / num_contrasts``), and never fewer than that level needs for the smallest
    p-value there is.

    Args:
        difference: mean over incidents worth finding, in any unit, not 0.
        spread: standard deviation of the difference between incidents, in the same unit, above 0.
        num_contrasts: registered in the same family.
        alpha: of the family, two-sided, in (0, 1).
        power: wanted, in (0, 1).

    Raises:
        DataError: an impossible value, or more than ``MOST_BLOCKS`` incidents.

    References:
        Lehmann (1975), "Nonparametrics", section 4.4 (efficiency); ``statsmodels.stats.power.TTestPower``.
    """
    check_alpha(alpha)
    problems = [
        text
        for wrong, text in (
            (not math.isfinite(difference) or difference == 0, f"a difference of {difference}"),
            (not math.isfinite(spread) or spread <= 0, f"a spread of {spread}"),
            (num_contrasts < 1, f"{num_contrasts} contrasts"),
            (not 0 < power < 1, f"a power of {power}"),
        )
        if wrong
    ]
    if problems:
        raise DataError(f"impossible: {', '.join(problems)}", hint="give what a pilot sweep showed")
    level = alpha / num_contrasts
    # 2 of the 2^n sign patterns are as extreme as can be.
    fewest = math.ceil(math.log2(2 / level))
    effect = abs(difference) / spread
    test = TTestPower()

    def enough(n: int) -> bool:
        return float(test.power(effect, max(n * EFFICIENCY, 2.0), level)) >= power

    # Upwards from few: at many blocks the noncentral t overflows.
    high = 2
    while high <= MOST_BLOCKS and not enough(high):
        high *= 2
    if high > MOST_BLOCKS:
        raise DataError(f"more than {MOST_BLOCKS:,} incidents would be needed", hint="look for a larger difference")
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(high, fewest)
