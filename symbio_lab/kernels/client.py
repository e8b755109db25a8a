"""The owner's side of a zygote, and a handle on a kernel that it forked."""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from symbio_lab.errors import ConfigError, KernelDiedError
from symbio_lab.kernels.environment import IDLE_S, zygote_key


class ForkedKernel:
    """A forked kernel, as ``subprocess.Popen`` would show it."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int) -> None:
        """Take the connection on which the exit status will arrive."""
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._status(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
        return status

    def _status(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
                with self._connection.makefile() as lines:
                    line = lines.readline()
                # No line: the zygote is gone, and it kills its kernels.
                self.returncode = int(json.loads(line)["status"]) if line else -int(signal.SIGKILL)
                self._connection.close()
            return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


class Zygote:
    """Starts its process at the first request; ``stop`` or leaving the context ends it and its kernels."""

    def __init__(self, preload: Sequence[str], env: Mapping[str, str] | None = None, *, idle_s: float = IDLE_S) -> None:
        """Name the process; nothing starts yet.

        Args:
            preload: modules that it imports.
            env: variables over those of this process.
            idle_s: seconds without a kernel after which it ends; a later request starts it again.
        """
        self.idle_s = idle_s
        self.preload = tuple(preload)
        self.env = {**os.environ, **(env or {})}
        self.key = zygote_key(self.preload, self.env)
        self.process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None
        self._lock = threading.Lock()

    def start(self, timeout: float = 120.0) -> None:
        """Start the process and wait until its imports are done.

        Raises:
            KernelDiedError: it did not become ready.
        """
        with self._lock:
            if self.process is not None and self.process.poll() is None:
                return
            self._stop()
            self.folder = Path(tempfile.mkdtemp(prefix="symbio-"))
            # -P: the folder that this process happens to be in is no place to import from.
            command = [sys.executable, "-P", "-m", "symbio_lab.kernels.zygote", "--socket", str(self.folder / "z")]
            self.process = subprocess.Popen(
                [*command, "--key", self.key, "--preload", ",".join(self.preload), "--idle-s", str(self.idle_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env={**self.env, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
                start_new_session=True,
            )
            end, path = time.monotonic() + timeout, self.folder / "z"
            while time.monotonic() < end and self.process.poll() is None:
                with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(path))
                    return
                time.sleep(0.02)
            self._stop()
            raise KernelDiedError("the process that forks kernels did not start", hint="check the preload list")

    def fork(self, connection_file: str, env: Mapping[str, str], cwd: str, fds: Sequence[int]) -> ForkedKernel:
        """Fork a kernel; ``fds`` become its standard input, output and error.

        Raises:
            ConfigError: ``env`` differs in a variable that is read at import.
            KernelDiedError: the zygote refused or died.
        """
        if zygote_key(self.preload, env) != self.key:
            raise ConfigError(["the kernel's environment differs from its zygote's"], hint="start another zygote")
        self.start()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str((self.folder or Path()) / "z"))
            request = {"key": self.key, "connection_file": connection_file, "env": dict(env), "cwd": cwd}
            data = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(connection, [data], list(fds))
            connection.sendall(data[sent:])
            # One byte at a time: the exit status may follow at once, and belongs to the handle.
            line = b""
            while not line.endswith(b"\n") and (byte := connection.recv(1)):
                line += byte
            answer: dict[str, Any] = json.loads(line or b'{"error": "it died"}')
            if "pid" not in answer:
                raise KernelDiedError(f"no kernel was forked: {answer['error']}")
        except OSError as error:
            connection.close()
            raise KernelDiedError(f"no kernel was forked: {error}") from error
        return ForkedKernel(connection, int(answer["pid"]))

    def stop(self) -> None:
        """End the zygote and its kernels; a later request starts it again."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def __enter__(self) -> Self:
        """Return the zygote; its process starts with the first request."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it and its kernels."""
        self.stop()


_ZYGOTES: dict[str, Zygote] = {}
_LOCK = threading.Lock()


def zygote_for(preload: Sequence[str], env: Mapping[str, str]) -> Zygote:
    """Return this process's zygote for a preload list and an environment; its kernels end when this process does."""
    key = zygote_key(preload, env)
    with _LOCK:
        if key not in _ZYGOTES:
            _ZYGOTES[key] = Zygote(preload, env)
        return _ZYGOTES[key]


@atexit.register
def stop_zygotes() -> None:
    """End all zygotes of this process and their kernels; later requests start them again."""
    with _LOCK:
        for zygote in _ZYGOTES.values():
            zygote.stop()
        _ZYGOTES.clear()
