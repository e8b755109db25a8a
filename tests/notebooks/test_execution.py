"""Notebooks run in this interpreter, fail in words, and become one page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest

from symbio_lab.errors import ConfigError, DataError, NotebookFailedError, NotFoundError, UnknownDatasetError
from symbio_lab.events import BuildProgress, Event
from symbio_lab.kernels.executing import NotebookPrinted, execute_notebook
from symbio_lab.reports import exporting
from symbio_lab.reports.writing import write_report
from tests.fixtures_results import write_results

MIMES = {"text/plain", "text/html", "image/png"}


def made_notebook(path: Path, *cells: str) -> Path:
    parameters = nbformat.v4.new_code_cell("number: int = 1", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(
        cells=[parameters, *map(nbformat.v4.new_code_cell, cells)],
        # No machine has a kernelspec of this name: the kernel must be this interpreter all the same.
        metadata={"kernelspec": {"name": "nobody-has-this", "display_name": "x", "language": "python"}},
    )
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_results(tmp_path_factory.mktemp("results")))


def test_a_notebook_runs_here_with_its_parameters(tmp_path: Path) -> None:
    source = made_notebook(tmp_path / "a.ipynb", "import sys\nprint(sys.executable)\nprint(number + 1)")
    events: list[Event] = []
    out = execute_notebook("a", {"number": 41}, tmp_path / "new" / "{out}.ipynb", events.append, source=source)
    assert out.name == "{out}.ipynb"
    printed = [e.text for e in events if isinstance(e, NotebookPrinted)]
    assert printed == [sys.executable, "42"]
    assert events[-1] == BuildProgress("notebook a", 3, 3)
    assert [p.name for p in out.parent.iterdir()] == [out.name]
    notebook = nbformat.read(out, as_version=4)
    nbformat.validate(notebook)
    assert str(tmp_path) not in str(notebook.metadata)


def test_wrong_parameters_are_found_before_anything_runs(tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    with pytest.raises(ConfigError) as caught:
        execute_notebook("heal", {"sceanrio": "helpdesk", "seeds": (0, 1), "budget_forwards": float("nan")}, out)
    assert len(caught.value.problems) == 3
    assert "it has: scenario, pool" in caught.value.problems[0]
    assert not out.exists()


def test_a_failed_run_leaves_its_notebook_and_one_line(tmp_path: Path) -> None:
    source = made_notebook(tmp_path / "a.ipynb", "print('before')", "1 / 0", "print('after')")
    out = tmp_path / "out.ipynb"
    with pytest.raises(NotebookFailedError, match=r"^a\.ipynb stopped in cell 3: ZeroDivisionError: .*zero$") as caught:
        execute_notebook("a", {}, out, source=source)
    assert str(out) in caught.value.hint
    assert "before" in out.read_text(encoding="utf-8")
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_error_of_the_lab_comes_out_as_itself(tmp_path: Path) -> None:
    lines = ("from symbio_lab.errors import UnknownDatasetError", "raise UnknownDatasetError('x', known=('y',))")
    source = made_notebook(tmp_path / "a.ipynb", "\n".join(lines))
    with pytest.raises(UnknownDatasetError, match="'x'"):
        execute_notebook("a", {}, tmp_path / "out.ipynb", source=source)


def test_a_dead_kernel_is_an_error(tmp_path: Path) -> None:
    source = made_notebook(tmp_path / "a.ipynb", "import os\nos._exit(9)")
    with pytest.raises(NotebookFailedError, match="died"):
        execute_notebook("a", {}, tmp_path / "out.ipynb", source=source)


def test_the_report_is_one_page_that_asks_for_nothing(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert report.name == "report.html"
    assert report.stat().st_size < exporting.MOST_BYTES
    assert "<script" not in page
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]{1,40})""", page)
    assert addresses
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    assert re.search(r"https?://", re.sub(r"base64,[^\"]*", "", page)) is None
    assert page.count('alt="') == page.count("<img") > 3
    assert "prefers-color-scheme: dark" in page
    assert "<title>Healing report: helpdesk</title>" in page


def test_the_report_tells_the_story_in_order(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    heads = re.findall(r"<h2[^>]*>([^<]+)", page)
    assert heads == [
        "What failed",
        "What each arm did",
        "The candidates and their verdicts",
        "What was refused, and why",
        "What it cost",
        "How to read this",
    ]
    assert page.index("gained most accuracy") < page.index("<img") < page.index("What failed")
    assert "collect_results" not in page


def test_every_output_of_an_executed_notebook_can_be_shown(report: Path) -> None:
    notebook = nbformat.read(report.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    outputs = [o for c in notebook.cells for o in c.get("outputs", ())]
    assert {o.output_type for o in outputs} == {"execute_result"}
    assert {mime for o in outputs for mime in o.data} <= MIMES
    assert all("text/plain" in o.data for o in outputs)


def test_the_same_results_make_the_same_page(report: Path, tmp_path: Path) -> None:
    again = write_report(report.parent, tmp_path / "again.html")
    assert again.read_bytes() == report.read_bytes()


def test_a_report_of_nothing_fails_before_a_kernel_starts(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"plan\.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_would_be_too_large_is_not_written(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="more than 1,000"):
        exporting.export_html(report.with_suffix(".ipynb"), tmp_path / "page.html", title="x")
    assert list(tmp_path.iterdir()) == []
