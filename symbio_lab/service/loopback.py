"""``--local`` has no keys, so that a web page in the user's own browser must not be able to call it.

Whoever reaches the port may do everything, and a browser reaches it for any page that is open in it: by a form, by a
script, or by a name that the page's owner lets point to the loopback address.

Rules:
    1. The request must name the service by a loopback name or address (``Host``).
    2. A request that a page made must come from a page of the service itself (``Origin``, ``Sec-Fetch-Site``).

References:
    W3C (2026), "Fetch Metadata Request Headers", section 2.3 (Sec-Fetch-Site).
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from symbio_lab.service.problems import Problem, send_problem

_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class LoopbackOnly:
    """ASGI middleware: refuses what does not come from this machine's own programs, by 403."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or is_own(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        problem = Problem(
            type="about:blank",
            title="Forbidden",
            status=403,
            code="not_local",
            detail="symbio serve --local answers programs of this machine, and its own pages, only",
            hint="ask http://localhost:PORT, or serve with keys: symbio tenants new NAME",
            request_id=str(scope.get("state", {}).get("request_id", "")),
        )
        await send_problem(send, problem)


def is_own(headers: Headers) -> bool:
    """Return whether a request names the service by a loopback name and no other page made it.

    >>> is_own(Headers({"host": "localhost:8000"})), is_own(Headers({"host": "rebound.example:8000"}))
    (True, False)
    >>> is_own(Headers({"host": "127.0.0.1:8000", "origin": "https://elsewhere.example"}))
    False
    """
    host = headers.get("host", "")
    if not _HOST.fullmatch(host):
        return False
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host}".lower():
        return False
    return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
