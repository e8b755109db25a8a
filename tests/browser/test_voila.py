"""The dashboard in Voila, for people who do not write code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from symbio_lab.kernels.parameters import notebook_path
from tests.browser.lab import free_port, jupyter_places, wait_until_up
from tests.browser.test_widgets import SHOTS


@pytest.fixture
def voila(browser: Any, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copyfile(notebook_path("dashboard"), folder / "dashboard.ipynb")
    port = free_port()
    log = (tmp_path / "voila.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "voila", "dashboard.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"],
        cwd=folder,
        env={**os.environ, **jupyter_places(tmp_path / "jupyter"), "SYMBIO_LAB_HOME": str(tmp_path / "home")},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    wait_until_up(f"{address}/voila/static/dummy", process, any_status=True)
    yield address
    process.terminate()
    process.wait(20)
    log.close()


def test_the_dashboard_works_without_code(browser: Any, voila: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(120_000)
    errors: list[str] = []
    outside: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((voila, "ws:", "data:", "blob:")) else outside.append(r.url))
    page.goto(voila)
    page.locator(".sl-healing-bench").wait_for()
    assert page.locator("text=scenario: str").count() == 0, "no code is shown"
    page.locator(".sl-budget input").fill("much")
    page.locator(".sl-run").click()
    expect(page.locator(".sl-healing-bench .sl-spoken")).to_contain_text("not a number")
    page.get_by_role("tab", name="Trust").click()
    page.locator(".sl-policy textarea").fill("version: 1\ndefault:\n  min_level: sgined\n")
    page.locator(".sl-policy-words [role=alert]").wait_for()
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / "voila.png"))
    # Its own page asks for a style sheet of icons elsewhere; ours asks for nothing.
    assert [url for url in outside if "font-awesome" not in url and "fontawesome" not in url] == []
    assert errors == []
    context.close()
