"""A watched model answers as before, whatever becomes of the records."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab import monitor
from symbio_lab.errors import ConfigError, DataError, StorageError
from symbio_lab.models.protocol import Predictions
from symbio_lab.monitor.recorder import Recorder
from symbio_lab.monitor.redaction import Redaction
from symbio_lab.records import PredictionRecord
from symbio_lab.store.database import Database
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.predictions import PredictionStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def stored(path: Path, model_id: str = "m") -> list[PredictionRecord]:
    return [row.record for row in PredictionReader(Database(path), "default", model_id).rows()]


def triples(path: Path) -> list[tuple[str, str, float | None]]:
    return [(r.input_sample, r.actual_output, r.confidence) for r in stored(path)]


class BrokenStore(PredictionStore):
    """A store that fails while told to."""

    is_broken = True

    def append(self, *arguments: Any, **keywords: Any) -> Any:
        if self.is_broken:
            raise StorageError("the disk is full")
        return super().append(*arguments, **keywords)


CALLS: dict[str, tuple[Any, Any, list[tuple[str, str, float | None]]]] = {
    "a label": ("hi", "greet", [("hi", "greet", None)]),
    "a class number": ("hi", 3, [("hi", "3", None)]),
    "a pair": ("hi", ("greet", 0.5), [("hi", "greet", 0.5)]),
    "a dict": ("hi", {"label": "greet", "score": 0.5}, [("hi", "greet", 0.5)]),
    "a pipeline's answer to one text": ("hi", [{"label": "greet", "score": 0.5}], [("hi", "greet", 0.5)]),
    "all labels": ("hi", [{"label": "a", "score": 0.2}, {"label": "b", "score": 0.8}], [("hi", "b", 0.8)]),
    "all labels, nested": ("hi", [[{"label": "a", "score": 0.2}, {"label": "b", "score": 0.8}]], [("hi", "b", 0.8)]),
    "texts": (["hi", "bye"], ["greet", "leave"], [("hi", "greet", None), ("bye", "leave", None)]),
    "dicts": (
        ["hi", "bye"],
        [{"label": "a", "score": 0.25}, {"label": "b", "score": 0.5}],
        [("hi", "a", 0.25), ("bye", "b", 0.5)],
    ),
    "one text in a list": (["hi"], [{"label": "a", "score": 0.25}], [("hi", "a", 0.25)]),
    "all labels of each": (
        ["hi", "bye"],
        [[{"label": "a", "score": 0.2}, {"label": "b", "score": 0.8}]] * 2,
        [("hi", "b", 0.8), ("bye", "b", 0.8)],
    ),
    "pairs": (("hi", "bye"), [("a", 0.25), ("b", 0.5)], [("hi", "a", 0.25), ("bye", "b", 0.5)]),
    "arrays": (np.array(["hi", "bye"]), np.array([1, 0]), [("hi", "1", None), ("bye", "0", None)]),
    "text pairs": ({"text": "hi", "text_pair": "x"}, {"label": "a", "score": 1.0}, [("hi", "a", 1.0)]),
    "generation": ("hi", [{"generated_text": "hello"}], [("hi", "hello", None)]),
    "generations": (
        ["a", "b"],
        [[{"generated_text": "c"}], [{"generated_text": "d"}]],
        [("a", "c", None), ("b", "d", None)],
    ),
    "a chat": (
        [{"role": "user", "content": "hi"}],
        [{"generated_text": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}],
        [("hi", "hello", None)],
    ),
    "predictions of the lab": (
        ["hi", "bye"],
        Predictions(("a", "b"), (0.25, 0.5), 4),
        [("hi", "a", 0.25), ("bye", "b", 0.5)],
    ),
    "no text": ([], [], []),
}


@pytest.mark.parametrize(("given", "answer", "expected"), CALLS.values(), ids=CALLS)
def test_answers_of_every_kind_pass_through_and_are_recorded(
    path: Path, given: Any, answer: Any, expected: Any
) -> None:
    with monitor.watch(lambda inputs, **_: answer, store=path, model_id="m", strict=True) as watched:
        assert watched(given) is answer
        ids = watched.last_ids
        assert watched(inputs=given) is answer
    assert triples(path) == expected * 2
    assert [r.prediction_id for r in stored(path)][: len(ids)] == list(ids)


UNREADABLE: dict[str, tuple[Any, Any]] = {
    "bytes": (b"hi", "a"),
    "another number of answers": (["a", "b"], ["x"]),
    "no answer": ("hi", None),
    "unknown keys": ("hi", {"embedding": [1.0]}),
    "vectors": (["hi"], np.zeros((1, 3))),
    "a score without a label": ("hi", 0.5),
}


@pytest.mark.parametrize(("given", "answer"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_passes_through_and_is_counted(
    path: Path, caplog: pytest.LogCaptureFixture, given: Any, answer: Any
) -> None:
    watched = monitor.watch(lambda inputs: answer, store=path, model_id="m")
    assert watched(given) is answer
    assert watched(given) is answer
    assert (watched.num_unreadable, watched.last_ids) == (2, ())
    assert caplog.text.count("not recorded") == 1
    with pytest.raises(DataError):
        monitor.watch(lambda inputs: answer, store=path, model_id="m", strict=True)(given)


def test_a_stream_is_not_consumed(path: Path) -> None:
    def model(texts: Iterator[str]) -> Iterator[str]:
        return (text.upper() for text in texts)

    watched = monitor.watch(model, store=path)
    assert list(watched(iter(["a", "b"]))) == ["A", "B"]
    assert watched.num_unreadable == 1


def test_what_the_model_raises_passes_through(path: Path) -> None:
    def model(text: str) -> str:
        raise KeyError(text)

    with monitor.watch(model, store=path) as watched, pytest.raises(KeyError, match="hi"):
        watched("hi")
    assert not path.exists()


def test_ids_come_with_the_answer_on_request_and_labels_join(path: Path) -> None:
    with monitor.watch(lambda texts: [t.upper() for t in texts], store=path, model_id="m", domain="d") as watched:
        answers, ids = watched(["a", "b", "c"], with_ids=True)
        assert (answers, len(set(ids))) == (["A", "B", "C"], 3)
        assert watched.label(ids[0], "A")  # before its prediction is stored
        watched.flush()
        assert watched.label(ids[1], "x")
        assert watched.label(ids[1], "x")
        assert not watched.label(ids[1], "another")
        assert not watched.label("", "x")
    assert [(r.expected_output, r.domain) for r in stored(path)] == [("A", "d"), ("x", "d"), (None, "d")]


def test_the_domain_may_depend_on_the_text_and_its_faults_do_not_reach_the_caller(path: Path) -> None:
    def domain(text: str) -> str:
        return {"hi": "small talk"}[text]

    with monitor.watch(lambda text: "a", store=path, model_id="m", domain=domain, metadata={"app": "x"}) as watched:
        assert (watched("hi"), watched("unknown")) == ("a", "a")
    assert [(r.domain, dict(r.metadata)) for r in stored(path)] == [("small talk", {"app": "x"})]
    assert watched.num_unreadable == 1


def test_a_sample_is_drawn_by_its_seed_and_its_share_is_kept(path: Path, tmp_path: Path) -> None:
    def recorded(seed: int, file: Path) -> list[bool]:
        with monitor.watch(lambda text: "a", store=file, model_id="m", sample_rate=0.3, seed=seed) as watched:
            drawn = []
            for number in range(200):
                watched(f"t{number}")
                drawn.append(watched.last_ids[0] is not None)
        return drawn

    first = recorded(0, path)
    assert first == recorded(0, tmp_path / "b.db") != recorded(1, tmp_path / "c.db")
    assert 30 <= sum(first) <= 90
    assert len(stored(path)) == sum(first)
    state = PredictionReader(Database(path), "default", "m").state()
    assert state.sample_shares == (0.3,)
    assert state.num_represented == pytest.approx(sum(first) / 0.3)


def test_a_failing_store_never_breaks_the_answer_and_nothing_is_lost_when_it_recovers(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = BrokenStore(Database(path))
    watched = monitor.watch(lambda text: "a", store=store, model_id="m", batch_rows=1)
    with caplog.at_level(logging.WARNING):
        assert [watched(f"t{i}") for i in range(5)] == ["a"] * 5
    assert (watched.recorder.num_failed_writes, watched.recorder.num_pending) == (1, 5)  # calls wait before they retry
    assert "the disk is full" in caplog.text
    assert not watched.flush()
    store.is_broken = False
    assert watched.flush()
    assert (watched.recorder.num_stored, watched.recorder.num_pending) == (5, 0)
    assert [r.input_sample for r in stored(path)] == [f"t{i}" for i in range(5)]


def test_strict_lets_faults_of_the_store_through(path: Path) -> None:
    store = BrokenStore(Database(path))
    watched = monitor.watch(lambda text: "a", store=store, model_id="m", batch_rows=1, strict=True)
    with pytest.raises(StorageError):
        watched("hi")
    store.is_broken = False
    watched.close()


def test_a_store_held_by_another_writer_does_not_hold_the_caller_for_long(path: Path) -> None:
    database = Database(path)
    with database.read():
        pass
    watched = monitor.watch(lambda text: "a", store=path, model_id="m", batch_rows=1)
    with database.write():
        assert [watched(f"t{i}") for i in range(20)] == ["a"] * 20
        assert watched.recorder.num_failed_writes == 1
    assert watched.flush()
    assert len(stored(path)) == 20


def test_the_queue_is_bounded_and_what_is_dropped_is_counted(path: Path) -> None:
    times = [0.0]
    recorder = Recorder(
        BrokenStore(Database(path)), batch_rows=2, max_pending=4, max_age_s=1, retry_s=1, monotonic=lambda: times[0]
    )
    records = [PredictionRecord("m", "text_classification", f"t{i}", "a", event_id=str(i)) for i in range(9)]
    recorder.add(records[:6])
    assert (recorder.num_pending, recorder.num_dropped, recorder.num_failed_writes) == (4, 2, 1)
    times[0] = 2.0
    recorder.add(records[6:7])
    assert (recorder.num_dropped, recorder.num_failed_writes) == (3, 2)


def test_one_large_call_does_not_overflow_the_queue(path: Path) -> None:
    recorder = Recorder(PredictionStore(Database(path)), batch_rows=2, max_pending=4)
    recorder.add([PredictionRecord("m", "text_classification", f"t{i}", "a", event_id=str(i)) for i in range(11)])
    assert (recorder.num_dropped, recorder.num_stored, recorder.num_pending) == (0, 10, 1)
    recorder.flush()


def test_old_records_are_stored_by_the_next_call(path: Path) -> None:
    times = [0.0]
    recorder = Recorder(PredictionStore(Database(path)), max_age_s=5, monotonic=lambda: times[0])
    records = [PredictionRecord("m", "text_classification", f"t{i}", "a", event_id=str(i)) for i in range(2)]
    recorder.add(records[:1])
    assert recorder.num_pending == 1
    times[0] = 6.0
    recorder.add(records[1:])
    assert (recorder.num_pending, recorder.num_stored) == (0, 2)


def test_bounds_that_make_no_sense_are_told_at_once(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Recorder(PredictionStore(Database(path)), batch_rows=0, sample_share=0.0, max_age_s=-1)
    assert len(caught.value.problems) == 3


def test_records_that_are_not_usable_are_counted(path: Path) -> None:
    with monitor.watch(lambda text: "a", store=path, model_id="m") as watched:
        assert [watched(text) for text in ("", "x" * 100_000, "\ud800", "fine")] == ["a"] * 4
    assert (watched.recorder.num_refused, watched.recorder.num_stored) == (3, 1)


def test_threads_share_a_watched_model_and_see_their_own_ids(path: Path) -> None:
    watched = monitor.watch(lambda text: text, store=path, model_id="m", batch_rows=7)
    own: dict[int, list[str | None]] = {}

    def call(number: int) -> None:
        own[number] = []
        for i in range(30):
            watched(f"{number}-{i}")
            own[number].append(watched.last_ids[0])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watched.close()
    texts = {r.prediction_id: r.input_sample for r in stored(path)}
    assert len(texts) == 120
    assert {number: [texts[str(i)] for i in ids] for number, ids in own.items()} == {
        number: [f"{number}-{i}" for i in range(30)] for number in range(4)
    }


def test_private_fields_are_redacted_on_the_way(path: Path) -> None:
    rules = Redaction({"input_sample": "scrub", "event_id": "hash"}, key=bytes(32))
    with monitor.watch(lambda text: "a", store=path, model_id="m", redaction=rules) as watched:
        watched("mail ada@example.org")
        assert watched.label(str(watched.last_ids[0]), "a")
    (record,) = stored(path)
    assert (record.input_sample, record.expected_output) == ("mail [email]", "a")
    assert b"ada@example" not in path.read_bytes()


class Lab:
    """The parts of a model of the lab that matter here."""

    model_id, task_type, digest, labels = "lab/model", "text_generation", "d" * 64, ("a",)
    model = "its own attribute of this name"

    def predict(self, texts: list[str]) -> Predictions:
        return Predictions(tuple(texts), (0.5,) * len(texts), 1)


def test_a_model_of_the_lab_is_watched_at_predict_and_keeps_its_attributes(path: Path) -> None:
    with monitor.watch(Lab(), store=path) as watched:
        assert watched.predict(["hi", "bye"]).outputs == ("hi", "bye")
        assert len(watched.last_ids) == 2
        assert (watched.labels, watched.model) == (("a",), Lab.model)
        assert not hasattr(watched, "nothing")
        with pytest.raises(TypeError):
            watched("hi")
    first = stored(path, "lab/model")[0]
    assert (first.task_type, first.model_revision, first.confidence) == ("text_generation", "d" * 64, 0.5)


def test_a_pipeline_of_transformers_is_watched(path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, pipeline

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hi", "bye"]
    vocabulary = path.parent / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label={0: "greet", 1: "leave"},
        label2id={"greet": 0, "leave": 1},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config).eval()
    pipe = pipeline("text-classification", model=model, tokenizer=BertTokenizerFast(str(vocabulary)), device="cpu")
    expected = [pipe("hi"), pipe(["hi", "bye"]), pipe("bye", top_k=None)]
    with monitor.watch(pipe, store=path, model_id="m", strict=True) as watched:
        assert [watched("hi"), watched(["hi", "bye"]), watched("bye", top_k=None)] == expected
        assert watched.model is pipe.model
    rows = triples(path)
    assert [row[0] for row in rows] == ["hi", "hi", "bye", "bye"]
    assert [(row[1], row[2]) for row in rows[:1]] == [(expected[0][0]["label"], expected[0][0]["score"])]
    assert rows[2][1:] == rows[3][1:]


def test_a_model_needs_a_name(path: Path) -> None:
    with pytest.raises(ConfigError, match="no name"):
        monitor.watch(lambda text: "a", store=path)

    def intent(text: str) -> str:
        return "a"

    with monitor.watch(intent, store=path) as watched:
        watched("hi")
    assert len(stored(path, "intent")) == 1


def test_by_default_the_labs_own_store_is_used(tmp_home: Path) -> None:
    with monitor.watch(lambda text: "a", model_id="m") as watched:
        watched("hi")
    assert len(stored(tmp_home / "store.db")) == 1


def test_what_waits_is_stored_when_the_program_ends_or_drops_the_model(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from symbio_lab import monitor\n"
        "watched = monitor.watch(str.upper, store=Path(sys.argv[1]), model_id='m'); watched('hi')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    watched = monitor.watch(str.upper, store=path, model_id="m")
    watched("bye")
    del watched
    assert [r.actual_output for r in stored(path)] == ["HI", "BYE"]


def test_the_package_offers_watch_without_importing_the_rest() -> None:
    code = "import sys, symbio_lab.monitor as m; print('symbio_lab.monitor.collector' in sys.modules, m.watch.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["False", "watch"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = monitor.nothing


def test_recording_leaves_no_open_connection(path: Path) -> None:
    with monitor.watch(lambda text: "a", store=path, model_id="m") as watched:
        watched("hi")
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
    finally:
        connection.close()
