"""A user's own failures: CSV, JSON Lines (both also gzip'd), Parquet, or a Hub dataset.

Rules:
    1. Files are read row by row; only the named columns are kept, and of a large table an even sample of its rows.
    2. A bad row stops the reading with its line number: a dropped row would change what is measured.
    3. CSV has a header line; all text is UTF-8 (a byte-order mark is allowed).
    4. Rows without a group get their near-duplicate cluster.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from symbio_lab.codec import strict_loads
from symbio_lab.errors import DataError, EmptySliceError, MissingColumnsError, MissingExtraError
from symbio_lab.failures.dataset import Origin
from symbio_lab.failures.file_errors import file_errors
from symbio_lab.failures.grouping import with_groups
from symbio_lab.failures.hub import load_hub_rows
from symbio_lab.records import Sample
from symbio_lab.seeding import numpy_generator

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
MAX_ROWS = 50_000
"""Rows that ``read_table`` keeps of a table unless told otherwise."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_Located = Iterator[tuple[str, Mapping[str, Any]]]
"""Rows with the place to name when one is bad, e.g. ``mine.csv line 7``."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows kept of one table."""

    name: str
    """File name or Hub id."""
    origin: Origin
    samples: tuple[Sample, ...]
    num_left_out: int
    """Rows read but not kept."""


def load_table(
    path_or_hub_id: str | Path,
    text_field: str,
    label_field: str,
    group_field: str | None = None,
    domain_field: str | None = None,
) -> tuple[Sample, ...]:
    """Return the samples of a whole table; see ``read_table``."""
    return read_table(
        path_or_hub_id, text_field, label_field, group_field=group_field, domain_field=domain_field, max_rows=None
    ).samples


def read_table(
    path_or_hub_id: str | Path,
    text_field: str,
    label_field: str,
    *,
    group_field: str | None = None,
    domain_field: str | None = None,
    max_rows: int | None = MAX_ROWS,
    seed: int = 0,
) -> Table:
    """Return the rows of a table, or an even sample of them.

    Args:
        path_or_hub_id: a file that ends in one of ``FORMATS``, or ``owner/name`` on the Hub (all splits).
        text_field: column of the input text.
        label_field: column of the gold label or output; numbers become text, Hub class labels their names.
        group_field: column of the unit that splits keep together; None uses near-duplicate clusters.
        domain_field: column of the domain or slice.
        max_rows: rows kept of each split, drawn with equal chance over all of it (Vitter 1985, algorithm R); every
            row is read and checked all the same. None keeps all.
        seed: draws the rows.

    Returns:
        One sample per row kept, in order; ``source`` is the file's stem or the Hub split.

    Raises:
        MissingColumnsError: a named column is absent.
        EmptySliceError: the table has no rows.
        DataError: no such file, an unknown format, text that is not UTF-8, or a malformed or empty cell; the
            message names the line.
        StorageError: the file cannot be read.
        MissingExtraError: Parquet or the Hub needs a package that is not installed.
        NetworkUnavailableError: the Hub cannot be reached.
    """
    columns = [text_field, label_field, *(name for name in (group_field, domain_field) if name)]
    path = Path(path_or_hub_id)
    suffix = next((ending for ending in sorted(FORMATS, key=len, reverse=True) if path.name.endswith(ending)), "")
    origin: Origin = "local"
    if path.is_file():
        if not suffix:
            raise DataError(f"{path.name}: unknown format", hint="use one of: " + ", ".join(FORMATS))
        parts = {path.name.removesuffix(suffix): _file_rows(path, suffix, columns)}
    elif not suffix and _HUB_ID.fullmatch(str(path_or_hub_id)):
        origin = "hub"
        hub = load_hub_rows(str(path_or_hub_id))
        parts = {split: _numbered(f"{split} row", rows) for split, rows in hub.items()}
    else:
        raise DataError(f"no file {path.name!r}", hint="give a path to a table, or owner/name of a Hub dataset")
    samples: list[Sample] = []
    num_read = 0
    for source, rows in parts.items():
        read = (
            Sample(
                text=_cell(row, text_field, where),
                expected=_cell(row, label_field, where),
                group=_optional(row, group_field),
                domain=_optional(row, domain_field),
                source=source,
            )
            for where, row in _picked(rows, columns)
        )
        with file_errors(path.name):
            kept, count = _evenly(read, max_rows, seed)
        samples += kept
        num_read += count
    if not samples:
        raise EmptySliceError(f"{path.name} has no rows", hint="give a table with at least one row below its header")
    name = path.name if origin == "local" else str(path_or_hub_id)
    return Table(name, origin, with_groups(samples), num_read - len(samples))


