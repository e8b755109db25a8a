"""Signed evaluations: they raise a level, and leaky, foreign or own ones do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import TrustError
from symbio_lab.records import Patch
from symbio_lab.trust.evaluation_statement import (
    EvaluationStatement,
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
