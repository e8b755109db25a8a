"""A plain web server on loopback for static files, which can misbehave on request."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Answer:
    """What the server sends instead of a file."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()
    pause_s: float = 0.0
    """Seconds before the status and before each piece."""
    times: int = 1_000
    """How often; afterwards the file itself is served."""


class StaticServer:
    """Serves one folder; ``answers`` maps a path to what is sent in its place."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        handler = functools.partial(_Handler, self, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def __enter__(self) -> StaticServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: StaticServer, *arguments: object, directory: str) -> None:
        self.static = server
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.static.requests.append((self.path, dict(self.headers.items())))
        answer = self.static.answers.get(self.path)
        if answer is None or answer.times < 1:
            super().do_GET()
            return
        answer.times -= 1
        self.close_connection = True
        with contextlib.suppress(ConnectionError):
            self.static.released.wait(answer.pause_s)
            self.send_response(answer.status)
            for name, value in {"Connection": "close", **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in answer.pieces:
                self.static.released.wait(answer.pause_s)
                self.wfile.write(piece)

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[StaticServer]:
    with StaticServer(folder) as server:
        yield server
