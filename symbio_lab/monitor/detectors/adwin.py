"""ADWIN, the well-known reference: cuts a window of outcomes where two parts of it differ.

It is two-sided: an error rate that falls (a patch was deployed) raises the alarm as well.
"""

from __future__ import annotations

from symbio_lab.monitor.detectors.river_detector import RiverDetector, check_settings


class Adwin(RiverDetector):
    """ADWIN of river, with river's own defaults.

    Args:
        delta: significance of a cut, in (0, 1); smaller alarms later and more rarely.
        clock: outcomes between two checks; an alarm can only come at a multiple.
        max_buckets: buckets of each size before two are merged.
        min_window_length: fewest outcomes in either part of the window.
        grace_period: outcomes before the first check.

    Raises:
        ConfigError: a setting is out of range; all problems at once.

    References:
        Bifet and Gavalda (2007), "Learning from time-changing data with adaptive windowing", SDM.
        Differs from the paper: nothing beyond river, which checks only every ``clock`` outcomes and starts over with an
        empty window after an alarm.
    """

    name = "adwin"

    def __init__(
        self,
        *,
        delta: float = 0.002,
        clock: int = 32,
        max_buckets: int = 5,
        min_window_length: int = 5,
        grace_period: int = 10,
    ) -> None:
        check_settings(
            {
                "delta must lie in (0, 1)": 0.0 < delta < 1.0,
                "clock, max_buckets and min_window_length must be at least 1": min(
                    clock, max_buckets, min_window_length
                )
                >= 1,
                "grace_period must be at least 0": grace_period >= 0,
            }
        )
        # Here and not above: river brings pandas and scikit-learn, seconds that the other detectors do not need.
        from river.drift import ADWIN

        super().__init__(
            ADWIN(
                delta=delta,
                clock=clock,
                max_buckets=max_buckets,
                min_window_length=min_window_length,
                grace_period=grace_period,
            )
        )
