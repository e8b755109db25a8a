"""Which names can be taken for one another, and which cannot."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.trust.lookalike import first_look_alike, look_alike, parts_look_alike

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", fullmatch=True)
LETTERS = st.from_regex(r"[b-dghjkp-z]{6,14}", fullmatch=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "a1ice"),
        ("alice", "aIice"),
        ("alice", "Alice"),
        ("ALICE", "alice"),
        ("modern", "modem"),
        ("vvorld", "world"),
        ("org0", "orgO"),
        ("p1", "pl"),
        ("open-lab", "open_lab"),
        ("open-lab", "open.lab"),
        ("open-lab", "openlab"),
        ("open-lab", "open--lab"),
        ("helpdesk", "helpdeks"),
        ("helpdesk", "hlepdesk"),
        ("helpdesk", "ehlpdesk"),
        ("helpdesk", "helpdes"),
        ("helpdesk", "helpdeskk"),
        ("helpdesk", "xhelpdesk"),
        ("helpdesk", "helpbesk"),
        ("alice", "alice1"),
        ("acme", "acne"),
        ("help-desk", "helpdeks"),
    ],
)
def test_look_alikes(one: str, other: str) -> None:
    assert parts_look_alike(one, other)
    assert parts_look_alike(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "alice"),
        ("alice", "bob"),
        ("patch-01", "patch-02"),
        ("patch-9", "patch-10"),
        ("contributor-00", "contributor-11"),
        ("llama2-fix", "llama3-fix"),
        ("abc", "abd"),
        ("helpdesk", "helpseks"),
        ("helpdesk", "desk"),
        ("travel", "banking"),
        ("", "a"),
    ],
)
def test_names_that_nobody_confuses(one: str, other: str) -> None:
    assert not parts_look_alike(one, other)
    assert not parts_look_alike(other, one)


def test_ids_are_compared_where_they_differ() -> None:
    assert look_alike("alice/travel", "a1ice/anything")
    assert look_alike("alice/travel", "alice/trave1")
    assert not look_alike("alice/travel", "bob/travel")
    assert not look_alike("alice/travel", "alice/travel")
    assert not look_alike("alice/travel", "alice")  # its own namespace
    assert look_alike("acne/travel", "acme")
    assert first_look_alike("a1ice/x", ["bob/x", "alice/y", "alise/z"]) == "alice/y"
    assert first_look_alike("carol/x", ["bob/x"]) is None


@given(NAMES, NAMES)
def test_it_is_symmetric_and_never_holds_of_a_name_and_itself(one: str, other: str) -> None:
    assert parts_look_alike(one, other) == parts_look_alike(other, one)
    assert not parts_look_alike(one, one)


@given(LETTERS, st.data())
def test_every_single_slip_is_found(name: str, data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("bcdghjkp"))
    slips = {
        name[:i] + name[i + 1 :],
        name[:i] + letter + name[i:],
        name[:i] + letter + name[i + 1 :],
        name[:i] + name[i + 1 : i + 2] + name[i] + name[i + 2 :],
        name[:i] + "-" + name[i:],
        name[:i] + name[i].upper() + name[i + 1 :],
    } - {name}
    assert all(parts_look_alike(name, slip) for slip in slips), slips


@given(LETTERS, st.from_regex(r"[0-9]{1,4}", fullmatch=True), st.from_regex(r"[0-9]{1,4}", fullmatch=True))
def test_the_numbers_of_a_series_are_not_slips(stem: str, one: str, other: str) -> None:
    # 0 and 1 are read as letters, which a series of numbers has on both sides alike.
    if one.translate({48: "o", 49: "l"}) != other.translate({48: "o", 49: "l"}):
        assert not parts_look_alike(f"{stem}-{one}", f"{stem}-{other}")


def test_a_thousand_names_are_compared_at_once() -> None:
    names = [f"publisher{i:04d}/patch-{i}" for i in range(1000)]
    first_look_alike("somebody/else", names)
    start = time.perf_counter()
    for _ in range(5):
        assert first_look_alike("somebody/else", names) is None
    assert (time.perf_counter() - start) / 5 < 0.1
