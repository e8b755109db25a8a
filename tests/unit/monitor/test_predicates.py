"""Each kind of condition: where it is found, what it says, and that it says the same of later traffic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from symbio_lab.errors import DataError
from symbio_lab.monitor.lexicon import Lexicon
from symbio_lab.monitor.predicates import FORMS, Predicate, candidate_predicates
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.records import PredictionRecord


def traffic(rows: Sequence[tuple[str, str, str, float, str]]) -> Traffic:
    return traffic_of(
        PredictionRecord(
            "m",
            "text_classification",
            text,
            actual,
            expected,
            domain=text.split()[0].lower(),
            confidence=confidence,
            event_id=str(i),
            metadata={"channel": channel},
        )
        for i, (text, expected, actual, confidence, channel) in enumerate(rows)
    )


ROWS = traffic(
    [
        *[
            (f"book flight number {i} please", "flight", "hotel" if i % 2 else "flight", 0.4, "voice")
            for i in range(20)
        ],
        *[(f"cancel hotel {i}", "hotel", "hotel", 0.95, "app") for i in range(20)],
        *[(f"what about card {i}", "card", "card", 0.8, "app") for i in range(60)],
    ]
)
LEXICON = Lexicon.of(ROWS.texts)


def listed() -> dict[tuple[str, str, str], np.ndarray]:
    found = candidate_predicates(ROWS, LEXICON)
    columns = found.holds.toarray().astype(bool)
    return {(p.kind, p.value, p.other): columns[:, j] for j, p in enumerate(found.listed)}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (("ngram", "book flight", ""), range(20)),
        (("ngram", "book flight number", ""), range(20)),
        (("domain", "cancel", ""), range(20, 40)),
        (("expected", "flight", ""), range(20)),
        (("answered", "flight", ""), range(0, 20, 2)),
        (("confidence", "0", "0.5"), range(20)),
        (("confidence", "0.9", "1"), range(20, 40)),
        (("metadata", "channel", "voice"), range(20)),
        (("longest", "5", ""), range(20)),
    ],
)
def test_a_condition_holds_where_it_should(key: tuple[str, str, str], expected: range) -> None:
    assert np.flatnonzero(listed()[key]).tolist() == list(expected)


def test_two_labels_taken_for_each_other() -> None:
    found = candidate_predicates(ROWS, LEXICON)
    (place,) = [j for j, p in enumerate(found.listed) if p.kind == "confused"]
    assert found.listed[place].describe() == "flight and hotel are taken for each other"
    assert found.holds[:, [place]].sum() == 40


def test_every_condition_says_the_same_of_the_traffic_as_a_value() -> None:
    found = candidate_predicates(ROWS, LEXICON, max_share=1.0)
    assert len({p.kind for p in found.listed}) >= 9
    for j, predicate in enumerate(found.listed):
        column = found.holds[:, [j]].toarray().ravel().astype(bool)
        assert (predicate.contains(ROWS) == column).all(), predicate


def test_what_holds_for_too_few_or_too_many_is_not_tried() -> None:
    keys = listed()
    assert ("ngram", "number 3", "") not in keys  # one row
    assert ("ngram", "what about card", "") not in keys  # 60 of 100 rows
    assert ("metadata", "channel", "app") in keys  # 80, but the caller named it


def test_labels_of_free_text_are_no_conditions() -> None:
    kinds = {p.kind for p in candidate_predicates(ROWS, LEXICON, labels=False).listed}
    assert not kinds & {"expected", "answered", "confused"}


@pytest.mark.parametrize(
    ("form", "yes", "no"),
    [
        ("negation", "I didn't ask", "an important restaurant payment"),
        ("negation", "it dont work", "I want a discount"),
        ("digits", "room 12", "room twelve"),
        ("question", "when?", "when"),
        ("capitals", "GIVE ME BACK my money", "Give me"),
        ("non_ascii", "olé", "ole"),
        ("misspelling", "book a flihgt", "book a flight"),
        ("rare_word", "book a dirigible", "book flight"),
        ("rare_words", "jetzt bitte flight umbuchen", "book flight number please dirigible"),
    ],
)
def test_forms(form: str, yes: str, no: str) -> None:
    rows = traffic([(yes, "a", "a", 0.5, ""), (no, "a", "a", 0.5, "")])
    assert Predicate(form, "", "", LEXICON).contains(rows).tolist() == [True, False]
    assert Predicate(form).describe() == FORMS[form][0]


def test_a_form_without_its_lexicon_and_an_unknown_kind_are_errors() -> None:
    with pytest.raises(DataError, match="lexicon"):
        Predicate("misspelling").contains(ROWS)
    with pytest.raises(DataError, match="nonsense"):
        Predicate("nonsense").contains(ROWS)


def test_confidence_that_nobody_gave_is_in_no_band() -> None:
    rows = traffic_of([PredictionRecord("m", "text_classification", "hi", "a", "a")])
    assert not Predicate("confidence", "0", "0.5").contains(rows).any()
