"""What a handler of the loopback Hub gets and gives: one request, one answer, or a refusal.

Rules:
    1. Handlers know nothing of a web framework: ``app.py`` turns the wire into these records and back.
    2. A refusal is raised with the status, code and message that clients of the Hub look at:
       ``X-Error-Code`` decides which exception the client raises, ``X-Error-Message`` is what it prints.
    3. Lists come in pages; ``Link: <address>; rel="next"`` leads to the next one.

Example:
    >>> Refusal(404, "RepoNotFound", "Repository not found").answer().headers["X-Error-Code"]
    'RepoNotFound'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from symbio_lab.codec import strict_loads
from symbio_lab.errors import DataError

if TYPE_CHECKING:
    from symbio_lab.testing.loopback_hub.state import HubState


@dataclass(frozen=True, slots=True)
class Upload:
    """A large body that was written to a file while it arrived."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    md5: str


@dataclass(frozen=True, slots=True)
class HubRequest:
    """One request, decoded."""

    method: str
    path: str
    """Path as it was sent, still percent-encoded, without the query."""
    query: Mapping[str, tuple[str, ...]]
    headers: Mapping[str, str]
    """By lower-case name."""
    user: str | None = None
    """Whom the token names; None: anonymous."""
    body: bytes = b""
    upload: Upload | None = None
    captured: Mapping[str, str] = field(default_factory=dict)
    """Parts of the path by the names that the route gives them, decoded."""
    stale: str | None = None
    """Commit at which ``main`` is frozen (empty: at its parent) by a fault; None: it is served as it is."""

    def first(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        return self.query.get(name, (default,))[0]

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is set to something that means yes."""
        return self.first(name).lower() in ("1", "true", "yes")

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            Refusal: 400: it is none.
        """
        try:
            value = strict_loads(self.body or b"{}")
        except DataError as error:
            raise Refusal(400, message=str(error)) from error
        if not isinstance(value, dict):
            raise Refusal(400, message="the body must be a JSON object")
        return value

    def text(self, name: str, *, most: int = 10_000, default: str | None = None) -> str:
        """Return a text of the JSON body.

        Raises:
            Refusal: 400: it is missing without a default, no text, or longer than ``most``.
        """
        value = self.json().get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or len(value) > most:
            raise Refusal(400, message=f"{name!r} must be text of at most {most} characters")
        return value


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """One answer: bytes, or a stretch of a stored file."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    """Stored file that the body comes from, in place of ``body``."""
    start: int = 0
    """First byte of the stretch."""
    length: int = 0
    """Bytes of the stretch."""

    @property
    def num_bytes(self) -> int:
        """Length of the body."""
        return len(self.body) if self.file is None else self.length


class Refusal(Exception):
    """The Hub says no; the fields are what its clients read."""

    def __init__(self, status: int, code: str | None = None, message: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message or code or "refused", headers

    def answer(self) -> HubAnswer:
        """Return the refusal as an answer."""
        plain = re.sub(r"[^\x20-\x7e]+", " ", self.message)
        headers = {"X-Error-Message": plain, **{name.replace("_", "-"): v for name, v in self.headers.items()}}
        if self.code:
            headers["X-Error-Code"] = self.code
        return json_answer({"error": self.message}, self.status, headers)


Handler = Callable[["HubState", HubRequest], HubAnswer]


@dataclass(frozen=True, slots=True)
class HubRoute:
    """Which handler answers a method on a pattern of path segments."""

    method: str
    pattern: str
    """Segments: literal, ``{name}`` for any one, ``{name*}`` at the end for all that follow."""
    handler: Handler
    to_file: bool = False
    """The body is written to a file while it arrives, and the handler runs outside the lock."""


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HubAnswer:
    """Return ``value`` as a JSON answer."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return HubAnswer(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


def page_answer(items: Sequence[Any], request: HubRequest, endpoint: str, most: int) -> HubAnswer:
    """Return one page of ``items`` with the link to the next.

    Args:
        items: everything there is, in a stable order.
        request: whose ``cursor`` says where the page begins and whose ``limit`` may shorten it.
        endpoint: address of this Hub.
        most: items on a page.

    Raises:
        Refusal: 400: ``cursor`` or ``limit`` is no number.
    """
    start, limit = (_number(request, name, default) for name, default in (("cursor", 0), ("limit", most)))
    end = start + min(limit, most)
    headers = {}
    if end < len(items):
        pairs = [(name, v) for name, values in request.query.items() if name != "cursor" for v in values]
        address = f"{endpoint}{request.path}?{urlencode([*pairs, ('cursor', str(end))])}"
        headers["Link"] = f'<{address}>; rel="next"'
    return json_answer(list(items[start:end]), headers=headers)


def _number(request: HubRequest, name: str, default: int) -> int:
    text = request.first(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Refusal(400, message=f"{name} must be a number")
    return int(text)
