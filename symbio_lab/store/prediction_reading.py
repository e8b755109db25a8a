"""Predictions read back: row by row from a cursor in bounded memory, or counted by SQL.

Rules:
    1. Every call reads one tenant's model and nothing else.
    2. A reader holds no transaction while its caller works: it reads batch by batch, and rows that arrive
       meanwhile are met at the end.
    3. Rates are stated over labelled rows; rows that retention removed stay in the counts by day and by domain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from symbio_lab.records import PredictionRecord
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.observed_time import DAY_US, day_text, from_us, to_us
from symbio_lab.store.streams import find_stream

GroupBy = Literal["domain", "label", "day"]
BATCH_ROWS = 2000
_COLUMNS = (
    "SELECT p.seq, p.context_id, p.observed_us, p.confidence, p.domain, p.actual_output, p.prediction_id,"
    " p.metadata, p.input_sample, l.expected_output FROM predictions p LEFT JOIN labels l USING (seq)"
)
_SUMS = "count(*), count(l.seq), count(CASE WHEN l.expected_output <> p.actual_output THEN 1 END)"


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """One prediction with its place in the order of arrival."""

    seq: int
    """Cursor: rows after this one have a larger number."""
    record: PredictionRecord
    """With the ground truth if it is known; ``event_id`` is always the ``prediction_id``."""
    sample_share: float
    """Share of the traffic that this row was drawn from, in (0, 1]."""


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one group."""

    key: str
    """Domain, gold label or date."""
    num_total: int
    num_labelled: int
    num_failed: int
    """Labelled rows whose answer is not the gold output."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is stored of one tenant's model."""

    tenant: str
    model_id: str
    num_stored: int
    """Rows that are there."""
    num_pruned: int
    """Rows that retention removed; they are counted, not there."""
    num_labelled: int
    """Labelled rows, those that are there."""
    num_failed: int
    """Failed rows, those that are there."""
    num_early_labels: int
    """Labels whose prediction has not come."""
    num_failure_reports: int
    """Failures reported without the traffic around them."""
    first_observed_at: str
    """UTC, ISO-8601; empty without rows."""
    last_observed_at: str
    last_seq: int
    """Cursor of the newest row; 0 without rows."""
    redactions: tuple[str, ...]
    """What was removed before storage, one text for each way that rows were stored; empty text for nothing."""
    sample_shares: tuple[float, ...]
    """Shares of the traffic that rows were drawn from, sorted."""
    num_represented: float
    """Answers that the rows stand for: the sum of 1 / share."""


