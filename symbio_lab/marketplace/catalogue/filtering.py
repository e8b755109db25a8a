"""The hard filters of a search, as SQL: what cannot fit is never a candidate.

Rules:
    1. Base, task, licence and size are those of the query, as in ``marketplace/search.py``; labels are wished for, not
       asked for, unless ``require_labels`` says so.
    2. The accepted part of a search are the rows that the trust rules accept and whose time has not come; the refused
       part are the refused rows that would fit, and those of which nothing can be read.
    3. Values are bound, never written into the statement.

Example:
    >>> Filter(("p.task_id = ?",), (3,)).clause
    'p.task_id = ?'
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from symbio_lab.marketplace.catalogue.storing import find_symbol
from symbio_lab.records import SearchQuery


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on ``patches p``, all of which a row must meet."""

    conditions: tuple[str, ...]
    values: tuple[str | int, ...]
    base_id: int = 0
    """Number of the base asked for; 0 where any is good."""
    task_id: int = 0
    source: str = "patches p"
    """Where the rows are looked for; the refused have an index of their own."""

    @property
    def clause(self) -> str:
        """The conditions for a ``WHERE``."""
        return " AND ".join(self.conditions)


def accepted_filter(
    connection: sqlite3.Connection,
    query: SearchQuery,
    *,
    now: str,
    markets: Sequence[str] = (),
    require_labels: bool = False,
) -> Filter:
    """Return the filter of the candidates that may be used.

    Args:
        connection: of the catalogue.
        query: base, task, licences and size are filters.
        now: UTC time; rows whose time has come do not pass.
        markets: URIs to search; empty searches all.
        require_labels: only rows with at least one of the query's labels pass.
    """
    conditions, values = _fit(connection, query)
    conditions += ["p.problem = ''", "p.valid_until > ?"]
    values.append(now)
    _narrow(connection, query, markets, require_labels, conditions, values)
    base_id = 0 if query.base_digest is None else find_symbol(connection, query.base_digest)
    return Filter(tuple(conditions), tuple(values), base_id, find_symbol(connection, query.task_type))


def refused_filter(
    connection: sqlite3.Connection, query: SearchQuery, *, markets: Sequence[str] = (), require_labels: bool = False
) -> Filter:
    """Return the filter of the refused rows that would fit; arguments as above."""
    conditions, values = _fit(connection, query)
    _narrow(connection, query, markets, require_labels, conditions, values)
    base_id = 0 if query.base_digest is None else find_symbol(connection, query.base_digest)
    return Filter((*_REFUSED, "p.readable = 1", *conditions), tuple(values), base_id, source=_REFUSED_ROWS)


def unreadable_filter(connection: sqlite3.Connection, query: SearchQuery, *, markets: Sequence[str] = ()) -> Filter:
    """Return the filter of the rows of which nothing is known but that they are refused."""
    conditions: list[str] = []
    values: list[str | int] = []
    _narrow(connection, query, markets, False, conditions, values)
    return Filter((*_REFUSED, "p.readable = 0", *conditions), tuple(values), source=_REFUSED_ROWS)


_REFUSED = ("p.problem <> ''",)
_REFUSED_ROWS = "patches p INDEXED BY patches_refused"


def count_fitting(connection: sqlite3.Connection, wanted: Filter, most: int) -> int:
    """Return how many rows pass, or ``most + 1`` where there are more than ``most``: counting stops there."""
    statement = f"SELECT count(*) FROM (SELECT 1 FROM {wanted.source} WHERE {wanted.clause} LIMIT ?)"
    return int(connection.execute(statement, (*wanted.values, most + 1)).fetchone()[0])


def numbers(values: Iterable[int]) -> str:
    """Return whole numbers for an ``IN``: numbers alone are safe in a statement, and more than can be bound fit.

    >>> numbers([3, 1])
    '3, 1'
    """
    return ", ".join(map(str, map(int, values)))


def _fit(connection: sqlite3.Connection, query: SearchQuery) -> tuple[list[str], list[str | int]]:
    conditions = ["p.task_id = ?"]
    values: list[str | int] = [find_symbol(connection, query.task_type)]
    if query.base_digest is not None:
        conditions.append("p.base_id = ?")
        values.append(find_symbol(connection, query.base_digest))
    if query.licences:
        conditions.append(f"p.licence_id IN ({', '.join('?' * len(query.licences))})")
        values += [find_symbol(connection, licence) for licence in query.licences]
    if query.max_bytes is not None:
        conditions.append("p.size_bytes <= ?")
        values.append(query.max_bytes)
    return conditions, values


def _narrow(
    connection: sqlite3.Connection,
    query: SearchQuery,
    markets: Sequence[str],
    require_labels: bool,
    conditions: list[str],
    values: list[str | int],
) -> None:
    if require_labels:
        labels = [find_symbol(connection, label) for label in query.labels if label]
        marks = ", ".join("?" * len(labels)) or "0"
        conditions.append(
            "EXISTS (SELECT 1 FROM patch_labels l WHERE l.part = (p.problem <> '') "
            f"AND l.label_id IN ({marks}) AND l.row_id = p.row_id)"
        )
        values += labels
    if markets:
        conditions.append(
            f"p.market_id IN (SELECT market_id FROM markets WHERE uri IN ({', '.join('?' * len(markets))}))"
        )
        values += markets
