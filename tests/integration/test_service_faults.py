"""Servers and workers are killed at random points of their work: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from symbio_lab.config import Settings
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.scenarios.world import build_world
from symbio_lab.service.registering import register_model
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.state import ServiceState, open_state
from symbio_lab.store.database import Database
from symbio_lab.store.failure_reports import FailureReports
from symbio_lab.trust.enrolled import EnrolledKey, enrol

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
MODEL = "production-model-v1"
HEALING = {"model_id": MODEL, "task_type": "text_classification", "domain": "shades"}
FAILURE = {
    "model_id": MODEL,
    "task_type": "text_classification",
    "domain": "shades",
    "expected_output": "x",
    "actual_output": "y",
}
SERVER = """
import sys
import uvicorn
from symbio_lab.config import Settings
from symbio_lab.service.app import create_app
from symbio_lab.service.settings import ServiceSettings
from pathlib import Path
app = create_app(Settings(home=Path(sys.argv[1]), num_threads=1), ServiceSettings(markets=(sys.argv[2],)))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="error")
"""
WORKER = """
import sys
from symbio_lab.config import Settings
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.worker import Worker
from pathlib import Path
Worker(Settings(home=Path(sys.argv[1]), num_threads=1), ServiceSettings(markets=(sys.argv[2],)), beat_s=0.2).run()
"""


class Place:
    """A store with a tenant, a registered base, a market, and traffic in which one slice fails."""

    def __init__(self, home: Path, state: ServiceState, market: str, token: str) -> None:
        self.home, self.state, self.market = home, state, market
        self.headers = {"Authorization": f"Bearer {token}"}

    def start(self, code: str, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, str(self.home), self.market, *more])


@pytest.fixture
def place(built: Path, installed: None, tmp_path: Path) -> Place:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("bases", "pools"):
        shutil.copytree(built / "home" / name, home / name)
    settings = Settings(home=home, num_threads=1)
    world = build_world("tiny", settings=settings)
    pool = world.pool("high")
    for publisher in pool.policy.keys.values():
        enrol(settings, EnrolledKey(publisher))
    state = open_state(settings, ServiceSettings())
    state.tenants.create("acme", now=state.now())
    token, _ = state.keys.create("acme", ["admin"], now=state.now())
    (base,) = home.glob("bases/*/base.json")
    register_model(state, MODEL, str(base.parent))
    task = world.incident(SuiteSizes(n_repair=64, n_control_selection=1000, n_replay=200), 0).task
    samples = [*task.replay, *task.control_selection, *task.repair, *task.selection]
    answers = world.model.predict([s.text for s in samples])
    from symbio_lab.records import PredictionRecord

    state.predictions.append(
        [
            PredictionRecord(MODEL, "text_classification", s.text, output, s.expected, s.domain, "acme")
            for s, output in zip(samples, answers.outputs, strict=True)
        ]
    )
    return Place(home, state, pool.transport.uri, token)


def kill_at_random_points(place: Place, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    job = place.state.jobs.submit("acme", "healing", HEALING_REQUEST, now=place.state.now())
    for _ in range(kills):
        worker = place.start(WORKER)
        until = time.monotonic() + 60
        while place.state.jobs.get("acme", job.job_id).state == "queued" and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 2.0))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    worker = place.start(WORKER)
    try:
        until = time.monotonic() + 120
        while place.state.jobs.get("acme", job.job_id).is_open and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait()
    done = place.state.jobs.get("acme", job.job_id)
    assert done.state == "succeeded", done
    assert done.result is not None
    assert done.result["status"] == "healed"
    lines = place.state.ledger.lines(tenant="acme")
    assert [line.stage for line in lines] == ["live"], "deployed once"
    place.state.ledger.verify_chain()
    place.state.audit.verify_chain()
    assert [line.action for line in place.state.audit.lines("acme")].count("job.succeeded") <= 1


HEALING_REQUEST: dict[str, Any] = {
    **HEALING,
    "max_marketplace_patches": 10,
    "min_accuracy_improvement": 0.05,
    "enable_auto_surgery": True,
    "contribute_to_marketplace": False,
}


def test_a_job_survives_the_kills_of_its_workers(place: Place) -> None:
    kill_at_random_points(place, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_a_job_survives_a_hundred_kills(place: Place, seed: int) -> None:
    kill_at_random_points(place, kills=4, seed=seed)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def ports() -> list[int]:
    return [free_port(), free_port()]


def wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server does not start")


def test_no_acknowledged_report_is_lost_by_the_kills_of_two_servers(place: Place, ports: list[int]) -> None:
    rng, acknowledged = random.Random(1), set()
    servers = [place.start(SERVER, str(port)) for port in ports]
    try:
        for port in ports:
            wait_for(port)
        killed_at = sorted(rng.sample(range(20, 180), 2))
        for number in range(200):
            if number in killed_at:
                place_of = killed_at.index(number)
                servers[place_of].send_signal(signal.SIGKILL)
                servers[place_of].wait()
                servers[place_of] = place.start(SERVER, str(ports[place_of]))
            failure = {**FAILURE, "input_sample": f"failure number {number}"}
            try:
                answer = httpx.post(
                    f"http://127.0.0.1:{ports[number % 2]}/failures/report", json=failure, headers=place.headers
                )
            except httpx.TransportError:
                continue
            assert answer.status_code in (200, 201), answer.text
            acknowledged.add(answer.json()["failure_id"])
    finally:
        for server in servers:
            server.kill()
            server.wait()
    assert len(acknowledged) > 50
    stored = {r.failure_id for _, r in FailureReports(Database(place.home / "store.db")).rows("acme", MODEL)}
    assert acknowledged <= stored


def test_a_full_store_is_said_and_nothing_is_half_written(place: Place) -> None:
    from starlette.testclient import TestClient

    from symbio_lab.service.app import create_app

    app = create_app(Settings(home=place.home, num_threads=1))
    client = TestClient(app, headers=place.headers, raise_server_exceptions=False)
    failure = {**FAILURE, "input_sample": "before"}
    assert client.post("/failures/report", json=failure).status_code == 201
    with place.state.database.write() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    database = app.state.service.database
    connect = database._connect

    def small() -> Any:
        connection = connect()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    database._connect = small
    batch = {"failures": [{**FAILURE, "input_sample": f"{n} " + "x" * 4000} for n in range(300)]}
    refused = client.post("/failures/report/batch", json=batch)
    assert (refused.status_code, refused.json()["code"]) == (503, "storage")
    assert refused.headers["Retry-After"] == "5"
    database._connect = connect
    assert client.post("/failures/report/batch", json=batch).json()["num_stored"] == 300
    assert os.path.getsize(place.home / "store.db") > pages
