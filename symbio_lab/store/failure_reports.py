"""Failure reports: failures that somebody reported without the traffic around them.

Without denominators no rate can be stated for them; they are kept for patterns and for repair, apart from predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from symbio_lab.codec import from_plain, strict_loads
from symbio_lab.errors import DataError
from symbio_lab.records import FailureRecord, canonical_json
from symbio_lab.store.connection import Store
from symbio_lab.store.observed_time import now_us, to_us
from symbio_lab.store.streams import find_stream, id_key, open_stream
from symbio_lab.store.usage import add_usage

_INSERT = (
    "INSERT INTO failure_reports (stream_id, id_key, observed_us, record) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (stream_id, id_key) DO NOTHING"
)
BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of the reports of one call."""

    num_stored: int
    num_duplicates: int


class FailureReports:
    """The failure reports of one store; making the object touches nothing."""

    def __init__(self, database: Store, *, clock: Callable[[], int] = now_us) -> None:
        """Name the store.

        Args:
            database: where reports are kept.
            clock: microseconds since 1970, UTC: the time of receipt.
        """
        self.database = database
        self.clock = clock

    def append(self, records: Sequence[FailureRecord]) -> Reported:
        """Store reports in one transaction; a ``failure_id`` that is there already is a duplicate.

        Raises:
            DataError: a text that is not Unicode, or a bad time; nothing was stored.
            StorageError: the store cannot be written; nothing was stored.
        """
        received_us = self.clock()
        with self.database.write() as connection:
            streams: dict[tuple[str, str], int] = {}
            rows: dict[str, list[tuple[int, bytes, int, str]]] = {}
            for record in records:
                name = (record.tenant, record.model_id)
                if name not in streams:
                    streams[name] = open_stream(connection, *name)
                moment = to_us(record.observed_at) if record.observed_at else received_us
                try:
                    row = (streams[name], id_key(record.failure_id), moment, canonical_json(record).decode())
                    rows.setdefault(record.tenant, []).append(row)
                except UnicodeEncodeError as error:
                    raise DataError("a text holds half a character (a lone surrogate)") from error
            num_stored = 0
            for tenant, own in rows.items():
                before = connection.total_changes
                connection.executemany(_INSERT, own)
                num_new = connection.total_changes - before
                add_usage(connection, tenant, "records", num_new)
                num_stored += num_new
        return Reported(num_stored, len(records) - num_stored)

    def rows(self, tenant: str, model_id: str, *, after: int = 0) -> Iterator[tuple[int, FailureRecord]]:
        """Yield the reports of one tenant's model in order of arrival, each with its cursor.

        Args:
            tenant: whose reports.
            model_id: which model's.
            after: cursor; only later reports.

        Raises:
            StorageError: the store cannot be read.
        """
        while True:
            with self.database.read() as connection:
                batch = connection.execute(
                    "SELECT seq, record FROM failure_reports WHERE stream_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                    (find_stream(connection, tenant, model_id), after, BATCH_ROWS),
                ).fetchall()
            for row in batch:
                yield row["seq"], from_plain(FailureRecord, strict_loads(row["record"]))
            if len(batch) < BATCH_ROWS:
                return
            after = batch[-1]["seq"]
