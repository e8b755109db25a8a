"""Several processes use one directory market at once, some of them are killed: nothing torn, nothing lost.

What can be shown by killing processes is shown here; a power cut is another matter (files are synced before they are
renamed into place, which no test here can check).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import NotFoundError
from symbio_lab.marketplace.directory import LEFTOVER_AGE_S, DirectoryTransport
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from tests.attacks.market_simulator import deltas, seal

ROOT = Path(__file__).resolve().parents[2]
posix_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Process:
    """One process of ``market_processes``."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.integration.market_processes", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def wait_ready(self) -> None:
        assert self.child.stdout is not None
        assert json.loads(self.child.stdout.readline()) == "ready"

    def go(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write("go\n")
        self.child.stdin.flush()

    def finish(self) -> list[Any]:
        out, _ = self.child.communicate(timeout=300)
        assert self.child.returncode == 0
        return [json.loads(line) for line in out.splitlines()]


def run_together(market: Path, *writers: Process) -> tuple[list[list[Any]], list[Any]]:
    """Let writers and one reader begin at once; return what each writer said, and the reader's last word."""
    reader = Process("read", market)
    everybody = [reader, *writers]
    for process in everybody:
        process.wait_ready()
    for process in everybody:
        process.go()
    said = [writer.finish() for writer in writers]
    return said, reader.finish()[-1]


@posix_only
def test_two_publishers_and_a_reader(tmp_path: Path) -> None:
    market = tmp_path / "market"
    stores = [tmp_path / "one", tmp_path / "two"]
    for number, store in enumerate(stores):
        for i in range(8):
            seal(store, patch_id=f"alice/own-{number}-{i}", deltas=deltas(i))
            seal(store, patch_id=f"alice/same-{i}", deltas=deltas(i))  # the same bytes in both
            seal(store, patch_id=f"alice/rival-{i}", deltas=deltas(100 + 10 * number + i))  # other bytes, same version
    said, last = run_together(market, *(Process("publish", market, store, i) for i, store in enumerate(stores)))
    assert (last[0], last[1] > 0) == ("whole", True), last
    transport = DirectoryTransport(market)
    assert len(transport.list_refs()) == 16 + 8 + 8
    everything = [line for lines in said for line in lines]
    outcomes = {ref: [line[0] for line in everything if line[1] == ref] for _, ref, _ in everything}
    for ref, told in outcomes.items():
        kind = ref.split("/")[1].split("-")[0]
        assert sorted(told) == {"own": ["published"], "same": ["published"] * 2, "rival": ["published", "told"]}[kind]
    # What was acknowledged is what stands, with the evaluations of everybody who was told that it stands.
    for state, ref, digest in everything:
        stands = payload_digest(transport, ref)
        assert (stands == digest) == (state == "published")
        assert len(transport.read_evaluations(digest)) == (0 if state == "told" else outcomes[ref].count("published"))
    assert not list(market.rglob("*.tmp"))


@posix_only
def test_two_publishers_of_one_name_make_one_chain(tmp_path: Path) -> None:
    market, each = tmp_path / "market", 6
    seal(tmp_path / "store", patch_id="alice/travel")
    said, last = run_together(market, *(Process("contend", market, tmp_path / "store", i, each) for i in range(2)))
    assert last[0] == "whole", last
    transport = DirectoryTransport(market)
    assert transport.list_versions("alice/travel") == list(range(1, 2 * each + 1))
    acknowledged = {line[1]: line[2] for lines in said for line in lines if line[0] == "published"}
    assert len(acknowledged) == 2 * each
    previous = None
    for version in transport.list_versions("alice/travel"):
        ref = f"alice/travel@{version}"
        assert payload_to_manifest(peek_payload(transport.read_manifest(ref))).previous == previous
        previous = payload_digest(transport, ref)
        assert acknowledged[ref] == previous


def killed_publishers(tmp_path: Path, seed: int, count: int) -> Counter[str]:
    """Kill publishers, check what each leaves, and return how often each state was met."""
    store = tmp_path / "store"
    sealed = {f"alice/p{i}@1": seal(store, patch_id=f"alice/p{i}", deltas=deltas(i)).digest for i in range(count)}
    *reports, final = Process("die", tmp_path / "market", store, seed, count).finish()
    assert len(reports) == count
    states: Counter[str] = Counter()
    for report in reports:
        assert report["lost"] == []
        assert report["new"] in ([], [report["ref"]])
        assert report["killed"] or report["acknowledged"]
        assert not report["acknowledged"] or report["new"] == [report["ref"]]
        states["killed"] += report["killed"]
        states["killed, but published"] += report["killed"] and report["new"] != []
        states["leftovers"] += report["leftovers"] > 0
    assert all(sealed[ref] == digest for ref, digest in final.items())
    # Leftovers are in nobody's way: everything can still be published.
    transport = DirectoryTransport(tmp_path / "market")
    for ref, digest in sealed.items():
        transport.publish(store / digest, ref)
    assert len(transport.list_refs()) == count
    return states


@posix_only
def test_publishers_killed_anywhere_leave_nothing_torn(tmp_path: Path) -> None:
    states = killed_publishers(tmp_path, seed=0, count=24)
    # The draw met all kinds of states; otherwise the test would show little.
    assert states["killed"] >= 18
    assert states["killed, but published"] >= 1
    assert states["leftovers"] >= 1


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_publishers_killed_anywhere(tmp_path: Path, seed: int) -> None:
    assert killed_publishers(tmp_path, seed, count=120)["killed, but published"] >= 3


def test_leftovers_are_cleaned_when_they_are_old(tmp_path: Path) -> None:
    transport = DirectoryTransport(tmp_path)
    first, second = seal(tmp_path / "s"), seal(tmp_path / "s", version=2)
    transport.publish(first.root, "alice/travel")
    home = tmp_path / "patches" / "alice" / "travel"
    old, young, foreign = home / ".v2.0123456789ab.tmp", home / ".v3.0123456789ab.tmp", home / ".keep"
    for folder in (old, young, foreign):
        folder.mkdir()
        (folder / "weights").write_bytes(b"half of a file")
    evaluation = tmp_path / "evaluations" / first.digest / f".{'a' * 64}.json.0123456789ab.tmp"
    evaluation.parent.mkdir(parents=True)
    evaluation.write_bytes(b"{")
    then = time.time() - LEFTOVER_AGE_S - 60
    for path in (old, foreign, evaluation):
        os.utime(path, (then, then))
    transport.publish(second.root, "alice/travel")
    transport.publish_evaluation(first.digest, b"{}")
    assert sorted(path.name for path in home.iterdir()) == [".keep", ".v3.0123456789ab.tmp", "v1", "v2"]
    assert not evaluation.exists()
    assert transport.list_versions("alice/travel") == [1, 2]


def test_a_name_without_a_version_is_not_listed(tmp_path: Path) -> None:
    transport = DirectoryTransport(tmp_path)
    (tmp_path / "patches" / "alice" / "travel").mkdir(parents=True)  # a publisher died right after this
    assert transport.list_refs() == []
    with pytest.raises(NotFoundError):
        transport.read_manifest("alice/travel")


def payload_digest(transport: DirectoryTransport, ref: str) -> str:
    return hashlib.sha256(peek_payload(transport.read_manifest(ref))).hexdigest()
