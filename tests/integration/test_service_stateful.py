"""The API keeps its word along its links: report to health, heal to job to cancel, deploy to rollback."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from symbio_lab.config import Settings
from symbio_lab.records import Deployment, SearchQuery
from symbio_lab.scenarios.world import build_world
from symbio_lab.service.app import create_app
from symbio_lab.service.links import LINKS
from symbio_lab.service.registering import register_model
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.trust.enrolled import EnrolledKey, enrol

MODEL = "production-model-v1"
UNDECIDED = [positive_data_acceptance, negative_data_rejection]
"""Keys and ids are put into what was generated, so that it may be right where it was wrong, and the other way round."""


@pytest.fixture
def app(built: Path, installed: None, tmp_path: Path) -> Any:
    """A service with a real base, and patches of a market that wait in shadow for their approval."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("bases", "pools"):
        shutil.copytree(built / "home" / name, home / name)
    lab = Settings(home=home, num_threads=1)
    world = build_world("tiny", settings=lab)
    pool = world.pool("high")
    for publisher in pool.policy.keys.values():
        enrol(lab, EnrolledKey(publisher))
    limits = ServiceSettings(
        markets=(pool.transport.uri,), requests_per_minute=10**6, max_wait_s=0.05, max_open_jobs=10**6
    )
    found = create_app(lab, limits)
    state = found.state.service
    (base,) = home.glob("bases/*/base.json")
    registered = register_model(state, MODEL, str(base.parent))
    state.tenants.create("first", now=state.now())
    client = found.state.markets.open("first", state.policy("first"))
    query = SearchQuery("text_classification", "shades", base_digest=registered.digest, max_results=5)
    found.state.waiting = []
    for hit in [hit for hit in client.search(query) if hit.problem is None][:2]:
        patch, _ = client.fetch(hit)
        assert patch is not None
        found.state.waiting.append(
            Deployment("", MODEL, registered.digest, patch.digest, patch.patch_id, "shadow", None, "", hit.ref)
        )
    assert found.state.waiting
    return found


def follow_the_links(app: Any, *, examples: int, steps: int) -> Counter[str]:
    """Run the state machine; return how often each operation gave each class of status."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    schema = schema.exclude(path_regex=r"/events$|^/tenants|^/metrics|^/readyz|^/livez")
    seen: Counter[str] = Counter()
    state, waiting = app.state.service, app.state.waiting
    tenants: list[str] = []

    class Following(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            # A tenant of its own: what was done before must not decide what can be done now.
            self.tenant = f"tenant-{len(tenants)}"
            tenants.append(self.tenant)
            state.tenants.create(self.tenant, now=state.now())
            self.renew_key()
            lines = [replace(line, tenant=self.tenant, created_at=state.now()) for line in waiting]
            for line in lines:
                state.ledger.append(line)
            self.waiting = cycle([line.deployment_id for line in lines])

        def renew_key(self) -> None:
            self.token, _ = state.keys.create(self.tenant, ["admin"], now=state.now())

        def before_call(self, case: Any) -> None:
            # A made-up model has no jobs and nothing to roll back.
            if isinstance(case.body, dict) and "model_id" in case.body:
                case.body["model_id"] = MODEL
                if "task_type" in case.body:
                    case.body["task_type"] = "text_classification"
            if case.path == "/deployments/promote" and isinstance(case.body, dict):
                case.body["deployment_id"] = next(self.waiting)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {self.token}"}}

        def after_call(self, response: Any, case: Any) -> None:
            seen[f"{case.method} {case.path} {response.status_code}"] += 1
            if response.status_code == 401 and "Authorization" in response.request.headers:
                # A link led to the key in use, and it was deleted: without another, nothing more would be tried.
                self.renew_key()

        def validate_response(self, response: Any, case: Any, **more: Any) -> None:
            assert response.status_code < 500, response.text
            case.validate_response(response, excluded_checks=UNDECIDED)

    followed = settings(
        # Two at a time: ids are drawn anew, so that a path of many that is tried again may not be there any more.
        max_examples=2,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    for number in range(examples // 2):
        run_state_machine_as_test(seed(number)(Following), settings=followed)
    state.ledger.verify_chain()
    state.audit.verify_chain()
    print(dict(seen.most_common()))
    return seen


def test_every_link_leads_to_an_operation(app: Any) -> None:
    document = app.openapi()
    known = {item["operationId"] for path in document["paths"].values() for item in path.values()}
    linked = [
        link["operationId"]
        for path in document["paths"].values()
        for item in path.values()
        for answer in item["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(linked) == len(LINKS)
    assert set(linked) <= known


def test_the_links_keep_their_word(app: Any) -> None:
    seen = follow_the_links(app, examples=6, steps=10)
    assert seen.total() >= 20, seen
    assert sum(count for name, count in seen.items() if name[-3:] < "300") >= 8, seen


@pytest.mark.slow
def test_the_links_keep_their_word_for_long(app: Any) -> None:
    seen = follow_the_links(app, examples=300, steps=20)
    for operation in (
        "GET /jobs/{job_id} 200",
        "POST /jobs/{job_id}/cancel 202",
        "POST /deployments/promote 201",
        "POST /deployments/rollback 201",
        "POST /healing/marketplace-integrated 202",
    ):
        assert seen[operation], (operation, seen)
