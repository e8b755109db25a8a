"""Page-Hinkley: a cumulative sum of outcomes above their own running mean.

Only rises are looked for. The threshold is in failures, so it means another false-alarm rate at every base rate: the
defaults here were set on streams that fail at .10 and suit others only roughly; river's own defaults (delta .005,
threshold 50, both directions) are slow for the rises that matter.
"""

from __future__ import annotations

from symbio_lab.monitor.detectors.river_detector import RiverDetector, check_settings


class PageHinkley(RiverDetector):
    """Page-Hinkley of river, one-sided.

    Args:
        min_instances: outcomes before the first possible alarm.
        delta: rise of the rate that is tolerated, in [0, 1).
        threshold: failures above expectation, ``delta`` a sample taken off, that raise the alarm.
        forgetting: factor on the sum at each outcome, in (0, 1]; river calls it alpha. 1 forgets nothing.

    Raises:
        ConfigError: a setting is out of range; all problems at once.

    References:
        Page (1954), "Continuous inspection schemes", Biometrika 41. Differs from the paper: the running mean in place
        of a known one (Hinkley 1971), as in river.
    """

    name = "page_hinkley"

    def __init__(
        self, *, min_instances: int = 100, delta: float = 0.02, threshold: float = 15.0, forgetting: float = 1.0
    ) -> None:
        check_settings(
            {
                "min_instances must be at least 1": min_instances >= 1,
                "delta must lie in [0, 1)": 0.0 <= delta < 1.0,
                "threshold must be above 0": threshold > 0.0,
                "forgetting must lie in (0, 1]": 0.0 < forgetting <= 1.0,
            }
        )
        from river.drift import PageHinkley as RiverPageHinkley

        super().__init__(
            RiverPageHinkley(min_instances=min_instances, delta=delta, threshold=threshold, alpha=forgetting, mode="up")
        )
