"""States of a model, each by the evidence that makes it."""

from __future__ import annotations

import pytest

from symbio_lab.errors import EmptySliceError
from symbio_lab.monitor.detectors.alarm import Alarm, Stream
from symbio_lab.monitor.health import HealthPolicy, assess_health
from symbio_lab.monitor.naming import main_slice, pattern_of, query_for
from symbio_lab.monitor.predicates import Predicate
from symbio_lab.monitor.slices import Slice, SliceSearch
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.records import Interval, PredictionRecord


def traffic(num_wrong: int, num_right: int, num_unknown: int = 0) -> Traffic:
    golds = ["b"] * num_wrong + ["a"] * num_right + [None] * num_unknown
    return traffic_of(
        PredictionRecord("m", "text_classification", f"fly to rome {i}", "a", gold, domain="travel", event_id=str(i))
        for i, gold in enumerate(golds)
    )


def one(rule: Predicate, low: float, members: tuple[int, ...] = (0, 1, 2)) -> Slice:
    inside = Interval(low + 0.1, low, low + 0.2, 50)
    return Slice(rule.describe(), rule, 1e-6, True, inside, Interval(0.05, 0.04, 0.06, 500), members, 3)


def found(*slices: Slice) -> SliceSearch:
    return SliceSearch(slices, (), 100, 100, 0.1)


ALARM = Alarm(Stream("domain", "travel"), 3100, 80, 1e4, 1e4, 0.05, 0.4, 60, 20)
TRAVEL = Predicate("domain", "travel")


def test_healthy_needs_labels_and_nothing_wrong() -> None:
    assert assess_health(traffic(5, 295), reference_rate=0.05).state == "healthy"
    few = assess_health(traffic(0, 20, 500), reference_rate=0.05)
    assert (few.state, few.num_unlabelled) == ("watch", 500)
    assert few.evidence[0] == "only 20 labelled answers: too few to state an error rate"


def test_an_error_rate_above_normal_beyond_doubt_is_degraded_and_a_high_one_failing() -> None:
    assert assess_health(traffic(40, 260), reference_rate=0.05).state == "degraded"
    assert assess_health(traffic(20, 280), reference_rate=0.05).state == "healthy"
    assert assess_health(traffic(120, 180), reference_rate=0.05).state == "failing"
    assert assess_health(traffic(40, 260)).state == "healthy", "without a reference nobody knows what is normal"
    assert "nobody knows what is normal" in assess_health(traffic(40, 260)).evidence[0]


def test_an_alarm_is_degraded_and_says_its_figures() -> None:
    health = assess_health(traffic(5, 295), reference_rate=0.05, alarms=[ALARM])
    assert health.state == "degraded"
    assert health.evidence[0] == (
        "alarm of stream domain travel at event 3100: 40.0 % of its last 60 answers wrong, 5.0 % was normal"
    )


def test_a_pattern_is_degraded_and_a_large_bad_one_failing() -> None:
    rows = traffic(30, 270)
    mild, bad, large = (
        assess_health(rows, search=found(one(TRAVEL, low, members)))
        for low, members in ((0.3, (0, 1, 2)), (0.6, (0, 1, 2)), (0.6, tuple(range(40))))
    )
    assert [h.state for h in (mild, bad, large)] == ["degraded", "degraded", "failing"]
    assert mild.evidence[0].startswith(
        "a pattern is confirmed: the domain is travel (40.0 %, 30.0 to 50.0 % wrong inside"
    )


def test_the_worst_of_several_patterns_decides() -> None:
    large = one(TRAVEL, 0.3, tuple(range(100)))
    bad = one(Predicate("ngram", "visa"), 0.9, tuple(range(24)))
    health = assess_health(traffic(30, 270), search=found(large, bad))
    assert health.state == "failing"
    assert len([text for text in health.evidence if text.startswith("a pattern is confirmed")]) == 2


def test_symptoms_and_shifts_are_to_be_watched() -> None:
    symptom = one(Predicate("confidence", "0", "0.5"), 0.6)
    assert assess_health(traffic(3, 297), search=found(symptom)).state == "watch"
    assert assess_health(traffic(3, 297), shifts=["the inputs have shifted (p = 0.001)"]).state == "watch"


def test_limits_are_the_policys() -> None:
    rows = traffic(60, 240)
    assert assess_health(rows, policy=HealthPolicy(failing_rate=0.1)).state == "failing"
    assert assess_health(rows, policy=HealthPolicy(min_labelled=1000)).state == "watch"


def test_a_pattern_carries_rates_members_and_what_to_search_for() -> None:
    rows = traffic(3, 97)
    pattern = pattern_of(one(TRAVEL, 0.3), rows, "text_classification")
    assert pattern.members == ("0", "1", "2")
    assert pattern.labels == ("b",)
    assert (pattern.failure_rate, pattern.outside_rate, pattern.traffic_share) == (0.4, 0.05, 0.03)
    assert pattern.search_text.startswith("Requests about travel are answered wrongly; ")
    query = query_for(pattern, task_type="text_classification", base_digest="0" * 64)
    assert (query.text, query.labels, query.base_digest) == (pattern.search_text, ("b",), "0" * 64)
    assert pattern_of(one(TRAVEL, 0.3), rows, "text_generation").labels == ()
    with pytest.raises(EmptySliceError):
        pattern_of(one(TRAVEL, 0.3, members=(50, 51)), rows, "text_classification")


def test_the_main_slice_is_the_largest_that_is_no_symptom() -> None:
    symptom = one(Predicate("answered", "x"), 0.6)
    small = one(Predicate("ngram", "visa"), 0.6)
    assert main_slice(found(symptom, small)) == small
    assert main_slice(found(symptom)) is None
