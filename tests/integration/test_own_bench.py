"""The bench on a user's own model: run, deploy, answer through the service, roll back."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from symbio_lab.comparison.own_data import OwnData
from symbio_lab.config import load_settings
from symbio_lab.errors import HealingCancelledError
from symbio_lab.service.app import create_app
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.testing.tiny_models import TinyModels
from symbio_lab.testing.tiny_samples import known_samples, odd_samples
from symbio_lab.widgets import HealingBench, OwnModel
from symbio_lab.widgets.own_run import deploy_own, run_own, undo_own
from symbio_lab.widgets.plans import plan_fields


@pytest.fixture
def own(tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnModel:
    monkeypatch.setenv("SYMBIO_LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYMBIO_LAB_DEVICE", "cpu")
    rows = [(s.text, s.expected, "colours") for s in known_samples(440, seed=1)]
    rows += [(s.text, s.expected, "odd") for s in odd_samples(120, seed=1)]
    with (tmp_path / "traffic.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("text", "colour", "topic"), *rows])
    data = OwnData(str(tmp_path / "traffic.csv"), label_field="colour", slice="topic=odd")
    return OwnModel(str(tiny.folder("bert")), data)


def answers(own: OwnModel, texts: list[str]) -> Any:
    """Ask as ``symbio serve --local`` would answer."""
    app = create_app(load_settings().settings, ServiceSettings(local=True))
    with TestClient(app, base_url="http://localhost:8000") as client:
        found = client.post("/predict", json={"model_id": own.model_id, "inputs": texts})
    assert found.status_code == 200, found.text
    return found.json()


def test_an_own_model_is_healed_deployed_served_and_rolled_back(own: OwnModel, tmp_path: Path) -> None:
    bench = HealingBench(own=own, strategies=("noop", "lora_replay"), n_repair=32, tenant="local", out=tmp_path / "out")
    name, asked = running_of(bench)
    assert name == "own_run:run_own"
    never: dict[str, Any] = {"listener": lambda event: None, "should_stop": lambda: False}
    assert run_own(**asked, **never)["num_cells"] == 2
    bench._load()
    assert [cell.strategy for cell in bench.cells] == ["noop", "lora_replay"]
    cell = bench.cells[1]
    assert cell.deployable is not None, cell.row
    done = deploy_own(asdict(own), str(cell.folder / "store"), cell.deployable, "local", **never)
    assert done["changed"]
    texts = [s.text for s in odd_samples(120, seed=1)][:8]
    healed = answers(own, texts)
    assert healed["patch_digest"] == cell.deployable
    undone = undo_own(asdict(own), "local", **never)
    assert undone["bit_equal"]
    back = answers(own, texts)
    assert back["patch_digest"] is None
    assert back["outputs"] != healed["outputs"]


def test_a_run_on_an_own_model_is_cancelled(own: OwnModel, tmp_path: Path) -> None:
    bench = HealingBench(own=own, strategies=("noop", "lora_replay"), n_repair=32, out=tmp_path / "out")
    _, asked = running_of(bench)
    with pytest.raises(HealingCancelledError):
        run_own(**asked, listener=lambda event: None, should_stop=lambda: True)


def test_the_script_of_the_bench_names_the_same_plan(own: OwnModel, tmp_path: Path) -> None:
    bench = HealingBench(own=own, strategies=("noop",), n_repair=8, budget_forwards=500.0, out=tmp_path / "out")
    scope: dict[str, Any] = {}
    exec(bench.code().rpartition("market = ")[0], scope)
    assert scope["own"] == own.data
    fields = ("strategies", "seeds", "n_repair", "gate", "budget_forwards", "reference_arms")
    assert all(getattr(scope["plan"], name) == getattr(bench.plan, name) for name in fields)
    assert plan_fields(bench.plan)["own_data"] is True


def running_of(bench: HealingBench) -> tuple[str, dict[str, Any]]:
    from symbio_lab.widgets.bench_work import running

    return running(bench.controls, bench.out)
