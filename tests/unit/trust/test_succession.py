"""Statements about keys: who may say what, and what a policy is after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.records import canonical_json
from symbio_lab.trust.envelope import peek_payload, sign_envelope
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, level_of, policy_for
from symbio_lab.trust.succession import (
    MAX_STATEMENT_BYTES,
    REVOCATION_TYPE,
    SUCCESSION_TYPE,
    Revocation,
    Succession,
    accept_statement,
    read_key_statement,
    sign_revocation,
    sign_succession,
)
from tests.attacks.market_simulator import ALICE, EVE, MALLORY, attempt

ISSUED = "2026-01-31T12:00:00Z"
NEW = SigningKey.from_seed(bytes([11]) * 32)
NEWER = SigningKey.from_seed(bytes([12]) * 32)
BOSS = SigningKey.from_seed(bytes([13]) * 32)
KEYS = [ALICE, MALLORY, NEW, NEWER, BOSS]


def policy(**settings: Any) -> TrustPolicy:
    return policy_for(
        [
            PublisherKey(ALICE.public_hex, "alice", known=True, namespaces=("alice",)),
            PublisherKey(MALLORY.public_hex, "mallory"),
            PublisherKey(BOSS.public_hex, "boss"),
        ],
        trusted=frozenset({BOSS.keyid}),
        **settings,
    )


def succession(old: SigningKey = ALICE, new: SigningKey = NEW) -> bytes:
    return sign_succession(old, new, issued=ISSUED)


def revocation(key: SigningKey = ALICE, by: SigningKey = ALICE) -> bytes:
    return sign_revocation(key.keyid, by, reason="stolen", issued=ISSUED)


def code(data: bytes, rules: TrustPolicy | None = None, **named: Any) -> str:
    return attempt(lambda: accept_statement(data, rules or policy(), **named))[1]


def resigned(data: bytes, edit: Callable[[dict[str, Any]], Any], *keys: SigningKey) -> bytes:
    value = json.loads(peek_payload(data))
    edit(value)
    return sign_envelope(canonical_json(value), *keys)


# ---------------------------------------------------------------------------------------------------- successions


def test_both_kinds_read_back() -> None:
    assert read_key_statement(succession()) == Succession(ALICE.public_hex, NEW.public_hex, ISSUED)
    assert read_key_statement(revocation()) == Revocation(ALICE.keyid, ALICE.public_hex, "stolen", ISSUED)
    assert json.loads(peek_payload(succession()))["predicateType"] == SUCCESSION_TYPE
    assert json.loads(peek_payload(revocation()))["predicateType"] == REVOCATION_TYPE
    assert succession() == succession()


def test_the_successor_has_the_rights_of_the_old_key() -> None:
    after = accept_statement(succession(), policy())
    assert after.keys[NEW.keyid] == PublisherKey(NEW.public_hex, "alice", known=True, namespaces=("alice",))
    assert level_of(NEW.keyid, after) == level_of(ALICE.keyid, after) == "known_publisher"
    assert after.successors == {ALICE.keyid: NEW.keyid}
    assert NEW.keyid not in after.trusted
    assert accept_statement(succession(), after) == after
    boss = accept_statement(succession(BOSS, NEW), policy())
    assert level_of(NEW.keyid, boss) == "trusted"


def test_a_successor_that_was_enrolled_keeps_what_it_had() -> None:
    before = policy().enrol(PublisherKey(NEW.public_hex, "alice, second laptop", namespaces=("tests",)))
    after = accept_statement(succession(), before)
    assert after.keys[NEW.keyid] == PublisherKey(
        NEW.public_hex, "alice, second laptop", known=True, namespaces=("alice", "tests")
    )


def test_only_the_last_key_of_a_holder_evaluates() -> None:
    after = accept_statement(succession(), policy())
    assert ALICE.keyid in policy().evaluators
    assert set(after.evaluators) == {NEW.keyid}
    assert NEW.keyid not in after.evaluators_of(ALICE.keyid)
    assert NEW.keyid in after.evaluators_of(MALLORY.keyid)


def test_a_chain_is_one_holder() -> None:
    after = accept_statement(succession(NEW, NEWER), accept_statement(succession(), policy()))
    assert after.descends(ALICE.keyid, NEWER.keyid)
    assert not after.descends(NEWER.keyid, ALICE.keyid)
    assert after.same_holder(ALICE.keyid, NEW.keyid)
    assert after.predecessors_of(NEWER.keyid) == {ALICE.keyid, NEW.keyid}
    assert after.predecessors_of(ALICE.keyid) == frozenset()
    assert after.num_holders([ALICE.keyid, NEW.keyid, NEWER.keyid, MALLORY.keyid, EVE.keyid]) == 2


def test_who_may_not_be_succeeded() -> None:
    assert code(succession(EVE, NEW)) == "unknown_key"
    assert code(succession(), policy().revoke(ALICE.keyid)) == "revoked_key"
    assert code(succession(), policy().revoke(NEW.keyid)) == "revoked_key"
    assert code(succession(ALICE, NEWER), accept_statement(succession(), policy())) == "name_taken"


def test_no_circle() -> None:
    after = accept_statement(succession(NEW, NEWER), accept_statement(succession(), policy()))
    assert code(succession(NEWER, ALICE), after) == "bad_manifest"
    with pytest.raises(TrustError, match="two different keys"):
        succession(ALICE, ALICE)
    circle = TrustPolicy(successors={ALICE.keyid: NEW.keyid, NEW.keyid: ALICE.keyid})
    assert not circle.descends(ALICE.keyid, MALLORY.keyid)
    assert not circle.same_holder(ALICE.keyid, MALLORY.keyid)


def test_both_keys_must_have_signed() -> None:
    value = json.loads(succession())
    both = value["signatures"]
    for kept in ([both[0]], [both[1]], [both[0], both[0]], [{**both[0], "keyid": NEW.keyid}, both[0]]):
        assert code(json.dumps({**value, "signatures": kept}).encode()) == "bad_signature"
    assert code(json.dumps({**value, "signatures": []}).encode()) == "unsigned"
    assert code(resigned(succession(), lambda v: None, EVE)) == "unknown_key"


# ---------------------------------------------------------------------------------------------------- revocations


def test_a_key_its_successor_and_a_trusted_key_may_revoke() -> None:
    with_heir = accept_statement(succession(), policy())
    for data, rules in (
        (revocation(), policy()),
        (revocation(by=NEW), with_heir),
        (revocation(by=BOSS), policy()),
        (revocation(EVE, EVE), policy()),  # so that enrolling it later does not help
    ):
        statement = read_key_statement(data)
        assert isinstance(statement, Revocation)
        after = accept_statement(data, rules)
        assert after.revoked == {statement.keyid}
        assert after.successors == rules.successors
    assert level_of(ALICE.keyid, accept_statement(revocation(), policy())) == "unverified"


def test_who_may_not_revoke() -> None:
    assert code(revocation(by=MALLORY)) == "unknown_key"
    assert code(revocation(by=EVE)) == "unknown_key"
    assert code(revocation(by=NEW)) == "unknown_key"  # nobody accepted that it is the successor
    assert code(revocation(NEW, ALICE), accept_statement(succession(), policy())) == "unknown_key"
    assert code(revocation(by=BOSS), policy().revoke(BOSS.keyid)) == "revoked_key"
    assert code(revocation(by=MALLORY), authorities={MALLORY.keyid}) == ""


def test_a_revoked_key_may_still_revoke_itself() -> None:
    assert code(revocation(), policy().revoke(ALICE.keyid)) == ""


def test_names_stay_with_the_successor_after_the_revocation() -> None:
    after = accept_statement(revocation(by=NEW), accept_statement(succession(), policy()))
    assert level_of(NEW.keyid, after) == "known_publisher"
    assert after.descends(ALICE.keyid, NEW.keyid)


# ---------------------------------------------------------------------------------------------------- the schema


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda v: v["predicate"].update(schema=2), "bad_manifest"),
        (lambda v: v["predicate"].update(more=1), "bad_manifest"),
        (lambda v: v["predicate"].pop("issued"), "bad_manifest"),
        (lambda v: v["predicate"].update(issued="yesterday"), "bad_manifest"),
        (lambda v: v["predicate"]["new"].update(public="00" * 32), "bad_key"),
        (lambda v: v["predicate"]["new"].update(public=5), "bad_manifest"),
        (lambda v: v["predicate"]["new"].update(public=EVE.public_hex), "bad_manifest"),
        (lambda v: v["subject"].pop(), "bad_manifest"),
        (lambda v: v["subject"].append({"name": "third", "digest": {"sha256": "0" * 64}}), "bad_manifest"),
        (lambda v: v["subject"][0].update(name="other"), "bad_manifest"),
        (lambda v: v.update(predicateType=REVOCATION_TYPE), "bad_manifest"),
        (lambda v: v.update(predicateType="https://example.com/x"), "bad_manifest"),
    ],
)
def test_successions_that_break_the_schema(edit: Callable[[dict[str, Any]], Any], expected: str) -> None:
    assert code(resigned(succession(), edit, ALICE, NEW)) == expected


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda v: v["predicate"].update(schema=True), "bad_manifest"),
        (lambda v: v["predicate"].update(reason="x" * 1001), "bad_manifest"),
        (lambda v: v["predicate"].update(reason="\u202egnp.exe"), "bad_manifest"),
        (lambda v: v["predicate"]["by"].update(public=MALLORY.public_hex), "unknown_key"),
        (lambda v: v["subject"][0].update(name="keys"), "bad_manifest"),
        (lambda v: v["subject"][0]["digest"].update(sha256="0" * 63), "bad_manifest"),
    ],
)
def test_revocations_that_break_the_schema(edit: Callable[[dict[str, Any]], Any], expected: str) -> None:
    assert code(resigned(revocation(), edit, ALICE)) == expected


def test_other_bytes_are_refused() -> None:
    assert code(b"") == "bad_envelope"
    assert code(b" " * (MAX_STATEMENT_BYTES + 1)) == "bad_envelope"
    assert code(sign_envelope(b"[]", ALICE)) == "bad_manifest"
    assert code(sign_envelope(peek_payload(revocation()) + b" ", ALICE)) == "bad_manifest"
    assert code(sign_envelope(peek_payload(revocation()).replace(b"{", b'{"_type":"x",', 1), ALICE)) == "duplicate_key"


def test_signing_checks_what_it_signs() -> None:
    for call in (
        lambda: sign_succession(ALICE, NEW, issued="now"),
        lambda: sign_revocation("short", ALICE, reason="x", issued=ISSUED),
        lambda: sign_revocation(ALICE.keyid, ALICE, reason="x" * 1001, issued=ISSUED),
        lambda: sign_revocation(ALICE.keyid, ALICE, reason="\ud800", issued=ISSUED),
    ):
        assert attempt(call)[1] == "bad_manifest"


# ---------------------------------------------------------------------------------------------------- properties

PAIRS = st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)).filter(lambda pair: pair[0] != pair[1])
STATEMENTS = st.one_of(
    PAIRS.map(lambda pair: succession(*pair)),
    st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)).map(lambda pair: revocation(*pair)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STATEMENTS, max_size=8))
def test_whatever_is_accepted_no_right_comes_from_nowhere(statements: list[bytes]) -> None:
    before = rules = policy()
    for data in statements:
        last = rules
        after, refusal = attempt(lambda data=data, last=last: accept_statement(data, last))  # type: ignore[misc]
        rules = last if after is None else after
        assert refusal == "" or rules == last
        statement = read_key_statement(data)
        said = {statement.keyid} if isinstance(statement, Revocation) else set()
        assert last.revoked <= rules.revoked <= last.revoked | said
        assert last.successors.items() <= rules.successors.items()
    for keyid in rules.keys:
        ancestors = [old for old in before.keys if rules.descends(old, keyid)]
        assert ancestors
        assert not rules.keys[keyid].known or any(before.keys[old].known for old in ancestors)
        assert keyid not in rules.trusted or any(old in before.trusted for old in ancestors)
    # Who may publish in alice's namespace follows alice.
    for keyid, key in rules.keys.items():
        assert "alice" not in key.namespaces or rules.descends(ALICE.keyid, keyid)
    assert all(not rules.descends(new, old) for old, new in rules.successors.items())
