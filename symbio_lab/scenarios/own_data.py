"""A user's own model and data as worlds: failures and controls come from running the model.

Rules:
    1. The model answers every row once; a failure is a wrong answer, whatever the row's label.
    2. A slice is all rows with one value of a column, or, where none is named, a pattern of the failures: rows of one
       gold label (classification), or rows with one word that sets the failures apart (generation).
    3. Rows outside the slice are control traffic. Replay comes from the training table, without the texts and groups
       of the data; without one, a share of the rows outside the slice is replay and never control.
    4. Groups (a column, else near-duplicate clusters) are never divided; a group that touches the slice belongs to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from symbio_lab.config import Settings
from symbio_lab.errors import DataError, EmptySliceError
from symbio_lab.evaluation.suites import SuiteSources
from symbio_lab.events import BuildProgress, Listener, emit
from symbio_lab.failures.own_labels import match_labels
from symbio_lab.failures.splitting import split_groups
from symbio_lab.failures.tables import MAX_ROWS, Table, read_table
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Sample, content_id
from symbio_lab.scenarios.own_slices import Predicate, check_controls, check_slice, failure_patterns, slice_of, value_is
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.scenarios.sources import WorldSources
from symbio_lab.scenarios.world import World
from symbio_lab.seeding import derive_seed
from symbio_lab.surgery.lora_training import LoraSettings

SLICE_SHARES = {"repair": 0.6, "judge": 0.4}
"""How the slice's groups are divided between the healer and the judge."""
REPLAY_SHARE = 0.3
"""Share of the rows outside the slice that is replay where no training table is given."""
MAX_PATTERNS = 3
"""Patterns that become worlds, at most."""
CHUNK = 2048
"""Rows answered between two progress events."""
GENERATION_LORA = LoraSettings(rank=16, alpha=32.0, targets="all_linear", min_steps=100)


@dataclass(frozen=True, slots=True)
class OwnData:
    """What a user gives."""

    data: str
    """Table or Hub id: traffic with gold labels or outputs."""
    text_field: str = "text"
    label_field: str = "label"
    slice: str | None = None
    """``FIELD=VALUE``; None lets the failure patterns be the slices."""
    group_field: str | None = None
    train: str | None = None
    """Table of what the model was trained on, for replay."""
    max_rows: int = MAX_ROWS
    """Rows kept of a table, drawn evenly over it."""


@dataclass(frozen=True, slots=True)
class OwnWorlds:
    """The worlds that the data gave, and what was left out."""

    worlds: tuple[World, ...]
    left_out: tuple[str, ...]
    """Patterns that are too small, with the reason."""
    accuracy: float
    """Of the model on all rows read, in [0, 1]."""
    num_rows: int


@dataclass(frozen=True, slots=True)
class _Answered:
    samples: tuple[Sample, ...]
    wrong: tuple[bool, ...]
    outputs: tuple[str, ...]


def own_worlds(
    model: PatchableModel,
    own: OwnData,
    settings: Settings,
    *,
    n_repair: int,
    min_controls: int,
    listener: Listener | None = None,
) -> OwnWorlds:
    """Return one world for each slice.

    Args:
        model: the failing model.
        own: the data.
        settings: state folder, device, threads.
        n_repair: failures that an incident gives the healer.
        min_controls: control samples that the gate needs.
        listener: told about progress.

    Raises:
        DataError: the data cannot be used; the message says which rows or columns, the hint what to do.
        EmptySliceError: no slice has enough failures, or there is too little other traffic for the gate.
        UnknownLabelsError: none of the gold labels is one of the model's.
    """
    named = slice_of(own.slice) if own.slice else None
    table = read_table(
        own.data,
        own.text_field,
        own.label_field,
        group_field=own.group_field,
        domain_field=named[0] if named else None,
        max_rows=own.max_rows,
    )
    samples, facts = _usable(table, model)
    train, train_facts = _training_rows(own, model, samples)
    if named:
        held_back = 0.0 if train else REPLAY_SHARE
        check_slice(samples, *named, n_repair=n_repair, min_controls=min_controls, held_back=held_back)
    answered = _answer(model, samples, listener)
    facts |= train_facts | {"accuracy": 1 - sum(answered.wrong) / len(samples), "num_rows": len(samples)}
    if named:
        chosen = {f"{named[0]}={named[1]}": value_is(named[1])}
    else:
        chosen = failure_patterns(model, samples, answered.outputs, answered.wrong)
    worlds, left_out = [], []
    for name, inside in chosen.items():
        try:
            worlds.append(
                _world(model, name, inside, answered, train, table, settings, facts, n_repair, min_controls, listener)
            )
        except EmptySliceError as error:
            if named:
                raise
            left_out.append(f"{name}: {error}")
        if len(worlds) == MAX_PATTERNS:
            break
    rest = list(chosen)[len(worlds) + len(left_out) :]
    left_out += [f"{name}: {MAX_PATTERNS} larger patterns were taken" for name in rest]
    if not worlds:
        raise EmptySliceError(
            f"the model is wrong on {sum(answered.wrong)} of {len(samples)} rows, and no pattern is large enough: "
            + "; ".join(left_out[:3]),
            hint="lower --n-repair, give more rows, or name a slice with --slice FIELD=VALUE",
        )
    return OwnWorlds(tuple(worlds), tuple(left_out), float(facts["accuracy"]), len(samples))


