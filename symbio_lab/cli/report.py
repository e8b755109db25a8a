"""``symbio report``: render the report of a results folder or a sweep, or compare two sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.cli.session import JsonFlag
from symbio_lab.errors import ConfigError, NotFoundError


def report(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder of symbio compare, demo or sweep, of an experiment; or a notebook."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option("--compare", metavar="DIR1 DIR2", help="Two sweeps, cell by cell.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page; default: report.html in the folder, or beside the notebook.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the page too; needs Chromium.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Render report.html from results, or any executed notebook as one page that opens offline."""
    from symbio_lab.reports.printing import export_pdf, find_browser

    if (folder is None) == (compare is None):
        raise ConfigError(["give one folder, or --compare and two"])
    if pdf:
        find_browser()
    path = _compared(*compare, out) if compare is not None else _report(folder or Path(), out)
    files = {"report": path}
    if pdf:
        files["pdf"] = export_pdf(path, path.with_suffix(".pdf"))
    if as_json:
        print_json(files)
        return
    for name, file in files.items():
        print(f"{name}: {file}")


def _report(folder: Path, out: Path | None) -> Path:
    from symbio_lab.reports.exporting import export_html, title_of
    from symbio_lab.reports.writing import is_sweep, write_report, write_sweep_report

    if folder.suffix == ".ipynb" and folder.is_file():
        return export_html(folder, out or folder.with_suffix(".html"), title=title_of(folder))
    if not folder.is_dir():
        raise NotFoundError(f"there is no results folder {folder}", hint="run symbio compare or symbio demo first")
    return write_sweep_report(folder, out) if is_sweep(folder) else write_report(folder, out)


def _compared(first: Path, second: Path, out: Path | None) -> Path:
    from symbio_lab.reports.sweep.differing import write_difference

    for folder in (first, second):
        if not folder.is_dir():
            raise NotFoundError(f"there is no results folder {folder}", hint="run symbio sweep run first")
    return write_difference(first, second, out or Path("compare.html"))
