"""What every healing strategy promises: no sight of the judge, no look too many at the gate, no cost over budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import ConfigError, DataError
from symbio_lab.evaluation.judging import JudgeSet
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.evaluation.suites import SuiteSizes, SuiteSources, build_suite
from symbio_lab.healing.catalogue import STRATEGY_NAMES, healing_strategy
from symbio_lab.healing.context import Proposal, ask_gate
from symbio_lab.pipeline import heal
from symbio_lab.records import Sample
from symbio_lab.surgery.catalogue import METHOD_NAMES, surgery_method
from symbio_lab.testing.strategies import STRATEGY_CHECKS, WORLDS, TinyWorld, Watched
from tests.fixtures_market import QUICK, healing_context, incident
from tests.fixtures_models import (
    TinyModels,
    generation_samples,
    known_samples,
    new_samples,
    odd_samples,
    query_modules,
    random_deltas,
    seal,
    strange_samples,
)

MARKET_STRATEGIES = ("random_k", "null_pool", "best_single", "marketplace_first")
SURGERY = ("prototype_rows", "head_retrain", "lora_replay", "lora", "surgery_only", "marketplace_first")


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest, tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    return TinyWorld(tiny, request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=STRATEGY_NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def everything_in(value: Any, seen: dict[int, Any]) -> dict[int, Any]:
    """Return every object that can be reached from ``value`` by fields, items and attributes."""
    if id(value) in seen or isinstance(value, str | bytes | int | float | type | None):
        return seen
    seen[id(value)] = value
    if is_dataclass(value):
        inner = [getattr(value, f.name) for f in fields(value)]
    elif isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    else:
        inner = list(getattr(value, "__dict__", {}).values())
    for item in inner:
        everything_in(item, seen)
    return seen


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=[c.__name__ for c in STRATEGY_CHECKS])
def test_the_contract_is_kept(world: TinyWorld, name: str, check: Any, tmp_path: Path) -> None:
    check(lambda: healing_strategy(name), world, tmp_path)


def test_the_watch_itself_can_fail() -> None:
    Watched.peeks.clear()
    sorted(Watched((2, 1)))
    assert Watched.peeks == ["iterated"]
    Watched.peeks.clear()


@pytest.mark.parametrize("budget", [0.0, 150.0, 900.0])
def test_the_budget_is_respected(world: TinyWorld, name: str, tmp_path: Path, budget: float) -> None:
    context = healing_context(world.model, world.task, tmp_path, world.market, budget=budget)
    healed = heal(
        world.model,
        world.task,
        store=tmp_path,
        strategy=name,
        market=world.market.client(tmp_path),
        budget=context.meter.budget,
        gate=context.gate,
        lora=QUICK,
        key=context.key,
        issued=context.issued,
        expires=context.expires,
    )
    assert healed.outcome.cost.total("forwards_equivalent") <= budget * (1 + 1e-9)
    assert healed.outcome.status in (
        *("healed", "rejected", "undecided", "no_patch_found", "no_op"),
        "budget_exceeded",
    )


# ------------------------------------------------------------------------------------------- without a market


@pytest.mark.parametrize("strategy", MARKET_STRATEGIES)
def test_without_a_market_it_says_so(world: TinyWorld, strategy: str, tmp_path: Path) -> None:
    proposal = healing_strategy(strategy).heal(healing_context(world.model, world.task, tmp_path))
    assert proposal.attempts[0].code == "no_market"
    assert (proposal.patch is None) == (strategy != "marketplace_first")


@pytest.mark.parametrize("strategy", MARKET_STRATEGIES)
def test_refusals_are_kept_with_their_codes(world: TinyWorld, strategy: str, tmp_path: Path) -> None:
    context = healing_context(world.model, world.task, tmp_path, world.market)
    proposal = healing_strategy(strategy).heal(context)
    codes = {a.ref: a.code for a in proposal.attempts if a.status == "refused"}
    assert codes["misfit/patch"] == "patch_does_not_fit"
    assert codes["otherbase/patch"] == "wrong_base"
    assert codes["stranger/patch"] == "unknown_key"
    assert codes["unsigned/patch"] == "unsigned"


def test_noop_changes_nothing(world: TinyWorld, tmp_path: Path) -> None:
    context = healing_context(world.model, world.task, tmp_path / "store", world.market)
    assert healing_strategy("noop").heal(context) == Proposal(None, "none", None, ())
    assert context.meter.spent() == 0
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("strategy", SURGERY)
def test_our_own_patches_claim_no_label_of_the_selection(tiny: TinyModels, strategy: str, tmp_path: Path) -> None:
    model, task = incident(tiny, "pooled", "new")
    secret = tuple(replace(s, expected="plum") for s in task.selection)
    task = replace(task, repair=tuple(s for s in task.repair if s.expected == "cyan"), selection=secret)
    proposal = healing_strategy(strategy).heal(healing_context(model, task, tmp_path))
    assert proposal.patch is not None
    assert proposal.patch.manifest.labels == ("cyan",)


# ------------------------------------------------------------------------------------------- no sight of the judge


SLICES: dict[str, Callable[[int, int], tuple[Sample, ...]]] = {
    "rows": new_samples,
    "hub": odd_samples,
    "text": strange_samples,
}
"""Tiny incident -> its failing samples, by number and seed."""


@pytest.fixture(scope="module")
def judged(world: TinyWorld) -> tuple[TinyWorld, RepairTask, JudgeSet]:
    """A whole suite of the incident: what the healer gets, and what it is judged on."""
    failing = SLICES[world.name]
    traffic = generation_samples if world.model.task_type == "text_generation" else known_samples
    sources = SuiteSources(
        slice_repair=failing(60, 1), slice_judge=failing(30, 2), replay=traffic(30, 3), control=traffic(130, 7)
    )
    suite = build_suite(
        world.model,
        sources,
        SuiteSizes(n_repair=24, n_control_selection=160),
        label_shift=world.shift,
        domain=failing(1, 1)[0].domain,
        description="Requests that are answered wrongly",
        seed=0,
    )
    return world, suite.task, suite.judge


def test_no_strategy_can_reach_what_it_is_judged_on(
    judged: tuple[TinyWorld, RepairTask, JudgeSet], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, task, judge = judged
    texts = {s.text for part in (judge.slice_holdout, judge.control_holdout) for s in part}
    ran: set[str] = set()
    encode = type(world.model).encode

    def recorded(self: Any, given: Any) -> Any:
        ran.update(given)
        return encode(self, given)

    monkeypatch.setattr(type(world.model), "encode", recorded)
    context = healing_context(world.model, task, tmp_path, world.market)
    healing_strategy(name).heal(context)
    reached = everything_in(context, {}).values()
    assert not [o for o in reached if isinstance(o, JudgeSet)]
    assert not {o.text for o in reached if isinstance(o, Sample)} & texts
    assert {o for o in reached if isinstance(o, Sample)} <= {
        *task.repair,
        *task.selection,
        *task.replay,
        *task.control_selection,
    }
    assert not ran & texts
    served = name not in METHOD_NAMES or any(
        world.model.task_type in m.task_types and world.shift in m.label_shifts for m in [surgery_method(name)]
    )
    assert bool(ran) == (served and name != "noop")


def test_the_search_for_judge_samples_can_fail() -> None:
    sample = Sample("red1", "red", group="g")
    assert id(sample) in everything_in({"a": [(JudgeSet((sample,), (), ()),)]}, {})


# ------------------------------------------------------------------------------------------- the gate itself


def test_more_looks_than_declared_are_refused(world: TinyWorld, tmp_path: Path) -> None:
    context = healing_context(world.model, world.task, tmp_path)
    patch = seal(world.model, tmp_path, random_deltas(world.model, query_modules(world.model)))
    for number in (1, 2):
        _, attempt = ask_gate(context, patch, "surgery", looks=2)
        assert attempt.detail == f"gate look {number} of 2"
    with pytest.raises(DataError, match="declared"):
        ask_gate(context, patch, "surgery", looks=2)


def test_every_strategy_is_named_and_told_apart() -> None:
    made = [healing_strategy(name) for name in STRATEGY_NAMES]
    assert [s.name for s in made] == list(STRATEGY_NAMES)
    assert {s.family for s in made} == {"control", "marketplace", "surgery", "hybrid"}
    assert all(s.reference for s in made)
    with pytest.raises(ConfigError, match="unknown strategy 'prayer'"):
        healing_strategy("prayer")
