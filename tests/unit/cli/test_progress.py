"""One plain line a step without a terminal, bars with one; stdout is never touched."""

from __future__ import annotations

from typing import Any

import pytest

from symbio_lab import events
from symbio_lab.cli.progress import event_line, progress

EVENTS = [
    events.BuildProgress("pool", 0, 3),
    events.BuildProgress("pool", 2, 3),
    events.BuildProgress("pool", 3, 3),
    events.PhaseStarted("search"),
    events.SearchFinished(12, 3),
    events.CandidateRefused("mallory/patch", "unsigned"),
    events.CandidateScreened("alice/patch", 0.5, 0.1, 8),
    events.SurgeryFinished("lora", 8, 1.5),
    events.GateDecided("alice/patch", "accept", 0.8, 0.5, 0.01, 0.03),
    events.Deployed("d" * 64, None, "rolled_back"),
    events.Contributed("me/patch", "c" * 64),
    events.PhaseFinished("search", 1.0, 10.0),
    events.CellFinished("noop", 0, "no_op", 1, 7),
]


def test_without_a_terminal_each_step_is_one_line(capsys: Any) -> None:
    with progress() as listener:
        for event in EVENTS:
            listener(event)
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == ""
    assert len(lines) == len([event for event in EVENTS if event_line(event)]) == 10
    assert "refused mallory/patch: unsigned" in lines
    assert "rolled_back: the base" in lines


def test_a_comparison_tells_of_builds_and_cells_only(capsys: Any) -> None:
    with progress(phases=False) as listener:
        for event in EVENTS:
            listener(event)
    assert capsys.readouterr().err.splitlines() == ["pool: 0/3", "pool: 3/3", "cell 1/7: noop seed 0: no_op"]


def test_a_terminal_gets_bars(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress() as listener:
        for event in EVENTS:
            listener(event)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "cell 1/7: noop seed 0: no_op" in printed.err
