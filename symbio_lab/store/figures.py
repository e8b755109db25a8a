"""What the store holds, in figures: jobs by state, the age of the queue, what became of jobs, deployments, its size.

Rules:
    1. Counts are of the whole store, over all tenants; no tenant, model or id appears in them.
    2. What became of jobs is counted from the audit log, which only grows: each line is read once by a process.
    3. One reading costs a few indexed queries; what is new in the audit log is read in chunks, the rest next time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.codec import strict_loads
from symbio_lab.store.connection import Store

KINDS = ("healing", "surgery")
STATES = ("queued", "running", "succeeded", "failed", "cancelled")
OUTCOMES = ("healed", "rejected", "undecided", "no_patch_found", "other", "failed", "cancelled")
"""Of jobs that ended: the run's own status, or ``failed`` and ``cancelled``."""
STAGES = ("shadow", "canary", "live", "rolled_back")
CHUNK = 10_000
MOST_CHUNKS = 20


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """Figures of one moment."""

    jobs: Mapping[tuple[str, str], int]
    """(kind, state) -> jobs."""
    oldest_queued_at: str | None
    """UTC time since which the oldest queued job waits."""
    outcomes: Mapping[tuple[str, str], int]
    """(kind, outcome) -> jobs that ended so, since the store was made."""
    deployments: Mapping[str, int]
    """Stage -> lines of the ledger."""
    num_audit_lines: int
    size_bytes: int
    """Of the store's files, or of the tables of its schema."""


_SIZE = (
    "SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r'"
)
"""Bytes of all tables and indexes of a Postgres schema."""


class FigureReader:
    """Reads the figures of one store; making the object touches nothing."""

    def __init__(self, database: Store) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._read_to = 0
        self._outcomes: Counter[tuple[str, str]] = Counter()

    def read(self) -> StoreFigures:
        """Return the figures now.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._guard:
            with self._database.read() as connection:
                jobs = connection.execute("SELECT kind, state, count(*) FROM jobs GROUP BY kind, state").fetchall()
                oldest = connection.execute("SELECT min(created_at) FROM jobs WHERE state = 'queued'").fetchone()[0]
                stages = connection.execute("SELECT stage, count(*) FROM deployments GROUP BY stage").fetchall()
                last = connection.execute("SELECT max(seq) FROM audit").fetchone()[0] or 0
                for _ in range(MOST_CHUNKS):
                    if self._read_to >= last:
                        break
                    upto = min(self._read_to + CHUNK, last)
                    rows = connection.execute(
                        "SELECT record FROM audit WHERE seq > ? AND seq <= ? AND record LIKE ?",
                        (self._read_to, upto, '%"action":"job.%'),
                    ).fetchall()
                    self._outcomes.update(ended for row in rows if (ended := _ended(row[0])) is not None)
                    self._read_to = upto
                path = getattr(self._database, "path", None)
                size = connection.execute(_SIZE).fetchone()[0] if path is None else _size(path)
            by_state: Counter[tuple[str, str]] = Counter()
            for kind, state, number in jobs:
                by_state[_one_of(kind, KINDS), _one_of(state, STATES)] += number
            return StoreFigures(
                jobs=by_state,
                oldest_queued_at=oldest,
                outcomes=dict(self._outcomes),
                deployments={stage: number for stage, number in stages if stage in STAGES},
                num_audit_lines=last,
                size_bytes=int(size),
            )


def _ended(record: str) -> tuple[str, str] | None:
    """Return kind and outcome of a job from its line of the audit log; None for other lines."""
    fields = strict_loads(record)
    ended = fields["action"].removeprefix("job.")
    if fields["actor"] != "worker" or ended not in ("succeeded", "failed", "cancelled"):
        return None
    outcome = fields["detail"].get("status", "") if ended == "succeeded" else ended
    return _one_of(fields["detail"].get("kind", ""), KINDS), _one_of(outcome, OUTCOMES)


def _one_of(value: str, known: tuple[str, ...]) -> str:
    return value if value in known else "other"


def _size(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.is_file())