def _usable(table: Table, model: PatchableModel) -> tuple[tuple[Sample, ...], dict[str, Any]]:
    """Return the rows with gold labels in the model's own names, each text once."""
    first: dict[str, Sample] = {}
    for sample in table.samples:
        first.setdefault(sample.text, sample)
    samples = tuple(first.values())
    facts: dict[str, Any] = {"rows_left_out": table.num_left_out, "repeated_texts": len(table.samples) - len(samples)}
    if model.task_type == "text_classification":
        samples, renamed = match_labels(samples, model.labels)
        facts["labels_by_number"] = renamed
        if len({s.expected for s in samples}) < 2:
            raise DataError(
                f"{table.name} holds one class only: {samples[0].expected!r}",
                hint="give traffic of several classes: right answers elsewhere are what healing must not break",
            )
    elif len({s.expected for s in samples}) < 2:
        raise DataError(f"every row of {table.name} has the same output", hint="check --label-field")
    return samples, facts


def _training_rows(
    own: OwnData, model: PatchableModel, samples: Sequence[Sample]
) -> tuple[tuple[Sample, ...], dict[str, Any]]:
    """Return the training rows that share no text and no group with the data, and how many did."""
    if own.train is None:
        return (), {"replay": f"{REPLAY_SHARE:.0%} of the rows outside the slice"}
    table = read_table(own.train, own.text_field, own.label_field, max_rows=own.max_rows)
    rows = table.samples
    if model.task_type == "text_classification":
        rows, _ = match_labels(rows, model.labels)
        rows = tuple(s for s in rows if s.expected in model.labels)
    taken = {s.text for s in samples} | {s.group for s in samples}
    kept = tuple(s for s in rows if s.text not in taken and s.group not in taken)
    if not kept:
        raise DataError(f"every row of {table.name} is in the data too", hint="give what the model was trained on")
    return kept, {"replay": f"{table.name}, {len(kept)} rows", "replay_dropped": len(table.samples) - len(kept)}


def _answer(model: PatchableModel, samples: tuple[Sample, ...], listener: Listener | None) -> _Answered:
    outputs: list[str] = []
    for start in range(0, len(samples), CHUNK):
        emit(listener, BuildProgress("answers of the model", start, len(samples)))
        outputs += model.predict([s.text for s in samples[start : start + CHUNK]]).outputs
    model.forget()
    emit(listener, BuildProgress("answers of the model", len(samples), len(samples)))
    wrong = tuple(not model.is_correct(o, s.expected) for o, s in zip(outputs, samples, strict=True))
    return _Answered(samples, wrong, tuple(outputs))


def _world(
    model: PatchableModel,
    name: str,
    inside: Predicate,
    answered: _Answered,
    train: tuple[Sample, ...],
    table: Table,
    settings: Settings,
    facts: dict[str, Any],
    n_repair: int,
    min_controls: int,
    listener: Listener | None,
) -> World:
    groups = {s.group for s in answered.samples if inside(s)}
    sliced = tuple(replace(s, domain=name, source="slice") for s in answered.samples if inside(s))
    mixed = sum(s.group in groups and not inside(s) for s in answered.samples)
    other = tuple(replace(s, domain="other traffic", source="other") for s in answered.samples if s.group not in groups)
    seed = derive_seed(0, "own data", name)
    parts = split_groups(sliced, SLICE_SHARES, seed)
    replay, control = train, other
    if not train:
        if not other:
            raise EmptySliceError(f"there are no rows outside {name}", hint="give traffic that the model gets right")
        divided = split_groups(other, {"replay": REPLAY_SHARE, "control": 1 - REPLAY_SHARE}, seed)
        replay, control = divided["replay"], divided["control"]
    check_controls(len(control), min_controls)
    failed = {s.text for s, wrong in zip(answered.samples, answered.wrong, strict=True) if wrong}
    available = sum(s.text in failed for s in parts["repair"])
    if available < n_repair:
        raise EmptySliceError(f"{available} failures are left to repair, --n-repair asks for {n_repair}")
    known = model.task_type == "text_generation" or {s.expected for s in answered.samples} <= set(model.labels)
    generation = model.task_type == "text_generation"
    recipe = WorldRecipe(
        name=f"own/{name}",
        dataset=table.name,
        domain=name,
        task_type=model.task_type,
        label_shift="known" if known else "new",
        lora=GENERATION_LORA if generation else LoraSettings(),
        budget_forwards=150_000.0 if generation else 60_000.0,
        notes=f"Replay: {facts['replay']}.",
    )
    sources = WorldSources((), (), (), (), SuiteSources(parts["repair"], parts["judge"], replay, control))
    digest = content_id([[[s.text, s.expected, s.group] for s in part] for part in (answered.samples, train)])
    told = {**facts, "slice_rows": len(sliced), "slice_failures": sum(s.text in failed for s in sliced)}
    told["groups_on_both_sides"] = mixed
    return World(recipe, 0, model, sources, settings, digest, table.origin, listener, told)
