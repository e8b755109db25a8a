"""The contract of strategies can fail: each check finds out the strategy that breaks its promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from symbio_lab.errors import BudgetExceededError
from symbio_lab.healing.context import HealingContext, Proposal, ask_gate
from symbio_lab.healing.operating import operate_best, operate_one
from symbio_lab.surgery.catalogue import surgery_method
from symbio_lab.testing import check_strategy, strategies
from symbio_lab.testing.strategies import STRATEGY_CHECKS, TinyWorld
from tests.fixtures_market import STRANGER
from tests.fixtures_models import TinyModels, query_modules, random_deltas, seal


def surgeon(context: HealingContext) -> Proposal:
    patch, attempts = operate_best(context)
    if patch is None:
        return Proposal(None, "none", None, tuple(attempts))
    verdict, attempt = ask_gate(context, patch, "surgery", looks=1)
    return Proposal(patch, "surgery", verdict, (*attempts, attempt))


def forgets_attempts(context: HealingContext) -> Proposal:
    return replace(surgeon(context), attempts=())


def hides_the_gate(context: HealingContext) -> Proposal:
    proposal = surgeon(context)
    context.num_looks += 1
    return proposal


def peeks_at_the_gate(context: HealingContext) -> Proposal:
    sorted(s.text for s in context.task.selection)
    return surgeon(context)


def writes_to_the_base(context: HealingContext) -> Proposal:
    model: Any = context.model
    with torch.no_grad():
        next(model.module.parameters()).add_(1.0)
    return Proposal(None, "none", None, ())


def contradicts_itself(context: HealingContext) -> Proposal:
    return Proposal(None, "surgery", None, ())


def returns_nothing(context: HealingContext) -> None:
    return None


def runs_for_free(context: HealingContext) -> Proposal:
    context.model.predict([s.text for s in context.task.repair])
    return Proposal(None, "none", None, ())


def looks_without_a_word(context: HealingContext) -> Proposal:
    context.saw("selection", len(context.task.selection))
    return Proposal(None, "none", None, ())


def borrows_a_key(context: HealingContext) -> Proposal:
    deltas = random_deltas(context.model, query_modules(context.model))  # type: ignore[arg-type]
    patch = seal(context.model, context.store, deltas, key=STRANGER)  # type: ignore[arg-type]
    try:
        verdict, attempt = ask_gate(context, patch, "surgery", looks=1)
    except BudgetExceededError:
        return Proposal(None, "none", None, ())
    return Proposal(patch, "surgery", verdict, (attempt,))


class Drifts:
    """Every run draws another seed."""

    runs = 0

    def __call__(self, context: HealingContext) -> Proposal:
        self.runs += 1
        context.seed = self.runs
        patch, attempt = operate_one(context, surgery_method("lora", context.lora))
        return Proposal(patch, "surgery" if patch else "none", None, (attempt,))


class Strategy:
    """A strategy that heals by a function of the test's."""

    name, family, looks, reference = "made-up", "surgery", 1, "nowhere"

    def __init__(self, heal: Callable[[HealingContext], Any]) -> None:
        self.heal = heal


@pytest.fixture(scope="module", params=["rows", "text"])
def world(request: pytest.FixtureRequest, tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    return TinyWorld(tiny, request.param, tmp_path_factory.mktemp("market"))


def run_checks(heal: Callable[[HealingContext], Any], world: TinyWorld, folder: Path) -> None:
    for check in STRATEGY_CHECKS:
        check(lambda: Strategy(heal), world, folder / check.__name__)


@pytest.mark.parametrize(
    ("heal", "message"),
    [
        (returns_nothing, "must return a Proposal"),
        (contradicts_itself, "contradict each other"),
        (borrows_a_key, "another key"),
        (forgets_attempts, "missing in the proposal"),
        (hides_the_gate, "on record"),
        (peeks_at_the_gate, "outside the gate"),
        (runs_for_free, "answers were asked"),
        (looks_without_a_word, "labels without"),
        (Drifts(), "another outcome"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_strategy_is_found_out(world: TinyWorld, heal: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        run_checks(heal, world, tmp_path)


@pytest.mark.parametrize("name", ["rows", "text"])
def test_a_base_that_was_written_to_is_found_out(tiny: TinyModels, name: str, tmp_path: Path) -> None:
    world = TinyWorld(tiny, name, tmp_path / "market")
    with pytest.raises(AssertionError, match="weights were changed"):
        run_checks(writes_to_the_base, world, tmp_path)


def test_a_strategy_that_keeps_its_promises_passes(world: TinyWorld, tmp_path: Path) -> None:
    run_checks(surgeon, world, tmp_path)


def test_what_a_strategy_lacks_is_named(tiny: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="lacks family, heal, looks, reference"):
        check_strategy(lambda: type("Bare", (), {"name": "bare"})(), tiny, tmp_path)


def test_every_check_is_run_on_every_tiny_incident(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(strategies, "STRATEGY_CHECKS", (lambda _make, world, _folder: ran.append(world.member),))
    strategies.STRATEGY_CHECKS[0].__name__ = "check"
    check_strategy(lambda: Strategy(surgeon), tiny, tmp_path)
    assert ran == ["pooled", "bert", "llama"]
