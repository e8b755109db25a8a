"""``symbio monitor replay`` refuses wrong plans before anything is built."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from symbio_lab.cli.app import run
from symbio_lab.records import FailurePattern
from symbio_lab.replay.story import ReplayResult


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--shift", "typos"], "bad_config", "domain:NAME"),
        (["--share", "2"], "bad_config", "share"),
        (["--at", "0"], "bad_config", "before the shift"),
        (["--label-delay", "-1"], "bad_config", "label-delay"),
        (["--pool", "enormous"], "bad_config", "unknown pool"),
        (["--strategy", "hope"], "bad_config", "hope"),
        (["--gate", "none"], "bad_config", "gate policy"),
        (["--shift", "domain:astrology"], "unknown_dataset", "astrology"),
        (["--dataset", "horoscopes"], "unknown_dataset", "horoscopes"),
    ],
)
def test_a_wrong_plan_is_a_typed_error(
    arguments: list[str], code: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a wrong plan was run")

    monkeypatch.setattr("symbio_lab.replay.running.build_world", never)
    assert run(["monitor", "replay", *arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert error["error"] == code
    assert words in error["message"]
    assert error["hint"]


def test_help_names_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "replay", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(
        option in text for option in ("--dataset", "--shift", "--at", "--heal", "--label-delay", "--pool", "--json")
    )


def test_what_was_searched_is_named_and_only_the_runs_store_is_begun_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pattern = FailurePattern("the domain is travel", ("a",), (), (), 9, search_text="all words")
    result = ReplayResult(300, 100, alarm_at=120, alarm_known_at=150, pattern=pattern, alarms=[])
    task = SimpleNamespace(description="words of repair")
    drawn = replace(result, extraction=SimpleNamespace(suite=SimpleNamespace(task=task)))  # type: ignore[arg-type]
    given = iter([result, drawn])
    monkeypatch.setattr("symbio_lab.replay.running.build_world", lambda *_, **__: SimpleNamespace())
    monkeypatch.setattr("symbio_lab.replay.running.build_stream", lambda *_: ())
    monkeypatch.setattr("symbio_lab.replay.running.SentenceEmbedder", lambda: None)
    monkeypatch.setattr("symbio_lab.replay.running.replay", lambda *_, **__: next(given))
    for name in ("store.db", "store.db-wal", "replay.db", "replay.db-wal"):
        (tmp_path / name).write_bytes(b"something")
    for words in ("all words", "words of repair"):
        assert run(["monitor", "replay", "--pool", "none", "--out", str(tmp_path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["search"] == words
        assert (found["alarm_at"], found["alarm_known_at"]) == (120, 150)
    assert (tmp_path / "store.db").read_bytes() == (tmp_path / "store.db-wal").read_bytes() == b"something"
    assert not (tmp_path / "replay.db-wal").exists()
