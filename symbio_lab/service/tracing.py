"""Traces: one chain of spans from the request that asked for a job to the worker process that carried it out.

Flow: HTTP request -> traceparent kept with the job -> worker -> events of the run -> spans, exported by OTLP.

Rules:
    1. Without an endpoint nothing is imported and nothing is done: there is no middleware and no listener.
    2. The run is not sprinkled with calls: spans are made of the events that every front end listens to. A phase is a
       span; what an event says about the phase that has just ended goes to that phase.
    3. Spans bear tenants, ids, codes and figures; never texts, keys, tokens or messages of errors.
    4. A collector that does not answer costs spans, never a request or a job.

Example::

    tracing = open_tracing("http://127.0.0.1:4318")
    app = create_app(settings, service, tracing=tracing)

References:
    W3C (2021), "Trace Context", section 3.2 (traceparent).
    OpenTelemetry (2025), "Semantic Conventions for HTTP Spans", server spans. Differs from the paper: bodies, queries
    and addresses are left out.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import symbio_lab
from symbio_lab.errors import ConfigError, MissingExtraError
from symbio_lab.events import (
    CandidateRefused,
    CandidateScreened,
    Contributed,
    Deployed,
    Event,
    GateDecided,
    PhaseFinished,
    PhaseStarted,
    SearchFinished,
    SurgeryFinished,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from symbio_lab.store.job_rows import Job

logger = logging.getLogger(__name__)
TRACEPARENT = "traceparent"
"""Field of a job's request, and header, that names the span that a trace goes on from."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SAYS_NO_TEXT = (
    SearchFinished,
    CandidateRefused,
    CandidateScreened,
    SurgeryFinished,
    GateDecided,
    Deployed,
    Contributed,
)
"""Events whose fields are ids, codes and figures; of others a span bears the name."""
_RESULTS: dict[type[Event], str] = {
    SearchFinished: "search",
    SurgeryFinished: "surgery",
    GateDecided: "gate",
    Deployed: "deploy",
    Contributed: "contribute",
}
"""Event -> the phase whose result it is."""
_UNTRACED = ("/livez", "/readyz", "/metrics")
"""Asked for every few seconds by machines."""


class Tracing:
    """Makes the spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        """Take what spans are made with, e.g. one with an exporter in memory."""
        self._provider = provider
        self.tracer: Tracer = provider.get_tracer("symbio_lab", symbio_lab.__version__)

    @contextmanager
    def span(self, name: str, kind: str, traceparent: str | None, attributes: Mapping[str, Any]) -> Iterator[Span]:
        """Make a span current that goes on from another process.

        Args:
            name: of the operation, without ids.
            kind: ``SERVER`` or ``CONSUMER``.
            traceparent: of the span that asked for it; None, or one that is none, begins a trace.
            attributes: what it bears from the start.
        """
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent} if traceparent else {})
        with self.tracer.start_as_current_span(
            name,
            context=parent,
            kind=SpanKind[kind],
            attributes=dict(attributes),
            # Their messages may repeat what a user wrote.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def job(self, job: Job) -> Iterator[JobTrace]:
        """Trace a job in the trace of the request that asked for it, and yield its listener."""
        attributes = {
            "symbio.tenant": job.tenant,
            "symbio.job_id": job.job_id,
            "symbio.job_kind": job.kind,
            "symbio.attempt": job.num_attempts,
            "symbio.model_id": str(job.request.get("model_id", "")),
        }
        asked_by = job.request.get(TRACEPARENT)
        with self.span(f"job {job.kind}", "CONSUMER", asked_by, attributes) as span:
            structlog.contextvars.bind_contextvars(trace_id=f"{span.get_span_context().trace_id:032x}")
            trace = JobTrace(self.tracer, span)
            try:
                yield trace
            finally:
                trace.close()

    def close(self) -> None:
        """Export what is left and stop."""
        self._provider.shutdown()


class JobTrace:
    """A listener that makes spans of a run's events."""

    def __init__(self, tracer: Tracer, root: Span) -> None:
        self._tracer, self._root = tracer, root
        self._open: list[tuple[str, Span]] = []
        self._ended: tuple[str, Span, int] | None = None

    def __call__(self, event: Event) -> None:
        """Take one event."""
        from opentelemetry.trace import set_span_in_context

        match event:
            case PhaseStarted():
                self._end_last()
                span = self._tracer.start_span(event.phase, context=set_span_in_context(self._current))
                self._open.append((event.phase, span))
            case PhaseFinished() if self._open and self._open[-1][0] == event.phase:
                self._end_last()
                name, span = self._open.pop()
                span.set_attribute("symbio.forwards_equivalent", event.forwards_equivalent)
                # It ends now, but what it came to is told after its end.
                self._ended = (name, span, time.time_ns())
            case _ if (phase := self._phase_of(event)) is not None:
                phase.set_attributes(_attributes(event))
            case _:
                self._current.add_event(type(event).__name__, _attributes(event))

    def ended(self, outcome: str, code: str) -> None:
        """Say how the job ended: its state, and the code of an error."""
        from opentelemetry.trace import StatusCode

        self._root.set_attributes({"symbio.outcome": outcome, "symbio.error_code": code})
        if outcome == "failed":
            self._root.set_status(StatusCode.ERROR, code)

    def close(self) -> None:
        """End every span that is open."""
        self._end_last()
        while self._open:
            self._open.pop()[1].end()

    @property
    def _current(self) -> Span:
        return self._open[-1][1] if self._open else self._root

    def _phase_of(self, event: Event) -> Span | None:
        """Return the span of the phase that an event is the result of, if it is open or has just ended."""
        phase = _RESULTS.get(type(event))
        if self._ended is not None and self._ended[0] == phase:
            return self._ended[1]
        return self._open[-1][1] if self._open and self._open[-1][0] == phase else None

    def _end_last(self) -> None:
        if self._ended is not None:
            _, span, at_ns = self._ended
            span.end(at_ns)
            self._ended = None


