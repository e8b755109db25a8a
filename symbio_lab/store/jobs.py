"""Durable jobs: asked for once, worked on by whoever holds the lease, finished once.

States::

    queued -> running -> succeeded | failed | cancelled
       ^---------'         a worker that died: somebody else takes the job over

Rules:
    1. A job that was acknowledged is in the store; a kill of server or worker loses none.
    2. At least once: a job may be begun again after a kill. Its effects must look whether they happened before
       (``num_attempts`` above 1 says that they may have).
    3. Only the holder of the lease writes the outcome: a worker that was taken over learns it and changes nothing.
    4. After ``MAX_ATTEMPTS`` beginnings without an end a job has failed (``worker_lost``): a request that kills its
       worker must not kill all of them for ever.
    5. Cancelling is a wish: a queued job ends at once, a running one at its next checkpoint.
    6. Events are numbered from 1 without gaps, so that a listener that comes back misses none.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from symbio_lab.codec import strict_loads
from symbio_lab.errors import NotFoundError
from symbio_lab.records import canonical_json
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.leases import Leases

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
OPEN_STATES = ("queued", "running")
MAX_ATTEMPTS = 5


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


class Jobs:
    """The jobs of one store; making the object touches nothing."""

    def __init__(self, database: Store, leases: Leases | None = None) -> None:
        """Name the store.

        Args:
            database: where jobs are kept.
            leases: who works on what; None makes those of the same store.
        """
        self._database = database
        self._leases = leases or Leases(database)

    def submit(self, tenant: str, kind: str, request: Mapping[str, Any], *, now: str) -> Job:
        """Store a job and return it; from here on it is not lost.

        Raises:
            StorageError: the store cannot be written; there is no job.
        """
        job_id = secrets.token_hex(16)
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO jobs (job_id, tenant, kind, request, state, created_at) VALUES (?, ?, ?, ?, 'queued', ?)",
                (job_id, tenant, kind, canonical_json(dict(request)).decode(), now),
            )
            return _read(connection, tenant, job_id)

    def get(self, tenant: str, job_id: str) -> Job:
        """Return a job of a tenant.

        Raises:
            NotFoundError: the tenant has no such job.
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            return _read(connection, tenant, job_id)

    def newest(self, tenant: str, *, state: str | None = None, limit: int = 100) -> tuple[Job, ...]:
        """Return the newest jobs of a tenant, newest first.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE tenant = ? AND state = coalesce(?, state)"
                " ORDER BY created_at DESC, job_id LIMIT ?",
                (tenant, state, limit),
            ).fetchall()
        return tuple(_job(row) for row in rows)

    def num_open(self, tenant: str | None = None) -> int:
        """Return how many jobs are queued or running.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            return int(
                connection.execute(
                    "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running') AND tenant = coalesce(?, tenant)",
                    (tenant,),
                ).fetchone()[0]
            )

    def claim(self, owner: str, *, now: str) -> Job | None:
        """Return the oldest job that nobody works on, leased to ``owner``; None when there is none.

        A running job is free when its lease is: its worker died or stopped beating. Tenants take turns: the one with
        the fewest running jobs comes first, so that a tenant with a thousand jobs does not keep the others waiting.

        Raises:
            StorageError: the store cannot be written.
        """
        for job in self._waiting():
            if not self._leases.take(_lease(job.job_id), owner):
                continue
            with self._database.write() as connection:
                row = connection.execute("SELECT * FROM jobs WHERE job_id = ?", (job.job_id,)).fetchone()
                current = _job(row)
                if not current.is_open:
                    ended: str | None = current.state
                elif current.cancel_requested:
                    ended = "cancelled"
                    _end(connection, job.job_id, "cancelled", now, None, None)
                elif current.num_attempts >= MAX_ATTEMPTS:
                    ended = "failed"
                    _end(connection, job.job_id, "failed", now, None, _LOST)
                else:
                    ended = None
                    connection.execute(
                        "UPDATE jobs SET state = 'running', num_attempts = num_attempts + 1,"
                        " started_at = coalesce(started_at, ?) WHERE job_id = ?",
                        (now, job.job_id),
                    )
                    current = _job(connection.execute("SELECT * FROM jobs WHERE job_id = ?", (job.job_id,)).fetchone())
            if ended is None:
                return current
            self._leases.release(_lease(job.job_id), owner)
        return None

    def beat(self, job_id: str, owner: str) -> bool:
        """Say that the worker is alive; return False when the job is no longer its own.

        Raises:
            StorageError: the store cannot be written.
        """
        return self._leases.beat(_lease(job_id), owner)

    def is_cancel_requested(self, job_id: str) -> bool:
        """Return whether somebody wants the job to end.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute("SELECT cancel_requested FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return row is not None and bool(row[0])

    def note(self, job_id: str, owner: str, event: Mapping[str, Any], *, stage: str | None = None) -> bool:
        """Append an event; return False, and append nothing, when the job is no longer the owner's.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            if not _owns(connection, job_id, owner):
                return False
            _note(connection, job_id, event)
            if stage is not None:
                connection.execute("UPDATE jobs SET stage = ? WHERE job_id = ?", (stage, job_id))
        return True

    def finish(
        self,
        job_id: str,
        owner: str,
        state: Literal["succeeded", "failed", "cancelled"],
        *,
        now: str,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write the outcome and give the lease back; return False when the job is no longer the owner's.

        Raises:
            StorageError: the store cannot be written; the job is still running.
        """
        with self._database.write() as connection:
            if not _owns(connection, job_id, owner):
                return False
            _end(connection, job_id, state, now, result, error)
        self._leases.release(_lease(job_id), owner)
        return True

    def give_back(self, job_id: str, owner: str) -> None:
        """Let go of a job: without an outcome it is begun again by somebody.

        Raises:
            StorageError: the store cannot be written.
        """
        self._leases.release(_lease(job_id), owner)

    def cancel(self, tenant: str, job_id: str, *, now: str) -> Job:
        """Ask for the end of a job and return it; one that has ended stays as it is.

        Raises:
            NotFoundError: the tenant has no such job.
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            job = _read(connection, tenant, job_id)
            if job.is_open:
                connection.execute("UPDATE jobs SET cancel_requested = 1 WHERE job_id = ?", (job_id,))
            if job.state == "queued":
                _end(connection, job_id, "cancelled", now, None, None)
            return _read(connection, tenant, job_id)

    def events(self, tenant: str, job_id: str, *, after: int = 0, limit: int = 1000) -> tuple[JobEvent, ...]:
        """Return events of a tenant's job in order, ``after`` one's number.

        Raises:
            NotFoundError: the tenant has no such job.
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            _read(connection, tenant, job_id)
            rows = connection.execute(
                "SELECT seq, event FROM job_events WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (job_id, after, limit),
            ).fetchall()
        return tuple(JobEvent(row["seq"], strict_loads(row["event"])) for row in rows)

    def _waiting(self) -> list[Job]:
        held = {name for name in self._leases.held() if name.startswith("job/")}
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE state IN ('queued', 'running') ORDER BY created_at, job_id"
            ).fetchall()
        jobs = [_job(row) for row in rows]
        busy: dict[str, int] = {}
        for job in jobs:
            if _lease(job.job_id) in held:
                busy[job.tenant] = busy.get(job.tenant, 0) + 1
        free = [job for job in jobs if _lease(job.job_id) not in held]
        return sorted(free, key=lambda job: busy.get(job.tenant, 0))


_LOST = {
    "code": "worker_lost",
    "message": f"{MAX_ATTEMPTS} workers ended in the middle of this job",
    "hint": "look into the worker's log; a smaller request may fit its memory",
}


def _lease(job_id: str) -> str:
    return f"job/{job_id}"


def _owns(connection: Connection, job_id: str, owner: str) -> bool:
    row = connection.execute("SELECT owner FROM leases WHERE name = ?", (_lease(job_id),)).fetchone()
    return row is not None and row["owner"] == owner


def _note(connection: Connection, job_id: str, event: Mapping[str, Any]) -> None:
    connection.execute(
        "INSERT INTO job_events SELECT ?, coalesce(max(seq), 0) + 1, ? FROM job_events WHERE job_id = ?",
        (job_id, canonical_json(dict(event)).decode(), job_id),
    )


def _end(
    connection: Connection,
    job_id: str,
    state: str,
    now: str,
    result: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> None:
    texts = [None if value is None else canonical_json(dict(value)).decode() for value in (result, error)]
    connection.execute(
        "UPDATE jobs SET state = ?, stage = '', finished_at = ?, result = ?, error = ? WHERE job_id = ?",
        (state, now, *texts, job_id),
    )
    _note(connection, job_id, {"event": "JobEnded", "state": state})


def _read(connection: Connection, tenant: str, job_id: str) -> Job:
    row = connection.execute("SELECT * FROM jobs WHERE tenant = ? AND job_id = ?", (tenant, job_id)).fetchone()
    if row is None:
        raise NotFoundError("there is no such job", hint="GET /jobs lists the jobs")
    return _job(row)


def _job(row: Any) -> Job:
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
