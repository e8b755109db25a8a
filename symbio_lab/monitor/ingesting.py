"""Ingesting: records of any origin to the store, chunk by chunk; bad rows are named, good rows are kept.

Rules:
    1. Each record is checked, redacted, then stored; a refused one costs the others nothing.
    2. A chunk is one transaction. When ``on_chunk`` hears of it, it survives a kill; running again stores only
       what is missing, since an id that is there is a duplicate.
    3. Memory is bounded: one chunk of records, and at most ``MAX_KEPT`` refusals; all are counted by code.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from symbio_lab.store.database import Database
    >>> rows = [PredictionRecord("m", "text_classification", text, "greet") for text in ("hi", "")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = ingest(PredictionStore(Database(Path(folder) / "store.db")), rows)
    >>> report.num_stored, report.refused_by_code, report.refused[0].row
    (1, {'empty_text': 1}, 'row 2')
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from symbio_lab.errors import ConfigError
from symbio_lab.monitor.redaction import Redaction
from symbio_lab.monitor.validating import (
    DEFAULT_LIMITS,
    Limits,
    Refusal,
    problem_of,
    problem_of_label,
    with_plain_time,
)
from symbio_lab.records import FailureRecord, PredictionRecord
from symbio_lab.store.failure_reports import FailureReports
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.predictions import PredictionStore

CHUNK_ROWS = 20_000
"""Records of one transaction. New ids touch nearly every page of a large index, so that fewer rows would write more
bytes each (three times as many at 5,000); these take about 25 MB of memory."""
MAX_KEPT = 100
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Located:
    """One thing read, and where it stood."""

    row: str
    """E.g. ``traffic.csv line 7``."""
    value: PredictionRecord | tuple[str, str] | Refusal
    """A record, a label (``prediction_id``, expected output), or why there is none."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of all rows."""

    num_read: int = 0
    num_stored: int = 0
    """Predictions or labels that are new."""
    num_duplicates: int = 0
    num_conflicts: int = 0
    """Rows kept out because their id is stored with other content."""
    num_labels: int = 0
    """Ground truths that are new."""
    num_early_labels: int = 0
    """New labels that wait for their prediction."""
    num_label_conflicts: int = 0
    """Ground truths that differ from the stored one; the first stays. Their predictions are stored."""
    refused_by_code: Mapping[str, int] = field(default_factory=dict)
    """All rows that were kept out, conflicts apart, by code."""
    refused: tuple[Refusal, ...] = ()
    """The first rows with a problem, conflicts included, at most ``MAX_KEPT``."""

    @property
    def num_refused(self) -> int:
        """Rows kept out, conflicts apart."""
        return sum(self.refused_by_code.values())


OnChunk = Callable[[IngestReport], None]


def ingest(
    store: PredictionStore,
    records: Iterable[PredictionRecord | Located],
    *,
    redaction: Redaction | None = None,
    limits: Limits = DEFAULT_LIMITS,
    sample_share: float = 1.0,
    chunk_rows: int = CHUNK_ROWS,
    on_chunk: OnChunk | None = None,
) -> IngestReport:
    """Store predictions and say what became of each row.

    Args:
        store: where they go; its clock gives the time of receipt.
        records: predictions, with or without the place where they stood; consumed as a stream.
        redaction: what is removed before storage.
        limits: what is accepted.
        sample_share: share of the traffic that the records were drawn from, in (0, 1].
        chunk_rows: records of one transaction.
        on_chunk: hears the report so far after each chunk that is safely stored.

    Raises:
        ConfigError: ``chunk_rows`` is below 1.
        StorageError: the store cannot be written; chunks that ``on_chunk`` heard of are stored.
    """
    tally = _Tally()
    for chunk in _chunks(records, chunk_rows):
        now_us = store.clock()
        usable: list[PredictionRecord] = []
        places: list[str] = []
        for row, value in tally.located(chunk):
            assert isinstance(value, PredictionRecord)
            if not tally.accepts(row, problem_of(value, now_us=now_us, limits=limits)):
                continue
            plain = with_plain_time(value)
            usable.append(plain if redaction is None else redaction.apply(plain))
            places.append(row)
        done = store.append(usable, redaction="" if redaction is None else redaction.stated, sample_share=sample_share)
        tally.num_stored += done.num_stored
        tally.num_duplicates += done.num_duplicates
        tally.num_labels += done.num_labels
        for place in done.conflicts:
            tally.conflict(Refusal(places[place], "conflict", "this id is stored with other content"))
        for place in done.label_conflicts:
            tally.label_conflict(places[place])
        for place in done.expired:
            tally.refuse(Refusal(places[place], "expired", "observed on a day that retention removed"))
        if on_chunk is not None:
            on_chunk(tally.report())
    return tally.report()


