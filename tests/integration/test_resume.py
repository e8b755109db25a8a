"""Killed at any time: nothing half-written is read, the next run goes on, finished work is not done again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from symbio_lab.codec import read_json
from symbio_lab.events import CellFinished, Event, PhaseStarted
from symbio_lab.scenarios.world import build_world
from tests.architecture.sources import ROOT
from tests.fixtures_models import TinyModels
from tests.integration import tiny_world
from tests.integration.tiny_world import BuiltWorld

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")


def run_and_kill(name: str, encoder: Path, home: Path, out: Path, kind: str, count: int) -> None:
    """Run a comparison in a process of its own that is killed at the n-th event of a kind."""
    command = [sys.executable, "-m", "tests.integration.tiny_world", *map(str, (name, encoder, home, out, kind, count))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr


def cells_before(world: BuiltWorld, kind: str, count: int) -> int:
    """How many cells of the undisturbed run were finished at the n-th event of a kind."""
    cells = {(c["row"]["strategy"], c["row"]["seed"]): c for c in map(read_json, world.out.glob("cells/*/cell.json"))}
    for number, name in enumerate(world.plan.cells()):
        count -= sum(event["event"] == kind for event in cells[name]["events"])
        if count <= 0:
            return number
    raise AssertionError(f"there are fewer events of kind {kind}")


def identity(paths: list[Path]) -> dict[str, tuple[int, int]]:
    """Which file it is and when it was written, by name."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


@needs_kill
@pytest.mark.usefixtures("installed")
def test_a_killed_comparison_goes_on_where_it_was(tiny: TinyModels, built_world: BuiltWorld, tmp_path: Path) -> None:
    home, out = Path(shutil.copytree(built_world.home, tmp_path / "home")), tmp_path / "out"
    run_and_kill(built_world.name, tiny.folder("encoder"), home, out, "GateDecided", 3)
    finished = sorted(out.glob("cells/*/cell.json"))
    assert 0 < len(finished) == cells_before(built_world, "GateDecided", 3) < len(built_world.plan.cells())
    assert not (out / "results.parquet").exists()
    assert all(read_json(path)["schema"] == 1 for path in finished)
    before = identity(finished)
    events: list[Event] = []
    result = tiny_world.compare(home, out, built_world.plan, listener=events.append)
    assert identity(finished) == before
    assert len([e for e in events if isinstance(e, CellFinished)]) == len(built_world.plan.cells())
    undisturbed = [read_json(p)["row"] for p in built_world.out.glob("cells/*/cell.json")]

    def by_arm(rows: object) -> list[dict[str, object]]:
        return sorted(tiny_world.same_rows(rows), key=lambda r: (r["strategy"], r["seed"]))

    assert by_arm(result.rows) == by_arm(undisturbed)
    assert not list(out.rglob("*.tmp"))


@pytest.mark.usefixtures("installed")
def test_a_finished_comparison_is_not_run_again(built_world: BuiltWorld, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built_world.out, tmp_path / "out"))
    before = identity(sorted(out.glob("cells/*/cell.json")))
    events: list[Event] = []
    tiny_world.compare(built_world.home, out, built_world.plan, listener=events.append)
    assert identity(sorted(out.glob("cells/*/cell.json"))) == before
    assert not [e for e in events if isinstance(e, PhaseStarted)]


@pytest.mark.usefixtures("installed")
def test_a_half_written_cell_is_run_again(built_world: BuiltWorld, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built_world.out, tmp_path / "out"))
    cell = sorted(out.glob("cells/*/cell.json"))[0]
    row = read_json(cell)["row"]
    cell.unlink()
    (cell.parent / ".cell.json.abc.tmp").write_text('{"schema": 1, "row": {', encoding="utf-8")
    result = tiny_world.compare(built_world.home, out, built_world.plan)
    again = [r for r in result.rows if (r["strategy"], r["seed"]) == (row["strategy"], row["seed"])]
    assert tiny_world.same_rows(again) == tiny_world.same_rows([row])


@needs_kill
@pytest.mark.usefixtures("installed")
def test_a_killed_pool_goes_on_where_it_was(tiny: TinyModels, built_world: BuiltWorld, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(built_world.home / "bases", home / "bases")

    def published() -> list[Path]:
        return sorted(home.glob("pools/*/market/patches/contributor-*/patch/v1/symbio.patch.dsse.json"))

    run_and_kill(built_world.name, tiny.folder("encoder"), home, tmp_path / "out", "BuildProgress", 4)
    kept = published()
    assert len(kept) == 4
    assert not list(home.glob("pools/*/pool.json"))
    before = identity(kept)
    pool = build_world(built_world.name, settings=tiny_world.settings(home)).pool("high")
    assert identity(kept) == before
    undisturbed = build_world(built_world.name, settings=tiny_world.settings(built_world.home)).pool("high")
    assert pool.digest == undisturbed.digest
    assert len(pool.info["contributors"]) == 12
