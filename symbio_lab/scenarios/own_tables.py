"""A user's tables as rows that one model can be judged on: read, labelled in its names, each text once.

Rules:
    1. Nothing here runs the model: bad tables are found before any heavy work.
    2. Whatever is left out, merged or renamed is counted and said in a note.
    3. Training rows that share a text, a group or nearly all words with the data are not replay: they would leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from symbio_lab.errors import DataError, MissingColumnsError, WrongTaskError
from symbio_lab.failures.grouping import near_neighbours
from symbio_lab.failures.own_labels import match_labels
from symbio_lab.failures.tables import MAX_ROWS, Table, read_table
from symbio_lab.models.generator import TextGenerator
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Sample
from symbio_lab.scenarios.own_slices import slice_of

MAX_CLASSES = 20
"""Single words or numbers, at most, that look like class labels when each stands ``MIN_REPEATS`` times in the mean."""
MIN_REPEATS = 20


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
    """Column of what splits keep together; None keeps near duplicates together."""
    domain_field: str | None = None
    """Column whose values the failure patterns are; None finds them by label or by word."""
    train: str | None = None
    """Table of what the model was trained on, for replay."""
    max_rows: int = MAX_ROWS
    """Rows kept of a table, drawn evenly over it."""

    def problems(self) -> list[str]:
        """Return what is wrong with the settings themselves."""
        found = []
        if self.slice is not None:
            name, equals, _ = self.slice.partition("=")
            if not equals or not name.strip():
                found.append(f"--slice {self.slice!r}: not FIELD=VALUE, such as topic=returns")
            if self.domain_field is not None:
                found.append("--slice names its column itself: leave out --domain-field")
        if self.max_rows < 1:
            found.append("--max-rows must be at least 1")
        return found


@dataclass(frozen=True, slots=True)
class OwnTables:
    """The tables as read."""

    own: OwnData
    data: Table
    train: Table | None


@dataclass(frozen=True, slots=True)
class OwnRows:
    """Rows that a model can be judged on."""

    samples: tuple[Sample, ...]
    """Traffic, every text once, gold labels in the model's names, (N,)."""
    train: tuple[Sample, ...]
    """Replay rows; empty without a training table."""
    facts: dict[str, Any]
    """What was counted."""
    notes: tuple[str, ...]
    """The same in sentences, where there is something to say."""


def read_own(own: OwnData) -> OwnTables:
    """Return the user's tables.

    Raises:
        DataError: a table cannot be used; the message says which rows or columns, the hint what to do.
    """
    domain_field = slice_of(own.slice)[0] if own.slice else own.domain_field
    fields: dict[str, Any] = {"group_field": own.group_field, "max_rows": own.max_rows}
    data = read_table(own.data, own.text_field, own.label_field, domain_field=domain_field, **fields)
    if own.train is None:
        return OwnTables(own, data, None)
    try:
        train = read_table(own.train, own.text_field, own.label_field, **fields)
    except MissingColumnsError:
        if own.group_field is None:
            raise
        # Training tables seldom keep the conversation or template of a row; near duplicates are dropped all the same.
        train = read_table(own.train, own.text_field, own.label_field, max_rows=own.max_rows)
    return OwnTables(own, data, train)


