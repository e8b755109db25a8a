"""A process that imports libraries once and forks one kernel per request.

Rules:
    1. It imports only: no models, no CUDA; it refuses to fork once CUDA is initialised.
    2. Only its own user is served; a request with another key is refused.
    3. It ends with its owner, or after ``idle_s`` without a kernel, and its kernels end with it.
    4. The exit status of a kernel goes back on the connection that asked for it.

Run: ``python -m symbio_lab.kernels.zygote --socket PATH --key KEY --preload a,b,c``; stdin is a pipe from its owner.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import random
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
import warnings
from contextlib import suppress
from typing import Any, NoReturn

_MOST_BYTES = 1 << 20


def serve(path: str, key: str, preload: list[str], idle_s: float) -> None:
    """Import ``preload``, then fork kernels until the owner is gone or nothing was asked for ``idle_s`` seconds."""
    owner = os.getppid()
    for name in ("ipykernel.kernelapp", "ipykernel.zmqshell", *preload):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    os.chmod(path, 0o600)
    server.listen(64)
    waking, woken = socket.socketpair()
    waking.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    kernels: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    for end in (server, waking):
        selector.register(end, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    busy_at = time.monotonic()
    while os.getppid() == owner and time.monotonic() - busy_at < idle_s:
        ready = {event.fileobj for event, _ in selector.select(timeout=1.0)}
        if 0 in ready:
            break
        if waking in ready:
            waking.recv(4096)
        _reap(kernels)
        if kernels or server in ready:
            busy_at = time.monotonic()
        if server in ready:
            connection, _ = server.accept()
            _answer(connection, key, kernels, [server.fileno(), waking.fileno(), woken.fileno(), selector])
    for pid in kernels:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _reap(kernels: dict[int, socket.socket]) -> None:
    for pid in list(kernels):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with kernels.pop(pid) as connection, suppress(OSError):
                connection.sendall(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def _answer(connection: socket.socket, key: str, kernels: dict[int, socket.socket], ours: list[Any]) -> None:
    connection.settimeout(5.0)
    fds: list[int] = []
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.getuid():
            raise PermissionError("another user asks")
        data, fds, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
        while data and not data.endswith(b"\n") and len(data) < _MOST_BYTES:
            more = connection.recv(_MOST_BYTES)
            if not more:
                break
            data += more
        request = json.loads(data)
        if request["key"] != key:
            raise PermissionError("the key differs")
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            raise RuntimeError("CUDA is initialised")
        zygote = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; those there are belong to allocators and wait.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _become_kernel(request, fds, zygote, connection, kernels, ours)
        kernels[pid] = connection
        connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if connection not in kernels.values():
            with connection, suppress(OSError):
                connection.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
    finally:
        for fd in fds:
            os.close(fd)


def _become_kernel(
    request: Any, fds: list[int], zygote: int, connection: socket.socket, kernels: Any, ours: list[Any]
) -> NoReturn:
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        *numbers, selector = ours
        selector.close()
        for number in numbers:
            os.close(number)
        for other in (connection, *kernels.values()):
            other.close()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        os.environ.clear()
        os.environ.update(request["env"])
        # The kernel's parent is the zygote, not the process that asked: ipykernel watches this number.
        os.environ["JPY_PARENT_PID"] = str(zygote)
        os.chdir(request["cwd"])
        random.seed()
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            numpy.random.seed()
        launcher = importlib.util.find_spec("ipykernel_launcher")
        sys.argv = [launcher.origin or "" if launcher else "", "-f", request["connection_file"]]
        from ipykernel.kernelapp import IPKernelApp

        # The number that ipykernel would have read from the environment when it was imported.
        IPKernelApp.launch_instance(parent_handle=zygote)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a child that returned would serve the zygote's requests a second time
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--preload", default="")
    parser.add_argument("--idle-s", type=float, required=True)
    given = parser.parse_args()
    serve(given.socket, given.key, [name for name in given.preload.split(",") if name], given.idle_s)
