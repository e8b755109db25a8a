"""The loopback Hub on the wire: a Starlette application around the handlers.

Rules:
    1. Routes are matched on the raw path, segment by segment: ``refs%2Fpr%2F3`` is one segment, a revision.
    2. A body has a limit (413); the body of a large file goes to a file while it arrives.
    3. Handlers run one at a time, but for those that only take in or give out bytes.
    4. Only requests for a loopback host are answered (421): a web page that rebinds its name gets nothing.
    5. A token that is unknown is 401 whatever it asks for; a signed address of a large file needs none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from symbio_lab.errors import MissingExtraError, SymbioError
from symbio_lab.testing.loopback_hub import (
    accounts,
    browsing,
    committing,
    curation,
    discussions,
    downloading,
    lfs,
    listing,
    managing,
)
from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, Upload
from symbio_lab.testing.loopback_hub.faults import Fault, FaultList
from symbio_lab.testing.loopback_hub.receiving import drain, receive, receive_file
from symbio_lab.testing.loopback_hub.state import HubState

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_log = logging.getLogger(__name__)
ROUTES: tuple[HubRoute, ...] = (
    *accounts.ROUTES,
    *curation.ROUTES,
    *listing.ROUTES,
    *browsing.ROUTES,
    *committing.ROUTES,
    *discussions.ROUTES,
    *managing.ROUTES,
    *lfs.ROUTES,
    *downloading.ROUTES,
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CLIENT_LEFT = 499
"""Status that is noted for a client that hung up before it had sent everything."""
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
_CHUNK = 1 << 18

Note = Callable[[str, str, int], None]
"""Told method, raw path and status of every request."""


def build_app(hub: HubState, faults: FaultList, note: Note) -> Starlette:
    """Return the application.

    Args:
        hub: what it serves.
        faults: how it misbehaves.
        note: told of every answer.

    Raises:
        MissingExtraError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.routing import Route
    except ImportError as error:
        raise MissingExtraError("starlette", "service") from error

    async def answer(request: Request) -> Response:
        return await _answer(hub, faults, note, request)

    return Starlette(routes=[Route("/{rest:path}", answer, methods=list(METHODS))])


async def _answer(hub: HubState, faults: FaultList, note: Note, request: Request) -> Response:
    method, path = request.method, request.scope["raw_path"].decode("latin-1").split("?")[0]
    fault = faults.take(method, path)
    if fault is not None and fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault is not None and fault.kind in ("status", "redirect"):
        answer = _faulty_answer(fault)
    else:
        stale = fault.commit if fault is not None and fault.kind == "stale_main" else None
        answer = await _honest_answer(hub, request, path, stale)
    if fault is not None and fault.kind == "header":
        changed = {name.lower() for name in fault.headers}
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in changed}
        answer = replace(answer, headers={**kept, **fault.headers})
    note(method, path, answer.status)
    return _response(answer, fault)


def _faulty_answer(fault: Fault) -> HubAnswer:
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if fault.kind == "redirect":
        return HubAnswer(fault.status if 300 <= fault.status < 400 else 302, headers=headers)
    return HubAnswer(fault.status, headers=headers)


async def _honest_answer(hub: HubState, request: Request, path: str, stale: str | None) -> HubAnswer:
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect

    upload: Upload | None = None
    try:
        _check_host(hub, request)
        route, captured = _match(request.method, path)
        token = request.headers.get("authorization", "")
        user = None if path.startswith("/_lfs/") else _user_of(hub, token)
        body = b""
        if route.to_file:
            upload = await receive_file(hub, request)
        else:
            body = await receive(hub, request)
        asked = HubRequest(
            request.method,
            path,
            _query(request.url.query),
            {name.lower(): value for name, value in request.headers.items()},
            user,
            body,
            upload,
            captured,
            stale,
        )
        return await run_in_threadpool(_run, hub, route, asked)
    except Refusal as refusal:
        await drain(request, hub.limits.body_bytes)
        return refusal.answer()
    except ClientDisconnect:
        return HubAnswer(CLIENT_LEFT)
    finally:
        if upload is not None:
            upload.path.unlink(missing_ok=True)