def usable_rows(tables: OwnTables, model: PatchableModel, *, task: str | None = None) -> OwnRows:
    """Return the rows that ``model`` can be judged on.

    Args:
        tables: as read.
        model: who will answer.
        task: what the caller insisted on; None refuses class labels for a generator.

    Raises:
        DataError: one class or output only, or nothing is left.
        UnknownLabelsError: the gold labels are not the model's, or it is unclear which is meant.
        WrongTaskError: the gold values look like class labels and the model writes text.
    """
    table = tables.data
    samples, num_conflicts = _once(table.samples)
    facts: dict[str, Any] = {
        "rows_left_out": table.num_left_out,
        "repeated_texts": len(table.samples) - len(samples),
        "conflicting_labels": num_conflicts,
    }
    notes = []
    if table.num_left_out:
        notes.append(f"{table.num_left_out:,} rows of {table.name} were left out, evenly drawn (--max-rows).")
    if num_conflicts:
        notes.append(f"Texts with different labels in {table.name}: {num_conflicts:,}; the first label was taken.")
    if isinstance(model, TextGenerator):
        if task is None:
            _check_outputs(samples, model)
        samples, num_long = _that_fit(samples, model)
        facts["too_long"] = num_long
        if num_long:
            notes.append(f"{num_long:,} rows are longer than the model can read or may write and were left out.")
    else:
        samples, renamed = match_labels(samples, model.labels)
        facts["labels_by_number"] = renamed
        if renamed:
            notes.append("Gold labels are numbers; each was read as the name of its row in id2label.")
        if new := sorted({s.expected for s in samples} - set(model.labels)):
            notes.append(f"The model has no row for {len(new)} gold label(s): {', '.join(new[:8])}.")
    if not samples:
        raise DataError(
            f"every row of {table.name} is longer than the model can read or may write", hint="shorten them"
        )
    if len({s.expected for s in samples}) < 2:
        kind = "class" if model.task_type == "text_classification" else "output"
        raise DataError(
            f"{table.name} holds one {kind} only: {samples[0].expected!r:.80}",
            hint="check --label-field; traffic that the model gets right elsewhere is what healing must not break",
        )
    train, more, said = _replay_rows(tables.train, model, samples)
    return OwnRows(samples, train, facts | more, (*notes, *said))


def _once(samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], int]:
    """Return the first row of each text, and how many texts carry different labels."""
    first: dict[str, Sample] = {}
    conflicts = set()
    for sample in samples:
        if first.setdefault(sample.text, sample).expected != sample.expected:
            conflicts.add(sample.text)
    return tuple(first.values()), len(conflicts)


def _check_outputs(samples: Sequence[Sample], model: PatchableModel) -> None:
    gold = sorted({s.expected for s in samples})
    are_words = all(len(value.split()) == 1 for value in gold)
    if are_words and len(gold) <= MAX_CLASSES and len(samples) >= MIN_REPEATS * len(gold):
        raise WrongTaskError(
            f"the data look like class labels ({len(gold)} values on {len(samples)} rows: {', '.join(gold[:4])!r:.80}) "
            f"and {model.model_id} is a causal language model",
            hint="use a sequence classifier, or say --task text_generation if the model is meant to write the label",
        )


def _that_fit(samples: tuple[Sample, ...], model: TextGenerator) -> tuple[tuple[Sample, ...], int]:
    """Return the rows whose prompt leaves room for an answer and whose gold output may be written, and how many not."""
    context = getattr(model.module.config, "max_position_embeddings", None)
    most = int(context) - model.max_new_tokens if context else None
    prompts = model.encode([s.text for s in samples])
    kept = tuple(
        s
        for s, ids in zip(samples, prompts, strict=True)
        if (most is None or len(ids) <= most) and len(model.encode_answer(s.expected)) <= model.max_new_tokens
    )
    return kept, len(samples) - len(kept)


def _replay_rows(
    table: Table | None, model: PatchableModel, samples: Sequence[Sample]
) -> tuple[tuple[Sample, ...], dict[str, Any], tuple[str, ...]]:
    """Return the training rows that may be replayed, what was counted, and a note."""
    if table is None:
        return (), {}, ()
    rows, _ = _once(table.samples)
    if isinstance(model, TextGenerator):
        rows, _ = _that_fit(rows, model)
    else:
        rows, _ = match_labels(rows, model.labels)
        rows = tuple(s for s in rows if s.expected in model.labels)
    taken = {s.text for s in samples} | {s.group for s in samples}
    apart = tuple(s for s in rows if s.text not in taken and s.group not in taken)
    near = near_neighbours([s.text for s in apart], [s.text for s in samples])
    kept = tuple(s for s, is_near in zip(apart, near, strict=True) if not is_near)
    num_shared = len(rows) - len(kept)
    if not kept:
        raise DataError(
            f"no row of {table.name} can be replayed: {num_shared:,} of {len(table.samples):,} are in the data too",
            hint="give what the model was trained on, or leave out --train",
        )
    facts = {"replay_rows": len(kept), "replay_dropped": num_shared, "replay_left_out": table.num_left_out}
    dropped = f"; {num_shared:,} that the data hold too, word for word or nearly, were dropped" if num_shared else ""
    return kept, facts, (f"Replay: {len(kept):,} rows of {table.name}{dropped}.",)
