"""A user's own model and data as worlds: failures and controls come from running the model.

Rules:
    1. The model answers every row once; a failure is a wrong answer, whatever the row's label.
    2. A slice is all rows with one value of a column, or, where none is named, a pattern of the failures
       (``own_slices.failure_patterns``). It holds what the model gets right there, too.
    3. Rows outside the slice are control traffic. Replay comes from the training table, without the texts and groups
       of the data; without one, a share of the rows outside the slice is replay and never control.
    4. Groups (a column, else near-duplicate clusters) are never divided: rows outside the slice whose group touches it
       are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from symbio_lab.config import Settings
from symbio_lab.errors import EmptySliceError
from symbio_lab.evaluation.suites import SuiteSources
from symbio_lab.events import BuildProgress, Listener, emit
from symbio_lab.failures.splitting import split_groups
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Sample, content_id
from symbio_lab.scenarios.own_slices import Slice, check_controls, check_slice, failure_patterns, slice_of, value_slice
from symbio_lab.scenarios.own_tables import OwnData as OwnData
from symbio_lab.scenarios.own_tables import OwnTables, usable_rows
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.scenarios.sources import WorldSources
from symbio_lab.scenarios.world import World
from symbio_lab.seeding import derive_seed
from symbio_lab.surgery.lora_training import LoraSettings

SLICE_SHARES = {"repair": 0.6, "judge": 0.4}
"""How the slice's groups are divided between the healer and the judge."""
REPLAY_SHARE = 0.3
"""Share of the rows outside the slice that is replay where no training table is given."""
PREFIX = "own/"
"""Worlds are named by it and their slice."""
MAX_PATTERNS = 3
"""Patterns that become worlds, at most."""
CHUNK = 2048
"""Rows answered between two progress events."""
GENERATION_LORA = LoraSettings(rank=16, alpha=32.0, targets="all_linear", min_steps=100)


@dataclass(frozen=True, slots=True)
class OwnWorlds:
    """The worlds that the data gave, and what was left out."""

    worlds: tuple[World, ...]
    left_out: tuple[str, ...]
    """Patterns that did not become worlds, with the reason."""
    accuracy: float
    """Of the model on all rows kept, in [0, 1]."""
    num_rows: int
    notes: tuple[str, ...] = ()
    """What was merged, renamed or left out of the tables, in sentences."""


@dataclass(frozen=True, slots=True)
class _Traffic:
    """All rows with the model's answers, and what every world of them shares."""

    model: PatchableModel
    samples: tuple[Sample, ...]
    outputs: tuple[str, ...]
    wrong: tuple[bool, ...]
    train: tuple[Sample, ...]
    table: str
    origin: str
    digest: str
    facts: Mapping[str, Any]
    notes: tuple[str, ...]


def own_worlds(
    model: PatchableModel,
    tables: OwnTables,
    settings: Settings,
    *,
    n_repair: int,
    min_controls: int,
    task: str | None = None,
    listener: Listener | None = None,
) -> OwnWorlds:
    """Return one world for each slice.

    Args:
        model: the failing model.
        tables: the user's data, as ``read_own`` returns them.
        settings: state folder, device, threads.
        n_repair: failures that an incident gives the healer.
        min_controls: control samples that the gate needs.
        task: the task type that the caller insisted on, if any.
        listener: told about progress.

    Raises:
        DataError: the data cannot be used; the message says which rows or columns, the hint what to do.
        EmptySliceError: no slice has enough failures, or there is too little other traffic for the gate.
        UnknownLabelsError: the gold labels are not the model's.
        WrongTaskError: the gold values are class labels and the model writes text.
    """
    own = tables.own
    named = slice_of(own.slice) if own.slice else None
    rows = usable_rows(tables, model, task=task)
    if named:
        held_back = 0.0 if rows.train else REPLAY_SHARE
        check_slice(rows.samples, *named, n_repair=n_repair, min_controls=min_controls, held_back=held_back)
    outputs = _answers(model, rows.samples, listener)
    wrong = tuple(not model.is_correct(o, s.expected) for o, s in zip(outputs, rows.samples, strict=True))
    accuracy = 1 - sum(wrong) / len(wrong)
    traffic = _Traffic(
        model,
        rows.samples,
        outputs,
        wrong,
        rows.train,
        tables.data.name,
        tables.data.origin,
        # The domain is part of it: it is the column that a slice is cut by.
        content_id([[[s.text, s.expected, s.group, s.domain] for s in part] for part in (rows.samples, rows.train)]),
        rows.facts | {"accuracy": accuracy, "num_rows": len(rows.samples)},
        rows.notes,
    )
    if named:
        chosen: tuple[Slice, ...] = (value_slice(*named),)
    else:
        chosen = failure_patterns(model, rows.samples, outputs, wrong, domain_field=own.domain_field)
    worlds: list[World] = []
    left_out = []
    for part in chosen:
        if len(worlds) == MAX_PATTERNS:
            left_out.append(f"{part.name}: {MAX_PATTERNS} larger patterns were taken")
            continue
        try:
            worlds.append(_world(traffic, part, settings, n_repair, min_controls, listener))
        except EmptySliceError as error:
            if named:
                raise
            left_out.append(f"{part.name}: {error}")
    if not worlds:
        reasons = "; ".join(left_out[:3]) or "no word sets the failures apart"
        raise EmptySliceError(
            f"the model is wrong on {sum(wrong)} of {len(wrong)} rows, and no pattern is large enough: {reasons}",
            hint="lower --n-repair, give more rows, or name a slice with --slice FIELD=VALUE",
        )
    return OwnWorlds(tuple(worlds), tuple(left_out), accuracy, len(wrong), rows.notes)


