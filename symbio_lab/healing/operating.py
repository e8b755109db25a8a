"""The surgery stage that several strategies share: operate by one method, or by the best of them.

``operate_best`` chooses on its own selection data: a part of ``repair`` and of ``replay`` that it withholds from
training. The gate's samples stay unseen. When no method fixes anything withheld (every label appears once, say), the
first method in the catalogue's order is taken: cheapest and least invasive. The chosen method is then run on all of
``repair``.
"""

from __future__ import annotations

from collections.abc import Sequence

from symbio_lab.budget import CostMeter
from symbio_lab.errors import BudgetExceededError, EmptySliceError, ModelError
from symbio_lab.evaluation.metrics.net_gain import SLICE_SHARE
from symbio_lab.events import SurgeryFinished, emit
from symbio_lab.healing.context import HealingContext, seal_operated
from symbio_lab.models.operated import Operated
from symbio_lab.models.protocol import count_tokens
from symbio_lab.records import Attempt, Patch, Sample
from symbio_lab.seeding import derive_seed
from symbio_lab.surgery.catalogue import applicable_methods
from symbio_lab.surgery.protocol import SurgeryMethod

WITHHELD = 4
"""One repair sample in this many is withheld for choosing the method."""
MIN_REPAIR_TO_CHOOSE = 4
MAX_GUARD = 256
"""Replay samples withheld for choosing, at most (and at most a quarter)."""


def operate_one(context: HealingContext, method: SurgeryMethod) -> tuple[Patch | None, Attempt]:
    """Run one method on all of ``repair`` and ``replay`` and seal its patch."""
    task = context.task
    before = context.meter.elapsed_s()
    try:
        with context.meter.phase("surgery"):
            context.saw("repair", len(task.repair))
            context.saw("replay", len(task.replay))
            seed = derive_seed(context.seed, "surgery", method.name)
            operated = method.operate(context.model, task.repair, task.replay, seed=seed, meter=context.meter)
            patch = seal_operated(context, operated)
    except (BudgetExceededError, EmptySliceError, ModelError) as error:
        return None, context.note(Attempt("surgery", method.name, "skipped", error.code, str(error)))
    emit(context.listener, SurgeryFinished(method.name, len(task.repair), context.meter.elapsed_s() - before))
    attempt = Attempt("surgery", method.name, "proposed", "", f"trained on {len(task.repair)} failures")
    return patch, context.note(attempt)


def operate_best(context: HealingContext) -> tuple[Patch | None, list[Attempt]]:
    """Choose a method on withheld repair samples, then run it on all of them."""
    methods = applicable_methods(context.task.task_type, context.task.label_shift, context.lora)
    if not methods:
        return None, [
            context.note(Attempt("surgery", "-", "skipped", "no_method", "no surgery method serves this task"))
        ]
    chosen, attempts = _choose(context, methods)
    for method in [chosen, *[m for m in methods if m is not chosen]]:
        patch, attempt = operate_one(context, method)
        attempts.append(attempt)
        if patch is not None:
            return patch, attempts
    return None, attempts


def gate_reserve(context: HealingContext) -> float:
    """Return the forwards-equivalent that one gate look costs; kept back from choosing."""
    return 2.0 * (len(context.task.selection) + len(context.task.control_selection))


def _choose(context: HealingContext, methods: Sequence[SurgeryMethod]) -> tuple[SurgeryMethod, list[Attempt]]:
    task = context.task
    if len(task.repair) < MIN_REPAIR_TO_CHOOSE or len(methods) == 1:
        return methods[0], []
    withheld = task.repair[::WITHHELD]
    train = tuple(s for i, s in enumerate(task.repair) if i % WITHHELD)
    num_guard = min(MAX_GUARD, len(task.replay) // 4)
    guard, replay = task.replay[:num_guard], task.replay[num_guard:]
    attempts: list[Attempt] = []
    best, best_score = methods[0], 0.0
    with context.meter.phase("choose_surgery"):
        context.saw("repair", len(task.repair))
        context.saw("replay", len(task.replay))
        for method in methods:
            again = method.estimate_forwards(context.model, len(task.repair), len(task.replay))
            trial = method.estimate_forwards(context.model, len(train), len(replay)) + 2 * (len(withheld) + len(guard))
            if not context.meter.would_fit(trial + again + gate_reserve(context)):
                attempts.append(
                    context.note(Attempt("surgery", method.name, "skipped", "budget_exceeded", "no budget to try it"))
                )
                continue
            try:
                seed = derive_seed(context.seed, "choose", method.name)
                operated = method.operate(context.model, train, replay, seed=seed, meter=context.meter)
            except (EmptySliceError, ModelError) as error:
                attempts.append(context.note(Attempt("surgery", method.name, "skipped", error.code, str(error))))
                continue
            fix, flip = _trial_rates(context, operated, withheld, guard, context.meter)
            score = 100 * (SLICE_SHARE * fix - (1 - SLICE_SHARE) * flip)
            figures = {"score_pp": score, "fix_rate": fix, "flip_rate": flip, "num_failures": float(len(withheld))}
            trial_of = Attempt("surgery", method.name, "screened", "", "on withheld repair", "", figures)
            attempts.append(context.note(trial_of))
            if score > best_score:
                best, best_score = method, score
    return best, attempts


def _trial_rates(
    context: HealingContext,
    operated: Operated,
    withheld: Sequence[Sample],
    guard: Sequence[Sample],
    meter: CostMeter,
) -> tuple[float, float]:
    model = context.model
    base = context.base.on([s.text for s in guard], meter).outputs
    texts = [s.text for s in (*withheld, *guard)]
    meter.charge_forwards(len(texts), num_tokens=count_tokens(model, texts))
    with model.applied_adapter(operated.to_adapter(), operated.method):
        outputs = model.predict(texts).outputs
    fixed = [model.is_correct(o, s.expected) for o, s in zip(outputs[: len(withheld)], withheld, strict=True)]
    right = [model.is_correct(o, s.expected) for o, s in zip(base, guard, strict=True)]
    still = [model.is_correct(o, s.expected) for o, s in zip(outputs[len(withheld) :], guard, strict=True)]
    broken = sum(r and not s for r, s in zip(right, still, strict=True))
    return sum(fixed) / max(len(fixed), 1), broken / max(sum(right), 1)
