"""What is redacted is never written, and what is hashed cannot be guessed without the key."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import ConfigError, StorageError
from symbio_lab.monitor.ingesting import ingest, ingest_labels, ingest_reports
from symbio_lab.monitor.redaction import Redaction
from symbio_lab.monitor.redaction_key import load_or_create_redaction_key
from symbio_lab.monitor.statements import state_stream
from symbio_lab.records import FailureRecord, PredictionRecord
from symbio_lab.store.database import Database
from symbio_lab.store.failure_reports import FailureReports
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.predictions import PredictionStore

KEY = bytes(range(32))
SECRETS = {
    "input_sample": "my secret sentence",
    "actual_output": "label-secret-a",
    "expected_output": "label-secret-b",
    "domain": "secret-domain",
    "event_id": "secret-id-17",
}
ALL_HASHED = {"input_sample": "hash", "output": "hash", "domain": "hash", "event_id": "hash", "metadata.*": "hash"}


def make(**changes: Any) -> PredictionRecord:
    given = {**SECRETS, "metadata": {"user": "secret-user", "channel": "web"}, **changes}
    return PredictionRecord("m", "text_classification", **given)


def raw_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    (tmp_path / "store").mkdir()
    return PredictionStore(Database(tmp_path / "store" / "store.db"))


def test_nothing_hashed_is_ever_in_the_files(store: PredictionStore) -> None:
    rules = Redaction(ALL_HASHED, key=KEY)
    folder, secrets = store.database.path.parent, [*SECRETS.values(), "secret-user"]
    # A reader holds the log open, so that it is looked into as well.
    with store.database.read() as connection:
        connection.execute("SELECT * FROM predictions").fetchall()
        assert ingest(store, [make(), make(event_id="")], redaction=rules).num_stored == 2
        early = [("secret-id-18", "label-secret-c"), ("secret-id-17", "label-secret-b")]
        ingest_labels(LabelStore(store.database), "default", "m", early, redaction=rules)
        failure = FailureRecord(
            "m",
            "text_classification",
            "secret-domain",
            "wrong",
            "my secret sentence",
            "label-secret-a",
            "label-secret-b",
        )
        ingest_reports(FailureReports(store.database), [failure], redaction=rules)
        assert (folder / "store.db-wal").stat().st_size > 0
        raw = raw_bytes(folder)
        assert not [text for text in (*secrets, "label-secret-c") if text.encode() in raw]
    assert not [text for text in secrets if text.encode() in raw_bytes(folder)]


def test_without_the_key_no_dictionary_finds_a_value_or_an_id(store: PredictionStore) -> None:
    rules = Redaction({"input_sample": "hash", "metadata.user": "hash"}, key=KEY)
    record = make(event_id="")
    ingest(store, [record], redaction=rules)
    found = next(PredictionReader(store.database, "default", "m").rows()).record
    guesses = (hashlib.blake2b(b"my secret sentence", digest_size=n).hexdigest() for n in (16, 32))
    assert found.input_sample.removeprefix("h:") not in {*guesses, hashlib.sha256(b"my secret sentence").hexdigest()}
    assert found.input_sample != Redaction({"input_sample": "hash"}, key=b"x" * 32).apply(record).input_sample
    # The content digest would confirm a guess of the text.
    assert found.prediction_id != record.prediction_id
    assert record.prediction_id.encode() not in raw_bytes(store.database.path.parent)


def test_right_and_wrong_survive_hashing_and_late_labels_find_their_prediction(store: PredictionStore) -> None:
    rules = Redaction(ALL_HASHED, key=KEY)
    ingest(store, [make(event_id="a", expected_output=None), make(event_id="b", expected_output=None)], redaction=rules)
    labels = [("a", SECRETS["actual_output"]), ("b", "other")]
    assert ingest_labels(LabelStore(store.database), "default", "m", labels, redaction=rules).num_early_labels == 0
    reader = PredictionReader(store.database, "default", "m")
    assert [row.record.failed for row in reader.rows()] == [False, True]


def test_redacted_records_stay_duplicates(store: PredictionStore) -> None:
    for rules in (ALL_HASHED, {"input_sample": "drop"}, {"input_sample": "scrub"}):
        redaction = Redaction(rules, key=KEY)
        records = [make(event_id=""), make(event_id="", input_sample="another")]
        assert ingest(store, records, redaction=redaction).num_stored in (2, 0)
        assert ingest(store, records, redaction=redaction).num_stored == 0


def test_equal_values_of_two_fields_cannot_be_linked() -> None:
    found = Redaction({"metadata.*": "hash"}, key=KEY).apply(make(metadata={"a": "ada", "b": "ada", "c": ""}))
    assert found.metadata["a"] != found.metadata["b"]
    assert found.metadata["c"] == ""


def test_fields_are_dropped_and_the_others_kept() -> None:
    rules = Redaction({"input_sample": "drop", "metadata.*": "drop", "metadata.channel": "scrub"}, key=KEY)
    record = make()
    found = rules.apply(record)
    assert (found.input_sample, dict(found.metadata)) == ("", {"channel": "web"})
    assert (found.actual_output, found.event_id) == (record.actual_output, record.event_id)
    assert rules.stated == "input_sample:drop metadata.*:drop metadata.channel:scrub"
    assert Redaction({}).apply(record) is record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ada.b+c@mail.example.org now", "write to [email] now"),
        ("card 4111 1111 1111 1111, thanks", "card [number], thanks"),
        ("call +49 (0)30/123-45.67", "call [number]"),
        ("order 12345 of 2026", "order 12345 of 2026"),
        ("nothing here", "nothing here"),
    ],
)
def test_addresses_and_long_numbers_are_scrubbed(text: str, expected: str) -> None:
    assert Redaction({"input_sample": "scrub"}, key=KEY).apply(make(input_sample=text)).input_sample == expected


def test_callers_may_bring_their_own_patterns() -> None:
    scrubs = {"ticket": re.compile(r"T-\d+")}
    found = Redaction({"input_sample": "scrub"}, key=KEY, scrubs=scrubs).apply(make(input_sample="see T-12"))
    assert found.input_sample == "see [ticket]"


@pytest.mark.parametrize(
    "text", ["a" * 60_000, "a." * 30_000, "1" * 60_000, "1 " * 30_000, "a@" * 30_000, "a@a." * 15_000]
)
def test_scrubbing_a_long_text_takes_no_long_time(text: str) -> None:
    done = threading.Event()

    def scrub() -> None:
        Redaction({"input_sample": "scrub"}, key=KEY).apply(make(input_sample=text))
        done.set()

    threading.Thread(target=scrub, daemon=True).start()
    assert done.wait(10)


def test_all_wrong_rules_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Redaction({"inputs": "hash", "metadata.": "drop", "domain": "burn", "output": "drop"}, key=b"short")  # type: ignore[dict-item]
    assert len(caught.value.problems) == 5
    with pytest.raises(ConfigError, match="secret key"):
        Redaction({"domain": "hash"})


def test_status_says_what_redaction_costs(store: PredictionStore) -> None:
    rules = Redaction({"input_sample": "drop", "domain": "hash"}, key=KEY)
    ingest(store, [make()], redaction=rules)
    cannot = state_stream(PredictionReader(store.database, "default", "m")).cannot
    assert any("patterns in words cannot be found" in sentence for sentence in cannot)
    assert any("domains were removed" in sentence for sentence in cannot)


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_the_key_is_made_once_and_private(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "keys"
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(load_or_create_redaction_key(folder))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert load_or_create_redaction_key(folder) == keys[0]
    assert "chmod 600" in caplog.text
    for text in ("not hex", "abcd"):
        path.write_text(text)
        with pytest.raises(StorageError, match="redaction"):
            load_or_create_redaction_key(folder)
