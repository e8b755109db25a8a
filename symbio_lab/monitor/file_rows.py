"""Rows of a file, one by one, with their place; a row that cannot be read is a refusal, not the end.

Rules:
    1. Memory is bounded by the longest row that is accepted (``MAX_ROW_BYTES``), whatever the file's size.
    2. Reading stops with a ``DataError`` only where the next row cannot be found.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from symbio_lab.errors import DataError, MissingExtraError
from symbio_lab.failures.file_errors import file_errors
from symbio_lab.monitor.validating import Refusal

MAX_ROW_BYTES = 16 << 20
_READ_BYTES = 1 << 16
_BOM = b"\xef\xbb\xbf"
Rows = Iterator[tuple[str, Mapping[str, Any] | Refusal]]
"""Place, and the row or why there is none."""


def file_rows(path: Path) -> Rows:
    """Yield the rows of a CSV, JSON Lines, JSON or Parquet file.

    Args:
        path: file that ends in one of ``FORMATS``; with ``.gz`` (not for Parquet) it is unpacked on the way.

    Raises:
        DataError: no such file, an unknown format, or a place after which the next row cannot be found.
        StorageError: the file cannot be read.
        MissingExtraError: Parquet needs pyarrow.
    """
    suffix = next((ending for ending in FORMATS if path.name.endswith((ending, f"{ending}.gz"))), None)
    if not path.is_file():
        raise DataError(f"no file {path.name!r}", hint="give a path to a table")
    if suffix is None or (suffix == ".parquet" and path.name.endswith(".gz")):
        raise DataError(f"{path.name}: unknown format", hint="use one of: " + ", ".join(FORMATS))
    with file_errors(path.name):
        if suffix == ".parquet":
            yield from _parquet_rows(path)
            return
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as handle:
            yield from FORMATS[suffix](handle, path.name)


def _lines(handle: IO[bytes] | gzip.GzipFile) -> Iterator[bytes | None]:
    """Yield lines; None for one that is longer than a row may be."""
    is_first = True
    while line := handle.readline(MAX_ROW_BYTES):
        if is_first:
            line, is_first = line.removeprefix(_BOM), False
        if line.endswith(b"\n") or len(line) < MAX_ROW_BYTES:
            yield line
            continue
        while (rest := handle.readline(MAX_ROW_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None


def _jsonl_rows(handle: IO[bytes] | gzip.GzipFile, name: str) -> Rows:
    decoder = _decoder()
    for number, line in enumerate(_lines(handle), start=1):
        where = f"{name} line {number}"
        if line is None:
            yield where, Refusal(where, "row_too_long", f"longer than {MAX_ROW_BYTES} bytes")
            continue
        try:
            text = line.decode("utf-8").strip()
            if not text:
                continue
            value, end = decoder.raw_decode(text)
            if end < len(text):
                raise ValueError(f"something follows at character {end}")
        except UnicodeDecodeError as error:
            yield where, Refusal(where, "not_utf8", f"byte {error.start} of the line is not UTF-8")
        except (ValueError, RecursionError) as error:
            yield where, Refusal(where, "bad_row", f"not valid JSON: {error}")
        else:
            yield where, _object(value, where)


def _json_rows(handle: IO[bytes] | gzip.GzipFile, name: str) -> Rows:
    """Yield the objects of a JSON array without holding the array."""
    decoder, buffer, number = _decoder(), "", 0
    text_of = _incremental_utf8(name)
    has_more, wanted = True, _READ_BYTES
    is_open = False
    while True:
        buffer = buffer.lstrip(" \t\r\n") if not is_open or number == 0 else buffer.lstrip(" \t\r\n,")
        if not is_open and buffer:
            if buffer[0] != "[":
                raise DataError(f"{name} is no JSON array", hint="write an array of objects, or one object a line")
            buffer, is_open = buffer[1:], True
            continue
        if is_open and buffer.startswith("]"):
            return
        where = f"{name} row {number + 1}"
        value: Any = None
        if buffer:
            try:
                value, end = decoder.raw_decode(buffer)
            except (ValueError, RecursionError) as error:
                if not has_more or len(buffer) > MAX_ROW_BYTES:
                    raise DataError(f"{where} is not valid JSON: {error}", hint="one array of objects") from error
            else:
                number, buffer, wanted = number + 1, buffer[end:], _READ_BYTES
                yield where, _object(value, where)
                continue
        elif not has_more:
            raise DataError(f"{name} ends inside its array", hint="write the file again")
        data = handle.read(wanted)
        has_more = bool(data)
        buffer += text_of(data)
        # Doubling: a long row is tried again a few times, not once for each block.
        wanted *= 2


def _csv_rows(handle: IO[bytes] | gzip.GzipFile, name: str) -> Rows:
    last = ""

    def lines() -> Iterator[str]:
        nonlocal last
        for number, line in enumerate(_lines(handle), start=1):
            if line is None:
                raise DataError(f"{name} line {number} is longer than {MAX_ROW_BYTES} bytes", hint="split the file")
            # Bytes that are no UTF-8 become lone surrogates, which whoever reads the cell refuses.
            last = line.decode("utf-8", "surrogateescape")
            yield last

    reader = csv.reader(lines(), strict=True)
    header: list[str] | None = None
    while True:
        begun = reader.line_num
        where = f"{name} line {begun + 1}"
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # A cell above the csv module's own limit; with every quote closed on this line the next row is known.
            if (
                header is None
                or reader.line_num != begun + 1
                or last.count('"') % 2
                or "field larger" not in str(error)
            ):
                raise DataError(
                    f"{name} line {reader.line_num}: {error}", hint="check the quotes on this line"
                ) from error
            yield where, Refusal(where, "text_too_long", f"a cell has more than {csv.field_size_limit()} characters")
            continue
        if not values:
            continue
        if header is None:
            header = values
            if len(set(header)) < len(header):
                raise DataError(f"{name}: two columns have the same name", hint="rename one of them")
        elif len(values) != len(header):
            yield where, Refusal(where, "bad_row", f"{len(values)} cells, the header has {len(header)}")
        else:
            yield where, dict(zip(header, values, strict=True))


def _parquet_rows(path: Path) -> Rows:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        missing = MissingExtraError("pyarrow", "offline")
        missing.hint = "pip install pyarrow"
        raise missing from error
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                number += 1
                yield f"{path.name} row {number}", row
    except pyarrow.ArrowException as error:
        raise DataError(f"{path.name} is not readable Parquet: {error}", hint="write the file again") from error


def _decoder() -> json.JSONDecoder:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("duplicate key")
        return found

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.JSONDecoder(object_pairs_hook=no_duplicates, parse_constant=no_constant)


def _object(value: Any, where: str) -> Mapping[str, Any] | Refusal:
    return value if isinstance(value, dict) else Refusal(where, "bad_row", "no JSON object")


def _incremental_utf8(name: str) -> Callable[[bytes], str]:
    import codecs

    decoder, offset = codecs.getincrementaldecoder("utf-8-sig")(), 0

    def text_of(data: bytes) -> str:
        nonlocal offset
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name} is not UTF-8 near byte {offset + error.start}", hint="save the file as UTF-8"
            ) from error
        offset += len(data)
        return text

    return text_of


FORMATS: dict[str, Callable[[IO[bytes] | gzip.GzipFile, str], Rows]] = {
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".parquet": lambda handle, name: iter(()),
}
"""Ending -> reader of an open file; Parquet needs the path instead."""