def _evenly(rows: Iterable[Sample], most: int | None, seed: int) -> tuple[list[Sample], int]:
    """Return at most ``most`` rows in order, each kept with equal chance, and the number read."""
    rng = numpy_generator(seed, "rows")
    kept: list[tuple[int, Sample]] = []
    count = 0
    for count, sample in enumerate(rows, start=1):
        if most is None or len(kept) < most:
            kept.append((count, sample))
            continue
        place = int(rng.integers(count))
        if place < most:
            kept[place] = (count, sample)
    return [sample for _, sample in sorted(kept, key=lambda item: item[0])], count


def _picked(rows: _Located, columns: Sequence[str]) -> _Located:
    """Keep the named columns of each row; the first row decides which are missing from the table."""
    for number, (where, row) in enumerate(rows):
        missing = [name for name in columns if name not in row]
        if missing:
            raise MissingColumnsError(where.split(" ")[0] if number == 0 else where, missing, sorted(row))
        yield where, {name: row[name] for name in columns}


def _cell(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row[column]
    if isinstance(value, list | dict | bytes):
        raise DataError(f"{where}: column {column} holds a {type(value).__name__}", hint="one text per cell")
    if value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip():
        raise DataError(f"{where}: column {column} is empty", hint="fill the cell or remove the row")
    return str(value)


def _optional(row: Mapping[str, Any], column: str | None) -> str:
    value = row[column] if column else None
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _file_rows(path: Path, suffix: str, columns: Sequence[str]) -> _Located:
    if suffix == ".parquet":
        yield from _parquet_rows(path, columns)
        return
    with gzip.open(path, "rb") if suffix.endswith(".gz") else path.open("rb") as handle:
        lines = _utf8_lines(handle, path.name)
        yield from _csv_rows(lines, path.name) if suffix.startswith(".csv") else _jsonl_rows(lines, path.name)


def _utf8_lines(handle: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[str]:
    for number, line in enumerate(handle, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} line {number} is not UTF-8", hint="save the file as UTF-8") from error


def _csv_rows(lines: Iterable[str], name: str) -> _Located:
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{name}: two columns have the same name", hint="rename one of them")
        for values in reader:
            if not values:
                continue
            where = f"{name} line {reader.line_num}"
            if len(values) != len(header):
                raise DataError(
                    f"{where} has {len(values)} cells, the header {len(header)}",
                    hint="quote cells that hold commas or line breaks",
                )
            yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{name} line {reader.line_num}: {error}", hint="check the quotes on this line") from error


def _jsonl_rows(lines: Iterable[str], name: str) -> _Located:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = strict_loads(line)
        except DataError as error:
            raise DataError(f"{name} line {number}: {error}", hint="one JSON object per line") from error
        if not isinstance(row, dict):
            raise DataError(f"{name} line {number} is no JSON object", hint="one JSON object per line")
        yield f"{name} line {number}", row


def _parquet_rows(path: Path, columns: Sequence[str]) -> _Located:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        missing = MissingExtraError("pyarrow", "offline")
        missing.hint = "pip install pyarrow"
        raise missing from error
    try:
        table = pyarrow.parquet.ParquetFile(path)
        present = table.schema_arrow.names
        if absent := [name for name in columns if name not in present]:
            raise MissingColumnsError(path.name, absent, present)
        batches = (batch.to_pylist() for batch in table.iter_batches(batch_size=4096, columns=list(columns)))
        yield from _numbered(f"{path.name} row", (row for batch in batches for row in batch))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path.name} is not readable Parquet: {error}", hint="write the file again") from error


def _numbered(label: str, rows: Iterable[Mapping[str, Any]]) -> _Located:
    for number, row in enumerate(rows, start=1):
        yield f"{label} {number}", row
