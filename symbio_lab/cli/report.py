"""``symbio report``: render the report of a results folder again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.cli.session import JsonFlag
from symbio_lab.errors import NotFoundError


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that symbio compare or demo wrote.")],
    as_json: JsonFlag = False,
) -> None:
    """Render report.html from finished results."""
    from symbio_lab.reports.writing import write_report

    if not folder.is_dir():
        raise NotFoundError(f"there is no results folder {folder}", hint="run symbio compare or symbio demo first")
    path = write_report(folder)
    if as_json:
        print_json({"report": path})
        return
    print(f"report: {path}")
