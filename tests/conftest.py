"""What every test has: no network beyond loopback, its own state folder, threads that fit the machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.config import available_threads
from tests.fixtures_postgres import either_store as either_store
from tests.fixtures_postgres import postgres as postgres  # here, so that one server serves a whole session
from tests.fixtures_postgres import postgres_store as postgres_store

# Read by libraries when they are first imported, hence set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "agg"
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Waiting threads sleep instead of spinning: on shared cores spinning costs more than it saves.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_threads() // _workers)))

ON_REQUEST = {"online": None, "slow": "--run-slow"}
"""Marker -> option that asks for it, besides naming it with ``-m``."""


class NetworkForbiddenError(RuntimeError):
    """A test tried to leave this machine. No ``OSError``, so that no retry loop swallows it."""


class NetworkGuard:
    """Stands before the socket functions and lets only loopback and local sockets through."""

    def __init__(self) -> None:
        self.open = False
        self._connect, self._connect_ex = socket.socket.connect, socket.socket.connect_ex
        self._getaddrinfo = socket.getaddrinfo

    def install(self) -> None:
        guard = self

        def connect(self: socket.socket, address: Any) -> None:
            guard.check(self.family, address)
            guard._connect(self, address)

        def connect_ex(self: socket.socket, address: Any) -> int:
            guard.check(self.family, address)
            return guard._connect_ex(self, address)

        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            guard.check_host(host)
            return guard._getaddrinfo(host, *args, **kwargs)

        socket.socket.connect = connect  # type: ignore[assignment, method-assign]
        socket.socket.connect_ex = connect_ex  # type: ignore[assignment, method-assign]
        socket.getaddrinfo = getaddrinfo

    def remove(self) -> None:
        socket.socket.connect = self._connect  # type: ignore[method-assign]
        socket.socket.connect_ex = self._connect_ex  # type: ignore[method-assign]
        socket.getaddrinfo = self._getaddrinfo

    def check(self, family: int, address: Any) -> None:
        if family in (socket.AF_INET, socket.AF_INET6):
            self.check_host(address[0])

    def check_host(self, host: Any) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        own = (None, "", "localhost", "::1", "::", "0.0.0.0", socket.gethostname())
        if not self.open and name not in own and not str(name).startswith("127."):
            raise NetworkForbiddenError(f"a test tried to reach {name!r}; mark it 'online' or use a loopback server")


GUARD = NetworkGuard()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    GUARD.install()


def pytest_unconfigure(config: pytest.Config) -> None:
    GUARD.remove()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.option.markexpr or ""
    for item in items:
        for marker, option in ON_REQUEST.items():
            by_option = option is not None and config.getoption(option)
            if item.get_closest_marker(marker) and marker not in asked and not by_option:
                item.add_marker(pytest.mark.skip(reason=f"runs with -m {marker}" + (f" or {option}" if option else "")))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _has_cuda():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _network(request: pytest.FixtureRequest) -> Iterator[None]:
    """Open the guard for tests marked ``online``, and only for them."""
    GUARD.open = request.node.get_closest_marker("online") is not None
    yield
    GUARD.open = False


@pytest.fixture(autouse=True, scope="session")
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep every test away from the user's own state folder; what is built once serves the whole session."""
    home = tmp_path_factory.mktemp("symbio-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMBIO_LAB_HOME", str(home))
        yield home


@pytest.fixture
def tmp_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty state folder that is this test's alone, set as ``SYMBIO_LAB_HOME``."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("SYMBIO_LAB_HOME", str(home))
    return home