def _answers(model: PatchableModel, samples: tuple[Sample, ...], listener: Listener | None) -> tuple[str, ...]:
    outputs: list[str] = []
    for start in range(0, len(samples), CHUNK):
        emit(listener, BuildProgress("answers of the model", start, len(samples)))
        outputs += model.predict([s.text for s in samples[start : start + CHUNK]]).outputs
    model.forget()
    emit(listener, BuildProgress("answers of the model", len(samples), len(samples)))
    return tuple(outputs)


def _world(
    traffic: _Traffic,
    cut: Slice,
    settings: Settings,
    n_repair: int,
    min_controls: int,
    listener: Listener | None,
) -> World:
    model = traffic.model
    within = [cut.holds(s) for s in traffic.samples]
    groups = {s.group for s, is_in in zip(traffic.samples, within, strict=True) if is_in}
    failed = {s.text for s, bad, is_in in zip(traffic.samples, traffic.wrong, within, strict=True) if bad and is_in}
    if len(failed) <= n_repair:
        raise _too_few(len(failed), len(failed), sum(within), n_repair)
    sliced = tuple(
        replace(s, domain=cut.about, source="slice") for s, is_in in zip(traffic.samples, within, strict=True) if is_in
    )
    other = tuple(replace(s, domain="other traffic", source="other") for s in traffic.samples if s.group not in groups)
    num_mixed = len(traffic.samples) - len(sliced) - len(other)
    check_controls(len(other) if traffic.train else round((1 - REPLAY_SHARE) * len(other)), min_controls)
    seed = derive_seed(0, "own data", cut.name)
    parts = split_groups(sliced, SLICE_SHARES, seed)
    available = sum(s.text in failed for s in parts["repair"])
    if available < n_repair or available == len(failed):
        raise _too_few(min(available, len(failed) - 1), len(failed), len(sliced), n_repair)
    replay, control, notes = traffic.train, other, list(traffic.notes)
    if not replay:
        divided = split_groups(other, {"replay": REPLAY_SHARE, "control": 1 - REPLAY_SHARE}, seed)
        control = divided["control"]
        known = set(model.labels) or {s.expected for s in other}
        # A label without a head row outside the slice is nothing that surgery on the slice could learn.
        replay = tuple(s for s in divided["replay"] if s.expected in known)
        notes.append(f"Replay: {len(replay):,} rows outside the slice, kept apart from control.")
        check_controls(len(control), min_controls)
    if num_mixed:
        notes.append(f"{num_mixed:,} rows outside the slice share a group with it and were left out.")
    generation = model.task_type == "text_generation"
    recipe = WorldRecipe(
        name=f"{PREFIX}{cut.name}",
        dataset=traffic.table,
        domain=cut.about,
        task_type=model.task_type,
        label_shift="known" if generation or {s.expected for s in traffic.samples} <= set(model.labels) else "new",
        lora=GENERATION_LORA if generation else LoraSettings(),
        budget_forwards=150_000.0 if generation else 60_000.0,
        notes=" ".join(notes),
    )
    sources = WorldSources((), (), (), (), SuiteSources(parts["repair"], parts["judge"], replay, control))
    told = {"slice_rows": len(sliced), "slice_failures": len(failed), "groups_on_both_sides": num_mixed}
    facts = {**traffic.facts, **told, "replay_rows": len(replay)}
    return World(recipe, 0, model, sources, settings, traffic.digest, traffic.origin, listener, facts)


def _too_few(available: int, num_failed: int, num_rows: int, n_repair: int) -> EmptySliceError:
    lower = f"--n-repair {available}, or " if available >= 2 else ""
    return EmptySliceError(
        f"the model is wrong on {num_failed} of its {num_rows} rows; --n-repair asks for {n_repair}, and the judge "
        "needs some as well",
        hint=f"use {lower}more labelled rows of this slice",
    )
