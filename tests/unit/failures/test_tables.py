"""A user's own table: every format, and every way it can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import DataError, EmptySliceError, MissingColumnsError, SymbioError
from symbio_lab.failures import load_table

ROWS = [
    {"question": "Where is my parcel, please?", "intent": "track", "chat": "c1", "area": "delivery"},
    {"question": 'She said "now"\nor never', "intent": "7", "chat": "c2", "area": ""},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format of the file name."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(lines, encoding="utf-8")
    elif path.suffix == ".csv":
        import csv

        with path.open("w", newline="", encoding="utf-8-sig") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl", "mine.jsonl.gz", "mine.parquet"])
def test_every_format_gives_the_same_samples(name: str, tmp_path: Path) -> None:
    samples = load_table(write(tmp_path / name, ROWS), "question", "intent", "chat", "area")
    assert [(s.text, s.expected, s.group, s.domain, s.source) for s in samples] == [
        ("Where is my parcel, please?", "track", "c1", "delivery", "mine"),
        ('She said "now"\nor never', "7", "c2", "", "mine"),
    ]


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl", "mine.parquet"])
def test_missing_columns_are_named_with_those_present(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, ROWS)
    with pytest.raises(MissingColumnsError, match=r"mine\.\w+ lacks the column\(s\) text, gold") as caught:
        load_table(path, "text", "gold")
    assert "question" in caught.value.hint
    assert str(tmp_path) not in str(caught.value)


def test_numbers_become_text_and_missing_groups_become_clusters(tmp_path: Path) -> None:
    rows = [{"t": "the same old words here", "y": 3}, {"t": "The same old words here!", "y": 4}]
    samples = load_table(write(tmp_path / "mine.parquet", rows), "t", "y")
    assert [sample.expected for sample in samples] == ["3", "4"]
    assert samples[0].group == samples[1].group != ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.csv", b"text,label\nfine,a\ncaf\xe9,b\n", "line 3 is not UTF-8"),
        ("mine.jsonl", b'{"text": "a", "label": "b"}\n{"text": "\xff"}\n', "line 2 is not UTF-8"),
        ("mine.csv", b"text,label\na,b,c\n", "line 2 has 3 cells, the header 2"),
        ("mine.csv", b'text,label\n"a"b,c\n', "line 2"),
        ("mine.csv", b'text,label\n"open,c\n', "line 2"),
        ("mine.csv", b"text,text,label\na,b,c\n", "same name"),
        ("mine.csv", b"text,label\n,b\n", "line 2: column text is empty"),
        ("mine.jsonl", b'{"text": "a", "label": null}\n', "line 1: column label is empty"),
        ("mine.jsonl", b'{"text": ["a"], "label": "b"}\n', "holds a list"),
        ("mine.jsonl", b'{"text": "a", "label": "b"}\n\n{oops}\n', "line 3: not valid JSON"),
        ("mine.jsonl", b'{"text": "a", "text": "c", "label": "b"}\n', "line 1: duplicate key"),
        ("mine.jsonl", b"[1, 2]\n", "line 1 is no JSON object"),
        ("mine.jsonl.gz", b"plain text", "not a whole gzip file"),
        ("mine.jsonl.gz", gzip.compress(b'{"text": "a", "label": "b"}\n' * 99, mtime=0)[:-12], "not a whole gzip file"),
        ("mine.parquet", b"PAR1 but no more", "not readable Parquet"),
        ("mine.xlsx", b"PK", "unknown format"),
    ],
)
def test_bad_content_is_refused_with_its_place(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_table(tmp_path / name, "text", "label")
    assert caught.value.hint
    assert str(tmp_path) not in str(caught.value)


def test_a_later_row_that_lacks_a_column_is_named_by_line(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [{"text": "a", "label": "b"}, {"text": "a"}])
    with pytest.raises(MissingColumnsError, match="line 2 lacks"):
        load_table(path, "text", "label")


@pytest.mark.parametrize(("name", "content"), [("mine.csv", b"text,label\n"), ("mine.csv", b""), ("mine.jsonl", b"\n")])
def test_an_empty_table_is_an_empty_slice(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EmptySliceError):
        load_table(tmp_path / name, "text", "label")


def test_no_such_file_and_no_such_folder(tmp_path: Path) -> None:
    for wrong in (tmp_path / "none.csv", "none.jsonl", tmp_path):
        with pytest.raises(SymbioError, match="no file"):
            load_table(wrong, "text", "label")
