"""A tiny market of real patches for a tiny model, and healing runs over it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.deployment.gate import GatePolicy
from symbio_lab.evaluation.evaluate import BasePredictions
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.healing.context import HealingContext
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.records import LabelShift, Sample
from symbio_lab.surgery.catalogue import surgery_method
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.testing.tiny_models import (
    EXPIRES,
    HEALER,
    ISSUED,
    NOW,
    PUBLISHER,
    TinyModels,
    head_rows,
    query_modules,
    random_deltas,
    repair_task,
    seal,
    seal_operated,
)
from symbio_lab.testing.tiny_samples import (
    NEW,
    generation_samples,
    known_samples,
    new_samples,
    odd_samples,
    strange_samples,
)
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for

STRANGER = SigningKey.from_seed(bytes([9]) * 32)
GATE = GatePolicy(name="test", min_controls=100)
STRONG = LoraSettings(rank=4, targets="all_linear", epochs=10, min_steps=60, learning_rate=1e-2, row_learning_rate=0.05)
QUICK = LoraSettings(rank=2, epochs=1, min_steps=8, batch_size=8, learning_rate=1e-2)


def contributor_samples(model: Any, shift: LabelShift) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """What a contributor trains on: the same failing slice and traffic, other texts."""
    if model.task_type == "text_generation":
        return strange_samples(40, seed=50), generation_samples(40, seed=50)
    return (new_samples(30, seed=50) if shift == "new" else odd_samples(30, seed=50)), known_samples(60, seed=50)


def publish_good(
    model: Any, market: DirectoryTransport, store: Path, shift: LabelShift, *, owner: str = "good"
) -> None:
    """Publish a patch that heals the slice."""
    repair, replay = contributor_samples(model, shift)
    name = "head_retrain" if model.labels else "lora_replay"
    meter = CostMeter(Budget(forwards_equivalent=1e9))
    operated = surgery_method(name, replace(STRONG, epochs=20, replay_ratio=2.0)).operate(
        model, repair, replay, seed=5, meter=meter
    )
    patch = seal_operated(model, store, operated, patch_id=f"{owner}/patch")
    market.publish(patch.root, f"{owner}/patch")


def publish_useless(model: Any, market: DirectoryTransport, store: Path, shift: LabelShift) -> None:
    """Random deltas, with random rows where labels are new."""
    for number in range(2):
        rows = head_rows(NEW, seed=number, scale=0.05) if model.labels and shift == "new" else None
        deltas = random_deltas(model, query_modules(model), seed=number, scale=0.05)
        patch = seal(model, store, deltas, rows, patch_id=f"useless-{number}/patch")
        market.publish(patch.root, f"useless-{number}/patch")


def publish_unfit(model: Any, market: DirectoryTransport, store: Path) -> None:
    """One patch for each reason to be refused: by the trust rules, and by the model."""
    deltas = random_deltas(model, query_modules(model))
    made = {
        "misfit": seal(model, store, {"no.such.module": next(iter(deltas.values()))}, patch_id="misfit/patch"),
        "otherbase": seal(model, store, deltas, patch_id="otherbase/patch", base_digest="e" * 64),
        "stranger": seal(model, store, deltas, patch_id="stranger/patch", key=STRANGER),
    }
    for owner, patch in made.items():
        market.publish(patch.root, f"{owner}/patch")
    bare = market.path / "patches" / "unsigned" / "patch" / "v1"
    shutil.copytree(made["misfit"].root, bare)
    (bare / ENVELOPE_NAME).unlink()


@dataclass(frozen=True)
class TinyMarket:
    """A market folder with what to trust in it."""

    transport: DirectoryTransport
    policy: TrustPolicy

    def client(self, store: Path, transport: Any = None) -> MarketplaceClient:
        """Return a client of the market that keeps verified patches in ``store``."""
        return MarketplaceClient([transport or self.transport], self.policy, store, NOW)


def tiny_market(model: Any, folder: Path, shift: LabelShift, *, good: bool = True, unfit: bool = True) -> TinyMarket:
    """Return a market with useless, good and unfit patches."""
    market = DirectoryTransport(folder / "market")
    publish_useless(model, market, folder / "sealed", shift)
    if good:
        publish_good(model, market, folder / "sealed", shift)
    if unfit:
        publish_unfit(model, market, folder / "sealed")
    keys = [PublisherKey(PUBLISHER.public_hex, "publisher", known=True), PublisherKey(HEALER.public_hex, "healer")]
    return TinyMarket(market, policy_for(keys))


def healing_context(
    model: Any, task: RepairTask, store: Path, market: TinyMarket | None = None, **changes: Any
) -> HealingContext:
    """Return a healing run on a tiny model; ``changes`` override its fields."""
    budget = changes.pop("budget", 1e6)
    listener = changes.pop("listener", None)
    fields: dict[str, Any] = {
        "meter": CostMeter(Budget(forwards_equivalent=budget), listener, num_parameters=model.num_parameters),
        "gate": GATE,
        "base": BasePredictions(model),
        "market": market.client(store) if market else None,
        "lora": QUICK,
        "key": HEALER,
        "issued": ISSUED,
        "expires": EXPIRES,
        "listener": listener,
    }
    return HealingContext(model=model, task=task, store=store, **{**fields, **changes})


def incident(tiny: TinyModels, member: str, shift: LabelShift) -> tuple[Any, RepairTask]:
    """A tiny model and a task that it fails on."""
    model = tiny.load(member)
    return model, repair_task(model, shift, n_control=160)
