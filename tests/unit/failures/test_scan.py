"""The SCAN grammar: its size, its meaning, and equality with the released files."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbio_lab.errors import DataError
from symbio_lab.failures import load_rows, scan_pairs, scan_splits
from symbio_lab.failures.scan import interpret


def test_every_command_once_with_the_actions_that_interpret_gives() -> None:
    pairs = scan_pairs()
    assert len(pairs) == 20_910
    assert len({command for command, _ in pairs}) == 20_910
    assert all(interpret(command) == actions for command, actions in pairs[::97])


@pytest.mark.parametrize(
    ("command", "actions"),
    [
        # The examples of Lake and Baroni (2018), figure 1.
        ("jump", "I_JUMP"),
        ("jump left", "I_TURN_LEFT I_JUMP"),
        ("jump around right", " ".join(["I_TURN_RIGHT I_JUMP"] * 4)),
        ("turn left twice", "I_TURN_LEFT I_TURN_LEFT"),
        ("jump thrice", "I_JUMP I_JUMP I_JUMP"),
        (
            "jump opposite left and walk thrice",
            "I_TURN_LEFT I_TURN_LEFT I_JUMP I_WALK I_WALK I_WALK",
        ),
        (
            "jump opposite left after walk around left",
            " ".join(["I_TURN_LEFT I_WALK"] * 4) + " I_TURN_LEFT I_TURN_LEFT I_JUMP",
        ),
    ],
)
def test_published_examples(command: str, actions: str) -> None:
    assert interpret(command) == actions


@pytest.mark.parametrize("command", ["", "fly", "jump and", "jump and run and walk", "turn", "walk  twice"])
def test_what_the_grammar_lacks_is_refused(command: str) -> None:
    with pytest.raises(DataError, match="not a SCAN command"):
        interpret(command)


def test_the_grammar_is_the_released_simple_split(real_data: Path) -> None:
    rows = [*load_rows("scan", "simple_train"), *load_rows("scan", "simple_test")]
    assert {(row["command"], row["actions"]) for row in rows} == set(scan_pairs())


def test_the_made_splits_are_the_released_ones(real_data: Path) -> None:
    splits = scan_splits()
    assert len(splits) == 8
    for name, pairs in splits.items():
        released = {(row["command"], row["actions"]) for row in load_rows("scan", name)}
        assert set(pairs) == released, name
