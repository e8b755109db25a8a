"""``symbio lab``: open the notebooks in JupyterLab."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.cli.session import JsonFlag, session_of
from symbio_lab.config import Settings
from symbio_lab.errors import MissingExtraError


def lab(
    context: typer.Context,
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to the server (after --).")] = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Show the dashboard, without code, by Voila.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Open notebooks/quickstart.ipynb in JupyterLab, or the dashboard in Voila."""
    package = "voila" if dashboard else "jupyterlab"
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, "lab")
    notebook = editable_notebook(session_of(context).settings, "dashboard" if dashboard else "quickstart")
    if as_json:
        print_json({"notebook": notebook})
        sys.stdout.flush()
    command = [sys.executable, "-m", package, str(notebook), *(arguments or [])]
    # The server logs to stderr; what it prints elsewhere is no result of ours.
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return done.returncode


def editable_notebook(settings: Settings, name: str = "quickstart") -> Path:
    """Return the notebook to open: the checkout's, or a copy in the state folder of an installed package's.

    All notebooks are copied there with it, for they name each other; one that is there already is left as it is.

    Raises:
        NotFoundError: the installation lacks its notebooks.
        StorageError: the state folder cannot be written.
    """
    from symbio_lab.codec import write_atomic
    from symbio_lab.kernels.parameters import NOTEBOOKS, notebook_path

    source = notebook_path(name)
    if source.parent.name != "_notebooks":
        return source
    folder = settings.home / "notebooks"
    for other in (notebook_path(known) for known in NOTEBOOKS if (source.parent / f"{known}.ipynb").is_file()):
        if not (folder / other.name).exists():
            # Never over a copy that somebody worked in.
            write_atomic(folder / other.name, partial(_copy, other))
    return folder / source.name


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
