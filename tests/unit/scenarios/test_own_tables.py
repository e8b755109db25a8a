"""A user's tables as rows for one model: what is merged, renamed, left out or refused before the model runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import DataError, EmptySliceError, WrongTaskError
from symbio_lab.records import Sample
from symbio_lab.scenarios.own_slices import check_controls, check_slice, failure_patterns, value_slice
from symbio_lab.scenarios.own_tables import OwnData, OwnRows, read_own, usable_rows
from symbio_lab.testing.tiny_models import TinyModels
from symbio_lab.testing.tiny_samples import generation_samples, known_samples

COLOURS = [{"text": s.text, "label": s.expected} for s in known_samples(10)]


def table(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def usable(model: Any, folder: Path, rows: Sequence[dict[str, Any]], **more: Any) -> OwnRows:
    task = more.pop("task", None)
    return usable_rows(read_own(OwnData(table(folder / "data.jsonl", rows), **more)), model, task=task)


def test_repeated_texts_count_once_and_contradictions_are_said(tiny: TinyModels, tmp_path: Path) -> None:
    text, label = COLOURS[0].values()
    other = "red" if label != "red" else "blue"
    rows = usable(tiny.load("bert"), tmp_path, [*COLOURS, COLOURS[1], {"text": text, "label": other}])
    assert len(rows.samples) == len(COLOURS)
    assert rows.samples[0].expected == label
    assert (rows.facts["repeated_texts"], rows.facts["conflicting_labels"]) == (2, 1)
    assert any("Texts with different labels in data.jsonl: 1" in note for note in rows.notes)


def test_rows_left_out_are_said(tiny: TinyModels, tmp_path: Path) -> None:
    rows = usable(tiny.load("bert"), tmp_path, COLOURS, max_rows=30)
    assert len(rows.samples) == 30
    assert rows.notes[0].startswith(f"{len(COLOURS) - 30} rows of data.jsonl were left out")


def test_training_rows_share_no_group_with_the_data(tiny: TinyModels, tmp_path: Path) -> None:
    data = [{**row, "talk": f"talk {i}"} for i, row in enumerate(COLOURS)]
    apart = [{"text": f"something else entirely {i}", "label": "red", "talk": f"talk {1000 + i}"} for i in range(5)]
    same = [{"text": "words that no row of the data has", "label": "red", "talk": "talk 3"}]
    found = usable(
        tiny.load("bert"), tmp_path, data, group_field="talk", train=table(tmp_path / "train.jsonl", apart + same)
    )
    assert [s.text for s in found.train] == [row["text"] for row in apart]
    assert found.facts["replay_dropped"] == 1


def test_a_training_table_may_lack_the_group_column(tiny: TinyModels, tmp_path: Path) -> None:
    data = [{**row, "talk": f"talk {i}"} for i, row in enumerate(COLOURS)]
    train = table(tmp_path / "train.jsonl", [{"text": "something else entirely", "label": "red"}])
    found = usable(tiny.load("bert"), tmp_path, data, group_field="talk", train=train)
    assert len(found.train) == 1


def test_a_training_table_that_is_the_data_is_refused(tiny: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="40 of 40 are in the data too"):
        usable(tiny.load("bert"), tmp_path, COLOURS, train=table(tmp_path / "train.jsonl", COLOURS))


def test_rows_that_a_generator_can_neither_read_nor_write_are_left_out(tiny: TinyModels, tmp_path: Path) -> None:
    model: Any = tiny.load("llama")
    kept = [{"text": s.text, "label": s.expected} for s in generation_samples(4)]
    context = model.module.config.max_position_embeddings
    long = [
        {"text": " ".join(["animal0"] * context), "label": "some tool here"},
        {"text": "tool0", "label": " ".join(["tool"] * (model.max_new_tokens + 1))},
    ]
    rows = usable(model, tmp_path, kept + long)
    assert [s.text for s in rows.samples] == [row["text"] for row in kept]
    assert any(note.startswith("2 rows are longer than the model can read") for note in rows.notes)
    with pytest.raises(DataError, match="every row"):
        usable(model, tmp_path, long)


def test_class_labels_for_a_generator_need_the_caller_s_word(tiny: TinyModels, tmp_path: Path) -> None:
    rows = [{"text": f"animal{i}", "label": "yes" if i % 2 else "no"} for i in range(40)]
    with pytest.raises(WrongTaskError, match="2 values on 40 rows"):
        usable(tiny.load("llama"), tmp_path, rows)
    assert len(usable(tiny.load("llama"), tmp_path, rows, task="text_generation").samples) == 40


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        (OwnData("d.csv", slice="topic"), "not FIELD=VALUE"),
        (OwnData("d.csv", slice="=x"), "not FIELD=VALUE"),
        (OwnData("d.csv", slice="a=b", domain_field="a"), "leave out --domain-field"),
        (OwnData("d.csv", max_rows=0), "--max-rows"),
    ],
)
def test_wrong_settings_are_found_before_a_file_is_opened(own: OwnData, problem: str) -> None:
    assert len(own.problems()) == 1
    assert problem in own.problems()[0]
    assert OwnData("d.csv", slice="a=b=c").problems() == []


def test_a_word_is_found_beside_a_punctuation_mark(tiny: TinyModels) -> None:
    model = tiny.load("llama")
    refunds = [Sample(f"tool{i} refund?", "some tool here", f"r{i}") for i in range(5)]
    samples = [*generation_samples(10), *refunds]
    wrong = [s.text.endswith("refund?") for s in samples]
    found = {p.name: p for p in failure_patterns(model, samples, ["x"] * len(samples), wrong)}
    assert [s for s in samples if found["inputs with 'refund'"].holds(s)] == refunds
    assert found["inputs with 'refund'"].about == "refund"


def test_a_model_without_failures_has_no_patterns(tiny: TinyModels) -> None:
    samples = known_samples(2)
    with pytest.raises(EmptySliceError, match="all 8 rows rightly"):
        failure_patterns(tiny.load("bert"), samples, ["x"] * 8, [False] * 8)


def test_a_named_slice_is_checked_before_the_model_runs() -> None:
    samples = known_samples(10)
    check_slice(samples, "topic", "colours", n_repair=40, min_controls=0, held_back=0.0)
    assert all(map(value_slice("topic", "colours").holds, samples))
    with pytest.raises(EmptySliceError) as caught:
        check_slice(samples, "topic", "none", n_repair=2, min_controls=0, held_back=0.0)
    assert caught.value.hint == "values of topic: colours"
    with pytest.raises(EmptySliceError, match="40 rows have topic=colours, fewer than --n-repair 41"):
        check_slice(samples, "topic", "colours", n_repair=41, min_controls=0, held_back=0.0)
    with pytest.raises(EmptySliceError) as caught:
        check_controls(100, 400)
    assert "at least 700 more" in caught.value.hint
