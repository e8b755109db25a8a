"""A failing classifier and a failing generator, healed end to end: adopt, operate and contribute, or leave alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.budget import Budget
from symbio_lab.deployment.gate import GatePolicy
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import (
    ConfigError,
    EmptySliceError,
    TrustError,
    UnknownLabelsError,
    WrongTaskError,
)
from symbio_lab.events import Contributed, Deployed, Event, GateDecided, PhaseFinished, PhaseStarted
from symbio_lab.marketplace.overlay import OverlayTransport
from symbio_lab.pipeline import Contributing, Deploying, heal
from symbio_lab.records import LabelShift, SearchQuery
from symbio_lab.store.database import Database
from symbio_lab.store.ledger import Ledger
from tests.fixtures_market import GATE, STRONG, TinyMarket, incident, tiny_market
from tests.fixtures_models import EXPIRES, HEALER, ISSUED, NOW, TinyModels, new_samples, strange_samples


class Case:
    """One incident with two markets: with and without a patch that helps."""

    def __init__(self, tiny: TinyModels, folder: Path, member: str, shift: LabelShift) -> None:
        self.model, self.task = incident(tiny, member, shift)
        self.model = named(self.model, f"tiny/{member}")
        self.rich = tiny_market(self.model, folder / "rich", shift)
        self.poor = tiny_market(self.model, folder / "poor", shift, good=False)
        self.held_out = strange_samples(30, seed=9) if member == "llama" else new_samples(20, seed=9)
        """Samples of the slice that no arm reads."""

    def heal(self, folder: Path, market: TinyMarket | None, **changes: Any) -> Any:
        overlay = OverlayTransport(market.transport, folder / "overlay") if market else None
        registry = ModelRegistry()
        model = changes.pop("model", self.model)
        registry.register("support", model)
        self.registry, self.ledger = registry, Ledger(Database(folder / "store.db"))
        fields: dict[str, Any] = {
            "store": folder / "store",
            "market": market.client(folder / "store", overlay) if market else None,
            "gate": GATE,
            "lora": STRONG,
            "key": HEALER,
            "issued": ISSUED,
            "expires": EXPIRES,
            "deploying": Deploying(registry, self.ledger, "acme", "support", NOW),
            "contributing": contributing_to(overlay) if overlay else None,
        }
        return heal(model, changes.pop("task", self.task), **{**fields, **changes})


def named(model: Any, model_id: str) -> Any:
    """A view of a shared model under a name of its own."""
    seen = copy.copy(model)
    seen.model_id = model_id
    return seen


def contributing_to(overlay: OverlayTransport, **changes: Any) -> Contributing:
    plain = Contributing(overlay, HEALER, "healer", "shades", base_licence="Apache-2.0")
    return replace(plain, **changes)


@pytest.fixture(scope="module", params=[("pooled", "new"), ("llama", "known")], ids=lambda p: p[0])
def case(request: pytest.FixtureRequest, tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tiny, tmp_path_factory.mktemp("case"), *request.param)


def test_a_good_patch_is_adopted_and_goes_live(case: Case, tmp_path: Path) -> None:
    events: list[Event] = []
    healed = case.heal(tmp_path, case.rich, listener=events.append)
    outcome = healed.outcome
    assert (outcome.status, outcome.route, outcome.contributed) == ("healed", "marketplace", None)
    assert outcome.deployed is not None
    assert outcome.deployed.patch_id == "good/patch"
    assert outcome.deployed == outcome.proposed
    assert healed.verdict is not None
    assert healed.verdict.looks == 2
    assert healed.deployment is not None
    assert healed.deployment.patch_digest == outcome.deployed.digest
    answers = case.registry.predict("acme", "support", [s.text for s in case.held_out]).outputs
    right = sum(case.model.is_correct(a, s.expected) for a, s in zip(answers, case.held_out, strict=True))
    assert right > 0.9 * len(case.held_out)
    assert {type(e) for e in events} >= {PhaseStarted, PhaseFinished, GateDecided, Deployed}
    assert not (tmp_path / "overlay" / "patches").exists()


def test_a_useless_market_leads_to_surgery_that_is_contributed(case: Case, tmp_path: Path) -> None:
    events: list[Event] = []
    healed = case.heal(tmp_path, case.poor, listener=events.append)
    outcome = healed.outcome
    assert (outcome.status, outcome.route) == ("healed", "surgery")
    assert outcome.contributed is not None
    assert [e.digest for e in events if isinstance(e, Contributed)] == [outcome.contributed]
    kinds = [a.kind for a in outcome.attempts]
    assert kinds.index("surgery") > kinds.index("marketplace")
    # What was published can be found, fetched and verified by the next one, and claims what the gate measured.
    client = case.poor.client(tmp_path / "next", OverlayTransport(case.poor.transport, tmp_path / "overlay"))
    hits = client.search(SearchQuery(case.task.task_type, "shades", base_digest=case.model.digest))
    (hit,) = [h for h in hits if h.ref == "healer/shades"]
    patch, attempt = client.fetch(hit, base_digest=case.model.digest)
    assert patch is not None
    assert patch.digest == outcome.contributed
    assert patch.level == "signed"
    assert attempt.status == "proposed"
    claims = {c.name: (c.value, c.n) for c in patch.manifest.claims}
    assert healed.verdict is not None
    assert claims["fix_rate"] == (pytest.approx(healed.verdict.fix_rate, abs=1e-6), healed.verdict.num_failures)
    # The market itself is a snapshot that nobody wrote to.
    assert "healer/shades" not in case.poor.transport.list_refs()


def test_the_contribution_heals_the_next_one_without_surgery(case: Case, tmp_path: Path) -> None:
    first = case.heal(tmp_path / "first", case.poor)
    overlay = OverlayTransport(case.poor.transport, tmp_path / "first" / "overlay")
    second = heal(
        case.model, case.task, store=tmp_path / "second", market=case.poor.client(tmp_path / "second", overlay),
        gate=GATE, lora=STRONG, key=HEALER,
    )  # fmt: skip
    assert second.outcome.route == "marketplace"
    assert second.outcome.deployed is not None
    assert second.outcome.deployed.digest == first.outcome.contributed
    surgery = [a for a in second.outcome.attempts if a.kind == "surgery"]
    assert surgery == []


def test_an_impossible_gate_leaves_the_base_alone(case: Case, tmp_path: Path) -> None:
    strict = GatePolicy(name="impossible", min_fix_rate=0.999, min_controls=100)
    texts = [s.text for s in case.held_out[:10]]
    before = case.model.predict(texts)
    healed = case.heal(tmp_path, case.rich, gate=strict)
    assert healed.outcome.status in ("rejected", "undecided")
    assert healed.outcome.proposed is not None
    assert (healed.outcome.deployed, healed.outcome.contributed, healed.deployment) == (None, None, None)
    assert healed.outcome.route == "none"
    assert case.registry.predict("acme", "support", texts) == before
    assert case.ledger.head().num_lines == 0
    looks = [a for a in healed.outcome.attempts if a.detail.startswith("gate look")]
    assert [a.detail for a in looks] == ["gate look 1 of 2", "gate look 2 of 2"]


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_an_undecided_patch_goes_as_far_as_the_policy_says(case: Case, tmp_path: Path, stage: Any) -> None:
    careful = GatePolicy(name="careful", min_fix_rate=0.9, min_controls=100, when_undecided=stage)
    healed = case.heal(tmp_path, case.rich, gate=careful, strategy="best_single")
    assert healed.outcome.status == "undecided"
    assert healed.outcome.deployed is None
    assert healed.deployment is not None
    assert healed.deployment.stage == stage
    assert case.registry.live_patch("acme", "support") is None


def test_too_few_controls_never_accept(case: Case, tmp_path: Path) -> None:
    healed = case.heal(tmp_path, case.rich, gate=replace(GATE, min_controls=1000))
    assert healed.verdict is not None
    assert (healed.outcome.status, healed.verdict.code) == ("undecided", "too_few_controls")
    assert healed.verdict.num_controls_to_decide == 1000


def test_no_market_means_surgery(case: Case, tmp_path: Path) -> None:
    healed = case.heal(tmp_path, None)
    assert healed.outcome.route == "surgery"
    assert healed.outcome.attempts[0].code == "no_market"


def test_noop_costs_and_changes_nothing(case: Case, tmp_path: Path) -> None:
    healed = case.heal(tmp_path, case.rich, strategy="noop")
    assert (healed.outcome.status, healed.outcome.attempts, healed.deployment) == ("no_op", (), None)
    assert healed.outcome.cost.total("forwards_equivalent") == 0


def test_the_fallback_gets_what_the_budget_has_left(case: Case, tmp_path: Path) -> None:
    def spent(**changes: Any) -> dict[str, float]:
        outcome = case.heal(tmp_path / str(len(changes)), case.poor, **changes).outcome
        return {name: cost.forwards_equivalent for name, cost in outcome.cost.phases}

    free = spent()
    screening = free["screen"]
    limit = screening + 700.0
    tight = spent(budget=Budget(forwards_equivalent=limit))
    assert tight["screen"] == screening
    assert sum(tight.values()) <= limit
    assert tight.get("choose_surgery", 0.0) < free["choose_surgery"]


def test_a_budget_that_ends_in_the_middle_keeps_every_attempt(case: Case, tmp_path: Path) -> None:
    task = case.task
    screening = 3 * (len(task.repair) + len(task.replay)) + len(task.repair) + len(task.replay)
    healed = case.heal(tmp_path, case.rich, strategy="best_single", budget=Budget(forwards_equivalent=screening + 20.0))
    outcome = healed.outcome
    assert outcome.status == "budget_exceeded"
    assert outcome.deployed is None
    codes = {a.code for a in outcome.attempts}
    assert {"wrong_base", "unknown_key", "unsigned", "patch_does_not_fit", "budget_exceeded"} <= codes
    assert [a for a in outcome.attempts if a.status == "screened"]
    assert outcome.cost.total("forwards_equivalent") <= screening + 20.0


def test_a_wall_limit_aborts_and_is_reported(case: Case, tmp_path: Path) -> None:
    healed = case.heal(tmp_path, case.rich, budget=Budget(forwards_equivalent=1e6, wall_s=1e-6))
    assert healed.outcome.status == "timeout"
    assert {"wrong_base", "timeout"} <= {a.code for a in healed.outcome.attempts}
    assert healed.deployment is None


def test_labels_seen_and_cost_by_phase_are_reported(case: Case, tmp_path: Path) -> None:
    outcome = case.heal(tmp_path, case.poor).outcome
    task = case.task
    assert outcome.num_labels_seen == {
        "control_selection": len(task.control_selection),
        "repair": len(task.repair),
        "replay": len(task.replay),
        "selection": len(task.selection),
    }
    phases = dict(outcome.cost.phases)
    assert {"search", "verify", "screen", "choose_surgery", "surgery", "gate", "deploy", "contribute"} <= set(phases)
    assert phases["verify"].num_bytes > 0
    assert phases["contribute"].num_bytes > 0
    assert all(cost.wall_s >= 0 for cost in phases.values())


# -------------------------------------------------------------------------------------------------- bad input


def test_bad_input_is_one_clear_error_and_nothing_is_written(case: Case, tmp_path: Path) -> None:
    task = case.task
    other: Any = "text_generation" if task.task_type == "text_classification" else "text_classification"
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (ConfigError, {"strategy": "prayer"}),
        (EmptySliceError, {"task": replace(task, repair=())}),
        (EmptySliceError, {"task": replace(task, selection=())}),
        (WrongTaskError, {"task": replace(task, task_type=other)}),
    ]
    if task.label_shift == "new":
        wrong.append((UnknownLabelsError, {"task": replace(task, label_shift="known")}))
    for error, changes in wrong:
        with pytest.raises(error) as caught:
            case.heal(tmp_path, case.rich, **changes)
        assert caught.value.hint
    assert not (tmp_path / "store").exists()
    assert case.ledger.head().num_lines == 0


def test_the_process_key_cannot_contribute(case: Case, tmp_path: Path) -> None:
    from symbio_lab.trust.sealing import process_key

    overlay = OverlayTransport(case.poor.transport, tmp_path / "overlay")
    with pytest.raises(TrustError) as caught:
        case.heal(tmp_path, case.poor, contributing=contributing_to(overlay, key=process_key()))
    assert caught.value.code == "level_too_low"


def test_a_description_that_repeats_a_failure_stays_here(case: Case, tmp_path: Path) -> None:
    """The model is healed all the same; nothing is published, and the outcome says why without repeating the text."""
    text = case.task.repair[0].text
    told = replace(case.task, description=f"Requests such as: {text}, please, and {text} are answered wrongly")
    healed = case.heal(tmp_path, case.poor, task=told, strategy="surgery_only")
    assert healed.outcome.status == "healed"
    assert healed.outcome.contributed is None
    assert not list((tmp_path / "overlay").rglob("*.safetensors"))
    (refusal,) = [a for a in healed.outcome.attempts if a.ref == "contribute"]
    assert (refusal.status, refusal.code) == ("refused", "private_data")
    assert text not in refusal.detail


def test_a_gold_answer_of_generation_is_private_and_the_name_of_a_class_is_not(case: Case, tmp_path: Path) -> None:
    told = replace(case.task, description=f"Answers are wrong where {case.task.repair[0].expected} is meant")
    answer = "a secret answer of nine words that nobody may read"
    if case.task.task_type == "text_generation":
        marked = replace(case.task.repair[0], expected=answer)
        told = replace(told, repair=(marked, *case.task.repair[1:]), description=f"Asked for {answer}, wrongly")
    healed = case.heal(tmp_path, case.poor, task=told, strategy="surgery_only")
    codes = [a.code for a in healed.outcome.attempts if a.ref == "contribute"]
    assert codes == (["private_data"] if case.task.task_type == "text_generation" else [])
    assert (healed.outcome.contributed is None) == bool(codes)


def test_the_path_of_a_base_does_not_leave(case: Case, tmp_path: Path) -> None:
    overlay = OverlayTransport(case.poor.transport, tmp_path / "overlay")
    outcome = case.heal(
        tmp_path,
        case.poor,
        model=named(case.model, "/home/alice/models/support"),
        strategy="surgery_only",
        contributing=contributing_to(overlay),
    ).outcome
    (refusal,) = [a for a in outcome.attempts if a.ref == "contribute"]
    assert (outcome.status, outcome.contributed, refusal.code) == ("healed", None, "private_data")
    assert "base_id (path)" in refusal.detail


@pytest.mark.parametrize(
    ("base", "own", "code"),
    [(None, "Apache-2.0", "bad_config"), ("GPL-3.0-only", "Apache-2.0", "licence"), ("CC-BY-NC-4.0", "MIT", "licence"),
     ("GPL-3.0-only", "GPL-3.0-only", "")],
)  # fmt: skip
def test_licences_that_refuse_keep_a_patch_here(
    case: Case, tmp_path: Path, base: str | None, own: str, code: str
) -> None:
    overlay = OverlayTransport(case.poor.transport, tmp_path / "overlay")
    asked = contributing_to(overlay, base_licence=base, licence=own)
    outcome = case.heal(tmp_path, case.poor, strategy="surgery_only", contributing=asked).outcome
    assert outcome.status == "healed"
    assert [a.code for a in outcome.attempts if a.ref == "contribute"] == ([code] if code else [])
    assert (outcome.contributed is None) == bool(code)
    # Where nobody else reads the market, nothing is asked.
    quiet = case.heal(
        tmp_path / "quiet", case.poor, strategy="surgery_only", contributing=replace(asked, screened=False)
    )
    assert quiet.outcome.contributed is not None
