"""The id of the rules under which a run's market was judged: committed results are found by it."""

from __future__ import annotations

from typing import Any

import pytest

from symbio_lab.comparison.market import _rules_id
from symbio_lab.trust.policy import PublisherKey, RegistryRequirement, TrustPolicy, policy_for

KEY = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
POLICY = policy_for([PublisherKey(KEY, "alice", known=True)], min_level="known_publisher")


def test_the_id_of_a_policy_without_newer_rules_is_the_one_that_it_always_had() -> None:
    assert _rules_id(POLICY) == PINNED
    renamed = policy_for([PublisherKey(KEY, "another name", known=True)], min_level="known_publisher")
    assert _rules_id(renamed) == PINNED


@pytest.mark.parametrize(
    "changed",
    [
        {"min_signatures": 2},
        {"licence_levels": {"MIT": "trusted"}},
        {"max_age_days": 30},
        {"refuse_disputed": True},
        {"check_lookalikes": True},
        {"protected_names": ("alice",)},
        {"successors": {"a" * 64: "b" * 64}},
        {"require_registry": RegistryRequirement("https://registry.example.org", ("a" * 64,))},
        {"max_rank": 8},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_rule_counts(changed: dict[str, Any]) -> None:
    from dataclasses import replace

    assert _rules_id(replace(POLICY, **changed)) != _rules_id(POLICY)


def test_the_order_of_names_does_not_count() -> None:
    one, other = (TrustPolicy(protected_names=names) for names in (("a", "b"), ("b", "a")))
    assert _rules_id(one) == _rules_id(other)


PINNED = "37e254c03c843c0e84091ce9e718968b59f693105263166ec68884ca67e2c27b"
