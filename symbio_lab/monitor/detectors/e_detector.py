"""The default detector: a betting e-detector, which raises the alarm when the evidence reaches the budgeted level.

The statistic is that of ``rise_evidence.py``; the level comes from the false-alarm budget (``false_alarms.py``). With a
given reference rate the expected number of false alarms in n events is at most n * budget / 10,000, for every n, for
dependent outcomes too. With a learnt reference this holds up to the risk that the reference is below the true rate;
``rise_evidence.py`` says what that costs and why an alarm ends the learning.

After an alarm the reference stays. A model that goes on failing therefore raises the alarm again and again, which is
meant; ``rebase`` declares the new level normal.

Example:
    >>> detector = EDetector(reference_rate=0.05)
    >>> [event for event, failed in enumerate([False] * 100 + [True] * 9, start=1) if detector.update(failed)]
    [108]
    >>> detector.last_rise
    RiseStart(event=101, rate=1.0, num_events=8)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbio_lab.errors import DataError
from symbio_lab.monitor.detectors.false_alarms import alarm_level
from symbio_lab.monitor.detectors.protocol import Outcome
from symbio_lab.monitor.detectors.rise_evidence import RiseEvidence, RiseStart


class EDetector:
    """Raises the alarm when the mixture of Shiryaev-Roberts sums reaches 10,000 / ``false_alarms_per_10k``.

    Args:
        reference_rate: error rate that is normal, in (0, 1); None: learnt from the first events.
        false_alarms_per_10k: most false alarms expected in 10,000 events, in (0, 10,000).
        settings: further settings of ``RiseEvidence``.

    Raises:
        ConfigError: a setting is out of range.

    References:
        Shin, Ramdas and Rinaldo (2024), "E-detectors: a nonparametric framework for sequential change detection".
        Differs from the paper: see ``rise_evidence.py``.
    """

    name = "e_detector"

    __slots__ = ("_evidence", "_level", "last_rise")

    def __init__(
        self, reference_rate: float | None = None, *, false_alarms_per_10k: float = 1.0, **settings: Any
    ) -> None:
        self._level = alarm_level(false_alarms_per_10k)
        self._evidence = RiseEvidence(reference_rate, **settings)
        self.last_rise: RiseStart | None = None
        """Where the rise of the latest alarm most likely began; None before the first."""

    @property
    def num_events(self) -> int:
        """Outcomes seen since construction."""
        return self._evidence.num_events

    @property
    def statistic(self) -> float:
        """Evidence since the last restart, >= 0; 0 while the reference is not known."""
        return self._evidence.statistic

    @property
    def threshold(self) -> float:
        """The alarm level."""
        return self._level

    @property
    def reference_rate(self) -> float | None:
        """Error rate that counts as normal, in (0, 1); None while it is being learnt for the first time."""
        return self._evidence.reference_rate

    def update(self, failed: Outcome) -> bool:
        """Take one outcome; return whether it raises the alarm.

        Args:
            failed: whether the answer was wrong.

        Raises:
            DataError: the outcome is no truth value.
        """
        if self._evidence.add(failed) < self._level:
            return False
        self.last_rise = self._evidence.rise_start()
        self._evidence.restart()
        return True

    def rebase(self, reference_rate: float | None = None) -> None:
        """Take another level as normal from now on.

        Args:
            reference_rate: the new reference in (0, 1); None: learn it from the events that follow.

        Raises:
            ConfigError: the rate lies outside (0, 1).
        """
        self._evidence.rebase(reference_rate)

    def state(self) -> dict[str, Any]:
        """Return all that the future depends on, as plain JSON values."""
        return {"level": self._level, "evidence": self._evidence.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; ``last_rise`` is not part of it.

        Raises:
            DataError: the state is malformed, or of a detector with other settings.
        """
        if state.get("level") != self._level or not isinstance(state.get("evidence"), Mapping):
            raise DataError(
                "the state is malformed or of another false-alarm budget",
                hint="make the detector with the budget that the state was written with",
            )
        self._evidence.restore(state["evidence"])
        self.last_rise = None
