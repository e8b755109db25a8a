"""Labels: the ground truth of predictions, which may come long after the answer, or before it.

Rules:
    1. A label names its prediction by tenant, model and id; it is stored once.
    2. A label that comes before its prediction waits and joins when the prediction arrives.
    3. The same label again is a duplicate; another one is a conflict: the first stays, the second is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symbio_lab.errors import DataError
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.observed_time import now_us
from symbio_lab.store.streams import id_key, open_stream

_INSERT = "INSERT INTO labels (seq, expected_output, labelled_us) VALUES (?, ?, ?) ON CONFLICT (seq) DO NOTHING"
_JOIN_EARLY = (
    "INSERT INTO labels (seq, expected_output, labelled_us) SELECT ?, expected_output, labelled_us"
    " FROM early_labels WHERE stream_id = ? AND id_key = ?"
)
_INSERT_EARLY = (
    "INSERT INTO early_labels (stream_id, id_key, expected_output, labelled_us) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (stream_id, id_key) DO NOTHING"
)
_SEQ = "SELECT seq FROM prediction_keys WHERE stream_id = ? AND id_key = ?"
_STORED = "SELECT expected_output FROM labels WHERE seq = ?"
_STORED_EARLY = "SELECT expected_output FROM early_labels WHERE stream_id = ? AND id_key = ?"


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of the labels of one call; positions count from 0 in the sequence given."""

    num_stored: int
    """New labels, those that wait for their prediction included."""
    num_early: int
    """New labels that wait for their prediction."""
    num_duplicates: int
    conflicts: tuple[int, ...]
    """Positions that differ from the label that is there."""


class LabelStore:
    """The labels of one store; making the object touches nothing."""

    def __init__(self, database: Store, *, clock: Callable[[], int] = now_us) -> None:
        """Name the store.

        Args:
            database: where labels are kept.
            clock: microseconds since 1970, UTC: the time of receipt.
        """
        self.database = database
        self.clock = clock

    def add(self, tenant: str, model_id: str, labels: Sequence[tuple[str, str]]) -> Labelled:
        """Store ground truths in one transaction and say what became of each.

        Args:
            tenant: whose predictions.
            model_id: which model's.
            labels: pairs of ``prediction_id`` and expected output.

        Raises:
            DataError: a text that is not Unicode; nothing was stored.
            StorageError: the store cannot be written; nothing was stored.
        """
        received_us = self.clock()
        with self.database.write() as connection:
            try:
                stream = open_stream(connection, tenant, model_id)
                keys = [(stream, id_key(identifier)) for identifier, _ in labels]
                found = [connection.execute(_SEQ, key).fetchone() for key in keys]
                late = [i for i, row in enumerate(found) if row is not None]
                early = [i for i, row in enumerate(found) if row is None]
                joined = insert_labels(connection, [(found[i][0], labels[i][1]) for i in late], received_us)
                waiting = _insert_early(connection, [(*keys[i], labels[i][1]) for i in early], received_us)
            except UnicodeEncodeError as error:
                raise DataError("a label holds half a character (a lone surrogate)") from error
        conflicts = [*(late[i] for i in joined.conflicts), *(early[i] for i in waiting.conflicts)]
        return Labelled(
            num_stored=joined.num_stored + waiting.num_stored,
            num_early=waiting.num_stored,
            num_duplicates=joined.num_duplicates + waiting.num_duplicates,
            conflicts=tuple(sorted(conflicts)),
        )


def insert_labels(connection: Connection, labels: Sequence[tuple[int, str]], labelled_us: int) -> Labelled:
    """Store labels, given as ``seq`` and expected output, in a transaction of the caller's."""
    before = connection.total_changes
    connection.executemany(_INSERT, [(*label, labelled_us) for label in labels])
    return _labelled(connection, labels, connection.total_changes - before, _STORED)


def join_early_labels(connection: Connection, keys: Sequence[tuple[int, int, bytes]]) -> None:
    """Give new predictions the labels that waited for them, in a transaction of the caller's.

    Args:
        connection: holds the write lock.
        keys: ``seq``, stream and key of each new prediction.
    """
    if connection.execute("SELECT 1 FROM early_labels LIMIT 1").fetchone() is None:
        return
    connection.executemany(_JOIN_EARLY, keys)
    connection.executemany("DELETE FROM early_labels WHERE stream_id = ? AND id_key = ?", [key[1:] for key in keys])


def _insert_early(connection: Connection, labels: Sequence[tuple[int, bytes, str]], labelled_us: int) -> Labelled:
    before = connection.total_changes
    connection.executemany(_INSERT_EARLY, [(*label, labelled_us) for label in labels])
    return _labelled(connection, labels, connection.total_changes - before, _STORED_EARLY)


def _labelled(connection: Connection, labels: Sequence[tuple[Any, ...]], num_stored: int, stored: str) -> Labelled:
    if num_stored == len(labels):
        return Labelled(num_stored, 0, 0, ())
    conflicts = tuple(
        i for i, (*key, expected) in enumerate(labels) if connection.execute(stored, key).fetchone()[0] != expected
    )
    return Labelled(num_stored, 0, len(labels) - num_stored - len(conflicts), conflicts)
