"""Is the process alive, can it serve, which version is it, what does it count."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

import symbio_lab
from symbio_lab.errors import StorageError
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.state import state_of

router = APIRouter(tags=["operations"])


class Status(BaseModel):
    """A state in a word."""

    status: str


class Version(BaseModel):
    """Which release answers."""

    name: str
    version: str


@router.get("/livez")
def livez() -> Status:
    """Say that the process answers."""
    return Status(status="alive")


@router.get("/readyz", responses=problem_responses(503))
def readyz(request: Request) -> Status:
    """Say whether the store can be written."""
    state = state_of(request)
    try:
        with state.database.write():
            pass
    except StorageError as error:
        raise ProblemError(503, "not_ready", str(error), hint=error.hint, headers={"Retry-After": "5"}) from error
    return Status(status="ready")


@router.get("/version")
def version() -> Version:
    """Say which release this is."""
    return Version(name="symbio-lab", version=symbio_lab.__version__)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problem_responses(503)},
)
def metrics(request: Request) -> Response:
    """Show the process's figures in Prometheus' text format; tenants do not appear in it."""
    num_streams = request.app.state.streams.num_taken
    text = request.app.state.measures.exposition(state_of(request), num_streams=num_streams)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
