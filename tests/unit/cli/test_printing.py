"""Results are plain, unwrapped and exact; strangers' words are never markup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.cli import printing
from symbio_lab.cli.compare_output import summary_table


def test_rows_are_never_wrapped(capsys: Any) -> None:
    printing.print_table(["name", "reason"], [["a", "word " * 100], ["b\nc", None]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert len(lines[1]) > 400
    assert lines[2] == "b c"


def test_a_terminal_gets_a_drawn_table_without_markup(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    printing.print_table(["name"], [["[red]evil[/red]"]])
    assert "[red]evil[/red]" in capsys.readouterr().out


def test_json_takes_records_and_paths_and_no_nan(capsys: Any) -> None:
    @dataclass(frozen=True)
    class Record:
        path: Path

    printing.print_json({"a": Record(Path("b")), "c": (1,)})
    assert capsys.readouterr().out == '{\n "a": {\n  "path": "b"\n },\n "c": [\n  1\n ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        printing.print_json(float("nan"))
    with pytest.raises(TypeError):
        printing.print_json(object())


def test_figures_without_a_value_are_dashes() -> None:
    assert printing.interval_text(0.5, None, None, digits=1) == "0.5"
    names = ("deployed_fix_rate", "deployed_net_gain_pp", "deployed_negative_flip_rate")
    empty = {f"{name}{end}": None for name in names for end in ("", "_min", "_max")}
    figures = {**empty, "num_seeds": 2, "statuses": ["undecided", "healed", "healed"], "deploy_rate": 0.5}
    _, rows = summary_table({"strategies": {"lora": {**figures, "cost_forwards_equivalent": 1234.5}}})
    assert rows == [["lora", "2", "healed,undecided", "50%", "-", "-", "-", "1,234"]]
