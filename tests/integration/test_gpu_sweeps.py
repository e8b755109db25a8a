"""Two runs on one GPU, each with half of its memory: at once, within their share, and with the figures of the CPU."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from symbio_lab.reports.sweep.differing import arm_differences, sweep_difference
from symbio_lab.reports.sweep.results import collect_sweep
from symbio_lab.sweeps.engines.local import LocalEngine, cuda_devices
from symbio_lab.sweeps.plan import make_plan
from symbio_lab.sweeps.runner import SweepResult, run_sweep
from symbio_lab.sweeps.tasks import RunTask, run_once
from tests.unit.sweeps.made import made_notebook

SMOKE = Path(__file__).parents[2] / "experiments" / "gpu-smoke.yaml"
TOLERANCE_PP = 0.5
"""Net gain may differ by so much between devices: sums in another order move a few of 1,400 judged samples."""


def smoke(folder: Path) -> SweepResult:
    """Run the sweep, its runs told apart by their records."""
    plan = make_plan(SMOKE, folder)
    done = run_sweep(plan)
    assert len(done.finished) == 2, done.failed
    return done


def span(record: Any) -> tuple[datetime, datetime]:
    begun = datetime.fromisoformat(record.started_at)
    return begun, begun + timedelta(seconds=record.wall_s)


@pytest.mark.gpu
def test_two_runs_share_one_gpu_and_give_the_figures_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cuda_devices()[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", first)
    monkeypatch.setenv("SYMBIO_LAB_DEVICE", "cuda")
    on_gpu = smoke(tmp_path / "gpu").finished
    (begun_a, ended_a), (begun_b, ended_b) = map(span, on_gpu)
    assert max(begun_a, begun_b) < min(ended_a, ended_b)
    assert [record.env["CUDA_VISIBLE_DEVICES"] for record in on_gpu] == [first, first]
    assert [record.env["SYMBIO_LAB_CUDA_MEMORY_FRACTION"] for record in on_gpu] == ["0.5000", "0.5000"]
    assert [record.computed_on for record in on_gpu] == [("cuda float32",), ("cuda float32",)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SYMBIO_LAB_DEVICE", "cpu")
    assert [record.computed_on for record in smoke(tmp_path / "cpu").finished] == [("cpu float32",), ("cpu float32",)]
    found = sweep_difference(collect_sweep(tmp_path / "gpu"), collect_sweep(tmp_path / "cpu"))
    assert (found.num_only_first, found.num_only_second) == (0, 0)
    assert all(abs(mean.value or 0.0) <= TOLERANCE_PP for mean in arm_differences(found).values())


@pytest.mark.gpu
def test_a_run_that_takes_more_than_its_share_fails_for_memory(tmp_path: Path) -> None:
    """The same allocation fits in a whole device and not in half of one."""
    greedy = """import torch
from symbio_lab.models.devices import resolve_device

device = resolve_device("cuda")
total = torch.cuda.get_device_properties(0).total_memory
block = torch.empty(int(total * 0.6), dtype=torch.uint8, device=device)"""
    made_notebook(tmp_path / "cell.ipynb", greedy)
    grid = {"product": {"number": [1]}}
    data = {"name": "tiny", "notebook": "cell.ipynb", "parameters": {"marks": str(tmp_path / "marks")}, "grid": grid}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(data))
    plan = make_plan(tmp_path / "sweep.yaml", tmp_path / "out")
    ((key, parameters),) = plan.runs.items()
    share = {"SYMBIO_LAB_CUDA_MEMORY_FRACTION": "0.5000"}
    assert run_once(RunTask(key, str(plan.folder), parameters, env=share)).failure == "out_of_memory"
    assert run_once(RunTask(key, str(plan.folder), parameters)).status == "finished"


def test_slots_of_one_device_get_equal_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each kernel is told, without a GPU: two slots on one named device, and none where there is none."""
    given: list[dict[str, str]] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with LocalEngine(2, work=lambda task: given.append(dict(task.env))) as engine:  # type: ignore[arg-type, return-value]
        assert engine.notes[0].startswith("2 slot(s) on 1 CUDA device(s), ")
        for future in [engine.submit(RunTask(str(n), "", {})) for n in range(2)]:
            future.result()
    assert [env["CUDA_VISIBLE_DEVICES"] for env in given] == ["3", "3"]
    assert [env["SYMBIO_LAB_CUDA_MEMORY_FRACTION"] for env in given] == ["0.5000", "0.5000"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "there is no CUDA device" in LocalEngine(2).notes[0]


def test_a_record_says_what_its_rows_were_computed_on(tmp_path: Path) -> None:
    import pandas as pd

    from symbio_lab.sweeps.tasks import computed_on, finished_record

    assert computed_on(tmp_path / "none.parquet") == ()
    frame = pd.DataFrame({"device": ["cpu", "cpu"], "dtype": ["float32", "float32"], "x": [1, 2]})
    frame.drop(columns="dtype").to_parquet(tmp_path / "half.parquet")
    assert computed_on(tmp_path / "half.parquet") == ()
    frame.to_parquet(tmp_path / "both.parquet")
    assert computed_on(tmp_path / "both.parquet") == ("cpu float32",)
    # A record of before this field still loads.
    (tmp_path / "runs" / "k").mkdir(parents=True)
    (tmp_path / "runs" / "k" / "record.json").write_text(json.dumps({"key": "k", "status": "finished"}))
    record = finished_record(tmp_path, "k")
    assert record is not None
    assert record.computed_on == ()
