"""Sweeps of tiny notebooks with real kernels: nothing is lost, nothing is done twice, and failures say why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.events import Event, RunEnded, RunStarted, SweepEnded
from symbio_lab.store.database import Database
from symbio_lab.store.leases import Leases
from symbio_lab.sweeps.collecting import collect_runs, write_results
from symbio_lab.sweeps.engines.local import LocalEngine
from symbio_lab.sweeps.plan import SweepPlan, make_plan, read_plan
from symbio_lab.sweeps.runner import cancel_sweep, run_sweep
from symbio_lab.sweeps.status import sweep_status
from symbio_lab.sweeps.tasks import RunTask, run_once
from tests.unit.sweeps.made import made_notebook, marks

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


def plan_of(folder: Path, *cells: str, numbers: int = 3, **changed: Any) -> SweepPlan:
    """Lay out a sweep over ``number`` with the given cells."""
    made_notebook(folder / "cell.ipynb", *cells)
    data: Mapping[str, Any] = {
        "name": "tiny",
        "notebook": "cell.ipynb",
        "parameters": {"marks": str(folder / "marks")},
        "grid": {"product": {"number": list(range(numbers))}},
        "engine": {"slots": 2},
        **changed,
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(data))
    return make_plan(folder / "sweep.yaml", folder / "out")


def values(plan: SweepPlan) -> list[int]:
    return collect_runs(plan)["value"].tolist()


def test_every_run_is_started_once_and_kept_whole(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    events: list[Event] = []
    done = run_sweep(plan, listener=events.append)
    assert len(done.finished) == 3
    assert not done.failed
    assert marks(tmp_path / "marks") == {0: (1, 1), 1: (1, 1), 2: (1, 1)}
    assert values(plan) == [0, 1, 4]
    for key in plan.runs:
        names = {p.name for p in (plan.folder / "runs" / key).iterdir()}
        assert names == {"notebook.ipynb", "record.json", "events.jsonl", "results.parquet"}
    assert not any((plan.folder / "work").iterdir())
    lines = [json.loads(line) for line in (plan.folder / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == [type(event).__name__ for event in events]
    assert isinstance(events[-1], SweepEnded)
    status = sweep_status(plan.folder)
    assert (status.num_finished, status.num_waiting, status.running, status.failed) == (3, 0, (), ())


def test_what_is_finished_is_not_run_again_and_new_values_are(tmp_path: Path) -> None:
    run_sweep(plan_of(tmp_path, numbers=2))
    plan = plan_of(tmp_path, numbers=3)
    run_sweep(plan)
    assert marks(tmp_path / "marks") == {0: (1, 1), 1: (1, 1), 2: (1, 1)}
    assert values(plan) == [0, 1, 4]


def test_another_notebook_is_another_run(tmp_path: Path) -> None:
    run_sweep(plan_of(tmp_path, numbers=1))
    run_sweep(plan_of(tmp_path, "number = number + 2", numbers=1))
    assert marks(tmp_path / "marks") == {0: (2, 1), 2: (0, 1)}


def test_equal_runs_are_one_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, grid={"list": [{"number": 1}, {"number": 2}, {"number": 1}]})
    assert [run["number"] for run in plan.runs.values()] == [1, 2]


def test_the_content_of_a_named_file_is_part_of_the_key(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("a")
    before = set(plan_of(tmp_path, parameters={"text": str(data)}).runs)
    data.write_text("b")
    assert before.isdisjoint(plan_of(tmp_path, parameters={"text": str(data)}).runs)


def test_typed_parameters_arrive_as_they_were(tmp_path: Path) -> None:
    check = "assert items == {'a': [1, 2.5, None, True, 'x']} and text == 'null' and number == 7"
    plan = plan_of(
        tmp_path,
        check,
        grid={"list": [{"number": 7, "text": "null", "items": {"a": [1, 2.5, None, True, "x"]}}]},
    )
    assert not run_sweep(plan).failed


def test_a_failed_run_loses_no_other_and_is_never_retried_for_an_assertion(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "assert number != 1, 'one is\\nwrong'")
    done = run_sweep(plan)
    (failed,) = done.failed
    assert (len(done.finished), failed.failure) == (2, "permanent")
    assert failed.reason.endswith("AssertionError: one is wrong")
    assert marks(tmp_path / "marks")[1] == (1, 0)
    left = plan.folder / "failed" / failed.key
    assert "AssertionError" in (left / "notebook.ipynb").read_text()
    assert sweep_status(plan.folder).failed == ((failed.key, "permanent", failed.reason),)
    assert values(plan) == [0, 4]


def test_a_dead_kernel_is_started_again_and_the_work_goes_on(tmp_path: Path) -> None:
    die_once = textwrap.dedent("""
        import os, signal
        first = Path(out) / "first"
        if number == 1 and not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    events: list[Event] = []
    plan = plan_of(tmp_path, die_once)
    done = run_sweep(plan, listener=events.append)
    assert len(done.finished) == 3
    assert marks(tmp_path / "marks") == {0: (1, 1), 1: (2, 1), 2: (1, 1)}
    (retried,) = [e for e in events if isinstance(e, RunEnded) and e.will_retry]
    assert retried.failure == "dead_kernel"


def test_retries_end(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "raise ConnectionError('no route')", numbers=1, retries={"transient": 2})
    (failed,) = run_sweep(plan).failed
    assert (failed.failure, marks(tmp_path / "marks")) == ("transient", {0: (3, 0)})