def ingest_labels(
    store: LabelStore,
    tenant: str,
    model_id: str,
    labels: Iterable[tuple[str, str] | Located],
    *,
    redaction: Redaction | None = None,
    limits: Limits = DEFAULT_LIMITS,
    chunk_rows: int = CHUNK_ROWS,
    on_chunk: OnChunk | None = None,
) -> IngestReport:
    """Store ground truths, which may come before or long after their predictions.

    Args:
        store: where they go.
        tenant: whose predictions.
        model_id: which model's.
        labels: pairs of ``prediction_id`` and expected output, with or without their place; consumed as a stream.
        redaction: the rules under which the predictions were stored.
        limits: what is accepted.
        chunk_rows: labels of one transaction.
        on_chunk: hears the report so far after each chunk that is safely stored.

    Raises:
        ConfigError: ``chunk_rows`` is below 1.
        StorageError: the store cannot be written; chunks that ``on_chunk`` heard of are stored.
    """
    tally = _Tally()
    for chunk in _chunks(labels, chunk_rows):
        usable: list[tuple[str, str]] = []
        places: list[str] = []
        for row, value in tally.located(chunk):
            assert isinstance(value, tuple)
            if not tally.accepts(row, problem_of_label(*value, limits=limits)):
                continue
            identifier, expected = value
            if redaction is not None:
                identifier, expected = redaction.prediction_id(identifier), redaction.expected_output(expected)
            usable.append((identifier, expected))
            places.append(row)
        done = store.add(tenant, model_id, usable)
        tally.num_stored += done.num_stored
        tally.num_labels += done.num_stored
        tally.num_early_labels += done.num_early
        tally.num_duplicates += done.num_duplicates
        for place in done.conflicts:
            tally.label_conflict(places[place])
        if on_chunk is not None:
            on_chunk(tally.report())
    return tally.report()


def ingest_reports(
    store: FailureReports,
    reports: Iterable[FailureRecord],
    *,
    redaction: Redaction | None = None,
    limits: Limits = DEFAULT_LIMITS,
    chunk_rows: int = CHUNK_ROWS,
) -> IngestReport:
    """Store failures that come without the traffic around them; no rate can be stated for them.

    Args:
        store: where they go.
        reports: failures; consumed as a stream.
        redaction: what is removed before storage.
        limits: what is accepted.
        chunk_rows: reports of one transaction.

    Raises:
        ConfigError: ``chunk_rows`` is below 1.
        StorageError: the store cannot be written.
    """
    tally = _Tally()
    for chunk in _chunks(reports, chunk_rows):
        usable = []
        for report in chunk:
            tally.num_read += 1
            if not tally.accepts(f"row {tally.num_read}", problem_of(report, now_us=store.clock(), limits=limits)):
                continue
            usable.append(report if redaction is None else redaction.apply_report(report))
        done = store.append(usable)
        tally.num_stored += done.num_stored
        tally.num_duplicates += done.num_duplicates
    return tally.report()


class _Tally:
    """The report while it grows."""

    def __init__(self) -> None:
        self.num_read = self.num_stored = self.num_duplicates = 0
        self.num_labels = self.num_early_labels = self._num_conflicts = self._num_label_conflicts = 0
        self._by_code: dict[str, int] = {}
        self._kept: list[Refusal] = []

    def located(self, items: Iterable[T | Located]) -> Iterator[tuple[str, T | PredictionRecord | tuple[str, str]]]:
        """Count items and yield each with its place; what is a refusal already is noted instead."""
        for item in items:
            self.num_read += 1
            row, value = (item.row, item.value) if isinstance(item, Located) else (f"row {self.num_read}", item)
            if isinstance(value, Refusal):
                self.refuse(value)
            else:
                yield row, value

    def accepts(self, row: str, problem: tuple[str, str] | None) -> bool:
        """Return whether there is no problem; one that there is, is noted."""
        if problem is not None:
            self.refuse(Refusal(row, *problem))
        return problem is None

    def refuse(self, refusal: Refusal) -> None:
        self._by_code[refusal.code] = self._by_code.get(refusal.code, 0) + 1
        self._keep(refusal)

    def conflict(self, refusal: Refusal) -> None:
        self._num_conflicts += 1
        self._keep(refusal)

    def label_conflict(self, row: str) -> None:
        self._num_label_conflicts += 1
        self._keep(Refusal(row, "label_conflict", "another ground truth is stored for this id"))

    def _keep(self, refusal: Refusal) -> None:
        if len(self._kept) < MAX_KEPT:
            self._kept.append(refusal)

    def report(self) -> IngestReport:
        return IngestReport(
            num_read=self.num_read,
            num_stored=self.num_stored,
            num_duplicates=self.num_duplicates,
            num_conflicts=self._num_conflicts,
            num_labels=self.num_labels,
            num_early_labels=self.num_early_labels,
            num_label_conflicts=self._num_label_conflicts,
            refused_by_code=dict(sorted(self._by_code.items())),
            refused=tuple(self._kept),
        )


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    if size < 1:
        raise ConfigError([f"chunk_rows must be at least 1, not {size}"])
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
