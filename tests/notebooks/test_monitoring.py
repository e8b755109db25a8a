"""The monitoring notebook from its first cell to its last, on the embedded help desk, without a market."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from symbio_lab.kernels.executing import execute_notebook

# Trains a base and embeds a stream: 80 s of one core. The library behind it is tested on the tiny world every time.
pytestmark = pytest.mark.slow
PARAMETERS = {
    "dataset": "helpdesk",
    "shift": "domain:warranty",
    "at": 400,
    "pool": "none",
    "min_controls": 100,
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("monitoring")
    out = execute_notebook("monitoring", {**PARAMETERS, "out": str(folder / "run")}, folder / "out.ipynb")
    assert (folder / "run" / "stream.png").read_bytes().startswith(b"\x89PNG")
    cells = nbformat.read(out, as_version=4).cells
    return [
        output.data["text/plain"]
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output and "text/plain" in output.data
    ]


def test_every_section_shows_something(texts: list[str]) -> None:
    assert len(texts) == 8
    assert all(text.strip() for text in texts)


def test_the_story_is_told_with_figures(texts: list[str]) -> None:
    chart, alarm, health, patterns, samples, advice, outcome, recovery = texts
    assert "Shift: request 400." in chart
    assert "Alarm: request 4" in chart
    assert alarm.startswith("The alarm came at request 4")
    assert health.startswith("The model is ")
    assert "the domain is warranty" in patterns
    assert "drawn at random: for the gate" in samples
    assert advice.splitlines()[-1].startswith("operate")
    assert "healed, route surgery" in outcome
    assert "after healing" in recovery


def test_it_heals_what_set_in(texts: list[str]) -> None:
    # The help desk has too little traffic for a rate afterwards; how far a replay heals is tested on the tiny world.
    between, after = texts[-1].splitlines()[-2:]
    assert between.startswith("between")
    assert "100.0 %" in between
    assert after.startswith("after healing")


def test_nothing_is_left_in_the_working_folder() -> None:
    assert not (Path.cwd() / "runs" / "monitoring").exists()
