"""The wire: requests become ``HubRequest``, handlers answer, answers go back, faults happen in between.

Rules:
    1. Routes are matched on the path as it was sent, so that an encoded slash (``refs%2Fpr%2F1``) stays in its segment.
    2. A body is bounded; that of a large file goes to disk while it arrives.
    3. Handlers run in threads, one at a time under the state's lock, uploads apart.
    4. Nothing that a client sends becomes a path on this machine; an error of a handler is 500 without its text.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

from symbio_lab.errors import StorageError
from symbio_lab.testing.loopback_hub import accounts, committing, content, curation, discussions, lfs, listing, managing
from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, Upload
from symbio_lab.testing.loopback_hub.faults import Fault, Faults
from symbio_lab.testing.loopback_hub.state import HubState

logger = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
CHUNK_BYTES = 1 << 18
_KINDS = {"kind": "(?:models|datasets)"}
ROUTES: tuple[HubRoute, ...] = (
    *accounts.ROUTES,
    *managing.ROUTES,
    *curation.ROUTES,
    *listing.ROUTES,
    *committing.ROUTES,
    *discussions.ROUTES,
    *lfs.ROUTES,
    *content.ROUTES,
)


class _CutOffError(Exception):
    """A fault ends the connection in the middle of a body."""


def _pattern(route: HubRoute) -> re.Pattern[str]:
    """Return the expression of a route's path.

    >>> bool(_pattern(HubRoute("GET", "{namespace}/{name}.git/info", None)).fullmatch("/alice/travel.git/info"))
    True
    """
    parts = []
    for part in re.split(r"(\{[a-z]+\*?\})", route.pattern):
        name = part.strip("{}*")
        if not part.startswith("{"):
            parts.append(re.escape(part))
        elif part.endswith("*}"):
            parts.append(f"(?P<{name}>.+)")
        else:
            parts.append(f"(?P<{name}>{_KINDS.get(name, '[^/]+?')})")
    return re.compile("/" + "".join(parts))


class HubApp:
    """The ASGI app of one Hub."""

    def __init__(self, state: HubState, faults: Faults) -> None:
        self.state = state
        self.faults = faults
        self.requests: list[tuple[str, str, int]] = []
        """Method, path as it was sent, and status of every request."""
        self._routes = [(route, _pattern(route)) for route in ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = scope["raw_path"].decode("latin-1").split("?")[0]
        fault = self.faults.take(scope["method"], path)
        if fault is not None and fault.kind == "stall":
            await asyncio.sleep(fault.delay_s)
        answer = await self._answer(scope, path, receive, fault)
        if fault is not None and fault.kind == "header":
            answer = replace(answer, headers=_with(answer.headers, fault.headers))
        self.requests.append((scope["method"], path, answer.status))
        try:
            await _send(answer, scope["method"], send, fault)
        except _CutOffError:
            # What was announced does not come: the server closes the connection.
            logger.debug("cut off %s", path)

    async def _answer(self, scope: Scope, path: str, receive: Receive, fault: Fault | None) -> HubAnswer:
        if fault is not None and fault.kind == "status":
            more = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return HubAnswer(fault.status, headers={**fault.headers, **more})
        if fault is not None and fault.kind == "redirect":
            return HubAnswer(302, headers=fault.headers)
        upload: Upload | None = None
        try:
            route, captured = self._route(scope["method"], path)
            request = self._request(scope, path, captured, fault)
            if route.to_file:
                upload = await self._to_file(receive)
                return await asyncio.to_thread(route.handler, self.state, replace(request, upload=upload))
            request = replace(request, body=await self._body(receive))
            return await asyncio.to_thread(self._run, route, request)
        except Refusal as refusal:
            return refusal.answer()
        except StorageError as error:
            return Refusal(503, message=str(error)).answer()
        except Exception:
            logger.exception("cannot answer %s %s", scope["method"], path)
            return Refusal(500, message="the Hub failed").answer()
        finally:
            if upload is not None:
                upload.path.unlink(missing_ok=True)

    def _run(self, route: HubRoute, request: HubRequest) -> HubAnswer:
        with self.state.lock:
            return route.handler(self.state, request)

    def _route(self, method: str, path: str) -> tuple[HubRoute, dict[str, str]]:
        others = set()
        for route, pattern in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if route.method == method:
                try:
                    return route, {name: unquote(value, errors="strict") for name, value in match.groupdict().items()}
                except UnicodeDecodeError as error:
                    raise Refusal(400, message="the path is not UTF-8") from error
            others.add(route.method)
        if others:
            raise Refusal(405, message="Method Not Allowed", Allow=", ".join(sorted(others)))
        raise Refusal(404, message="Not Found")

    def _request(self, scope: Scope, path: str, captured: dict[str, str], fault: Fault | None) -> HubRequest:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=200)
        user = None
        given = headers.get("authorization", "")
        if given:
            user = self.state.accounts.user_of(given.removeprefix("Bearer ").strip())
            if user is None:
                raise Refusal(401, message="Invalid credentials in Authorization header")
        stale = fault.commit if fault is not None and fault.kind == "stale_main" else None
        return HubRequest(
            scope["method"],
            path,
            {name: tuple(values) for name, values in query.items()},
            headers,
            user,
            captured=captured,
            stale=stale,
        )

    async def _body(self, receive: Receive) -> bytes:
        parts, size = [], 0
        async for chunk in _chunks(receive):
            size += len(chunk)
            if size > self.state.limits.body_bytes:
                raise Refusal(413, message=f"a body has at most {self.state.limits.body_bytes} bytes")
            parts.append(chunk)
        return b"".join(parts)

    async def _to_file(self, receive: Receive) -> Upload:
        path, size = self.state.blobs.incoming(), 0
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        try:
            with path.open("wb") as handle:
                async for chunk in _chunks(receive):
                    size += len(chunk)
                    if size > self.state.limits.large_file_bytes:
                        raise Refusal(413, message="the file is too large for this Hub")
                    sha256.update(chunk)
                    md5.update(chunk)
                    handle.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Upload(path, size, sha256.hexdigest(), md5.hexdigest())


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, message="the client left")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def _with(headers: Any, more: Any) -> dict[str, str]:
    replaced = {name.lower() for name in more}
    return {**{name: value for name, value in headers.items() if name.lower() not in replaced}, **more}


async def _send(answer: HubAnswer, method: str, send: Send, fault: Fault | None) -> None:
    headers = _with({"Content-Length": str(answer.num_bytes)}, answer.headers)
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if method == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return
    kind = None if fault is None else fault.kind
    left = answer.num_bytes // 2 if kind == "truncate" else answer.num_bytes
    async for chunk in _stretches(answer):
        piece = chunk[:left]
        left -= len(piece)
        if kind == "bit_flip" and left == 0 and piece:
            piece = piece[:-1] + bytes([piece[-1] ^ 1])
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if left == 0:
            break
    if kind == "truncate" and answer.num_bytes:
        raise _CutOffError
    await send({"type": "http.response.body", "body": b""})


async def _stretches(answer: HubAnswer) -> AsyncIterator[bytes]:
    if answer.file is None:
        yield answer.body
        return
    with answer.file.open("rb") as handle:
        handle.seek(answer.start)
        left = answer.length
        while left and (chunk := await asyncio.to_thread(handle.read, min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
