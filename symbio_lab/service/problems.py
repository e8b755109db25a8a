"""Every error as problem+json with a stable ``code`` and what to do next.

Rules:
    1. ``code`` is that of ``errors.py``; clients switch on it, people read ``detail`` and ``hint``.
    2. A tenant that asks for what is another's gets the same 404 as for what never was.
    3. An unexpected error tells the caller the request id and nothing else; the log has the rest.

References:
    RFC 9457 (2023), "Problem Details for HTTP APIs", section 3.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Send

from symbio_lab.errors import (
    BudgetExceededError,
    ConfigError,
    DataError,
    EmptySliceError,
    MissingExtraError,
    ModelError,
    NetworkUnavailableError,
    NotFoundError,
    StorageError,
    SymbioError,
    TrustError,
)

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_STATUS: tuple[tuple[type[SymbioError], int], ...] = (
    (NotFoundError, 404),
    (NetworkUnavailableError, 503),
    (StorageError, 503),
    (MissingExtraError, 501),
    (TrustError, 409),
    (EmptySliceError, 409),
    (BudgetExceededError, 409),
    (ModelError, 409),
    (ConfigError, 422),
    (DataError, 422),
)
_CODES = {400: "bad_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}


class Problem(BaseModel):
    """An error."""

    type: str = Field("about:blank", description="Always about:blank: `code` says which error it is.")
    title: str
    status: int
    code: str = Field(description="Stable; see errors.py.")
    detail: str
    hint: str = Field("", description="What to do next.")
    request_id: str = ""
    problems: list[str] = Field(default_factory=list, description="All that is wrong with the request.")


class ProblemError(Exception):
    """An answer that is an error, from within a route."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.hint = status, code, detail, hint
        self.headers, self.problems = dict(headers or {}), problems


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these statuses."""
    return {
        status: {
            "description": _title(status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def add_problem_answers(app: FastAPI) -> None:
    """Let every error of an app become problem+json."""

    @app.exception_handler(ProblemError)
    def stated(request: Request, error: ProblemError) -> JSONResponse:
        return _answer(
            request, error.status, error.code, error.detail, error.hint, error.problems, headers=error.headers
        )

    @app.exception_handler(SymbioError)
    def typed(request: Request, error: SymbioError) -> JSONResponse:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
        problems = error.problems if isinstance(error, ConfigError) else ()
        headers = {"Retry-After": "5"} if status == 503 else {}
        return _answer(request, status, error.code, str(error), error.hint, problems, headers=headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not repeated: it may be a user's text.
        problems = tuple(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        detail = f"{len(problems)} problem(s) with the request"
        return _answer(request, 422, "bad_request", detail, "correct what is listed", problems)

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, "http_error")
        return _answer(request, error.status_code, code, str(error.detail), "", (), headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("request %s failed", _request_id(request), exc_info=error)
        # This handler answers outside the middleware that adds the header elsewhere.
        headers = {"X-Request-ID": _request_id(request)}
        hint = "report the request id to its operator"
        return _answer(request, 500, "internal", "the service failed", hint, (), headers=headers)


async def send_problem(send: Send, problem: Problem, *headers: tuple[bytes, bytes]) -> None:
    """Answer a request that a middleware refuses, before there is a route to answer it."""
    body = json.dumps(problem.model_dump()).encode()
    told = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": problem.status, "headers": told})
    await send({"type": "http.response.body", "body": body})


def _answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    hint: str,
    problems: tuple[str, ...],
    *,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    problem = Problem(
        type="about:blank",
        title=_title(status),
        status=status,
        code=code,
        detail=detail,
        hint=hint,
        request_id=_request_id(request),
        problems=list(problems),
    )
    # Lone surrogates of a request must not break the answer about it.
    content = {
        key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for key, value in problem.model_dump().items()
    }
    content["problems"] = [text.encode("utf-8", "replace").decode() for text in problem.problems]
    return JSONResponse(content, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def _title(status: int) -> str:
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
