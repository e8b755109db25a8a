"""What somebody with a key, or without one, might try: the table of threats in docs/service.md, each row by a test."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from symbio_lab.config import Settings
from symbio_lab.errors import StorageError
from symbio_lab.service.app import create_app
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.store.registered_models import RegisteredModel
from tests.fixtures_service import Service
from tests.fixtures_service import service as service
from tests.integration.test_service_story import HEALING, predictions, traffic

ROOT = Path(__file__).resolve().parents[2]
MODEL = "m"
FAILURE = {
    "model_id": MODEL,
    "task_type": "text_classification",
    "input_sample": "x",
    "expected_output": "a",
    "actual_output": "b",
}
ASKED = {"model_id": MODEL, "task_type": "text_classification"}
EVIL_IDS = (
    "../../outside",
    "..",
    "/etc/passwd",
    "~",
    "a/../../b",
    "..%2f..%2fb",
    "%2e%2e/b",
    "a\\..\\b",
    "nul",
    "x" * 300,
    "'; DROP TABLE jobs; --",
    "${jndi:x}",
    "{{7*7}}",
)


class Shared:
    """A service with the tenants ``a`` and ``b``, and room for options."""

    def __init__(self, home: Path, **limits: Any) -> None:
        self.home = home
        self.app = create_app(Settings(home=home, num_threads=1), ServiceSettings(**limits))
        self.client = TestClient(self.app, raise_server_exceptions=False)
        self.state = self.app.state.service
        self.tokens: dict[str, str] = {}
        for name in ("a", "b"):
            self.state.tenants.create(name, now=self.state.now())
            self.tokens[name] = self.state.keys.create(name, ["admin"], now=self.state.now())[0]
        self.state.models.register(
            RegisteredModel("*", MODEL, "nowhere", None, "text_classification", "d" * 64, self.state.now())
        )

    def call(self, tenant: str, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[tenant]}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path / "home")


# ------------------------------------------------------------------------------------------------ noisy neighbours


def test_one_tenant_s_rate_is_not_another_s(tmp_path: Path) -> None:
    shared = Shared(tmp_path, requests_per_minute=5)
    # A second key has no rate of its own.
    second = shared.state.keys.create("a", ["read"], now=shared.state.now())[0]
    answers = [shared.call("a", "GET", "/jobs").status_code for _ in range(5)]
    refused = shared.client.get("/jobs", headers={"Authorization": f"Bearer {second}"})
    assert answers == [200] * 5
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert shared.call("b", "GET", "/jobs").status_code == 200


def test_a_tenant_with_many_jobs_does_not_keep_another_waiting(tmp_path: Path) -> None:
    shared = Shared(tmp_path, max_open_jobs=6)
    codes = [shared.call("a", "POST", "/surgery", json=ASKED).status_code for _ in range(7)]
    assert codes == [202] * 6 + [429]
    theirs = shared.call("b", "POST", "/surgery", json=ASKED)
    assert theirs.status_code == 202
    jobs, now = shared.state.jobs, shared.state.now()
    claimed = [jobs.claim(f"worker-{number}", now=now).tenant for number in range(2)]
    assert set(claimed) == {"a", "b"}


def test_waiting_requests_of_one_tenant_do_not_take_all_threads(tmp_path: Path) -> None:
    shared = Shared(tmp_path, max_wait_s=20.0, max_waiting=1)
    job = shared.call("a", "POST", "/surgery", json=ASKED).json()["job_id"]
    assert shared.app.state.waiting.take("a")
    import time

    started = time.monotonic()
    answer = shared.call("a", "GET", f"/jobs/{job}", headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert time.monotonic() - started < 10
    shared.app.state.waiting.release("a")
    shared.call("a", "POST", f"/jobs/{job}/cancel")
    assert shared.call("a", "GET", f"/jobs/{job}", headers={"Prefer": "wait=20"}).json()["state"] == "cancelled"
    assert shared.app.state.waiting.num_taken == 0


def test_open_streams_are_limited_and_given_back(tmp_path: Path) -> None:
    shared = Shared(tmp_path, max_streams=2)
    job = shared.call("a", "POST", "/surgery", json=ASKED).json()["job_id"]
    shared.call("a", "POST", f"/jobs/{job}/cancel")
    for _ in range(4):  # each ends with its job, and gives its slot back
        assert "JobEnded" in shared.call("a", "GET", f"/jobs/{job}/events").text
    assert shared.app.state.streams.num_taken == 0
    assert [shared.app.state.streams.take("a") for _ in range(2)] == [True, True]
    refused = shared.call("a", "GET", f"/jobs/{job}/events")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
    theirs = shared.call("b", "POST", "/surgery", json=ASKED).json()["job_id"]
    shared.call("b", "POST", f"/jobs/{theirs}/cancel")
    assert shared.call("b", "GET", f"/jobs/{theirs}/events").status_code == 200


# ----------------------------------------------------------------------------------------------- bodies and batches


def test_bodies_are_bounded_whatever_they_say_of_their_length(tmp_path: Path) -> None:
    shared = Shared(tmp_path, max_body_bytes=10_000)
    big = json.dumps({**FAILURE, "input_sample": "x" * 20_000}).encode()
    json_type = {"Content-Type": "application/json"}
    stated = shared.call("a", "POST", "/failures/report", content=big, headers=json_type)
    chunked = shared.call("a", "POST", "/failures/report", content=iter([big[:9000], big[9000:]]), headers=json_type)
    for answer in (stated, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    packed = shared.call(
        "a", "POST", "/failures/report", content=b"\x1f\x8b\x08", headers={**json_type, "Content-Encoding": "gzip"}
    )
    assert packed.status_code in (400, 422)  # nothing is unpacked


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"max_results": ' + b"9" * 10_000 + b"}",
        b'{"min_score": 1e999}',
        b'{"min_score": NaN}',
        b"\xff\xfe",
        b'"\\ud800"',
        b'{"model_id": "\\u0000"}',
        b"",
    ],
    ids=["deep lists", "deep objects", "long number", "infinite", "nan", "no utf-8", "surrogate", "nul", "empty"],
)
def test_odd_bodies_are_refused_and_bring_nothing_down(shared: Shared, body: bytes) -> None:
    for path in ("/marketplace/search", "/failures/report", "/healing/marketplace-integrated", "/predict"):
        answer = shared.call("a", "POST", path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), (path, answer.text[:200])
        assert answer.headers["content-type"] == "application/problem+json"
    assert shared.call("a", "GET", "/stats").status_code == 200


def test_batches_are_bounded(shared: Shared) -> None:
    one = {**FAILURE, "input_sample": "x"}
    assert shared.call("a", "POST", "/failures/report/batch", json={"failures": [one] * 10_001}).status_code == 422
    many = {"model_id": MODEL, "inputs": ["x"] * 1_001}
    assert shared.call("a", "POST", "/predict", json=many).status_code == 422
    assert shared.call("a", "GET", "/jobs?limit=1001").status_code == 422


# ------------------------------------------------------------------------------------------------- mass assignment


def test_no_body_sets_what_is_not_its_callers_to_set(shared: Shared) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "POST /failures/report": FAILURE,
        "POST /failures/report/batch": {"failures": [FAILURE]},
        "POST /predictions": {"predictions": [{k: v for k, v in FAILURE.items() if k != "expected_output"}]},
        "POST /predictions/labels": {"model_id": MODEL, "labels": [{"prediction_id": "x", "expected_output": "y"}]},
        "POST /marketplace/search": {**ASKED, "query": "x"},
        "POST /healing/marketplace-integrated": ASKED,
        "POST /surgery": ASKED,
        "POST /predict": {"model_id": MODEL, "inputs": ["x"]},
        "POST /deployments": {"model_id": MODEL, "patch_digest": "0" * 64, "stage": "shadow"},
        "POST /deployments/promote": {"deployment_id": "0" * 64},
        "POST /deployments/rollback": {"model_id": MODEL},
        "POST /models": {"model_id": "x", "source": "org/name"},
        "POST /keys": {"scopes": ["read"]},
        "PUT /policies": {},
    }
    document = shared.app.openapi()["paths"]
    taking = {
        f"{method.upper()} {path}"
        for path, item in document.items()
        for method in item
        if "requestBody" in item[method]
    }
    assert taking - set(bodies) <= {"POST /tenants"}, "every route that takes a body is tried"
    for call, body in bodies.items():
        method, path = call.split()
        for extra in ("tenant", "tenant_id", "owner", "scopes", "actor", "stage", "is_operator", "digest", "__class__"):
            if extra in body:
                continue
            answer = shared.call("b", method, path, json={**body, extra: "a"})
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_request"), (call, extra)
            inner = next(
                (key for key, value in body.items() if isinstance(value, list) and isinstance(value[0], dict)), None
            )
            if inner is not None:
                nested = {**body, inner: [{**body[inner][0], extra: "a"}]}
                assert shared.call("b", method, path, json=nested).status_code == 422, (call, extra)
    assert shared.call("a", "GET", "/stats").json()["num_failure_reports"] == 0


# ------------------------------------------------------------------------------------------------------------- logs


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What ``symbio serve`` would write to stderr."""
    from symbio_lab.cli import service_logging

    stream = io.StringIO()
    monkeypatch.setattr(service_logging.sys, "stderr", stream)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    service_logging.log_as_json("debug")
    yield stream
    root.handlers[:], _ = before[0], root.setLevel(before[1])
    structlog.reset_defaults()


