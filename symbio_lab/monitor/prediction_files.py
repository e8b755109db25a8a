"""Files of predictions and of labels, read row by row: CSV, JSON Lines, JSON arrays (all also gzip'd), Parquet.

Rules:
    1. A bad row becomes a ``Refusal`` that names its line; reading goes on wherever the next row can be found.
       ``failures/tables.py`` stops instead: there a dropped row would change what is measured.
    2. Where the next row cannot be found (a quote that never closes, a broken gzip) reading stops with the line.
    3. Only the named columns are read; other columns become metadata when they are asked for.
    4. A row without id and time of its own is told apart by file name and row number, so that a file read again
       is stored once and equal rows of one file are not taken for one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from symbio_lab.errors import MissingColumnsError
from symbio_lab.monitor.file_rows import file_rows
from symbio_lab.monitor.ingesting import Located
from symbio_lab.monitor.validating import Refusal
from symbio_lab.records import PredictionRecord, TaskType
from symbio_lab.store.predictions import prediction_id_of


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what; the defaults are the names of ``PredictionRecord``."""

    text: str = "input_sample"
    actual: str = "actual_output"
    expected: str = "expected_output"
    domain: str = "domain"
    confidence: str = "confidence"
    observed_at: str = "observed_at"
    event_id: str = "event_id"
    metadata: tuple[str, ...] = ()
    """Further columns to keep."""

    def needed(self) -> tuple[str, ...]:
        """Return the columns that a table must have: text, answer, and every one that the caller named."""
        default = Columns()
        optional = ("expected", "domain", "confidence", "observed_at", "event_id")
        named = [getattr(self, name) for name in optional if getattr(self, name) != getattr(default, name)]
        return (self.text, self.actual, *named, *self.metadata)


def prediction_rows(
    path: Path,
    *,
    model_id: str,
    tenant: str = "default",
    task_type: TaskType = "text_classification",
    model_revision: str = "",
    columns: Columns | None = None,
) -> Iterator[Located]:
    """Yield the predictions of a file, each with its place.

    Args:
        path: file that ends in one of ``file_rows.FORMATS``.
        model_id: which model answered; a column of this name is not read.
        tenant: whose traffic it is; a column of this name is not read, so that no file chooses its tenant.
        task_type: what the model does.
        model_revision: digest of the model that answered.
        columns: which column holds what.

    Raises:
        MissingColumnsError: the first row lacks a column that is needed.
        DataError: no such file, an unknown format, or no way to find the next row; the message names the line.
        StorageError: the file cannot be read.
        MissingExtraError: Parquet needs a package that is not installed.
    """
    names = columns or Columns()
    for number, (where, row) in enumerate(_checked(path, names.needed())):
        if isinstance(row, Refusal):
            yield Located(where, row)
            continue
        try:
            record = PredictionRecord(
                model_id=model_id,
                task_type=task_type,
                input_sample=_text(row, names.text),
                actual_output=_name(row, names.actual),
                expected_output=_name(row, names.expected) or None,
                domain=_name(row, names.domain),
                tenant=tenant,
                model_revision=model_revision,
                confidence=_number(row, names.confidence),
                observed_at=_name(row, names.observed_at),
                event_id=_name(row, names.event_id),
                metadata={name: _name(row, name) for name in names.metadata} if names.metadata else {},
            )
        except _BadCellError as error:
            yield Located(where, Refusal(where, error.code, str(error)))
            continue
        if not record.event_id and not record.observed_at:
            record = _told_apart(record, path.name, number)
        yield Located(where, record)


def label_rows(
    path: Path, *, id_field: str = "prediction_id", expected_field: str = "expected_output"
) -> Iterator[Located]:
    """Yield the labels of a file, each with its place.

    Args:
        path: file that ends in one of ``file_rows.FORMATS``.
        id_field: column of the prediction's id.
        expected_field: column of the gold output.

    Raises:
        MissingColumnsError: the first row lacks one of the columns.
        DataError: no such file, an unknown format, or no way to find the next row; the message names the line.
        StorageError: the file cannot be read.
        MissingExtraError: Parquet needs a package that is not installed.
    """
    for where, row in _checked(path, (id_field, expected_field)):
        if isinstance(row, Refusal):
            yield Located(where, row)
            continue
        try:
            expected = _name(row, expected_field)
            if not expected:
                raise _BadCellError("missing_field", f"column {expected_field} is empty")
            yield Located(where, (_name(row, id_field), expected))
        except _BadCellError as error:
            yield Located(where, Refusal(where, error.code, str(error)))


class _BadCellError(Exception):
    """One cell cannot be used; never leaves this file."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def _checked(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any] | Refusal]]:
    is_first = True
    for where, row in file_rows(path):
        if is_first and not isinstance(row, Refusal):
            if missing := [name for name in dict.fromkeys(needed) if name not in row]:
                raise MissingColumnsError(path.name, missing, sorted(row))
            is_first = False
        yield where, row


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if isinstance(value, str):
        return _whole(value, column)
    if value is None:
        raise _BadCellError("missing_field", f"column {column} is empty")
    raise _BadCellError("bad_type", f"column {column} holds a {type(value).__name__}, not a text")


def _name(row: Mapping[str, Any], column: str) -> str:
    """Return a label, domain, time or id; numbers become text, what is empty becomes the empty string."""
    value = row.get(column)
    if isinstance(value, str):
        return _whole(value, column)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _BadCellError("bad_type", f"column {column} holds a {type(value).__name__}, not a text")
    return str(value)


def _number(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise _BadCellError("bad_confidence", f"column {column}: {value!r:.40} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _BadCellError("bad_type", f"column {column} holds a {type(value).__name__}, not a number")
    return float(value)


def _whole(text: str, column: str) -> str:
    # CSV is decoded with surrogate escapes, so that one bad byte costs its row and not the file.
    if not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text):
        raise _BadCellError("not_utf8", f"column {column} is not UTF-8")
    return text


def _told_apart(record: PredictionRecord, file_name: str, number: int) -> PredictionRecord:
    try:
        content = prediction_id_of(record)
    except UnicodeEncodeError:
        return record  # refused anyway
    place = f"{content} {file_name} {number}"
    return replace(record, event_id=sha256(place.encode("utf-8", "surrogateescape")).hexdigest())
