"""Files are whole or absent, and JSON has one reading."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.codec import build_folder, from_plain, read_json, strict_loads, to_plain, write_atomic, write_json
from symbio_lab.errors import DataError, StorageError
from symbio_lab.records import (
    Attempt,
    Cost,
    Deployment,
    FailureRecord,
    FileEntry,
    Interval,
    PhaseCost,
)

DEPLOYMENTS = st.builds(
    Deployment,
    tenant=st.text(alphabet="abc", min_size=1),
    model_id=st.text(alphabet="xyz/", min_size=1),
    base_digest=st.just("0" * 64),
    patch_digest=st.none() | st.just("1" * 64),
    patch_id=st.none() | st.just("a/b"),
    stage=st.sampled_from(["shadow", "canary", "live", "rolled_back"]),
    previous=st.none() | st.just("2" * 64),
    created_at=st.just("2026-01-01T00:00:00Z"),
    note=st.text(alphabet="é\n\"' ", max_size=5),
)


@given(DEPLOYMENTS)
def test_records_round_trip_exactly(deployment: Deployment) -> None:
    back = from_plain(Deployment, to_plain(deployment))
    assert back == deployment
    assert back.deployment_id == deployment.deployment_id


@pytest.mark.parametrize(
    "record",
    [
        Cost((("screen", PhaseCost(1.5, 2.0, 3.0, 4.0, 5)),)),
        Attempt("marketplace", "a/b", "refused", code="expired", metrics={"fix_rate": 0.5}),
        Interval(None, None, None, 0),
        FailureRecord("m", "text_classification", "d", "wrong", "text", "a", "b", confidence=1.0),
    ],
    ids=lambda record: type(record).__name__,
)
def test_nested_records_round_trip(record: object) -> None:
    assert from_plain(type(record), to_plain(record)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"name": 3},
        {"size_bytes": "1"},
        {"size_bytes": True},
        {"size_bytes": 1.0},
        {"name": None},
    ],
)
def test_a_record_of_another_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match="FileEntry"):
        from_plain(FileEntry, {"name": "a", "sha256": "0", "size_bytes": 1, **change})


def test_missing_fields_and_wrong_literals_are_refused() -> None:
    with pytest.raises(DataError, match="missing"):
        from_plain(FileEntry, {"name": "a"})
    with pytest.raises(DataError, match=r"Attempt\.kind: 'magic' is not one of"):
        from_plain(Attempt, {"kind": "magic", "ref": "a/b", "status": "refused"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
        ('{"a": {"b": 1, "b": 1}}', "duplicate key 'b'"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("{", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_ambiguous_or_broken_json_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        strict_loads(text)


def test_write_json_is_sorted_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"b": (1, 2), "a": FileEntry("é", "0", 1)})
    assert path.read_text(encoding="utf-8").splitlines()[1] == ' "a": {'
    assert read_json(path) == {"a": {"name": "é", "sha256": "0", "size_bytes": 1}, "b": [1, 2]}


def test_read_json_of_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere\.json"):
        read_json(tmp_path / "nowhere.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_atomic(path, b"old")

    def half(temporary: Path) -> None:
        temporary.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        write_atomic(path, half)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_the_first_error_of_a_write_is_told_even_if_nothing_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(temporary: Path) -> None:
        raise OSError(28, "No space left on device")

    def gone(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", gone)
    with pytest.raises(StorageError, match="No space left"):
        write_atomic(tmp_path / "x.bin", full)


def test_a_folder_is_built_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").write_text("1")
        (folder / "b").write_text("2")

    target = build_folder(tmp_path / "deep" / "out", fill)
    assert sorted(os.listdir(target)) == ["a", "b"]

    def fail(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError):
        build_folder(tmp_path / "deep" / "other", fail)
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_the_first_of_two_builders_wins(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for who in ("first", "second"):

        def fill(folder: Path, who: str = who) -> None:
            (folder / "who").write_text(who)

        build_folder(target, fill)
    assert (target / "who").read_text() == "first"
    assert os.listdir(tmp_path) == ["out"]
