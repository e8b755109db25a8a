"""Each line of the matrix: refused with its own code, quickly and in little memory; and the page says what is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from symbio_lab.errors import TRUST_CODES
from tests.attacks import matrix_behaviour
from tests.attacks.matrix import LINES, MOST_BYTES, MOST_SECONDS, PAGE, page
from tests.attacks.matrix_case import Line, Place, measure
from tests.fixtures_models import TinyModels
from tests.fixtures_models import tiny as tiny

MOST_TRIES = 3
"""The best of so many counts: the others measure who else is using the machine."""
NOT_REFUSALS_OF_TRUST = {"capped", "too_many_flips", "fix_rate_too_low"}


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_attack(
    line: Line, tmp_path: Path, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch, closing: ExitStack
) -> None:
    folders = iter(range(2 * MOST_TRIES))

    def new_place() -> Place:
        return Place(tmp_path / str(next(folders)), tiny, monkeypatch, closing)

    for _ in range(MOST_TRIES):
        found = measure(line, new_place)
        assert found.code == line.code
        if found.wall_s < MOST_SECONDS and max(found.python_bytes, found.process_bytes) < MOST_BYTES:
            return
    pytest.fail(f"the cheapest of {MOST_TRIES} refusals cost {found}")


def test_what_is_measured_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closing: ExitStack) -> None:
    import time

    import numpy as np

    def prepare(place: Place) -> object:
        def slow_and_large() -> str:
            time.sleep(0.05)
            # So large that it is mapped anew, whatever the process freed before.
            return str(np.ones(96 << 20, np.uint8).sum())

        return slow_and_large

    folders = iter(range(2))
    line = Line("x", "x", "x", "x", "x", prepare)  # type: ignore[arg-type]
    found = measure(line, lambda: Place(tmp_path / str(next(folders)), None, monkeypatch, closing))
    assert found.code == str(96 << 20)
    assert found.wall_s >= 0.05
    assert found.python_bytes >= 96 << 20
    assert found.process_bytes >= 80 << 20


def test_a_hidden_trigger_is_not_caught(tmp_path: Path, tiny: TinyModels) -> None:
    """What the page states: signed, fit, accepted by the gate, and still a backdoor."""
    code, works = matrix_behaviour.hidden_trigger(tmp_path, tiny)
    assert code == "accepted"
    assert works > 0.9


def test_every_line_has_its_name_and_a_known_code() -> None:
    names = [line.name for line in LINES]
    assert len(set(names)) == len(names)
    assert {line.code for line in LINES} <= {*TRUST_CODES, *NOT_REFUSALS_OF_TRUST}
    assert len({line.attack for line in LINES}) == len(LINES)


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.attacks.matrix"
