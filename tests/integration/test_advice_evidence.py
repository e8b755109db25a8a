"""Advice takes signed evaluations of others into account, and nobody else's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from symbio_lab.advice.evaluations import signed_evidence
from symbio_lab.advice.recommending import recommend
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.monitor.health import Health
from symbio_lab.records import Candidate, FailurePattern, Interval, SearchQuery
from symbio_lab.testing.tiny_market import tiny_market
from symbio_lab.trust.evaluation_statement import EvaluationStatement, sign_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey
from tests.fixtures_models import NOW, PUBLISHER, TinyModels, tiny  # noqa: F401

BOB, STRANGER = (SigningKey.from_seed(bytes([n]) * 32) for n in (71, 72))
PATTERN = FailurePattern("shades fail", ("a",), (), (), 80, 0.8, 0.7, 0.9, outside_rate=0.05, traffic_share=0.2)
JUDGING = "9" * 64


@pytest.fixture
def client(tiny: TinyModels, tmp_path: Path) -> MarketplaceClient:  # noqa: F811
    market = tiny_market(tiny.load("pooled"), tmp_path, "known", unfit=False)
    policy = market.policy.enrol(PublisherKey(BOB.public_hex, "bob", known=True))
    found = MarketplaceClient([market.transport], policy, tmp_path / "store", NOW, judging_digests=[JUDGING])
    (good,) = [c for c in search(found) if c.ref == "good/patch"]
    said = statement(good, found)
    for key, changes in (
        (BOB, {}),
        (STRANGER, {}),
        (PUBLISHER, {}),
        (BOB, {"issued": "2025-01-01T00:00:00Z", "after_ppm": 0}),  # older than Bob's other one
    ):
        signed = replace(said, keyid=key.keyid, **changes)
        market.transport.publish_evaluation(said.patch_digest, sign_evaluation(signed, key))
    return found


def search(client: MarketplaceClient) -> list[Candidate]:
    return client.search(SearchQuery("text_classification", "shades"))


def statement(candidate: Candidate, client: MarketplaceClient) -> EvaluationStatement:
    patch, _ = client.fetch(candidate)
    assert patch is not None
    return EvaluationStatement(
        patch.patch_id,
        patch.digest,
        BOB.keyid,
        patch.manifest.base_digest,
        "a" * 64,
        100,
        200_000,
        800_000,
        "2026-01-01T00:00:00Z",
        {"public": "d" * 64},
    )


def test_only_the_newest_of_an_enrolled_evaluator_counts(client: MarketplaceClient) -> None:
    (evidence,) = signed_evidence(client, search(client))
    assert (evidence.ref, evidence.num_fixed, evidence.num_failures, evidence.by) == ("good/patch", 60, 80, BOB.keyid)


def test_the_evaluated_patch_comes_first_with_its_gain(client: MarketplaceClient) -> None:
    candidates = search(client)
    health = Health("degraded", ("why",), Interval(0.2, 0.1, 0.3, 100), 0)
    first = recommend(health, PATTERN, candidates=candidates, evaluations=signed_evidence(client, candidates))[0]
    assert (first.action, first.ref) == ("adopt", "good/patch")
    assert first.expected_gain_pp is not None
    assert first.expected_gain_pp.value == pytest.approx(100 * 0.2 * 0.8 * 0.75)
    assert "1 signed evaluation(s) by others: 60 of 80 failures fixed" in first.reasons


def test_refused_candidates_have_no_evaluations(client: MarketplaceClient) -> None:
    assert all(client.evaluations(replace(c, problem="revoked_key")) == () for c in search(client))
    assert all(client.evaluations(replace(c, manifest=None)) == () for c in search(client))
