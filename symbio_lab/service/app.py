"""The app: routes, limits and errors put together. Making it opens nothing; the first request does.

Example::

    app = create_app(load_settings().settings, ServiceSettings(local=True))
    uvicorn.run(app, host="127.0.0.1", port=8000)
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

import symbio_lab
from symbio_lab.config import Settings
from symbio_lab.service.bodies import BodyLimit
from symbio_lab.service.links import add_links
from symbio_lab.service.loopback import LoopbackOnly
from symbio_lab.service.markets import Markets
from symbio_lab.service.measuring import Measures, Requests
from symbio_lab.service.problems import Problem, add_problem_answers, problem_responses
from symbio_lab.service.routes import (
    administration,
    dashboard,
    deployments,
    market,
    models,
    operations,
    quotas,
    records,
    work,
)
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.slots import Slots
from symbio_lab.service.state import open_state
from symbio_lab.service.tracing import TracedRequests, Tracing
from symbio_lab.store.observed_time import utc_now

_NO_TELEMETRY_OF_FASTAPI = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own sends what a request held and the messages of errors; ours is in tracing.py."""


def create_app(
    settings: Settings,
    service: ServiceSettings | None = None,
    *,
    now: Callable[[], str] = utc_now,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Return the app of one service process.

    Args:
        settings: where the store, the keys and the patches are.
        service: limits, and whether keys are asked for; None takes the defaults.
        now: UTC time as records bear it.
        tracing: makes spans of requests; None makes none.
    """
    app = FastAPI(
        title="symbio-lab",
        version=symbio_lab.__version__,
        description="Report failures, search verified patches, heal, deploy for one tenant, roll back.",
        servers=[{"url": "/"}],
        telemetry=dict(_NO_TELEMETRY_OF_FASTAPI),
    )
    service = service or ServiceSettings()
    state = open_state(settings, service, now=now)
    app.state.service = state
    app.state.markets = Markets(state)
    app.state.measures = Measures()
    app.state.streams = Slots(service.max_streams, total=8 * service.max_streams)
    app.state.waiting = Slots(service.max_waiting, total=4 * service.max_waiting)
    for router in (
        records.router,
        market.router,
        work.router,
        models.router,
        deployments.router,
        administration.router,
        quotas.router,
        operations.router,
        dashboard.router,
    ):
        app.include_router(router)
    add_problem_answers(app)
    if service.local:
        app.add_middleware(LoopbackOnly)
    # Outermost last: every answer, a 413 too, has an id and is counted.
    app.add_middleware(BodyLimit, max_bytes=service.max_body_bytes)
    if tracing is not None:
        app.add_middleware(TracedRequests, tracing=tracing)
    app.add_middleware(Requests, measures=app.state.measures)
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the schema of problems into the document, and let 422 be one too."""
    plain = app.openapi

    def described() -> dict[str, object]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = plain()
        document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        for item in document["paths"].values():
            for operation in item.values():
                if "requestBody" in operation:
                    # A body that is no JSON, and one that is too long.
                    for status, said in problem_responses(400, 413).items():
                        operation["responses"].setdefault(str(status), said)
        add_links(document)
        app.openapi_schema = document
        return document

    app.openapi = described