def test_no_key_and_no_text_reaches_the_log(shared: Shared, log: io.StringIO) -> None:
    token, text = shared.tokens["a"], "what-a-user-wrote"
    shared.call("a", "POST", "/failures/report", json={**FAILURE, "input_sample": text})
    shared.call("a", "POST", "/failures/report", json={**FAILURE, "nonsense": f"{text} {token}"})
    shared.call("a", "GET", f"/nowhere/{token}?key={token}", headers={"X-Api-Key": token, "Cookie": f"k={token}"})
    shared.call("a", "GET", f"/models/{text}/health")
    shared.client.get("/jobs", headers={"Authorization": f"Bearer {token}x"})
    shared.client.get("/jobs", headers={"Authorization": f"Basic {token}", "X-Request-ID": token})
    made = shared.call("a", "POST", "/keys", json={"scopes": ["read"], "name": "n"}).json()["token"]
    shared.call("a", "POST", "/surgery", json={**ASKED, "domain": text})
    shared.app.state.service.database.connect = None  # what nobody foresaw: the error's own log line
    assert shared.call("a", "GET", "/jobs").status_code == 500
    # The client of this test logs addresses too; it is no part of the service.
    lines = [
        line for line in log.getvalue().splitlines(keepends=True) if not json.loads(line)["logger"].startswith("http")
    ]
    written = "".join(lines)
    assert written.count("\n") >= 8
    assert text not in written
    for secret in (token, made, token.rpartition("_")[2]):
        assert secret not in written.replace(f'"request_id": "{token}"', "")


