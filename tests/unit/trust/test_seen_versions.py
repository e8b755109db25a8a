"""Memory of versions: survives, never goes back, many processes at once."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

from symbio_lab.records import PatchManifest
from symbio_lab.trust.seen_versions import load_seen, remember_seen
from symbio_lab.trust.trusted_set import SeenVersion
from tests.attacks.market_simulator import ALICE, seal


def test_the_newest_is_remembered(tmp_path: Path) -> None:
    manifest = seal(tmp_path / "s").manifest
    folder = tmp_path / "seen"
    assert load_seen(folder).seen == {}
    for version in (1, 10, 9):
        remember_seen(folder, replace(manifest, version=version), f"{version:064x}")
    remember_seen(folder, replace(manifest, patch_id="a~b/c".replace("~", "-"), version=2), "0" * 64)
    assert load_seen(folder).seen == {
        "alice/travel": SeenVersion(10, f"{10:064x}", ALICE.keyid),
        "a-b/c": SeenVersion(2, "0" * 64, ALICE.keyid),
    }


def test_foreign_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "x~y").mkdir()
    (tmp_path / "x~y" / "1~short~z").touch()
    assert load_seen(tmp_path).seen == {}


def _remember(folder: Path, manifest: PatchManifest, versions: range) -> None:
    for version in versions:
        remember_seen(folder, replace(manifest, version=version, patch_id=f"alice/p{version % 3}"), f"{version:064x}")


def test_two_processes_forget_nothing(tmp_path: Path) -> None:
    manifest = seal(tmp_path / "s").manifest
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_remember, args=(tmp_path / "seen", manifest, versions))
        for versions in (range(1, 30), range(30, 61))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert {p: v.version for p, v in load_seen(tmp_path / "seen").seen.items()} == {
        "alice/p0": 60, "alice/p1": 58, "alice/p2": 59,
    }  # fmt: skip
