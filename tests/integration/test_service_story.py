"""A tenant reports failures, its model is healed for it alone, and rolled back; nobody else notices."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from symbio_lab.cli.serve import _bound
from symbio_lab.errors import ConfigError
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.records import Sample
from symbio_lab.service.registering import register_model
from tests.fixtures_service import MODEL, Service
from tests.fixtures_service import service as service

HEALING = {
    "model_id": MODEL,
    "task_type": "text_classification",
    "domain": "shades",
    "max_marketplace_patches": 10,
    "min_accuracy_improvement": 0.05,
    "enable_auto_surgery": True,
    "contribute_to_marketplace": True,
}

NUM_REPORTS = 200


def traffic(service: Service) -> tuple[list[Sample], list[Sample]]:
    """Return failures of the slice and traffic outside it."""
    suite = service.world.incident(SuiteSizes(n_repair=64, n_control_selection=1000, n_replay=200), 0)
    task = suite.task
    return [*task.repair, *task.selection], [*task.replay, *task.control_selection]


def predictions(service: Service, tenant: str, samples: list[Sample]) -> list[dict[str, Any]]:
    answered = service.call("POST", "/predict", tenant, json={"model_id": MODEL, "inputs": [s.text for s in samples]})
    assert answered.status_code == 200, answered.text
    return [
        {
            "model_id": MODEL,
            "task_type": "text_classification",
            "domain": sample.domain,
            "input_sample": sample.text,
            "actual_output": output,
            "expected_output": sample.expected,
            "confidence": confidence,
        }
        for sample, output, confidence in zip(
            samples, answered.json()["outputs"], answered.json()["confidences"], strict=True
        )
    ]


@pytest.fixture
def two_tenants(service: Service) -> Service:
    service.tenant("a")
    service.tenant("b")
    return service


def answers(service: Service, tenant: str, samples: list[Sample]) -> Any:
    found = service.call("POST", "/predict", tenant, json={"model_id": MODEL, "inputs": [s.text for s in samples]})
    return found.json()["outputs"], found.json()["confidences"]


def tell_the_story(service: Service, failing: list[Sample], others: list[Sample], healing: dict[str, Any]) -> None:
    """Report, degrade, heal for tenant ``a`` alone, roll back; tenants ``a`` and ``b`` are there, with no record."""
    before = answers(service, "a", failing)
    stored = service.call("POST", "/predictions", "a", json={"predictions": predictions(service, "a", others)})
    assert (stored.status_code, stored.json()["num_stored"]) == (201, len(others))
    assert service.call("GET", f"/models/{MODEL}/health", "a").json()["state"] == "healthy"

    rows = predictions(service, "a", failing)
    wrong = [row for row in rows if row["actual_output"] != row["expected_output"]]
    fields = ("model_id", "task_type", "domain", "input_sample", "actual_output", "expected_output")
    # Users report what they saw; where there are fewer, some failures again under another revision.
    failures = [
        {name: wrong[number % len(wrong)][name] for name in fields}
        | {"error_type": "wrong_label", "severity": "high", "model_revision": f"r{number // len(wrong)}"}
        for number in range(NUM_REPORTS)
    ]
    for failure in failures[:4]:
        assert service.call("POST", "/failures/report", "a", json=failure).status_code == 201
    batch = service.call("POST", "/failures/report/batch", "a", json={"failures": failures}).json()
    assert (batch["num_stored"], batch["num_duplicates"]) == (NUM_REPORTS - 4, 4)
    service.call("POST", "/predictions", "a", json={"predictions": rows})
    health = service.call("GET", f"/models/{MODEL}/health", "a").json()
    assert health["state"] in ("degraded", "failing"), health
    assert health["num_failure_reports"] == NUM_REPORTS

    found = service.call(
        "POST",
        "/marketplace/search",
        "a",
        json={"query": healing["domain"], "model_id": MODEL, "task_type": "text_classification"},
    ).json()
    assert [hit for hit in found["results"] if hit["verified"]], found

    accepted = service.call("POST", "/healing/marketplace-integrated", "a", json=healing)
    assert accepted.status_code == 202, accepted.text
    place = accepted.headers["Location"]
    assert service.call("GET", place, "b").status_code == 404
    assert service.work()
    job = service.call("GET", place, "a").json()
    assert job["state"] == "succeeded", job
    assert job["result"]["status"] == "healed", job["result"]
    assert job["result"]["withheld_by_policy"] == ["contribution"]

    after = answers(service, "a", failing)
    fixed = sum(o == s.expected for o, s in zip(after[0], failing, strict=True))
    was = sum(o == s.expected for o, s in zip(before[0], failing, strict=True))
    assert fixed > was + len(failing) // 4
    assert answers(service, "b", failing) == before
    assert service.call("GET", "/deployments", "b").json() == {"deployments": []}

    back = service.call("POST", "/deployments/rollback", "a", json={"model_id": MODEL})
    assert (back.status_code, back.json()["stage"]) == (201, "rolled_back")
    assert answers(service, "a", failing) == before
    service.state.ledger.verify_chain()
    service.state.audit.verify_chain()
    actions = [line["action"] for line in service.call("GET", "/audit", "a").json()["lines"]]
    assert actions == ["job.healing", "job.succeeded", "deployment.rollback"]


def test_from_failures_to_a_healed_model_and_back(two_tenants: Service) -> None:
    tell_the_story(two_tenants, *traffic(two_tenants), HEALING)


def test_what_was_operated_is_contributed_and_found_by_others(two_tenants: Service) -> None:
    service = two_tenants
    for tenant in ("a", "b"):
        policy = service.call("GET", "/policies", tenant).json()["policy"]
        assert service.call("PUT", "/policies", tenant, json={**policy, "allow_contribution": True}).status_code == 200
    failing, others = traffic(service)
    for tenant in ("a", "b"):
        rows = predictions(service, tenant, [*others, *failing])
        service.call("POST", "/predictions", tenant, json={"predictions": rows})

    def operate(tenant: str) -> dict[str, Any]:
        asked = {**HEALING, "max_marketplace_patches": 0}
        job = service.call("POST", "/healing/marketplace-integrated", tenant, json=asked).json()["job_id"]
        assert service.work()
        result: dict[str, Any] = service.call("GET", f"/jobs/{job}", tenant).json()["result"]
        assert (result["status"], result["route"]) == ("healed", "surgery"), result
        return result

    # No licence of the base is known: nothing leaves, and the result says why.
    kept = operate("b")
    assert not kept["contributed"]
    assert "licence" in str([one for one in kept["attempts"] if one["ref"] == "contribute"])

    (base,) = service.settings.home.glob("bases/*/base.json")
    register_model(service.state, MODEL, str(base.parent), licence="Apache-2.0")
    given = operate("a")
    assert given["contributed"], given["attempts"]
    asked = {"query": "shades", "model_id": MODEL, "task_type": "text_classification", "max_results": 50}
    hits = service.call("POST", "/marketplace/search", "b", json=asked).json()["results"]
    (found,) = [hit for hit in hits if hit["id"].startswith("lab-")]
    assert found["verified"], found
    assert found["licence"] == "Apache-2.0"


def test_events_are_streamed_and_go_on_after_the_last_one_seen(two_tenants: Service) -> None:
    service = two_tenants
    job = service.call("POST", "/healing/marketplace-integrated", "a", json=HEALING).json()["job_id"]
    service.work()
    whole = service.call("GET", f"/jobs/{job}/events", "a").text
    ids = [int(line.removeprefix("id: ")) for line in whole.splitlines() if line.startswith("id: ")]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) >= 2
    assert "JobEnded" in whole
    rest = service.call("GET", f"/jobs/{job}/events", "a", headers={"Last-Event-ID": str(ids[-2])}).text
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == [f"id: {ids[-1]}"]


def test_without_a_key_nothing_is_answered(service: Service) -> None:
    for method, path in (("POST", "/failures/report"), ("POST", "/healing/marketplace-integrated"), ("GET", "/jobs")):
        refused = service.call(method, path, json={})
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "unauthenticated"


def test_an_unregistered_model_is_a_conflict_for_healing_and_empty_for_search(two_tenants: Service) -> None:
    refused = two_tenants.call("POST", "/healing/marketplace-integrated", "a", json={**HEALING, "model_id": "nope"})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_not_registered")
    assert "POST /models" in refused.json()["hint"]
    asked = {"query": "shades", "model_id": "nope", "task_type": "text_classification"}
    found = two_tenants.call("POST", "/marketplace/search", "a", json=asked)
    assert (found.status_code, found.json()["results"]) == (200, [])
    assert "nope" in found.json()["reason"]


def test_an_approval_is_waited_for_in_shadow(two_tenants: Service) -> None:
    service = two_tenants
    policy = service.call("GET", "/policies", "a").json()["policy"]
    assert service.call("PUT", "/policies", "a", json={**policy, "require_approval": True}).status_code == 200
    failing, others = traffic(service)
    service.call("POST", "/predictions", "a", json={"predictions": predictions(service, "a", [*others, *failing])})
    before = answers(service, "a", failing)
    job = service.call("POST", "/healing/marketplace-integrated", "a", json=HEALING).json()["job_id"]
    service.work()
    result = service.call("GET", f"/jobs/{job}", "a").json()["result"]
    assert (result["status"], result["stage"]) == ("healed", "shadow")
    assert answers(service, "a", failing) == before
    waiting = {"deployment_id": result["deployment_id"]}
    assert service.call("POST", "/deployments/promote", "b", json=waiting).status_code == 404
    assert service.call("POST", "/deployments/promote", "a", json=waiting).status_code == 201
    assert answers(service, "a", failing) != before


def test_a_port_that_is_taken_is_said_and_answers_are_sent_at_once() -> None:
    taken = _bound("127.0.0.1", 0)
    taken.listen()
    # asyncio sends at once only on sockets that name their protocol.
    assert taken.proto == socket.IPPROTO_TCP
    with pytest.raises(ConfigError, match="cannot listen on"):
        _bound("127.0.0.1", taken.getsockname()[1])
    taken.close()
