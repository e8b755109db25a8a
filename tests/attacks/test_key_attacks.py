"""What somebody can try with keys and names: stolen, old, borrowed and copied ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import TRUST_CODES
from symbio_lab.records import ClaimedMetric
from symbio_lab.trust.adapter_files import DELTAS_NAME
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload, sign_envelope
from symbio_lab.trust.evaluation_payload import COUNTED_SCHEMA, MeasuredRate
from symbio_lab.trust.evaluation_statement import EvaluationStatement, sign_evaluation
from symbio_lab.trust.explaining import explain_folder
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, TrustPolicy
from symbio_lab.trust.seen_versions import load_seen
from symbio_lab.trust.succession import accept_statement, sign_revocation, sign_succession
from symbio_lab.trust.trusted_set import RULES, TrustedState
from tests.attacks.market_simulator import (
    ALICE,
    BASE,
    EVE,
    ISSUED,
    MALLORY,
    Market,
    attempt,
    resign,
    standard_policy,
)

NEW = SigningKey.from_seed(bytes([11]) * 32)
THIEF = SigningKey.from_seed(bytes([12]) * 32)
BOB = SigningKey.from_seed(bytes([13]) * 32)
CAROL = SigningKey.from_seed(bytes([14]) * 32)


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


def sign_by(folder: Path, *keys: SigningKey) -> None:
    """Put these signatures on a published manifest."""
    path = folder / ENVELOPE_NAME
    path.write_bytes(sign_envelope(peek_payload(path.read_bytes()), *keys))


def rotated(policy: TrustPolicy, old: SigningKey = ALICE, new: SigningKey = NEW) -> TrustPolicy:
    return accept_statement(sign_succession(old, new, issued=ISSUED), policy)


def revoked(policy: TrustPolicy, key: SigningKey = ALICE, by: SigningKey = ALICE) -> TrustPolicy:
    return accept_statement(sign_revocation(key.keyid, by, reason="stolen", issued=ISSUED), policy)


# ----------------------------------------------------------------------------------------------------- thresholds


def test_two_publishers_reach_a_threshold_of_two(market: Market) -> None:
    market.policy = standard_policy(min_signatures=2)
    sign_by(market.publish(), ALICE, MALLORY)
    assert market.code() == "accepted"


@pytest.mark.parametrize(
    "keys", [(ALICE,), (ALICE, ALICE), (ALICE, EVE), (ALICE, NEW)], ids=["one", "twice", "a stranger", "its successor"]
)
def test_threshold_padding(market: Market, keys: tuple[SigningKey, ...]) -> None:
    market.policy = rotated(standard_policy(min_signatures=2))
    sign_by(market.publish(), *keys)
    assert market.code() == "threshold"


def test_one_signature_under_two_keyids_counts_once(market: Market) -> None:
    market.policy = standard_policy(min_signatures=2)
    path = market.publish() / ENVELOPE_NAME
    value = json.loads(path.read_bytes())
    value["signatures"].append({**value["signatures"][0], "keyid": MALLORY.keyid})
    path.write_bytes(json.dumps(value).encode())
    assert market.code() == "threshold"


def test_a_revoked_cosigner_does_not_count(market: Market) -> None:
    market.policy = standard_policy(min_signatures=2).revoke(MALLORY.keyid)
    sign_by(market.publish(), ALICE, MALLORY)
    assert market.code() == "threshold"


def test_a_cosigner_cannot_lend_the_publisher_its_rights(market: Market) -> None:
    market.policy = standard_policy(min_level="known_publisher")
    sign_by(market.publish(key=MALLORY, patch_id="mallory/travel"), MALLORY, ALICE)
    assert market.code("mallory/travel") == "level_too_low"


# ------------------------------------------------------------------------------------------- rotation and theft


def test_a_name_passes_to_the_successor_and_not_to_a_stranger(market: Market) -> None:
    market.publish()
    assert market.code() == "accepted"
    market.policy = rotated(market.policy)
    market.publish(version=2, key=MALLORY)
    assert market.code("alice/travel@2") == "name_taken"
    sign_by(market.folder("alice/travel@2"), MALLORY)
    resign(market.folder("alice/travel@2"), key=NEW)
    assert market.code("alice/travel@2") == "accepted"


def test_the_old_key_cannot_take_a_name_back(market: Market) -> None:
    market.policy = rotated(standard_policy())
    market.publish(version=1)
    assert market.code() == "accepted"
    market.publish(version=2, key=NEW)
    assert market.code("alice/travel@2") == "accepted"
    market.publish(version=3, key=ALICE)
    assert market.code("alice/travel@3") == "name_taken"
    assert market.code("alice/travel@1") == "rollback"  # its own old version is old, not stolen


def test_after_a_theft_the_name_is_for_the_successor_only(market: Market) -> None:
    market.publish()
    assert market.code() == "accepted"
    market.policy = revoked(rotated(standard_policy()))
    market.publish(version=2, key=ALICE)
    assert market.code("alice/travel@2") == "revoked_key"
    resign(market.folder("alice/travel@2"), key=MALLORY)
    assert market.code("alice/travel@2") == "name_taken"
    resign(market.folder("alice/travel@2"), key=NEW)
    assert market.code("alice/travel@2") == "accepted"


def test_without_a_successor_the_names_of_a_revoked_key_are_nobodys(market: Market) -> None:
    market.publish()
    assert market.code() == "accepted"
    market.policy = revoked(standard_policy())
    market.publish(version=2, key=MALLORY)
    assert market.code("alice/travel@2") == "name_taken"


def test_the_namespace_of_a_revoked_key_stays_closed(market: Market) -> None:
    market.policy = standard_policy().enrol(PublisherKey(ALICE.public_hex, "alice", known=True, namespaces=("alice",)))
    market.policy = revoked(market.policy)
    market.publish(patch_id="alice/another", key=MALLORY)
    assert market.code("alice/another") == "name_taken"
    successor = rotated(standard_policy().enrol(PublisherKey(ALICE.public_hex, "alice", namespaces=("alice",))))
    market.policy = revoked(successor)
    resign(market.folder("alice/another"), key=NEW)
    assert market.code("alice/another") == "accepted"


def test_a_thief_cannot_name_himself_successor_of_a_revoked_key() -> None:
    policy = revoked(standard_policy())
    assert attempt(lambda: rotated(policy, ALICE, THIEF))[1] == "revoked_key"


def test_a_thief_cannot_replace_the_successor_that_was_named_first() -> None:
    policy = rotated(standard_policy())
    assert attempt(lambda: rotated(policy, ALICE, THIEF))[1] == "name_taken"
    assert rotated(policy) == policy


def test_a_thief_cannot_claim_a_successor_without_its_key() -> None:
    value = json.loads(sign_succession(ALICE, NEW, issued=ISSUED))
    value["signatures"] = [item for item in value["signatures"] if item["keyid"] == ALICE.keyid]
    assert attempt(lambda: accept_statement(json.dumps(value).encode(), standard_policy()))[1] == "bad_signature"


def test_a_publisher_cannot_revoke_another() -> None:
    assert attempt(lambda: revoked(standard_policy(), ALICE, MALLORY))[1] == "unknown_key"


def test_a_patch_cannot_pass_for_a_statement_about_keys(market: Market) -> None:
    envelope = (market.publish() / ENVELOPE_NAME).read_bytes()
    assert attempt(lambda: accept_statement(envelope, standard_policy()))[1] == "bad_manifest"


def test_a_statement_about_keys_cannot_pass_for_a_patch(market: Market) -> None:
    (market.publish() / ENVELOPE_NAME).write_bytes(sign_revocation(ALICE.keyid, ALICE, reason="x", issued=ISSUED))
    assert market.code() == "bad_manifest"


# -------------------------------------------------------------------------------------------------- look-alikes


@pytest.mark.parametrize("name", ["a1ice/travel", "Alice/travel", "alcie/other", "alice-/travel", "alice/trave1"])
def test_a_name_that_looks_like_an_accepted_one(market: Market, name: str) -> None:
    market.policy = standard_policy(check_lookalikes=True)
    market.publish()
    assert market.code() == "accepted"
    market.publish(patch_id=name, key=MALLORY)
    assert market.code(name) == "lookalike"


def test_who_may_use_a_similar_name(market: Market) -> None:
    market.policy = rotated(standard_policy(check_lookalikes=True))
    market.publish()
    assert market.code() == "accepted"
    for name, key in (("alice/travels", ALICE), ("alice/travell", NEW), ("bobby/travel", MALLORY)):
        market.publish(patch_id=name, key=key)
        assert market.code(name) == "accepted"


def test_look_alikes_are_looked_for_where_the_policy_asks(market: Market) -> None:
    market.publish()
    assert market.code() == "accepted"
    market.publish(patch_id="a1ice/travel", key=MALLORY)
    assert market.code("a1ice/travel") == "accepted"
    market.policy = standard_policy(check_lookalikes=True)
    assert market.code("a1ice/travel") == "accepted"  # both were accepted before: both are established
    assert market.code() == "accepted"


def test_protected_names_need_not_have_been_seen(market: Market) -> None:
    market.policy = standard_policy(protected_names=("acme", "lab/helpdesk")).enrol(
        PublisherKey(ALICE.public_hex, "alice", namespaces=("acme", "acne", "lab"))
    )
    market.publish(patch_id="acmee/travel", key=MALLORY)
    assert market.code("acmee/travel") == "lookalike"
    market.publish(patch_id="acne/travel", key=ALICE)  # its holder may
    assert market.code("acne/travel") == "accepted"


# ------------------------------------------------------------------------------------- levels, licences and age


def test_a_licence_may_ask_for_a_higher_level(market: Market) -> None:
    market.policy = standard_policy(licence_levels={"Apache-2.0": "evaluated"})
    market.publish()
    assert market.code() == "level_too_low"
    market.publish(patch_id="alice/free", licence="MIT")
    assert market.code("alice/free") == "accepted"


def test_an_old_patch_is_refused_before_it_expires(market: Market) -> None:
    market.publish()
    market.policy = standard_policy(max_age_days=151)
    assert market.code() == "accepted"  # issued on 1 January, looked at on 1 June at the same hour
    market.now = "2026-06-01T00:00:01Z"
    assert market.code() == "expired"
    market.policy = standard_policy(max_age_days=151, check_expiry=False)
    assert market.code() == "expired"


# ---------------------------------------------------------------------------------------- evaluations of patches


def evaluate(market: Market, folder: Path, key: SigningKey, fixed: int) -> None:
    """Offer an evaluation: of 100 failures so many were fixed."""
    payload = peek_payload((folder / ENVELOPE_NAME).read_bytes())
    digest = hashlib.sha256(payload).hexdigest()
    said = EvaluationStatement(
        patch_id=json.loads(payload)["predicate"]["patch"]["id"],
        patch_digest=digest,
        keyid=key.keyid,
        base_digest=BASE,
        suite_digest="a" * 64,
        n=100,
        before_ppm=0,
        after_ppm=fixed * 10_000,
        issued="2026-03-01T00:00:00Z",
        splits={"selection": "d" * 64},
        schema=COUNTED_SCHEMA,
        passed_before=0,
        passed_after=fixed,
        environment="e" * 64,
        judge="label",
        measures=(MeasuredRate("fix_rate", fixed, 100),),
    )
    market.transport.publish_evaluation(digest, sign_evaluation(said, key))


def evaluators(**settings: Any) -> TrustPolicy:
    known = [PublisherKey(key.public_hex, "evaluator", known=True) for key in (BOB, CAROL)]
    return standard_policy(**settings).enrol(*known)


def claimed(market: Market) -> Path:
    """Mallory claims that 90 of 100 failures are fixed."""
    return market.publish(key=MALLORY, claims=(ClaimedMetric("fix_rate", 0.9, 100),))


def test_a_disputed_patch_is_not_evaluated(market: Market) -> None:
    market.policy = evaluators(min_level="evaluated")
    folder = claimed(market)
    evaluate(market, folder, BOB, 40)
    assert market.code() == "level_too_low"
    evaluate(market, folder, CAROL, 95)
    assert market.code() == "accepted"  # one disputes, one bears it out: both saw it improve


def test_a_disputed_patch_is_refused_where_the_policy_asks(market: Market) -> None:
    market.policy = evaluators(refuse_disputed=True)
    folder = claimed(market)
    assert market.code() == "accepted"
    evaluate(market, folder, BOB, 40)
    assert market.code() == "disputed"
    market.policy = evaluators(refuse_disputed=True, trusted=frozenset({MALLORY.keyid}))
    assert market.code() == "disputed"
    market.policy = evaluators()
    assert market.code() == "accepted"


def test_strangers_cannot_dispute_a_patch_off_the_market(market: Market) -> None:
    market.policy = evaluators(refuse_disputed=True)
    folder = claimed(market)
    for key in (EVE, THIEF, NEW):
        evaluate(market, folder, key, 1)
    assert market.code() == "accepted"


def test_a_publisher_cannot_praise_himself_through_his_successor(market: Market) -> None:
    market.policy = rotated(evaluators(min_level="evaluated"))
    folder = market.publish()
    evaluate(market, folder, NEW, 90)
    assert market.code() == "level_too_low"
    evaluate(market, folder, BOB, 90)
    assert market.code() == "accepted"


def test_a_rotated_evaluator_has_one_vote(market: Market) -> None:
    market.policy = rotated(evaluators(min_level="evaluated", min_evaluators=2), BOB, THIEF)
    folder = market.publish()
    evaluate(market, folder, BOB, 90)
    evaluate(market, folder, THIEF, 90)
    assert market.code() == "level_too_low"
    evaluate(market, folder, CAROL, 90)
    assert market.code() == "accepted"


# ---------------------------------------------------------------------------------------------------- explaining


def explained(market: Market, ref: str = "alice/travel", **wanted: Any) -> Any:
    folder = market.folder(ref)
    state = load_seen(market.store / "seen") if (market.store / "seen").is_dir() else TrustedState()
    evaluations: list[bytes] = []
    if (folder / ENVELOPE_NAME).is_file():
        digest = hashlib.sha256(peek_payload((folder / ENVELOPE_NAME).read_bytes())).hexdigest()
        evaluations = market.transport.read_evaluations(digest)
    return explain_folder(
        folder, market.policy, state, now=market.now, expect_ref=ref, evaluations=evaluations, **wanted
    )


def unsigned(market: Market) -> None:
    (market.publish() / ENVELOPE_NAME).unlink()


def pickled(market: Market) -> None:
    unsigned(market)
    (market.folder("alice/travel") / "model.bin").write_bytes(b"x")


def tampered(market: Market) -> None:
    path = market.publish() / DELTAS_NAME
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def by_a_stranger(market: Market) -> None:
    market.publish(key=EVE)


def many_faults(market: Market) -> None:
    market.publish(key=MALLORY, licence="CC-BY-NC-4.0", expires="2026-05-01T00:00:00Z")
    market.policy = standard_policy(
        licences=frozenset({"MIT"}), min_level="trusted", max_rank=1, min_signatures=2, max_age_days=1
    ).revoke(MALLORY.keyid)


def disputed(market: Market) -> None:
    market.policy = evaluators(refuse_disputed=True)
    evaluate(market, claimed(market), BOB, 40)


def rolled_back(market: Market) -> None:
    market.publish(version=2)
    assert market.code("alice/travel@2") == "accepted"
    market.publish(version=1)


def signed_for_another(market: Market) -> None:
    folder = market.publish()
    resign(folder, key=MALLORY, edit=lambda s: s["predicate"]["publisher"].update(keyid=EVE.keyid))


def broken_schema(market: Market) -> None:
    resign(market.publish(), edit=lambda s: s["predicate"].update(schema=9))


def honest(market: Market) -> None:
    market.publish()


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (honest, "accepted"),
        (unsigned, "unsigned"),
        (pickled, "forbidden_file"),
        (tampered, "digest_mismatch"),
        (by_a_stranger, "unknown_key"),
        (many_faults, "expired"),
        (disputed, "disputed"),
        (signed_for_another, "bad_signature"),
        (broken_schema, "bad_manifest"),
    ],
)
def test_the_first_ruling_is_the_refusal_of_the_client(
    market: Market, attack: Callable[[Market], None], code: str
) -> None:
    attack(market)
    told = explained(market)
    assert (told.code or "accepted") == code == market.code()
    assert all(ruling.code in ("", *TRUST_CODES) for ruling in told.rulings)


def test_every_broken_rule_is_told_in_its_order(market: Market) -> None:
    many_faults(market)
    told = explained(market, base_digest="c" * 64, task_type="text_generation")
    assert [(ruling.rule, ruling.code) for ruling in told.rulings if ruling.refuses] == [
        ("base", "wrong_base"),
        ("task", "wrong_task"),
        ("expiry", "expired"),
        ("age", "expired"),
        ("revocation", "revoked_key"),
        ("threshold", "threshold"),
        ("level", "level_too_low"),
        ("licence", "licence"),
        ("sizes", "too_large"),
    ]
    assert [ruling.rule for ruling in told.rulings] == [
        "signature",
        "schema",
        *(rule.name for rule in RULES),
        "files",
    ]
    assert told.rulings[-1].judged is False
    assert told.level == "unverified"


def test_without_a_signature_the_publisher_is_not_judged(market: Market) -> None:
    market.publish(key=EVE, expires="2026-05-01T00:00:00Z")
    told = explained(market)
    assert [ruling.rule for ruling in told.rulings if ruling.refuses] == ["signature", "expiry"]
    assert [ruling.rule for ruling in told.rulings if not ruling.judged] == [
        "signer", "namespace", "name", "look-alike", "revocation", "threshold", "dispute", "level", "files",
    ]  # fmt: skip
    assert told.manifest is not None
    assert told.level == "unverified"


def test_a_rollback_is_explained_with_the_memory_of_the_client(market: Market) -> None:
    rolled_back(market)
    assert explained(market, "alice/travel@1").code == market.code("alice/travel@1") == "rollback"


def test_files_are_judged_although_the_manifest_is_refused(market: Market) -> None:
    tampered(market)
    market.now = "2027-06-01T00:00:00Z"
    refusals = [(ruling.rule, ruling.code) for ruling in explained(market).rulings if ruling.refuses]
    assert refusals == [("expiry", "expired"), ("files", "digest_mismatch")]


def test_a_foreign_namespace_does_not_taint_the_files(market: Market) -> None:
    market.policy = standard_policy().enrol(PublisherKey(ALICE.public_hex, "alice", namespaces=("alice",)))
    market.publish(key=MALLORY)
    refusals = [(ruling.rule, ruling.code) for ruling in explained(market).rulings if ruling.refuses]
    assert refusals == [("namespace", "name_taken")]
