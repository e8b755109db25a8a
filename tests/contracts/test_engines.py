"""What every engine promises: runs side by side, each once; a killed worker costs its own run and no other."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from symbio_lab.errors import ConfigError, MissingExtraError
from symbio_lab.events import Event, RunEnded, RunStarted
from symbio_lab.sweeps.collecting import collect_runs
from symbio_lab.sweeps.engines.choosing import choose_engine
from symbio_lab.sweeps.engines.local import LocalEngine
from symbio_lab.sweeps.engines.protocol import Engine
from symbio_lab.sweeps.plan import SweepPlan, make_plan
from symbio_lab.sweeps.runner import cancel_sweep, run_sweep
from symbio_lab.sweeps.spec import EngineChoice
from tests.unit.sweeps.made import made_notebook, marks

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
NUM_CELLS = 8
SLOW = textwrap.dedent("""
    import os, time

    mine = Path(marks) / f"pids{number}"
    first = not mine.exists()
    mine.write_text(f"{os.getpid()}")
    time.sleep(60 if number == 2 and first else 0.3)
""")
"""Run 2 hangs until its worker is killed; started again, it is quick."""


def local() -> Engine:
    return LocalEngine(2)


def ray() -> Engine:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'symbio-lab[ray]'")
    return choose_engine(EngineChoice(name="ray", slots=2))


def slurm() -> Engine:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'symbio-lab[slurm]'")
    return choose_engine(EngineChoice(name="slurm", slots=2, options={"cluster": "local"}))


ENGINES = {"local": local, "ray": ray, "slurm": slurm}


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    # Workers are other processes: they find the checkout as this one does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    return ENGINES[request.param]()


def plan_of(folder: Path, *cells: str, numbers: int = NUM_CELLS, kernels: str = "fork") -> SweepPlan:
    made_notebook(folder / "cell.ipynb", *cells)
    grid = {"product": {"number": list(range(numbers))}}
    data = {"name": "tiny", "notebook": "cell.ipynb", "parameters": {"marks": str(folder / "marks")}, "grid": grid}
    data |= {"engine": {"kernels": kernels}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(data))
    return make_plan(folder / "sweep.yaml", folder / "out")


def kernel_of(folder: Path, number: int) -> int:
    """Return the process id of a run's kernel."""
    return int((folder / "marks" / f"pids{number}").read_text())


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def when(condition: Callable[[], bool], then: Callable[[], Any]) -> threading.Thread:
    """Do something in another thread as soon as a condition holds."""

    def watch() -> None:
        until = time.monotonic() + 90
        while not condition():
            if time.monotonic() > until:
                return
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("kernels", ["fork", "spawn"])
def test_a_killed_worker_costs_its_own_run_and_no_other(engine: Engine, tmp_path: Path, kernels: str) -> None:
    """Eight runs, two at once, the worker of one killed: nine starts, eight ends, no process left."""
    plan = plan_of(tmp_path, SLOW, kernels=kernels)
    waiting = tmp_path / "marks" / "pids2"

    def kill() -> None:
        kernel = kernel_of(tmp_path, 2)
        worker = parent(kernel)
        if b"kernels.zygote" in Path(f"/proc/{worker}/cmdline").read_bytes():
            # A forked kernel is the child of a warm process, which is the child of the worker.
            worker = parent(worker)
        # The local engine's worker is a thread of this process: what can die there is the kernel.
        os.kill(kernel if worker == os.getpid() else worker, signal.SIGKILL)

    killer = when(lambda: waiting.is_file() and waiting.read_text() != "", kill)
    events: list[Event] = []
    done = run_sweep(plan, engine=engine, listener=events.append)
    killer.join()
    assert [record.status for record in done.finished] == ["finished"] * NUM_CELLS
    found = marks(tmp_path / "marks")
    assert found.pop(2) == (2, 1)
    assert set(found.values()) == {(1, 1)}
    assert len(found) == NUM_CELLS - 1
    assert [e.failure for e in events if isinstance(e, RunEnded) and e.will_retry] == ["dead_kernel"]
    assert sum(isinstance(e, RunStarted) for e in events) == NUM_CELLS + 1
    assert collect_runs(plan)["value"].tolist() == [n * n for n in range(NUM_CELLS)]
    until = time.monotonic() + 20
    left = {kernel_of(tmp_path, n) for n in range(NUM_CELLS)}
    while any(map(is_running, left)):
        assert time.monotonic() < until, "a kernel outlived the sweep"
        time.sleep(0.1)


def test_an_error_comes_back_as_a_record(engine: Engine, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "assert number != 1, 'one is wrong'", numbers=3)
    done = run_sweep(plan, engine=engine)
    (failed,) = done.failed
    assert (failed.failure, len(done.finished)) == ("permanent", 2)
    assert failed.reason.endswith("AssertionError: one is wrong")


def test_cancelling_stops_what_runs(engine: Engine, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "import time\n(Path(marks) / 'on').touch()\ntime.sleep(60)", numbers=4)
    stopper = when((tmp_path / "marks" / "on").exists, lambda: cancel_sweep(plan.folder))
    begun = time.monotonic()
    done = run_sweep(plan, engine=engine)
    stopper.join()
    # Four runs of 60 s, two at once: 120 s without the cancelling.
    assert time.monotonic() - begun < 100
    assert not done.finished
    assert {record.failure for record in done.failed} == {"cancelled"}, done.failed


def test_an_engine_says_where_runs_go(engine: Engine, tmp_path: Path) -> None:
    with engine:
        assert any("slot(s)" in note or "job(s)" in note for note in engine.notes)
        assert engine.slots == 2
        assert engine.shrink()
        assert not engine.shrink()


@pytest.mark.parametrize("name", ["local", "ray", "slurm"])
def test_unknown_options_are_named(name: Any) -> None:
    with pytest.raises(ConfigError, match="colour"):
        choose_engine(EngineChoice(name=name, options={"colour": "red"}))


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_says_how_to_get_it(name: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package) as caught:
        choose_engine(EngineChoice(name=name))
    assert f"symbio-lab[{name}]" in str(caught.value.hint)