def test_out_of_memory_is_tried_again_on_fewer_slots_until_alone(tmp_path: Path) -> None:
    engine = LocalEngine(2)
    plan = plan_of(tmp_path, "raise MemoryError('CUDA out of memory')", numbers=1, retries={"out_of_memory": 5})
    (failed,) = run_sweep(plan, engine=engine).failed
    assert (failed.failure, engine.slots, marks(tmp_path / "marks")) == ("out_of_memory", 1, {0: (2, 0)})


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "import time; time.sleep(60)", numbers=1, timeout_s=3.0)
    begun = time.monotonic()
    (failed,) = run_sweep(plan).failed
    assert (failed.failure, failed.reason) == ("timeout", "stopped: it took longer than timeout_s")
    assert time.monotonic() - begun < 30


def test_cancelling_stops_what_runs_and_resuming_goes_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "import time\nif not (Path(marks) / 'go').exists(): time.sleep(60)", numbers=4)
    timer = threading.Timer(4.0, cancel_sweep, [plan.folder])
    timer.start()
    done = run_sweep(plan)
    assert not done.finished
    assert {r.failure for r in done.failed} == {"cancelled"}
    assert len(done.failed) + len(done.missing) == 4
    assert done.missing
    (tmp_path / "marks" / "go").touch()
    assert len(run_sweep(read_plan(plan.folder)).finished) == 4


def test_runs_go_side_by_side_on_as_many_slots_as_there_are(tmp_path: Path) -> None:
    meet = textwrap.dedent("""
        import time
        (Path(marks) / f"here{number}").touch()
        until = time.monotonic() + 30
        while not all((Path(marks) / f"here{n}").exists() for n in (0, 1)):
            assert time.monotonic() < until, "the other one never came"
            time.sleep(0.05)
    """)
    assert not run_sweep(plan_of(tmp_path, meet, numbers=2)).failed


def test_each_slot_has_its_share_of_the_threads(tmp_path: Path) -> None:
    check = "import os; assert os.environ['OMP_NUM_THREADS'] == '3' == os.environ['SYMBIO_LAB_NUM_THREADS']"
    plan = plan_of(tmp_path, check, numbers=1, engine={"slots": 1, "threads": 3})
    (record,) = run_sweep(plan).finished
    assert record.env["OMP_NUM_THREADS"] == "3"


def test_a_run_that_another_worker_has_is_left_to_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, numbers=1)
    (key,) = plan.runs
    leases = Leases(Database(plan.folder / "sweep.db"))
    assert leases.take(key, "somebody")
    assert run_once(RunTask(key, str(plan.folder), plan.runs[key])).status == "held"
    assert sweep_status(plan.folder).running == (key,)
    leases.release(key, "somebody")
    assert run_once(RunTask(key, str(plan.folder), plan.runs[key])).status == "finished"


def test_two_sweep_processes_on_one_folder_do_each_run_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "import time; time.sleep(0.5)", numbers=4)
    other = start(plan.folder)
    run_sweep(plan)
    assert other.wait(timeout=120) == 0
    assert marks(tmp_path / "marks") == {n: (1, 1) for n in range(4)}


@needs_kill
def test_a_killed_sweep_goes_on_and_finished_runs_are_computed_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "import time; time.sleep(1.0)", numbers=5)
    process = start(plan.folder)
    until = time.monotonic() + 60
    while len(list(plan.folder.glob("runs/*/record.json"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    records = [json.loads(path.read_text()) for path in plan.folder.glob("runs/*/record.json")]
    done, kept = [record["parameters"]["number"] for record in records], len(records)
    assert 2 <= kept < 5
    events: list[Event] = []
    result = run_sweep(read_plan(plan.folder), listener=events.append)
    assert len(result.finished) == 5
    assert len([e for e in events if isinstance(e, RunStarted)]) == 5 - kept
    assert [marks(tmp_path / "marks")[number] for number in done] == [(1, 1)] * kept
    assert values(plan) == [0, 1, 4, 9, 16]
    assert not list(plan.folder.glob("runs/.*"))


def test_results_are_one_table_that_says_which_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, numbers=2)
    run_sweep(plan)
    table = pd.read_parquet(write_results(plan))
    assert table["run_key"].tolist() == list(plan.runs)
    assert table["number"].tolist() == [0, 1]


def test_a_folder_without_a_sweep_or_with_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no sweep"):
        read_plan(tmp_path / "nothing")
    plan = plan_of(tmp_path)
    with pytest.raises(NotFoundError, match="no finished run"):
        collect_runs(plan)
    with pytest.raises(ConfigError, match="holds the sweep 'tiny'"):
        plan_of(tmp_path, name="other")
    (tmp_path / "out" / "notebook.ipynb").write_text(
        (tmp_path / "out" / "notebook.ipynb").read_text().replace("number * number", "number")
    )
    with pytest.raises(ConfigError, match="was changed"):
        read_plan(plan.folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        make_plan(tmp_path / "sweep.yaml", tmp_path / "full")


def start(folder: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from symbio_lab.sweeps.plan import read_plan;"
        "from symbio_lab.sweeps.runner import run_sweep; sys.exit(len(run_sweep(read_plan(Path(sys.argv[1]))).failed))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], env={**os.environ, "PYTHONPATH": path})
