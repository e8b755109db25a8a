"""Predictions: what a model answered, appended in the order of arrival, each id once for a tenant's model.

Rules:
    1. ``append`` is one transaction: when it returns, its rows survive a kill and a power cut.
    2. An id that is there already is a duplicate when its content is the same, else a conflict, which is kept out.
    3. The ground truth is not part of the row: it lies in ``labels`` and may come before, with or after it.
    4. Rows older than what retention removed are kept out: they were counted once.
    5. Both orders are kept: ``seq`` is the order of arrival, ``observed_at`` when the model answered.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from symbio_lab.store.database import Database
    >>> record = PredictionRecord("support", "text_classification", "hi", "greet", event_id="e1")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = PredictionStore(Database(Path(folder) / "store.db"))
    ...     store.append([record]).num_stored, store.append([record]).num_duplicates
    (1, 1)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring as _quoted

from symbio_lab.errors import DataError
from symbio_lab.records import PredictionRecord, canonical_json
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.labels import insert_labels, join_early_labels
from symbio_lab.store.observed_time import now_us, to_us
from symbio_lab.store.streams import id_key, open_stream
from symbio_lab.store.usage import add_usage

_INSERT_KEY = (
    "INSERT INTO prediction_keys (stream_id, id_key, seq) VALUES (?, ?, ?)"
    # Only this constraint: OR IGNORE would also swallow missing values.
    " ON CONFLICT (stream_id, id_key) DO NOTHING"
)
_SEQ = "SELECT seq FROM prediction_keys WHERE stream_id = ? AND id_key = ?"
_INSERT = (
    "INSERT INTO predictions (seq, stream_id, context_id, observed_us, confidence, domain, actual_output,"
    " prediction_id, metadata, input_sample) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_STORED = (
    "SELECT c.task_type, c.model_revision, p.observed_us, p.confidence, p.domain, p.actual_output, p.metadata,"
    " p.input_sample FROM predictions p JOIN prediction_contexts c USING (context_id) WHERE p.seq = ?"
)
_CONTEXT = "stream_id, task_type, model_revision, redaction, sample_share"
_Values = tuple[int, int, int, float | None, str, str, str, str, str]
"""Columns of a row from ``stream_id`` on."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the records of one ``append``; positions count from 0 in the sequence given."""

    num_stored: int
    num_duplicates: int
    conflicts: tuple[int, ...]
    """Positions kept out: their id is there with other content."""
    expired: tuple[int, ...]
    """Positions kept out: older than what retention removed."""
    num_labels: int
    """Ground truths stored with the records."""
    label_conflicts: tuple[int, ...]
    """Positions whose ground truth differs from the one that is there; the first stays."""


class PredictionStore:
    """The predictions of one store; making the object touches nothing."""

    def __init__(self, database: Store, *, clock: Callable[[], int] = now_us) -> None:
        """Name the store.

        Args:
            database: where predictions are kept.
            clock: microseconds since 1970, UTC: the time of receipt.
        """
        self.database = database
        self.clock = clock

    def append(
        self, records: Sequence[PredictionRecord], *, redaction: str = "", sample_share: float = 1.0
    ) -> Appended:
        """Store records in one transaction and say what became of each.

        Args:
            records: usable records (``monitor/validating.py``), also of several models and tenants.
            redaction: what was removed from the records before, e.g. ``input_sample:scrub``.
            sample_share: share of the traffic that these records were drawn from, in (0, 1].

        Raises:
            DataError: a text that is not Unicode, a bad time or share; nothing was stored.
            StorageError: the store cannot be written; nothing was stored.
        """
        if not 0.0 < sample_share <= 1.0:
            raise DataError(f"a sample share lies in (0, 1], not {sample_share}")
        received_us = self.clock()
        with self.database.write() as connection:
            try:
                return _append(self.database, connection, records, redaction, sample_share, received_us)
            except UnicodeEncodeError as error:
                raise DataError("a text holds half a character (a lone surrogate)", hint="refuse the record") from error


def prediction_id_of(record: PredictionRecord) -> str:
    """Return ``record.prediction_id``, without the copies that make the property slow for millions of rows.

    >>> record = PredictionRecord("m", "text_classification", "hi", "greet", expected_output="bye")
    >>> prediction_id_of(record) == record.prediction_id
    True
    """
    if record.event_id:
        return record.event_id
    number = record.confidence
    # As JSON writes it, also for numpy's floats, whose own repr is another.
    confidence = "null" if number is None else float.__repr__(number) if isinstance(number, float) else repr(number)
    # The canonical JSON of the record, written by hand: a test holds it against the property for every field.
    text = (
        f'{{"actual_output":{_quoted(record.actual_output)}'
        f',"confidence":{confidence}'
        f',"domain":{_quoted(record.domain)},"event_id":"","expected_output":null'
        f',"input_sample":{_quoted(record.input_sample)}'
        f',"metadata":{canonical_json(dict(record.metadata)).decode() if record.metadata else "{}"}'
        f',"model_id":{_quoted(record.model_id)},"model_revision":{_quoted(record.model_revision)}'
        f',"observed_at":{_quoted(record.observed_at)},"task_type":{_quoted(record.task_type)}'
        f',"tenant":{_quoted(record.tenant)}}}'
    )
    return sha256(text.encode("utf-8")).hexdigest()


