"""Policies: levels, and all problems of a settings file at once."""

from __future__ import annotations

import pytest

from symbio_lab.errors import ConfigError, TrustError
from symbio_lab.trust.evaluation_statement import EvaluationTally
from symbio_lab.trust.policy import LEVELS, PublisherKey, TrustPolicy, level_of, policy_from_mapping, reaches
from tests.attacks.market_simulator import ALICE, EVE, MALLORY, standard_policy


def test_levels_in_order() -> None:
    policy = standard_policy(trusted=frozenset({ALICE.keyid}))
    assert level_of(EVE.keyid, policy) == "unverified"
    assert level_of(MALLORY.keyid, policy) == "signed"
    assert level_of(ALICE.keyid, standard_policy()) == "known_publisher"
    assert level_of(MALLORY.keyid, policy, EvaluationTally(num_improving=1)) == "evaluated"
    assert level_of(ALICE.keyid, policy) == "trusted"
    assert level_of(ALICE.keyid, policy.revoke(ALICE.keyid)) == "unverified"


def test_evaluations_need_a_majority_and_a_number() -> None:
    policy = standard_policy(min_evaluators=2)
    assert level_of(MALLORY.keyid, policy, EvaluationTally(1, 0)) == "signed"
    assert level_of(MALLORY.keyid, policy, EvaluationTally(2, 2)) == "signed"
    assert level_of(MALLORY.keyid, policy, EvaluationTally(2, 1)) == "evaluated"


def test_self_reaches_nothing() -> None:
    assert [reaches("self", level) for level in LEVELS] == [True, False, False, False, False]
    assert [reaches("trusted", level) for level in LEVELS] == [True] * 5


def test_a_full_settings_file() -> None:
    policy = policy_from_mapping(
        {
            "keys": [{"public_hex": ALICE.public_hex, "name": "alice", "known": True, "namespaces": ["alice"]}],
            "revoked": [MALLORY.keyid],
            "trusted": [ALICE.keyid],
            "min_level": "evaluated",
            "min_evaluators": 2,
            "licences": ["MIT"],
            "max_rank": 8,
            "check_expiry": False,
        }
    )
    assert policy.keys[ALICE.keyid].namespaces == ("alice",)
    assert (policy.min_level, policy.max_rank, policy.check_expiry) == ("evaluated", 8, False)
    assert policy_from_mapping({}) == TrustPolicy()


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        policy_from_mapping(
            {
                "keys": [{"public_hex": "00" * 32, "name": "x"}, {"name": 3, "known": "yes"}, "alice"],
                "revoked": ["short"],
                "trusted": [EVE.keyid],
                "licences": "MIT",
                "min_level": "high",
                "max_rank": True,
                "max_file_bytes": -1,
                "check_expiry": 1,
                "colour": "blue",
            }
        )
    found = " ".join(refused.value.problems)
    for part in (
        "keys[0].public_hex", "keys[1].name", "keys[1].known", "keys[1].public_hex", "keys[2]", "revoked",
        "trusted", "licences", "min_level", "max_rank", "max_file_bytes", "check_expiry", "colour",
    ):  # fmt: skip
        assert part in found, part


def test_a_key_under_another_keyid_is_refused() -> None:
    with pytest.raises(TrustError) as refused:
        _ = TrustPolicy(keys={"0" * 64: PublisherKey(ALICE.public_hex, "alice")}).public_keys
    assert refused.value.code == "bad_key"


def test_enrolling_checks_the_point_and_changes_nothing_in_place() -> None:
    policy = standard_policy()
    wider = policy.enrol(PublisherKey(EVE.public_hex, "eve", known=True))
    assert EVE.keyid in wider.evaluators
    assert EVE.keyid not in policy.keys
    assert EVE.keyid not in wider.revoke(EVE.keyid).evaluators
    with pytest.raises(TrustError):
        policy.enrol(PublisherKey("00" * 32, "nobody"))
