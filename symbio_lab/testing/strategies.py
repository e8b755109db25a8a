"""The contract of healing strategies: no sight of the judge, no look too many at the gate, no cost over budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from symbio_lab.errors import BudgetExceededError
from symbio_lab.events import Event, GateDecided, PhaseFinished, PhaseStarted
from symbio_lab.healing.context import Proposal
from symbio_lab.healing.protocol import HealingStrategy
from symbio_lab.models.protocol import Predictions
from symbio_lab.plugins import missing_members
from symbio_lab.records import LabelShift
from symbio_lab.testing.tiny_market import healing_context, incident, tiny_market
from symbio_lab.testing.tiny_models import HEALER, TinyModels

WORLDS: dict[str, tuple[str, LabelShift]] = {
    "rows": ("pooled", "new"),
    "hub": ("bert", "known"),
    "text": ("llama", "known"),
}
"""Tiny incident -> model, label shift: both task types, labels new and known."""
ROUTES = ("marketplace", "surgery", "control", "none")
Make = Callable[[], HealingStrategy]


class TinyWorld:
    """A tiny model, a task that it fails on, and a market."""

    def __init__(self, tiny: TinyModels, name: str, folder: Path) -> None:
        """Build the incident ``name`` of ``WORLDS``; its market goes to ``folder``."""
        self.name = name
        self.member, self.shift = WORLDS[name]
        self.model, self.task = incident(tiny, self.member, self.shift)
        self.market = tiny_market(self.model, folder, self.shift)


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


def check_proposal(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that a proposal comes back, and that base and task are unchanged."""
    digest, given = world.model.weights_digest(), repr(world.task)
    proposal = make().heal(healing_context(world.model, world.task, folder, world.market))
    assert isinstance(proposal, Proposal), "heal must return a Proposal"
    assert proposal.route in ROUTES, f"unknown route {proposal.route!r}"
    assert (proposal.patch is None) == (proposal.route == "none"), "route and patch contradict each other"
    assert proposal.verdict is None or proposal.patch is not None, "a verdict without a patch"
    if proposal.patch is not None:
        assert proposal.patch.manifest.base_digest == world.model.digest, "a patch for another base"
    assert world.model.weights_digest() == digest, "the base's weights were changed"
    assert repr(world.task) == given, "the task was changed"