class TracedRequests:
    """ASGI middleware: a span for every request, in the trace that the caller names."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        state = scope.setdefault("state", {})
        given = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        about = {"http.request.method": scope["method"], "symbio.request_id": state.get("request_id", "")}
        with self._tracing.span(scope["method"], "SERVER", given.decode("latin-1"), about) as span:
            carrier: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(carrier)
            state[TRACEPARENT] = carrier.get(TRACEPARENT)
            structlog.contextvars.bind_contextvars(trace_id=f"{span.get_span_context().trace_id:032x}")
            try:
                await self._app(scope, receive, noted)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
                span.set_attributes(
                    {"http.response.status_code": status, "symbio.tenant": str(state.get("tenant", ""))}
                )
                if status >= 500:
                    span.set_status(StatusCode.ERROR)


def open_tracing(endpoint: str | None = None, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return what makes and exports spans, or None where nobody asked for traces.

    Args:
        endpoint: address of an OTLP collector (HTTP), e.g. ``http://127.0.0.1:4318``; None takes the standard
            variables ``OTEL_EXPORTER_OTLP_ENDPOINT`` and ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``. The other standard
            variables (headers, timeout, sampler, ``OTEL_SERVICE_NAME``, ``OTEL_SDK_DISABLED``) hold too.
        environ: environment variables.

    Raises:
        ConfigError: the endpoint is no http(s) address.
        MissingExtraError: an endpoint is given and OpenTelemetry is not installed.
    """
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if endpoint is None and (is_off or not any(environ.get(name) for name in _ENDPOINTS)):
        return None
    if endpoint is not None:
        endpoint = _traces_address(endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "opentelemetry-sdk", "otel") from error
    about: dict[str, str | int] = {
        "service.name": environ.get("OTEL_SERVICE_NAME") or "symbio-lab",
        "service.version": symbio_lab.__version__,
        "process.pid": os.getpid(),
    }
    provider = TracerProvider(resource=Resource.create({**about}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider)


def _traces_address(endpoint: str) -> str:
    """Return the address that spans are sent to; a collector's own address gets the standard path.

    >>> _traces_address("http://127.0.0.1:4318"), _traces_address("https://collector.example/mine")
    ('http://127.0.0.1:4318/v1/traces', 'https://collector.example/mine')
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            [f"{endpoint!r:.80} is no address of a collector"], hint="e.g. --traces http://127.0.0.1:4318"
        )
    return endpoint.rstrip("/") + "/v1/traces" if parts.path in ("", "/") else endpoint


def _attributes(event: Event) -> dict[str, Any]:
    if not isinstance(event, _SAYS_NO_TEXT):
        return {}
    return {f"symbio.{name}": value for name, value in asdict(event).items() if value is not None}