class PredictionReader:
    """Reads the predictions of one tenant's model; making the object touches nothing."""

    def __init__(self, database: Store, tenant: str, model_id: str) -> None:
        self.database = database
        self.tenant = tenant
        self.model_id = model_id

    def rows(
        self,
        *,
        after: int = 0,
        since: str | None = None,
        until: str | None = None,
        labelled: bool | None = None,
        by_time: bool = False,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[StoredPrediction]:
        """Yield predictions, in order of arrival unless asked otherwise.

        Args:
            after: cursor; only rows with a larger ``seq``.
            since: only rows observed at this time or later, UTC.
            until: only rows observed before this time, UTC.
            labelled: only rows with (True) or without (False) ground truth; None gives both.
            by_time: order by observed time, then arrival.
            batch_rows: rows held in memory at once.

        Raises:
            DataError: a bad time.
            StorageError: the store cannot be read.
        """
        low_us = 0 if since is None else to_us(since)
        high_us = 1 << 62 if until is None else to_us(until)
        wanted = {None: "", True: " AND l.seq IS NOT NULL", False: " AND l.seq IS NULL"}[labelled]
        if by_time:
            where = (
                " WHERE p.stream_id = :stream AND (p.observed_us, p.seq) > (:moment, :seq) AND p.observed_us < :high"
                f" AND p.seq > :after{wanted} ORDER BY p.observed_us, p.seq LIMIT :most"
            )
        else:
            # The plus keeps SQLite on the index by arrival: by time it would sort everything for each batch.
            where = (
                " WHERE p.stream_id = :stream AND p.seq > :seq AND +p.observed_us >= :low AND +p.observed_us < :high"
                f"{wanted} ORDER BY p.seq LIMIT :most"
            )
        place: dict[str, Any] = {"moment": low_us - 1, "seq": (1 << 62) if by_time else after, "after": after}
        contexts: dict[int, Any] = {}
        while True:
            with self.database.read() as connection:
                stream = find_stream(connection, self.tenant, self.model_id)
                asked = {"stream": stream, "low": low_us, "high": high_us, "most": batch_rows, **place}
                batch = connection.execute(_COLUMNS + where, asked).fetchall()
                for missing in {row["context_id"] for row in batch} - contexts.keys():
                    contexts[missing] = _context(connection, missing)
            for row in batch:
                yield self._prediction(row, contexts[row["context_id"]])
            if len(batch) < batch_rows:
                return
            place.update(moment=batch[-1]["observed_us"], seq=batch[-1]["seq"])

    def cursor_before_last(self, num_rows: int) -> int:
        """Return the cursor after which the last ``num_rows`` rows lie; 0 when there are no more than these."""
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT seq FROM predictions WHERE stream_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?",
                (find_stream(connection, self.tenant, self.model_id), num_rows),
            ).fetchone()
        return 0 if row is None else int(row[0])

    def counts(self, by: GroupBy) -> tuple[Count, ...]:
        """Return total, labelled and failed rows of each group, sorted by key.

        Args:
            by: ``domain``, ``day`` (UTC, of the observed time; both with rows that retention removed) or ``label``
                (gold output, labelled rows that are there).

        Raises:
            StorageError: the store cannot be read.
        """
        key = {"domain": "p.domain", "label": "l.expected_output", "day": f"p.observed_us / {DAY_US}"}[by]
        only = " AND l.seq IS NOT NULL" if by == "label" else ""
        live = (
            f"SELECT {key} AS key, {_SUMS} FROM predictions p LEFT JOIN labels l USING (seq)"
            f" WHERE p.stream_id = :stream{only} GROUP BY 1"
        )
        pruned = f" UNION ALL SELECT {by}, num_total, num_labelled, num_failed FROM pruned_counts"
        if by != "label":
            live += pruned + " WHERE stream_id = :stream"
        with self.database.read() as connection:
            rows = connection.execute(live, {"stream": find_stream(connection, self.tenant, self.model_id)})
            summed: dict[str, list[int]] = {}
            for key_value, *numbers in rows:
                sums = summed.setdefault(day_text(key_value) if by == "day" else key_value, [0, 0, 0])
                sums[:] = [a + b for a, b in zip(sums, numbers, strict=True)]
        return tuple(Count(name, *sums) for name, sums in sorted(summed.items()))

    def state(self) -> StreamState:
        """Return what is stored.

        Raises:
            StorageError: the store cannot be read.
        """
        with self.database.read() as connection:
            stream = find_stream(connection, self.tenant, self.model_id)

            def one(query: str) -> Any:
                row: Any = connection.execute(query, {"stream": stream}).fetchone()
                return row

            total, labelled, failed = one(
                f"SELECT {_SUMS} FROM predictions p LEFT JOIN labels l USING (seq) WHERE p.stream_id = :stream"
            )
            times = one("SELECT min(observed_us), max(observed_us) FROM predictions WHERE stream_id = :stream")
            contexts = connection.execute(
                "SELECT c.redaction, c.sample_share, count(*) FROM predictions p JOIN prediction_contexts c"
                " USING (context_id) WHERE p.stream_id = ? GROUP BY c.context_id",
                (stream,),
            ).fetchall()
            return StreamState(
                tenant=self.tenant,
                model_id=self.model_id,
                num_stored=total,
                num_pruned=one(
                    "SELECT CAST(coalesce(sum(num_total), 0) AS BIGINT) FROM pruned_counts WHERE stream_id = :stream"
                )[0],
                num_labelled=labelled,
                num_failed=failed,
                num_early_labels=one("SELECT count(*) FROM early_labels WHERE stream_id = :stream")[0],
                num_failure_reports=one("SELECT count(*) FROM failure_reports WHERE stream_id = :stream")[0],
                first_observed_at="" if times[0] is None else from_us(times[0]),
                last_observed_at="" if times[1] is None else from_us(times[1]),
                last_seq=one("SELECT coalesce(max(seq), 0) FROM predictions WHERE stream_id = :stream")[0],
                redactions=tuple(sorted({row[0] for row in contexts})),
                sample_shares=tuple(sorted({row[1] for row in contexts})),
                num_represented=float(sum(row[2] / row[1] for row in contexts)),
            )

    def _prediction(self, row: Any, context: Any) -> StoredPrediction:
        seq, _, observed_us, confidence, domain, actual, identifier, metadata, text, expected = row
        record = PredictionRecord(
            self.model_id,
            context["task_type"],
            text,
            actual,
            expected,
            domain,
            self.tenant,
            context["model_revision"],
            confidence,
            from_us(observed_us),
            identifier,
            json.loads(metadata) if metadata else {},
        )
        return StoredPrediction(seq, record, context["sample_share"])


def _context(connection: Connection, context_id: int) -> Any:
    row: Any = connection.execute(
        "SELECT task_type, model_revision, sample_share FROM prediction_contexts WHERE context_id = ?", (context_id,)
    ).fetchone()
    return row
