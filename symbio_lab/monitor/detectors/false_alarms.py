"""The false-alarm budget: how many alarms without a reason the reader of a monitor accepts.

The budget is stated as false alarms per 10,000 events, because that is what a reader can judge; the alarm level A of a
Shiryaev-Roberts statistic follows from it. Between alarms the statistic less the number of events is a
supermartingale under the null, and an alarm takes at least A away. Hence for every number (or stopping time) n of
events, restarts included::

    expected number of false alarms in n events  <=  n / A

Example:
    >>> alarm_level(1.0), alarm_level(0.5)
    (10000.0, 20000.0)
"""

from __future__ import annotations

import math

from symbio_lab.errors import ConfigError

EVENTS = 10_000
"""Events to which the budget refers."""


def alarm_level(false_alarms_per_10k: float) -> float:
    """Return the level A that keeps the expected number of false alarms within the budget.

    Args:
        false_alarms_per_10k: most false alarms expected in 10,000 events, in (0, 10,000).

    Raises:
        ConfigError: the budget is not a number in that range.

    References:
        Shin, Ramdas and Rinaldo (2024), "E-detectors: a nonparametric framework for sequential change detection",
        New England Journal of Statistics in Data Science 2(2): an e-detector stopped at A has an average run length
        of at least A. Differs from the paper: the bound is carried over restarts, see above.
    """
    number = isinstance(false_alarms_per_10k, int | float) and not isinstance(false_alarms_per_10k, bool)
    if not number or not math.isfinite(false_alarms_per_10k) or not 0.0 < false_alarms_per_10k < EVENTS:
        raise ConfigError(
            [f"false_alarms_per_10k must lie in (0, {EVENTS}), not {false_alarms_per_10k!r}"],
            hint="1 is the default; a lower budget detects later",
        )
    return EVENTS / false_alarms_per_10k
