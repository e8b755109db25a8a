"""Healing and surgery are jobs: asked for, acknowledged, carried out by a worker, watched, cancelled.

The answer is 202 with the job's address. ``Prefer: wait=N`` waits up to N seconds for its end first. Progress comes as
server-sent events; ``Last-Event-ID`` goes on after the last one that was seen.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.records import content_id
from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.idempotent import answer_once
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.quotas import check_patches, job_condition
from symbio_lab.service.schemas.work import HealingIn, JobOut, JobsOut, SurgeryIn
from symbio_lab.service.state import ServiceState, state_of
from symbio_lab.service.tracing import TRACEPARENT
from symbio_lab.store.audit import add_line
from symbio_lab.store.connection import Connection
from symbio_lab.store.job_rows import Job

router = APIRouter(tags=["healing"], responses=problem_responses(401, 403, 404, 409, 422, 429, 503))
Healer = Annotated[Caller, Depends(needs("heal:run"))]
Reader = Annotated[Caller, Depends(needs("read"))]
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Prefer = Annotated[str | None, Header(max_length=100, description="wait=N: wait up to N seconds for the end.")]
IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="Sent again with the same key, a request is carried out once.")
]
_WAIT = re.compile(r"(?:^|,)\s*wait=(\d{1,6})\s*(?:,|$)")
POLL_S = 0.1


@router.post("/healing/marketplace-integrated", status_code=202, responses={200: {"model": JobOut}})
def heal(
    body: HealingIn,
    caller: Healer,
    request: Request,
    response: Response,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Heal by a patch that the gate accepts on the reported failures, else operate.

    What the tenant's policy does not allow is left out, and the result says so.
    """
    policy = state_of(request).policy(caller.tenant)
    refused = []
    adopts = policy.allow_adoption and body.max_marketplace_patches > 0
    if not adopts and not (policy.allow_surgery and body.enable_auto_surgery):
        refused.append("neither adopting nor operating is left by the request and the tenant's policy")
    return _submit("healing", body.model_dump(), refused, caller, request, response, prefer, idempotency_key)


