"""The rows as a data set: loadable by ``datasets``, with a card, and never with texts of others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import yaml

from symbio_lab.errors import DataError, NetworkUnavailableError
from symbio_lab.sweeps.dataset_export import export_dataset
from symbio_lab.sweeps.hub import push_dataset
from symbio_lab.sweeps.results import read_rows
from tests.fixtures_sweep import made_rows, write_experiment


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    rows = made_rows().replace({"scenario": {"world-0": "clinc150/travel"}})
    return export_dataset(read_rows(write_experiment(tmp_path / "made", rows)), tmp_path / "out", repo="me/made")


def test_datasets_loads_it_offline(exported: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(exported), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 240
    assert loaded[1]["deployed_net_gain_pp"] == made_rows()["deployed_net_gain_pp"][1]


def test_the_card_says_what_it_is(exported: Path) -> None:
    _, front, body = (exported / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == "cc-by-4.0"
    assert card["configs"][0]["data_files"] == [{"split": "train", "path": "results.parquet"}]
    assert "240 rows, 60 runs finished of 60" in body
    assert "`best_single` against `surgery_only`, on `deployed_net_gain_pp`" in body
    assert "- clinc150: CC-BY-3.0" in body or "- clinc150: CC" in body
    assert "world-1: licence not looked up" in body
    assert "- `deployed_net_gain_pp` (float64): percentage points" in body


def test_texts_of_others_do_not_leave(tmp_path: Path) -> None:
    rows = made_rows().assign(sample="a sentence of somebody " * 20)
    with pytest.raises(DataError, match="column sample holds a text"):
        export_dataset(read_rows(write_experiment(tmp_path / "made", rows)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Hub:
    """Stands where the Hub stands."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo: str, **options: Any) -> None:
        self.calls.append(("create_repo", {"repo": repo, **options}))

    def upload_folder(self, **options: Any) -> Any:
        if self.error:
            raise self.error
        self.calls.append(("upload_folder", options))
        return SimpleNamespace(repo_url="https://hub.example/datasets/me/made")


def test_it_is_pushed_as_a_data_set(exported: Path) -> None:
    (exported / "secret.txt").write_text("token")
    hub = Hub()
    assert push_dataset(exported, "me/made", api=hub) == "https://hub.example/datasets/me/made"
    assert [name for name, _ in hub.calls] == ["create_repo", "upload_folder"]
    assert hub.calls[1][1]["allow_patterns"] == ["README.md", "results.parquet"]
    assert {options["repo_type"] for _, options in hub.calls} == {"dataset"}


def test_no_network_is_said(exported: Path) -> None:
    with pytest.raises(NetworkUnavailableError, match="cannot push to me/made: no route"):
        push_dataset(exported, "me/made", api=Hub(OSError("no route")))