@pytest.mark.parametrize("odd", ['x"}\n{"event": "forged"', "x\r\nforged", "x\x1b[2J", "x\u2028forged"])
def test_no_caller_forges_a_line_of_the_log(shared: Shared, log: io.StringIO, odd: str) -> None:
    shared.call("a", "GET", "/version", headers={"X-Request-ID": odd.encode()})
    shared.call("a", "POST", "/surgery", json={**ASKED, "domain": odd})
    shared.call("a", "POST", "/models", json={"model_id": odd, "source": odd})
    shared.call("a", "GET", f"/models/{'%0a' + 'forged'}/health")
    lines = log.getvalue().split("\n")[:-1]
    assert len(lines) >= 4
    events = [json.loads(line) for line in lines]
    assert "forged" not in [event["event"] for event in events]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", event["request_id"]) for event in events if "request_id" in event)


# ------------------------------------------------------------------------------- addresses, paths, keys sent again


@pytest.mark.parametrize(
    "source",
    [
        "http://169.254.169.254/latest",
        "https://example.org/x",
        "file:///etc",
        "/etc",
        "/nowhere-at-all",
        "~/x",
        "../x",
        "x/..",
        "hf://a/b",
        "a/b/c",
        "a",
        "a\\b/c",
        "a b/c",
        "[::1]/x",
    ],
)
def test_a_tenant_names_models_of_the_hub_only(shared: Shared, source: str) -> None:
    answer = shared.call("a", "POST", "/models", json={"model_id": "x", "source": source})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_folder_of_the_server_looks_like_a_model_that_is_not_there(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "there").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    answers = [
        shared.call("a", "POST", "/models", json={"model_id": "x", "source": source}).json()
        for source in ("org/there", "org/not-there")
    ]
    assert [answer.pop("request_id") is not None for answer in answers] == [True, True]
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "model_unresolved"


