"""Committed results and repeated runs: what is reported comes out again, and what does not is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from symbio_lab.errors import ConfigError, DataError, NotFoundError
from symbio_lab.sweeps.adopting import adopt_runs
from symbio_lab.sweeps.plan import SweepPlan, make_plan
from symbio_lab.sweeps.results import commit_rows, read_rows
from symbio_lab.sweeps.runner import run_sweep
from symbio_lab.sweeps.verifying import compare_rows, verify_sweep
from tests.unit.sweeps.made import made_notebook, marks

TIMED = """import time

import pandas

time.sleep(0.01)
frame = pandas.DataFrame({"value": [number * number], "text": [text], "cost_wall_s": [time.time()]})
frame.to_parquet(Path(out) / "results.parquet")
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SweepPlan:
    folder = tmp_path_factory.mktemp("sweep")
    notebook = made_notebook(folder / "cell.ipynb")
    _use(notebook, TIMED)
    data = {
        "name": "tiny",
        "notebook": "cell.ipynb",
        "parameters": {"marks": str(folder / "marks")},
        "grid": {"product": {"number": [1, 2, 3], "text": ["a", "b"]}},
        "engine": {"slots": 2},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(data))
    plan = make_plan(folder / "sweep.yaml", folder / "out")
    assert len(run_sweep(plan).finished) == 6
    return plan


def _use(notebook: Path, result: str) -> None:
    import nbformat

    node = nbformat.read(notebook, 4)
    cell = next(c for c in node.cells if "to_parquet" in c.source)
    cell.source = result
    nbformat.write(node, notebook)


def experiment(plan: SweepPlan, folder: Path) -> Path:
    """Lay an experiment out beside its notebook: sweep.yaml and results/."""
    for name in ("sweep.yaml", "cell.ipynb"):
        folder.mkdir(exist_ok=True)
        shutil.copy(plan.folder.parent / name, folder / name)
    return folder


def test_committed_rows_are_those_of_the_sweep(finished: SweepPlan, tmp_path: Path) -> None:
    folder = experiment(finished, tmp_path / "experiment")
    with pytest.raises(NotFoundError, match="no results yet"):
        read_rows(folder)
    names = [path.name for path in commit_rows(finished, folder, "text")]
    assert names == ["a.parquet", "b.parquet"]
    here, there = read_rows(finished.folder), read_rows(folder)
    by = ["text", "number"]
    pd.testing.assert_frame_equal(
        here.frame.sort_values(by, ignore_index=True), there.frame.sort_values(by, ignore_index=True)
    )
    assert (there.num_finished, there.num_runs) == (6, 6)
    with pytest.raises(DataError, match="no column 'colour'"):
        commit_rows(finished, folder, "colour")


def test_committed_runs_are_not_computed_again(finished: SweepPlan, tmp_path: Path) -> None:
    """A fresh folder takes what is committed, runs the rest, and gives the rows of the undisturbed sweep."""
    folder = experiment(finished, tmp_path / "experiment")
    plan = make_plan(folder / "sweep.yaml", tmp_path / "out")
    assert adopt_runs(plan, folder) == 0
    commit_rows(finished, folder, "text")
    (folder / "results" / "b.parquet").unlink()
    before = marks(finished.folder.parent / "marks")
    assert adopt_runs(plan, folder) == 3
    assert adopt_runs(plan, folder) == 0
    done = run_sweep(plan)
    assert len(done.finished) == 6
    after = marks(finished.folder.parent / "marks")
    assert {number: after[number][0] - before[number][0] for number in after} == {1: 1, 2: 1, 3: 1}
    by, times = ["text", "number"], ["cost_wall_s"]
    undisturbed, resumed = read_rows(finished.folder).frame, read_rows(plan.folder).frame
    pd.testing.assert_frame_equal(
        undisturbed.sort_values(by, ignore_index=True).drop(columns=times),
        resumed.sort_values(by, ignore_index=True).drop(columns=times),
    )
    taken = [record for record in done.finished if record.reason]
    assert {record.parameters["text"] for record in taken} == {"a"}
    assert all(record.versions for record in taken)


def test_another_key_is_not_taken(finished: SweepPlan, tmp_path: Path) -> None:
    folder = experiment(finished, tmp_path / "experiment")
    commit_rows(finished, folder, "text")
    made_notebook(folder / "cell.ipynb", "'another notebook'")
    assert adopt_runs(make_plan(folder / "sweep.yaml", tmp_path / "out"), folder) == 0


def test_a_part_of_a_sweep(finished: SweepPlan) -> None:
    part = finished.only(["number=1", "number=3", "text=b"])
    assert [(run["number"], run["text"]) for run in part.runs.values()] == [(1, "b"), (3, "b")]
    assert finished.only([]).runs == finished.runs
    with pytest.raises(ConfigError) as caught:
        finished.only(["number", "number=7", "colour=red"])
    assert len(caught.value.problems) == 3
    assert "there are 1, 2, 3" in str(caught.value)


def test_a_share_comes_out_again(finished: SweepPlan, tmp_path: Path) -> None:
    """From a fresh folder, and from committed results: equal but for times."""
    folder = experiment(finished, tmp_path / "experiment")
    commit_rows(finished, folder, "text")
    before = sum(starts for starts, _ in marks(finished.folder.parent / "marks").values())
    found = verify_sweep(read_rows(folder), tmp_path / "again", share=0.3, seed=1)
    assert found.equal
    assert (found.num_drawn, found.num_finished, found.num_rows) == (2, 6, 2)
    # number, text, value and marks: the time is not compared, and it differs.
    assert found.num_figures == 2 * 4
    assert sum(starts for starts, _ in marks(finished.folder.parent / "marks").values()) == before + 2
    again = verify_sweep(read_rows(folder), tmp_path / "again", share=0.3, seed=1)
    assert again == found
    with pytest.raises(ConfigError, match="other runs"):
        verify_sweep(read_rows(folder), tmp_path / "again", share=1.0, seed=1)


def test_a_changed_figure_is_named(finished: SweepPlan, tmp_path: Path) -> None:
    folder = experiment(finished, tmp_path / "experiment")
    for path in commit_rows(finished, folder, "text"):
        frame = pd.read_parquet(path)
        frame["value"] += 1e-12 + (frame["number"] == 2)
        frame.to_parquet(path)
    found = verify_sweep(read_rows(folder), tmp_path / "again", share=1.0)
    assert not found.equal
    wrong = {d.parameters["number"]: (d.column, d.reported, d.again) for d in found.differences}
    assert wrong[2] == ("value", 5.0 + 1e-12, 4)


def test_a_missing_row_is_a_difference() -> None:
    old = pd.DataFrame({"strategy": ["a", "b"], "seed": [0, 0], "x": [1.0, None]})
    compared, found = compare_rows(old, old[old["strategy"] == "b"], {})
    assert compared == 3
    assert [(d.row, d.column) for d in found] == [("a 0", "row")]
    assert compare_rows(old, old.assign(x=[1.0, float("nan")]), {}) == (6, [])


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_is_a_share(finished: SweepPlan, tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="share"):
        verify_sweep(read_rows(finished.folder), tmp_path / "x", share=share)


def test_a_folder_without_a_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no sweep"):
        read_rows(tmp_path)
