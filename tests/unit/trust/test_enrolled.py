"""Whose keys an installation accepts: its own, those enrolled, and what it accepted and revoked since."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.codec import write_json
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, DataError, NotFoundError, TrustError
from symbio_lab.trust.enrolled import (
    OWN_KEY_NAME,
    POLICY_FILE_NAME,
    EnrolledKey,
    accept,
    enrol,
    enrolled_keys,
    enrolled_policy,
    find_enrolled,
    own_key,
    revoke_here,
    with_enrolled,
)
from symbio_lab.trust.key_ring import KeyRing
from symbio_lab.trust.keys import SigningKey, load_or_create_key
from symbio_lab.trust.policy import PublisherKey, TrustPolicy
from symbio_lab.trust.succession import Succession, sign_revocation, sign_succession
from tests.attacks.market_simulator import ALICE, EVE, MALLORY, attempt

ISSUED = "2026-01-31T12:00:00Z"
NEW = SigningKey.from_seed(bytes([11]) * 32)
NEWER = SigningKey.from_seed(bytes([12]) * 32)


@pytest.fixture
def lab(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home")


def enrol_alice(lab: Settings, **rights: bool) -> None:
    enrol(lab, EnrolledKey(PublisherKey(ALICE.public_hex, "Alice", known=True, namespaces=("alice",)), **rights))


def succession(old: SigningKey = ALICE, new: SigningKey = NEW) -> bytes:
    return sign_succession(old, new, issued=ISSUED)


def revocation(key: SigningKey = ALICE, by: SigningKey = ALICE) -> bytes:
    return sign_revocation(key.keyid, by, reason="stolen", issued=ISSUED)


def test_an_empty_installation_accepts_nobody(lab: Settings) -> None:
    assert enrolled_policy(lab) == TrustPolicy()
    assert own_key(lab) == enrolled_keys(lab) == []
    assert not lab.home.exists()


def test_files_of_the_first_release_are_read_as_ever(lab: Settings) -> None:
    write_json(
        lab.keys / "enrolled" / f"{ALICE.keyid[:16]}.json",
        {"schema": 1, "public_hex": ALICE.public_hex, "name": "Alice", "known": True},
    )
    own = load_or_create_key(lab.keys / "own.json")
    assert enrolled_keys(lab) == [PublisherKey(ALICE.public_hex, "Alice", known=True)]
    assert own_key(lab) == [PublisherKey(own.public_hex, OWN_KEY_NAME, known=True)]
    assert enrolled_policy(lab) == TrustPolicy().enrol(*own_key(lab), *enrolled_keys(lab))


def test_rights_come_back(lab: Settings) -> None:
    enrol_alice(lab, trusted=True)
    policy = enrolled_policy(lab)
    assert policy.keys == {ALICE.keyid: PublisherKey(ALICE.public_hex, "Alice", known=True, namespaces=("alice",))}
    assert policy.trusted == {ALICE.keyid}


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"public_hex": 5},
        {"public_hex": "x", "namespaces": "a"},
        {"public_hex": "x", "namespaces": [1]},
        {"public_hex": "x", "succeeds": 1},
    ],
)
def test_damaged_enrolments_are_named(lab: Settings, value: object) -> None:
    write_json(lab.keys / "enrolled" / "x.json", value)
    with pytest.raises(DataError, match=r"x\.json"):
        enrolled_policy(lab)


def test_all_own_keys_count_but_only_the_publishing_one_evaluates(lab: Settings) -> None:
    ring = KeyRing(lab.keys)
    ring.create("own", "none")
    other = ring.create("second", "none")
    done = ring.rotate("own", issued=ISSUED, old=lambda: "", new=lambda: "")
    accept(lab, done.statement.read_bytes())
    policy = enrolled_policy(lab)
    assert set(policy.keys) == {done.old.keyid, done.new.keyid, other.keyid}
    assert set(policy.evaluators) == {done.new.keyid}
    assert policy.successors == {done.old.keyid: done.new.keyid}


def test_a_rotation_counts_from_its_acceptance_on(lab: Settings) -> None:
    enrol_alice(lab)
    told = accept(lab, succession())
    assert isinstance(told, Succession)
    policy = enrolled_policy(lab)
    assert policy.keys[NEW.keyid].known
    assert policy.keys[NEW.keyid].namespaces == ("alice",)
    assert accept(lab, succession()) == told  # again: nothing changes
    assert len(list((lab.keys / "accepted").iterdir())) == 1


def test_rotation_then_revocation_keeps_the_successor(lab: Settings) -> None:
    enrol_alice(lab)
    for statement in (succession(), revocation(by=NEW), succession(NEW, NEWER)):
        accept(lab, statement)
    policy = enrolled_policy(lab)
    assert policy.revoked == {ALICE.keyid}
    assert set(policy.evaluators) == {NEWER.keyid}
    assert policy.descends(ALICE.keyid, NEWER.keyid)


def test_a_rotation_that_comes_after_the_revocation_is_refused(lab: Settings) -> None:
    enrol_alice(lab)
    accept(lab, revocation())
    assert attempt(lambda: accept(lab, succession()))[1] == "revoked_key"
    assert len(list((lab.keys / "accepted").iterdir())) == 1


def test_what_has_no_right_is_not_kept(lab: Settings) -> None:
    enrol_alice(lab)
    for statement, code in (
        (succession(EVE, NEW), "unknown_key"),
        (revocation(by=EVE), "unknown_key"),
        (b"{}", "bad_envelope"),
    ):
        assert attempt(lambda statement=statement: accept(lab, statement))[1] == code  # type: ignore[misc]
    assert not (lab.keys / "accepted").exists()


def test_an_own_key_may_revoke_what_this_installation_enrolled(lab: Settings) -> None:
    enrol_alice(lab)
    own = load_or_create_key(lab.keys / "own.json")
    accept(lab, revocation(by=own))
    assert enrolled_policy(lab).revoked == {ALICE.keyid}


def test_a_revocation_outlives_the_rights_of_whoever_signed_it(lab: Settings) -> None:
    enrol_alice(lab)
    enrol(lab, EnrolledKey(PublisherKey(MALLORY.public_hex, "boss"), trusted=True))
    accept(lab, revocation(by=MALLORY))
    (lab.keys / "enrolled" / f"{MALLORY.keyid[:16]}.json").unlink()
    assert enrolled_policy(lab).revoked == {ALICE.keyid}


def test_a_successor_loses_its_rights_with_the_enrolment_of_the_old_key(
    lab: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    enrol_alice(lab)
    accept(lab, succession())
    (lab.keys / "enrolled" / f"{ALICE.keyid[:16]}.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert enrolled_policy(lab).keys == {}
    assert "unknown_key" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"{", b"x" * 100_000])
def test_a_damaged_statement_stops_everything(lab: Settings, damage: bytes) -> None:
    enrol_alice(lab)
    accept(lab, revocation())
    (path,) = (lab.keys / "accepted").iterdir()
    path.write_bytes(damage)
    with pytest.raises(DataError, match=path.name):
        enrolled_policy(lab)


def test_a_local_revocation_needs_no_signature_and_no_enrolment(lab: Settings) -> None:
    revoke_here(lab, EVE.keyid, reason="heard of it", now=ISSUED)
    assert enrolled_policy(lab).revoked == {EVE.keyid}
    write_json(lab.keys / "revoked" / "x.json", {"keyid": 5})
    with pytest.raises(DataError):
        enrolled_policy(lab)


def test_a_lost_key_is_succeeded_by_decision(lab: Settings) -> None:
    enrol_alice(lab)
    revoke_here(lab, ALICE.keyid, reason="lost", now=ISSUED)
    enrol(lab, EnrolledKey(PublisherKey(NEW.public_hex, "Alice, again"), succeeds=ALICE.keyid))
    policy = enrolled_policy(lab)
    assert policy.descends(ALICE.keyid, NEW.keyid)
    assert policy.keys[NEW.keyid] == PublisherKey(NEW.public_hex, "Alice, again", known=True, namespaces=("alice",))


# --------------------------------------------------------------------------------------------------- policy file


def policy_file(lab: Settings, text: str) -> None:
    lab.home.mkdir(parents=True, exist_ok=True)
    (lab.home / POLICY_FILE_NAME).write_text("version: 1\n" + text)


def test_the_policy_file_of_the_installation_is_honoured(lab: Settings) -> None:
    policy_file(lab, "default: {min_level: evaluated}\ntenants: {acme: {max_rank: 4}}\n")
    assert enrolled_policy(lab).min_level == "evaluated"
    assert enrolled_policy(lab, "acme").max_rank == 4
    policy_file(lab, "default: {min_level: high}\n")
    with pytest.raises(ConfigError, match=r"default\.min_level"):
        enrolled_policy(lab)


def test_the_policy_file_has_the_last_word_about_a_key(lab: Settings) -> None:
    enrol_alice(lab, trusted=True)
    enrol(lab, EnrolledKey(PublisherKey(MALLORY.public_hex, "Mallory"), trusted=True))
    policy_file(lab, f"default: {{publishers: [{{name: A, key: {ALICE.public_hex}}}]}}\n")
    policy = enrolled_policy(lab)
    assert policy.keys[ALICE.keyid] == PublisherKey(ALICE.public_hex, "A")
    assert policy.keys[MALLORY.keyid].name == "Mallory"
    assert policy.trusted == {MALLORY.keyid}
    accept(lab, succession())
    assert not enrolled_policy(lab).keys[NEW.keyid].known


def test_a_rotation_survives_that_the_file_revokes_the_old_key_later(lab: Settings) -> None:
    enrol_alice(lab)
    accept(lab, succession())
    policy_file(lab, f"default: {{revoked: [{ALICE.keyid}]}}\n")
    policy = enrolled_policy(lab)
    assert policy.descends(ALICE.keyid, NEW.keyid)
    assert set(policy.evaluators) == {NEW.keyid}


def test_other_policies_are_widened_the_same_way(lab: Settings) -> None:
    enrol_alice(lab)
    accept(lab, revocation())
    base = TrustPolicy(max_rank=3).enrol(PublisherKey(EVE.public_hex, "eve"))
    policy = with_enrolled(base, lab)
    assert (policy.max_rank, set(policy.keys), policy.revoked) == (3, {EVE.keyid, ALICE.keyid}, {ALICE.keyid})


def test_finding_a_key(lab: Settings) -> None:
    enrol_alice(lab)
    for who in (ALICE.keyid, ALICE.keyid[:8], ALICE.public_hex, "Alice"):
        assert find_enrolled(lab, who) == ALICE.keyid
    for who in ("Bob", ALICE.keyid[:7], ""):
        with pytest.raises(NotFoundError):
            find_enrolled(lab, who)
    enrol(lab, EnrolledKey(PublisherKey(EVE.public_hex, "Alice")))
    with pytest.raises(DataError, match="2 keys"):
        find_enrolled(lab, "Alice")


KEYS = [ALICE, MALLORY, NEW, NEWER]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS), st.sampled_from(KEYS)), max_size=6, unique=True))
def test_what_was_accepted_is_what_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[bool, SigningKey, SigningKey]]
) -> None:
    lab = Settings(tmp_path_factory.mktemp("home"))
    enrol_alice(lab)
    enrol(lab, EnrolledKey(PublisherKey(MALLORY.public_hex, "m"), trusted=True))
    for is_succession, one, other in said:
        if is_succession and one == other:
            continue
        before = enrolled_policy(lab)
        try:
            accept(lab, succession(one, other) if is_succession else revocation(one, other))
        except TrustError:
            assert enrolled_policy(lab) == before
            continue
        after = enrolled_policy(lab)
        assert before.revoked <= after.revoked
        assert before.successors.items() <= after.successors.items()
        if is_succession:
            assert after.successors[one.keyid] == other.keyid
            assert not {one.keyid, other.keyid} & before.revoked
        else:
            assert one.keyid in after.revoked
