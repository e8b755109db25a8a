"""Servers and workers are killed at random points of healing jobs, stores fill up: nothing acknowledged is lost."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from symbio_lab.store.job_rows import MAX_ATTEMPTS, Job
from tests.fixtures_models import TinyModels
from tests.fixtures_places import (
    FAILURE,
    HEALING,
    MODEL,
    PATIENCE_S,
    Place,
    Processes,
    free_port,
    make_place,
    processes_of,
    wait_for,
)

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


@pytest.fixture
def place(built: Path, installed: None, tiny: TinyModels, tmp_path: Path) -> Place:
    return make_place(built, tmp_path / "home", tmp_path / "home" / "store.db", tiny.folder("encoder"))


@pytest.fixture(params=["sqlite", "postgres"])
def either_place(
    request: pytest.FixtureRequest, built: Path, installed: None, tiny: TinyModels, tmp_path: Path
) -> Place:
    """A place on either store: what a kill must not do holds for both."""
    store = tmp_path / "home" / "store.db"
    if request.param == "postgres":
        store = request.getfixturevalue("postgres").new_schema()
    return make_place(built, tmp_path / "home", store, tiny.folder("encoder"))


@pytest.fixture
def processes(either_place: Place) -> Iterator[Processes]:
    with processes_of(either_place) as running:
        yield running


STEPS = ("", "search", "verify", "screen", "gate", "deploy")


def _step(job: Job) -> int:
    return STEPS.index(job.stage) if job.stage in STEPS else 0


@dataclass
class Acknowledged:
    """What callers were told is stored."""

    reports: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    """Of jobs that were asked for; each was sent until it was acknowledged."""


class Killing:
    """One server, one worker, callers who try again, and kills."""

    def __init__(self, place: Place, processes: Processes, seed: int) -> None:
        self.place, self.processes, self.rng = place, processes, random.Random(seed)
        self.port, self.told, self.num_sent = free_port(), Acknowledged(), 0
        self.pids: dict[str, int] = {}
        self.kills: Counter[str] = Counter()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=place.headers, timeout=30)

    def start(self, kind: str) -> None:
        start = self.processes.start_server if kind == "server" else self.processes.start_worker
        self.pids[kind] = start(self.port) if kind == "server" else start()

    def send(self, path: str, body: Any, **headers: str) -> httpx.Response | None:
        try:
            return self.client.post(path, json=body, headers=headers)
        except httpx.TransportError:
            return None

    def report(self) -> None:
        self.num_sent += 1
        answer = self.send("/failures/report", {**FAILURE, "input_sample": f"failure {self.num_sent}"})
        if answer is not None:
            assert answer.status_code == 201, answer.text
            self.told.reports.add(answer.json()["failure_id"])

    def ask(self) -> None:
        """Ask for a job until it is acknowledged, with one key."""
        self.told.keys.append(f"key-{len(self.told.keys)}")
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = self.send("/healing/marketplace-integrated", HEALING, **{"Idempotency-Key": self.told.keys[-1]})
            # 409: the first try was killed while it was being answered; its key lets go after a minute.
            if answer is not None and answer.status_code != 409:
                assert answer.status_code == 202, answer.text
                self.told.jobs.add(answer.json()["job_id"])
                return
            if answer is not None:
                assert answer.json()["code"] == "in_flight"
                self.told.keys[-1] += "-again"
            assert time.monotonic() < until
            self.revive()
            time.sleep(0.02)

    def revive(self) -> None:
        for kind in ("server", "worker"):
            if self.pids.get(kind) not in self.processes.children:
                self.start(kind)

    def open_jobs(self) -> list[Job]:
        return [job for job in self.place.state.jobs.newest("acme", limit=1000) if job.is_open]

    def round(self, kind: str) -> None:
        """Kill one process at a random point of a running job, while reports come in."""
        self.revive()
        if not self.open_jobs():
            wait_for(self.port)
            self.ask()
        # Any step of a job is as likely as any other, however long it takes.
        step, until = self.rng.randrange(len(STEPS)), time.monotonic() + PATIENCE_S
        while not any(job.state == "running" and _step(job) >= step for job in self.open_jobs()):
            assert time.monotonic() < until, f"no job comes to {STEPS[step]!r}"
            self.report()
            if not self.open_jobs():
                break  # it was faster than we look: the kill meets what comes after the end
        ends = time.monotonic() + self.rng.uniform(0.0, 0.1)
        while time.monotonic() < ends:
            self.report()
        self.processes.kill(self.pids[kind])
        self.kills[kind] += 1

    def finish(self) -> None:
        """Let what is open come to its end, and hold that work goes on."""
        self.revive()
        wait_for(self.port)
        self.wait()
        # On a slow machine all kills may meet one job, which is given up in the end; nobody kills the next.
        if not [job for job in self.place.state.jobs.newest("acme", limit=1000) if job.state == "succeeded"]:
            self.ask()
            self.wait()

    def wait(self) -> None:
        """Wait until no job is open."""
        until = time.monotonic() + PATIENCE_S
        while self.open_jobs():
            assert time.monotonic() < until, f"stuck: {self.open_jobs()}"
            time.sleep(0.05)


def check(place: Place, told: Acknowledged) -> Counter[str]:
    """Hold what was promised against the store; return how jobs ended."""
    state = place.state
    stored = {record.failure_id for _, record in state.reports.rows("acme", MODEL)}
    assert told.reports <= stored
    jobs = {job.job_id: job for job in state.jobs.newest("acme", limit=1000)}
    assert told.jobs <= set(jobs)
    lines = state.ledger.lines(tenant="acme")
    audit = state.audit.lines("acme", limit=1000)
    for job_id, job in jobs.items():
        assert not job.is_open, job
        deployed = [line for line in lines if line.note.startswith(f"job {job_id}")]
        assert len(deployed) <= 1, "deployed once"
        if job.state == "succeeded":
            assert job.result is not None
            # The reports that come in meanwhile are failures too, so that a later job may find too little to decide on.
            made = job.result["deployment_id"]
            assert [line.deployment_id for line in deployed] == ([made] if made else [])
            assert bool(made) == (job.result["status"] == "healed")
        else:
            assert job.error is not None
            assert (job.state, job.error["code"], job.num_attempts) == ("failed", "worker_lost", MAX_ATTEMPTS)
        seqs = [event.seq for event in state.jobs.events("acme", job_id)]
        assert seqs == list(range(1, len(seqs) + 1))
        told_of = [line.action for line in audit if line.subject == job_id]
        assert told_of == ["job.healing", *(["job.succeeded"] if job.state == "succeeded" else [])]
    assert state.ledger.verify_chain().num_lines == len(lines)
    state.audit.verify_chain()
    from symbio_lab.store.leases import Leases

    assert not [name for name in Leases(state.database).held() if name.startswith("job/")]
    return Counter((job.result or {}).get("status", job.state) for job in jobs.values())


def kill_at_random_points(place: Place, processes: Processes, *, of_each: int, seed: int) -> Counter[str]:
    killing = Killing(place, processes, seed)
    kinds = ["server", "worker"] * of_each
    killing.rng.shuffle(kinds)
    for kind in kinds:
        killing.round(kind)
    killing.finish()
    killing.client.close()
    assert killing.kills == {"server": of_each, "worker": of_each}
    assert len(killing.told.reports) >= of_each
    ended = check(place, killing.told)
    print(f"{2 * of_each} kills, {len(killing.told.reports)} reports acknowledged, jobs: {dict(ended)}")
    return ended


def test_five_kills_of_server_and_of_worker_lose_nothing(either_place: Place, processes: Processes) -> None:
    ended = kill_at_random_points(either_place, processes, of_each=5, seed=0)
    assert ended.total() > ended["failed"]


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing(either_place: Place, processes: Processes) -> None:
    ended = kill_at_random_points(either_place, processes, of_each=50, seed=1)
    assert ended.total() >= 5
    assert ended["healed"] >= 1


def test_no_acknowledged_report_is_lost_by_the_kills_of_two_servers(either_place: Place, processes: Processes) -> None:
    """Two servers on one store answer in turn; each is killed while the other goes on."""
    rng, acknowledged = random.Random(1), set[str]()
    ports = [free_port(), free_port()]
    pids = [processes.start_server(port) for port in ports]
    for port in ports:
        wait_for(port)
    killed_at = sorted(rng.sample(range(20, 130), 2))
    with httpx.Client(headers=either_place.headers, timeout=30) as client:
        for number in range(150):
            if number in killed_at:
                which = killed_at.index(number)
                processes.kill(pids[which])
                pids[which] = processes.start_server(ports[which])
            failure = {**FAILURE, "input_sample": f"failure number {number}"}
            try:
                answer = client.post(f"http://127.0.0.1:{ports[number % 2]}/failures/report", json=failure)
            except httpx.TransportError:
                continue
            assert answer.status_code == 201, answer.text
            acknowledged.add(answer.json()["failure_id"])
    assert len(acknowledged) > 50
    stored = [record.failure_id for _, record in either_place.state.reports.rows("acme", MODEL)]
    assert acknowledged <= set(stored)
    assert len(stored) == len(set(stored))
