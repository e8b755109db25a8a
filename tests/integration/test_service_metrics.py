"""What ``/metrics`` says is true, bounded, and what the Grafana dashboard asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from symbio_lab.config import Settings
from symbio_lab.records import Deployment
from symbio_lab.service.app import create_app
from symbio_lab.service.grafana import grafana_dashboard
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.store import figures
from symbio_lab.store.figures import FigureReader
from symbio_lab.store.registered_models import RegisteredModel
from tests.fixtures_models import TinyModels

MODEL = "production-model-v1"
HEALING = {"model_id": MODEL, "task_type": "text_classification"}
FAILURE = {**HEALING, "input_sample": "x", "expected_output": "a", "actual_output": "b"}
GIVEN_BY_PROMETHEUS = {"job", "instance", "le"}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    app = create_app(Settings(home=tmp_path, num_threads=1), ServiceSettings(local=True))
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def samples(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(client: TestClient, name: str, **labels: str) -> float:
    return samples(client)[name, tuple(sorted(labels.items()))]


def story(client: TestClient, tiny: TinyModels) -> None:
    """Reports, answers, jobs of every end, a deployment and its way back."""
    from symbio_lab.service.registering import register_model

    state = client.app.state.service  # type: ignore[attr-defined]
    now = state.now()
    registered = register_model(state, MODEL, str(tiny.folder("bert")))
    assert client.post("/failures/report", json=FAILURE).status_code == 201
    assert client.post("/failures/report", json={}).status_code == 422
    assert client.post("/predict", json={"model_id": MODEL, "inputs": ["a", "b", "c"]}).status_code == 200
    from symbio_lab.service.worker import Worker

    ids = [client.post("/healing/marketplace-integrated", json=HEALING).json()["job_id"] for _ in range(3)]
    assert client.post(f"/jobs/{ids[2]}/cancel").status_code == 202
    worker = Worker(state.settings, state.service)
    # One failure is too few to heal from: the job fails by itself.
    assert worker.run_one()
    for status in ("healed", "made up"):
        job = state.jobs.submit("local", "surgery", HEALING, now=now)
        assert state.jobs.claim("w", now=now) is not None
        detail = {"kind": "surgery", "code": "", "status": status, "deployment_id": None}
        state.audit.append("local", at=now, actor="worker", action="job.succeeded", subject=job.job_id, detail=detail)
    state.ledger.append(Deployment("local", MODEL, registered.digest, "c" * 64, "p/x", "live", None, now))
    assert client.post("/deployments/rollback", json={"model_id": MODEL}).status_code == 201


def test_figures_are_those_of_the_story(client: TestClient, tiny: TinyModels) -> None:
    story(client, tiny)
    found = samples(client)

    def said(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert said("symbio_requests_total", method="POST", route="/failures/report", status="2xx") == 1
    assert said("symbio_requests_total", method="POST", route="/failures/report", status="4xx") == 1
    assert said("symbio_predict_texts_total") == 3
    assert said("symbio_predict_seconds_count") == 1
    assert said("symbio_jobs", kind="healing", state="failed") == 1
    assert said("symbio_jobs", kind="healing", state="cancelled") == 1
    assert said("symbio_jobs_ended_total", kind="healing", outcome="failed") == 1
    assert said("symbio_jobs_ended_total", kind="surgery", outcome="healed") == 1
    assert said("symbio_jobs_ended_total", kind="surgery", outcome="other") == 1
    assert said("symbio_deployments_total", stage="live") == 1
    assert said("symbio_deployments_total", stage="rolled_back") == 1
    assert said("symbio_store_bytes") > 10_000
    assert said("symbio_resident_bases") == 1
    open_jobs = [
        v
        for (name, labels), v in found.items()
        if name == "symbio_jobs" and dict(labels)["state"] in ("queued", "running")
    ]
    assert said("symbio_open_jobs") == sum(open_jobs) == 3


def test_the_queue_s_age_is_that_of_its_oldest_job(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path), now=lambda: "2026-01-01T01:00:00Z")
    client = TestClient(app)
    assert value(client, "symbio_oldest_queued_job_seconds") == 0
    for at in ("2026-01-01T00:59:00Z", "2026-01-01T00:30:00Z"):
        app.state.service.jobs.submit("a", "healing", HEALING, now=at)
    assert value(client, "symbio_oldest_queued_job_seconds") == 1800
    app.state.service.jobs.claim("w", now="2026-01-01T01:00:00Z")
    assert value(client, "symbio_oldest_queued_job_seconds") == 60


def test_a_long_audit_log_is_read_once_and_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "CHUNK", 3)
    monkeypatch.setattr(figures, "MOST_CHUNKS", 2)
    state = create_app(Settings(home=tmp_path)).state.service
    for number in range(10):
        state.audit.append("a", at="2026-01-01T00:00:00Z", actor="k", action="key.create", subject="job.failed")
        detail = {"kind": "healing", "status": "healed"}
        state.audit.append("a", at="2026-01-01T00:00:00Z", actor="worker", action="job.succeeded", detail=detail)
        # Asked for, not ended; and a caller that says what only workers say.
        state.audit.append("a", at="2026-01-01T00:00:00Z", actor="k", action="job.cancel", subject=str(number))
        state.audit.append("a", at="2026-01-01T00:00:00Z", actor="k", action="job.succeeded", detail=detail)
    reader = FigureReader(state.database)
    seen = [reader.read().outcomes.get(("healing", "healed"), 0) for _ in range(9)]
    assert seen[0] in (1, 2)
    assert seen == sorted(seen)
    assert seen[-1] == 10
    assert reader.read().num_audit_lines == 40


def in_a_thread(work: Callable[[], None]) -> None:
    """A browser of other tests may have left a running loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_ten_thousand_odd_requests_add_no_series(tmp_path: Path) -> None:
    """Paths, methods, tenants and models that somebody makes up."""
    app = create_app(Settings(home=tmp_path, log_level="error"), ServiceSettings(local=True))
    client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)

    async def ask(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            pass

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"tenant=" + path.encode(),
            "headers": [(b"host", b"127.0.0.1:8000"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "scheme": "http",
            "root_path": "",
        }
        await app(scope, receive, send)  # type: ignore[arg-type]

    async def ask_all(first: int, last: int) -> None:
        for number in range(first, last):
            path = (f"/nowhere/{number}", f"/keys/{number}", f"/tenants/t{number}")[number % 3]
            path = f"/jobs/{number:032x}" if number % 20 == 0 else path
            method = ("GET", f"ODD{number}", "DELETE", "POST")[(number // 4) % 4]
            await ask(method, path, [(b"x-request-id", b"%d" % number), (b"authorization", b"Bearer %d" % number)])

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        in_a_thread(lambda: asyncio.run(ask_all(0, 100)))
        before = set(samples(client))
        in_a_thread(lambda: asyncio.run(ask_all(100, 10_000)))
        state, now = app.state.service, app.state.service.now()
        for number in range(50):
            state.models.register(RegisteredModel("*", f"m{number}", "s", None, "text_classification", "d" * 64, now))
            state.jobs.submit(f"t{number}", f"kind-{number}", {"model_id": f"m{number}"}, now=now)
            state.audit.append(f"t{number}", at=now, actor="worker", action="job.failed", detail={"kind": str(number)})
            state.ledger.append(
                Deployment(f"t{number}", f"m{number}", "d" * 64, "e" * 64, f"p/{number}", "live", None, now)
            )
        # Asking for the figures is a request too.
        new = {key for key in set(samples(client)) - before if dict(key[1]).get("route") != "/metrics"}
    finally:
        structlog.reset_defaults()
    assert new == set()
    assert len(before) < 400


def queries() -> list[tuple[str, str]]:
    board = json.loads(grafana_dashboard())
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", [])]


NAME = re.compile(r"\bsymbio_\w+")
FUNCTIONS = {"sum", "max", "rate", "increase", "topk", "count", "by", "histogram_quantile", "label_values"}


def asked_for(query: str) -> list[tuple[str, set[str]]]:
    """Return each metric of a query with the labels that its selector names."""
    return [
        (match[1], set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", match[2] or "")))
        for match in re.finditer(r"\b(symbio_\w+)(?:\{([^}]*)\})?", query)
    ]


def test_the_board_asks_for_what_is_exposed(client: TestClient, tiny: TinyModels) -> None:
    story(client, tiny)
    samples(client)  # the first asking is counted in the second
    exposed: dict[str, set[str]] = {}
    for name, labels in samples(client):
        exposed.setdefault(name, set()).update(label for label, _ in labels)
    for title, query in queries():
        found = asked_for(query)
        assert found, f"{title} asks for nothing of ours"
        labels = set(GIVEN_BY_PROMETHEUS)
        for name, chosen in found:
            assert name in exposed, f"{title} asks for {name}"
            labels |= exposed[name]
            assert chosen <= exposed[name] | GIVEN_BY_PROMETHEUS, f"{title}: {name} has no {chosen}"
        for group in re.findall(r"\bby\s*\(([^)]*)\)", query):
            assert {part.strip() for part in group.split(",")} <= labels, title
        # A counter is looked at as a rate, a gauge never is; a quantile needs buckets by le.
        for name in re.findall(r"(?:rate|increase)\((symbio_\w+)", query):
            assert name.endswith(("_total", "_bucket")), title
        if "histogram_quantile" in query:
            assert re.search(r"by \([^)]*\ble\b", query), title
            assert "_bucket" in query, title
        words = set(re.findall(r"\b([a-z_]+)\b(?=\s*\()", query))
        assert words <= FUNCTIONS, f"{title}: {words - FUNCTIONS}"
        assert query.count("(") == query.count(")"), title
        assert query.count("{") == query.count("}"), title
    shown = {name for _, query in queries() for name, _ in asked_for(query)}
    families = {
        re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in exposed if name.startswith("symbio_")
    }
    assert families == {re.sub(r"_(total|bucket)$", "", name) for name in shown}, "what is exposed is shown"


def test_values_of_labels_that_the_board_names_exist(client: TestClient, tiny: TinyModels) -> None:
    story(client, tiny)
    found = samples(client)
    for _, query in queries():
        for name, selector in re.findall(r"\b(symbio_\w+)\{([^}]*)\}", query):
            for label, values in re.findall(r'(status|state)=~?"([^"]*)"', selector):
                known = {dict(labels).get(label) for metric, labels in found if metric == name}
                assert set(values.split("|")) - {"5xx"} <= known, (name, label)


def test_the_board_is_one_that_grafana_imports() -> None:
    board = json.loads(grafana_dashboard())
    assert board["schemaVersion"] >= 36
    assert board["uid"] == "symbio-lab-service"
    assert re.fullmatch(r"[\w-]{1,40}", board["uid"])
    assert "id" not in board
    assert {one["name"]: one["type"] for one in board["templating"]["list"]} == {
        "datasource": "datasource",
        "job": "query",
    }
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            refs = [target["refId"] for target in panel["targets"]]
            assert len(refs) == len(set(refs)) >= 1
    assert not re.search(r"https?://", grafana_dashboard())


def test_the_board_is_printed_by_the_command() -> None:
    from typer.testing import CliRunner

    from symbio_lab.cli.app import app

    printed = CliRunner().invoke(app, ["serve", "--grafana"])
    assert printed.exit_code == 0
    assert printed.stdout == grafana_dashboard()
