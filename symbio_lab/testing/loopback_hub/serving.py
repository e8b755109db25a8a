"""Running the loopback Hub: a server in a thread of its own, on a loopback address.

Rules:
    1. Entering reads the folder, takes its lock and answers at ``endpoint``; leaving ends open connections. All that
       was answered with success is on disk by then, also after a kill.
    2. Without a folder a temporary one is used and removed.
    3. Only loopback addresses: this is for labs and tests, not for the internet.

Example:
    with LoopbackHub(folder, users={"alice": "hf_alice"}) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_alice").create_repo("alice/travel")
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from symbio_lab.errors import ConfigError, MissingExtraError, StorageError
from symbio_lab.testing.loopback_hub import tampering
from symbio_lab.testing.loopback_hub.accounts import Accounts
from symbio_lab.testing.loopback_hub.app import build_app
from symbio_lab.testing.loopback_hub.curation import CollectionStore
from symbio_lab.testing.loopback_hub.faults import FaultList
from symbio_lab.testing.loopback_hub.state import HubLimits, HubState, utc_now
from symbio_lab.trust.locking import locked

if TYPE_CHECKING:
    from starlette.applications import Starlette

_log = logging.getLogger(__name__)
START_S = 10.0
"""Seconds that the server has to start."""
MOST_NOTED = 100_000
"""Answers that ``requests`` remembers, at most."""
GRACE_S = 1.0
"""Seconds that answers under way have to end."""


class LoopbackHub:
    """A Hub that the unmodified ``huggingface_hub`` client can use.

    Args:
        folder: where everything is kept; None: a temporary folder.
        users: name -> token.
        orgs: name -> members.
        host: a loopback address.
        port: 0: any free one.
        limits: sizes and pages.
        now: clock, UTC as ISO-8601 text ending in ``Z``.
        own_origin_for_content: serve large files by a redirect to another origin, ``localhost`` for ``127.0.0.1``.
    """

    def __init__(
        self,
        folder: Path | None = None,
        users: Mapping[str, str] | None = None,
        orgs: Mapping[str, Iterable[str]] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: HubLimits | None = None,
        now: Callable[[], str] = utc_now,
        own_origin_for_content: bool = False,
    ) -> None:
        self.accounts = Accounts(users or {}, orgs)
        self.faults = FaultList()
        self.requests: list[tuple[str, str, int]] = []
        """Method, raw path without the query, and status of every answer, oldest first."""
        self._folder, self._host, self._port = folder, host, port
        self._limits, self._now, self._own_origin = limits or HubLimits(), now, own_origin_for_content
        self._state: HubState | None = None
        self._app: Starlette | None = None
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            folder = self._folder or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="loopback-hub-")))
            try:
                undo.enter_context(locked(folder / "lock", wait_s=0.0))
            except StorageError as error:
                error.hint = "another Hub may serve this folder: end it, or serve another folder"
                raise
            bound = undo.enter_context(_listen(self._host, self._port))
            port = bound.getsockname()[1]
            other = "127.0.0.1" if self._host == "localhost" else "localhost"
            host = f"[{self._host}]" if ":" in self._host else self._host
            endpoint, content = f"http://{host}:{port}", f"http://{other}:{port}" if self._own_origin else ""
            state = HubState(folder, endpoint, self.accounts, CollectionStore(folder), self._limits, self._now, content)
            state.load()
            self._state, self._app = state, build_app(state, self.faults, self._note)
            undo.callback(self._forget)
            undo.callback(_start(self._app, bound))
            self._exit = undo.pop_all()
        _log.info("the loopback Hub answers at %s", endpoint)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def state(self) -> HubState:
        """All that the running Hub knows.

        Raises:
            ConfigError: it does not run.
        """
        if self._state is None:
            raise ConfigError(["the loopback Hub does not run"], hint="use it in a with statement")
        return self._state

    @property
    def app(self) -> Starlette:
        """The application, for a test client."""
        if self._app is None:
            raise ConfigError(["the loopback Hub does not run"], hint="use it in a with statement")
        return self._app

    @property
    def endpoint(self) -> str:
        """Address, as ``HF_ENDPOINT`` takes it."""
        return self.state.endpoint

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        return self.state.folder

    def set_branch(self, repo: str, branch: str, commit: str) -> None:
        """Move a branch of a model to any of its commits; see ``tampering``."""
        tampering.set_branch(self.state, repo, branch, commit)

    def tamper(self, repo: str, path: str, data: bytes | None, *, rewrite: bool = False) -> str:
        """Change a file of a model behind its owner's back and return the commit; see ``tampering``."""
        return tampering.tamper(self.state, repo, path, data, rewrite=rewrite)

    def _note(self, method: str, path: str, status: int) -> None:
        if len(self.requests) >= MOST_NOTED:
            del self.requests[: MOST_NOTED // 2]
        self.requests.append((method, path, status))

    def _forget(self) -> None:
        self._state = self._app = None


def is_loopback(host: str) -> bool:
    """Return whether a host names this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    if not is_loopback(host):
        raise ConfigError([f"{host!r:.60} is not a loopback address"], hint="use 127.0.0.1")
    if not 0 <= port <= 65_535:
        raise ConfigError([f"port {port} is not from 0 to 65535"])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol's number asyncio leaves Nagle's algorithm on, which costs 40 ms an answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ConfigError(
            [f"cannot listen on {host}:{port}: {error.strerror or error}"], hint="choose another --port"
        ) from error
    return bound


def _start(app: Starlette, bound: socket.socket) -> Callable[[], None]:
    """Run a server in a thread and return what ends it."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError("uvicorn", "service") from error

    class Server(uvicorn.Server):
        """Ends when it is told, not at the next tick: a test suite starts hundreds of them."""

        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            self.told = asyncio.Event()
            self.loop: asyncio.AbstractEventLoop | None = None

        async def main_loop(self) -> None:
            self.loop = asyncio.get_running_loop()
            await self.on_tick(0)
            running.set()
            await self.told.wait()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()
            for connection in list(self.server_state.connections):
                connection.shutdown()
            end = self.loop.time() + GRACE_S if self.loop else 0.0
            while self.server_state.tasks and self.loop and self.loop.time() < end:
                await asyncio.sleep(0.002)
            for task in self.server_state.tasks:
                task.cancel()

        def end(self) -> None:
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self.told.set)
            thread.join()

    running = threading.Event()
    options: dict[str, Any] = {"log_config": None, "log_level": "critical", "access_log": False, "lifespan": "off"}
    server = Server(uvicorn.Config(app, loop="asyncio", http="h11", ws="none", date_header=False, **options))
    thread = threading.Thread(target=server.run, args=([bound],), name="loopback-hub", daemon=True)
    thread.start()
    if not running.wait(START_S):
        server.should_exit = True
        raise ConfigError(["the loopback Hub did not start"])
    return server.end
