"""A page on paper: PDF by the Chromium that is installed, without a header, a footer or a request."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from symbio_lab.codec import write_atomic
from symbio_lab.errors import DataError, NotFoundError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
TIMEOUT_S = 120


def find_browser() -> Path:
    """Return the Chromium of this machine.

    Raises:
        NotFoundError: there is none.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise NotFoundError("there is no Chromium", hint="install chromium, or print report.html from any browser")
    return Path(found)


def export_pdf(page: Path, pdf: Path) -> Path:
    """Print a page.

    Args:
        page: HTML that needs nothing but itself.
        pdf: where the PDF goes.

    Raises:
        NotFoundError: there is no Chromium.
        DataError: it printed nothing.
        StorageError: the PDF cannot be written.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="symbio-pdf-") as folder:
        made = Path(folder) / "page.pdf"
        command = [str(browser), *FLAGS, f"--user-data-dir={folder}/profile", "--no-pdf-header-footer"]
        command += [f"--print-to-pdf={made}", Path(page).absolute().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(f"{browser.name} did not print {page.name}: {error}") from error
        if not made.is_file() or made.stat().st_size == 0:
            last = " ".join(done.stderr.split())[-200:]
            raise DataError(f"{browser.name} printed nothing of {page.name}: {last}")
        write_atomic(pdf, made.read_bytes())
    return pdf
