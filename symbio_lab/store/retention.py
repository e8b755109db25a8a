"""Retention: what is old is removed for good, and its counts stay, so that rates over time survive.

Rules:
    1. By age, whole days (UTC, observed time) go; the newest ``keep_last`` rows of a model stay whatever their age.
    2. A batch of rows is counted and removed in one transaction: a kill between batches loses no count.
    3. Removed texts are overwritten with zeros in an SQLite file (``secure_delete``); a Postgres server overwrites them
       when it vacuums, and its own log and copies keep them as long as it keeps those.
    4. After removal by age, rows of the removed days that come again are kept out: they were counted once.
       Removal by number alone cannot know them; ingest such files once.
"""

from __future__ import annotations

from dataclasses import dataclass

from symbio_lab.errors import ConfigError
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.observed_time import DAY_US, day_text
from symbio_lab.store.streams import find_stream, id_key
from symbio_lab.store.usage import add_usage

BATCH_ROWS = 20_000
_DOOMED = (
    "INSERT INTO doomed SELECT seq FROM predictions WHERE stream_id = :stream AND observed_us < :cutoff"
    " AND seq <= :newest ORDER BY observed_us LIMIT :most"
)
_COUNT = (
    "INSERT INTO pruned_counts (stream_id, day, domain, num_total, num_labelled, num_failed)"
    f" SELECT p.stream_id, p.observed_us / {DAY_US}, p.domain, count(*), count(l.seq),"
    " count(CASE WHEN l.expected_output <> p.actual_output THEN 1 END)"
    " FROM doomed d JOIN predictions p USING (seq) LEFT JOIN labels l USING (seq) GROUP BY 1, 2, 3"
    " ON CONFLICT (stream_id, day, domain) DO UPDATE SET"
    " num_total = pruned_counts.num_total + excluded.num_total,"
    " num_labelled = pruned_counts.num_labelled + excluded.num_labelled,"
    " num_failed = pruned_counts.num_failed + excluded.num_failed"
)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went."""

    tenant: str
    model_id: str
    num_rows: int
    """Predictions removed."""
    num_labels: int
    """Their labels."""
    num_early_labels: int
    """Labels whose prediction never came."""
    num_failure_reports: int
    before: str
    """Date; observed days before it went. Empty when rows went by number alone."""


def prune(
    database: Store,
    tenant: str,
    model_id: str,
    *,
    now_us: int,
    older_than_days: int | None = None,
    keep_last: int | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Pruned:
    """Remove old rows of one tenant's model and keep their counts.

    Args:
        database: the store.
        tenant: whose rows.
        model_id: which model's.
        now_us: the time now, microseconds since 1970.
        older_than_days: remove the days that ended at least so many days ago; None removes by number alone.
        keep_last: rows that stay, counted from the newest arrival; None keeps none beyond what age keeps.
        batch_rows: rows removed in one transaction.

    Raises:
        ConfigError: neither limit is given, or one is negative.
        StorageError: the store cannot be written; what was removed before is counted.
    """
    problems = [f"{name} must be at least 0" for name, value in _limits(older_than_days, keep_last) if value < 0]
    if older_than_days is None and keep_last is None:
        problems.append("say what to remove: by age, by number, or both")
    if problems:
        raise ConfigError(problems, hint="give older_than_days and keep_last as whole numbers")
    cutoff_day = None if older_than_days is None else now_us // DAY_US - older_than_days
    cutoff_us = 1 << 62 if cutoff_day is None else cutoff_day * DAY_US
    with database.read() as connection:
        stream = find_stream(connection, tenant, model_id)
        newest = _newest_removable(connection, stream, keep_last or 0)
    num_rows = num_labels = num_early = num_reports = 0
    if stream is not None and cutoff_day is not None:
        with database.write() as connection:
            database.overwrite_removed(connection)
            # First of all: no row of these days may come in again while they are being removed.
            connection.execute(
                "UPDATE streams SET pruned_before_us = ? WHERE stream_id = ? AND pruned_before_us < ?",
                (cutoff_us, stream, cutoff_us),
            )
            num_early = _delete(connection, "early_labels WHERE labelled_us < ? AND stream_id = ?", cutoff_us, stream)
            _delete(connection, "candidate_answers WHERE kept_us < ? AND stream_id = ?", cutoff_us, stream)
            num_reports = _delete(
                connection, "failure_reports WHERE observed_us < ? AND stream_id = ?", cutoff_us, stream
            )
            add_usage(connection, tenant, "records", -num_reports)
    while stream is not None:
        with database.write() as connection:
            database.overwrite_removed(connection)
            asked = {"stream": stream, "cutoff": cutoff_us, "newest": newest, "most": batch_rows}
            removed, unlabelled = _remove_batch(connection, asked)
            add_usage(connection, tenant, "records", -removed)
        num_rows += removed
        num_labels += unlabelled
        if removed < batch_rows:
            break
    return Pruned(
        tenant,
        model_id,
        num_rows,
        num_labels,
        num_early,
        num_reports,
        "" if cutoff_day is None else day_text(max(cutoff_day, 0)),
    )


def _limits(*values: int | None) -> list[tuple[str, int]]:
    names = ("older_than_days", "keep_last")
    return [(name, value) for name, value in zip(names, values, strict=True) if value is not None]


def _newest_removable(connection: Connection, stream: int | None, keep_last: int) -> int:
    row = connection.execute(
        "SELECT seq FROM predictions WHERE stream_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?", (stream, keep_last)
    ).fetchone()
    return 0 if row is None else int(row[0])


def _remove_batch(connection: Connection, asked: dict[str, int]) -> tuple[int, int]:
    connection.execute("CREATE TEMP TABLE doomed (seq BIGINT PRIMARY KEY)")
    connection.execute(_DOOMED, asked)
    connection.execute(_COUNT)
    # Read first: the ids are in the rows that go. Sorted: each page of the keys is met once.
    doomed = connection.execute("SELECT p.stream_id, p.prediction_id FROM doomed d JOIN predictions p USING (seq)")
    keys = sorted((row[0], id_key(row[1])) for row in doomed)
    connection.executemany("DELETE FROM prediction_keys WHERE stream_id = ? AND id_key = ?", keys)
    num_labels = _delete(connection, "labels WHERE seq IN (SELECT seq FROM doomed)")
    num_rows = _delete(connection, "predictions WHERE seq IN (SELECT seq FROM doomed)")
    connection.execute("DROP TABLE doomed")
    return num_rows, num_labels


def _delete(connection: Connection, rest: str, *values: int) -> int:
    return connection.execute(f"DELETE FROM {rest}", values).rowcount
