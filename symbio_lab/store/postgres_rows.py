r"""One SQL for both databases: values marked as SQLite marks them, rows and texts that come back as SQLite gives them.

Rules:
    1. ``?`` and ``:name`` become what psycopg reads; quoted text and ``::`` stay, ``%`` is doubled.
    2. A row is found by name and by number, and unpacks.
    3. Postgres keeps no NUL in a text, SQLite does: it is written as two characters, and read back as one.

>>> translated("SELECT '?', a FROM t WHERE b = ? AND c::text = :name AND d % 2 = 0")
"SELECT '?', a FROM t WHERE b = %s AND c::text = %(name)s AND d %% 2 = 0"
>>> from_stored(to_stored("a\x00b")) == "a\x00b", to_stored("plain")
(True, 'plain')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

_PARTS = re.compile(r"'(?:[^']|'')*'|::|\?|:([a-z_]+)|%")
_MARK = "\ue000"
"""A character of the private use area stands before what is written differently; itself included."""


@lru_cache(maxsize=512)
def translated(sql: str) -> str:
    """Return a statement as psycopg reads it."""

    def one(match: re.Match[str]) -> str:
        text = match[0]
        if match[1]:
            return f"%({match[1]})s"
        return "%s" if text == "?" else text.replace("%", "%%")

    return _PARTS.sub(one, sql)


def to_stored(text: str) -> str:
    """Return a text without NUL that ``from_stored`` turns back."""
    if "\x00" not in text and _MARK not in text:
        return text
    return text.replace(_MARK, _MARK + "1").replace("\x00", _MARK + "0")


def from_stored(text: str) -> str:
    """Return a text as it was before ``to_stored``."""
    if _MARK not in text:
        return text
    return text.replace(_MARK + "0", "\x00").replace(_MARK + "1", _MARK)


class Row(tuple[Any, ...]):
    """One row, by name and by number."""

    places: ClassVar[dict[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.places[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.places)


@lru_cache(maxsize=512)
def _kind(names: tuple[str, ...]) -> type[Row]:
    return type("Row", (Row,), {"places": {name: place for place, name in enumerate(names)}})


def row_factory(cursor: Any) -> Callable[[Sequence[Any]], Row]:
    """Return what makes the rows of one result."""
    return _kind(tuple(column.name for column in cursor.description or ()))


def keep_texts(connection: Any) -> None:
    """Let a connection write and read texts by ``to_stored`` and ``from_stored``."""
    dumper, loader = _adapters()
    connection.adapters.register_dumper(str, dumper)
    for name in ("text", "varchar"):
        connection.adapters.register_loader(name, loader)


@lru_cache(maxsize=1)
def _adapters() -> tuple[type[Any], type[Any]]:
    from psycopg.adapt import Loader
    from psycopg.types.string import StrDumperUnknown

    class Texts(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(to_stored(obj))

    class Stored(Loader):
        def load(self, data: Any) -> str:
            return from_stored(str(data, "utf-8"))

    return Texts, Stored
