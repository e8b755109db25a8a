"""From a finished comparison to one self-contained page."""

from __future__ import annotations

from pathlib import Path

from symbio_lab.events import Listener
from symbio_lab.kernels.executing import execute_notebook
from symbio_lab.reports.collecting import collect_results
from symbio_lab.reports.exporting import export_html


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
