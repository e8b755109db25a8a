"""Predictions, labels, reports and retention: each row once, nothing across tenants, no count lost."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import ConfigError, DataError, StorageError
from symbio_lab.records import FailureRecord, PredictionRecord
from symbio_lab.store.connection import Store
from symbio_lab.store.database import Database
from symbio_lab.store.failure_reports import FailureReports
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.observed_time import DAY_US, from_us, to_us
from symbio_lab.store.prediction_reading import Count, PredictionReader
from symbio_lab.store.predictions import PredictionStore, prediction_id_of
from symbio_lab.store.retention import prune
from symbio_lab.store.schema import MIGRATIONS
from symbio_lab.store.streams import model_ids

NOW_US = to_us("2026-03-01T12:00:00Z")


def make(number: int = 0, **changes: Any) -> PredictionRecord:
    base = PredictionRecord(
        "support",
        "text_classification",
        f"text {number}",
        "greet",
        domain="small talk",
        tenant="acme",
        confidence=0.5,
        observed_at=f"2026-02-01T00:00:{number % 60:02d}Z",
        event_id=f"e{number}",
        metadata={"channel": "web"},
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture
def database(either_store: Store) -> Store:
    """SQLite and Postgres: what is said here holds for either."""
    return either_store


@pytest.fixture
def store(database: Store) -> PredictionStore:
    return PredictionStore(database, clock=lambda: NOW_US)


@pytest.fixture
def labels(database: Store) -> LabelStore:
    return LabelStore(database, clock=lambda: NOW_US)


def reader_of(store: PredictionStore, tenant: str = "acme", model_id: str = "support") -> PredictionReader:
    return PredictionReader(store.database, tenant, model_id)


def records_of(reader: PredictionReader, **asked: Any) -> list[PredictionRecord]:
    return [row.record for row in reader.rows(**asked)]


def test_making_the_objects_touches_nothing(store: PredictionStore, labels: LabelStore, tmp_path: Path) -> None:
    FailureReports(store.database)
    reader_of(store)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_answers(store: PredictionStore) -> None:
    reader = reader_of(store)
    assert (records_of(reader), reader.counts("domain"), reader.counts("day"), reader.counts("label")) == (
        [],
        (),
        (),
        (),
    )
    state = reader.state()
    assert (state.num_stored, state.first_observed_at, state.last_seq, state.redactions) == (0, "", 0, ())
    assert reader.cursor_before_last(10) == 0
    assert store.append([]).num_stored == 0


def test_a_record_comes_back_as_it_was_given(store: PredictionStore) -> None:
    records = [make(0), make(1, confidence=None, metadata={}, model_revision="r" * 64, expected_output="greet")]
    assert store.append(records).num_stored == 2
    assert records_of(reader_of(store)) == records


def test_without_an_id_of_its_own_the_content_is_the_id(store: PredictionStore) -> None:
    record = make(event_id="")
    assert prediction_id_of(record) == record.prediction_id
    labelled = dataclasses.replace(record, expected_output="x")
    assert prediction_id_of(labelled) == labelled.prediction_id == record.prediction_id
    assert store.append([record, record, make(event_id="", confidence=0.6)]).num_duplicates == 1
    assert next(r.prediction_id for r in records_of(reader_of(store))) == record.prediction_id


@pytest.mark.parametrize("confidence", [None, 0, 1, 0.0, 1e-9, 0.1 + 0.2, np.float64(0.3)])
def test_the_fast_id_is_the_id(confidence: float | None) -> None:
    odd = make(event_id="", confidence=confidence, input_sample='"ü\\\n\x00\u2028', metadata={"b": "1", "a": "ü"})
    assert prediction_id_of(odd) == odd.prediction_id


def test_the_fast_id_covers_every_field() -> None:
    record = make(event_id="")
    others: dict[str, Any] = {"confidence": 0.25, "metadata": {"a": "b"}}
    for field in dataclasses.fields(PredictionRecord):
        if field.name not in ("event_id", "expected_output"):
            changed = dataclasses.replace(record, **{field.name: others.get(field.name, "other")})
            assert prediction_id_of(changed) == changed.prediction_id != record.prediction_id, field.name


def test_the_same_again_is_a_duplicate_and_other_content_a_conflict(store: PredictionStore) -> None:
    store.append([make(0), make(1)])
    done = store.append([make(0), make(1, actual_output="leave"), make(2), make(3), make(3, domain="x")])
    assert (done.num_stored, done.num_duplicates, done.conflicts) == (2, 1, (1, 4))
    assert [r.actual_output for r in records_of(reader_of(store))] == ["greet"] * 4


def test_a_record_without_a_time_gets_the_time_of_receipt_and_stays_a_duplicate(database: Store) -> None:
    times = iter([NOW_US, NOW_US + 5])
    store = PredictionStore(database, clock=lambda: next(times))
    bare = make(observed_at="")
    assert store.append([bare]).num_stored == 1
    assert store.append([bare]).num_duplicates == 1
    assert records_of(reader_of(store))[0].observed_at == "2026-03-01T12:00:00Z"


def test_tenants_and_models_never_meet(store: PredictionStore, labels: LabelStore) -> None:
    same_id = [make(0), make(0, tenant="other", actual_output="b"), make(0, model_id="sales", actual_output="c")]
    assert store.append(same_id).num_stored == 3
    labels.add("other", "support", [("e0", "gold")])
    assert [r.expected_output for r in records_of(reader_of(store))] == [None]
    assert [r.expected_output for r in records_of(reader_of(store, "other"))] == ["gold"]
    assert reader_of(store).counts("domain") == (Count("small talk", 1, 0, 0),)
    assert model_ids(store.database, "acme") == ("sales", "support")
    assert model_ids(store.database, "other") == ("support",)
    assert prune(store.database, "other", "support", now_us=NOW_US, keep_last=0).num_rows == 1
    assert reader_of(store).state().num_stored == 1


def test_labels_come_with_after_or_before_their_prediction(store: PredictionStore, labels: LabelStore) -> None:
    early = labels.add("acme", "support", [("e0", "early"), ("never", "x")])
    assert (early.num_stored, early.num_early) == (2, 2)
    done = store.append([make(0), make(1, expected_output="inline"), make(2)])
    assert (done.num_labels, done.label_conflicts) == (1, ())
    late = labels.add("acme", "support", [("e2", "late")])
    assert (late.num_stored, late.num_early) == (1, 0)
    assert [r.expected_output for r in records_of(reader_of(store))] == ["early", "inline", "late"]
    state = reader_of(store).state()
    assert (state.num_labelled, state.num_failed, state.num_early_labels) == (3, 3, 1)


def test_the_first_label_stays(store: PredictionStore, labels: LabelStore) -> None:
    labels.add("acme", "support", [("e0", "a"), ("e9", "a")])
    done = store.append([make(0, expected_output="b"), make(1, expected_output="a")])
    assert (done.num_stored, done.num_labels, done.label_conflicts) == (2, 1, (0,))
    again = labels.add(
        "acme", "support", [("e0", "a"), ("e0", "c"), ("e9", "c"), ("e1", "a"), ("e5", "x"), ("e5", "y")]
    )
    assert (again.num_stored, again.num_duplicates, again.conflicts) == (1, 2, (1, 2, 5))
    assert [r.expected_output for r in records_of(reader_of(store))] == ["a", "a"]


def test_ingesting_again_with_ground_truth_adds_it_and_a_conflicting_row_adds_none(store: PredictionStore) -> None:
    store.append([make(0), make(1)])
    done = store.append([make(0, expected_output="greet"), make(1, domain="x", expected_output="greet")])
    assert (done.num_stored, done.num_duplicates, done.conflicts, done.num_labels) == (0, 1, (1,), 1)
    assert [r.expected_output for r in records_of(reader_of(store))] == ["greet", None]


def test_reading_goes_on_from_a_cursor_in_order_of_arrival(store: PredictionStore) -> None:
    store.append([make(number) for number in (5, 3, 4)])
    reader = reader_of(store)
    rows = list(reader.rows(batch_rows=2))
    assert [row.record.event_id for row in rows] == ["e5", "e3", "e4"]
    store.append([make(1, tenant="other"), make(1), make(2)])
    assert [r.event_id for r in records_of(reader, after=rows[-1].seq, batch_rows=1)] == ["e1", "e2"]
    assert reader.state().last_seq == list(reader.rows())[-1].seq
    assert [r.event_id for r in records_of(reader, after=reader.cursor_before_last(3))] == ["e4", "e1", "e2"]


def test_out_of_order_events_are_read_by_time_on_request(store: PredictionStore) -> None:
    store.append([make(number) for number in (5, 3, 4)] + [make(30, observed_at="2026-02-01T00:00:03Z")])
    reader = reader_of(store)
    assert [r.event_id for r in records_of(reader, by_time=True, batch_rows=1)] == ["e3", "e30", "e4", "e5"]
    bounds = {"since": "2026-02-01T00:00:04Z", "until": "2026-02-01T00:00:05Z"}
    assert [r.event_id for r in records_of(reader, **bounds)] == ["e4"]
    assert [r.event_id for r in records_of(reader, by_time=True, **bounds)] == ["e4"]
    with pytest.raises(DataError, match="not in UTC"):
        records_of(reader, since="2026-02-01T00:00:04")


def test_rows_with_and_without_labels(store: PredictionStore) -> None:
    store.append([make(0), make(1, expected_output="greet"), make(2)])
    for by_time in (False, True):
        assert [r.event_id for r in records_of(reader_of(store), labelled=True, by_time=by_time)] == ["e1"]
        assert [r.event_id for r in records_of(reader_of(store), labelled=False, by_time=by_time)] == ["e0", "e2"]


def test_counts_by_domain_label_and_day(store: PredictionStore) -> None:
    store.append(
        [
            make(0, expected_output="greet"),
            make(1, expected_output="leave"),
            make(2, domain="bills"),
            make(3, domain="bills", expected_output="pay", observed_at="2026-02-02T23:59:59.999Z"),
        ]
    )
    reader = reader_of(store)
    assert reader.counts("domain") == (Count("bills", 2, 1, 1), Count("small talk", 2, 2, 1))
    assert reader.counts("label") == (Count("greet", 1, 1, 0), Count("leave", 1, 1, 1), Count("pay", 1, 1, 1))
    assert reader.counts("day") == (Count("2026-02-01", 3, 2, 1), Count("2026-02-02", 1, 1, 1))


def test_sampled_rows_say_what_they_stand_for(store: PredictionStore) -> None:
    store.append([make(0), make(1)], sample_share=0.1, redaction="input_sample:drop")
    store.append([make(2)])
    state = reader_of(store).state()
    assert (state.sample_shares, state.num_represented) == ((0.1, 1.0), 21.0)
    assert state.redactions == ("", "input_sample:drop")
    assert [row.sample_share for row in reader_of(store).rows()] == [0.1, 0.1, 1.0]
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(DataError, match="sample share"):
            store.append([make(3)], sample_share=share)


def test_half_a_character_is_a_typed_error_and_stores_nothing(store: PredictionStore, labels: LabelStore) -> None:
    for bad in (make(1, input_sample="\ud800"), make(1, event_id="\ud800"), make(1, event_id="", domain="\ud800")):
        with pytest.raises(DataError, match="surrogate"):
            store.append([make(0), bad])
    with pytest.raises(DataError, match="surrogate"):
        labels.add("acme", "support", [("e0", "\ud800")])
    with pytest.raises(DataError, match="tenant and model"):
        store.append([make(tenant="")])
    assert reader_of(store).state().num_stored == 0


def test_rows_cannot_be_changed(store: PredictionStore) -> None:
    store.append([make(0, expected_output="greet")])
    for statement in ("UPDATE predictions SET domain = 'x'", "UPDATE labels SET expected_output = 'x'"):
        with pytest.raises(StorageError), store.database.write() as connection:
            connection.execute(statement)


def report(number: int, **changes: Any) -> FailureRecord:
    base = FailureRecord("support", "text_classification", "d", "wrong_label", f"t{number}", "a", "b", tenant="acme")
    return dataclasses.replace(base, **changes)


def test_failure_reports_are_kept_once_and_apart(store: PredictionStore) -> None:
    reports = FailureReports(store.database, clock=lambda: NOW_US)
    assert reports.append([report(0), report(1), report(0), report(0, tenant="other")]).num_duplicates == 1
    assert reports.append([report(1)]).num_stored == 0
    rows = list(reports.rows("acme", "support"))
    assert [record for _, record in rows] == [report(0), report(1)]
    assert list(reports.rows("acme", "support", after=rows[0][0])) == rows[1:]
    state = reader_of(store).state()
    assert (state.num_failure_reports, state.num_stored) == (2, 0)


def days_of(store: PredictionStore) -> None:
    """Three rows on each of four days, the newest today."""
    records = [
        make(
            day * 3 + i,
            observed_at=from_us(NOW_US - day * DAY_US - i * 1000),
            expected_output="leave" if i == 0 else "greet" if i == 1 else None,
        )
        for day in (3, 2, 1, 0)
        for i in range(3)
    ]
    store.append(records)


def test_pruning_by_age_removes_whole_days_and_keeps_their_counts(store: PredictionStore, labels: LabelStore) -> None:
    days_of(store)
    labels.add("acme", "support", [("never", "x")])
    reader = reader_of(store)
    before, by_domain = reader.counts("day"), reader.counts("domain")
    gone = prune(store.database, "acme", "support", now_us=NOW_US + DAY_US, older_than_days=2, batch_rows=4)
    assert (gone.num_rows, gone.num_labels, gone.num_early_labels, gone.before) == (6, 4, 0, "2026-02-28")
    assert reader.state().num_stored == 6
    assert reader.state().num_pruned == 6
    assert (reader.counts("day"), reader.counts("domain")) == (before, by_domain)
    again = prune(store.database, "acme", "support", now_us=NOW_US + DAY_US, older_than_days=2)
    assert again.num_rows == 0
    assert prune(store.database, "acme", "support", now_us=NOW_US + 9 * DAY_US, older_than_days=1).num_early_labels == 1
    assert reader.counts("day") == before


def test_rows_of_removed_days_do_not_come_in_again(store: PredictionStore) -> None:
    days_of(store)
    old = next(reader_of(store).rows()).record
    prune(store.database, "acme", "support", now_us=NOW_US, older_than_days=1)
    done = store.append([old, make(99, observed_at=from_us(NOW_US))])
    assert (done.num_stored, done.expired) == (1, (0,))


def test_the_newest_rows_stay_whatever_their_age(store: PredictionStore) -> None:
    days_of(store)
    gone = prune(store.database, "acme", "support", now_us=NOW_US + 90 * DAY_US, older_than_days=30, keep_last=2)
    kept = records_of(reader_of(store))
    assert (gone.num_rows, [r.event_id for r in kept]) == (10, ["e1", "e2"])
    # A kept row of a removed day is known, not expired.
    assert store.append(kept).num_duplicates == 2
    assert prune(store.database, "acme", "support", now_us=NOW_US, keep_last=1).num_rows == 1


def test_a_cursor_outlives_pruning(store: PredictionStore) -> None:
    store.append([make(0), make(1)])
    last = reader_of(store).state().last_seq
    prune(store.database, "acme", "support", now_us=NOW_US, keep_last=0)
    store.append([make(2, observed_at=from_us(NOW_US))])
    assert [r.event_id for r in records_of(reader_of(store), after=last)] == ["e2"]


def test_pruned_texts_are_gone_from_the_file(tmp_path: Path) -> None:
    store = PredictionStore(Database(tmp_path / "store.db"))
    store.append([make(0, input_sample="a very private sentence")])
    prune(store.database, "acme", "support", now_us=NOW_US, keep_last=0)
    assert not [p for p in tmp_path.iterdir() if b"very private" in p.read_bytes()]


def test_pruning_says_what_is_missing(store: PredictionStore) -> None:
    with pytest.raises(ConfigError) as caught:
        prune(store.database, "acme", "support", now_us=NOW_US, older_than_days=-1, keep_last=-1)
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError, match="say what to remove"):
        prune(store.database, "acme", "support", now_us=NOW_US)
    assert prune(store.database, "nobody", "support", now_us=NOW_US, keep_last=0).num_rows == 0


def test_a_store_of_the_release_before_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Database(path, migrations=MIGRATIONS[:2]).read():
        pass
    assert PredictionStore(Database(path)).append([make()]).num_stored == 1
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    finally:
        connection.close()


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z", "1970-01-01T00:00:00Z"])
def test_times_come_back_as_they_were(text: str) -> None:
    assert from_us(to_us(text)) == text


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00+02:00", "1969-12-31T23:59:59Z"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        to_us(text)
