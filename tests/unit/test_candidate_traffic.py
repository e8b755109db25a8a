"""Figures of shadows and canaries: counted once, bounded, judged by labels, removed by age."""

from __future__ import annotations

import pytest

from symbio_lab.records import PredictionRecord
from symbio_lab.store import candidate_traffic
from symbio_lab.store.candidate_traffic import CandidateFigures, CandidateTraffic, Compared
from symbio_lab.store.connection import Store
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.observed_time import DAY_US
from symbio_lab.store.predictions import PredictionStore
from symbio_lab.store.retention import prune
from tests.fixtures_postgres import either_store as either_store
from tests.fixtures_postgres import postgres as postgres
from tests.fixtures_postgres import postgres_store as postgres_store


@pytest.fixture
def database(either_store: Store) -> Store:
    return either_store


def test_nothing_was_seen(database: Store) -> None:
    assert CandidateTraffic(database).figures("0" * 64) == CandidateFigures()


def test_an_id_counts_once_and_an_answer_without_one_each_time(database: Store) -> None:
    store = CandidateTraffic(database)
    same = [Compared("a", "b", "e1"), Compared("a", "a", "e1"), Compared("x", "x")]
    for _ in range(3):
        store.add("acme", "support", "d1", same, num_seen=3, num_answered=1)
    store.add("acme", "support", "d2", [Compared("a", "a", "e1")], num_seen=1)
    found = store.figures("d1")
    # Of equal ids within a request the last one is kept.
    assert (found.num_seen, found.num_answered, found.num_compared, found.num_agreed) == (9, 3, 4, 4)
    assert store.figures("d2").num_compared == 1


def test_labels_judge_both_and_only_of_the_same_tenant_s_model(database: Store) -> None:
    store, labels = CandidateTraffic(database), LabelStore(database)
    answers = [("r", "r"), ("r", "w"), ("w", "r"), ("w", "w"), ("r", "r")]
    compared = [Compared(live, other, f"e{i}") for i, (live, other) in enumerate(answers)]
    store.add("acme", "support", "d1", compared, num_seen=5)
    record = PredictionRecord("support", "text_classification", "text", "r", tenant="acme", event_id="e0")
    PredictionStore(database).append([record])
    labels.add("acme", "support", [(f"e{i}", "r") for i in range(4)])
    labels.add("other", "support", [("e4", "r")])
    labels.add("acme", "sales", [("e4", "r")])
    found = store.figures("d1")
    judged = (found.both_right, found.only_live_right, found.only_candidate_right, found.both_wrong)
    assert (judged, found.num_labelled) == ((1, 1, 1, 1), 4)


def test_answers_kept_for_labels_are_bounded_and_counts_go_on(database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_traffic, "MAX_KEPT", 3)
    store = CandidateTraffic(database)
    for start in (0, 2, 4):
        store.add("acme", "support", "d1", [Compared("a", "a", f"e{start + i}") for i in range(2)], num_seen=2)
    LabelStore(database).add("acme", "support", [(f"e{i}", "a") for i in range(6)])
    found = store.figures("d1")
    assert (found.num_compared, found.num_labelled) == (6, 3)


def test_retention_removes_kept_answers_by_age(database: Store) -> None:
    now_us = 400 * DAY_US
    for name, day in (("old", 300), ("new", 399)):
        store = CandidateTraffic(database, clock=lambda day=day: day * DAY_US)  # type: ignore[misc]
        store.add("acme", "support", "d1", [Compared("a", "a", name)], num_seen=1)
    LabelStore(database, clock=lambda: now_us).add("acme", "support", [("old", "a"), ("new", "a")])
    prune(database, "acme", "support", now_us=now_us, older_than_days=30)
    found = CandidateTraffic(database).figures("d1")
    assert (found.num_compared, found.num_labelled) == (2, 1)
