"""What can be asked of own data, and what names a user's market."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.comparison.market import NO_MARKET, Market, market_at
from symbio_lab.comparison.own_data import (
    OwnComparison,
    OwnData,
    folder_names,
    market_note,
    market_or_none,
    overview,
    own_plan,
    own_problems,
)
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.testing.tiny_models import HEALER, NOW, PUBLISHER
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for

OWN = OwnData("d.csv")


def market(folder: Path, policy: TrustPolicy | None = None) -> Market:
    folder.mkdir(exist_ok=True)
    return market_at(str(folder), Settings(home=folder / "home"), now=NOW, policy=policy)


def problems(plan: ComparisonPlan, searched: Market = NO_MARKET, **more: Any) -> list[str]:
    return own_problems(own_plan(plan, searched), OWN, searched, more.get("task"))


def test_reference_arms_that_cannot_exist_are_left_out_and_said(tmp_path: Path) -> None:
    plan = ComparisonPlan("", strategies=("noop",))
    assert own_plan(plan, NO_MARKET).arms == ("noop",)
    assert own_plan(plan, market(tmp_path)).arms == ("noop", "oracle_best")
    assert "oracle_best and surgery_donor_data are left out" in market_note(NO_MARKET)
    assert "surgery_donor_data is left out" in market_note(market(tmp_path))


def test_reference_arms_that_were_asked_for_are_problems(tmp_path: Path) -> None:
    both = ComparisonPlan("", strategies=("noop", "oracle_best", "surgery_donor_data"))
    assert len(problems(both)) == 2
    (only,) = problems(both, market(tmp_path))
    assert only.startswith("surgery_donor_data")
    assert problems(ComparisonPlan("", strategies=("noop", "oracle_best")), market(tmp_path)) == []


def test_plan_data_and_task_are_checked_together() -> None:
    asked = own_plan(ComparisonPlan("", strategies=("nope",), n_repair=1), NO_MARKET)
    found = own_problems(asked, OwnData("d.csv", slice="x"), NO_MARKET, "translation")
    assert len(found) == 4


def test_the_key_of_a_market_names_its_state_and_its_rules(tmp_path: Path) -> None:
    one, two = (policy_for([PublisherKey(k.public_hex, "somebody")]) for k in (PUBLISHER, HEALER))
    renamed = policy_for([PublisherKey(PUBLISHER.public_hex, "somebody else")])
    known = policy_for([PublisherKey(PUBLISHER.public_hex, "somebody", known=True)])
    keys = [market(tmp_path, p).key for p in (None, one, two, known)]
    assert len(set(keys)) == 4
    assert market(tmp_path, renamed).key == market(tmp_path, one).key
    assert market(tmp_path, one).digest == market(tmp_path, two).digest
    # A pool's rules follow from the pool: finished cells of scenarios keep their names.
    assert Market("high", DirectoryTransport(tmp_path), digest="p" * 64).key == "p" * 64


def test_no_address_is_no_market() -> None:
    assert market_or_none("") is NO_MARKET
    assert market_or_none(None) is NO_MARKET
    with pytest.raises(ConfigError):
        market_or_none("ftp://somewhere/else")


def test_every_slice_has_a_folder_of_its_own(tmp_path: Path) -> None:
    names = ["requests of 'A b'", "requests of 'a-b'", "requests of '退货'", "requests of '换货'", "topic=c"]
    folders = folder_names(names)
    assert len({name.lower() for name in folders.values()}) == len(names)
    assert folders["topic=c"] == "topic-c"
    assert all(name.isascii() for name in folders.values())
    assert folder_names(names) == folders


def test_the_overview_names_the_folders(tmp_path: Path) -> None:
    from symbio_lab.comparison.compare import Comparison

    done = {"topic=c": Comparison(tmp_path / "topic-c", (), {"best_deployed": "lora"})}
    found = overview(OwnComparison(tmp_path, done, ("x: too small",), 0.9, 10, "none", ("a note",)))
    assert found["slices"] == {"topic=c": {"folder": "topic-c", "best_deployed": "lora"}}
    assert (found["left_out"], found["notes"]) == (["x: too small"], ["a note"])
