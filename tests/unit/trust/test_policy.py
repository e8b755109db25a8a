"""Policies: levels, holders of keys, and what a licence asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.trust.evaluation_statement import EvaluationTally
from symbio_lab.trust.policy import LEVELS, Level, PublisherKey, TrustPolicy, is_disputed, level_of, reaches
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


def test_a_disputed_patch_is_not_evaluated_however_many_saw_it_improve() -> None:
    policy = standard_policy(trusted=frozenset({ALICE.keyid}))
    disputed = EvaluationTally(num_improving=9, num_disputing=2, num_confirming=1)
    assert is_disputed(disputed)
    assert level_of(MALLORY.keyid, policy, disputed) == "signed"
    assert level_of(ALICE.keyid, policy, disputed) == "trusted"
    level = EvaluationTally(num_improving=9, num_disputing=2, num_confirming=2)
    assert level_of(MALLORY.keyid, policy, level) == "evaluated"


def test_what_a_licence_asks_for_is_never_less_than_the_policy_asks() -> None:
    policy = TrustPolicy(min_level="known_publisher", licence_levels={"MIT": "signed", "GPL-3.0-only": "trusted"})
    assert [policy.level_asked(licence) for licence in ("MIT", "GPL-3.0-only", "other")] == [
        "known_publisher",
        "trusted",
        "known_publisher",
    ]


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        (TrustPolicy(), False),
        (TrustPolicy(min_level="evaluated"), True),
        (TrustPolicy(min_level="trusted"), True),
        (TrustPolicy(licence_levels={"MIT": "evaluated"}), True),
        (TrustPolicy(licence_levels={"MIT": "known_publisher"}), False),
        (TrustPolicy(refuse_disputed=True), True),
    ],
)
def test_when_evaluations_decide(policy: TrustPolicy, needed: bool) -> None:
    assert policy.needs_evaluations is needed


def test_one_key_under_two_ids_is_one_holder() -> None:
    twice = TrustPolicy(
        keys={"0" * 64: PublisherKey(ALICE.public_hex, "a"), ALICE.keyid: PublisherKey(ALICE.public_hex, "b")}
    )
    assert twice.num_holders(["0" * 64, ALICE.keyid, EVE.keyid]) == 1
    assert twice.revoke(ALICE.keyid).num_holders([ALICE.keyid]) == 0


COUNTS = st.integers(0, 4)


@given(
    st.sampled_from(LEVELS),
    st.sampled_from(LEVELS),
    st.builds(EvaluationTally, num_improving=COUNTS, num_worsening=COUNTS, num_disputing=COUNTS, num_confirming=COUNTS),
    st.booleans(),
)
def test_no_evaluation_lifts_a_stranger_and_no_licence_lowers_the_level(
    least: Level, of_licence: Level, tally: EvaluationTally, revoked: bool
) -> None:
    policy = standard_policy(min_level=least, licence_levels={"MIT": of_licence})
    if revoked:
        policy = policy.revoke(MALLORY.keyid)
    assert level_of(EVE.keyid, policy, tally) == "unverified"
    assert level_of(MALLORY.keyid, policy, tally) in (("unverified",) if revoked else ("signed", "evaluated"))
    assert reaches(policy.level_asked("MIT"), least)
    assert reaches(policy.level_asked("MIT"), of_licence)
