"""The service on a Postgres server: the same story, and the program itself, whose password nobody sees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.fixtures_postgres import Server
from tests.fixtures_service import Service, serving
from tests.integration.test_service_story import (
    test_an_approval_is_waited_for_in_shadow as test_an_approval_is_waited_for_in_shadow,
)
from tests.integration.test_service_story import (
    test_from_failures_to_a_healed_model_and_back as test_from_failures_to_a_healed_model_and_back,
)
from tests.integration.test_service_story import two_tenants as two_tenants


@pytest.fixture
def service(built: Path, installed: None, postgres: Server, tmp_path: Path) -> Iterator[Service]:
    """The service that the story is told on, here on Postgres."""
    with serving(built, tmp_path / "home", postgres.new_schema()) as found:
        yield found


def command_lines() -> list[bytes]:
    """Return what everybody on the machine can read of its processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(path.read_bytes())
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc here")
def test_the_program_serves_from_an_address_and_shows_no_password(postgres: Server, tmp_path: Path) -> None:
    url = postgres.new_schema()
    program = [sys.executable, "-m", "symbio_lab.cli.app", "--home", str(tmp_path)]
    environment = {**os.environ, "SYMBIO_LAB_STORE": url.with_password, "SYMBIO_LAB_NUM_THREADS": "1"}
    made = subprocess.run(
        [*program, "tenants", "new", "acme"], env=environment, capture_output=True, text=True, check=True
    )
    token = made.stdout.strip()
    assert not (tmp_path / "store.db").exists()
    server = subprocess.Popen(
        [*program, "serve", "--port", "0", "--workers", "1"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{address}/readyz", timeout=60).json() == {"status": "ready"}
        assert httpx.get(f"{address}/quotas", headers=headers, timeout=60).json()["num_records"] == 0
        commands = command_lines()
        ours = [command for command in commands if b"symbio_lab.cli.app" in command]
        assert len(ours) >= 2, "the server and its worker"
        assert not [command for command in commands if postgres.password.encode() in command]
    finally:
        server.send_signal(signal.SIGINT)
        out, said = server.communicate(timeout=60)
    assert postgres.password not in out + said + made.stderr
