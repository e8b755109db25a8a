"""The API keeps its word: whatever is sent, no 5xx, and answers as the OpenAPI document says (schemathesis)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from symbio_lab.config import Settings
from symbio_lab.service.app import create_app
from symbio_lab.service.settings import ServiceSettings

FAST = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)


ROUTES = [
    (method.upper(), path)
    for path, item in create_app(Settings(home=Path("nowhere"))).openapi()["paths"].items()
    for method in item
    if not path.endswith("/events")  # a stream: it is tested by its story
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = create_app(
        Settings(home=tmp_path_factory.mktemp("service"), num_threads=1),
        ServiceSettings(requests_per_minute=10**6, max_wait_s=0.05, max_open_jobs=10**6),
    )
    state = found.state.service
    state.tenants.create("acme", now=state.now())
    found.state.token, _ = state.keys.create("acme", ["admin"], now=state.now())
    found.state.operator, _ = state.keys.create("*", ["admin"], now=state.now())
    return found


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
def test_every_route_keeps_its_word(app: Any, method: str, path: str) -> None:
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path][method]
    token = app.state.operator if path == "/tenants" else app.state.token

    @FAST
    @given(case=operation.as_strategy())
    def keeps_its_word(case: Any) -> None:
        # What the grammar allows may still be refused: a time of next year, a scope that nobody knows.
        case.call_and_validate(excluded_checks=[positive_data_acceptance], headers={"Authorization": f"Bearer {token}"})

    keeps_its_word()
