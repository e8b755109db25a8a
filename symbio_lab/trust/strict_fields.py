"""Reading one JSON object strictly: exact fields, exact types, bounded sizes.

Every function takes the value and ``where`` it stands (for the message) and returns it typed, or raises
``TrustError("bad_manifest")``. Text must be NFC without control characters, so that two readers see one text.

Example:
    >>> take({"id": "a/b", "version": 3}, "patch", "id", "version")
    ['a/b', 3]
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

from symbio_lab.errors import TrustError

_HEX64 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# Bidirectional overrides let a card show another text than the one that was signed.
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def refuse(where: str, problem: str) -> TrustError:
    """Return the error for a field at ``where``."""
    return TrustError("bad_manifest", f"{where}: {problem}")


def take(value: Any, where: str, *names: str, optional: tuple[str, ...] = ()) -> list[Any]:
    """Return the values of ``names`` then ``optional`` (None if absent); the object has no other field.

    Raises:
        TrustError: ``bad_manifest``: not an object, an unknown or a missing field.
    """
    if not isinstance(value, dict):
        raise refuse(where, "not an object")
    unknown = sorted(set(value) - set(names) - set(optional))
    missing = sorted(set(names) - set(value))
    if unknown or missing:
        raise refuse(where, f"unknown field(s) {unknown}, missing field(s) {missing}")
    return [value[name] for name in names] + [value.get(name) for name in optional]


def text(value: Any, where: str, limit: int = 200) -> str:
    """Return text of at most ``limit`` characters, NFC, without control characters but line feed and tab.

    Raises:
        TrustError: ``bad_manifest``.
    """
    if not isinstance(value, str) or len(value) > limit:
        raise refuse(where, f"not text of at most {limit} characters")
    if value.isascii() and value.isprintable():
        return value
    if not unicodedata.is_normalized("NFC", value):
        raise refuse(where, "text is not in Unicode normal form C")
    for character in value:
        if character not in "\n\t" and (unicodedata.category(character) in ("Cc", "Cs") or character in _BIDI):
            raise refuse(where, "text holds control characters")
    return value


def clean_text(value: str) -> str:
    """Return ``value`` in the form that ``text`` accepts: NFC, control characters replaced by spaces."""
    safe = "".join(
        " " if c not in "\n\t" and (unicodedata.category(c) in ("Cc", "Cs") or c in _BIDI) else c for c in value
    )
    return unicodedata.normalize("NFC", safe)


def integer(value: Any, where: str, low: int, high: int) -> int:
    """Return an integer in [low, high]; booleans and floats are refused.

    Raises:
        TrustError: ``bad_manifest``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise refuse(where, f"not an integer from {low} to {high}")
    return value


def array(value: Any, where: str, limit: int) -> list[Any]:
    """Return a list of at most ``limit`` items.

    Raises:
        TrustError: ``bad_manifest``.
    """
    if not isinstance(value, list) or len(value) > limit:
        raise refuse(where, f"not a list of at most {limit} items")
    return value


def unique_texts(value: Any, where: str, limit: int = 4096) -> tuple[str, ...]:
    """Return a list of distinct, non-empty texts.

    Raises:
        TrustError: ``bad_manifest``.
    """
    items = tuple(text(item, f"{where}[{i}]") for i, item in enumerate(array(value, where, limit)))
    if len(set(items)) != len(items) or "" in items:
        raise refuse(where, "items are empty or repeat")
    return items


def hex_digest(value: Any, where: str) -> str:
    """Return 64 lower-case hex characters.

    Raises:
        TrustError: ``bad_manifest``.
    """
    if not isinstance(value, str) or not _HEX64.fullmatch(value):
        raise refuse(where, "not a SHA-256 in lower-case hex")
    return value


def digest_set(value: Any, where: str) -> str:
    """Return the digest of an in-toto digest set ``{"sha256": hex}``.

    Raises:
        TrustError: ``bad_manifest``.
    """
    (sha256,) = take(value, where, "sha256")
    return hex_digest(sha256, where)


def utc_time(value: Any, where: str) -> str:
    """Return a UTC time written ``2026-01-31T12:00:00Z``.

    Raises:
        TrustError: ``bad_manifest``.
    """
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise refuse(where, "not a UTC time like 2026-01-31T12:00:00Z")
    instant(value, where)
    return value


def instant(value: str, where: str = "time") -> datetime:
    """Return the aware UTC datetime of an ISO-8601 text that ends in ``Z``.

    Raises:
        TrustError: ``bad_manifest``: no such time, or no ``Z``.
    """
    try:
        if not value.endswith("Z"):
            raise ValueError("no Z")
        return datetime.fromisoformat(value[:-1]).replace(tzinfo=UTC)
    except (ValueError, AttributeError) as error:
        raise refuse(where, "not a UTC time that ends in Z") from error
