"""Jobs as rows: what a job is, and the steps of one inside a write transaction of ``jobs.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from symbio_lab.codec import strict_loads
from symbio_lab.errors import HealingCancelledError, NotFoundError
from symbio_lab.records import canonical_json
from symbio_lab.store.connection import Connection

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
OPEN_STATES = ("queued", "running")
MAX_ATTEMPTS = 5
LOST = {
    "code": "worker_lost",
    "message": f"{MAX_ATTEMPTS} workers ended in the middle of this job",
    "hint": "look into the worker's log; a smaller request may fit its memory",
}
"""What ends a job that ended its workers."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job."""

    job_id: str
    tenant: str
    kind: str
    request: Mapping[str, Any]
    state: JobState
    stage: str
    """What it is doing, for people."""
    created_at: str
    """UTC, ISO-8601, ends in ``Z``; also the job's own clock: what it signs and deploys bears this time."""
    started_at: str | None
    finished_at: str | None
    num_attempts: int
    cancel_requested: bool
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    """``code``, ``message`` and ``hint`` of what ended it."""

    @property
    def is_open(self) -> bool:
        """Whether it is still to end."""
        return self.state in OPEN_STATES


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One step of a job."""

    seq: int
    event: Mapping[str, Any]


def lease_name(job_id: str) -> str:
    """Return the name of a job's lease."""
    return f"job/{job_id}"


def count_open(connection: Connection, tenant: str | None = None) -> int:
    """Return how many jobs are queued or running, in a transaction of the caller's."""
    return int(
        connection.execute(
            "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running') AND tenant = coalesce(?, tenant)",
            (tenant,),
        ).fetchone()[0]
    )


def condition_of(job_id: str, owner: str) -> Callable[[Connection], None]:
    """Return what refuses, inside a write transaction, an effect of a job that is another's now, or not wanted.

    It raises ``HealingCancelledError``.
    """

    def check(connection: Connection) -> None:
        if not owns(connection, job_id, owner):
            raise HealingCancelledError("the job is another worker's now")
        row = connection.execute("SELECT cancel_requested FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        if row is None or row["cancel_requested"]:
            raise HealingCancelledError("the job was cancelled")

    return check


def begin_job(connection: Connection, job: Job, now: str) -> Job:
    """Let a job run, and its tenant's turn be over; return it."""
    connection.execute(
        "UPDATE jobs SET state = 'running', num_attempts = num_attempts + 1,"
        " started_at = coalesce(started_at, ?) WHERE job_id = ?",
        (now, job.job_id),
    )
    connection.execute(
        "INSERT INTO job_turns (tenant, turn) SELECT CAST(? AS TEXT), coalesce(max(turn), 0) + 1 FROM job_turns"
        " WHERE 1 = 1 ON CONFLICT (tenant) DO UPDATE SET turn = excluded.turn",
        (job.tenant,),
    )
    return read_job(connection, job.tenant, job.job_id)


def owns(connection: Connection, job_id: str, owner: str) -> bool:
    """Return whether a job is leased to an owner."""
    row = connection.execute("SELECT owner FROM leases WHERE name = ?", (lease_name(job_id),)).fetchone()
    return row is not None and row["owner"] == owner


def note_event(connection: Connection, job_id: str, event: Mapping[str, Any]) -> None:
    """Append an event."""
    connection.execute(
        "INSERT INTO job_events SELECT ?, coalesce(max(seq), 0) + 1, ? FROM job_events WHERE job_id = ?",
        (job_id, canonical_json(dict(event)).decode(), job_id),
    )


def end_job(
    connection: Connection,
    job_id: str,
    state: str,
    now: str,
    result: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> None:
    """Write an outcome; the job is nobody's any more."""
    texts = [None if value is None else canonical_json(dict(value)).decode() for value in (result, error)]
    connection.execute(
        "UPDATE jobs SET state = ?, stage = '', finished_at = ?, result = ?, error = ? WHERE job_id = ?",
        (state, now, *texts, job_id),
    )
    connection.execute("DELETE FROM leases WHERE name = ?", (lease_name(job_id),))
    note_event(connection, job_id, {"event": "JobEnded", "state": state})


def read_job(connection: Connection, tenant: str, job_id: str) -> Job:
    """Return a job of a tenant.

    Raises:
        NotFoundError: the tenant has no such job.
    """
    row = connection.execute("SELECT * FROM jobs WHERE tenant = ? AND job_id = ?", (tenant, job_id)).fetchone()
    if row is None:
        raise NotFoundError("there is no such job", hint="GET /jobs lists the jobs")
    return job_of(row)


def job_of(row: Any) -> Job:
    """Return the job of a row."""
    result, error = (None if row[name] is None else strict_loads(row[name]) for name in ("result", "error"))
    return Job(
        row["job_id"],
        row["tenant"],
        row["kind"],
        strict_loads(row["request"]),
        row["state"],
        row["stage"],
        row["created_at"],
        row["started_at"],
        row["finished_at"],
        row["num_attempts"],
        bool(row["cancel_requested"]),
        result,
        error,
    )