def _run(hub: HubState, route: HubRoute, request: HubRequest) -> HubAnswer:
    try:
        if route.to_file:
            return route.handler(hub, request)
        with hub.lock:
            return route.handler(hub, request)
    except SymbioError as error:
        _log.warning("the Hub cannot answer %s %s: %s", request.method, request.path, error)
        raise Refusal(500, message=str(error)) from error
    except Refusal:
        raise
    except Exception as error:
        _log.exception("the Hub failed at %s %s", request.method, request.path)
        raise Refusal(500, message="Internal Server Error") from error


def _check_host(hub: HubState, request: Request) -> None:
    own = (*LOOPBACK_HOSTS, urlsplit(hub.endpoint).hostname)
    try:
        asked = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        asked = None
    if asked not in own:
        raise Refusal(421, message="this Hub answers on loopback addresses only")


def _user_of(hub: HubState, header: str) -> str | None:
    kind, _, token = header.partition(" ")
    if not header:
        return None
    user = hub.accounts.user_of(token.strip()) if kind.lower() == "bearer" else None
    if user is None:
        raise Refusal(401, message="Invalid credentials in Authorization header")
    return user


def _query(text: str) -> dict[str, tuple[str, ...]]:
    try:
        return {name: tuple(v) for name, v in parse_qs(text, keep_blank_values=True, max_num_fields=1000).items()}
    except ValueError as error:
        raise Refusal(400, message=f"the query cannot be read: {error}") from error


def _match(method: str, path: str) -> tuple[HubRoute, dict[str, str]]:
    """Return the first route that fits, with what it captures.

    Raises:
        Refusal: 404: no such address; 405: not with this method.
    """
    try:
        segments = [unquote_to_bytes(segment).decode("utf-8") for segment in path.removeprefix("/").split("/")]
    except UnicodeDecodeError as error:
        raise Refusal(400, message="the path is not UTF-8") from error
    other_method = False
    for route in ROUTES:
        captured = match_segments(route.pattern, segments)
        if captured is None:
            continue
        if method == route.method or (method, route.method) == ("HEAD", "GET"):
            return route, captured
        other_method = True
    raise Refusal(405 if other_method else 404, message="Sorry, we can't find the page you are looking for.")


def match_segments(pattern: str, segments: list[str]) -> dict[str, str] | None:
    """Return what a pattern captures of decoded path segments, or None if it does not fit.

    >>> match_segments("api/{kind}/{name}/tree/{path*}", ["api", "models", "a", "tree", "b", "c"])
    {'kind': 'models', 'name': 'a', 'path': 'b/c'}
    """
    parts = pattern.split("/")
    if parts[-1].endswith("*}"):
        if len(segments) < len(parts):
            return None
        segments = [*segments[: len(parts) - 1], "/".join(segments[len(parts) - 1 :])]
    if len(parts) != len(segments):
        return None
    captured = {}
    for part, segment in zip(parts, segments, strict=True):
        literal, brace, name = part.partition("{")
        name, _, tail = name.partition("}")
        if not brace:
            if segment != literal:
                return None
        elif segment.startswith(literal) and segment.endswith(tail) and len(segment) > len(literal) + len(tail):
            captured[name.rstrip("*")] = segment[len(literal) : len(segment) - len(tail)]
        else:
            return None
    if captured.get("kind", "models") not in ("models", "datasets"):
        return None
    return captured


def _response(answer: HubAnswer, fault: Fault | None) -> Response:
    from starlette.responses import Response, StreamingResponse

    kind = fault.kind if fault is not None else None
    headers = {**answer.headers, "Content-Length": str(answer.num_bytes)}
    if answer.file is None and kind not in ("bit_flip", "truncate"):
        return Response(answer.body, answer.status, headers)
    length = answer.num_bytes
    flip = length // 2 if kind == "bit_flip" else None
    body = _body(answer, length // 2 if kind == "truncate" else length, flip)
    return StreamingResponse(body, answer.status, headers)


async def _body(answer: HubAnswer, length: int, flip: int | None) -> AsyncIterator[bytes]:
    """Yield the first ``length`` bytes of a body, with one bit changed at byte ``flip``."""
    done = 0
    handle = answer.file.open("rb") if answer.file is not None else None
    try:
        if handle is not None:
            handle.seek(answer.start)
        while done < length:
            size = min(_CHUNK, length - done)
            chunk = handle.read(size) if handle is not None else answer.body[done : done + size]
            if not chunk:
                return
            if flip is not None and done <= flip < done + len(chunk):
                at = flip - done
                chunk = chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
            done += len(chunk)
            yield chunk
    finally:
        if handle is not None:
            handle.close()
