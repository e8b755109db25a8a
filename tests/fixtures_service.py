"""A service on a tiny world: its base registered, its pool as the market, its publishers' keys enrolled."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from symbio_lab.config import Settings, StoreUrl
from symbio_lab.scenarios.world import World, build_world
from symbio_lab.service.app import create_app
from symbio_lab.service.registering import register_model
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.state import ServiceState
from symbio_lab.service.worker import Worker
from symbio_lab.trust.enrolled import EnrolledKey, enrol

MODEL = "production-model-v1"


@dataclass
class Service:
    """An app in this process, its store, and a worker that carries out one job when it is told to."""

    settings: Settings
    service: ServiceSettings
    client: TestClient
    world: World
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> ServiceState:
        return self.client.app.state.service  # type: ignore[attr-defined, no-any-return]

    def tenant(self, name: str) -> str:
        """Make a tenant and return its admin key."""
        self.state.tenants.create(name, now=self.state.now())
        self.tokens[name], _ = self.state.keys.create(name, ["admin"], now=self.state.now())
        return self.tokens[name]

    def call(self, method: str, path: str, tenant: str | None = None, **more: Any) -> Any:
        headers = dict(more.pop("headers", {}))
        if tenant is not None:
            headers["Authorization"] = f"Bearer {self.tokens[tenant]}"
        return self.client.request(method, path, headers=headers, **more)

    def work(self) -> bool:
        """Carry out one job."""
        return Worker(self.settings, self.service).run_one()


@contextmanager
def serving(built: Path, home: Path, store: Path | StoreUrl | None = None) -> Iterator[Service]:
    """Give a service without tenants, on a store of its own or on this one."""
    home.mkdir()
    for name in ("bases", "pools"):
        shutil.copytree(built / "home" / name, home / name)
    with serving_world("tiny", Settings(home=home, num_threads=1, store=store or home / "store.db")) as found:
        yield found


@contextmanager
def serving_world(name: str, settings: Settings) -> Iterator[Service]:
    """Give a service without tenants: a world's base is registered, its pool the market, its publishers enrolled."""
    world = build_world(name, settings=settings)
    pool = world.pool("high")
    for publisher in pool.policy.keys.values():
        enrol(settings, EnrolledKey(publisher))
    limits = ServiceSettings(markets=(pool.transport.uri,))
    with TestClient(create_app(settings, limits), raise_server_exceptions=False) as client:
        found = Service(settings, limits, client, world)
        (base,) = settings.home.glob("bases/*/base.json")
        register_model(found.state, MODEL, str(base.parent))
        yield found


@pytest.fixture
def service(built: Path, installed: None, tmp_path: Path) -> Iterator[Service]:
    """A service without tenants."""
    with serving(built, tmp_path / "home") as found:
        yield found
