"""Running a loopback Hub: in a thread for tests, in the foreground for ``symbio market serve``.

Rules:
    1. It listens on the loopback interface and nowhere else: it is made for labs and tests, not for the internet.
    2. All that clients stored lies in the folder; a Hub that is started there again has all of it. Tokens do not lie
       there: they are given at each start.
    3. One process serves a folder.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.errors import ConfigError, MissingExtraError, NotFoundError, StorageError
from symbio_lab.testing.loopback_hub.accounts import Accounts
from symbio_lab.testing.loopback_hub.blobs import git_blob_id, lfs_pointer
from symbio_lab.testing.loopback_hub.curation import CollectionStore
from symbio_lab.testing.loopback_hub.faults import Faults
from symbio_lab.testing.loopback_hub.names import check_path
from symbio_lab.testing.loopback_hub.repositories import Repository, TreeFile, make_commit
from symbio_lab.testing.loopback_hub.serving_app import HubApp
from symbio_lab.testing.loopback_hub.state import HubLimits, HubState, utc_now

if TYPE_CHECKING:
    import uvicorn

START_S = 20.0
"""Longest time to start, in seconds."""


class LoopbackHub:
    """A Hub on this machine, as a context: started on entering, stopped on leaving.

    Example::

        with LoopbackHub(users={"alice": "hf_alice"}) as hub:
            HfApi(endpoint=hub.endpoint, token="hf_alice").create_repo("alice/travel")
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        users: Mapping[str, str] | None = None,
        orgs: Mapping[str, Iterable[str]] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: HubLimits = HubLimits(),  # noqa: B008 (frozen)
        now: Callable[[], str] = utc_now,
    ) -> None:
        """Name everything; nothing is opened yet.

        Args:
            folder: where it keeps what clients store; None: a temporary folder that goes with the Hub.
            users: user -> token.
            orgs: organisation -> its members.
            host: a loopback address.
            port: 0 takes a free one.
            limits: sizes and pages.
            now: UTC time of commits.

        Raises:
            ConfigError: users or organisations are wrong, or ``host`` is no loopback address.
        """
        check_loopback(host)
        self.faults = Faults()
        """What goes wrong, for tests of clients."""
        self.accounts = Accounts(users or {}, orgs)
        self._folder, self._host, self._port, self._limits, self._now = folder, host, port, limits, now
        self._stack = contextlib.ExitStack()
        self._app: HubApp | None = None

    def __enter__(self) -> LoopbackHub:
        """Start.

        Raises:
            MissingExtraError: uvicorn is not installed.
            StorageError: the folder cannot be used, another process serves it, or the port is taken.
        """
        with contextlib.ExitStack() as stack:
            server, listener = self._open(stack)
            # Reading what sockets bring is all that the thread does; signals stay with the main thread.
            server.install_signal_handlers = lambda: None
            thread = threading.Thread(target=server.run, args=([listener],), name="loopback-hub", daemon=True)
            thread.start()
            stack.callback(_stop, server, thread)
            deadline = time.monotonic() + START_S
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise StorageError("the loopback Hub does not start")
                time.sleep(0.005)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stack.close()

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve in the foreground until SIGINT or SIGTERM.

        Args:
            on_ready: told the endpoint when clients may come.

        Raises:
            MissingExtraError: uvicorn is not installed.
            StorageError: the folder cannot be used, another process serves it, or the port is taken.
        """
        with contextlib.ExitStack() as stack:
            server, listener = self._open(stack)
            on_ready(self.endpoint)
            server.run([listener])

    @property
    def endpoint(self) -> str:
        """Address, as ``HF_ENDPOINT`` takes it."""
        return self.state.endpoint

    @property
    def app(self) -> HubApp:
        """The ASGI app.

        Raises:
            ConfigError: the Hub is not running.
        """
        if self._app is None:
            raise ConfigError(["the Hub is not running"], hint="with LoopbackHub(...) as hub: ...")
        return self._app

    @property
    def state(self) -> HubState:
        """Everything that the Hub knows."""
        return self.app.state

    @property
    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path as it was sent, and status of every request so far; may be cleared."""
        return self.app.requests

    def set_branch(self, repo: str, branch: str, commit: str) -> None:
        """Move a branch to any commit of the repository, back too, as only its server can.

        Raises:
            NotFoundError: there is no such repository or commit.
        """
        with self.state.lock:
            repository = self._find(repo)
            if self.state.repositories.commit(repository.key, commit) is None:
                raise NotFoundError(f"{repo} has no commit {commit:.40}")
            self.state.repositories.save(replace(repository, branches={**repository.branches, branch: commit}))

    def tamper(self, repo: str, path: str, data: bytes) -> str:
        """Put a file into a repository behind its owner's back, and return the commit: a bad server.

        Raises:
            NotFoundError: there is no such repository.
        """
        with self.state.lock:
            state, repository = self.state, self._find(repo)
            head = state.revision(repository, "main")
            blob, before = state.blobs.put(data), head.files.get(check_path(path))
            is_large = path.endswith(".safetensors") or (before is not None and before.lfs is not None)
            oid = git_blob_id(lfs_pointer(blob, len(data)) if is_large else data)
            files = {**head.files, path: TreeFile(oid, len(data), blob, blob if is_large else None)}
            made = make_commit((head.id,), "tamper", "", self._now(), repository.creator, files)
            state.repositories.add_commit(repository.key, made)
            state.repositories.save(replace(repository, branches={**repository.branches, "main": made.id}))
        return made.id

    def _find(self, repo: str) -> Repository:
        repository = self.state.repositories.find("model", repo)
        if repository is None:
            raise NotFoundError(f"the Hub has no repository {repo!r:.100}")
        return repository

    def _open(self, stack: contextlib.ExitStack) -> tuple[uvicorn.Server, socket.socket]:
        try:
            import uvicorn
        except ModuleNotFoundError as error:
            raise MissingExtraError("uvicorn", "service") from error
        folder = self._folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loopback-hub-")))
        stack.enter_context(_sole_server(folder))
        listener = stack.enter_context(contextlib.closing(_listen(self._host, self._port)))
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        state = HubState(
            folder,
            f"http://{shown}:{port}",
            self.accounts,
            CollectionStore(folder),
            limits=self._limits,
            now=self._now,
        )
        state.load()
        self._app = HubApp(state, self.faults)
        config = uvicorn.Config(
            self._app, log_level="error", access_log=False, lifespan="off", server_header=False, timeout_keep_alive=60
        )
        return uvicorn.Server(config), listener


def check_loopback(host: str) -> None:
    """Refuse an address that others can reach.

    Raises:
        ConfigError: not on the loopback interface.
    """
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigError(
            [f"the loopback Hub does not listen on {host!r:.80}"],
            hint="use 127.0.0.1 or ::1; it is made for labs and tests, not for the internet",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; else small answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise StorageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", hint="choose another --port"
        ) from error
    return listener


@contextlib.contextmanager
def _sole_server(folder: Path) -> Iterator[None]:
    """Hold a folder for this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle: Any = (folder / "serving.lock").open("a")
    except OSError as error:
        raise StorageError(f"cannot use {folder}: {error.strerror or error}") from error
    with handle:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StorageError(
                    f"another process serves {folder}", hint="stop it, or serve another folder"
                ) from error
        yield


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    server.force_exit = True
    thread.join(timeout=START_S)