def metadata_text(record: PredictionRecord) -> str:
    """Return the metadata as stored: JSON with sorted names, or the empty string for none."""
    return json.dumps(dict(record.metadata), sort_keys=True, ensure_ascii=False) if record.metadata else ""


def _append(
    database: Store,
    connection: Connection,
    records: Sequence[PredictionRecord],
    redaction: str,
    sample_share: float,
    received_us: int,
) -> Appended:
    streams: dict[tuple[str, str], tuple[int, int]] = {}
    contexts: dict[tuple[int, str, str], int] = {}
    rows: dict[int, _Values] = {}
    keys: dict[int, tuple[int, bytes]] = {}
    expired: list[int] = []
    for place, record in enumerate(records):
        name = (record.tenant, record.model_id)
        if name not in streams:
            streams[name] = _open(connection, *name)
        stream, pruned_before_us = streams[name]
        context = (stream, record.task_type, record.model_revision)
        if context not in contexts:
            contexts[context] = _open_context(connection, (*context, redaction, sample_share))
        identifier = prediction_id_of(record)
        key = (stream, id_key(identifier))
        observed_us = to_us(record.observed_at) if record.observed_at else received_us
        if observed_us < pruned_before_us and connection.execute(_SEQ, key).fetchone() is None:
            expired.append(place)
            continue
        keys[place] = key
        rows[place] = (
            stream,
            contexts[context],
            observed_us,
            record.confidence,
            record.domain,
            record.actual_output,
            identifier,
            metadata_text(record),
            record.input_sample,
        )
    seqs, new = _take_places(connection, keys, database.first_of(connection, "predictions", len(keys)))
    for tenant, num_new in Counter(records[place].tenant for place in new).items():
        add_usage(connection, tenant, "records", num_new)
    connection.executemany(_INSERT, [(seqs[place], *rows[place]) for place in new])
    join_early_labels(connection, [(seqs[place], *keys[place]) for place in new])
    known = rows.keys() - set(new)
    clashing = {p for p in known if _clashes(connection, records[p], rows[p], seqs[p])}
    labelled = [p for p in rows if records[p].expected_output is not None and p not in clashing]
    labels = [(seqs[place], str(records[place].expected_output)) for place in labelled]
    inserted = insert_labels(connection, labels, received_us)
    return Appended(
        num_stored=len(new),
        num_duplicates=len(known) - len(clashing),
        conflicts=tuple(sorted(clashing)),
        expired=tuple(expired),
        num_labels=inserted.num_stored,
        label_conflicts=tuple(labelled[i] for i in inserted.conflicts),
    )


def _take_places(
    connection: Connection, keys: dict[int, tuple[int, bytes]], first: int
) -> tuple[dict[int, int], list[int]]:
    """Return the ``seq`` of every position, and the positions that are new, in order."""
    seqs = {place: first + i for i, place in enumerate(keys)}
    before = connection.total_changes
    # Sorted: each page of the keys is met once, however many they are; the first of equal keys stays first.
    connection.executemany(_INSERT_KEY, sorted((*keys[place], seqs[place]) for place in keys))
    if connection.total_changes - before == len(keys):
        return seqs, list(keys)
    stored = {place: int(connection.execute(_SEQ, keys[place]).fetchone()[0]) for place in keys}
    return stored, [place for place in keys if stored[place] == seqs[place]]


def _open(connection: Connection, tenant: str, model_id: str) -> tuple[int, int]:
    stream = open_stream(connection, tenant, model_id)
    row = connection.execute("SELECT pruned_before_us FROM streams WHERE stream_id = ?", (stream,)).fetchone()
    return stream, int(row[0])


def _open_context(connection: Connection, context: tuple[int, str, str, str, float]) -> int:
    # Asking first: an insert that changes nothing would still write the page.
    where = " AND ".join(f"{column} = ?" for column in _CONTEXT.split(", "))
    find = f"SELECT context_id FROM prediction_contexts WHERE {where}"
    row = connection.execute(find, context).fetchone()
    if row is None:
        connection.execute(f"INSERT INTO prediction_contexts ({_CONTEXT}) VALUES (?, ?, ?, ?, ?)", context)
        row = connection.execute(find, context).fetchone()
    return int(row[0])


def _clashes(connection: Connection, record: PredictionRecord, values: _Values, seq: int) -> bool:
    """Return whether other content than this is stored under the record's id."""
    stored = connection.execute(_STORED, (seq,)).fetchone()
    _, _, observed_us, confidence, domain, actual, _, metadata, text = values
    # A record without a time says nothing about it: the time of receipt is another at each call.
    moment = observed_us if record.observed_at else stored["observed_us"]
    own = (record.task_type, record.model_revision, moment, confidence, domain, actual, metadata, text)
    return own != tuple(stored)
