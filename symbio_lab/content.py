"""Canonical JSON and the digest of it: the identity of everything in the lab.

>>> content_id({})[:8]
'44136fa3'
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from symbio_lab.errors import DataError


def canonical_json(value: Any) -> bytes:
    """Return the canonical UTF-8 JSON of ``value``: sorted keys, no spaces, no NaN.

    Dataclasses become objects, paths become POSIX strings, tuples become arrays.

    Raises:
        DataError: the value holds something that JSON cannot carry exactly (NaN, sets, bytes).

    >>> canonical_json({"b": 1, "a": (1, 2)})
    b'{"a":[1,2],"b":1}'
    """

    def plain(item: Any) -> Any:
        if is_dataclass(item) and not isinstance(item, type):
            return asdict(item)
        if isinstance(item, Path):
            return item.as_posix()
        raise DataError(f"cannot write a {type(item).__name__} as canonical JSON")

    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=plain
        )
    except ValueError as error:
        raise DataError(f"cannot write as canonical JSON: {error}") from error
    return text.encode("utf-8")


def content_id(value: Any) -> str:
    """Return the SHA-256 (64 hex characters) of the canonical JSON of ``value``.

    >>> content_id({})[:8]
    '44136fa3'
    """
    return hashlib.sha256(canonical_json(value)).hexdigest()
