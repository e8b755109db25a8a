"""LoRA training: what is adapted, how many steps, what they cost, what is learned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from symbio_lab.budget import Budget, CostMeter, lora_step_cost
from symbio_lab.errors import HealingTimeoutError, PatchApplyError
from symbio_lab.surgery.lora import Lora, LoraReplay
from symbio_lab.surgery.lora_training import LoraSettings, plan_steps, target_modules, train_lora, training_forwards
from tests.fixtures_market import STRONG
from tests.fixtures_models import TinyModels, known_samples, new_samples, odd_samples, strange_samples

QUICK = LoraSettings(rank=2, epochs=1, min_steps=2, batch_size=8)


def meter(**limits: Any) -> CostMeter:
    return CostMeter(Budget(**{"forwards_equivalent": 1e9, **limits}))


@pytest.mark.parametrize(
    ("member", "settings", "count"),
    [
        ("pooled", LoraSettings(), 4),
        ("pooled", LoraSettings(top_layers=1), 2),
        ("pooled", LoraSettings(targets="all_linear"), 12),
        ("bert", LoraSettings(top_layers=9), 4),
        ("llama", LoraSettings(), 4),
        ("llama", LoraSettings(targets="all_linear", top_layers=1), 7),
    ],
)
def test_targets_are_the_modules_of_the_upper_layers(
    tiny: TinyModels, member: str, settings: LoraSettings, count: int
) -> None:
    module = tiny.load(member).module
    names = target_modules(module, settings)
    assert len(names) == count
    assert list(names) == sorted(names)
    assert all(isinstance(module.get_submodule(n), torch.nn.Linear) for n in names)
    if settings.top_layers == 1:
        assert not [n for n in names if ".0." in n]


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(PatchApplyError, match="no layered linear modules"):
        target_modules(torch.nn.Sequential(torch.nn.Linear(2, 2)), LoraSettings())


@pytest.mark.parametrize(
    ("num_repair", "settings", "expected"),
    [
        (16, LoraSettings(epochs=10, min_steps=1, batch_size=16, replay_ratio=1.0), (10, 32, 320)),
        (16, LoraSettings(epochs=10, min_steps=40, batch_size=16, replay_ratio=1.0), (20, 32, 640)),
        (4, LoraSettings(epochs=1, min_steps=40, batch_size=16, replay_ratio=0.0), (40, 4, 160)),
        (10, LoraSettings(epochs=2, min_steps=1, batch_size=16, replay_ratio=0.5), (2, 15, 30)),
    ],
)
def test_steps_are_planned_before_the_first(
    num_repair: int, settings: LoraSettings, expected: tuple[int, int, int]
) -> None:
    assert plan_steps(num_repair, settings) == expected


def test_the_cost_is_steps_and_initial_features(tiny: TinyModels) -> None:
    model = tiny.load("pooled")
    settings = LoraSettings(epochs=3, min_steps=1)
    found = training_forwards(model, 10, 20, settings)
    assert found == pytest.approx(3 * 20 * lora_step_cost(2, 0) + 30)
    upper = training_forwards(model, 10, 20, replace(settings, top_layers=1))
    assert upper == pytest.approx(3 * 20 * lora_step_cost(2, 1, True) + 30 + 30 * 1 / 2)
    assert upper < found
    assert training_forwards(model, 10, 0, settings) == pytest.approx(3 * 10 * lora_step_cost(2, 0) + 10)


@pytest.mark.parametrize(
    ("member", "samples"),
    [("pooled", new_samples), ("pooled", odd_samples), ("bert", odd_samples), ("llama", strange_samples)],
)
def test_training_fixes_what_it_saw(tiny: TinyModels, member: str, samples: Any) -> None:
    model: Any = tiny.load(member)
    repair = samples(8)
    operated = Lora(STRONG).operate(model, repair, (), seed=0, meter=meter())
    with model.applied_adapter(operated.to_adapter(), "lora"):
        outputs = model.predict([s.text for s in repair]).outputs
    right = sum(model.is_correct(o, s.expected) for o, s in zip(outputs, repair, strict=True))
    assert right >= 0.9 * len(repair)


def test_replay_keeps_what_the_base_knew(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    kept = {}
    for method in (Lora(STRONG), LoraReplay(STRONG)):
        operated = method.operate(model, new_samples(8), known_samples(30), seed=0, meter=meter())
        held_out = known_samples(20, seed=9)
        with model.applied_adapter(operated.to_adapter(), method.name):
            outputs = model.predict([s.text for s in held_out]).outputs
        kept[method.name] = np.mean([o == s.expected for o, s in zip(outputs, held_out, strict=True)])
    assert kept["lora_replay"] > 0.9 > kept["lora"]


def test_training_from_the_cached_prefix_learns_the_same(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(QUICK, top_layers=1, min_steps=6, learning_rate=1e-2)
    found = []
    for cached in (True, False):
        model: Any = tiny.load("pooled")
        if not cached:
            monkeypatch.setattr(type(model), "prefix_states", lambda *_: None)
        found.append(train_lora("lora", model, new_samples(6), known_samples(6), settings, seed=1, meter=meter()))
    for name, pair in found[0].deltas.items():
        for one, other in zip(pair, found[1].deltas[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_wall_limit_stops_between_steps(tiny: TinyModels) -> None:
    ticks = iter(range(10_000))
    late = CostMeter(Budget(forwards_equivalent=1e9, wall_s=3.0), clock=lambda: float(next(ticks)))
    model: Any = tiny.load("pooled")
    digest = model.weights_digest()
    with pytest.raises(HealingTimeoutError):
        Lora(replace(QUICK, min_steps=50)).operate(model, new_samples(6), (), seed=0, meter=late)
    assert model.weights_digest() == digest


def test_a_refused_network_costs_nothing(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny.load("pooled")
    monkeypatch.setattr("symbio_lab.surgery.lora_training._QUERY_VALUE", ("elsewhere",))
    spent = meter()
    with pytest.raises(PatchApplyError):
        train_lora("lora", model, new_samples(4), (), QUICK, seed=0, meter=spent)
    assert spent.spent() == 0
