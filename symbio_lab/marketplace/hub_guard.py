"""The guard around the Hub's client library: every call of ours under a deadline, every answer under a grammar.

The client library shares one HTTP client between all its users. The guard adds to that client, and acts only within
``guarded(...)``: other users of the library (loading models, data sets) see no difference.

Rules:
    1. Every request has a timeout and a deadline, whatever the library passed; a body that drips is cut off too.
    2. Every hop of a request, and every answer, follows ``hub_answers``; what does not is refused (``bad_response``)
       before the library reads it.
    3. Failures that may pass (no connection, 429, 5xx) end the library's call at once as ``CallFailedError``: waiting
       and trying again is decided in one place, ``hub_calls``, which knows the deadline.
    4. Transfers by Xet are not used: they bypass this client. Their announcement is taken out of the answers, and the
       library falls back to plain HTTP.
    5. A factory that somebody set for the shared client before is kept: the guard is added to what it makes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

from symbio_lab.marketplace.hub_answers import (
    OversizeAnswerError,
    body_cap,
    check_answer,
    check_target,
    is_same_origin,
    wait_asked_for,
)

PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed later."""
_TELEMETRY_PATHS = ("/api/agent-harnesses", "/api/telemetry/")
_MARK = "_symbio_lab_guard"
_lock = threading.Lock()


class CallFailedError(Exception):
    """A call got no usable answer for a reason that may pass."""

    def __init__(self, reason: str, *, status: int | None = None, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.wait_s = wait_s
        """Seconds that the server asks to wait, if it does."""


class DeadlineError(CallFailedError):
    """The time of the operation is spent."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one call may do."""

    endpoint: str
    deadline: float
    """``time.monotonic()`` after which nothing is sent or read."""
    timeout_s: float
    """Seconds without a byte."""
    max_bytes: int
    """Largest body of an answer."""
    commit: str | None = None
    """Commit that file answers must be of."""

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; raises when there are none.

        Raises:
            DeadlineError: the time is spent.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineError("the time for this operation is spent")
        return left


_allowance: ContextVar[Allowance | None] = ContextVar("symbio_lab_hub_allowance", default=None)


@contextmanager
def guarded(allowance: Allowance) -> Iterator[None]:
    """Guard every request that the client library makes within the block, in this thread."""
    _install()
    token = _allowance.set(allowance)
    try:
        yield
    finally:
        _allowance.reset(token)


def _install() -> None:
    """Add the guard to the shared client, unless it is there; somebody else may have replaced the client since."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http, get_session

    with _lock:
        if hasattr(get_session(), _MARK):
            return
        # There is no public way to ask for the factory in force.
        make_client = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)

        def make_guarded() -> Any:
            return _guard_client(make_client())

        set_client_factory(make_guarded)


def _guard_client(client: Any) -> Any:
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks.get("request", ()), _before_request],
        "response": [*hooks.get("response", ()), _after_response],
    }
    send = client.send

    def guarded_send(request: Any, **arguments: Any) -> Any:
        return _send(send, request, arguments)

    client.send = guarded_send
    setattr(client, _MARK, True)
    return client


def _send(send: Any, request: Any, arguments: dict[str, Any]) -> Any:
    if _allowance.get() is None:
        return send(request, **arguments)
    http = _http_package(request)
    try:
        response = send(request, **arguments)
    except (http.TimeoutException, http.NetworkError, http.RemoteProtocolError, http.ProxyError) as error:
        raise CallFailedError(f"no answer ({type(error).__name__})") from error
    except http.DecodingError as error:
        raise CallFailedError("the answer cannot be decoded") from error
    if response.status_code in PASSING_STATUSES:
        response.close()
        wait_s = wait_asked_for(response.headers)
        raise CallFailedError(f"status {response.status_code}", status=response.status_code, wait_s=wait_s)
    return response


def _before_request(request: Any) -> None:
    allowance = _allowance.get()
    if allowance is None:
        return
    seconds = min(allowance.timeout_s, allowance.seconds_left)
    url = str(request.url)
    check_target(url, allowance.endpoint)
    if any(request.url.path.startswith(path) for path in _TELEMETRY_PATHS):
        raise CallFailedError("not asked for")  # the library goes on without it
    if not is_same_origin(url, allowance.endpoint):
        request.headers.pop("authorization", None)
    request.headers["accept-encoding"] = "identity"
    request.extensions = {
        **request.extensions,
        "timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds),
    }


def _after_response(response: Any) -> None:
    allowance = _allowance.get()
    if allowance is None:
        return
    method = response.request.method
    check_answer(
        response.headers,
        method=method,
        max_bytes=allowance.max_bytes,
        commit=allowance.commit,
        status=response.status_code,
    )
    if response.has_redirect_location:
        # Also where the library does not follow at once: it may ask there later.
        check_target(str(response.request.url.join(response.headers["location"])), allowance.endpoint)
    response.headers.pop("x-xet-hash", None)
    if method != "HEAD":
        cap = body_cap(response.status_code, allowance.max_bytes)
        response.stream = _bounded_stream(_http_package(response.request))(response.stream, allowance, cap)


@cache
def _bounded_stream(http: Any) -> Any:
    class BoundedStream(http.SyncByteStream):
        """The body of an answer, which ends in an error at its cap or deadline."""

        def __init__(self, inner: Any, allowance: Allowance, max_bytes: int) -> None:
            self._inner, self._allowance, self._max_bytes = inner, allowance, max_bytes

        def __iter__(self) -> Iterator[bytes]:
            num_bytes = 0
            for chunk in self._inner:
                num_bytes += len(chunk)
                if num_bytes > self._max_bytes:
                    raise OversizeAnswerError(num_bytes, self._max_bytes)
                _ = self._allowance.seconds_left
                yield chunk

        def close(self) -> None:
            self._inner.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    return BoundedStream


def _http_package(request: Any) -> Any:
    """Return the HTTP package that made the request; which one it is depends on the release of the library."""
    return sys.modules[type(request).__module__.partition(".")[0]]
