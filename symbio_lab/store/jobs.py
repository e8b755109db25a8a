"""Durable jobs: asked for once, worked on by whoever holds the lease, finished once.

States::

    queued -> running -> succeeded | failed | cancelled
       ^---------'         a worker that died: somebody else takes the job over

Rules:
    1. A job that was acknowledged is in the store; a kill of server or worker loses none.
    2. At least once: a job may be begun again after a kill. Its effects must look whether they happened before
       (``num_attempts`` above 1 says that they may have).
    3. Only the holder of the lease has effects: events, the outcome, and, by ``condition_of``, a line of the ledger. A
       worker that was paused for longer than its lease, and wakes when another has done its job, changes nothing.
    4. After ``MAX_ATTEMPTS`` beginnings without an end a job has failed (``worker_lost``): a request that kills its
       worker must not kill all of them for ever.
    5. Cancelling is a wish: a queued job ends at once, a running one at its next checkpoint.
    6. Events are numbered from 1 without gaps, so that a listener that comes back misses none.
    7. Tenants take turns: whose job was begun longest ago comes first, and of those with fewer running jobs. A tenant
       with a thousand jobs keeps nobody waiting.
    8. What a job spends is counted while it runs, for the day on which it spends it.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from symbio_lab.codec import strict_loads
from symbio_lab.records import canonical_json
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.job_rows import (
    LOST,
    MAX_ATTEMPTS,
    Job,
    JobEvent,
    begin_job,
    count_open,
    end_job,
    job_of,
    lease_name,
    note_event,
    owns,
    read_job,
)
from symbio_lab.store.leases import Leases
from symbio_lab.store.usage import add_usage


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

    def submit(
        self,
        tenant: str,
        kind: str,
        request: Mapping[str, Any],
        *,
        now: str,
        job_id: str | None = None,
        condition: Callable[[Connection], None] | None = None,
        also: Callable[[Connection, str], None] | None = None,
    ) -> Job:
        """Store a job and return it; from here on it is not lost.

        Args:
            tenant: whose.
            kind: what is done.
            request: what was asked for.
            now: UTC time.
            job_id: 32 hex characters that name the request; asked for again, it gives the job that is there.
            condition: raises, inside the transaction, where there must be no new job.
            also: told the new job's id inside the transaction: what it writes is there with the job, or neither is.

        Raises:
            StorageError: the store cannot be written; there is no job.
        """
        name = job_id or secrets.token_hex(16)
        with self._database.write() as connection:
            if connection.execute("SELECT 1 FROM jobs WHERE job_id = ?", (name,)).fetchone() is None:
                if condition is not None:
                    condition(connection)
                connection.execute(
                    "INSERT INTO jobs (job_id, tenant, kind, request, state, created_at)"
                    " VALUES (?, ?, ?, ?, 'queued', ?)",
                    (name, tenant, kind, canonical_json(dict(request)).decode(), now),
                )
                if also is not None:
                    also(connection, name)
            return read_job(connection, tenant, name)

    def get(self, tenant: str, job_id: str) -> Job:
        """Return a job of a tenant.

        Raises:
            NotFoundError: the tenant has no such job.
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            return read_job(connection, tenant, job_id)

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
        return tuple(job_of(row) for row in rows)

    def num_open(self, tenant: str | None = None) -> int:
        """Return how many jobs are queued or running.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            return count_open(connection, tenant)

    def claim(self, owner: str, *, now: str) -> Job | None:
        """Return a job that nobody works on, leased to ``owner``; None when there is none.

        A running job is free when its lease is: its worker died or stopped beating.

        Raises:
            StorageError: the store cannot be written.
        """
        # Looking takes no write lock: idle workers keep nobody waiting.
        with self._database.read() as connection:
            if not self._waiting(connection):
                return None
        with self._database.write() as connection:
            for job_id in self._waiting(connection):
                job = job_of(connection.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone())
                if job.cancel_requested:
                    end_job(connection, job_id, "cancelled", now, None, None)
                elif job.num_attempts >= MAX_ATTEMPTS:
                    end_job(connection, job_id, "failed", now, None, LOST)
                elif self._leases.take_in(connection, lease_name(job_id), owner):
                    return begin_job(connection, job, now)
        return None

    def beat(self, job_id: str, owner: str) -> bool:
        """Say that the worker is alive; return False when the job is no longer its own.

        Raises:
            StorageError: the store cannot be written.
        """
        return self._leases.beat(lease_name(job_id), owner)

    def is_cancel_requested(self, job_id: str) -> bool:
        """Return whether somebody wants the job to end.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute("SELECT cancel_requested FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return row is not None and bool(row[0])

    def note(
        self,
        job_id: str,
        owner: str,
        event: Mapping[str, Any],
        *,
        stage: str | None = None,
        spent: float = 0.0,
        day: str = "",
    ) -> bool:
        """Append an event; return False, and append nothing, when the job is no longer the owner's.

        Args:
            job_id: of the job.
            owner: who works on it.
            event: what happened.
            stage: what it is doing from now on.
            spent: forwards-equivalent that it spent since the last event.
            day: UTC date for which that counts.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            if not owns(connection, job_id, owner):
                return False
            note_event(connection, job_id, event)
            if stage is not None:
                connection.execute("UPDATE jobs SET stage = ? WHERE job_id = ?", (stage, job_id))
            if spent:
                row = connection.execute("SELECT tenant FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
                add_usage(connection, row["tenant"], "forwards", spent, period=day)
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
        also: Callable[[Connection], None] | None = None,
    ) -> bool:
        """Write the outcome and give the lease back; return False when the job is no longer the owner's.

        Args:
            job_id: of the job.
            owner: who works on it.
            state: how it ended.
            now: UTC time.
            result: what it gave.
            error: what ended it.
            also: writes inside the transaction: what it writes is there with the outcome, or neither is.

        Raises:
            StorageError: the store cannot be written; the job is still running.
        """
        with self._database.write() as connection:
            if not owns(connection, job_id, owner):
                return False
            end_job(connection, job_id, state, now, result, error)
            if also is not None:
                also(connection)
        return True

    def give_back(self, job_id: str, owner: str) -> None:
        """Let go of a job: without an outcome it is begun again by somebody, and this attempt does not count.

        Raises:
            StorageError: the store cannot be written; the lease ends by itself.
        """
        with self._database.write() as connection:
            if owns(connection, job_id, owner):
                connection.execute(
                    "UPDATE jobs SET num_attempts = num_attempts - 1 WHERE job_id = ? AND state = 'running'", (job_id,)
                )
                connection.execute("DELETE FROM leases WHERE name = ?", (lease_name(job_id),))

    def cancel(self, tenant: str, job_id: str, *, now: str) -> Job:
        """Ask for the end of a job and return it; one that has ended stays as it is.

        Raises:
            NotFoundError: the tenant has no such job.
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            job = read_job(connection, tenant, job_id)
            if job.is_open:
                connection.execute("UPDATE jobs SET cancel_requested = 1 WHERE job_id = ?", (job_id,))
            if job.state == "queued":
                end_job(connection, job_id, "cancelled", now, None, None)
            return read_job(connection, tenant, job_id)

    def events(self, tenant: str, job_id: str, *, after: int = 0, limit: int = 1000) -> tuple[JobEvent, ...]:
        """Return events of a tenant's job in order, ``after`` one's number.

        Raises:
            NotFoundError: the tenant has no such job.
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            read_job(connection, tenant, job_id)
            rows = connection.execute(
                "SELECT seq, event FROM job_events WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (job_id, after, limit),
            ).fetchall()
        return tuple(JobEvent(row["seq"], strict_loads(row["event"])) for row in rows)

    def _waiting(self, connection: Connection) -> list[str]:
        """Return the jobs that nobody works on, those first whose tenant's turn it is."""
        rows = connection.execute(
            "SELECT j.job_id, j.tenant, coalesce(t.turn, 0) FROM jobs j LEFT JOIN job_turns t USING (tenant)"
            " WHERE j.state IN ('queued', 'running') ORDER BY j.created_at, j.job_id"
        ).fetchall()
        if not rows:
            return []
        held = self._leases.held_in(connection)
        busy = Counter(tenant for job_id, tenant, _ in rows if lease_name(job_id) in held)
        free = [(busy[tenant], turn, job_id) for job_id, tenant, turn in rows if lease_name(job_id) not in held]
        # Sorting keeps the order of arrival within a tenant.
        return [job_id for _, _, job_id in sorted(free, key=lambda one: one[:2])]
