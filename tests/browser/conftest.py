"""A browser for the tests of this folder: the Chromium of this machine, offline."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import NotFoundError
from symbio_lab.reports.printing import FLAGS, find_browser
from tests.browser.lab import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; without one, tests are skipped on a desk and fail where everything should be checked (CI=true)."""
    try:
        path = find_browser()
    except NotFoundError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{error}: the browser tests cannot run")
        pytest.skip(f"BROWSER TESTS SKIPPED: {error}; {error.hint}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(path), args=[f for f in FLAGS if f != "--headless"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One JupyterLab for all tests of widgets, over an empty folder of notebooks."""
    root = tmp_path_factory.mktemp("lab")
    (root / "notebooks").mkdir()
    server = Server(
        root / "notebooks", root / "jupyter", {"SYMBIO_LAB_HOME": str(root / "home"), "PYTHONPATH": str(ROOT)}
    )
    yield server
    server.stop()
