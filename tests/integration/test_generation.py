"""Every strategy that serves a failing generator heals it: the same pipeline, free-running decoding, exact match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.pipeline import heal
from tests.fixtures_market import GATE, STRONG, TinyMarket, incident, tiny_market
from tests.fixtures_models import EXPIRES, HEALER, ISSUED, TinyModels, generation_samples, strange_samples


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


@pytest.mark.parametrize("strategy", ["prototype_rows", "head_retrain"])
def test_methods_of_other_tasks_say_that_they_do_not_serve(
    case: tuple[Any, Any, TinyMarket], tmp_path: Path, strategy: str
) -> None:
    model, task, _ = case
    healed = heal(model, task, store=tmp_path, strategy=strategy, gate=GATE)
    assert healed.outcome.status == "no_patch_found"
    assert [a.code for a in healed.outcome.attempts] == ["not_applicable"]
