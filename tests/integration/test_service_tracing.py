"""One trace from the report to the deployment, over request and worker; nothing said in it but ids, codes, figures."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError
from symbio_lab.events import BuildProgress, PhaseFinished, PhaseStarted
from symbio_lab.service.app import create_app
from symbio_lab.service.registering import register_model
from symbio_lab.service.tracing import JobTrace, Tracing, open_tracing
from symbio_lab.service.worker import Worker
from tests.fixtures_service import MODEL, Service
from tests.fixtures_service import service as service
from tests.integration.test_service_story import HEALING, predictions, traffic

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


class Traced:
    """A service whose spans stay in memory."""

    def __init__(self, service: Service) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider)
        app = create_app(service.settings, service.service, tracing=self.tracing)
        service.client = TestClient(app, raise_server_exceptions=False)
        self.service = service

    def work(self) -> None:
        assert Worker(self.service.settings, self.service.service, tracing=self.tracing).run_one()

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans() if span.name == name]
        return found


@pytest.fixture
def traced(service: Service) -> Traced:
    service.tenant("a")
    return Traced(service)


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None, span.name
    return f"{span.parent.span_id:016x}"


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def report(service: Service, headers: dict[str, str]) -> None:
    failing, others = traffic(service)
    rows = predictions(service, "a", [*failing, *others])
    fields = ("model_id", "task_type", "domain", "input_sample", "actual_output", "expected_output")
    failures = [{name: row[name] for name in fields} for row in rows[:4]]
    for path, body in (
        ("/failures/report/batch", {"failures": failures}),
        ("/predictions", {"predictions": rows}),
    ):
        assert service.call("POST", path, "a", json=body, headers=headers).status_code == 201


def test_report_pattern_search_screen_gate_and_deploy_are_one_trace(traced: Traced) -> None:
    service = traced.service
    report(service, HEADERS)
    asked = service.call("POST", "/healing/marketplace-integrated", "a", json=HEALING, headers=HEADERS)
    traced.work()
    job = service.call("GET", asked.headers["Location"], "a").json()
    assert job["result"]["status"] == "healed"
    spans = [span for span in traced.spans() if f"{span.context.trace_id:032x}" == TRACE]
    order = [span.name for span in sorted(spans, key=lambda span: span.start_time)]
    chain = ["POST /failures/report/batch", "POST /healing/marketplace-integrated", "job healing"]
    chain += ["collect", "pattern", "search", "verify", "screen", "gate", "deploy"]
    assert [name for name in order if name in chain] == chain

    asking, root = traced.named("POST /healing/marketplace-integrated"), traced.named("job healing")
    assert parent_of(traced.named("POST /failures/report/batch")) == CALLER
    assert parent_of(asking) == CALLER
    assert parent_of(root) == id_of(asking)
    for phase in ("collect", "pattern", "search", "screen", "gate", "deploy"):
        assert parent_of(traced.named(phase)) == id_of(root), phase
        assert root.start_time <= traced.named(phase).start_time <= traced.named(phase).end_time <= root.end_time
    said = dict(root.attributes or {})
    assert (said["symbio.tenant"], said["symbio.job_id"]) == ("a", job["job_id"])
    assert said["symbio.outcome"] == "succeeded"
    assert dict(traced.named("gate").attributes or {})["symbio.decision"] == "accept"
    assert dict(traced.named("search").attributes or {})["symbio.num_candidates"] >= 1
    deployed = dict(traced.named("deploy").attributes or {})
    assert deployed["symbio.deployment_id"] == job["result"]["deployment_id"]
    assert "CandidateScreened" in {event.name for event in traced.named("screen").events}


def test_a_contribution_is_the_last_span_of_surgery(traced: Traced) -> None:
    service = traced.service
    (base,) = service.settings.home.glob("bases/*/base.json")
    register_model(service.state, MODEL, str(base.parent), licence="Apache-2.0")
    policy = service.call("GET", "/policies", "a").json()["policy"]
    service.call("PUT", "/policies", "a", json={**policy, "allow_contribution": True})
    report(service, {})
    body = {"model_id": MODEL, "task_type": "text_classification", "domain": "shades"}
    body["contribute_to_marketplace"] = True  # type: ignore[assignment]
    asked = service.call("POST", "/surgery", "a", json=body)
    traced.work()
    job = service.call("GET", asked.headers["Location"], "a").json()
    assert job["result"]["contributed"], job
    root = traced.named("job surgery")
    for phase in ("surgery", "gate", "deploy", "contribute"):
        assert parent_of(traced.named(phase)) == id_of(root)
    assert dict(traced.named("contribute").attributes or {})["symbio.digest"] == job["result"]["contributed"]
    assert dict(traced.named("surgery").attributes or {})["symbio.num_samples"] > 0


def test_no_text_key_or_token_is_in_a_span(traced: Traced) -> None:
    service = traced.service
    secret = "the-words-of-a-user"
    failure = {
        "model_id": MODEL,
        "task_type": "text_classification",
        "input_sample": secret,
        "expected_output": secret,
        "actual_output": f"{secret}!",
    }
    assert service.call("POST", "/failures/report", "a", json=failure, headers=HEADERS).status_code == 201
    assert service.call("POST", "/failures/report", "a", json={**failure, "x": secret}).status_code == 422
    assert service.call("GET", f"/nowhere/{secret}?q={secret}", "a").status_code == 404
    body = {"model_id": MODEL, "task_type": "text_classification", "domain": secret}
    service.call("POST", "/healing/marketplace-integrated", "a", json=body)
    traced.work()
    spans = traced.spans()
    assert len(spans) >= 5
    said = "".join(span.to_json() for span in spans)
    assert secret not in said
    assert "sl_" not in said
    failed = traced.named("job healing")
    assert (failed.status.status_code.name, failed.status.description) == ("ERROR", "empty_slice")
    assert {span.name for span in spans} >= {"GET", "POST /failures/report"}


@pytest.mark.parametrize(
    "given",
    ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 40],
    ids=["empty", "words", "zeros", "accents"],
)
def test_a_traceparent_that_is_none_begins_a_trace(traced: Traced, given: str) -> None:
    answer = traced.service.call("GET", "/version", headers={"traceparent": given.encode()})
    assert answer.status_code == 200
    span = traced.named("GET /version")
    assert span.parent is None
    assert span.context.trace_id != 0


def test_the_framework_s_own_telemetry_is_off(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    trace.get_tracer("somebody's").start_span("theirs").end()
    with TestClient(create_app(Settings(home=tmp_path))) as client:
        assert client.post("/failures/report", json={"secret": "text"}).status_code == 401
    assert [span.name for span in exporter.get_finished_spans()] == ["theirs"]


def test_probes_make_no_spans(traced: Traced) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert traced.service.call("GET", path).status_code == 200
    assert traced.spans() == []


def test_a_run_that_breaks_off_ends_every_span(traced: Traced) -> None:
    with traced.tracing.tracer.start_as_current_span("root") as root:
        trace = JobTrace(traced.tracing.tracer, root)
        trace(PhaseStarted("outer"))
        trace(PhaseStarted("inner"))
        trace(PhaseFinished("elsewhere", 0.0, 0.0))
        trace(BuildProgress("a world", 1, 2))
        trace.close()
    assert [span.name for span in traced.spans()] == ["inner", "outer", "root"]
    assert parent_of(traced.named("inner")) == id_of(traced.named("outer"))


class Collector(BaseHTTPRequestHandler):
    """Takes spans as an OTLP collector does."""

    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    got: list[tuple[str, bytes]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Mine", (Collector,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def spans_of(got: list[tuple[str, bytes]]) -> list[Any]:
    """Return what a collector got: the spans, each with its resource's attributes."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for _, body in got:
        import gzip

        plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        for one in ExportTraceServiceRequest.FromString(plain).resource_spans:
            about = {a.key: a.value.string_value for a in one.resource.attributes}
            found += [(span, about) for scope in one.scope_spans for span in scope.spans]
    return found


