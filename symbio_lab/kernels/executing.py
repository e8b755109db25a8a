"""Running the lab's notebooks with parameters, in this interpreter's environment.

Rules:
    1. The kernel is this Python, whatever a kernelspec named ``python3`` points to.
    2. The executed notebook appears whole or not at all; a failed run leaves its notebook too.
    3. An error of the lab inside the notebook comes out as the same error.
    4. How the kernel started, forked or spawned, stands in the notebook's metadata.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab import errors
from symbio_lab.codec import write_atomic
from symbio_lab.errors import ConfigError, KernelDiedError, NotebookFailedError, SymbioError
from symbio_lab.events import BuildProgress, Event, Listener, emit
from symbio_lab.kernels.managing import KernelMode, StopSwitch, kernel_manager
from symbio_lab.kernels.parameters import literal_path, notebook_path, parameter_problems


@dataclass(frozen=True, slots=True)
class NotebookPrinted(Event):
    """A running notebook printed a line."""

    notebook: str
    text: str


def execute_notebook(
    name: str,
    parameters: Mapping[str, Any],
    out: Path,
    listener: Listener | None = None,
    *,
    source: Path | None = None,
    env: Mapping[str, str] | None = None,
    stop: StopSwitch | None = None,
    preload: Sequence[str] | None = None,
    modes: list[KernelMode] | None = None,
) -> Path:
    """Run a notebook and keep it with its outputs.

    Args:
        name: one of ``NOTEBOOKS``, or any name where ``source`` is given.
        parameters: values for its parameters cell; plain JSON.
        out: where the executed notebook goes.
        listener: told about each cell and each printed line.
        source: another notebook to run under this name.
        env: environment variables of the kernel, over those of this process.
        stop: ends the kernel from another thread.
        preload: modules that a warm process imports before it forks the kernel; None starts a new interpreter.
        modes: gets how the kernel was started.

    Returns:
        ``out``.

    Raises:
        ConfigError: unknown parameters or values that are not JSON, all at once.
        NotFoundError: no such notebook.
        KernelDiedError: its kernel died, or was stopped; ``out`` shows how far it came.
        NotebookFailedError: it stopped at an error; ``out`` shows where.
        SymbioError: it stopped at an error of the lab, which is raised as it is.
        StorageError: ``out`` cannot be written.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    path = source or notebook_path(name)
    problems = parameter_problems(path, parameters)
    if problems:
        raise ConfigError(problems)
    out = Path(out).absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.StorageError(f"cannot make the folder {out.parent}: {error.strerror}") from error
    # Papermill writes after every cell: into a file of its own, so that a kill leaves nothing half under ``out``.
    running = out.with_name(f".{out.stem}.{secrets.token_hex(6)}.ipynb")
    sockets = Path(tempfile.mkdtemp(prefix="symbio-"))
    started: list[KernelMode] = [] if modes is None else modes
    try:
        papermill.execute_notebook(
            literal_path(path),
            literal_path(running),
            parameters=dict(parameters),
            progress_bar=False,
            kernel_name="python3",
            kernel_manager_class=kernel_manager(sockets, env or {}, stop, preload=preload, modes=started),
            shutdown_kernel="immediate",
            coalesce_streams=True,
            stdout_file=_Lines(name, listener),
            engine_name=_engine(name, listener),
        )
    except PapermillExecutionError as error:
        raise _as_ours(name, error, out) from error
    except DeadKernelError as error:
        raise KernelDiedError(
            f"the kernel of {name}.ipynb died",
            hint=f"most often memory ran out; what it had done is in {out}",
        ) from error
    except OSError as error:
        raise errors.StorageError(f"cannot run {name}.ipynb: {error.strerror or error}") from error
    finally:
        if stop is not None:
            stop.finished()
        _close_loop()
        _keep(running, out, started)
        shutil.rmtree(sockets, ignore_errors=True)
    return out


def _close_loop() -> None:
    """Close the event loop that the kernel's client left in a thread of its own; the main thread's stays."""
    import asyncio

    if threading.current_thread() is threading.main_thread():
        return
    loop = asyncio.get_event_loop_policy().get_event_loop()
    if not loop.is_running():
        loop.close()


def _engine(name: str, listener: Listener | None) -> str:
    """Register a papermill engine that tells ``listener`` about each cell; return its name."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Telling(NBClientEngine):
        """Papermill's own engine, with events."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
            """Run the cells; emit one event after each."""
            total, finished = len(nb_man.nb.cells), nb_man.cell_complete

            def cell_complete(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                result = finished(cell, cell_index=cell_index, **more)
                emit(listener, BuildProgress(f"notebook {name}", (cell_index or 0) + 1, total))
                return result

            nb_man.cell_complete = cell_complete
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    engine = f"symbio-{name}"
    papermill_engines.register(engine, Telling)
    return engine


class _Lines:
    """File-like end of a notebook's standard output: one event a line."""

    def __init__(self, name: str, listener: Listener | None) -> None:
        self._name, self._listener, self._rest = name, listener, ""

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            emit(self._listener, NotebookPrinted(self._name, line))

    def flush(self) -> None:
        """Do nothing: lines are told as soon as they end."""


def _as_ours(name: str, error: Any, out: Path) -> SymbioError:
    """Return the error that stopped a notebook: the lab's own as it was, anything else with the cell it came from."""
    reason = " ".join(str(error.evalue).split())
    kind = getattr(errors, str(error.ename), None)
    if isinstance(kind, type) and issubclass(kind, SymbioError):
        ours = kind.__new__(kind)
        Exception.__init__(ours, reason)
        ours.hint = f"{kind.hint}; the run's notebook is {out}"
        return ours
    return NotebookFailedError(
        f"{name}.ipynb stopped in cell {error.exec_count}: {error.ename}: {reason}",
        hint=f"open {out} to see where it stopped",
    )


def _keep(running: Path, out: Path, modes: Sequence[KernelMode]) -> None:
    """Move the executed notebook to its place, if the run got so far as to write one."""
    import nbformat

    if not running.is_file():
        return
    notebook = nbformat.read(running, as_version=4)
    papermill_data = notebook.metadata.get("papermill", {})
    # Where the run happened says nothing about its result.
    for key in ("input_path", "output_path"):
        papermill_data.pop(key, None)
    if modes:
        notebook.metadata["symbio"] = {"kernel_mode": modes[-1]}
    write_atomic(out, (nbformat.writes(notebook) + "\n").encode())
    running.unlink(missing_ok=True)
