"""Ranked advice on one failing model: adopt a patch, operate, collect more samples, or wait.

Rules:
    1. Gain is stated in percentage points of correct answers in all of the traffic: (share of the traffic inside the
       slice) x (its failure rate) x (fix rate), less (share outside) x (share of right answers there) x (negative flip
       rate): only what was right can be broken. It has an interval only where somebody measured the fix rate.
    2. What a publisher claims of his own patch is named a claim and gives no expected gain; signed evaluations by
       others do, by their pooled counts, and so do the model's own earlier healings (for operating).
    3. Nothing is invented: where there is no evidence, the advice says what measuring it would cost.
    4. Collecting comes first when the gate could not decide anyway; waiting comes first when nothing is confirmed.

References:
    Pooled counts and exact intervals: Clopper and Pearson (1934). Differs from the paper: counts of several evaluators
    are added as if they were one, so the interval is too short where evaluators disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from symbio_lab.monitor.extraction import Shortfall
from symbio_lab.monitor.health import Health
from symbio_lab.records import Candidate, FailurePattern, Interval
from symbio_lab.stats.intervals import to_interval

Action = Literal["adopt", "operate", "collect", "wait"]


@dataclass(frozen=True, slots=True)
class FixEvidence:
    """What somebody other than the publisher measured of a patch, or what an earlier healing reached."""

    ref: str
    """Patch id, or surgery method."""
    num_fixed: int
    num_failures: int
    """Failures that were tried."""
    num_broken: int = 0
    num_controls: int = 0
    """Controls that the base answers rightly."""
    forwards_equivalent: float = 0.0
    """What it cost; 0 where it is not known."""
    by: str = ""
    """Key or tenant that measured it."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that could be done."""

    action: Action
    ref: str
    """Patch id, surgery method, or empty."""
    expected_gain_pp: Interval | None
    """Percentage points of correct answers in all traffic; None where nobody measured it."""
    expected_forwards: float | None
    """Forwards-equivalent, the gate included; None where nobody measured it."""
    reasons: tuple[str, ...]


def recommend(
    health: Health,
    pattern: FailurePattern | None,
    *,
    candidates: Sequence[Candidate] = (),
    evaluations: Sequence[FixEvidence] = (),
    earlier: Sequence[FixEvidence] = (),
    shortfall: Shortfall | None = None,
    gate_forwards: float = 0.0,
) -> tuple[Advice, ...]:
    """Return what could be done, the best first.

    Args:
        health: state of the model.
        pattern: what fails; None where nothing is confirmed.
        candidates: patches that the market offers for the pattern, best match first; unverified.
        evaluations: signed evaluations of these patches by others than their publishers.
        earlier: earlier surgery on this model, one entry a healing.
        shortfall: what the gate lacks; None where it was not worked out.
        gate_forwards: what one look at the gate costs, in forwards-equivalent.
    """
    if pattern is None or health.state == "healthy":
        reason = "nothing is confirmed to fail more than the rest" if pattern is None else "the model is healthy"
        return (Advice("wait", "", None, None, (reason, *health.evidence[:1])),)
    usable = [candidate for candidate in candidates if candidate.problem is None]
    found = [_adopting(candidate, pattern, evaluations, gate_forwards) for candidate in usable]
    found.append(_operating(pattern, earlier, gate_forwards))
    # Measured gains first, by their lower bound; then what is not measured, in the order of the search.
    found.sort(key=lambda advice: -_least_gain(advice))
    if shortfall is not None and not shortfall.enough:
        action: Action = "collect" if shortfall.possible else "wait"
        found.insert(0, Advice(action, "", None, None, (shortfall.describe(),)))
    return tuple(found)


def gain_pp(pattern: FailurePattern, evidence: Sequence[FixEvidence]) -> Interval | None:
    """Return the expected gain of what several evaluations measured.

    Args:
        pattern: its failure rates and share of the traffic are taken as given; without a failure rate outside,
            everything outside is taken to be right.
        evidence: of one patch or method; None is returned without counts or without denominators.
    """
    fixed, tried = sum(e.num_fixed for e in evidence), sum(e.num_failures for e in evidence)
    broken, controls = sum(e.num_broken for e in evidence), sum(e.num_controls for e in evidence)
    if not tried or pattern.failure_rate is None or pattern.traffic_share is None:
        return None
    # Half of the error on each side goes to either rate, so that both hold together.
    fix, flip = to_interval(fixed, tried, alpha=0.025), to_interval(broken, controls, alpha=0.025)
    reach = pattern.traffic_share * pattern.failure_rate
    # A negative flip rate is a share of the answers that were right before.
    outside = (1.0 - pattern.traffic_share) * (1.0 - (pattern.outside_rate or 0.0))
    value = reach * (fix.value or 0.0) - outside * (flip.value or 0.0)
    worst = reach * (fix.low or 0.0) - outside * (flip.high if flip.high is not None and controls else 0.0)
    best = reach * (fix.high or 0.0) - outside * ((flip.low or 0.0) if controls else 0.0)
    return Interval(100 * value, 100 * worst, 100 * best, tried, "clopper_pearson")


def _adopting(
    candidate: Candidate, pattern: FailurePattern, evaluations: Sequence[FixEvidence], gate_forwards: float
) -> Advice:
    own = [e for e in evaluations if e.ref == candidate.ref]
    gain = gain_pp(pattern, own)
    reasons = [f"{candidate.reason} (score {candidate.score:.2f}); unverified until it is fetched"]
    if gain is not None:
        fixed, tried = sum(e.num_fixed for e in own), sum(e.num_failures for e in own)
        reasons.append(f"{len(own)} signed evaluation(s) by others: {fixed} of {tried} failures fixed")
        reasons.append("what they evaluated need not be this pattern")
        if not any(e.num_controls for e in own):
            reasons.append("nobody measured what it breaks: the gain is stated without it")
    else:
        reasons.append("nobody but its publisher measured it: the gain is not known before it is tried")
    claims = candidate.manifest.claims if candidate.manifest is not None else ()
    reasons += [f"its publisher claims {claim.name} {claim.value:.2f} (n = {claim.n})" for claim in claims]
    return Advice("adopt", candidate.ref, gain, gate_forwards or None, tuple(reasons))


def _operating(pattern: FailurePattern, earlier: Sequence[FixEvidence], gate_forwards: float) -> Advice:
    gain = gain_pp(pattern, earlier)
    costs = [e.forwards_equivalent for e in earlier if e.forwards_equivalent > 0]
    cost = sum(costs) / len(costs) + gate_forwards if costs else None
    if earlier:
        fixed, tried = sum(e.num_fixed for e in earlier), sum(e.num_failures for e in earlier)
        reason = f"{len(earlier)} earlier operation(s) on this model: {fixed} of {tried} failures fixed"
    else:
        reason = "this model was never operated on: neither gain nor cost is known"
    return Advice("operate", "", gain, cost, (reason,))


def _least_gain(advice: Advice) -> float:
    gain = advice.expected_gain_pp
    # What is not measured may gain or lose: it stands below any gain that is sure, above any that may be a loss.
    return gain.low if gain is not None and gain.low is not None else 0.0
