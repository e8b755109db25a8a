"""Bad rows are named and counted, good rows are stored, whatever the file looks like."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import ConfigError, DataError, MissingColumnsError, StorageError
from symbio_lab.monitor import file_rows as file_rows_module
from symbio_lab.monitor.ingesting import MAX_KEPT, IngestReport, ingest, ingest_labels, ingest_reports
from symbio_lab.monitor.prediction_files import Columns, label_rows, prediction_rows
from symbio_lab.monitor.stored_traffic import recent_traffic, sampled_traffic
from symbio_lab.monitor.validating import REFUSAL_CODES, Limits
from symbio_lab.records import FailureRecord, PredictionRecord
from symbio_lab.store.database import Database
from symbio_lab.store.failure_reports import FailureReports
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.observed_time import to_us
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.predictions import PredictionStore

NOW_US = to_us("2026-03-01T12:00:00Z")
GOOD = {"input_sample": "hi", "actual_output": "greet"}


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    return PredictionStore(Database(tmp_path / "store.db"), clock=lambda: NOW_US)


@pytest.fixture
def reader(store: PredictionStore) -> PredictionReader:
    return PredictionReader(store.database, "default", "m")


def make(number: int = 0, **changes: Any) -> PredictionRecord:
    base = PredictionRecord("m", "text_classification", f"text {number}", "greet", event_id=f"e{number}")
    return dataclasses.replace(base, **changes)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


BAD: dict[str, list[dict[str, Any]]] = {
    "empty_text": [{"input_sample": ""}, {"input_sample": " \n"}],
    "empty_answer": [{"actual_output": ""}],
    "text_too_long": [
        {"input_sample": "x" * 65_537},
        {"actual_output": "é" * 32_769},
        {"expected_output": "x" * 10**7},
    ],
    "name_too_long": [{"event_id": "x" * 513}, {"domain": "x" * 513}],
    "metadata_too_large": [{"metadata": {"a": "x" * 20_000}}],
    "bad_text": [{"input_sample": "\ud800"}, {"domain": "\udfff"}, {"metadata": {"a": "\ud800"}}],
    "bad_type": [
        {"input_sample": 3},
        {"actual_output": None},
        {"confidence": "0.5"},
        {"confidence": True},
        {"metadata": {"a": 1}},
        {"observed_at": None},
    ],
    "bad_task_type": [{"task_type": "poetry"}],
    "bad_confidence": [{"confidence": 1.01}, {"confidence": -0.1}, {"confidence": float("nan")}],
    "bad_time": [
        {"observed_at": "yesterday"},
        {"observed_at": "2026-01-01T00:00:00"},
        {"observed_at": "1960-01-01T00:00:00Z"},
    ],
    "future_time": [{"observed_at": "2026-03-01T12:05:01Z"}],
    "missing_field": [{"tenant": ""}, {"model_id": ""}],
}


@pytest.mark.parametrize(("code", "changes"), [(code, c) for code, cases in BAD.items() for c in cases])
def test_a_bad_record_is_refused_with_its_code_and_the_others_are_stored(
    store: PredictionStore, code: str, changes: dict[str, Any]
) -> None:
    report = ingest(store, [make(0), make(1, **changes), make(2)])
    assert (report.num_stored, report.refused_by_code) == (2, {code: 1})
    assert (report.refused[0].row, report.refused[0].code) == ("row 2", code)
    assert report.refused[0].hint == REFUSAL_CODES[code]
    assert len(report.refused[0].reason) < 200


def test_what_is_just_inside_the_limits_is_stored(store: PredictionStore, reader: PredictionReader) -> None:
    records = [
        make(0, input_sample="x" * 65_536, confidence=1.0),
        make(1, observed_at="2026-03-01T12:05:00Z", confidence=0.0),
        make(2, observed_at="2026-03-01T12:00:00+00:00"),
        make(3, task_type="text_generation", actual_output=""),
    ]
    assert ingest(store, records).num_stored == 4
    assert [row.record.observed_at for row in reader.rows()][2] == "2026-03-01T12:00:00Z"
    strict = Limits(max_text_bytes=5, future_tolerance_s=0.0)
    report = ingest(store, [make(4), make(5, input_sample="12345", observed_at="2026-03-01T12:00:01Z")], limits=strict)
    assert report.refused_by_code == {"future_time": 1, "text_too_long": 1}


def test_refusals_are_all_counted_and_few_are_kept(store: PredictionStore) -> None:
    report = ingest(store, (make(i, input_sample="") for i in range(MAX_KEPT * 3)), chunk_rows=7)
    assert (report.num_refused, report.num_read, len(report.refused)) == (MAX_KEPT * 3, MAX_KEPT * 3, MAX_KEPT)


def test_duplicates_conflicts_and_labels_are_told_apart(store: PredictionStore) -> None:
    ingest(store, [make(0, expected_output="a")])
    rows = [make(0), make(0, actual_output="x"), make(0, expected_output="b"), make(1), make(1)]
    report = ingest(store, rows, chunk_rows=2)
    assert (report.num_stored, report.num_duplicates, report.num_conflicts, report.num_label_conflicts) == (1, 3, 1, 1)
    assert [(refusal.row, refusal.code) for refusal in report.refused] == [
        ("row 2", "conflict"),
        ("row 3", "label_conflict"),
    ]
    assert report.num_refused == 0


def test_each_chunk_is_reported_when_it_is_stored(store: PredictionStore, reader: PredictionReader) -> None:
    heard: list[tuple[int, int]] = []

    def hear(report: IngestReport) -> None:
        heard.append((report.num_stored, reader.state().num_stored))

    ingest(store, (make(i) for i in range(5)), chunk_rows=2, on_chunk=hear)
    assert heard == [(2, 2), (4, 4), (5, 5)]
    with pytest.raises(ConfigError):
        ingest(store, [make()], chunk_rows=0)


def test_a_store_that_fails_is_an_error_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    calls = []

    class Failing(PredictionStore):
        def append(self, *arguments: Any, **keywords: Any) -> Any:
            calls.append(1)
            if len(calls) == 3:
                raise StorageError("the disk is full")
            return super().append(*arguments, **keywords)

    store = Failing(Database(tmp_path / "store.db"))
    with pytest.raises(StorageError):
        ingest(store, (make(i) for i in range(6)), chunk_rows=2)
    assert ingest(store, (make(i) for i in range(6)), chunk_rows=2).num_duplicates == 4


def test_failure_reports_are_checked_too(store: PredictionStore) -> None:
    base = FailureRecord("m", "text_classification", "d", "wrong_label", "hi", "a", "b")
    reports = [base, base, dataclasses.replace(base, input_sample=""), dataclasses.replace(base, confidence=7.0)]
    report = ingest_reports(FailureReports(store.database, clock=lambda: NOW_US), reports)
    assert (report.num_stored, report.num_duplicates, report.num_refused) == (1, 1, 2)


def test_labels_are_checked_too(store: PredictionStore) -> None:
    labels = [("e0", "a"), ("", "a"), ("e1", "\ud800"), ("e0", "b"), ("e0", "a")]
    report = ingest_labels(LabelStore(store.database), "default", "m", labels)
    assert (report.num_stored, report.num_early_labels, report.num_duplicates, report.num_label_conflicts) == (
        1,
        1,
        1,
        1,
    )
    assert report.refused_by_code == {"bad_text": 1, "missing_field": 1}


# ------------------------------------------------------------------------------------------------------- files


ROWS = [
    {"input_sample": "hi, you", "actual_output": "greet", "confidence": 0.5, "event_id": "a", "channel": "web"},
    {
        "input_sample": 'say "no"\nnow',
        "actual_output": "deny",
        "expected_output": "x",
        "event_id": "b",
        "channel": "app",
    },
]


def make_file(path: Path) -> Path:
    names = ["input_sample", "actual_output", "expected_output", "confidence", "event_id", "channel"]
    opener = gzip.open if path.name.endswith(".gz") else open
    if path.name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{n: r.get(n) for n in names} for r in ROWS]), path)
        return path
    with opener(path, "wt", encoding="utf-8", newline="") as handle:
        if ".csv" in path.name:
            import csv

            writer = csv.DictWriter(handle, names)
            writer.writeheader()
            writer.writerows(ROWS)
        elif ".jsonl" in path.name:
            handle.writelines(json.dumps(row) + "\n" for row in ROWS)
        else:
            json.dump(ROWS, handle, indent=1)
    return path


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "jsonl.gz", "json", "json.gz", "parquet"])
def test_every_format_gives_the_same_records(
    store: PredictionStore, reader: PredictionReader, tmp_path: Path, ending: str
) -> None:
    path = make_file(tmp_path / f"t.{ending}")
    columns = Columns(metadata=("channel",))
    report = ingest(store, prediction_rows(path, model_id="m", columns=columns))
    assert (report.num_stored, report.num_labels, report.num_refused) == (2, 1, 0)
    first, second = (row.record for row in reader.rows())
    assert (first.input_sample, first.confidence, first.expected_output) == ("hi, you", 0.5, None)
    assert (second.input_sample, second.confidence, second.expected_output) == ('say "no"\nnow', None, "x")
    assert (first.event_id, dict(first.metadata)) == ("a", {"channel": "web"})
    assert ingest(store, prediction_rows(path, model_id="m", columns=columns)).num_duplicates == 2


def test_columns_are_mapped_and_numbers_become_labels(
    store: PredictionStore, reader: PredictionReader, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.jsonl", {"q": "hi", "got": 3, "gold": 4, "topic": "x", "p": "0.25", "other": [1]})
    columns = Columns(text="q", actual="got", expected="gold", domain="topic", confidence="p")
    assert ingest(store, prediction_rows(path, model_id="m", tenant="default", columns=columns)).num_stored == 1
    record = next(reader.rows()).record
    assert (record.actual_output, record.expected_output, record.domain, record.confidence) == ("3", "4", "x", 0.25)
    assert dict(record.metadata) == {}


def test_a_file_does_not_choose_its_tenant(store: PredictionStore, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", {**GOOD, "tenant": "other", "model_id": "other"})
    ingest(store, prediction_rows(path, model_id="m", tenant="default"))
    assert PredictionReader(store.database, "other", "other").state().num_stored == 0


def test_a_named_column_that_is_absent_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", GOOD)
    for columns in (Columns(text="x"), Columns(domain="topic"), Columns(metadata=("channel",))):
        with pytest.raises(MissingColumnsError):
            list(prediction_rows(path, model_id="m", columns=columns))
    with pytest.raises(MissingColumnsError):
        list(label_rows(path))


def test_bad_lines_of_json_cost_only_themselves(store: PredictionStore, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = [
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        b'{"input_sample": "caf\xe9", "actual_output": "a"}',
        b"{not json",
        b"[1, 2]",
        b"",
        b'{"input_sample": "a", "input_sample": "b", "actual_output": "a"}',
        b'{"input_sample": "a", "actual_output": "a", "confidence": NaN}',
        b'{"input_sample": "\\ud800", "actual_output": "a"}',
        b'{"input_sample": "a"} {}',
        b'{"actual_output": "a"}',
        b'{"input_sample": "a", "actual_output": true}',
        json.dumps({**GOOD, "input_sample": "x" * 10_000_000}).encode(),
        json.dumps({**GOOD, "input_sample": "last"}).encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    report = ingest(store, prediction_rows(path, model_id="m"))
    assert report.num_stored == 2
    assert report.refused_by_code == {
        "bad_row": 5,
        "bad_text": 1,
        "bad_type": 1,
        "missing_field": 1,
        "not_utf8": 1,
        "text_too_long": 1,
    }
    assert report.refused[0].row == "t.jsonl line 2"
    assert (tmp_path / "store.db").stat().st_size < 1_000_000


def test_a_line_beyond_every_limit_is_skipped(
    store: PredictionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_rows_module, "MAX_ROW_BYTES", 1000)
    path = write(tmp_path / "t.jsonl", {**GOOD, "input_sample": "x" * 3500}, GOOD)
    report = ingest(store, prediction_rows(path, model_id="m"))
    assert (report.num_stored, report.refused_by_code) == (1, {"row_too_long": 1})
    csv_path = write(tmp_path / "t.csv", "input_sample,actual_output", "x" * 3500 + ",a")
    with pytest.raises(DataError, match=r"t\.csv line 2 is longer"):
        ingest(store, prediction_rows(csv_path, model_id="m"))


def test_bad_rows_of_csv_cost_only_themselves(store: PredictionStore, reader: PredictionReader, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [
        b"input_sample,actual_output,confidence",
        b"caf\xe9,a,",
        b"one,two",
        b"a,b,many",
        b'"' + b"x" * 200_000 + b'",a,',
        b"",
        "ü,a,0.5".encode(),
    ]
    path.write_bytes(b"\r\n".join(lines))
    report = ingest(store, prediction_rows(path, model_id="m"))
    assert report.refused_by_code == {"bad_confidence": 1, "bad_row": 1, "not_utf8": 1, "text_too_long": 1}
    assert [refusal.row[-6:] for refusal in report.refused] == ["line 2", "line 3", "line 4", "line 5"]
    assert [row.record.input_sample for row in reader.rows()] == ["ü"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b'input_sample,actual_output\n"open,a\n', "line 2"),
        ("t.csv", b'input_sample,actual_output\n"' + b"x" * 200_000 + b"\nmore\n", "line 2"),
        ("t.csv", b"a,a\n1,2\n", "same name"),
        ("t.json", b'{"a": 1}', "no JSON array"),
        ("t.json", b'[{"input_sample": "a", "actual_output": "b"}, {]', "row 2"),
        ("t.json", b'[{"input_sample": "a", "actual_output": "b"}', "ends inside"),
        ("t.json", b'[{"input_sample": "\xe9", "actual_output": "b"}]', "near byte 19"),
        ("t.jsonl.gz", b"no gzip", "gzip"),
        ("t.parquet", b"no parquet", "Parquet"),
        ("t.txt", b"", "unknown format"),
    ],
)
def test_where_no_next_row_can_be_found_reading_stops(
    store: PredictionStore, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        ingest(store, prediction_rows(tmp_path / name, model_id="m"))
    with pytest.raises(DataError, match="no file"):
        list(prediction_rows(tmp_path / "nowhere.csv", model_id="m"))


def test_a_json_array_is_read_across_blocks(
    store: PredictionStore, reader: PredictionReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_rows_module, "_READ_BYTES", 7)
    path = tmp_path / "t.json"
    rows = [{**GOOD, "input_sample": f"ü {i}"} for i in range(20)]
    path.write_text(json.dumps([*rows, 3], ensure_ascii=False, indent=2), encoding="utf-8")
    report = ingest(store, prediction_rows(path, model_id="m"))
    assert (report.num_stored, report.refused_by_code) == (20, {"bad_row": 1})
    assert [row.record.input_sample for row in reader.rows()] == [f"ü {i}" for i in range(20)]


def test_equal_rows_of_a_file_without_ids_are_not_one_and_a_second_run_adds_none(
    store: PredictionStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.jsonl", GOOD, GOOD, GOOD)
    assert ingest(store, prediction_rows(path, model_id="m")).num_stored == 3
    path = write(tmp_path / "t.jsonl", GOOD, GOOD, GOOD, GOOD)
    assert ingest(store, prediction_rows(path, model_id="m")).num_stored == 1
    timed = {**GOOD, "observed_at": "2026-01-01T00:00:00Z"}
    assert ingest(store, prediction_rows(write(tmp_path / "u.jsonl", timed, timed), model_id="m")).num_stored == 1


def test_label_files_join(store: PredictionStore, reader: PredictionReader, tmp_path: Path) -> None:
    ingest(store, [make(0), make(1)])
    path = tmp_path / "l.csv"
    path.write_text("prediction_id,expected_output\ne0,greet\ne1,\ne7,x\n")
    report = ingest_labels(LabelStore(store.database), "default", "m", label_rows(path))
    assert (report.num_stored, report.num_early_labels, report.refused_by_code) == (2, 1, {"missing_field": 1})
    assert [row.record.failed for row in reader.rows()] == [False, None]


# ----------------------------------------------------------------------------------------------------- windows


def test_a_window_of_traffic_is_bounded(store: PredictionStore, reader: PredictionReader) -> None:
    ingest(store, [make(i, expected_output="greet" if i % 2 else None) for i in range(20)])
    traffic, cursor = recent_traffic(reader, num_rows=4)
    assert traffic.ids == ("e16", "e17", "e18", "e19")
    assert traffic.labelled.tolist() == [False, True, False, True]
    assert list(reader.rows(after=cursor)) == []
    assert recent_traffic(reader, num_rows=4, labelled=True)[0].ids == ("e17", "e19")
    assert len(recent_traffic(reader, num_rows=100)[0]) == 20
    assert recent_traffic(PredictionReader(store.database, "nobody", "m"))[1] == 0
    with pytest.raises(ConfigError):
        recent_traffic(reader, num_rows=0)


def test_a_sample_of_traffic_is_drawn_from_all_of_it_by_its_seed(
    store: PredictionStore, reader: PredictionReader
) -> None:
    ingest(store, [make(i) for i in range(50)])
    drawn = [sampled_traffic(reader, seed=seed, num_rows=10).ids for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert list(drawn[0]) == sorted(drawn[0], key=lambda name: int(name[1:]))
    assert len({name for seed in range(40) for name in sampled_traffic(reader, seed=seed, num_rows=10).ids}) == 50