def test_spans_reach_a_collector(collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    address, got = collector
    tracing = open_tracing(address, {"OTEL_SERVICE_NAME": "mine"})
    assert tracing is not None
    with tracing.span("work", "CONSUMER", HEADERS["traceparent"], {"symbio.tenant": "a"}):
        pass
    tracing.close()
    assert [path for path, _ in got] == ["/v1/traces"]
    ((span, about),) = spans_of(got)
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("work", TRACE, CALLER)
    assert about["service.name"] == "mine"


def test_traces_are_made_only_when_somebody_asks(tmp_path: Any) -> None:
    assert open_tracing(None, {}) is None
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert open_tracing(None, {**asked, "OTEL_SDK_DISABLED": "true"}) is None
    assert open_tracing(None, {**asked, "OTEL_TRACES_EXPORTER": "none"}) is None
    found = open_tracing(None, asked)
    assert found is not None
    found.close()
    for wrong in ("127.0.0.1:4318", "file:///x", "http://"):
        with pytest.raises(ConfigError):
            open_tracing(wrong, {})
    app = create_app(Settings(home=tmp_path))
    assert "TracedRequests" not in [middleware.cls.__name__ for middleware in app.user_middleware]  # type: ignore[attr-defined]


def test_without_the_extra_the_service_works_and_asking_for_traces_names_it() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = sys.modules['opentelemetry.exporter'] = None\n"
        "from pathlib import Path\n"
        "from symbio_lab.config import Settings\n"
        "from symbio_lab.errors import MissingExtraError\n"
        "from symbio_lab.service.app import create_app\n"
        "from symbio_lab.service.tracing import open_tracing\n"
        "from symbio_lab.service.settings import ServiceSettings\n"
        "from symbio_lab.service.worker import Worker\n"
        "create_app(Settings(home=Path('nowhere')))\n"
        "Worker(Settings(home=Path('nowhere')), ServiceSettings(), tracing=open_tracing(None, {}))\n"
        "try:\n"
        "    open_tracing('http://127.0.0.1:9', {})\n"
        "except MissingExtraError as error:\n"
        "    print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "otel" in done.stdout
