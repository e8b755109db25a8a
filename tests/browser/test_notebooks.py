"""Every notebook as a person runs it: in JupyterLab, saved, read by somebody without a kernel, and as a page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from symbio_lab.kernels.parameters import NOTEBOOKS, notebook_path
from symbio_lab.reports.exporting import MOST_BYTES, export_html, title_of
from tests.browser.lab import Server, opened
from tests.browser.test_widgets import SHOTS, shoot
from tests.fixtures_results import write_results
from tests.fixtures_sweep import write_experiment

QUICK = ("compare_strategies", "dashboard", "healing_bench", "hub_llm", "report", "sweep_report")
"""What needs no base or pool to be built, or reads made-up results."""
WITH_WIDGETS = ("compare_strategies", "dashboard", "healing_bench", "marketplace", "sweep", "trust_and_keys")
RESULTS = {"report": "results_dir", "compare_strategies": "folder", "sweep_report": "sweep_dir"}
IN_TWINS = {"compare_strategies": "<img", "marketplace": "contributor-00/patch", "sweep": "<img"}
"""What somebody without a kernel must see in place of a live view."""
ORDER = sorted(NOTEBOOKS, key=lambda name: (name not in QUICK, name))


def prepared(lab: Server, name: str) -> str:
    """Copy a notebook to the server's folder, its results and small parameters set in its parameters cell."""
    target = lab.folder / f"{name}.ipynb"
    shutil.copyfile(notebook_path(name), target)
    notebook = nbformat.read(target, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    if name in RESULTS:
        made = write_experiment if name == "sweep_report" else write_results
        folder = made(lab.folder / f"{name}-results")
        cell.source += f"\n{RESULTS[name]} = {str(folder)!r}"
    if name == "monitoring":
        cell.source += "\ndataset, shift, at, pool, min_controls = 'helpdesk', 'domain:warranty', 400, 'none', 100"
    nbformat.write(notebook, target)
    return target.name


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ORDER]
)
def test_a_notebook_runs_is_shared_and_becomes_a_page(browser: Any, lab: Server, tmp_path: Path, name: str) -> None:
    file = prepared(lab, name)
    with opened(browser, lab, file) as place:
        place.run_all()
        shoot(place, f"notebook-{name}")
        saved = place.save()
        assert place.problems == []
        assert place.outside == []
        state = saved["metadata"].get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
        assert bool(state.get("state")) == (name in WITH_WIDGETS)
    nbformat.validate(nbformat.from_dict(saved))
    assert not [o for c in saved["cells"] for o in c.get("outputs", ()) if o["output_type"] == "error"]
    # Somebody who never ran it opens it: no kernel starts by itself, and every view has something to read.
    shared = f"shared-{file}"
    saved["metadata"].pop("widgets", None)
    nbformat.write(nbformat.from_dict(saved), lab.folder / shared)
    views = [
        output
        for cell in saved["cells"]
        for output in cell.get("outputs", ())
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    assert all("text/html" in view["data"] for view in views if "sl-" not in str(view))
    assert IN_TWINS.get(name, "") in "".join("".join(view["data"].get("text/html", "")) for view in views)
    page = export_html(lab.folder / shared, tmp_path / "page.html", title=title_of(lab.folder / shared))
    assert page.stat().st_size <= MOST_BYTES
    context = browser.new_context(offline=True)
    read = context.new_page()
    told: list[str] = []
    read.on("console", lambda message: told.append(message.text))
    read.on("pageerror", lambda error: told.append(str(error)))
    read.goto(page.as_uri())
    assert read.locator("h1").count() >= 1
    if SHOTS:
        read.screenshot(path=str(Path(SHOTS) / f"page-{name}.png"), full_page=True)
    context.close()
    assert told == []
