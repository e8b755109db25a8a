"""Figures of one process and its store for Prometheus, and an id for every request and log line.

Labels are bounded: route templates, methods, status classes and job states; never a tenant, a model or an id.
"""

from __future__ import annotations

import re
import secrets
import time

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import symbio_lab
from symbio_lab.service.exposing import expose_store
from symbio_lab.service.state import ServiceState
from symbio_lab.store.figures import FigureReader
from symbio_lab.store.job_rows import OPEN_STATES

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
logger = structlog.get_logger(__name__)


class Measures:
    """Counters of one app, in a registry of their own."""

    def __init__(self) -> None:
        """Start at zero."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "symbio_requests_total", "Answered requests", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "symbio_request_seconds", "Seconds to answer", ["route"], buckets=_SECONDS, registry=self._registry
        )
        self._open_jobs = Gauge("symbio_open_jobs", "Jobs queued or running", registry=self._registry)
        self._bases = Gauge("symbio_resident_bases", "Bases in memory", registry=self._registry)
        self._predict = Histogram(
            "symbio_predict_seconds", "Seconds to answer a batch", buckets=_SECONDS, registry=self._registry
        )
        self._texts = Counter("symbio_predict_texts_total", "Texts answered", registry=self._registry)
        self._streams = Gauge("symbio_open_event_streams", "Event streams that are open", registry=self._registry)
        about = Gauge("symbio_build_info", "Which release answers; always 1", ["version"], registry=self._registry)
        about.labels(symbio_lab.__version__).set(1)
        self._figures: FigureReader | None = None

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        known = method if method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS") else "other"
        self._requests.labels(known, route, f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)

    def predicted(self, num_texts: int, seconds: float) -> None:
        """Count one batch of answers."""
        self._predict.observe(seconds)
        self._texts.inc(num_texts)

    def exposition(self, state: ServiceState, *, num_streams: int = 0) -> bytes:
        """Return the figures in the text format.

        Args:
            state: of the service.
            num_streams: event streams that are open.

        Raises:
            StorageError: the store cannot be read.
        """
        self._figures = self._figures or FigureReader(state.database)
        figures = self._figures.read()
        self._open_jobs.set(sum(n for (_, name), n in figures.jobs.items() if name in OPEN_STATES))
        self._bases.set(state.residents.num_loaded)
        self._streams.set(num_streams)
        return generate_latest(self._registry) + expose_store(figures, now=state.now())


class Requests:
    """ASGI middleware: an id for every request, its figures, and one log line."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "none")
            self._measures.answered(scope["method"], route, status, seconds)
            logger.info(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                ms=round(1000 * seconds, 1),
                tenant=scope["state"].get("tenant", ""),
            )