def test_no_call_names_a_market(shared: Shared) -> None:
    """Markets are the operator's: no field of any body and no parameter takes an address of one."""
    named = re.findall(
        r'"(?:market|markets|market_uri|endpoint|callback|webhook|uri|url)"', json.dumps(_inputs(shared))
    )
    assert named == []


def _inputs(shared: Shared) -> Any:
    document = shared.app.openapi()
    found = []
    for item in document["paths"].values():
        for operation in item.values():
            found.append([one["name"] for one in operation.get("parameters", [])])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"]["$ref"].rpartition("/")[2]
                found.append(list(document["components"]["schemas"][name]["properties"]))
    return found


def test_ids_are_no_paths(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret-of-another-folder", encoding="utf-8")
    before = {path for path in tmp_path.rglob("*") if shared.home not in path.parents}
    for odd in EVIL_IDS:
        for method, path in (
            ("GET", f"/jobs/{odd}"),
            ("GET", f"/jobs/{odd}/events"),
            ("DELETE", f"/keys/{odd}"),
            ("GET", f"/models/{odd}/health"),
            ("GET", f"/marketplace/patches/{odd}/{odd}"),
        ):
            answer = shared.call("a", method, path)
            assert answer.status_code < 500, (path, answer.text)
            assert "secret-of-another-folder" not in answer.text
        for path, body in (
            ("/failures/report", {**FAILURE, "model_id": odd, "domain": odd}),
            ("/predict", {"model_id": odd, "inputs": ["x"]}),
            ("/surgery", {**ASKED, "model_id": odd}),
            ("/deployments/rollback", {"model_id": odd}),
        ):
            answer = shared.call("a", "POST", path, json=body, headers={"Idempotency-Key": odd[:200]})
            assert answer.status_code < 500, (path, odd, answer.text)
    assert {path for path in tmp_path.rglob("*") if shared.home not in path.parents} == before


def test_an_idempotency_key_repeats_its_own_tenant_s_request_only(shared: Shared) -> None:
    headers = {"Idempotency-Key": "the-same"}
    first, again = (shared.call("a", "POST", "/surgery", json=ASKED, headers=headers).json() for _ in range(2))
    assert first["job_id"] == again["job_id"]
    theirs = shared.call("b", "POST", "/surgery", json=ASKED, headers=headers).json()
    assert theirs["job_id"] != first["job_id"]
    other = shared.call("a", "POST", "/surgery", json={**ASKED, "domain": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = shared.call("a", "POST", "/healing/marketplace-integrated", json=ASKED, headers=headers)
    assert elsewhere.json()["code"] == "idempotency_key_reused"
    assert [len(shared.call(name, "GET", "/jobs").json()["jobs"]) for name in ("a", "b")] == [1, 1]


# ------------------------------------------------------------------------------------------------- caches, patches


def test_what_is_kept_for_one_tenant_is_not_shown_to_another(service: Service) -> None:
    """Views of markets are kept: ``a`` allows nothing, ``b`` everything, and each sees its own in any order."""
    for name in ("a", "b"):
        service.tenant(name)
    asked = {"query": "shades", "model_id": HEALING["model_id"], "task_type": "text_classification"}
    policy = service.call("GET", "/policies", "a").json()["policy"]
    service.call("PUT", "/policies", "a", json={**policy, "licences": ["MIT-0"]})
    verified = [
        sum(hit["verified"] for hit in service.call("POST", "/marketplace/search", name, json=asked).json()["results"])
        for name in ("b", "a", "b", "a")
    ]
    assert verified[0] == verified[2] > 0
    assert verified[1] == verified[3] == 0


def test_a_patch_that_was_tampered_with_is_never_deployed(service: Service) -> None:
    service.tenant("a")
    pool = Path(service.world.pool("high").transport.uri.removeprefix("file://"))
    weights = list(pool.rglob("*.safetensors"))
    assert weights
    for file in weights:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.chmod(0o644)
        file.write_bytes(bytes(content))
    failing, others = traffic(service)
    rows = predictions(service, "a", [*failing, *others])
    service.call("POST", "/predictions", "a", json={"predictions": rows})
    body = {**HEALING, "enable_auto_surgery": False}
    place = service.call("POST", "/healing/marketplace-integrated", "a", json=body).headers["Location"]
    service.work()
    result = service.call("GET", place, "a").json()["result"]
    assert (result["status"], result["deployment_id"]) == ("no_patch_found", None)
    assert {attempt["status"] for attempt in result["attempts"]} == {"refused"}
    assert "digest_mismatch" in {attempt["code"] for attempt in result["attempts"]}
    assert service.call("GET", "/deployments", "a").json() == {"deployments": []}


# --------------------------------------------------------------------------------------------- audit, local, pages


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET record = replace(record, 'key.create', 'key.revoke') WHERE seq = 2",
        "UPDATE audit SET tenant = 'b' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 1",
    ],
)
def test_a_changed_audit_log_is_noticed(shared: Shared, change: str) -> None:
    for _ in range(3):
        shared.call("a", "POST", "/keys", json={"scopes": ["read"]})
    shared.state.audit.verify_chain()
    with pytest.raises(StorageError), shared.state.database.write() as connection:
        connection.execute(change)
    shared.state.audit.verify_chain()
    with shared.state.database.write() as connection:
        for name in ("audit_no_update", "audit_no_delete"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(change)
    with pytest.raises(StorageError, match="tampered"):
        shared.state.audit.verify_chain()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "rebound.example:8000"}, 403),
        ({"Host": "127.0.0.1.example"}, 403),
        ({"Host": "localhost:8000@example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_without_keys_no_page_of_another_site_is_answered(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    app = create_app(Settings(home=tmp_path), ServiceSettings(local=True))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    for method, path in (("GET", "/stats"), ("POST", "/deployments/rollback"), ("GET", "/dashboard")):
        answer = client.request(method, path, headers=headers)
        assert (answer.status_code == 403) == (status == 403), (method, path, answer.text)
    if status == 403:
        assert client.get("/stats", headers=headers).json()["code"] == "not_local"


def test_only_json_is_read_as_json(tmp_path: Path) -> None:
    """A form of another site can send text/plain without being asked; it is no body here."""
    app = create_app(Settings(home=tmp_path), ServiceSettings(local=True))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/failures/report", content=json.dumps(FAILURE), headers={"Content-Type": kind})
        assert answer.status_code == 422, kind


def test_an_error_nobody_foresaw_says_nothing(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret-of-the-inside")

    monkeypatch.setattr(type(shared.state.jobs), "newest", broken)
    answer = shared.call("a", "GET", "/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


# ------------------------------------------------------------------------------------------------------- the table


def rows_of_the_table() -> list[tuple[str, list[str]]]:
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    section = text.partition("## Threats and tests")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [(row[0].strip(), re.findall(r"`([\w.]+\.py::\w+)`", row[2])) for row in rows[1:]]


def test_every_threat_of_the_table_names_a_test_that_exists() -> None:
    rows = rows_of_the_table()
    assert len(rows) >= 20
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for threat, tests in rows:
        assert tests, f"{threat!r} names no test"
        for named in tests:
            file, _, function = named.partition("::")
            assert f"def {function}(" in written.get(file, ""), f"{threat!r} names {named}, which is not there"


def test_every_test_of_this_file_is_a_row_of_the_table() -> None:
    mine = set(re.findall(r"^def (test_\w+)\(", Path(__file__).read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {one.partition("::")[2] for _, tests in rows_of_the_table() for one in tests}
    assert mine - named <= {
        "test_every_threat_of_the_table_names_a_test_that_exists",
        "test_every_test_of_this_file_is_a_row_of_the_table",
    }
