"""A service to measure: a base on disk, tenants with patches that are live for them, a market, a server process.

The base is the embedded encoder with a help-desk head; patches are random deltas in queries and values of all layers,
so that nothing but time and agreement can be read from their answers.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generated_manifests import card_of
from safetensors.torch import save_file
from screening import build_model, random_patches

from symbio_lab.codec import write_json
from symbio_lab.config import Settings
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.digests import MINILM_ID, file_sha256
from symbio_lab.models.loading import base_digest, load_classifier, load_encoder
from symbio_lab.records import Deployment, Patch
from symbio_lab.service.registering import register_model
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.state import ServiceState, open_state
from symbio_lab.trust.keys import load_or_create_key
from symbio_lab.trust.sealing import HeadRows, seal_patch

MODEL = "bench-model"
IDLE_S = 2.0
"""A connection that was not used for so long is opened anew: the server closes idle ones."""
ISSUED, EXPIRES = "2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z"


@dataclass
class Place:
    """Everything on disk, and what the measuring process needs of it."""

    home: Path
    model: TextClassifier
    texts: list[str]
    patches: list[Patch]
    state: ServiceState
    tokens: dict[str, str] = field(default_factory=dict)
    """Tenant -> key: ``patched-N`` answers with patch N, ``plain-N`` with the base."""


def build_place(home: Path, num_tenants: int, num_market: int) -> Place:
    """Build base, patches, tenants and a market of small patches."""
    settings = Settings(home=home)
    model, texts = save_base(home / "base")
    patches = random_patches(model, num_tenants, 0, settings.patches)
    state = open_state(settings, ServiceSettings())
    register_model(state, MODEL, str(home / "base"))
    place = Place(home, model, texts, patches, state)
    for kind in ("patched", "plain"):
        for number in range(num_tenants):
            tenant = f"{kind}-{number}"
            state.tenants.create(tenant, now=state.now())
            place.tokens[tenant], _ = state.keys.create(tenant, ["admin"], now=state.now())
            if kind == "patched":
                patch = patches[number]
                line = (tenant, MODEL, model.digest, patch.digest, patch.patch_id, "live", None, ISSUED)
                state.ledger.append(Deployment(*line))
    key = load_or_create_key(settings.keys / "own.json")
    market = DirectoryTransport(home / "market")
    (home / "market").mkdir(exist_ok=True)
    for number in range(num_market):
        card = card_of(number)
        rows = HeadRows((f"label_{number}",), model.head.weight[:1].numpy(), model.head.bias[:1].numpy())
        patch = seal_patch(
            store=settings.patches,
            deltas={},
            rank=0,
            alpha=0.0,
            head_rows=rows,
            base_id="bench",
            base_digest=model.digest,
            task_type="text_classification",
            patch_id=f"bench/market-{number}",
            title=card["title"],
            scope=card["scope"],
            labels=rows.labels,
            domain="bench",
            licence="CC0-1.0",
            training_data="none",
            issued=ISSUED,
            expires=EXPIRES,
        )
        publish_patch(patch, market, key, store=settings.patches, issued=ISSUED, expires=EXPIRES)
    return place


def save_base(folder: Path) -> tuple[TextClassifier, list[str]]:
    """Write the help-desk classifier as a base of the lab; return it, loaded from there, and texts."""
    made, texts = build_model()
    folder.mkdir(parents=True)
    save_file({"weight": made.head.weight.contiguous(), "bias": made.head.bias}, folder / "head.safetensors")
    _, _, encoder_digest = load_encoder()
    labels = list(made.labels)
    info = {
        "schema": 1,
        "task_type": "text_classification",
        "model_id": "bench",
        "encoder": MINILM_ID,
        "labels": labels,
        "digest": base_digest(encoder_digest, file_sha256(folder / "head.safetensors"), labels),
    }
    write_json(folder / "base.json", info)
    return load_classifier(folder, device="cpu"), texts


class Server:
    """``symbio serve`` in a process of its own, on a free port of the loopback interface."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-m", "symbio_lab.cli.app", "serve", "--port", "0", "--workers", "0"]
        self._log = (home / "server.log").open("wb")
        self._process = subprocess.Popen(
            [*command, "--market", (home / "market").as_uri()],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "SYMBIO_LAB_HOME": str(home)},
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        found = re.match(r"http://([\d.]+):(\d+)", said)
        if found is None:
            raise SystemExit(f"the server did not start: {said!r}; see {home / 'server.log'}")
        self.host, self.port = found[1], int(found[2])
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                Client(self, "").expect("GET", "/livez")
                return
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def resident_mib(self) -> float:
        """Return the server's resident memory now, in MiB."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    """Run a server for the length of a block."""
    server = Server(home)
    try:
        yield server
    finally:
        server.stop()


class Client:
    """One connection that is kept open, for one tenant."""

    def __init__(self, server: Server, token: str) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
        self._used = time.monotonic()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and answer."""
        if time.monotonic() - self._used > IDLE_S:
            self._connection.close()
        self._used = time.monotonic()
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def expect(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer; anything but 2xx ends the measurement."""
        status, found = self.send(method, path, body)
        if status // 100 != 2:
            raise SystemExit(f"{method} {path} was answered by {status}: {found}")
        return found


def in_parallel(clients: list[Client], seconds: float, call: Callable[[Client, int, int], int]) -> tuple[int, float]:
    """Let every client call again and again for a while; return what the calls returned in all, and the seconds.

    Args:
        clients: one thread each.
        seconds: how long.
        call: gets the client, its number and the turn; returns how much it did.
    """
    until = time.perf_counter() + seconds

    def work(number: int) -> int:
        done = turn = 0
        while time.perf_counter() < until:
            done += call(clients[number], number, turn)
            turn += 1
        return done

    begun = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        done = sum(pool.map(work, range(len(clients))))
    return done, time.perf_counter() - begun
