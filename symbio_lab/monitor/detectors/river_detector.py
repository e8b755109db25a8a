"""A drift detector of river behind the lab's protocol: the same alarms, outcomes checked, nothing added.

river's detectors restart by themselves at the event after an alarm. They publish neither statistic nor threshold, and
what the future depends on is private to the library (ADWIN's is not even Python): after a restart of the process
replay the stored outcomes with ``protocol.find_alarms``.
"""

from __future__ import annotations

from typing import Any

from symbio_lab.errors import ConfigError
from symbio_lab.monitor.detectors.protocol import Outcome, checked_outcome


class RiverDetector:
    """Holds a river detector and counts its events.

    Args:
        detector: object with ``update(x)`` and ``drift_detected``.
    """

    name = "river"

    def __init__(self, detector: Any) -> None:
        self._detector = detector
        self._num_events = 0

    @property
    def num_events(self) -> int:
        """Outcomes seen since construction."""
        return self._num_events

    @property
    def statistic(self) -> None:
        """None: river does not publish it."""
        return None

    @property
    def threshold(self) -> None:
        """None: river does not publish it."""
        return None

    def update(self, failed: Outcome) -> bool:
        """Take one outcome; return whether river reports drift at it.

        Args:
            failed: whether the answer was wrong.

        Raises:
            DataError: the outcome is no truth value.
        """
        if failed.__class__ is not bool:
            failed = checked_outcome(failed)
        self._num_events += 1
        self._detector.update(int(failed))
        return bool(self._detector.drift_detected)


def check_settings(checks: dict[str, bool]) -> None:
    """Accept settings whose checks all hold.

    Args:
        checks: what must hold, in words -> whether it does.

    Raises:
        ConfigError: names every one that does not. river itself takes any value and stays silent for ever.
    """
    problems = [words for words, holds in checks.items() if not holds]
    if problems:
        raise ConfigError(problems, hint="leave the settings out to get the documented defaults")
