"""DDM: the error rate has left the lowest level that it ever had, by three standard deviations.

Only rises are looked for. The minimum is searched over the whole stream, so the false-alarm rate is not controlled: a
stream that begins with a lucky run, in the extreme without any failure, raises the alarm at the next ordinary one.
"""

from __future__ import annotations

from symbio_lab.monitor.detectors.river_detector import RiverDetector, check_settings


class Ddm(RiverDetector):
    """DDM of river, with river's own defaults.

    Args:
        warm_start: outcomes before the first possible alarm.
        drift_threshold: standard deviations above the minimum that raise the alarm.

    Raises:
        ConfigError: a setting is out of range; all problems at once.

    References:
        Gama, Medas, Castillo and Rodrigues (2004), "Learning with drift detection", SBIA.
        Differs from the paper: the warning zone is not reported.
    """

    name = "ddm"

    def __init__(self, *, warm_start: int = 30, drift_threshold: float = 3.0) -> None:
        check_settings(
            {
                "warm_start must be at least 1": warm_start >= 1,
                "drift_threshold must be above 0": drift_threshold > 0.0,
            }
        )
        from river.drift.binary import DDM

        super().__init__(DDM(warm_start=warm_start, drift_threshold=drift_threshold))
