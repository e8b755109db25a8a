"""Kernels forked from a warm process, for whoever starts kernels by jupyter_client: papermill, JupyterLab, Voila.

A kernelspec asks for it by its metadata::

    {"kernel_provisioner": {"provisioner_name": "symbio-fork", "config": {"preload": ["torch", "transformers"]}}}

Where nothing can be forked (no ``fork``, no zygote), the kernel is spawned as ever, and ``kernel_mode`` says so.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import LocalProvisioner
from traitlets import List, Unicode

from symbio_lab.errors import KernelDiedError
from symbio_lab.kernels.client import zygote_for
from symbio_lab.kernels.managing import KernelMode


class ForkProvisioner(LocalProvisioner):
    """Asks the zygote of its environment and preload list for the kernel."""

    preload = List(Unicode(), default_value=["numpy"], config=True, help="Modules imported before the fork.")
    kernel_mode: KernelMode = "spawn"

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Launch the kernel and note in ``kernel_mode`` how."""
        if not hasattr(os, "fork") or not hasattr(socket, "SO_PEERCRED"):
            return await super().launch_kernel(cmd, **kwargs)
        environment = dict(kwargs.get("env") or os.environ)
        cwd = str(kwargs.get("cwd") or Path.cwd())
        with open(os.devnull, "r+b") as null:
            outputs = [_descriptor(kwargs.get(name), usual) for name, usual in (("stdout", 1), ("stderr", 2))]
            try:
                zygote = zygote_for(tuple(self.preload), environment)
                kernel = zygote.fork(cmd[cmd.index("-f") + 1], environment, cwd, [null.fileno(), *outputs])
            except KernelDiedError:
                return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid, self.pgid = kernel, kernel.pid, kernel.pid
        self.kernel_mode = "fork"
        return self.connection_info


def _descriptor(given: Any, usual: int) -> int:
    """Return the number of a stream that was asked for, or this process's own."""
    if isinstance(given, int) and given >= 0:
        return given
    return int(given.fileno()) if hasattr(given, "fileno") else usual
