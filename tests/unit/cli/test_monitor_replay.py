"""``symbio monitor replay`` refuses wrong plans before anything is built."""

from __future__ import annotations

import json

import pytest

from symbio_lab.cli.app import run


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
