"""Papermill's engine with warm kernels: ``papermill --engine symbio-fork in.ipynb out.ipynb``.

Worth it where one process runs many notebooks: the first of them waits for the imports, the others do not.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from papermill.engines import NBClientEngine

from symbio_lab.kernels.managing import KernelMode, kernel_manager

PRELOAD = ("numpy", "torch", "transformers", "peft", "datasets")
"""Imported once for all notebooks of this process."""


class ForkEngine(NBClientEngine):
    """Papermill's own engine; only the kernel starts otherwise."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Run the cells in a forked kernel; ``preload`` replaces the list of modules."""
        modes: list[KernelMode] = []
        preload = tuple(kwargs.pop("preload", PRELOAD))
        sockets = Path(tempfile.mkdtemp(prefix="symbio-"))
        given = {
            "kernel_manager_class": kernel_manager(sockets, {}, preload=preload, modes=modes),
            "shutdown_kernel": "immediate",
        }
        try:
            return super().execute_managed_notebook(nb_man, kernel_name, **{**given, **kwargs})
        finally:
            if modes:
                nb_man.nb.metadata["symbio"] = {"kernel_mode": modes[-1]}
            shutil.rmtree(sockets, ignore_errors=True)
