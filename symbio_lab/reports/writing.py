"""From a finished comparison, or a sweep, to one self-contained page, and from the page to paper."""

from __future__ import annotations

from pathlib import Path

from symbio_lab.events import Listener
from symbio_lab.kernels.executing import execute_notebook
from symbio_lab.reports.collecting import collect_results
from symbio_lab.reports.exporting import export_html
from symbio_lab.reports.sweep.results import collect_sweep


def write_report(results_dir: Path, out: Path | None = None, listener: Listener | None = None) -> Path:
    """Run the report notebook on a results folder and export one self-contained page.

    Args:
        results_dir: a finished comparison.
        out: the page; ``report.html`` in the results folder by default. The executed notebook lies beside it.
        listener: told about each cell.

    Returns:
        Path of the page.

    Raises:
        NotFoundError: the folder is missing or the comparison is not finished.
        DataError: its files are damaged.
        NotebookFailedError: the notebook stopped at an error.
        StorageError: the page cannot be written.
    """
    results_dir = Path(results_dir).absolute()
    results = collect_results(results_dir)
    page = Path(out).absolute() if out is not None else results_dir / "report.html"
    notebook = execute_notebook(
        "report", {"results_dir": str(results_dir)}, page.with_suffix(".ipynb"), listener=listener
    )
    return export_html(notebook, page, title=f"Healing report: {results.plan['scenario']}")


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds a sweep or an experiment, not one comparison."""
    return any((Path(folder) / name).is_file() for name in ("sweep.json", "sweep.yaml"))


def write_sweep_report(folder: Path, out: Path | None = None, listener: Listener | None = None) -> Path:
    """Run the report notebook on a sweep and export one self-contained page.

    Args:
        folder: of a sweep, or of an experiment with its committed results; a sweep need not be finished.
        out: the page; ``report.html`` in the folder by default. The executed notebook lies beside it.
        listener: told about each cell.

    Returns:
        Path of the page.

    Raises:
        NotFoundError: there is no sweep, or no results yet.
        DataError: its rows are not those of comparisons.
        NotebookFailedError: the notebook stopped at an error.
        StorageError: the page cannot be written.
    """
    folder = Path(folder).absolute()
    results = collect_sweep(folder)
    page = Path(out).absolute() if out is not None else folder / "report.html"
    notebook = execute_notebook(
        "sweep_report", {"sweep_dir": str(folder)}, page.with_suffix(".ipynb"), listener=listener
    )
    return export_html(notebook, page, title=f"Adopt or operate? {results.rows.spec.name}")
