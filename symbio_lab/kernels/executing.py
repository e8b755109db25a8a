"""Running the lab's notebooks with parameters, in this interpreter's environment.

Rules:
    1. Unknown parameters, and values that are not plain JSON, are errors before anything runs.
    2. The kernel is this Python, whatever a kernelspec named ``python3`` points to.
    3. The executed notebook appears whole or not at all; a failed run leaves its notebook too.
    4. An error of the lab inside the notebook comes out as the same error.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from symbio_lab import errors
from symbio_lab.codec import write_atomic
from symbio_lab.errors import ConfigError, KernelDiedError, NotebookFailedError, NotFoundError, SymbioError
from symbio_lab.events import BuildProgress, Event, Listener, emit

NOTEBOOKS = ("bring_your_own", "heal", "report", "sweep_report")
_PACKAGE = Path(__file__).resolve().parents[1]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
}
"""Annotations that a value is held to; all others say nothing."""
_MOST_SOCKET_PATH = 80
"""Longest path of a socket's folder: the system allows 108 bytes for the whole name."""


@dataclass(frozen=True, slots=True)
class NotebookPrinted(Event):
    """A running notebook printed a line."""

    notebook: str
    text: str


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


def notebook_path(name: str) -> Path:
    """Return where a notebook of the lab is: package data of an installed wheel, else the checkout's folder.

    Raises:
        NotFoundError: there is no such notebook.
    """
    folders = (_PACKAGE / "_notebooks", _PACKAGE.parent / "notebooks")
    for folder in folders:
        path = folder / f"{name}.ipynb"
        if name in NOTEBOOKS and path.is_file():
            return path
    raise NotFoundError(f"there is no notebook {name!r}", hint=f"use one of: {', '.join(NOTEBOOKS)}")


def execute_notebook(
    name: str,
    parameters: Mapping[str, Any],
    out: Path,
    listener: Listener | None = None,
    *,
    source: Path | None = None,
    env: Mapping[str, str] | None = None,
    stop: StopSwitch | None = None,
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
    try:
        papermill.execute_notebook(
            _literal(path),
            _literal(running),
            parameters=dict(parameters),
            progress_bar=False,
            kernel_name="python3",
            kernel_manager_class=_kernel_manager(sockets, env or {}, stop),
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
        _keep(running, out)
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


def parameter_problems(path: Path, parameters: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters of a notebook: unknown, not plain JSON, or of another type.

    Args:
        path: a notebook with one cell tagged ``parameters``; annotations there are held to.
        parameters: values by name.
    """
    known = _parameters_of(path, path.stat().st_mtime_ns)
    problems = []
    for name, value in parameters.items():
        if name not in known:
            problems.append(f"{path.name} has no parameter {name!r}; it has: {', '.join(known) or 'none'}")
        elif not _is_json(value):
            plain = "plain JSON (text, number, true, false, null, list, object)"
            problems.append(f"parameter {name} must be {plain}, not {value!r:.60}")
        elif known[name] in _TYPES and not _is_of(value, _TYPES[known[name]]):
            problems.append(f"parameter {name} must be of type {known[name]}, not {value!r:.60}")
    return problems


@lru_cache(maxsize=64)
def _parameters_of(path: Path, _changed_ns: int) -> dict[str, str]:
    """Return parameter -> annotated type, ``None`` where there is none."""
    import papermill

    found = papermill.inspect_notebook(_literal(path))
    return {name: str(parameter["inferred_type_name"]) for name, parameter in found.items()}


def _is_of(value: Any, kind: type | tuple[type, ...]) -> bool:
    # True is an int to Python, not to a reader.
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)


def _is_json(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | str):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    # No tuples: papermill would inject them as text.
    if isinstance(value, list):
        return all(map(_is_json, value))
    return isinstance(value, dict) and all(isinstance(k, str) and _is_json(v) for k, v in value.items())


def _literal(path: Path) -> str:
    """Return a path in which papermill finds nothing to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_manager(sockets: Path, env: Mapping[str, str], stop: StopSwitch | None) -> type:
    """Return a kernel manager whose kernel is this interpreter, over local sockets where the system has them."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    search = [str(_PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    # An installed package is found anyway; a checkout must be found by a kernel that starts elsewhere.
    from_checkout = (_PACKAGE.parent / "pyproject.toml").is_file()
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
            await super()._async_start_kernel(**kwargs)
            if stop is not None:
                stop.watch(getattr(self.provisioner, "pid", None))

        start_kernel = _async_start_kernel

        @property
        def kernel_spec(self) -> KernelSpec:
            """The interpreter that runs this code."""
            return spec

    return ThisInterpreter


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


def _keep(running: Path, out: Path) -> None:
    """Move the executed notebook to its place, if the run got so far as to write one."""
    import nbformat

    if not running.is_file():
        return
    notebook = nbformat.read(running, as_version=4)
    papermill_data = notebook.metadata.get("papermill", {})
    # Where the run happened says nothing about its result.
    for key in ("input_path", "output_path"):
        papermill_data.pop(key, None)
    write_atomic(out, (nbformat.writes(notebook) + "\n").encode())
    running.unlink(missing_ok=True)
