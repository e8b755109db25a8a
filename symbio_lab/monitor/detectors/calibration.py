"""Has the confidence lost its meaning? An anytime-valid detector on (confidence, outcome) pairs.

An answer given with confidence c should be wrong with probability at most 1 - c. The gap of one answer is
g = failed - (1 - c); its mean is at most 0 where the model is calibrated or under-confident, and positive where it is
over-confident. Real models are over-confident to begin with, so drift means a mean gap above a tolerance d. For a few
bets b the wealth of a bet is multiplied by::

    1 + b' * (g - d),     b' = min(b, 0.9 / (1 - c + d))

which is positive, and at most 1 on average while the mean gap, given the past and c, is at most d. From there on all is
as in ``rise_evidence.py``: a new bet at every event, the statistic is the mean over the bets, and the alarm level is
that of the false-alarm budget (``false_alarms.py``).

With a given tolerance (0: calibrated or under-confident) the budget holds exactly: at most n * budget / 10,000 false
alarms are expected in n events, for dependent events too. A learnt tolerance is a one-sided normal upper bound of the
mean gap of the events so far, at 200, 400, ... 3,200 events, and never below 0; it is too low with a probability of
about ``margin_alpha``, and then the budget does not hold for that stream. The mean gap alone is learnt: a mix of
answers that moves to where the model was more over-confident all along counts as drift. An alarm ends the learning.

Example:
    >>> detector = CalibrationDetector(tolerance=0.0)
    >>> [event for event, failed in enumerate([False] * 50 + [True] * 8, start=1) if detector.update(0.9, failed)]
    [57]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import ndtri

from symbio_lab.errors import ConfigError, DataError
from symbio_lab.monitor.detectors.false_alarms import alarm_level
from symbio_lab.monitor.detectors.protocol import Outcome, check_state, checked_outcome
from symbio_lab.monitor.detectors.rise_evidence import (
    MARGIN_ALPHA,
    MAX_REFERENCE_EVENTS,
    NUM_REFERENCE_EVENTS,
)

BETS = (0.5, 1.0, 2.0, 4.0)
"""Stakes: the best one is about (mean gap - d) over the variance of the gap."""
_LARGEST_LOSS = 0.9
"""Share of its wealth that a bet may lose at one event."""
_STATE_VERSION = 1


class CalibrationDetector:
    """Raises the alarm when answers fail more often than their confidence and the tolerance allow.

    Args:
        tolerance: mean gap that is normal, in [0, 1); None: learnt from the first events.
        false_alarms_per_10k: most false alarms expected in 10,000 events, in (0, 10,000).
        bets: stakes of the mixture, each above 0.
        margin_alpha: error rate of the upper bound that is learnt, in (0, 0.5].

    Raises:
        ConfigError: a setting is out of range.

    References:
        Shin, Ramdas and Rinaldo (2024), "E-detectors: a nonparametric framework for sequential change detection";
        bets on bounded means: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by
        betting", JRSS B 86. Differs from the papers: fixed stakes with equal weights; the learnt tolerance.
    """

    name = "calibration"

    def __init__(
        self,
        tolerance: float | None = None,
        *,
        false_alarms_per_10k: float = 1.0,
        bets: Sequence[float] = BETS,
        margin_alpha: float = MARGIN_ALPHA,
    ) -> None:
        problems = [f"a bet must be finite and above 0, not {b!r}" for b in bets if not 0.0 < b < math.inf]
        problems += [] if bets else ["at least one bet is needed"]
        problems += [] if 0.0 < margin_alpha <= 0.5 else [f"margin_alpha must lie in (0, 0.5], not {margin_alpha!r}"]
        if tolerance is not None and not 0.0 <= tolerance < 1.0:
            problems.append(f"tolerance must lie in [0, 1), not {tolerance!r}")
        if problems:
            raise ConfigError(problems, hint="0 tolerates calibrated and under-confident models only")
        self._level = alarm_level(false_alarms_per_10k)
        self._bets = tuple(map(float, bets))
        self._margin_alpha = float(margin_alpha)
        self._num_events = 0
        self._sums = [0.0] * len(self._bets)
        self.tolerance = tolerance
        """Mean gap in use as normal, in [0, 1); None while it is being learnt for the first time."""
        self._next_look = NUM_REFERENCE_EVENTS if tolerance is None else 0
        self._gap_sum = self._gap_square_sum = 0.0

    @property
    def num_events(self) -> int:
        """Pairs seen since construction."""
        return self._num_events

    @property
    def statistic(self) -> float:
        """Evidence since the last restart, >= 0."""
        return sum(self._sums) / len(self._sums)

    @property
    def threshold(self) -> float:
        """The alarm level."""
        return self._level

    def update(self, confidence: float, failed: Outcome) -> bool:
        """Take one answer; return whether it raises the alarm.

        Args:
            confidence: the model's confidence in its answer, in [0, 1].
            failed: whether the answer was wrong.

        Raises:
            DataError: the outcome is no truth value, or the confidence no number in [0, 1].
        """
        if failed.__class__ is not bool:
            failed = checked_outcome(failed)
        try:
            expected = 1.0 - confidence
        except TypeError as error:
            raise DataError(f"a confidence must be a number, not {confidence!r:.40}", hint=_HINT) from error
        # Written so that NaN is refused too.
        if not 0.0 <= expected <= 1.0:
            raise DataError(f"a confidence must lie in [0, 1], not {confidence!r:.40}", hint=_HINT)
        self._num_events += 1
        gap = failed - expected
        if self.tolerance is not None:
            most = _LARGEST_LOSS / (expected + self.tolerance) if expected + self.tolerance > 0.0 else math.inf
            excess = gap - self.tolerance
            self._sums = [
                (s + 1.0) * (1.0 + (b if b < most else most) * excess)
                for s, b in zip(self._sums, self._bets, strict=True)
            ]
        alarm = self.statistic >= self._level
        if alarm:
            self._sums = [0.0] * len(self._bets)
            self._next_look = 0
        if self._next_look:
            # Failures decide, confidences only refine: both sums are enough for the bound.
            self._gap_sum += gap
            self._gap_square_sum += gap * gap
            if self._num_events == self._next_look:
                self._learn()
        return alarm

    def state(self) -> dict[str, Any]:
        """Return all that the future depends on, as plain JSON values."""
        return {
            "version": _STATE_VERSION,
            "settings": [self._level, list(self._bets), self._margin_alpha],
            "num_events": self._num_events,
            "sums": list(self._sums),
            "tolerance": self.tolerance,
            "next_look": self._next_look,
            "gap_sums": [self._gap_sum, self._gap_square_sum],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state.

        Raises:
            DataError: the state is malformed, or was written with other settings; nothing has changed then.
        """
        check_state(state, self.state())
        try:
            sums = [float(value) for value in state["sums"]]
            counts = [int(state[name]) for name in ("num_events", "next_look")]
            tolerance = None if state["tolerance"] is None else float(state["tolerance"])
            first, second = (float(value) for value in state["gap_sums"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the state is malformed: {error!r}", hint="replay the stored outcomes") from error
        if len(sums) != len(self._bets) or not all(0.0 <= value < math.inf for value in sums) or min(counts) < 0:
            raise DataError("the state is malformed: impossible sums or counts", hint="replay the stored outcomes")
        self._sums, self.tolerance, self._gap_sum, self._gap_square_sum = sums, tolerance, first, second
        self._num_events, self._next_look = counts

    def _learn(self) -> None:
        n = self._num_events
        mean = self._gap_sum / n
        variance = max(self._gap_square_sum / n - mean * mean, 0.0)
        upper = mean + float(ndtri(1.0 - self._margin_alpha)) * math.sqrt(variance / n)
        self.tolerance = min(max(upper, 0.0), 1.0 - 1e-9)
        self._next_look = 2 * n if 2 * n <= MAX_REFERENCE_EVENTS else 0


_HINT = "leave out answers that come without a confidence"
