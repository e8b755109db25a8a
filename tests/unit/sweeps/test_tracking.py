"""Rows in experiment trackers: what is sent is what is there, once, and nothing needs a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import MissingExtraError, StorageError
from symbio_lab.sweeps.mlflow_export import ROW_TAG, export_to_mlflow
from symbio_lab.sweeps.results import SweepRows, read_rows
from symbio_lab.sweeps.tracked_rows import tracked_rows
from symbio_lab.sweeps.wandb_export import SENT, export_to_wandb
from tests.fixtures_sweep import made_rows, write_experiment


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> SweepRows:
    made = made_rows(1)
    made["empty"] = np.where(made["strategy"] == "noop", np.nan, 1.5)
    return read_rows(write_experiment(tmp_path_factory.mktemp("made") / "experiment", made))


def test_a_row_is_parameters_figures_and_tags(rows: SweepRows) -> None:
    found = list(tracked_rows(rows))
    assert len({row.row_id for row in found}) == len(found) == len(rows.frame)
    first, source = found[0], rows.frame.iloc[0]
    assert first.parameters["n_repair"] == int(source["n_repair"])
    assert type(first.parameters["n_repair"]) is int
    assert (first.parameters["scenario"], first.arm) == (source["scenario"], source["strategy"])
    assert first.figures["deployed_net_gain_pp"] == source["deployed_net_gain_pp"]
    assert first.figures["deployed"] in (0.0, 1.0)
    assert first.tags["run_key"] == source["run_key"]
    assert not {"scenario", "strategy"} & {*first.figures, *first.tags}
    # What is missing is left out.
    assert [("empty" in row.figures) for row in found] == [row.arm != "noop" for row in found]
    assert [row.row_id for row in tracked_rows(rows)] == [row.row_id for row in found]


def test_mlflow_has_every_row_once(rows: SweepRows, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'symbio-lab[mlflow]'")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    total = len(rows.frame)
    assert export_to_mlflow(rows, uri) == (total, 0)
    assert export_to_mlflow(rows, uri) == (0, total)
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "made"]
    runs = {run.data.tags[ROW_TAG]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == total
    for row in tracked_rows(rows):
        data = runs[row.row_id].data
        assert data.metrics == pytest.approx(row.figures)
        assert data.params == {name: str(value) for name, value in row.parameters.items()}
    # One that broke off while it was sent is sent again.
    client.set_terminated(next(iter(runs.values())).info.run_id, status="KILLED")
    assert export_to_mlflow(rows, uri) == (1, total - 1)


def test_no_tracking_server_is_said(rows: SweepRows, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'symbio-lab[mlflow]'")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write to MLflow"):
        export_to_mlflow(rows, f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def test_wandb_keeps_every_row_once_without_a_network(rows: SweepRows, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'symbio-lab[wandb]'")
    total = len(rows.frame)
    assert export_to_wandb(rows, tmp_path / "runs") == (total, 0)
    assert export_to_wandb(rows, tmp_path / "runs") == (0, total)
    folders = {path.name.rpartition("-")[2]: path for path in (tmp_path / "runs" / "wandb").glob("offline-run-*")}
    assert set(folders) == {row.row_id for row in tracked_rows(rows)}
    for row in tracked_rows(rows):
        (log,) = folders[row.row_id].glob("*.wandb")
        data = log.read_bytes()
        assert row.arm.encode() in data
        assert b"deployed_net_gain_pp" in data
    # A run that was not noted is written again, under the same id.
    note = tmp_path / "runs" / SENT
    note.write_text("".join(f"{line}\n" for line in note.read_text().split()[:-1]))
    assert export_to_wandb(rows, tmp_path / "runs") == (1, total - 1)


def to_mlflow(rows: SweepRows, folder: Path) -> None:
    export_to_mlflow(rows, f"sqlite:///{folder / 'mlflow.db'}")


@pytest.mark.parametrize(("package", "export"), [("mlflow", to_mlflow), ("wandb", export_to_wandb)])
def test_a_missing_package_says_how_to_get_it(
    rows: SweepRows, tmp_path: Path, package: str, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package) as caught:
        export(rows, tmp_path)
    assert f"symbio-lab[{package}]" in str(caught.value.hint)
