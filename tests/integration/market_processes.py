"""What a process does to a directory market in ``test_market_concurrency``: publish, contend, read, die.

    python -m tests.integration.market_processes publish MARKET STORE SEED
    python -m tests.integration.market_processes contend MARKET STORE KEY COUNT
    python -m tests.integration.market_processes read MARKET
    python -m tests.integration.market_processes die MARKET STORE SEED COUNT

Each prints one JSON value a line. ``publish``, ``contend`` and ``read`` say ``"ready"`` and wait for a line on stdin,
so that they start together; ``read`` goes on until stdin is closed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from symbio_lab.errors import DataError, SymbioError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.trust.envelope import ENVELOPE_NAME, open_envelope, peek_payload
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.stored import open_stored
from tests.attacks.market_simulator import ALICE, EXPIRES, ISSUED

KEYS = {ALICE.keyid: ALICE.public_key}


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


def start_together() -> None:
    say("ready")
    sys.stdin.readline()


def stored(store: Path) -> list[tuple[str, str, Path]]:
    """Return reference, payload digest and folder of every patch in a store, sorted by digest."""
    found = []
    for folder in sorted(path for path in store.iterdir() if not path.name.startswith(".")):
        manifest = payload_to_manifest(peek_payload((folder / ENVELOPE_NAME).read_bytes()))
        found.append((f"{manifest.patch_id}@{manifest.version}", folder.name, folder))
    return found


def check(transport: DirectoryTransport) -> dict[str, str]:
    """Return the payload digest of every version that is offered; each must verify, file by file.

    Raises:
        SymbioError, AssertionError: something is offered that does not verify.
    """
    offered = {}
    for ref in transport.list_refs():
        versions = transport.list_versions(ref)
        assert versions, f"{ref} is listed without a version"
        for version in versions:
            name = f"{ref}@{version}"
            opened = open_envelope(transport.read_manifest(name), KEYS)
            manifest = payload_to_manifest(opened.payload)
            assert f"{manifest.patch_id}@{manifest.version}" == name
            folder = transport.path / "patches" / ref / f"v{version}"
            assert {path.name for path in folder.iterdir()} == {*(e.name for e in manifest.files), ENVELOPE_NAME}
            for entry in manifest.files:
                assert hashlib.sha256((folder / entry.name).read_bytes()).hexdigest() == entry.sha256, entry.name
            for data in transport.read_evaluations(opened.digest):
                assert json.loads(data)["about"] == opened.digest
            offered[name] = opened.digest
    return offered


def publish(market: str, store: str, seed: str) -> None:
    transport, patches = DirectoryTransport(Path(market)), stored(Path(store))
    random.Random(int(seed)).shuffle(patches)
    start_together()
    for ref, digest, folder in patches:
        try:
            transport.publish(folder, ref)
        except DataError:
            say(["told", ref, digest])
        else:
            say(["published", ref, digest])
            transport.publish_evaluation(digest, json.dumps({"about": digest, "by": seed}).encode())


def contend(market: str, store: str, seed: str, count: str) -> None:
    """Publish ``count`` versions of one name; whoever is told that a version is taken takes the next."""
    transport = DirectoryTransport(Path(market))
    (patch,) = [open_stored(Path(store), digest) for _, digest, _ in stored(Path(store))]
    key, own, left = SigningKey.from_seed(ALICE.seed), Path(store).parent / f"own-{seed}", int(count)
    start_together()
    while left:
        try:
            made = publish_patch(
                patch, transport, key, store=own, issued=ISSUED, expires=EXPIRES, licence=("MIT", "ISC")[int(seed) % 2]
            )
        except DataError:
            say(["told"])
        else:
            say(["published", made.ref, made.digest])
            left -= 1


def read(market: str) -> None:
    transport = DirectoryTransport(Path(market))
    start_together()
    num_rounds, seen = 0, {}
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            offered = check(transport)
        except (SymbioError, AssertionError, OSError, ValueError) as error:
            say(["torn", repr(error)])
            return
        gone = [name for name, digest in seen.items() if offered.get(name) != digest]
        if gone:
            say(["changed", gone])
            return
        num_rounds, seen = num_rounds + 1, offered
    say(["whole", num_rounds, len(seen)])


def die(market: str, store: str, seed: str, count: str) -> None:
    """Kill ``count`` publishers, each at a call drawn by the seed, and look at what each leaves.

    A publisher is forked from this process, which has one thread; it acknowledges through a pipe.
    """
    transport, patches = DirectoryTransport(Path(market)), stored(Path(store))
    rng = random.Random(int(seed))
    acknowledged: dict[str, str] = {}
    for number in range(int(count)):
        ref, digest, folder = patches[number % len(patches)]
        before = check(transport)
        marks = landmarks(folder, ref, transport.path.with_name("rehearsal"))
        place = rng.randrange(len(marks) - 1)
        call = rng.randint(marks[place], marks[place + 1])
        published, status = kill_at(call, partial(transport.publish, folder, ref))
        if published:
            acknowledged[ref] = digest
        offered = check(transport)
        lost = {name for name, held in {**before, **acknowledged}.items() if offered.get(name) != held}
        new = sorted(set(offered) - set(before))
        leftovers = sum(path.name.startswith(".") for path in transport.path.rglob("*"))
        say({"killed": os.WIFSIGNALED(status), "acknowledged": published, "new": new, "ref": ref,
             "lost": sorted(lost), "leftovers": leftovers})  # fmt: skip
        if rng.random() < 0.5:
            transport.publish(folder, ref)  # somebody tries again
            acknowledged[ref] = digest
    say(check(transport))


def landmarks(folder: Path, ref: str, rehearsal: Path) -> list[int]:
    """Return at which of its calls one undisturbed publication begins, touches the file system, and ends.

    Most calls are parsing; drawing between landmarks gives every step at a file the same chance to be the last one.
    """
    marks, num_calls, watching = [0], 0, True

    def count(*_: Any) -> None:
        nonlocal num_calls
        num_calls += 1

    def mark(event: str, _: Any) -> None:
        if watching and event.partition(".")[0] in ("open", "os", "shutil"):
            marks.append(num_calls)

    sys.addaudithook(mark)
    sys.setprofile(count)
    try:
        DirectoryTransport(rehearsal).publish(folder, ref)
    finally:
        sys.setprofile(None)
        watching = False
    shutil.rmtree(rehearsal)
    return [*marks, num_calls]


def kill_at(call: int, work: Callable[[], object]) -> tuple[bool, int]:
    """Run ``work`` in a child that kills itself at its n-th call; return whether it acknowledged, and its status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        left = call

        def watch(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        work()
        sys.setprofile(None)
        os.write(writing, b"published")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    return told == b"published", os.waitpid(child, 0)[1]


ROLES: dict[str, Callable[..., None]] = {"publish": publish, "contend": contend, "read": read, "die": die}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
