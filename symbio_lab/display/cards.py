"""A record as a notebook shows it: a readable card instead of a line of fields.

``records.py`` names this module, so that a record in the last line of a cell is a card; plain ``repr`` stays.

Example:
    >>> from symbio_lab.records import FailureRecord
    >>> said = FailureRecord("m", "text_classification", "travel", "wrong_label", "book it", "book", "cancel")
    >>> print(card(said))
    FailureRecord
    field         value
    input         book it
    right answer  book
    answer        cancel
    model         m
    domain        travel
    severity      medium
    observed      –
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symbio_lab.display import words
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import NONE, count, num_bytes, percent, percent_range
from symbio_lab.display.table import Cell, Column, TableRow, name, table
from symbio_lab.records import (
    Candidate,
    Deployment,
    FailurePattern,
    FailureRecord,
    HealingOutcome,
    Interval,
    Patch,
    PatchManifest,
    PredictionRecord,
)

MOST = 12
"""Attempts, labels or examples shown; more are counted."""
Field = tuple[str, Cell | str]


def card(record: Any) -> Bundle:
    """Return the card of a record; one of a kind that has none is its fields."""
    for kind, fields in _FIELDS:
        if isinstance(record, kind):
            return _as_card(type(record).__name__, fields(record))
    plain = {n: getattr(record, n) for n in getattr(record, "__dataclass_fields__", {})}
    return _as_card(type(record).__name__, [(n, str(value)) for n, value in plain.items()])


def _as_card(title: str, fields: Sequence[Field]) -> Bundle:
    rows: list[TableRow] = [[label, value if isinstance(value, Cell) else value or NONE] for label, value in fields]
    return table([Column("field"), Column("value")], rows, title)


def _outcome(outcome: HealingOutcome) -> list[Field]:
    chosen = outcome.deployed or outcome.proposed
    rows: list[Field] = [
        ("arm", Cell(outcome.strategy, words.arm(outcome.strategy), is_code=True)),
        ("outcome", Cell(outcome.status, words.STATUSES.get(outcome.status, ""), is_strong=True)),
        ("patch", Cell(chosen.patch_id, f"{chosen.digest[:16]}, {chosen.level}", is_code=True) if chosen else "none"),
        ("came from", outcome.route.replace("none", "nowhere: nothing was accepted")),
        ("cost", f"{count(outcome.cost.total('forwards_equivalent'))} forwards-equivalent"),
        ("labels seen", ", ".join(f"{k} {v}" for k, v in outcome.num_labels_seen.items()) or "none"),
        ("contributed", outcome.contributed[:16] if outcome.contributed else "no"),
    ]
    for attempt in outcome.attempts[:MOST]:
        code = f": {words.verdict(attempt.code)}" if attempt.code else ""
        rows.append((f"tried {attempt.ref}", Cell(f"{attempt.status}{code}", attempt.detail)))
    if len(outcome.attempts) > MOST:
        rows.append(("tried", f"and {len(outcome.attempts) - MOST} more"))
    return rows


def _manifest(said: PatchManifest) -> list[Field]:
    size = sum(file.size_bytes for file in said.files)
    claims = ", ".join(f"{c.name} {percent(c.value)} (n {c.n})" for c in said.claims)
    return [
        ("patch", name(f"{said.patch_id}@{said.version}")),
        ("for", Cell(said.title, said.scope)),
        ("labels", _some(said.labels)),
        ("base", Cell(said.base_id, said.base_digest[:16])),
        ("adapter", f"{said.adapter.kind}, rank {said.adapter.rank}, {num_bytes(float(size))}"),
        ("claims", claims or "none"),
        ("licence", said.licence),
        ("training data", said.training_data),
        ("publisher", name(said.keyid[:16])),
        ("made from", _some(said.lineage) or "nothing else"),
        ("expires", said.expires),
    ]


def _patch(patch: Patch) -> list[Field]:
    return [("verified", Cell(patch.level, patch.digest[:16], is_strong=True)), *_manifest(patch.manifest)]


def _candidate(found: Candidate) -> list[Field]:
    state = f"refused: {words.verdict(found.problem)}" if found.problem else "not verified yet"
    first: list[Field] = [
        ("candidate", name(found.ref)),
        ("state", state),
        ("match", f"{found.score:.2f}: {found.reason}"),
    ]
    return [*first, *(_manifest(found.manifest) if found.manifest else [("manifest", "cannot be read")])]


def _pattern(found: FailurePattern) -> list[Field]:
    def rate(value: float | None, low: float | None, high: float | None) -> str:
        return f"{percent(value)} {percent_range(low, high)}".strip()

    return [
        ("pattern", Cell(found.description, is_strong=True)),
        ("failures", count(found.support)),
        ("wrong inside", rate(found.failure_rate, found.failure_rate_low, found.failure_rate_high)),
        ("wrong outside", rate(found.outside_rate, found.outside_rate_low, found.outside_rate_high)),
        ("labels", _some(found.labels)),
        ("examples", " | ".join(found.exemplars[:3])),
    ]


def _failure(said: FailureRecord) -> list[Field]:
    return [
        ("input", said.input_sample),
        ("right answer", said.expected_output),
        ("answer", said.actual_output),
        ("model", said.model_id),
        ("domain", said.domain),
        ("severity", said.severity),
        ("observed", said.observed_at),
    ]


def _prediction(said: PredictionRecord) -> list[Field]:
    return [
        ("input", said.input_sample),
        ("answer", said.actual_output),
        ("right answer", said.expected_output or "not known yet"),
        ("confidence", percent(said.confidence)),
        ("model", said.model_id),
        ("domain", said.domain),
        ("observed", said.observed_at),
    ]


def _deployment(line: Deployment) -> list[Field]:
    return [
        ("deployment", name(line.deployment_id[:16])),
        ("stage", Cell(line.stage, is_strong=True)),
        ("tenant", line.tenant),
        ("model", line.model_id),
        ("patch", Cell(line.patch_id or "the base", (line.patch_digest or "")[:16])),
        ("replaced", line.previous[:16] if line.previous else "nothing"),
        ("at", line.created_at),
        ("note", line.note),
    ]


def _interval(figure: Interval) -> list[Field]:
    return [
        ("value", NONE if figure.value is None else f"{figure.value:.4g}"),
        ("from, to", NONE if figure.low is None else f"{figure.low:.4g}, {figure.high:.4g}"),
        ("n", count(figure.n)),
        ("method", figure.method),
    ]


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - MOST} more" if len(values) > MOST else ""
    return ", ".join(values[:MOST]) + more


_FIELDS: tuple[tuple[type, Callable[[Any], list[Field]]], ...] = (
    (HealingOutcome, _outcome),
    (Patch, _patch),
    (PatchManifest, _manifest),
    (Candidate, _candidate),
    (FailurePattern, _pattern),
    (FailureRecord, _failure),
    (PredictionRecord, _prediction),
    (Deployment, _deployment),
    (Interval, _interval),
)