def check_same_outcome(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that the same seed gives the same proposal at the same cost."""
    found = []
    for run in range(2):
        context = healing_context(world.model, world.task, folder / str(run), world.market, seed=3)
        proposal = make().heal(context)
        attempts = [replace(a, metrics=dict(a.metrics)) for a in proposal.attempts]
        found.append((proposal.patch and proposal.patch.digest, proposal.verdict, attempts, context.meter.spent()))
    assert found[0] == found[1], "the same seed gave another outcome"


def check_seal(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that surgery is sealed by the healer's own key, and trusted as its own where it has none."""
    for key in (HEALER, None):
        context = healing_context(world.model, world.task, folder / str(key is None), world.market, key=key)
        proposal = make().heal(context)
        if proposal.patch is None or proposal.route != "surgery":
            continue
        if key is None:
            assert proposal.patch.level == "self", f"surgery sealed at level {proposal.patch.level!r}, not 'self'"
        else:
            assert proposal.patch.manifest.keyid == key.keyid, "surgery sealed by another key than the healer's"


def check_attempts(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that every attempt is in the proposal, refusals and looks at the gate included."""
    context = healing_context(world.model, world.task, folder, world.market)
    attempts = make().heal(context).attempts
    lost = [a for a in context.tried if a not in attempts]
    assert not lost, f"{len(lost)} attempt(s) are missing in the proposal, e.g. {lost[0].kind} {lost[0].ref}"
    looks = [a for a in attempts if a.status in ("accepted", "rejected", "undecided")]
    assert len(looks) == context.num_looks, f"{context.num_looks} look(s) at the gate and {len(looks)} on record"


def check_no_market(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that a tenant without a market gets a proposal too."""
    proposal = make().heal(healing_context(world.model, world.task, folder))
    assert isinstance(proposal, Proposal), "heal must return a Proposal"
    assert proposal.route != "marketplace", "adopted from a market that is not there"


def check_gate_samples(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that the gate's samples are read by the gate only."""
    Watched.peeks.clear()
    task = replace(
        world.task,
        selection=Watched(world.task.selection),
        control_selection=Watched(world.task.control_selection),
    )
    make().heal(healing_context(world.model, task, folder, world.market, listener=watch))
    assert Watched.peeks == [], f"the gate's samples were {Watched.peeks[0]} outside the gate"
    assert Watched.opened == [False]


def check_looks(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that looks at the gate are declared and kept."""
    events: list[Event] = []
    strategy = make()
    context = healing_context(world.model, world.task, folder, world.market, listener=events.append)
    proposal = strategy.heal(context)
    looks = [e for e in events if isinstance(e, GateDecided)]
    assert len(looks) == context.num_looks <= strategy.looks, "more looks than declared"
    assert proposal.verdict is None or proposal.verdict.looks == strategy.looks, "bounds of another number of looks"


def check_charges(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that every answer asked of the model is charged."""
    asked = 0
    predict = world.model.predict

    def counted(texts: Sequence[str]) -> Predictions:
        nonlocal asked
        asked += len(texts)
        return predict(texts)

    context = healing_context(world.model, world.task, folder, world.market)
    world.model.predict = counted
    try:
        make().heal(context)
    finally:
        del world.model.predict
    spent = context.meter.spent()
    assert spent >= asked, f"{asked} answers were asked of the model and {spent} forwards-equivalent charged"


def check_no_budget(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that the model does not run before the budget is asked."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("the model ran before the budget was asked")

    context = healing_context(world.model, world.task, folder, world.market, budget=0.0)
    world.model.module.forward = work
    try:
        with suppress(BudgetExceededError):
            make().heal(context)
    finally:
        del world.model.module.forward


def check_budget(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that no budget is exceeded, down to none at all."""
    for budget in (0.0, 150.0, 900.0):
        context = healing_context(world.model, world.task, folder / str(budget), world.market, budget=budget)
        with suppress(BudgetExceededError):
            make().heal(context)
        spent = context.meter.spent()
        assert spent <= budget * (1 + 1e-9), f"spent {spent} of {budget} forwards-equivalent"


def check_labels_seen(make: Make, world: TinyWorld, folder: Path) -> None:
    """Assert that labels read are counted."""
    context = healing_context(world.model, world.task, folder, world.market)
    proposal = make().heal(context)
    seen = context.labels_seen
    assert all(count == len(getattr(world.task, split)) for split, count in seen.items()), "labels miscounted"
    assert ("selection" in seen) == (proposal.verdict is not None), "a verdict without labels, or labels without one"


STRATEGY_CHECKS = (
    check_proposal,
    check_seal,
    check_same_outcome,
    check_attempts,
    check_no_market,
    check_gate_samples,
    check_looks,
    check_charges,
    check_no_budget,
    check_budget,
    check_labels_seen,
)


def check_strategy(make: Make, tiny: TinyModels, folder: Path) -> None:
    """Run every check on every tiny incident: both task types, labels new and known.

    Args:
        make: makes the strategy.
        tiny: the tiny models.
        folder: an empty folder.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    strategy = make()
    lacking = missing_members(strategy, HealingStrategy)
    assert not lacking, f"no HealingStrategy: it lacks {', '.join(lacking)}"
    assert strategy.name, "a strategy needs a name"
    assert strategy.reference, "a strategy needs a reference: where it comes from"
    assert strategy.family in ("marketplace", "surgery", "hybrid", "control"), f"unknown family {strategy.family!r}"
    for name in WORLDS:
        world = TinyWorld(tiny, name, folder / name / "market")
        for check in STRATEGY_CHECKS:
            check(make, world, folder / name / check.__name__)
