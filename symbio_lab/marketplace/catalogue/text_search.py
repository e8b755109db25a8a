"""The rows that match a query best by words, from the full-text table, in bounded time.

BM25 over every row that holds any word of the query is what a failure pattern must not cost: among its dozens of words
are some that half of all cards hold, and they tell next to nothing apart. So the query is cut before it is asked:

Rules:
    1. Words are taken rarest first while the rows that they bring stay within a budget; ``terms`` knows how many rows
       hold each word. A word that no card holds costs nothing and brings nothing.
    2. Where even the rarest word is in more rows than that, the words are asked for together, as many as it takes to
       come within the budget; when too few rows hold them all, the commonest is dropped again.
    3. The base asked for narrows the rows before any is scored; every other filter is tried on the best rows first.
    4. What is returned is a choice of rows, not a ranking: it is scored again with all words (``fusing.py``).

References:
    Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond", section 3 (FTS5's ranking).
    Broder, Carmel, Herscovici, Soffer and Zien (2003), "Efficient Query Evaluation using a Two-Level Retrieval
    Process", section 3: rows that cannot reach the best are not scored. Differs from the paper: which words are needed
    is decided before the search by how rare they are, so the choice is not guaranteed to hold the best row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from symbio_lab.marketplace.catalogue.card_words import base_mark, task_mark, text_key
from symbio_lab.marketplace.catalogue.filtering import Filter
from symbio_lab.marketplace.catalogue.schema import ACCEPTED, TEXT_TABLES

BUDGET = 2_000
"""Rows that a search by words may score."""
_BOUND = 500
MERGE_FACTOR = 16
"""Rows that may be passed over for one that is scored: merging lists of rows costs so much less."""


def word_counts(connection: sqlite3.Connection, words: Iterable[str], part: int = ACCEPTED) -> dict[str, int]:
    """Return how many rows of a part hold each word; words that no row holds are left out."""
    asked = list(words)
    found: dict[str, int] = {}
    for start in range(0, len(asked), _BOUND):
        part_of = asked[start : start + _BOUND]
        rows = connection.execute(
            f"SELECT term, num_rows FROM terms WHERE part = ? AND term IN ({', '.join('?' * len(part_of))})",
            (part, *part_of),
        )
        found.update((term, int(count)) for term, count in rows if count > 0)
    return found


def base_share(connection: sqlite3.Connection, wanted: Filter, part: int = ACCEPTED) -> float:
    """Return the share of a part's readable rows that are for the base asked for; 1 where any base is good."""
    if not wanted.base_id:
        return 1.0
    num_rows = int(connection.execute("SELECT num_rows FROM parts WHERE part = ?", (part,)).fetchone()[0])
    mark = base_mark(wanted.base_id)
    return word_counts(connection, [mark], part).get(mark, 0) / max(num_rows, 1)


def best_by_words(
    connection: sqlite3.Connection,
    counts: dict[str, int],
    wanted: Filter,
    depth: int,
    *,
    part: int = ACCEPTED,
    budget: int = BUDGET,
) -> list[int]:
    """Return the numbers of up to ``depth`` rows that pass the filter, best match first.

    Args:
        connection: of the catalogue.
        counts: words of the query that rows hold, with how many (``word_counts``).
        wanted: hard filters.
        depth: rows to return, at most.
        part: which full-text table.
        budget: rows that may be scored.
    """
    if not counts or depth < 1:
        return []
    num_rows = int(connection.execute("SELECT num_rows FROM parts WHERE part = ?", (part,)).fetchone()[0])
    marks, share = _marks(connection, wanted, num_rows, part)
    ordered = sorted(counts, key=lambda word: (counts[word], word))
    single = affordable(ordered, counts, budget, share)
    if single:
        return _ask(connection, " OR ".join(map(_quoted, single)), marks, wanted, depth, part)
    together = _enough(ordered, counts, budget, share, num_rows)
    while True:
        rows = _ask(connection, " AND ".join(map(_quoted, ordered[:together])), marks, wanted, depth, part)
        if len(rows) >= depth or together == 1:
            return rows
        together -= 1


def affordable(ordered: Sequence[str], counts: dict[str, int], budget: int, share: float = 1.0) -> list[str]:
    """Return the rarest words whose rows together stay within the budget.

    Args:
        ordered: words, rarest first.
        counts: rows that hold each.
        budget: rows that may be scored.
        share: share of the rows that the base asked for leaves, in (0, 1].

    >>> affordable(["rare", "known", "the"], {"rare": 5, "known": 90, "the": 1000}, budget=100)
    ['rare', 'known']
    """
    chosen: list[str] = []
    total = 0
    for word in ordered:
        total += counts[word]
        if total * share > budget or total > budget * MERGE_FACTOR:
            break
        chosen.append(word)
    return chosen


def _enough(ordered: Sequence[str], counts: dict[str, int], budget: int, share: float, num_rows: int) -> int:
    """Return how many of the rarest words must be asked for together, if they were independent."""
    expected = num_rows * share
    for together, word in enumerate(ordered, start=1):
        expected *= counts[word] / max(num_rows, 1)
        if expected <= budget:
            return together
    return len(ordered)


def _marks(connection: sqlite3.Connection, wanted: Filter, num_rows: int, part: int) -> tuple[list[str], float]:
    """Return the marks that are worth asking for, and the share of the rows that they leave."""
    marks, share = [], 1.0
    for number, mark in ((wanted.base_id, base_mark(wanted.base_id)), (wanted.task_id, task_mark(wanted.task_id))):
        if not number or not num_rows:
            continue
        held = word_counts(connection, [mark], part).get(mark, 0) / num_rows
        # Leaving out less than half costs more than it saves.
        if held < 0.5:
            marks.append(mark)
            share = min(share, max(held, 1.0 / num_rows))
    return marks, share


def _ask(
    connection: sqlite3.Connection, expression: str, marks: Sequence[str], wanted: Filter, depth: int, part: int
) -> list[int]:
    table = TEXT_TABLES[part]
    asked = " AND ".join([*(f'"{mark}"' for mark in marks), f"({expression})"])
    # CROSS keeps the order of the join: rows come best first, and the filter stops at the last one needed.
    statement = (
        f"SELECT p.row_id FROM {table} t CROSS JOIN patches p ON p.row_id = t.rowid "
        f"WHERE {table} MATCH ? AND {wanted.clause} ORDER BY t.rank LIMIT ?"
    )
    return [int(row[0]) for row in connection.execute(statement, (asked, *wanted.values, depth))]


def _quoted(word: str) -> str:
    return f'"{text_key(word)}"'
