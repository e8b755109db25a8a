"""Signed evaluations: they raise a level, and leaky, foreign or own ones do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.records import ClaimedMetric, Patch
from symbio_lab.trust.evaluation_payload import is_repeatable, ppm_of
from symbio_lab.trust.evaluation_statement import (
    EvaluationStatement,
    MeasuredRate,
    evaluation_to_payload,
    open_evaluation,
    payload_to_evaluation,
    refuse_leaky,
    sign_evaluation,
    tally_evaluations,
)
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, policy_for
from tests.attacks.market_simulator import ALICE, BASE, EVE, MALLORY, Market, seal

BOB = SigningKey.from_seed(bytes([9]) * 32)
POLICY = policy_for(
    [
        PublisherKey(ALICE.public_hex, "alice", known=True),
        PublisherKey(BOB.public_hex, "bob", known=True),
        PublisherKey(MALLORY.public_hex, "mallory"),
    ]
)
JUDGING = "f" * 64


@pytest.fixture
def patch(tmp_path: Path) -> Patch:
    return seal(tmp_path)


def statement(patch: Patch, key: SigningKey = BOB, **changes: Any) -> EvaluationStatement:
    honest = EvaluationStatement(
        patch_id=patch.patch_id,
        patch_digest=patch.digest,
        keyid=key.keyid,
        base_digest=BASE,
        suite_digest="a" * 64,
        n=200,
        before_ppm=400_000,
        after_ppm=900_000,
        issued="2026-03-01T00:00:00Z",
        splits={"public": "d" * 64},
    )
    return replace(honest, **changes)


def tally(patch: Patch, *envelopes: bytes) -> tuple[int, int, tuple[str, ...]]:
    counted = tally_evaluations(
        envelopes,
        POLICY.evaluators,
        patch_digest=patch.digest,
        base_digest=BASE,
        publisher_hex=ALICE.public_hex,
        judging_digests={JUDGING},
    )
    return counted.num_improving, counted.num_worsening, counted.refused


def test_round_trip(patch: Patch) -> None:
    said = statement(patch)
    assert payload_to_evaluation(evaluation_to_payload(said)) == said
    assert open_evaluation(sign_evaluation(said, BOB), POLICY.evaluators) == said


@pytest.mark.parametrize(
    "change", [{"n": 0}, {"after_ppm": 1_000_001}, {"splits": {}}, {"suite_digest": "x"}, {"issued": "today"}]
)
def test_schema(patch: Patch, change: dict[str, Any]) -> None:
    with pytest.raises(TrustError) as refused:
        sign_evaluation(statement(patch, **change), BOB)
    assert refused.value.code == "bad_manifest"


def test_one_cannot_sign_for_another(patch: Patch) -> None:
    with pytest.raises(TrustError):
        sign_evaluation(statement(patch, keyid=ALICE.keyid), BOB)


@pytest.mark.parametrize("change", [{"splits": {"public": "d" * 64, "holdout": JUDGING}}, {"suite_digest": JUDGING}])
def test_leaky_evaluations_are_refused(patch: Patch, change: dict[str, Any]) -> None:
    leaky = statement(patch, **change)
    with pytest.raises(TrustError) as refused:
        refuse_leaky(leaky, {JUDGING})
    assert refused.value.code == "leaky_evaluation"
    refuse_leaky(leaky, {"0" * 64})
    assert tally(patch, sign_evaluation(leaky, BOB)) == (0, 0, ("leaky_evaluation",))


def test_who_counts(patch: Patch) -> None:
    good = sign_evaluation(statement(patch), BOB)
    assert tally(patch, good, good) == (1, 0, ())  # one vote a key
    assert tally(patch, sign_evaluation(statement(patch, key=ALICE), ALICE)) == (0, 0, ("unknown_key",))  # own patch
    assert tally(patch, sign_evaluation(statement(patch, key=EVE), EVE)) == (0, 0, ("unknown_key",))
    assert tally(patch, sign_evaluation(statement(patch, key=MALLORY), MALLORY)) == (0, 0, ("unknown_key",))
    assert tally(patch, sign_evaluation(statement(patch, patch_digest="e" * 64), BOB)) == (0, 0, ("wrong_patch",))
    assert tally(patch, b"garbage") == (0, 0, ("bad_envelope",))


def test_the_newest_statement_counts_in_any_order(patch: Patch) -> None:
    old = sign_evaluation(statement(patch), BOB)
    new = sign_evaluation(statement(patch, after_ppm=100_000, issued="2026-04-01T00:00:00Z"), BOB)
    assert tally(patch, old, new) == tally(patch, new, old) == (0, 1, ())


def test_a_market_with_evaluations_reaches_the_level(tmp_path: Path) -> None:
    market = Market(tmp_path, replace(POLICY, min_level="evaluated"))
    market.publish(key=MALLORY, patch_id="mallory/travel")
    assert market.code("mallory/travel") == "level_too_low"
    digest = seal(tmp_path / "publisher", key=MALLORY, patch_id="mallory/travel")
    said = statement(digest, splits={"holdout": JUDGING})
    market.transport.publish_evaluation(digest.digest, sign_evaluation(said, BOB))
    client = market.client(judging_digests={JUDGING})
    assert client.indices[0].entries[0].problem == "level_too_low"
    assert market.code("mallory/travel") == "accepted"
    patch, _ = market.fetch("mallory/travel")
    assert patch is not None
    assert patch.level == "evaluated"


# --------------------------------------------------------------------------------- schema 2, claims, old files

FIXTURES = Path(__file__).parent / "fixtures" / "statements"


def counted(patch: Patch, key: SigningKey = BOB, **changes: Any) -> EvaluationStatement:
    """An evaluation of schema 2: 104 of 120 failures fixed, 4 of 80 right answers broken."""
    honest = statement(
        patch,
        key,
        schema=2,
        seeds=(0,),
        passed_before=80,
        passed_after=180,
        environment="e" * 64,
        judge="label",
        measures=(MeasuredRate("fix_rate", 104, 120), MeasuredRate("negative_flip_rate", 4, 80)),
    )
    return replace(honest, **changes)


def test_schema_2_round_trip(patch: Patch) -> None:
    said = counted(patch)
    assert payload_to_evaluation(evaluation_to_payload(said)) == said
    assert open_evaluation(sign_evaluation(said, BOB), POLICY.evaluators) == said
    assert is_repeatable(said)
    assert not is_repeatable(replace(said, judge="person"))


def test_statements_of_both_schemas_that_were_written_before_still_load() -> None:
    old = open_evaluation((FIXTURES / "evaluation-1.dsse.json").read_bytes(), POLICY.evaluators)
    assert (old.schema, old.n, old.before_ppm, old.after_ppm, old.measures) == (1, 200, 400_000, 900_000, ())
    assert is_repeatable(old)
    new = open_evaluation((FIXTURES / "evaluation-2.dsse.json").read_bytes(), POLICY.evaluators)
    assert (new.schema, new.runs, new.seeds, new.passed_after, new.judge) == (2, 1, (0,), 180, "label")
    for name, said in (("evaluation-1", old), ("evaluation-2", new)):
        # Signatures are deterministic: the same statement gives the same file for ever.
        assert sign_evaluation(said, BOB) == (FIXTURES / f"{name}.dsse.json").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"runs": 0},
        {"runs": 2},  # one seed for two runs
        {"seeds": (0, 0), "runs": 2},
        {"passed_before": 79},  # beforePpm says otherwise
        {"passed_after": 201},
        {"environment": ""},
        {"judge": "me"},
        {"measures": (MeasuredRate("fix_rate", 2, 1),)},
        {"measures": (MeasuredRate("fix_rate", 0, 0),)},
        {"measures": (MeasuredRate("b", 1, 1), MeasuredRate("a", 1, 1))},
        {"measures": (MeasuredRate("a", 1, 1), MeasuredRate("a", 1, 1))},
        {"schema": 1},  # would silently drop what schema 1 does not have
        {"schema": 3},
    ],
)
def test_schema_2_is_read_strictly(patch: Patch, change: dict[str, Any]) -> None:
    with pytest.raises(TrustError) as refused:
        sign_evaluation(counted(patch, **change), BOB)
    assert refused.value.code == "bad_manifest"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_statement_survives_its_payload(data: st.DataObject) -> None:
    n, runs = data.draw(st.integers(1, 10**9)), data.draw(st.integers(1, 5))
    before, after = (data.draw(st.integers(0, n * runs)) for _ in range(2))
    rates = data.draw(st.dictionaries(st.sampled_from(["fix_rate", "negative_flip_rate", "x"]), st.integers(1, 999)))
    said = EvaluationStatement(
        "alice/travel",
        "5" * 64,
        BOB.keyid,
        BASE,
        "a" * 64,
        n,
        ppm_of(before, n * runs),
        ppm_of(after, n * runs),
        "2026-03-01T00:00:00Z",
        {"slice": "d" * 64},
        schema=2,
        runs=runs,
        seeds=tuple(range(runs)) if data.draw(st.booleans()) else (),
        passed_before=before,
        passed_after=after,
        environment="e" * 64,
        judge=data.draw(st.sampled_from(["label", "exact_match", "slots", "model", "person"])),
        measures=tuple(
            MeasuredRate(name, data.draw(st.integers(0, rates[name])), rates[name]) for name in sorted(rates)
        ),
    )
    payload = evaluation_to_payload(said)
    assert payload_to_evaluation(payload) == said
    assert abs(said.before_ppm - 1e6 * before / (n * runs)) <= 0.5


def votes(patch: Patch, *statements: EvaluationStatement, claims: tuple[ClaimedMetric, ...] = ()) -> tuple[int, int]:
    """Return how many dispute and how many confirm."""
    keys = {key.keyid: key for key in (ALICE, BOB, CAROL)}
    found = tally_evaluations(
        [sign_evaluation(said, keys[said.keyid]) for said in statements],
        {**POLICY.evaluators, CAROL.keyid: CAROL.public_key},
        patch_digest=patch.digest,
        base_digest=BASE,
        publisher_hex=ALICE.public_hex,
        claims=claims,
    )
    assert found.num_disputing + found.num_confirming <= len(statements)
    return found.num_disputing, found.num_confirming


CAROL = SigningKey.from_seed(bytes([10]) * 32)
HONEST = (ClaimedMetric("fix_rate", 0.85, 100), ClaimedMetric("negative_flip_rate", 0.04, 100))
BOASTING = (ClaimedMetric("fix_rate", 0.99, 1000), ClaimedMetric("speed", 3.0, 10))
HARMLESS = (ClaimedMetric("fix_rate", 0.85, 100), ClaimedMetric("negative_flip_rate", 0.0, 5000))


def test_a_statement_disputes_what_it_cannot_bear_out(patch: Patch) -> None:
    bob, carol = counted(patch), counted(patch, CAROL)
    assert votes(patch, bob, carol, claims=HONEST) == (0, 2)
    assert votes(patch, bob, carol, claims=BOASTING) == (2, 0)
    harmful = counted(
        patch, passed_after=170, after_ppm=850_000, measures=(MeasuredRate("negative_flip_rate", 14, 80),)
    )
    assert votes(patch, harmful, claims=HARMLESS) == (1, 0)
    # One disputed figure is enough, however well the others agree.
    both = replace(harmful, measures=(MeasuredRate("fix_rate", 104, 120), *harmful.measures))
    assert votes(patch, both, claims=HARMLESS) == (1, 0)


def test_what_cannot_be_compared_neither_disputes_nor_confirms(patch: Patch) -> None:
    assert votes(patch, statement(patch, after_ppm=400_000), claims=BOASTING) == (0, 0)  # schema 1 names no rate
    assert votes(patch, counted(patch, measures=()), claims=BOASTING) == (0, 0)
    assert votes(patch, counted(patch), claims=(ClaimedMetric("speed", 3.0, 10),)) == (0, 0)
    assert votes(patch, counted(patch)) == (0, 0)


def test_the_publisher_s_own_evaluation_is_a_claim_on_its_suite(patch: Patch) -> None:
    bob = statement(patch, after_ppm=500_000)
    assert votes(patch, statement(patch, ALICE), bob) == (1, 0)
    assert votes(patch, statement(patch, ALICE, suite_digest="f" * 64), bob) == (0, 0)  # another suite
    assert votes(patch, statement(patch, ALICE, after_ppm=500_000), bob) == (0, 1)
    assert votes(patch, statement(patch, ALICE, patch_digest="f" * 64), bob) == (0, 0)
    # A base made to look bad makes a patch look good.
    assert votes(patch, statement(patch, ALICE, before_ppm=100_000), statement(patch)) == (1, 0)
    # Of several the newest: what was withdrawn is claimed no more.
    later = statement(patch, ALICE, after_ppm=500_000, issued="2026-05-01T00:00:00Z")
    assert votes(patch, statement(patch, ALICE), later, bob) == (0, 1)
    # Rates of the own evaluation are claims on other suites too.
    own = counted(patch, ALICE, suite_digest="f" * 64, measures=(MeasuredRate("fix_rate", 119, 120),))
    assert votes(patch, own, counted(patch)) == (1, 0)
