"""The process that carries out jobs: claims one, beats while it works, writes its outcome, claims the next.

Rules:
    1. A worker is a process of its own: a job that needs all memory, or crashes, does not take the API with it.
    2. More workers do more jobs at once; each has its own bases in memory.
    3. While a job runs a thread beats, and asks whether the job is still this worker's and still wanted. Losing either
       stops the run at its next checkpoint, before anything is deployed.
    4. A worker that was paused for longer than its lease may wake when another has its job: each effect is one
       transaction that asks whether the job is still its own.
    5. SIGTERM lets the worker finish nothing new; the job at hand is given back and somebody else begins it again.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog

from symbio_lab.config import Settings
from symbio_lab.errors import HealingCancelledError, StorageError, SymbioError
from symbio_lab.events import Event, PhaseFinished, PhaseStarted
from symbio_lab.service.fencing import FencedLedger
from symbio_lab.service.healing_request import carry_out
from symbio_lab.service.markets import Markets
from symbio_lab.service.quotas import day_of
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.state import ServiceState, open_state
from symbio_lab.service.tracing import JobTrace, Tracing
from symbio_lab.store.audit import add_line
from symbio_lab.store.connection import Connection
from symbio_lab.store.job_rows import Job, condition_of

logger = logging.getLogger(__name__)
BEAT_S = 2.0
IDLE_S = 0.2


class Worker:
    """One worker on one store."""

    def __init__(
        self, settings: Settings, service: ServiceSettings, *, beat_s: float = BEAT_S, tracing: Tracing | None = None
    ) -> None:
        """Prepare; nothing is read yet."""
        self.state: ServiceState = open_state(settings, service)
        self.markets = Markets(self.state)
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._beat_s = beat_s
        self._tracing = tracing
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let the loop end; the job at hand is given back at its next checkpoint."""
        self._stopping.set()

    def run(self) -> None:
        """Work until ``stop``; a store that cannot be used for a while is waited for."""
        while not self._stopping.is_set():
            try:
                did = self.run_one()
            except StorageError as error:
                logger.warning("the store cannot be used: %s", error)
                did = False
            if not did:
                self._stopping.wait(IDLE_S)

    def run_one(self) -> bool:
        """Carry out one job; return False when there is none.

        Raises:
            StorageError: the store cannot be used; the job, if there was one, is begun again by somebody.
        """
        job = self.state.jobs.claim(self.owner, now=self.state.now())
        if job is None:
            return False
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(job_id=job.job_id, tenant=job.tenant)
        try:
            with (
                _Pulse(self.state, job, self.owner, self._beat_s, self._stopping) as pulse,
                self._traced(job) as trace,
            ):
                self._carry_out(job, pulse, trace)
        finally:
            # One that has no outcome yet is begun again, by whoever comes first.
            self.state.jobs.give_back(job.job_id, self.owner)
        return True

    def _traced(self, job: Job) -> AbstractContextManager[JobTrace | None]:
        return nullcontext() if self._tracing is None else self._tracing.job(job)

    def _carry_out(self, job: Job, pulse: _Pulse, trace: JobTrace | None) -> None:
        jobs, state = self.state.jobs, self.state

        def tell(event: Event) -> None:
            stage = event.phase if isinstance(event, PhaseStarted) else None
            # Counted as it is spent: a killed attempt costs what it cost.
            spent = event.forwards_equivalent if isinstance(event, PhaseFinished) else 0.0
            day = day_of(state.now())
            jobs.note(job.job_id, self.owner, event.to_json(), stage=stage, spent=spent, day=day)
            if trace is not None:
                trace(event)

        jobs.note(job.job_id, self.owner, {"event": "JobStarted", "attempt": job.num_attempts})
        try:
            ledger = FencedLedger(state.database, condition_of(job.job_id, self.owner))
            result = carry_out(state, self.markets, job, tell, pulse.should_stop, ledger)
        except HealingCancelledError as error:
            if pulse.is_cancelled:
                self._end(job, "cancelled", trace, error=error)
            # Else the worker stops, or the job is another's now: it is not ours to end.
            return
        except StorageError:
            raise
        except SymbioError as error:
            self._end(job, "failed", trace, error=error)
            return
        except Exception as error:
            logger.exception("job %s failed", job.job_id)
            self._end(job, "failed", trace, error=error)
            return
        self._end(job, "succeeded", trace, result=result)

    def _end(
        self,
        job: Job,
        outcome: Any,
        trace: JobTrace | None,
        *,
        result: Mapping[str, Any] | None = None,
        error: Exception | None = None,
    ) -> None:
        described = None
        if isinstance(error, SymbioError):
            described = {"code": error.code, "message": str(error), "hint": error.hint}
        elif error is not None:
            described = {
                "code": "internal",
                "message": f"the job failed ({type(error).__name__})",
                "hint": "report the job id to the operator of the service",
            }
        if trace is not None:
            trace.ended(outcome, described["code"] if described else "")
        detail = {
            "kind": job.kind,
            "code": described["code"] if described else "",
            "status": (result or {}).get("status", ""),
            "deployment_id": (result or {}).get("deployment_id"),
        }

        def tell_audit(connection: Connection) -> None:
            add_line(
                connection,
                job.tenant,
                at=self.state.now(),
                actor="worker",
                action=f"job.{outcome}",
                subject=job.job_id,
                detail=detail,
            )

        self.state.jobs.finish(
            job.job_id,
            self.owner,
            outcome,
            now=self.state.now(),
            result=result,
            error=described,
            also=tell_audit,
        )


class _Pulse:
    """Beats for a job in a thread, and knows whether to go on."""

    def __init__(self, state: ServiceState, job: Job, owner: str, beat_s: float, stopping: threading.Event) -> None:
        self._state, self._job, self._owner, self._beat_s, self._stopping = state, job, owner, beat_s, stopping
        self._done = threading.Event()
        self._lost = False
        self.is_cancelled = False
        self._thread = threading.Thread(target=self._run, name=f"pulse-{job.job_id[:8]}", daemon=True)

    def __enter__(self) -> _Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def should_stop(self) -> bool:
        return self.is_cancelled or self._lost or self._stopping.is_set()

    def _run(self) -> None:
        while not self._done.wait(self._beat_s):
            try:
                self._lost = not self._state.jobs.beat(self._job.job_id, self._owner)
                self.is_cancelled = self._state.jobs.is_cancel_requested(self._job.job_id)
            except StorageError as error:
                logger.warning("cannot beat: %s", error)
