"""What every healing strategy promises: no sight of the judge, no look too many at the gate, no cost over budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from symbio_lab.errors import ConfigError, DataError
from symbio_lab.evaluation.judging import JudgeSet
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.evaluation.suites import SuiteSizes, SuiteSources, build_suite
from symbio_lab.events import Event, GateDecided, PhaseFinished, PhaseStarted
from symbio_lab.healing.catalogue import STRATEGY_NAMES, healing_strategy
from symbio_lab.healing.context import Proposal, ask_gate
from symbio_lab.pipeline import heal
from symbio_lab.records import Sample
from tests.fixtures_market import QUICK, TinyMarket, healing_context, incident, tiny_market
from tests.fixtures_models import (
    KNOWN,
    TinyModels,
    known_samples,
    new_samples,
    query_modules,
    random_deltas,
    samples_of,
    seal,
)

WORLDS = {"rows": ("pooled", "new"), "hub": ("bert", "known"), "text": ("llama", "known")}
MARKET_STRATEGIES = ("random_k", "null_pool", "best_single", "marketplace_first")
SURGERY = ("prototype_rows", "head_retrain", "lora_replay", "lora", "surgery_only", "marketplace_first")


class World:
    """A tiny model, a task that it fails on, and a market."""

    def __init__(self, tiny: TinyModels, name: str, folder: Path) -> None:
        self.member, self.shift = WORLDS[name]
        self.model, self.task = incident(tiny, self.member, self.shift)
        self.market = tiny_market(self.model, folder, self.shift)


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest, tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tiny, request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=STRATEGY_NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Watched(tuple):  # type: ignore[type-arg]
    """A split that notes every look inside while its door is closed."""

    __slots__ = ()
    opened: ClassVar[list[bool]] = [False]
    peeks: ClassVar[list[str]] = []

    def _note(self, how: str) -> None:
        if not self.opened[-1]:
            self.peeks.append(how)

    def __iter__(self) -> Iterator[Any]:
        self._note("iterated")
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        self._note("indexed")
        return super().__getitem__(index)

    def __contains__(self, item: object) -> bool:
        self._note("searched")
        return super().__contains__(item)


def watch(event: Event) -> None:
    """Open the gate's splits during the gate's phase only."""
    if isinstance(event, PhaseStarted) and event.phase == "gate":
        Watched.opened.append(True)
    if isinstance(event, PhaseFinished) and event.phase == "gate":
        Watched.opened.pop()


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


def test_a_proposal_comes_back_and_the_base_is_unchanged(world: World, name: str, tmp_path: Path) -> None:
    digest, given = world.model.weights_digest(), repr(world.task)
    context = healing_context(world.model, world.task, tmp_path, world.market)
    proposal = healing_strategy(name).heal(context)
    assert isinstance(proposal, Proposal)
    assert proposal.route in ("marketplace", "surgery", "control", "none")
    assert (proposal.patch is None) == (proposal.route == "none")
    assert proposal.verdict is None or proposal.patch is not None
    if proposal.patch is not None:
        assert proposal.patch.manifest.base_digest == world.model.digest
    assert world.model.weights_digest() == digest
    assert repr(world.task) == given


def test_same_seed_same_outcome(world: World, name: str, tmp_path: Path) -> None:
    found = []
    for run in range(2):
        context = healing_context(world.model, world.task, tmp_path / str(run), world.market, seed=3)
        proposal = healing_strategy(name).heal(context)
        attempts = [replace(a, metrics=dict(a.metrics)) for a in proposal.attempts]
        found.append((proposal.patch and proposal.patch.digest, proposal.verdict, attempts, context.meter.spent()))
    assert found[0] == found[1]


def test_the_gate_s_samples_are_read_by_the_gate_only(world: World, name: str, tmp_path: Path) -> None:
    Watched.peeks.clear()
    task = replace(
        world.task,
        selection=Watched(world.task.selection),
        control_selection=Watched(world.task.control_selection),
    )
    context = healing_context(world.model, task, tmp_path, world.market, listener=watch)
    healing_strategy(name).heal(context)
    assert Watched.peeks == []
    assert Watched.opened == [False]
    sorted(task.selection, key=repr)
    assert Watched.peeks == ["iterated"], "the watch itself can fail"


def test_looks_are_declared_and_kept(world: World, name: str, tmp_path: Path) -> None:
    events: list[Event] = []
    strategy = healing_strategy(name)
    context = healing_context(world.model, world.task, tmp_path, world.market, listener=events.append)
    proposal = strategy.heal(context)
    looks = [e for e in events if isinstance(e, GateDecided)]
    assert len(looks) == context.num_looks <= strategy.looks
    assert proposal.verdict is None or proposal.verdict.looks == strategy.looks


@pytest.mark.parametrize("budget", [0.0, 150.0, 900.0])
def test_the_budget_is_respected(world: World, name: str, tmp_path: Path, budget: float) -> None:
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


def test_labels_seen_are_counted(world: World, name: str, tmp_path: Path) -> None:
    context = healing_context(world.model, world.task, tmp_path, world.market)
    proposal = healing_strategy(name).heal(context)
    seen = context.labels_seen
    assert all(count == len(getattr(world.task, split)) for split, count in seen.items())
    assert ("selection" in seen) == (proposal.verdict is not None)
    if name == "noop":
        assert seen == {}


# ------------------------------------------------------------------------------------------- without a market


@pytest.mark.parametrize("strategy", MARKET_STRATEGIES)
def test_without_a_market_it_says_so(world: World, strategy: str, tmp_path: Path) -> None:
    proposal = healing_strategy(strategy).heal(healing_context(world.model, world.task, tmp_path))
    assert proposal.attempts[0].code == "no_market"
    assert (proposal.patch is None) == (strategy != "marketplace_first")


@pytest.mark.parametrize("strategy", MARKET_STRATEGIES)
def test_refusals_are_kept_with_their_codes(world: World, strategy: str, tmp_path: Path) -> None:
    context = healing_context(world.model, world.task, tmp_path, world.market)
    proposal = healing_strategy(strategy).heal(context)
    codes = {a.ref: a.code for a in proposal.attempts if a.status == "refused"}
    assert codes["misfit/patch"] == "patch_does_not_fit"
    assert codes["otherbase/patch"] == "wrong_base"
    assert codes["stranger/patch"] == "unknown_key"
    assert codes["unsigned/patch"] == "unsigned"


def test_noop_changes_nothing(world: World, tmp_path: Path) -> None:
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


@pytest.fixture(scope="module")
def judged(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, RepairTask, JudgeSet, TinyMarket]:
    model: Any = tiny.load("pooled")
    control = samples_of({label: label for label in KNOWN}, 100, 7, domain="colours")
    sources = SuiteSources(
        slice_repair=new_samples(30, seed=1),
        slice_judge=new_samples(30, seed=2),
        replay=known_samples(30, seed=3),
        control=control,
    )
    sizes = SuiteSizes(n_repair=24, n_control_selection=200)
    suite = build_suite(
        model, sources, sizes, label_shift="new", domain="shades", description="Requests about shades", seed=0
    )
    return model, suite.task, suite.judge, tiny_market(model, tmp_path_factory.mktemp("judged"), "new")


def test_no_strategy_can_reach_what_it_is_judged_on(
    judged: tuple[Any, RepairTask, JudgeSet, TinyMarket], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task, judge, market = judged
    texts = {s.text for part in (judge.slice_holdout, judge.control_holdout) for s in part}
    ran: set[str] = set()
    encode = type(model).encode

    def recorded(self: Any, given: Any) -> Any:
        ran.update(given)
        return encode(self, given)

    monkeypatch.setattr(type(model), "encode", recorded)
    context = healing_context(model, task, tmp_path, market)
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
    assert ran or name in ("noop",)


def test_the_search_for_judge_samples_can_fail() -> None:
    sample = Sample("red1", "red", group="g")
    assert id(sample) in everything_in({"a": [(JudgeSet((sample,), (), ()),)]}, {})


# ------------------------------------------------------------------------------------------- the gate itself


def test_more_looks_than_declared_are_refused(world: World, tmp_path: Path) -> None:
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
