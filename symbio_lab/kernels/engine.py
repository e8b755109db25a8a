"""Papermill's engine with warm kernels: ``papermill --engine symbio-fork in.ipynb out.ipynb``.

Worth it where one process runs many notebooks: the first of them waits for the imports, the others do not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from symbio_lab.kernels.managing import KernelMode, kernel_manager

PRELOAD = ("numpy", "torch", "transformers", "peft", "datasets")
"""Imported once for all notebooks of this process."""


class ForkEngine:
    """Papermill's own engine; only the kernel starts otherwise.

    It derives from nothing of papermill's: papermill loads its engines while it is imported itself, and a module that
    needs it in order to be loaded could not be imported before it.
    """

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Run the cells in a forked kernel; ``preload`` replaces the list of modules."""
        from papermill.engines import NBClientEngine

        class Forking(NBClientEngine):
            @classmethod
            def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **given: Any) -> Any:
                return _execute(super().execute_managed_notebook, nb_man, kernel_name, **given)

        return Forking.execute_notebook(nb, kernel_name, **kwargs)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Return the kernel's name, as papermill's own engine does."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Return the notebook's language, as papermill's own engine does."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))


def _execute(run: Callable[..., Any], nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
    modes: list[KernelMode] = []
    preload = tuple(kwargs.pop("preload", PRELOAD))
    sockets = Path(tempfile.mkdtemp(prefix="symbio-"))
    given = {
        "kernel_manager_class": kernel_manager(sockets, {}, preload=preload, modes=modes),
        "shutdown_kernel": "immediate",
    }
    try:
        return run(nb_man, kernel_name, **{**given, **kwargs})
    finally:
        if modes:
            nb_man.nb.metadata["symbio"] = {"kernel_mode": modes[-1]}
        shutil.rmtree(sockets, ignore_errors=True)
