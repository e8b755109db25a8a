"""The contract of surgery methods: same seed, same bytes; nothing mutated; the budget is asked first."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.errors import BudgetExceededError, EmptySliceError
from symbio_lab.models.operated import Operated
from symbio_lab.plugins import missing_members
from symbio_lab.records import LabelShift, Sample
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.surgery.protocol import SurgeryMethod
from symbio_lab.testing.tiny_market import QUICK
from symbio_lab.testing.tiny_models import TinyModels
from symbio_lab.testing.tiny_samples import generation_samples, known_samples, new_samples, odd_samples, strange_samples

MEMBERS: tuple[tuple[str, LabelShift], ...] = (
    ("pooled", "new"),
    ("pooled", "known"),
    ("bert", "new"),
    ("bert", "known"),
    ("llama", "known"),
)
"""Tiny model, label shift."""


def surgery_cases(method: SurgeryMethod) -> list[tuple[str, LabelShift]]:
    """Return the tiny models and label shifts that a method serves."""
    task = {"llama": "text_generation"}
    return [
        (member, shift)
        for member, shift in MEMBERS
        if task.get(member, "text_classification") in method.task_types and shift in method.label_shifts
    ]


def surgery_samples(member: str, shift: LabelShift) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return repair and replay samples for a tiny model."""
    if member == "llama":
        return strange_samples(8), generation_samples(8)
    return (new_samples(6) if shift == "new" else odd_samples(6)), known_samples(8)


def free_meter(forwards: float = 1e9) -> CostMeter:
    """Return a meter with room for everything."""
    return CostMeter(Budget(forwards_equivalent=forwards))


def as_bytes(operated: Operated) -> dict[str, bytes]:
    """Return the tensors as bytes, by name."""
    found = {f"{m}.{i}": t.tobytes() for m, pair in operated.deltas.items() for i, t in enumerate(pair)}
    if operated.rows is not None:
        found |= {"weight": operated.rows.weight.tobytes(), "bias": operated.rows.bias.tobytes()}
    return found


def check_same_seed(method: SurgeryMethod, tiny: TinyModels, member: str, shift: LabelShift) -> None:
    """Assert that the same seed gives the same tensors."""
    repair, replay = surgery_samples(member, shift)
    runs = [method.operate(tiny.load(member), repair, replay, seed=3, meter=free_meter()) for _ in range(2)]
    assert as_bytes(runs[0]) == as_bytes(runs[1]), "the same seed gave other tensors"


def check_nothing_is_mutated(method: SurgeryMethod, tiny: TinyModels, member: str, shift: LabelShift) -> None:
    """Assert that base and samples stay as they are."""
    model: Any = tiny.load(member)
    repair, replay = (list(part) for part in surgery_samples(member, shift))
    given = copy.deepcopy((repair, replay))
    digest, before = model.weights_digest(), model.predict([s.text for s in repair])
    method.operate(model, repair, replay, seed=0, meter=free_meter())
    assert (repair, replay) == given, "the samples were changed"
    assert model.weights_digest() == digest, "the base's weights were changed"
    model.forget()
    assert model.predict([s.text for s in repair]) == before, "the base answers differently now"
    assert not any(p.requires_grad for p in model.module.parameters()), "the base was left trainable"


def check_estimate(method: SurgeryMethod, tiny: TinyModels, member: str, shift: LabelShift) -> None:
    """Assert that the estimate is what is charged, and that something is."""
    model, (repair, replay), spent = tiny.load(member), surgery_samples(member, shift), free_meter()
    method.operate(model, repair, replay, seed=0, meter=spent)
    estimated = method.estimate_forwards(model, len(repair), len(replay))
    assert spent.spent() > 0, "work was done and nothing charged"
    assert abs(spent.spent() - estimated) <= 1e-6 * estimated, f"charged {spent.spent()}, estimated {estimated}"


def check_budget_first(method: SurgeryMethod, tiny: TinyModels, member: str, shift: LabelShift) -> None:
    """Assert that a budget too small is refused before the model runs, and costs nothing."""
    model, (repair, replay) = tiny.load(member), surgery_samples(member, shift)
    short = free_meter(method.estimate_forwards(model, len(repair), len(replay)) - 1)

    def work(*_: object, **__: object) -> None:
        raise AssertionError("the model ran before the budget was asked")

    model.module.forward = work
    try:
        method.operate(model, repair, replay, seed=0, meter=short)
    except BudgetExceededError:
        assert short.spent() == 0, "a refused run was charged"
        return
    raise AssertionError("a budget too small was not refused")


def check_no_repair(method: SurgeryMethod, tiny: TinyModels, member: str, shift: LabelShift) -> None:
    """Assert that nothing to train on is an ``EmptySliceError``."""
    _, replay = surgery_samples(member, shift)
    try:
        method.operate(tiny.load(member), (), replay, seed=0, meter=free_meter())
    except EmptySliceError:
        return
    raise AssertionError("no repair samples must raise EmptySliceError")


def check_tensors(method: SurgeryMethod, tiny: TinyModels, member: str, shift: LabelShift) -> None:
    """Assert that the tensors fit the model and carry what the label shift asks."""
    model, (repair, replay) = tiny.load(member), surgery_samples(member, shift)
    operated = method.operate(model, repair, replay, seed=0, meter=free_meter())
    assert operated.method == method.name, "the tensors carry another name"
    if shift == "new":
        assert operated.rows is not None, "new labels need rows"
        assert operated.rows.labels == tuple(sorted({s.expected for s in repair})), "rows of other labels"
    else:
        assert operated.rows is None, "known labels need no rows"
        assert operated.deltas, "known labels need deltas"
    for tensor in (t for pair in operated.deltas.values() for t in pair):
        assert tensor.dtype == np.float32, "tensors must be float32"
        assert np.isfinite(tensor).all(), "tensors must be finite"
    with model.applied_adapter(operated.to_adapter(), method.name):
        assert len(model.predict([s.text for s in repair])) == len(repair)


SURGERY_CHECKS = (
    check_same_seed,
    check_nothing_is_mutated,
    check_estimate,
    check_budget_first,
    check_no_repair,
    check_tensors,
)


def check_surgery(
    factory: Callable[[LoraSettings | None], SurgeryMethod], tiny: TinyModels, settings: LoraSettings = QUICK
) -> None:
    """Run every check on every tiny model that the method serves.

    Args:
        factory: makes the method, from LoRA settings or None: what is registered as the entry point.
        tiny: the tiny models.
        settings: given to the factory, for methods that train.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    method = factory(settings)
    lacking = missing_members(method, SurgeryMethod)
    assert not lacking, f"no SurgeryMethod: it lacks {', '.join(lacking)}"
    assert method.name, "a surgery method needs a name"
    assert method.reference, "a surgery method needs a reference: where it comes from"
    assert factory(None).name == method.name, "the settings must not change the name"
    cases = surgery_cases(method)
    assert cases, "the method serves no task type and label shift of the lab"
    for member, shift in cases:
        for check in SURGERY_CHECKS:
            check(factory(settings), tiny, member, shift)
