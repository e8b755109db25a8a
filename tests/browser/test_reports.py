"""Reports in a browser without a network: no request, no error, no sideways scrolling, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.reports.exporting import MOST_BYTES
from symbio_lab.reports.printing import export_pdf
from symbio_lab.reports.sweep.differing import write_difference
from symbio_lab.reports.writing import write_report, write_sweep_report
from tests.fixtures_results import write_results
from tests.fixtures_sweep import write_experiment

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "marketplace-vs-surgery"


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> page: of a comparison, of a sweep, of two sweeps, of the lab's own experiment."""
    folder = tmp_path_factory.mktemp("reports")
    made = write_experiment(folder / "first"), write_experiment(folder / "second")
    return {
        "comparison": write_report(write_results(folder / "comparison")),
        "sweep": write_sweep_report(made[0]),
        "difference": write_difference(*made, folder / "compare.html"),
        "experiment": write_sweep_report(EXPERIMENT, folder / "experiment.html"),
    }


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["comparison", "sweep", "difference", "experiment"])
def test_a_page_opens_offline(browser: Any, pages: dict[str, Path], name: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    assert page.locator("h1").count() == 1
    broken = page.evaluate("() => [...document.images].filter(i => !i.complete || i.naturalWidth === 0).length")
    assert broken == 0
    assert page.evaluate("() => [...document.images].every(i => i.alt.length > 20)")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("() => document.scripts.length") == 0
    for fold in page.locator("summary").all():
        fold.click()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert pages[name].stat().st_size <= MOST_BYTES
    context.close()


@pytest.mark.usefixtures("browser")
def test_a_page_prints(pages: dict[str, Path], tmp_path: Path) -> None:
    pdf = export_pdf(pages["sweep"], tmp_path / "report.pdf")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert pdf.stat().st_size > 20_000
