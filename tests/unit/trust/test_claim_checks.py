"""A claim is disputed when it is clearly too good, confirmed when it is borne out, and otherwise left open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.records import ClaimedMetric
from symbio_lab.stats.intervals import wilson
from symbio_lab.stats.paired import weighted_sum
from symbio_lab.trust.claim_checks import (
    MARGIN,
    TOLERANCE,
    ClaimVerdict,
    check_claims,
    check_rate,
    incomparable,
    verdict_of,
)
from symbio_lab.trust.evaluation_payload import EvaluationStatement, MeasuredRate


def verdict(claimed: float, claimed_n: int, hits: int, n: int, name: str = "fix_rate", same: bool = False) -> str:
    return check_rate(name, claimed, claimed_n, MeasuredRate(name, hits, n), same_samples=same).verdict


@pytest.mark.parametrize(
    ("claimed", "claimed_n", "hits", "n", "expected"),
    [
        (0.9, 100, 90, 100, "confirmed"),
        (0.5, 100, 90, 100, "confirmed"),  # better than claimed
        (0.9, 100, 20, 100, "disputed"),
        (0.9, 10, 60, 80, "undecided"),  # a claim on ten samples is vague
        (0.9, 0, 60, 80, "disputed"),  # a claim without n is taken as exact
        (0.9, 100, 8, 10, "undecided"),  # ten samples say little
        (1.0, 0, 1, 1, "undecided"),
        (1.7, 100, 100, 100, "disputed"),  # no rate
        (0.9, 10**9, 89_500, 100_000, "confirmed"),  # sure, but nobody would notice
        (0.9, 10**9, 87_000, 100_000, "disputed"),
    ],
)
def test_higher_is_better(claimed: float, claimed_n: int, hits: int, n: int, expected: ClaimVerdict) -> None:
    assert verdict(claimed, claimed_n, hits, n) == expected
    # The mirror image: a rate of which less is better.
    assert verdict(1.0 - claimed, claimed_n, n - hits, n, "negative_flip_rate") == expected


def test_on_one_suite_there_is_no_sampling_error() -> None:
    assert verdict(0.80, 50, 40, 50) == "undecided"
    assert verdict(0.80, 50, 40, 50, same=True) == "confirmed"
    assert verdict(0.80, 50, 39, 50, same=True) == "undecided"  # one answer may flip with the environment
    assert verdict(0.80, 50, 20, 50, same=True) == "disputed"


RATES = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=200, deadline=None)
@given(claim=RATES, measured=RATES)
def test_the_bound_is_newcombe_s(claim: tuple[int, int], measured: tuple[int, int]) -> None:
    """Disputed exactly if MOVER over two Wilson intervals excludes the tolerance."""
    from symbio_lab.stats.intervals import to_interval

    parts = [to_interval(*claim, method="wilson"), to_interval(*measured, method="wilson")]
    low = weighted_sum(parts, [1.0, -1.0]).low
    assert low is not None
    found = check_rate("fix_rate", claim[0] / claim[1], claim[1], MeasuredRate("fix_rate", *measured))
    if abs(low - TOLERANCE) > 1e-9:
        assert (found.verdict == "disputed") is (low > TOLERANCE)
    if found.verdict == "confirmed":
        assert wilson(*measured)[0] >= claim[0] / claim[1] - MARGIN


@settings(max_examples=100, deadline=None)
@given(claim=RATES, measured=RATES, better=st.integers(0, 400))
def test_measuring_more_never_makes_it_worse(claim: tuple[int, int], measured: tuple[int, int], better: int) -> None:
    order = ("disputed", "undecided", "confirmed")
    hits, n = measured
    more = min(n, hits + better)
    before = verdict(claim[0] / claim[1], claim[1], hits, n)
    assert order.index(verdict(claim[0] / claim[1], claim[1], more, n)) >= order.index(before)


def test_honest_publishers_are_seldom_disputed_and_boasting_ones_usually() -> None:
    """Publishers claim what they saw on 16 to 64 failures; the evaluator has 200. Seeded."""
    rng = np.random.default_rng(0)
    honest, boasting, literal = [], [], []
    for _ in range(3000):
        truth, n = rng.uniform(0.3, 0.95), int(rng.integers(16, 65))
        seen, hits = rng.binomial(n, truth), int(rng.binomial(200, truth))
        honest.append(verdict(seen / n, n, hits, 200) == "disputed")
        boasting.append(verdict(min(1.0, truth + 0.3), 1000, hits, 200) == "disputed")
        literal.append(seen / n > wilson(hits, 200)[1])
    assert np.mean(honest) < 0.025
    assert np.mean(boasting) > 0.95
    # Why the claim's own error counts: held against the evaluator's interval alone, one honest publisher in five falls.
    assert np.mean(literal) > 0.15


def statement(*measures: MeasuredRate, suite: str = "a" * 64, after: int = 500_000) -> EvaluationStatement:
    return EvaluationStatement(
        "a/b", "0" * 64, "1" * 64, "2" * 64, suite, 100, 200_000, after, "2026-01-01T00:00:00Z", measures=measures
    )


def test_a_name_that_repeats_is_held_to_its_best_figure() -> None:
    said = statement(MeasuredRate("fix_rate", 50, 100))
    claims = [
        ClaimedMetric("fix_rate", 0.5, 50),
        ClaimedMetric("fix_rate", 0.95, 50),
        ClaimedMetric("fix_rate", 0.1, 9),
    ]
    (check,) = check_claims(said, claims)
    assert (check.claimed, check.verdict) == (0.95, "disputed")


def test_what_is_compared_on_one_suite() -> None:
    said, other = (
        statement(MeasuredRate("fix_rate", 50, 100)),
        statement(MeasuredRate("fix_rate", 90, 100), after=510_000),
    )
    checks = {check.quantity: check.verdict for check in check_claims(said, (), other)}
    assert checks == {"accuracy_before": "confirmed", "accuracy_after": "confirmed", "fix_rate": "disputed"}
    assert check_claims(statement(), (), statement(suite="b" * 64)) == ()
    assert verdict_of(()) == "undecided"


def test_what_cannot_be_compared_is_said() -> None:
    claims = [ClaimedMetric("speed", 2.0, 1), ClaimedMetric("fix_rate", 0.5, 50)]
    assert [reason.partition(":")[0] for reason in incomparable(statement(), claims)] == ["fix_rate", "speed"]
    assert incomparable(statement(MeasuredRate("fix_rate", 1, 2)), claims[1:]) == ()
