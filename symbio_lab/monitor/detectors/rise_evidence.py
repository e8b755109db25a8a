"""Evidence that an error rate has risen above its reference: a mixture of Shiryaev-Roberts sums of bets.

For each lift l a bet is on the rate q with odds(q) = l * odds(p0). One outcome multiplies the bet's wealth by q / p0
(failed) or (1 - q) / (1 - p0) (right): at most 1 on average while the rate is at most p0. A new bet starts at every
event, and the statistic is the wealth of all bets together, averaged over the lifts::

    M_t = mean over l of S_t(l),     S_t(l) = (S_{t-1}(l) + 1) * L_t(l)

so M_t - t is a supermartingale under the null "given the past, each event fails with probability at most p0";
independence is not needed. When to call the evidence enough is decided elsewhere: ``e_detector.py`` for one stream,
``monitor/streams.py`` for many.

The reference rate p0 is given or learnt. Learnt: after 200 events, and again at 400, 800, ... 3,200, it becomes the
one-sided Clopper-Pearson upper bound (``margin_alpha``) of all events so far, for the events that follow. The first
restart (an alarm) ends the learning, and the reference stays until ``rebase``: what comes after an alarm may be the
very regime that the alarm is about, and a monitor that learnt it would fall silent while the model still fails.

What learning costs: with a given p0 every statement above is exact. A learnt p0 lies below the true rate with
probability at most ``margin_alpha`` at each look; while it does, the null is false and the bound on false alarms does
not hold for that stream. Averaged over streams it held in simulation (``benchmarks/detectors.py``), which is no proof.
A lift that happens while the reference is being learnt is partly learnt too, and so is a drift that is slow against
the doubling of the looks: give a rate measured beforehand where there is one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symbio_lab.errors import ConfigError, DataError
from symbio_lab.monitor.detectors.protocol import Outcome, check_state, checked_outcome
from symbio_lab.stats.intervals import clopper_pearson_upper

LIFTS = (1.75, 3.0)
"""Odds ratios bet on: .10 to .16 and to .25. Chosen on simulated streams that no report uses."""
MARGIN_ALPHA = 0.23
"""Error rate of the upper bound that is learnt as the reference: below it false alarms become rarer and delays longer.
Chosen like the lifts, for about .7 false alarms per 10,000 events at rates of .05 to .30."""
NUM_REFERENCE_EVENTS = 200
"""Events after which a learnt reference is first used."""
MAX_REFERENCE_EVENTS = 3_200
"""Events up to which it is learnt."""
NUM_FAILURES_KEPT = 256
"""Failures since the last restart among which the start of the rise is looked for."""
_STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class RiseStart:
    """Where a rise most likely began."""

    event: int
    """First event of the rise, counted from 1 over all events of the stream."""
    rate: float
    """Share of events that failed from there on, in [0, 1]."""
    num_events: int
    """Events from there on."""


class RiseEvidence:
    """The running statistic of one stream; see the module for the formula.

    Args:
        reference_rate: error rate that is normal, in (0, 1); None: learnt from the first events.
        lifts: odds ratios bet on, each above 1.
        margin_alpha: error rate of the upper bound that is learnt, in (0, 1).
        num_reference_events: events after which a learnt reference is first used.
        max_reference_events: events up to which it is learnt, at doubling intervals.

    Raises:
        ConfigError: a setting is out of range; all problems at once.

    References:
        Shin, Ramdas and Rinaldo (2024), "E-detectors: a nonparametric framework for sequential change detection".
        Differs from the paper: a few fixed lifts with equal weights in place of an adaptive grid; the learnt reference.
    """

    __slots__ = (
        "_failed_at",
        "_if_failed",
        "_if_right",
        "_next_look",
        "_num_failed",
        "_rebased_at",
        "_settings",
        "_sums",
        "num_events",
        "reference_rate",
        "statistic",
    )

    def __init__(
        self,
        reference_rate: float | None = None,
        *,
        lifts: Sequence[float] = LIFTS,
        margin_alpha: float = MARGIN_ALPHA,
        num_reference_events: int = NUM_REFERENCE_EVENTS,
        max_reference_events: int = MAX_REFERENCE_EVENTS,
    ) -> None:
        problems = [f"a lift must be a finite odds ratio above 1, not {x!r}" for x in lifts if not 1.0 < x < math.inf]
        problems += [] if lifts else ["at least one lift is needed"]
        problems += [] if 0.0 < margin_alpha < 1.0 else [f"margin_alpha must lie in (0, 1), not {margin_alpha!r}"]
        if not 1 <= num_reference_events <= max_reference_events:
            problems.append(
                "1 <= num_reference_events <= max_reference_events is needed, "
                f"not {num_reference_events!r} and {max_reference_events!r}"
            )
        if problems:
            raise ConfigError(problems, hint="leave the settings out to get those that were measured")
        self._settings = (tuple(map(float, lifts)), float(margin_alpha), num_reference_events, max_reference_events)
        self._failed_at: deque[int] = deque(maxlen=NUM_FAILURES_KEPT)
        self.num_events = 0
        """Outcomes seen since construction."""
        self.statistic = 0.0
        """M_t; 0 while there is no reference."""
        self.reference_rate: float | None = None
        """p0 in use, in (0, 1); None while there is none."""
        self._sums: list[float] = []
        self._if_failed: tuple[float, ...] = ()
        self._if_right: tuple[float, ...] = ()
        self._num_failed = self._rebased_at = self._next_look = 0
        self.rebase(reference_rate)

    def add(self, failed: Outcome) -> float:
        """Take one outcome and return the statistic.

        Args:
            failed: whether the answer was wrong.

        Raises:
            DataError: the outcome is no truth value.
        """
        # The common case must stay cheap: this runs for every labelled answer in up to four streams.
        if failed.__class__ is not bool:
            failed = checked_outcome(failed)
        event = self.num_events = self.num_events + 1
        if failed:
            self._num_failed += 1
            self._failed_at.append(event)
            factors = self._if_failed
        else:
            factors = self._if_right
        self._sums = sums = [(s + 1.0) * f for s, f in zip(self._sums, factors, strict=True)]
        if sums:
            self.statistic = sum(sums) / len(sums)
        # After the sums: the reference that weighs an event must not have seen it.
        if event == self._next_look:
            self._learn()
        return self.statistic

    def restart(self) -> None:
        """Forget the evidence and stop learning; the reference stays."""
        self._sums = [0.0] * len(self._sums)
        self._failed_at.clear()
        self.statistic = 0.0
        if self.reference_rate is not None:
            self._next_look = 0

    def rebase(self, reference_rate: float | None = None) -> None:
        """Take another level as normal from now on, and forget the evidence.

        Call it when somebody has decided that the level of today is the new normal, or when a patch is deployed.

        Args:
            reference_rate: the new reference in (0, 1); None: learn it from the events that follow.

        Raises:
            ConfigError: the rate lies outside (0, 1).
        """
        if reference_rate is not None and not 0.0 < reference_rate < 1.0:
            raise ConfigError(
                [f"a reference rate must lie in (0, 1), not {reference_rate!r}"],
                hint="a rate measured on n samples without a failure is at most about 3 / n",
            )
        self._rebased_at, self._num_failed, self.statistic = self.num_events, 0, 0.0
        self._failed_at.clear()
        self._sums, self._if_failed, self._if_right = [], (), ()
        self.reference_rate = None
        if reference_rate is None:
            self._next_look = self.num_events + self._settings[2]
        else:
            self._next_look = 0
            self._refer_to(float(reference_rate))

    def rise_start(self) -> RiseStart | None:
        """Return the most likely start of the rise since the last restart; None where nothing failed since.

        The start and the lift that maximise the likelihood ratio against the reference, which is also the largest
        term of the statistic; a rise can only start at a failure. Looks at the last ``NUM_FAILURES_KEPT`` failures.
        """
        best, found = -math.inf, None
        for up, down in zip(self._if_failed, self._if_right, strict=True):
            gain, loss = math.log(up), math.log(down)
            for later, event in enumerate(reversed(self._failed_at), start=1):
                span = self.num_events - event + 1
                ratio = later * gain + (span - later) * loss
                if ratio > best:
                    best, found = ratio, RiseStart(event, later / span, span)
        return found

    def state(self) -> dict[str, Any]:
        """Return all that the future depends on, as plain JSON values."""
        return {
            "version": _STATE_VERSION,
            "settings": [list(self._settings[0]), *self._settings[1:]],
            "num_events": self.num_events,
            "num_failed": self._num_failed,
            "rebased_at": self._rebased_at,
            "next_look": self._next_look,
            "reference_rate": self.reference_rate,
            "sums": list(self._sums),
            "failed_at": list(self._failed_at),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state.

        Raises:
            DataError: the state is malformed, or was written with other settings; nothing has changed then.
        """
        check_state(state, self.state())
        try:
            sums = [float(value) for value in state["sums"]]
            failed_at = [int(event) for event in state["failed_at"]]
            counts = [int(state[name]) for name in ("num_events", "num_failed", "rebased_at", "next_look")]
            rate = None if state["reference_rate"] is None else float(state["reference_rate"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the state is malformed: {error!r}", hint="replay the stored outcomes") from error
        sane = all(0.0 <= value < math.inf for value in sums) and min(counts) >= 0
        sane = sane and (rate is None or 0.0 < rate < 1.0)
        if not sane or len(sums) != (0 if rate is None else len(self._settings[0])):
            raise DataError("the state is malformed: impossible sums or counts", hint="replay the stored outcomes")
        self.rebase(rate)
        self.num_events, self._num_failed, self._rebased_at, self._next_look = counts
        self._sums = sums
        self.statistic = sum(sums) / len(sums) if sums else 0.0
        self._failed_at.extend(failed_at)

    def _learn(self) -> None:
        _, margin_alpha, _, most = self._settings
        seen = self.num_events - self._rebased_at
        # One event that failed in one look gives the bound 1, at which nothing can rise.
        bound = min(clopper_pearson_upper(self._num_failed, seen, margin_alpha), 1.0 - 1e-9)
        self._refer_to(bound)
        self._next_look = self.num_events + seen if 2 * seen <= most else 0

    def _refer_to(self, rate: float) -> None:
        lifts = self._settings[0]
        odds = rate / (1.0 - rate)
        lifted = [lift * odds / (1.0 + lift * odds) for lift in lifts]
        self._if_failed = tuple(q / rate for q in lifted)
        self._if_right = tuple((1.0 - q) / (1.0 - rate) for q in lifted)
        self.reference_rate = rate
        if not self._sums:
            self._sums = [0.0] * len(lifts)
