"""Gold labels of a user's table: names, numbers, and what must not be guessed."""

from __future__ import annotations

import pytest

from symbio_lab.errors import UnknownLabelsError
from symbio_lab.failures.own_labels import match_labels
from symbio_lab.records import Sample

STARS = ("1", "2", "3", "4", "5")


def rows(*gold: str) -> list[Sample]:
    return [Sample(f"text {i}", value, f"g{i}") for i, value in enumerate(gold)]


def matched(gold: tuple[str, ...], labels: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    samples, renamed = match_labels(rows(*gold), labels)
    return tuple(s.expected for s in samples), renamed


@pytest.mark.parametrize(
    ("gold", "labels", "expected"),
    [
        (("pos", "neg"), ("neg", "pos"), (("pos", "neg"), False)),
        (("1", "0"), ("neg", "pos"), (("pos", "neg"), True)),
        (("1.0", "0.0"), ("neg", "pos"), (("pos", "neg"), True)),
        (("1", "0"), ("LABEL_0", "LABEL_1"), (("LABEL_1", "LABEL_0"), True)),
        (("1", "5"), STARS, (("1", "5"), False)),
        (("1.0", "5.0"), STARS, (("1", "5"), False)),
        (("pos", "mixed"), ("neg", "pos"), (("pos", "mixed"), False)),
    ],
)
def test_names_stay_and_numbers_become_names(
    gold: tuple[str, ...], labels: tuple[str, ...], expected: tuple[tuple[str, ...], bool]
) -> None:
    assert matched(gold, labels) == expected


@pytest.mark.parametrize(
    ("gold", "labels"),
    [
        (("0", "4"), STARS),
        (("good", "bad"), ("neg", "pos")),
        (("0", "1", "2"), ("neg", "pos")),
        (("pos", "Neg"), ("neg", "pos")),
        (("card_arrival", "lost card"), ("card_arrival", "lost_card")),
        (("pos", "0"), ("neg", "pos")),
    ],
)
def test_what_could_be_either_is_an_error_that_names_both_sides(gold: tuple[str, ...], labels: tuple[str, ...]) -> None:
    with pytest.raises(UnknownLabelsError) as caught:
        match_labels(rows(*gold), labels)
    assert any(value in str(caught.value) for value in gold)
    assert f"it has: {', '.join(labels)}" in str(caught.value)
    assert "id2label" in caught.value.hint
