"""Where data are looked for, and that no message tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbio_lab.errors import ConfigError
from symbio_lab.failures import locating


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout and a working folder with no data beside them."""
    checkout = tmp_path / "deep" / "checkout"
    (checkout / "symbio_lab" / "failures").mkdir(parents=True)
    monkeypatch.setattr(locating, "__file__", str(checkout / "symbio_lab" / "failures" / "locating.py"))
    work = tmp_path / "elsewhere" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.delenv("SYMBIO_LAB_DATA", raising=False)
    return tmp_path


def test_no_data_is_none(away: Path) -> None:
    assert locating.data_root() is None


def test_the_environment_wins(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shared(away / "deep")
    monkeypatch.setenv("SYMBIO_LAB_DATA", str(away))
    assert locating.data_root() == away


def test_a_wrong_environment_is_an_error_without_the_path(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMBIO_LAB_DATA", str(away / "nowhere"))
    with pytest.raises(ConfigError) as caught:
        locating.data_root()
    assert str(away) not in str(caught.value) + caught.value.hint


def test_beside_the_checkout_before_beside_the_working_folder(away: Path) -> None:
    beside_work = make_shared(away / "elsewhere")
    assert locating.data_root() == beside_work
    beside_checkout = make_shared(away / "deep")
    assert locating.data_root() == beside_checkout


def test_a_shared_folder_without_a_manifest_is_somebody_elses(away: Path) -> None:
    (away / "deep" / "shared" / "datasets").mkdir(parents=True)
    assert locating.data_root() is None


def make_shared(parent: Path) -> Path:
    root = parent / "shared" / "datasets"
    root.mkdir(parents=True)
    (root / "MANIFEST.json").write_text("{}")
    return root
