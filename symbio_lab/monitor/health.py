"""How a model does: healthy, to be watched, degraded or failing, and by what evidence.

Rules, the first that holds:
    1. ``failing``: the recent error rate is at least ``failing_rate`` beyond doubt (lower bound), or a confirmed
       pattern that makes up ``failing_share`` of the traffic fails at least every second time.
    2. ``degraded``: a stream's error rate has risen (alarm), the recent error rate lies above the reference beyond
       doubt, or a pattern on what is asked is confirmed.
    3. ``watch``: too few answers have a ground truth to say more, the inputs or the confidences have shifted, or only a
       symptom is confirmed.
    4. ``healthy``: none of these.

Every sentence of the evidence carries its figures.

Example:
    >>> from symbio_lab.records import PredictionRecord
    >>> from symbio_lab.monitor.traffic import traffic_of
    >>> rows = [PredictionRecord("m", "text_generation", str(i), "a", "a") for i in range(300)]
    >>> health = assess_health(traffic_of(rows), reference_rate=0.05)
    >>> health.state, health.evidence[0]
    ('healthy', '0 of the last 300 labelled answers were wrong (0.0 %, 0.0 to 1.3 %); 5.0 % is normal')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from symbio_lab.monitor.detectors.alarm import Alarm
from symbio_lab.monitor.naming import excess_failures
from symbio_lab.monitor.slices import SliceSearch
from symbio_lab.monitor.traffic import Traffic
from symbio_lab.records import Interval
from symbio_lab.stats.intervals import to_interval

State = Literal["healthy", "watch", "degraded", "failing"]
MOST_PATTERNS = 5
"""Confirmed patterns that are evidence, those that explain most failures first."""
STATES: tuple[State, ...] = ("healthy", "watch", "degraded", "failing")


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What counts as how bad."""

    failing_rate: float = 0.25
    """Error rate from which a model is failing, in (0, 1)."""
    failing_share: float = 0.05
    """Share of the traffic from which a pattern that fails every second time makes a model failing."""
    min_labelled: int = 100
    """Labelled answers below which nothing is said of the error rate."""


@dataclass(frozen=True, slots=True)
class Health:
    """State of one model for one tenant."""

    state: State
    evidence: tuple[str, ...]
    """One sentence each, the decisive ones first."""
    error_rate: Interval
    """Of the recent labelled answers, with a Wilson interval."""
    num_unlabelled: int
    """Recent answers whose ground truth is not known."""


def assess_health(
    recent: Traffic,
    *,
    reference_rate: float | None = None,
    alarms: Sequence[Alarm] = (),
    search: SliceSearch | None = None,
    shifts: Sequence[str] = (),
    policy: HealthPolicy = HealthPolicy(),
) -> Health:
    """Return the state of a model.

    Args:
        recent: its latest answers.
        reference_rate: error rate that is normal, in [0, 1]; None where nobody knows.
        alarms: of the streams, not yet dealt with.
        search: patterns of the recent traffic; None where they were not looked for.
        shifts: what else has shifted, one sentence each (inputs, confidences).
        policy: limits.
    """
    num_labelled = int(recent.labelled.sum())
    rate = to_interval(int(recent.failed.sum()), num_labelled, method="wilson")
    low = rate.low or 0.0
    normal = "nobody knows what is normal" if reference_rate is None else f"{100 * reference_rate:.1f} % is normal"
    counts = f"{int(recent.failed.sum())} of the last {num_labelled} labelled answers were wrong"
    figures = f"{counts} ({_percent(rate)}); {normal}"
    known = num_labelled >= policy.min_labelled
    found: list[tuple[State, str]] = []
    if known and low >= policy.failing_rate:
        found.append(("failing", figures))
    elif known and reference_rate is not None and low > reference_rate:
        found.append(("degraded", figures))
    elif known:
        found.append(("healthy", figures))
    else:
        found.append(("watch", f"only {num_labelled} labelled answers: too few to state an error rate"))
    found += [("degraded", _alarm_text(alarm)) for alarm in alarms]
    found += _pattern_evidence(recent, search, policy)
    found += [("watch", shift) for shift in shifts]
    found.sort(key=lambda pair: -STATES.index(pair[0]))
    return Health(found[0][0], tuple(text for _, text in found), rate, len(recent) - num_labelled)


def _pattern_evidence(recent: Traffic, search: SliceSearch | None, policy: HealthPolicy) -> list[tuple[State, str]]:
    if search is None:
        return []
    asked = [one for one in search.confirmed if not one.is_symptom]
    if not asked:
        return [
            ("watch", f"a symptom is confirmed: {one.description} ({_percent(one.inside)} wrong)")
            for one in search.confirmed
        ]
    asked.sort(key=lambda one: -excess_failures(one))
    found: list[tuple[State, str]] = []
    for one in asked[:MOST_PATTERNS]:
        share = len(one.members) / max(int(recent.labelled.sum()), 1)
        bad = (one.inside.low or 0.0) >= 0.5 and share >= policy.failing_share
        text = (
            f"a pattern is confirmed: {one.description} ({_percent(one.inside)} wrong inside, "
            f"{_percent(one.outside)} outside; {100 * share:.1f} % of the traffic)"
        )
        found.append(("failing" if bad else "degraded", text))
    return found


def _alarm_text(alarm: Alarm) -> str:
    name = f"{alarm.stream.kind} {alarm.stream.value}".strip()
    return (
        f"alarm of stream {name} at event {alarm.at_event}: {100 * alarm.recent_rate:.1f} % of its last "
        f"{alarm.recent_n} answers wrong, {100 * alarm.reference_rate:.1f} % was normal"
    )


def _percent(rate: Interval) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "unknown"
    return f"{100 * rate.value:.1f} %, {100 * rate.low:.1f} to {100 * rate.high:.1f} %"
