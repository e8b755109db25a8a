"""Reading a results folder, whole or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from symbio_lab.codec import read_json, write_json
from symbio_lab.errors import DataError, NotFoundError
from symbio_lab.reports.collecting import collect_results
from tests.fixtures_results import write_results


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "results"))


def test_a_finished_comparison_is_read(finished: Path) -> None:
    results = collect_results(finished)
    assert results.arms == ("noop", "best_single", "surgery_only", "oracle_best")
    assert results.strategies == results.arms[:3]
    assert results.seeds == (0, 1)
    assert [c.seed for c in results.of("noop")] == [0, 1]
    assert [c.strategy for c in results.at(1)] == list(results.arms)
    assert results.cells[0].pattern == "<b> fails (please)"


@pytest.mark.parametrize("name", ["results.parquet", "summary.json", "world.json"])
def test_an_unfinished_comparison_says_how_far_it_came(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFoundError, match="not finished: 8 of 8 cells") as caught:
        collect_results(folder)
    assert "again" in caught.value.hint


def test_what_is_no_comparison_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"plan\.json"):
        collect_results(tmp_path)
    with pytest.raises(NotFoundError, match="no results folder"):
        collect_results(tmp_path / "nowhere")


def test_cells_of_other_plans_are_left_out(folder: Path) -> None:
    cell = read_json(folder / "cells" / "cell00" / "cell.json")
    cell["row"]["n_repair"] = 99
    write_json(folder / "cells" / "aaaa" / "cell.json", cell)
    assert {row["n_repair"] for row in collect_results(folder).rows} == {16}


def test_a_row_without_its_cell_is_an_error(folder: Path) -> None:
    shutil.rmtree(folder / "cells" / "cell01")
    with pytest.raises(DataError, match="no cell"):
        collect_results(folder)


def test_a_cell_of_an_older_version_is_an_error(folder: Path) -> None:
    path = folder / "cells" / "cell00" / "cell.json"
    cell = read_json(path)
    del cell["pattern"]
    write_json(path, cell)
    with pytest.raises(DataError, match="lacks pattern"):
        collect_results(folder)


def test_a_damaged_table_is_an_error(folder: Path) -> None:
    (folder / "results.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="Parquet"):
        collect_results(folder)
