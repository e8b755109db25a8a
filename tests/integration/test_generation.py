"""A failing generator, healed end to end: the same pipeline, free-running decoding, exact match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.deployment.deploy import roll_back
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.pipeline import Deploying, heal
from symbio_lab.store.database import Database
from symbio_lab.store.ledger import Ledger
from tests.fixtures_market import GATE, STRONG, TinyMarket, incident, tiny_market
from tests.fixtures_models import EXPIRES, HEALER, ISSUED, NOW, TinyModels, generation_samples, strange_samples


@pytest.fixture(scope="module")
def case(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, TinyMarket]:
    model, task = incident(tiny, "llama", "known")
    return model, task, tiny_market(model, tmp_path_factory.mktemp("generation"), "known")


def accuracy(model: Any, samples: Any) -> float:
    outputs = model.predict([s.text for s in samples]).outputs
    return sum(model.is_correct(o, s.expected) for o, s in zip(outputs, samples, strict=True)) / len(samples)


@pytest.mark.parametrize(
    ("strategy", "route"),
    [
        ("lora_replay", "surgery"),
        ("surgery_only", "surgery"),
        ("best_single", "marketplace"),
        ("marketplace_first", "marketplace"),
    ],
)
def test_held_out_failures_are_fixed_and_the_rest_is_kept(
    case: tuple[Any, Any, TinyMarket], tmp_path: Path, strategy: str, route: str
) -> None:
    model, task, market = case
    digest = model.weights_digest()
    held_out, control = strange_samples(30, seed=9), generation_samples(20, seed=9)
    assert accuracy(model, held_out) < 0.2
    healed = heal(
        model, task, store=tmp_path, strategy=strategy, market=market.client(tmp_path), gate=GATE, lora=STRONG,
        key=HEALER, issued=ISSUED, expires=EXPIRES,
    )  # fmt: skip
    assert (healed.outcome.status, healed.outcome.route) == ("healed", route)
    patch = healed.outcome.deployed
    assert patch is not None
    assert patch.manifest.task_type == "text_generation"
    assert patch.manifest.adapter.head_labels == ()
    with model.applied(patch):
        assert accuracy(model, held_out) > 0.8
        assert accuracy(model, control) > 0.9
    assert model.weights_digest() == digest


def test_deploy_and_roll_back_are_bit_equal(case: tuple[Any, Any, TinyMarket], tmp_path: Path) -> None:
    model, task, _ = case
    registry, ledger = ModelRegistry(), Ledger(Database(tmp_path / "store.db"))
    registry.register("writer", model)
    texts = [s.text for s in (*strange_samples(5), *generation_samples(3))]
    before = registry.predict("acme", "writer", texts)
    healed = heal(
        model, task, store=tmp_path, strategy="lora_replay", gate=GATE, lora=STRONG, key=HEALER, issued=ISSUED,
        expires=EXPIRES, deploying=Deploying(registry, ledger, "acme", "writer", NOW),
    )  # fmt: skip
    assert healed.deployment is not None
    assert registry.predict("acme", "writer", texts) != before

    def reopen(_digest: str) -> Any:
        raise AssertionError("there was no patch before")

    line = roll_back(registry, ledger, tenant="acme", model_id="writer", now=NOW, reopen=reopen)
    assert line.stage == "rolled_back"
    assert registry.predict("acme", "writer", texts) == before
    assert ledger.verify_chain().num_lines == 2


@pytest.mark.parametrize("strategy", ["prototype_rows", "head_retrain"])
def test_methods_of_other_tasks_say_that_they_do_not_serve(
    case: tuple[Any, Any, TinyMarket], tmp_path: Path, strategy: str
) -> None:
    model, task, _ = case
    healed = heal(model, task, store=tmp_path, strategy=strategy, gate=GATE)
    assert healed.outcome.status == "no_patch_found"
    assert [a.code for a in healed.outcome.attempts] == ["not_applicable"]
