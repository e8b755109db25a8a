"""From failures to patterns: grouped by domain, with a rate only where the denominator is known."""

from __future__ import annotations

import pytest

from symbio_lab.errors import EmptySliceError
from symbio_lab.monitor.patterns import NUM_EXEMPLARS, NUM_WORDS, failure_records, find_patterns, typical_words
from symbio_lab.records import FailureRecord, Sample, TaskType
from symbio_lab.stats.intervals import clopper_pearson


def records(count: int = 6, domain: str = "gift_cards", task: TaskType = "text_classification") -> list[FailureRecord]:
    samples = [Sample(f"gift card number {i} is empty", f"label_{i % 2}", f"g{i}", domain) for i in range(count)]
    outputs = ["other"] * count
    return list(failure_records(samples, outputs, model_id="m", model_revision="r", task_type=task))


def test_a_failure_record_says_what_was_expected_and_what_came() -> None:
    (record,) = records(1)
    assert (record.input_sample, record.expected_output, record.actual_output) == (
        "gift card number 0 is empty",
        "label_0",
        "other",
    )
    assert (record.model_id, record.model_revision, record.error_type) == ("m", "r", "wrong_label")
    assert records(1, task="text_generation")[0].error_type == "wrong_output"


def test_one_pattern_a_domain_the_largest_first() -> None:
    found = find_patterns([*records(2, "a"), *records(5, "b"), *records(2, "c")])
    assert [p.support for p in found] == [5, 2, 2]
    assert len(found[0].members) == 5
    assert len(found[0].exemplars) == NUM_EXEMPLARS
    assert found[0].labels == ("label_0", "label_1")


def test_the_description_names_topic_and_words() -> None:
    (pattern,) = find_patterns(records(), background=["where is my parcel", "the number you gave me is wrong"])
    assert pattern.description.startswith("Requests about gift cards are answered wrongly (")
    assert "gift" in pattern.description


def test_a_rate_needs_a_denominator() -> None:
    (unknown,) = find_patterns(records(6))
    assert unknown.failure_rate is None
    (known,) = find_patterns(records(6), {"gift_cards": 20})
    assert known.failure_rate == pytest.approx(0.3)
    assert (known.failure_rate_low, known.failure_rate_high) == clopper_pearson(6, 20)
    (impossible,) = find_patterns(records(6), {"gift_cards": 3})
    assert impossible.failure_rate is None


def test_generation_patterns_have_no_labels() -> None:
    (pattern,) = find_patterns(records(task="text_generation"))
    assert pattern.labels == ()


def test_the_same_failures_give_the_same_pattern() -> None:
    assert find_patterns(records())[0].pattern_id == find_patterns(records())[0].pattern_id
    assert find_patterns(records(5))[0].pattern_id != find_patterns(records(6))[0].pattern_id


def test_no_failures_make_no_pattern() -> None:
    with pytest.raises(EmptySliceError):
        find_patterns([])


def test_words_of_all_traffic_are_not_typical() -> None:
    inside = ["the gift card is empty", "the gift card is lost"]
    everywhere = [*inside, *(f"the parcel is late {i}" for i in range(20))]
    words = typical_words(inside, everywhere)
    assert set(words[:2]) == {"gift", "card"}
    assert len(words) <= NUM_WORDS
