"""A store with a tenant, a base, a market and failing traffic, and servers and workers on it that tests kill."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from symbio_lab.config import Settings, StoreUrl
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.records import PredictionRecord, Sample
from symbio_lab.scenarios.world import World, build_world
from symbio_lab.service.registering import register_model
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.state import ServiceState, open_state
from symbio_lab.trust.enrolled import EnrolledKey, enrol

MODEL = "production-model-v1"
HEALING: dict[str, Any] = {
    "model_id": MODEL,
    "task_type": "text_classification",
    "domain": "shades",
    "max_marketplace_patches": 10,
    "min_accuracy_improvement": 0.05,
    "enable_auto_surgery": True,
    "contribute_to_marketplace": False,
}
FAILURE = {
    "model_id": MODEL,
    "task_type": "text_classification",
    "domain": "shades",
    "expected_output": "x",
    "actual_output": "y",
}
PATIENCE_S = 120.0
PARENT = """
import json, os, signal, sys, threading, time
import uvicorn
from functools import partial
from symbio_lab.config import load_settings
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.service import healing_request, markets
from symbio_lab.service.app import create_app
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.worker import Worker

# The tiny encoder instead of the packaged one, as in the tests of worlds: a job takes a second.
healing_request.SentenceEmbedder = partial(SentenceEmbedder, sys.argv[1])
markets.find_embedder = lambda: SentenceEmbedder(sys.argv[1])

def run(asked):
    settings, service = load_settings().settings, ServiceSettings(**asked["service"])
    if asked["kind"] == "server":
        uvicorn.run(create_app(settings, service), host="127.0.0.1", port=asked["port"], log_level="error")
    else:
        Worker(settings, service, beat_s=0.2).run()

def outlive_nobody(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)

# What was imported once serves all children. None becomes a zombie, which would still look alive.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # log lines are no answers
            threading.Thread(target=outlive_nobody, args=(os.getppid(),), daemon=True).start()
            run(json.loads(line))
        finally:
            os._exit(0)
    print(pid, flush=True)
"""


class Place:
    """What a service works on; ``state`` looks into the store from this process."""

    def __init__(self, home: Path, store: Path | StoreUrl, world: World, market: str, encoder: Path) -> None:
        self.home, self.store, self.world, self.market, self.encoder = home, store, world, market, encoder
        self.settings = Settings(home=home, num_threads=1, store=store)
        # Killed attempts cost what they cost, and there are many.
        self.limits = {"markets": [market], "max_forwards_per_day": 1e12}
        self.state: ServiceState = open_state(self.settings, ServiceSettings())
        self.token = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the service is started with."""
        place = self.store.with_password if isinstance(self.store, StoreUrl) else str(self.store)
        return {
            **os.environ,
            "SYMBIO_LAB_HOME": str(self.home),
            "SYMBIO_LAB_STORE": place,
            "SYMBIO_LAB_NUM_THREADS": "1",
        }


class Processes:
    """Servers and workers of one place: each is a process, started in a moment and killed at any."""

    def __init__(self, place: Place) -> None:
        self.place, self.children = place, set[int]()
        self._parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(place.encoder)],
            env=place.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def start_worker(self, **service: Any) -> int:
        return self._start({"kind": "worker", "service": self.place.limits | service})

    def start_server(self, port: int, **service: Any) -> int:
        return self._start({"kind": "server", "port": port, "service": self.place.limits | service})

    def kill(self, pid: int) -> None:
        """Kill a process as a power cut would, and wait until it is gone."""
        self.children.discard(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + PATIENCE_S
        while is_alive(pid):
            assert time.monotonic() < until, "a killed process stays"
            time.sleep(0.005)

    def close(self) -> None:
        for pid in list(self.children):
            self.kill(pid)
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.kill()
        self._parent.wait(PATIENCE_S)
        self._parent.stdout.close()

    def _start(self, asked: dict[str, Any]) -> int:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(asked) + "\n")
        self._parent.stdin.flush()
        pid = int(self._read())
        self.children.add(pid)
        return pid

    def _read(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline().strip()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def processes_of(place: Place) -> Iterator[Processes]:
    processes = Processes(place)
    try:
        yield processes
    finally:
        processes.close()


def make_place(built: Path, home: Path, store: Path | StoreUrl, encoder: Path) -> Place:
    """Return a place on a store: tenant ``acme``, the tiny base and market, traffic with a failing slice."""
    home.mkdir()
    for name in ("bases", "pools"):
        shutil.copytree(built / "home" / name, home / name)
    settings = Settings(home=home, num_threads=1, store=store)
    world = build_world("tiny", settings=settings)
    pool = world.pool("high")
    for publisher in pool.policy.keys.values():
        enrol(settings, EnrolledKey(publisher))
    place = Place(home, store, world, pool.transport.uri, encoder)
    state = place.state
    state.tenants.create("acme", now=state.now())
    place.token, _ = state.keys.create("acme", ["admin"], now=state.now())
    (base,) = home.glob("bases/*/base.json")
    register_model(state, MODEL, str(base.parent))
    failing, others = traffic_of(world)
    samples = [*others, *failing]
    answers = world.model.predict([sample.text for sample in samples])
    state.predictions.append(
        [
            PredictionRecord(MODEL, "text_classification", s.text, output, s.expected, s.domain, "acme")
            for s, output in zip(samples, answers.outputs, strict=True)
        ]
    )
    return place


def traffic_of(world: World) -> tuple[list[Sample], list[Sample]]:
    """Return failures of the slice, and traffic outside it."""
    task = world.incident(SuiteSizes(n_repair=64, n_control_selection=1000, n_replay=200), 0).task
    return [*task.repair, *task.selection], [*task.replay, *task.control_selection]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server is ready."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError("the server does not start")
