"""A claimed rate against a repetition: confirmed, disputed, or undecided, by intervals.

What can be compared:
    1. By the metric's name: a claim of the manifest (or a rate in the publisher's own signed evaluation) with a rate
       of the same name that somebody else measured. Publishers of the lab claim ``fix_rate`` (of the base's failures
       in the slice) and ``negative_flip_rate`` (of the base's right answers elsewhere); both are conditional rates, so
       they mean the same on any sample of the same kind. Whoever signs a rate under such a name says that his samples
       are of the kind that the patch is for.
    2. By the suite: accuracy before and after, if the publisher signed an evaluation of his own on the very suite
       (same digest). There is no sampling error between two runs over the same samples.
What cannot: accuracies on different suites (they depend on the mix of the suite); a name without a known direction;
schema 1 on another suite (it names no rates); a claim that nobody measured.

Rules:
    1. *Disputed*: the claim lies on the bad side of the interval of what was measured, by more than ``TOLERANCE``.
       The claim's own sampling error is allowed for: a claim on few samples is vague, not false. A claim that states
       no n is taken as exact, and so is one on the same suite.
    2. *Confirmed*: what was measured rules out, by its own interval, that the patch is worse than claimed by more than
       ``MARGIN``; on the same suite: the figures agree within ``TOLERANCE``, or the claim was modest.
    3. *Undecided* otherwise: more samples would tell.

Example:
    >>> check_rate("fix_rate", 0.9, 100, MeasuredRate("fix_rate", 20, 80)).verdict
    'disputed'
    >>> check_rate("fix_rate", 0.9, 10, MeasuredRate("fix_rate", 60, 80)).verdict
    'undecided'
    >>> check_rate("negative_flip_rate", 0.02, 400, MeasuredRate("negative_flip_rate", 6, 400)).verdict
    'confirmed'

References:
    Newcombe (1998), "Interval estimation for the difference between independent proportions: comparison of eleven
    methods", Statistics in Medicine 17, 873-890, method 10 (square-and-add of Wilson intervals).
    Differs from the paper: one side of it, with a tolerance of one point for what no user would notice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from symbio_lab.records import ClaimedMetric, Interval
from symbio_lab.stats.intervals import to_interval
from symbio_lab.trust.evaluation_payload import PPM, EvaluationStatement, MeasuredRate, right_answers

ClaimVerdict = Literal["confirmed", "disputed", "undecided"]
HIGHER_IS_BETTER: Mapping[str, bool] = {"fix_rate": True, "negative_flip_rate": False}
"""Metrics that are compared by name, with their good side."""
ON_THE_SAME_SUITE: Mapping[str, bool] = {"accuracy_before": False, "accuracy_after": True}
"""Quantities that are compared on one suite only; too low an accuracy of the base makes a patch look better."""
TOLERANCE = 0.01
"""Overstatement that is never disputed, however many samples there are."""
MARGIN = 0.10
"""A confirmed patch is worse than claimed by at most this."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """One claimed figure beside a measured one."""

    quantity: str
    claimed: float
    claimed_n: int
    """Samples that the claim rests on; 0: taken as exact."""
    measured: Interval
    """Wilson's interval at ``ALPHA``."""
    verdict: ClaimVerdict


def check_rate(
    quantity: str, claimed: float, claimed_n: int, measured: MeasuredRate, *, same_samples: bool = False
) -> ClaimCheck:
    """Return the verdict on one claimed rate.

    Args:
        quantity: a key of ``HIGHER_IS_BETTER`` or ``ON_THE_SAME_SUITE``.
        claimed: the claim; outside [0, 1] it is taken as exact, and no measurement can bear it out.
        claimed_n: samples that the claim rests on, 0 if it states none.
        measured: hits of n.
        same_samples: whether both figures are about the very same samples.
    """
    interval = to_interval(measured.hits, measured.n, ALPHA, "wilson")
    higher = HIGHER_IS_BETTER[quantity] if quantity in HIGHER_IS_BETTER else ON_THE_SAME_SUITE[quantity]
    rate, low, high = (value if value is not None else 0.0 for value in (interval.value, interval.low, interval.high))
    if not higher:
        rate, low, high = 1.0 - rate, 1.0 - high, 1.0 - low
    said = claimed if higher else 1.0 - claimed
    least_said = said
    if claimed_n > 0 and not same_samples and 0.0 <= claimed <= 1.0:
        bounds = to_interval(round(said * claimed_n), claimed_n, ALPHA, "wilson")
        least_said = min(said, bounds.low if bounds.low is not None else said)
    overstated = said - rate
    surely_overstated = overstated - math.hypot(said - least_said, high - rate)
    bears_out = rate >= said - TOLERANCE if same_samples else low >= said - MARGIN
    verdict: ClaimVerdict = "undecided"
    if surely_overstated > TOLERANCE:
        verdict = "disputed"
    elif bears_out:
        verdict = "confirmed"
    return ClaimCheck(quantity, claimed, 0 if same_samples else claimed_n, interval, verdict)


