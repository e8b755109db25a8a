"""Time to heal, where some runs never healed within their budget.

Example:
    >>> curve = kaplan_meier([1.0, 2.0, 3.0], healed=[True, False, True])
    >>> [round(share, 3) for share in curve.unhealed]
    [0.667, 0.0]
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from symbio_lab.errors import DataError
from symbio_lab.stats.figures import Figures, checked_values
from symbio_lab.stats.intervals import check_alpha


@dataclass(frozen=True, slots=True)
class SurvivalCurve:
    """Shares still unhealed just after each time at which a run healed, with pointwise bounds in [0, 1].

    A bound is NaN where Greenwood's formula has none (nobody at risk remains).
    """

    times: tuple[float, ...]
    unhealed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: int


def kaplan_meier(times: Figures, healed: Sequence[bool] | NDArray[np.bool_], alpha: float = 0.05) -> SurvivalCurve:
    """Return the product-limit estimate of the share unhealed over time.

    Args:
        times: for each run, when it healed or when its budget ended (any unit, not negative).
        healed: for each run, whether it healed; the others are censored at their time.
        alpha: total error rate of each pointwise interval in (0, 1).

    Raises:
        DataError: the lengths differ, nothing is given, or a time is negative or not finite.

    References:
        Kaplan and Meier (1958), JASA 53; intervals: log-log of Greenwood's, as in ``scipy.stats.ecdf``.
    """
    check_alpha(alpha)
    row, events = checked_values(times), np.asarray(healed, dtype=bool)
    if events.shape != row.shape or row.min() < 0:
        raise DataError(
            f"{row.size} times and {events.size} outcomes, earliest {row.min()}",
            hint="give one time >= 0 and one outcome for each run",
        )
    if not events.any():
        return SurvivalCurve((), (), (), (), row.size)
    result = ecdf(CensoredData(uncensored=row[events], right=row[~events])).sf
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        bounds = result.confidence_interval(confidence_level=1 - alpha, method="log-log")
    steps = np.isin(result.quantiles, row[events])

    def at_events(values: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(value) for value in values[steps])

    return SurvivalCurve(
        at_events(result.quantiles),
        at_events(result.probabilities),
        at_events(bounds.low.probabilities),
        at_events(bounds.high.probabilities),
        row.size,
    )
