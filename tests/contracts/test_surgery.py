"""What every surgery method promises: same seed, same bytes; nothing mutated; the budget is asked first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from symbio_lab.errors import ConfigError, EmptySliceError, UnknownLabelsError
from symbio_lab.models.operated import Operated
from symbio_lab.records import LabelShift, Sample
from symbio_lab.surgery.catalogue import METHOD_NAMES, applicable_methods, surgery_method
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.testing.surgery import (
    SURGERY_CHECKS,
    as_bytes,
    check_surgery,
    free_meter,
    surgery_cases,
    surgery_samples,
)
from symbio_lab.testing.tiny_models import TinyModels
from symbio_lab.testing.tiny_samples import known_samples, new_samples

QUICK = LoraSettings(rank=2, epochs=1, min_steps=3, batch_size=8, learning_rate=1e-2)
RANDOM = ("lora", "lora_replay")
NEEDS_REPLAY = ("prototype_rows", "head_retrain", "lora_replay")
CASES = [(name, *case) for name in METHOD_NAMES for case in surgery_cases(surgery_method(name))]
EVERY = pytest.mark.parametrize(("name", "member", "shift"), CASES, ids=["-".join(case) for case in CASES])


def test_both_task_types_and_label_shifts_are_covered() -> None:
    assert {(member == "llama", shift) for _, member, shift in CASES} == {
        (False, "new"),
        (False, "known"),
        (True, "known"),
    }


@EVERY
@pytest.mark.parametrize("check", SURGERY_CHECKS, ids=[c.__name__ for c in SURGERY_CHECKS])
def test_the_contract_is_kept(tiny: TinyModels, check: Any, name: str, member: str, shift: LabelShift) -> None:
    check(surgery_method(name, QUICK), tiny, member, shift)


@EVERY
def test_another_seed_matters_to_training_only(tiny: TinyModels, name: str, member: str, shift: LabelShift) -> None:
    repair, replay = surgery_samples(member, shift)
    method = surgery_method(name, QUICK)
    one, two = (method.operate(tiny.load(member), repair, replay, seed=s, meter=free_meter()) for s in (3, 4))
    assert (as_bytes(one) != as_bytes(two)) == (name in RANDOM)


@EVERY
def test_no_replay_is_a_typed_error_where_it_is_needed(
    tiny: TinyModels, name: str, member: str, shift: LabelShift
) -> None:
    repair, _ = surgery_samples(member, shift)
    if name in NEEDS_REPLAY:
        with pytest.raises(EmptySliceError):
            surgery_method(name, QUICK).operate(tiny.load(member), repair, (), seed=0, meter=free_meter())


# ------------------------------------------------------------------------------------- the checks can fail


class Broken:
    """A method that breaks one promise."""

    name = "broken"
    reference = "nowhere"
    task_types = ("text_classification",)
    label_shifts = ("known",)

    def __init__(self, how: str) -> None:
        self.how = how
        self.runs = 0

    def estimate_forwards(self, model: Any, num_repair: int, num_replay: int) -> float:
        return 2.0 if self.how == "estimate" else 1.0

    def operate(self, model: Any, repair: Any, replay: Any, *, seed: int, meter: Any) -> Operated:
        if not repair and self.how != "empty":
            raise EmptySliceError("nothing to train on")
        if self.how == "budget":
            model.predict([s.text for s in repair])
        meter.charge_forwards(1)
        self.runs += 1
        if self.how == "mutates":
            with torch.no_grad():
                model.head.weight.add_(1.0)
        value = float(self.runs) if self.how == "seed" else 0.1
        shape = (model.head.in_features, model.head.out_features)
        a, b = np.full((1, shape[0]), value, np.float32), np.full((shape[1], 1), value, np.float32)
        if self.how == "tensors":
            a = a * np.float32("nan")
        return Operated(self.name, {model.head_name: (a, b)}, 1, 1.0)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("seed", "same seed"),
        ("mutates", "weights were changed"),
        ("estimate", "estimated"),
        ("budget", "before the budget"),
        ("empty", "EmptySliceError"),
        ("tensors", "finite"),
    ],
)
def test_a_broken_method_is_found_out(tiny: TinyModels, how: str, message: str) -> None:
    method = Broken(how)
    with pytest.raises(AssertionError, match=message):
        check_surgery(lambda _settings: method, tiny)


def test_a_method_that_keeps_its_promises_passes(tiny: TinyModels) -> None:
    check_surgery(lambda _settings: Broken("not at all"), tiny)


@pytest.mark.parametrize("name", ["head_retrain", "lora_replay"])
def test_replay_with_a_label_that_nobody_has_is_refused(tiny: TinyModels, name: str) -> None:
    stray = Sample("red1 red2", "turquoise", group="stray")
    spent = free_meter()
    with pytest.raises(UnknownLabelsError, match="turquoise"):
        surgery_method(name, QUICK).operate(
            tiny.load("pooled"), new_samples(4), (*known_samples(4), stray), seed=0, meter=spent
        )
    assert spent.spent() == 0


def test_the_catalogue_names_every_method_once() -> None:
    assert [surgery_method(name).name for name in METHOD_NAMES] == list(METHOD_NAMES)
    with pytest.raises(ConfigError, match="unknown surgery method"):
        surgery_method("leeches")


@pytest.mark.parametrize(
    ("task", "shift", "names"),
    [
        ("text_classification", "new", ["prototype_rows", "head_retrain", "lora_replay", "lora"]),
        ("text_classification", "known", ["head_retrain", "lora_replay", "lora"]),
        ("text_generation", "known", ["lora_replay", "lora"]),
    ],
)
def test_a_method_is_offered_only_where_it_serves(task: Any, shift: Any, names: list[str]) -> None:
    assert [m.name for m in applicable_methods(task, shift)] == names
