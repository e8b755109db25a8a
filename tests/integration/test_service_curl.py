"""The lines of docs/service.md, through curl, against ``symbio serve --local`` as a user starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_places import MODEL, free_port, wait_for

DOCS = Path(__file__).parents[2] / "docs" / "service.md"
PORT = 8000
"""Which the lines name."""


def curl_lines() -> list[str]:
    """Return the curl commands of the first block of the page, each with its body."""
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCS.read_text(), flags=re.S | re.M)
    block = next(block for block in blocks if "curl -X POST" in block)
    return re.findall(r"^curl .*?'$", block, flags=re.S | re.M)


@contextmanager
def serving(home: Path, *options: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "symbio_lab.cli.app", "serve", "--port", str(port), *options]
    log = home.parent / "serve.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, "SYMBIO_LAB_HOME": str(home), "SYMBIO_LAB_NUM_THREADS": "1"},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            wait_for(port)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def sent(line: str, port: int, *more: str) -> tuple[int, Any]:
    """Send a line as it is written, to another port."""
    assert f"localhost:{PORT}/" in line
    options = " ".join(["curl -s -w '\\n%{http_code}'", *more])
    asked = line.replace(f"localhost:{PORT}/", f"localhost:{port}/").replace("curl", options, 1)
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=120, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built / "home" / "bases", tmp_path / "home" / "bases")
    return tmp_path / "home"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_three_lines_work_as_written(home: Path) -> None:
    lines = curl_lines()
    assert [re.findall(r"8000(/\S+)", line)[0] for line in lines] == [
        "/failures/report",
        "/marketplace/search",
        "/healing/marketplace-integrated",
    ]
    (base,) = home.glob("bases/*/base.json")
    with serving(home, "--local", "--model", f"{MODEL}={base.parent}") as port:
        (report, search, heal) = lines
        status, stored = sent(report, port)
        assert (status, stored["stored"]) == (201, True)
        status, found = sent(search, port)
        assert (status, found["results"]) == (200, [])
        assert found["reason"]
        assert re.fullmatch("[0-9a-f]{64}", found["base_digest"])
        status, job = sent(heal, port, "-H 'Prefer: wait=30'")
        # One report is no incident, and the job says what is missing.
        assert (status, job["state"]) == (200, "failed")
        assert "report at least 4 failures" in job["error"]["hint"]
        unknown = search.replace(MODEL, "unknown")
        status, found = sent(unknown, port)
        assert (status, found["results"], found["base_digest"]) == (200, [], None)
        status, problem = sent(heal.replace(MODEL, "unknown"), port)
        assert (status, problem["code"]) == (409, "model_not_registered")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_with_tenants_the_lines_need_a_key_and_limits_hold(home: Path) -> None:
    environment = {**os.environ, "SYMBIO_LAB_HOME": str(home)}
    new = [sys.executable, "-m", "symbio_lab.cli.app", "tenants", "new", "acme"]
    said = subprocess.run(new, env=environment, capture_output=True, text=True, timeout=120, check=True)
    (key,) = re.findall(r"sl_\S+", said.stdout)
    (base,) = home.glob("bases/*/base.json")
    named = ["--model", f"{MODEL}={base.parent}", "--licence", f"{MODEL}=Apache-2.0"]
    with serving(home, *named, "--workers", "0", "--limit", "requests_per_minute=4") as port:
        for line in curl_lines():
            status, problem = sent(line, port)
            assert (status, problem["code"]) == (401, "unauthenticated")
        header = f"-H 'Authorization: Bearer {key}'"
        assert [sent(line, port, header)[0] for line in curl_lines()] == [201, 200, 202]
        models = f"curl http://localhost:{PORT}/models"
        status, listed = sent(models, port, header)
        assert (status, [model["licence"] for model in listed["models"]]) == (200, ["Apache-2.0"])
        assert sent(models, port, header)[0] == 429
