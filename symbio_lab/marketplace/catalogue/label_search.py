"""The rows that claim the labels asked for, and how many rows claim that many.

Rules:
    1. Rarest labels first, until ``BUDGET`` rows were looked at: a label that everybody claims tells nothing apart.
    2. A row's rank by labels is one more than the number of accepted rows that claim more of them, in the whole
       catalogue and not only among the candidates of a search. What refused rows claim counts nowhere.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from symbio_lab.marketplace.catalogue.filtering import Filter, numbers
from symbio_lab.marketplace.catalogue.schema import ACCEPTED
from symbio_lab.marketplace.catalogue.storing import find_symbol

BUDGET = 4_000
"""Rows that a search by labels may look at."""


@dataclass(frozen=True, slots=True)
class LabelMatches:
    """What the catalogue holds of the labels asked for."""

    best: tuple[int, ...]
    """Rows that pass the filter, those with most labels first."""
    num_with: tuple[int, ...]
    """Number of labels, from 0 on -> rows that claim exactly so many; nobody counts those with none."""

    def rank(self, num_labels: int) -> int:
        """Return the rank of a row that claims so many of the labels.

        >>> matches = LabelMatches((), (0, 7, 2))
        >>> matches.rank(2), matches.rank(1), matches.rank(0)
        (1, 3, 10)
        """
        return 1 + sum(self.num_with[num_labels + 1 :])


def match_labels(connection: sqlite3.Connection, labels: Iterable[str], wanted: Filter, depth: int) -> LabelMatches:
    """Return the rows with most of the labels, and how many rows have how many.

    Args:
        connection: of the catalogue.
        labels: labels asked for.
        wanted: hard filters that ``best`` passes.
        depth: rows to return, at most.
    """
    held: Counter[int] = Counter()
    left = BUDGET
    ask = f"SELECT count(*) FROM (SELECT 1 FROM patch_labels WHERE part = {ACCEPTED} AND label_id = ? LIMIT ?)"
    read = f"SELECT row_id FROM patch_labels WHERE part = {ACCEPTED} AND label_id = ? LIMIT ?"
    label_ids = [label_id for label in sorted(set(labels)) if (label_id := find_symbol(connection, label))]
    counted = sorted((int(connection.execute(ask, (n, BUDGET + 1)).fetchone()[0]), n) for n in label_ids)
    for count, label_id in counted:
        if count > left and held:
            break
        held.update(row[0] for row in connection.execute(read, (label_id, left)))
        left -= count
        if left <= 0:
            break
    sizes = Counter(held.values())
    num_with = tuple(sizes[n] for n in range(max(sizes, default=0) + 1))
    ordered = sorted(held, key=lambda row_id: (-held[row_id], row_id))
    best: list[int] = []
    for start in range(0, len(ordered), 4 * depth):
        block = ordered[start : start + 4 * depth]
        passing = {
            row[0]
            for row in connection.execute(
                f"SELECT p.row_id FROM patches p NOT INDEXED WHERE p.row_id IN ({numbers(block)}) AND {wanted.clause}",
                wanted.values,
            )
        }
        best += [row_id for row_id in block if row_id in passing]
        if len(best) >= depth:
            break
    return LabelMatches(tuple(best[:depth]), num_with)