@router.post("/surgery", status_code=202, responses={200: {"model": JobOut}})
def operate(
    body: SurgeryIn,
    caller: Healer,
    request: Request,
    response: Response,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Operate on the reported failures without looking at the market."""
    policy = state_of(request).policy(caller.tenant)
    refused = [] if policy.allow_surgery else ["the tenant's policy does not allow surgery"]
    asked = {**body.model_dump(), "max_marketplace_patches": 0, "enable_auto_surgery": True}
    return _submit("surgery", asked, refused, caller, request, response, prefer, idempotency_key)


@router.get("/jobs")
def list_jobs(
    caller: Reader,
    request: Request,
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JobsOut:
    """List the tenant's jobs, newest first."""
    return JobsOut(
        jobs=[job_out(job) for job in state_of(request).jobs.newest(caller.tenant, state=state, limit=limit)]
    )


@router.get("/jobs/{job_id}")
def show_job(job_id: JobId, caller: Reader, request: Request, prefer: Prefer = None) -> JobOut:
    """Show a job; with ``Prefer: wait=N`` as soon as it has ended, or after N seconds."""
    state = state_of(request)
    return job_out(_wait(request, state.jobs.get(caller.tenant, job_id), _wait_s(prefer, state)))


@router.post("/jobs/{job_id}/cancel", status_code=202)
def cancel_job(job_id: JobId, caller: Healer, request: Request) -> JobOut:
    """Ask for the end of a job: a queued one ends at once, a running one at its next checkpoint."""
    state = state_of(request)
    job = state.jobs.cancel(caller.tenant, job_id, now=state.now())
    state.audit.append(caller.tenant, at=state.now(), actor=caller.actor, action="job.cancel", subject=job_id)
    return job_out(job)


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
def stream_events(
    job_id: JobId,
    caller: Reader,
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> EventSourceResponse:
    """Stream what the job does, from the first event or after ``Last-Event-ID``; the stream ends with the job."""
    state = state_of(request)
    after = int(last_event_id) if last_event_id is not None and last_event_id.isdecimal() else 0
    state.jobs.get(caller.tenant, job_id)

    slots = request.app.state.streams
    if not slots.take(caller.tenant):
        raise ProblemError(
            429,
            "too_many_streams",
            f"a tenant may have {state.service.max_streams} open event streams",
            hint="close one, or ask GET /jobs/{id} with Prefer: wait",
            headers={"Retry-After": "5"},
        )

    async def stream() -> AsyncIterator[dict[str, Any]]:
        seen = after
        while True:
            is_open = (await asyncio.to_thread(state.jobs.get, caller.tenant, job_id)).is_open
            events = await asyncio.to_thread(state.jobs.events, caller.tenant, job_id, after=seen)
            for one in events:
                seen = one.seq
                yield {"id": str(one.seq), "event": str(one.event.get("event", "")), "data": json.dumps(one.event)}
            if not is_open and not events:
                return
            if not events:
                await asyncio.sleep(POLL_S)

    return _SlottedStream(stream(), lambda: slots.release(caller.tenant))


class _SlottedStream(EventSourceResponse):
    """A stream that gives its slot back when it ends, however it ends."""

    def __init__(self, content: AsyncIterator[dict[str, Any]], release: Callable[[], None]) -> None:
        super().__init__(content)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


def job_out(job: Job) -> JobOut:
    """Return a job as it is shown."""
    return JobOut.model_validate(
        {name: getattr(job, name) for name in JobOut.model_fields if name not in ("error",)} | {"error": job.error}
    )


def _submit(
    kind: str,
    asked: dict[str, Any],
    refused: list[str],
    caller: Caller,
    request: Request,
    response: Response,
    prefer: str | None,
    idempotency_key: str | None,
) -> JobOut:
    state = state_of(request)
    try:
        registered = state.models.find(caller.tenant, asked["model_id"])
    except ModelUnresolvedError as error:
        raise ProblemError(409, "model_not_registered", str(error), hint=error.hint) from error
    if registered.task_type != asked["task_type"]:
        raise ProblemError(
            409, "wrong_task", f"the model is for {registered.task_type}", hint="send the model's own task_type"
        )
    if refused:
        raise ProblemError(403, "forbidden_by_policy", "; ".join(refused), hint="GET /policies shows the policy")

    # The same key and request name the same job, even after a kill between storing it and keeping the answer.
    named = None if idempotency_key is None else content_id([caller.tenant, idempotency_key, kind, asked])[:32]

    def tell_audit(connection: Connection, job_id: str) -> None:
        add_line(
            connection,
            caller.tenant,
            at=state.now(),
            actor=caller.actor,
            action=f"job.{kind}",
            subject=job_id,
            detail={"model_id": asked["model_id"], "domain": asked["domain"]},
        )

    def submit() -> dict[str, Any]:
        check_patches(state, caller.tenant)
        # The worker's spans go on from this request's.
        traceparent = getattr(request.state, TRACEPARENT, None)
        job = state.jobs.submit(
            caller.tenant,
            kind,
            asked if traceparent is None else {**asked, TRACEPARENT: traceparent},
            now=state.now(),
            job_id=named,
            condition=job_condition(state, caller.tenant),
            also=tell_audit,
        )
        return {"job_id": job.job_id}

    job_id = answer_once(state, caller.tenant, idempotency_key, [kind, asked], submit)["job_id"]
    job = _wait(request, state.jobs.get(caller.tenant, job_id), _wait_s(prefer, state))
    response.headers["Location"] = f"/jobs/{job_id}"
    if prefer and _WAIT.search(prefer):
        response.headers["Preference-Applied"] = "wait"
    if not job.is_open:
        response.status_code = 200
    return job_out(job)


def _wait_s(prefer: str | None, state: ServiceState) -> float:
    match = _WAIT.search(prefer or "")
    return min(float(match[1]), state.service.max_wait_s) if match else 0.0


def _wait(request: Request, job: Job, wait_s: float) -> Job:
    # A preference, no promise: who has as many requests waiting as it may is answered at once.
    state, slots = state_of(request), request.app.state.waiting
    if not job.is_open or wait_s <= 0 or not slots.take(job.tenant):
        return job
    try:
        deadline = time.monotonic() + wait_s
        while job.is_open and time.monotonic() < deadline:
            time.sleep(POLL_S)
            job = state.jobs.get(job.tenant, job.job_id)
    finally:
        slots.release(job.tenant)
    return job
