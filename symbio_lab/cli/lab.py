"""``symbio lab``: open the notebooks in JupyterLab."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.cli.session import JsonFlag, session_of
from symbio_lab.config import Settings
from symbio_lab.errors import MissingExtraError


def lab(
    context: typer.Context,
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to JupyterLab (after --).")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Open notebooks/heal.ipynb in JupyterLab."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtraError("jupyterlab", "lab")
    notebook = editable_notebook(session_of(context).settings)
    if as_json:
        print_json({"notebook": notebook})
        sys.stdout.flush()
    command = [sys.executable, "-m", "jupyterlab", str(notebook), *(arguments or [])]
    # JupyterLab logs to stderr; what it prints elsewhere is no result of ours.
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return done.returncode


def editable_notebook(settings: Settings) -> Path:
    """Return the notebook to open: the checkout's, or a copy in the state folder of an installed package's.

    Raises:
        NotFoundError: the installation lacks its notebooks.
        StorageError: the state folder cannot be written.
    """
    from symbio_lab.codec import write_atomic
    from symbio_lab.kernels.parameters import notebook_path

    source = notebook_path("heal")
    if source.parent.name != "_notebooks":
        return source
    copy = settings.home / "notebooks" / source.name
    if not copy.exists():
        # Never over a copy that somebody worked in.
        write_atomic(copy, lambda path: _copy(source, path))
    return copy


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
