"""No tenant reads or changes what is another's, through any route: what ``a`` has bears a mark."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from symbio_lab.config import Settings
from symbio_lab.records import Deployment, FailureRecord, PredictionRecord
from symbio_lab.service.app import create_app
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.store.registered_models import RegisteredModel

MARK = "only-a-may-see-this"
CALLS = [
    (method.upper(), path)
    for path, item in create_app(Settings(home=__import__("pathlib").Path("nowhere"))).openapi()["paths"].items()
    for method in item
]


class Two:
    """A service with the tenants ``a``, who has one of everything, and ``b``, who has nothing."""

    def __init__(self, home: Any) -> None:
        app = create_app(Settings(home=home, num_threads=1), ServiceSettings(requests_per_minute=10**6))
        self.client = TestClient(app, raise_server_exceptions=False)
        self.state = app.state.service
        self.tokens, self.ids = {}, {}
        now = self.state.now()
        for name in ("a", "b"):
            self.state.tenants.create(name, now=now)
            self.tokens[name], key = self.state.keys.create(name, ["admin"], now=now, name=f"{MARK}-{name}")
            self.ids[f"key-{name}"] = key.key_id
        state = self.state
        state.reports.append(
            [FailureRecord(f"{MARK}-model", "text_classification", MARK, MARK, MARK, MARK, "x", tenant="a")]
        )
        state.predictions.append(
            [PredictionRecord(f"{MARK}-model", "text_classification", MARK, MARK, "y", MARK, "a", event_id=MARK)]
        )
        state.models.register(RegisteredModel("a", f"{MARK}-model", MARK, None, "text_classification", "d" * 64, now))
        self.ids["job"] = state.jobs.submit(
            "a", "healing", {"domain": MARK, "model_id": f"{MARK}-model"}, now=now
        ).job_id
        line = Deployment("a", f"{MARK}-model", "d" * 64, "e" * 64, f"{MARK}/patch", "shadow", None, now, MARK)
        state.ledger.append(line)
        self.ids["deployment"] = line.deployment_id
        state.audit.append("a", at=now, actor="x", action="test", subject=MARK)
        state.tenants.set_policy("a", {"licences": [MARK]})

    def call(self, tenant: str, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[tenant]}"}
        return self.client.request(method, path, headers=headers, json=body)

    def snapshot(self) -> str:
        """Return everything that ``a`` can see of itself but its log of requests."""
        paths = (
            "/jobs",
            "/models",
            "/deployments",
            "/keys",
            "/policies",
            "/audit",
            "/stats",
            f"/jobs/{self.ids['job']}",
        )
        return json.dumps([self.call("a", "GET", path).json() for path in paths], sort_keys=True)

    def filled(self, path: str) -> str:
        """Return a path with the ids of ``a``."""
        ids = {
            "job_id": self.ids["job"],
            "key_id": self.ids["key-a"],
            "deployment_id": self.ids["deployment"],
            "model_id": f"{MARK}-model",
            "namespace": MARK,
            "name": "patch",
        }
        return re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], path)


BODIES: dict[str, Any] = {
    "/failures/report": {
        "model_id": f"{MARK}-model",
        "task_type": "text_classification",
        "input_sample": "x",
        "expected_output": "x",
        "actual_output": "y",
    },
    "/predictions/labels": {"model_id": f"{MARK}-model", "labels": [{"prediction_id": MARK, "expected_output": "z"}]},
    "/predict": {"model_id": f"{MARK}-model", "inputs": ["x"]},
    "/deployments/rollback": {"model_id": f"{MARK}-model"},
    "/healing/marketplace-integrated": {"model_id": f"{MARK}-model", "task_type": "text_classification"},
    "/surgery": {"model_id": f"{MARK}-model", "task_type": "text_classification"},
    "/marketplace/search": {"query": "x", "model_id": f"{MARK}-model", "task_type": "text_classification"},
    "/policies": {"allow_surgery": False},
    "/keys": {"scopes": ["read"]},
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    return Two(tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda part: part)
def test_no_route_shows_or_changes_what_is_another_s(two: Two, method: str, path: str) -> None:
    before = two.snapshot()
    assert MARK in before
    own = {"deployment_id": two.ids["deployment"]}
    staged = {"model_id": f"{MARK}-model", "stage": "live", **own}
    body = {**BODIES, "/deployments/promote": own, "/deployments": staged}.get(path)
    if path == "/failures/report/batch":
        body = {"failures": [BODIES["/failures/report"]]}
    answer = two.call("b", method, two.filled(path), body if method in ("POST", "PUT") else None)
    assert answer.status_code < 500, answer.text
    if "{" in path and "models" not in path:
        assert answer.status_code == 404
    # What b sent itself may come back in an error; nothing else of a may.
    said = answer.text.replace(f"{MARK}-model", "").replace(f"{MARK}-b", "")
    assert MARK not in said
    sent = json.dumps(body) + two.filled(path)
    assert not [v for name, v in two.ids.items() if name != "key-b" and v not in sent and v in said]
    assert two.snapshot() == before


def test_another_s_id_looks_like_one_that_never_was(two: Two) -> None:
    for path, known, unknown in (
        ("/jobs/{}", two.ids["job"], "0" * 32),
        ("/keys/{}", two.ids["key-a"], "0" * 16),
    ):
        method = "DELETE" if "keys" in path else "GET"
        one, other = (two.call("b", method, path.format(value)) for value in (known, unknown))
        assert one.status_code == other.status_code == 404
        drop = ("request_id",)
        assert {k: v for k, v in one.json().items() if k not in drop} == {
            k: v for k, v in other.json().items() if k not in drop
        }
    shown = [
        two.call("b", "POST", "/deployments/promote", {"deployment_id": value}).json()["code"]
        for value in (two.ids["deployment"], "0" * 64)
    ]
    assert shown == ["not_found", "not_found"]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(token=st.one_of(st.text(max_size=80), st.from_regex(r"sl_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", fullmatch=True)))
def test_no_made_up_key_is_one(two: Two, token: str) -> None:
    assert two.state.keys.find(token, now=two.state.now()) is None


def test_a_key_of_one_tenant_with_another_s_secret_is_none(two: Two) -> None:
    ids = [two.tokens[name].split("_", 2)[1] for name in ("a", "b")]
    secrets = [two.tokens[name].split("_", 2)[2] for name in ("a", "b")]
    assert two.state.keys.find(f"sl_{ids[0]}_{secrets[1]}", now=two.state.now()) is None
    assert two.state.keys.find(f"sl_{ids[1]}_{secrets[0]}", now=two.state.now()) is None


def test_a_scope_that_a_key_lacks_is_forbidden_everywhere(two: Two) -> None:
    token, _ = two.state.keys.create("b", ["predict"], now=two.state.now())
    for method, path in CALLS:
        if path in ("/predict", "/livez", "/readyz", "/version", "/metrics"):
            continue
        answer = two.client.request(
            method,
            two.filled(path),
            headers={"Authorization": f"Bearer {token}"},
            json=BODIES.get(path) if method in ("POST", "PUT") else None,
        )
        assert answer.status_code in (403, 422), (method, path, answer.status_code)


def test_an_expired_and_a_revoked_key_are_none(two: Two) -> None:
    now = two.state.now()
    token, key = two.state.keys.create("b", ["read"], now=now, expires_at="2099-01-01T00:00:00Z")
    assert two.state.keys.find(token, now=now) is not None
    assert two.state.keys.find(token, now="2099-01-01T00:00:00Z") is None
    two.state.keys.revoke("b", key.key_id, at=now)
    assert two.state.keys.find(token, now=now) is None
