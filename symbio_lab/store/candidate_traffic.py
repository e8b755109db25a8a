"""What a shadow or canary said beside the live answers: counted, and kept by id until a label says who was right.

Rules:
    1. Texts are not stored, only outputs, and these only for answers that have an id.
    2. An id counts once for a deployment; sent again it is neither counted nor replaced.
    3. At most ``MAX_KEPT`` answers of a deployment are kept for labels; counts go on.
    4. Retention removes kept answers by age, with the predictions of their stream.
    5. A label that waits for its prediction counts too: the answer that it judges is here.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from symbio_lab.store.database import Database
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = CandidateTraffic(Database(Path(folder) / "store.db"))
    ...     store.add("acme", "support", "d1", [Compared("a", "b"), Compared("a", "a")], num_seen=9, num_answered=2)
    ...     store.figures("d1").num_agreed
    1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from symbio_lab.store.connection import Store
from symbio_lab.store.observed_time import now_us
from symbio_lab.store.streams import id_key, open_stream

MAX_KEPT = 100_000
_COUNT = (
    "INSERT INTO candidate_counts (deployment_id, num_seen, num_answered, num_compared, num_agreed, num_errors)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (deployment_id) DO UPDATE SET"
    " num_seen = candidate_counts.num_seen + excluded.num_seen,"
    " num_answered = candidate_counts.num_answered + excluded.num_answered,"
    " num_compared = candidate_counts.num_compared + excluded.num_compared,"
    " num_agreed = candidate_counts.num_agreed + excluded.num_agreed,"
    " num_errors = candidate_counts.num_errors + excluded.num_errors"
)
_KNOWN = "SELECT 1 FROM candidate_answers WHERE deployment_id = ? AND id_key = ?"
_KEEP = (
    "INSERT INTO candidate_answers (deployment_id, stream_id, id_key, live_output, candidate_output, kept_us)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_JUDGED = (
    "SELECT r.live_right, r.candidate_right, count(*) FROM ("
    " SELECT CASE WHEN j.live_output = j.expected THEN 1 ELSE 0 END AS live_right,"
    " CASE WHEN j.candidate_output = j.expected THEN 1 ELSE 0 END AS candidate_right FROM ("
    "  SELECT a.live_output, a.candidate_output, COALESCE(l.expected_output, e.expected_output) AS expected"
    "  FROM candidate_answers a"
    "  LEFT JOIN prediction_keys k ON k.stream_id = a.stream_id AND k.id_key = a.id_key"
    "  LEFT JOIN labels l ON l.seq = k.seq"
    "  LEFT JOIN early_labels e ON e.stream_id = a.stream_id AND e.id_key = a.id_key"
    "  WHERE a.deployment_id = ?"
    " ) j WHERE j.expected IS NOT NULL"
    ") r GROUP BY r.live_right, r.candidate_right"
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One text that both answered."""

    live_output: str
    candidate_output: str
    prediction_id: str = ""
    """The caller's id of the answer, by which a label finds it; empty: none."""


@dataclass(frozen=True, slots=True)
class CandidateFigures:
    """What is known of a shadow or canary; all are counts of texts."""

    num_seen: int = 0
    """Texts that the tenant asked about while the candidate stood beside the live patch."""
    num_answered: int = 0
    """Texts that the candidate's own output was the answer to."""
    num_compared: int = 0
    """Texts that both answered."""
    num_agreed: int = 0
    num_errors: int = 0
    """Requests that the candidate could not answer; the live patch did."""
    both_right: int = 0
    """By labels: of compared texts with an id, whose ground truth is known."""
    only_live_right: int = 0
    only_candidate_right: int = 0
    both_wrong: int = 0

    @property
    def num_labelled(self) -> int:
        """Compared texts whose ground truth is known."""
        return self.both_right + self.only_live_right + self.only_candidate_right + self.both_wrong


class CandidateTraffic:
    """The figures of one store's shadows and canaries; making the object touches nothing."""

    def __init__(self, database: Store, *, clock: Callable[[], int] = now_us) -> None:
        """Name the store.

        Args:
            database: where figures are kept.
            clock: microseconds since 1970, UTC.
        """
        self._database = database
        self._clock = clock

    def add(
        self,
        tenant: str,
        model_id: str,
        deployment_id: str,
        compared: Sequence[Compared],
        *,
        num_seen: int,
        num_answered: int = 0,
        num_errors: int = 0,
    ) -> None:
        """Count one request's answers.

        Args:
            tenant: who asked.
            model_id: which model.
            deployment_id: of the candidate.
            compared: texts that both answered.
            num_seen: texts of the request.
            num_answered: texts that the candidate answered.
            num_errors: 1 when the candidate failed.

        Raises:
            StorageError: the store cannot be written; nothing was counted.
        """
        with self._database.write() as connection:
            counted = [one for one in compared if not one.prediction_id]
            named = {id_key(one.prediction_id): one for one in compared if one.prediction_id}
            if named:
                stream = open_stream(connection, tenant, model_id)
                new = {
                    key: one
                    for key, one in named.items()
                    if connection.execute(_KNOWN, (deployment_id, key)).fetchone() is None
                }
                counted += new.values()
                kept = connection.execute(
                    "SELECT count(*) FROM candidate_answers WHERE deployment_id = ?", (deployment_id,)
                ).fetchone()[0]
                now = self._clock()
                rows = [
                    (deployment_id, stream, key, one.live_output, one.candidate_output, now) for key, one in new.items()
                ]
                connection.executemany(_KEEP, rows[: max(MAX_KEPT - kept, 0)])
            agreed = sum(one.live_output == one.candidate_output for one in counted)
            connection.execute(_COUNT, (deployment_id, num_seen, num_answered, len(counted), agreed, num_errors))

    def figures(self, deployment_id: str) -> CandidateFigures:
        """Return what is known of a candidate; zeros for one that saw nothing.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT num_seen, num_answered, num_compared, num_agreed, num_errors FROM candidate_counts"
                " WHERE deployment_id = ?",
                (deployment_id,),
            ).fetchone()
            judged = {(a, b): n for a, b, n in connection.execute(_JUDGED, (deployment_id,)).fetchall()}
        seen, answered, compared, agreed, errors = (0, 0, 0, 0, 0) if row is None else tuple(row)
        return CandidateFigures(
            seen,
            answered,
            compared,
            agreed,
            errors,
            both_right=judged.get((1, 1), 0),
            only_live_right=judged.get((1, 0), 0),
            only_candidate_right=judged.get((0, 1), 0),
            both_wrong=judged.get((0, 0), 0),
        )
