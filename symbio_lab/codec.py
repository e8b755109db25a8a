"""Records to JSON and back, and files that are either whole or absent.

Rules:
    1. ``read_json`` refuses duplicate keys: two readers must never see two documents.
    2. ``write_atomic`` writes beside the target, syncs, then renames; a kill leaves the old file or the new one.
    3. A full disk or a missing right is a ``StorageError`` and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from symbio_lab.errors import DataError, StorageError
from symbio_lab.records import canonical_json

T = TypeVar("T")


def strict_loads(data: bytes | str) -> Any:
    """Parse JSON, refusing duplicate keys and NaN.

    Raises:
        DataError: malformed, duplicate key (message says ``duplicate key``), NaN or infinity, not UTF-8.

    >>> strict_loads(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ...
    symbio_lab.errors.DataError: duplicate key 'a'
    """

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise DataError(f"duplicate key {key!r}")
            seen[key] = value
        return seen

    def no_constant(name: str) -> Any:
        raise DataError(f"{name} is not JSON")

    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {error}") from error


def read_json(path: Path) -> Any:
    """Read one JSON file strictly.

    Raises:
        DataError: the file is not valid JSON.
        StorageError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path.name}: {error.strerror}") from error
    return strict_loads(data)


def write_atomic(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """Write ``path`` so that it is whole or unchanged.

    Args:
        path: target file; its folder is made.
        data: the bytes, or a function that writes a file at the path it is given.

    Raises:
        StorageError: disk full or no permission; no temporary file stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(data):
            data(temporary)
        else:
            temporary.write_bytes(data)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write {path.name}: {error.strerror or error}") from error
    finally:
        # After a failed write the folder may be out of reach too; the first error is the one to tell.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable, sorted JSON, atomically."""
    plain = json.loads(canonical_json(value))
    write_atomic(path, (json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def build_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder that is whole or absent: ``fill`` a temporary one, then rename it.

    If another process finished first, its folder is kept and ours is dropped.

    Raises:
        StorageError: disk full or no permission.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        try:
            os.replace(temporary, target)
        except OSError:
            if not target.is_dir():
                raise
    except OSError as error:
        raise StorageError(f"cannot write {target.name}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def to_plain(record: Any) -> Any:
    """Return a record as JSON values (objects, arrays, strings, numbers)."""
    return json.loads(canonical_json(record))


def from_plain(kind: type[T], value: Any) -> T:
    """Rebuild a record of ``kind`` from JSON values, strictly.

    Raises:
        DataError: unknown or missing fields, or a value of another type.

    >>> from symbio_lab.records import FileEntry
    >>> from_plain(FileEntry, {"name": "a", "sha256": "0", "size_bytes": 1})
    FileEntry(name='a', sha256='0', size_bytes=1)
    """
    return typing.cast(T, _build(kind, value, kind.__name__))


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for option in args:
            try:
                return _build(option, value, where)
            except DataError:
                continue
        raise DataError(f"{where}: unexpected value {value!r:.60}")
    if origin is typing.Literal:
        if value not in args:
            raise DataError(f"{where}: {value!r:.60} is not one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise DataError(f"{where}: expected an array")
        inner = args[0] if len(args) == 2 and args[1] is Ellipsis else None
        if inner is None and len(value) != len(args):
            raise DataError(f"{where}: expected {len(args)} items")
        return tuple(_build(inner if inner is not None else args[i], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise DataError(f"{where}: expected an object")
        return {key: _build(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _build_record(kind, value, where)
    if kind is type(None):
        if value is not None:
            raise DataError(f"{where}: expected null")
        return None
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")
    return value


def _build_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    required = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    missing = sorted(required - set(value))
    if unknown or missing:
        raise DataError(f"{where}: unknown field(s) {unknown}, missing field(s) {missing}")
    return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})
