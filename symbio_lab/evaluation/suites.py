"""Failure suites: built from a model's actual errors, split by group, with every overlap an error.

Rules:
    1. A failure is a sample that the model answers wrongly, never one that carries some label.
    2. Groups (templates, products, near-duplicate clusters) never straddle what is trained on, gated on and judged.
    3. ``by="text"`` exists for grammars such as SCAN where groups cannot be kept apart; the suite says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from symbio_lab.errors import EmptySliceError, UnknownLabelsError
from symbio_lab.evaluation.judging import JudgeSet
from symbio_lab.evaluation.repair_task import RepairTask, split_failures
from symbio_lab.failures.splitting import check_disjoint
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import LabelShift, Sample
from symbio_lab.seeding import shuffled


@dataclass(frozen=True, slots=True)
class FailureSuite:
    """One incident: what the healer is given and what it is judged on."""

    task: RepairTask
    judge: JudgeSet
    disjoint_by: str
    """``group`` or ``text``."""


@dataclass(frozen=True, slots=True)
class SuiteSources:
    """Labelled samples to draw an incident from; groups are disjoint between all of them."""

    slice_repair: tuple[Sample, ...]
    """Slice traffic that failures for the healer are drawn from."""
    slice_judge: tuple[Sample, ...]
    """Slice traffic for ``slice_holdout`` and ``holdout``."""
    replay: tuple[Sample, ...]
    control: tuple[Sample, ...]
    """Traffic outside the slice, for ``control_selection`` and ``control_holdout``."""
    out_of_scope: tuple[Sample, ...] = ()
    paraphrase: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class SuiteSizes:
    """How many labelled samples an incident has."""

    n_repair: int = 16
    n_replay: int = 512
    n_control_selection: int = 1000
    n_control_holdout: int = 2000
    n_slice_holdout: int = 400
    n_out_of_scope: int = 400


def failures_of(model: PatchableModel, samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return the samples that the model answers wrongly, in order."""
    outputs = model.predict([s.text for s in samples]).outputs
    return tuple(s for s, o in zip(samples, outputs, strict=True) if not model.is_correct(o, s.expected))


def check_labels(model: PatchableModel, samples: Iterable[Sample], label_shift: LabelShift) -> None:
    """Raise ``UnknownLabelsError`` when labels are new but ``label_shift`` says that they are known."""
    if model.task_type == "text_classification" and label_shift == "known":
        unknown = {s.expected for s in samples} - set(model.labels)
        if unknown:
            raise UnknownLabelsError(sorted(unknown))


def _split_control(
    control: Sequence[Sample], sizes: SuiteSizes, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Give whole groups of control traffic to the gate, at most half of it, and the rest to the judge."""
    groups: dict[str, list[Sample]] = {}
    for sample in control:
        groups.setdefault(sample.group, []).append(sample)
    quota = min(sizes.n_control_selection, len(control) // 2)
    gate: list[Sample] = []
    judge: list[Sample] = []
    for members in shuffled(groups.values(), seed, "control"):
        (gate if len(gate) + len(members) <= quota else judge).extend(members)
    return tuple(gate), tuple(judge[: sizes.n_control_holdout])


def build_suite(
    model: PatchableModel,
    sources: SuiteSources,
    sizes: SuiteSizes,
    *,
    label_shift: LabelShift,
    domain: str,
    description: str,
    seed: int,
    disjoint_by: str = "group",
) -> FailureSuite:
    """Return the incident that ``seed`` draws.

    Args:
        model: the base; its errors define the failures.
        sources: where samples come from.
        sizes: how many.
        label_shift: ``new`` lets failures carry labels that the model lacks.
        domain: name of the slice.
        description: the failure in words.
        seed: redraws every sample.
        disjoint_by: ``group``, or ``text`` where groups cannot be kept apart.

    Raises:
        EmptySliceError: too few failures, or no control traffic.
        UnknownLabelsError: new labels under ``label_shift='known'``.
        LeakageError: two splits share a group (or a text).
    """
    check_labels(model, (*sources.slice_repair, *sources.slice_judge), label_shift)
    pool = failures_of(model, shuffled(sources.slice_repair, seed, "repair"))
    if len(pool) < sizes.n_repair or sizes.n_repair < 2:
        raise EmptySliceError(
            f"the model fails on {len(pool)} samples of {domain!r}, {sizes.n_repair} are asked for",
            hint="lower --n-repair (at least 2), or check that the model really fails on this slice",
        )
    slice_holdout = tuple(shuffled(sources.slice_judge, seed, "judge")[: sizes.n_slice_holdout])
    holdout = failures_of(model, slice_holdout)
    if not holdout or not sources.control:
        raise EmptySliceError(f"no failures of {domain!r} are left to judge on, or there is no control traffic")
    repair, selection = split_failures(pool[: sizes.n_repair])
    gate, judge = _split_control(sources.control, sizes, seed)
    parts = {
        "repair": repair,
        "selection": selection,
        "replay": tuple(shuffled(sources.replay, seed, "replay")[: sizes.n_replay]),
        "control_selection": gate,
        "slice_holdout": slice_holdout,
        "control_holdout": judge,
        "out_of_scope": tuple(shuffled(sources.out_of_scope, seed, "oos")[: sizes.n_out_of_scope]),
    }
    by: Literal["group", "text"] = "text" if disjoint_by == "text" else "group"
    check_disjoint(parts, by=by)
    # Paraphrases reword judged failures, so they may share groups with those, never with what the healer is given.
    given = (*repair, *selection, *parts["replay"], *gate)
    check_disjoint({"what the healer is given": given, "paraphrase": sources.paraphrase}, by=by)
    task = RepairTask(
        task_type=model.task_type,
        label_shift=label_shift,
        domain=domain,
        description=description,
        repair=repair,
        selection=selection,
        replay=parts["replay"],
        control_selection=gate,
    )
    judged = JudgeSet(
        holdout=holdout,
        slice_holdout=slice_holdout,
        control_holdout=judge,
        out_of_scope=parts["out_of_scope"],
        paraphrase=sources.paraphrase,
    )
    return FailureSuite(task, judged, disjoint_by)