def check_claims(
    statement: EvaluationStatement, claims: Iterable[ClaimedMetric], other: EvaluationStatement | None = None
) -> tuple[ClaimCheck, ...]:
    """Return one check for every figure that ``statement`` can be compared with, by name.

    Args:
        statement: what was measured.
        claims: what the publisher's manifest claims. A name that repeats is held to its best figure.
        other: a signed evaluation of the same patch that is a claim as well: the publisher's, or another evaluator's.
    """
    checks: dict[str, ClaimCheck] = {}
    measured = {rate.name: rate for rate in statement.measures}
    named = list(claims)
    same_suite = other is not None and other.suite_digest == statement.suite_digest
    if other is not None and not same_suite:
        named += [ClaimedMetric(rate.name, rate.hits / rate.n, rate.n) for rate in other.measures]
    for claim in named:
        if claim.name in HIGHER_IS_BETTER and claim.name in measured:
            found = check_rate(claim.name, claim.value, claim.n, measured[claim.name])
            checks[claim.name] = _harder(checks.get(claim.name), found)
    if other is not None and same_suite:
        for found in _on_one_suite(statement, other, measured):
            checks[found.quantity] = _harder(checks.get(found.quantity), found)
    return tuple(checks[name] for name in sorted(checks))


def incomparable(statement: EvaluationStatement, claims: Iterable[ClaimedMetric]) -> tuple[str, ...]:
    """Return, in sentences, why a claim of the manifest cannot be compared with ``statement``, by name."""
    measured = {rate.name for rate in statement.measures}
    found = {}
    for claim in claims:
        if claim.name not in HIGHER_IS_BETTER:
            found[claim.name] = f"{claim.name}: not a rate that is compared by name"
        elif claim.name not in measured:
            found[claim.name] = f"{claim.name}: the evaluation measured no such rate"
    return tuple(found[name] for name in sorted(found))


def verdict_of(checks: Sequence[ClaimCheck]) -> ClaimVerdict:
    """Return the verdict of several checks: one disputed figure disputes, one confirmed figure else confirms."""
    verdicts = {check.verdict for check in checks}
    if "disputed" in verdicts:
        return "disputed"
    return "confirmed" if "confirmed" in verdicts else "undecided"


def _on_one_suite(
    statement: EvaluationStatement, other: EvaluationStatement, measured: Mapping[str, MeasuredRate]
) -> list[ClaimCheck]:
    before, after = right_answers(statement)
    pairs = (("accuracy_before", other.before_ppm, before), ("accuracy_after", other.after_ppm, after))
    found = [
        check_rate(name, ppm / PPM, other.n, MeasuredRate(name, hits, statement.n), same_samples=True)
        for name, ppm, hits in pairs
    ]
    return found + [
        check_rate(rate.name, rate.hits / rate.n, rate.n, measured[rate.name], same_samples=True)
        for rate in other.measures
        if rate.name in HIGHER_IS_BETTER and rate.name in measured
    ]


def _harder(known: ClaimCheck | None, found: ClaimCheck) -> ClaimCheck:
    """Return the check with the verdict that is worse for whoever claimed; of equals the first."""
    order = ("disputed", "undecided", "confirmed")
    return found if known is None or order.index(found.verdict) < order.index(known.verdict) else known
