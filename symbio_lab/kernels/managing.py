"""Kernels of this interpreter: how they start, in which way, and how another thread ends them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from symbio_lab.kernels.parameters import PACKAGE

KernelMode = Literal["fork", "spawn"]
"""``fork``: from a process that imported the libraries already; ``spawn``: a new interpreter."""
_MOST_SOCKET_PATH = 80
"""Longest path of a socket's folder: the system allows 108 bytes for the whole name."""


class StopSwitch:
    """Ends a running notebook from another thread, by killing its kernel."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._lock = threading.Lock()
        self.reason: str | None = None
        """Why it was stopped; None while it was not."""

    def watch(self, pid: int | None) -> None:
        """Remember the kernel; it is killed at once when the switch was thrown before it started."""
        with self._lock:
            self._pid = pid
            if self.reason is not None:
                self._kill()

    def stop(self, reason: str) -> None:
        """Kill the kernel; only the first reason counts."""
        with self._lock:
            if self.reason is None:
                self.reason = reason
                self._kill()

    def finished(self) -> None:
        """Forget the kernel: its number may soon be another process's."""
        with self._lock:
            self._pid = None

    def _kill(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def kernel_manager(
    sockets: Path,
    env: Mapping[str, str],
    stop: StopSwitch | None = None,
    *,
    preload: Sequence[str] | None = None,
    modes: list[KernelMode] | None = None,
) -> type:
    """Return a kernel manager whose kernel is this interpreter, over local sockets where the system has them.

    Args:
        sockets: private folder with a short path.
        env: environment variables of the kernel, over those of this process.
        stop: ends the kernel from another thread.
        preload: modules that a warm process has imported before it forks the kernel; None spawns a new interpreter.
        modes: gets the mode of each kernel that was started: a fork that is not possible is a spawn.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    search = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    # An installed package is found anyway; a checkout must be found by a kernel that starts elsewhere.
    from_checkout = (PACKAGE.parent / "pyproject.toml").is_file()
    spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
        env={**({"PYTHONPATH": os.pathsep.join(filter(None, search))} if from_checkout else {}), **env},
    )

    class ThisInterpreter(AsyncKernelManager):
        """Starts ``sys.executable`` as kernel."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            if hasattr(os, "fork") and len(str(sockets)) <= _MOST_SOCKET_PATH:
                self.transport = "ipc"
                self.connection_file = str(sockets / "kernel.json")

        async def _async_start_kernel(self, **kwargs: Any) -> None:
            if preload is not None and getattr(self, "provisioner", None) is None:
                from symbio_lab.kernels.provisioner import ForkProvisioner

                given = {"kernel_id": self.kernel_id, "kernel_spec": spec, "parent": self}
                self.provisioner: Any = ForkProvisioner(**given, preload=list(preload))
            await super()._async_start_kernel(**kwargs)
            if modes is not None:
                modes.append(getattr(self.provisioner, "kernel_mode", "spawn"))
            if stop is not None:
                stop.watch(getattr(self.provisioner, "pid", None))

        start_kernel = _async_start_kernel

        @property
        def kernel_spec(self) -> KernelSpec:
            """The interpreter that runs this code."""
            return spec

    return ThisInterpreter
