"""Records what a watched model answers: a bounded queue that is stored in batches and never disturbs the model.

Rules:
    1. Recording is cheap: a record waits in memory and is stored with others, by number, by age, or on ``close``.
    2. What waits is bounded. A store that fails is tried again; when the queue is full, new records are dropped
       and counted, never silently.
    3. Not strict (the default): no fault of the store reaches the caller. Strict: it does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from symbio_lab.errors import ConfigError
from symbio_lab.monitor.ingesting import ingest, ingest_labels
from symbio_lab.monitor.redaction import Redaction
from symbio_lab.monitor.validating import DEFAULT_LIMITS, Limits
from symbio_lab.records import PredictionRecord
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.predictions import PredictionStore

logger = logging.getLogger(__name__)


class Recorder:
    """The queue between a model and the store; usable from several threads."""

    def __init__(
        self,
        store: PredictionStore,
        *,
        redaction: Redaction | None = None,
        limits: Limits = DEFAULT_LIMITS,
        sample_share: float = 1.0,
        batch_rows: int = 256,
        max_pending: int = 10_000,
        max_age_s: float = 5.0,
        retry_s: float = 5.0,
        strict: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the store and the bounds.

        Args:
            store: where records go.
            redaction: what is removed before storage.
            limits: what is accepted.
            sample_share: share of the traffic that is recorded, in (0, 1].
            batch_rows: records that are stored together.
            max_pending: records that may wait while the store fails.
            max_age_s: a record that waits longer is stored at the next call, in seconds.
            retry_s: after a failure, calls do not try the store again for so long, in seconds.
            strict: let faults of the store reach the caller.
            monotonic: clock for ``max_age_s`` and ``retry_s``, in seconds.

        Raises:
            ConfigError: a bound is not positive, or ``max_pending`` is below ``batch_rows``.
        """
        problems = []
        if batch_rows < 1 or max_pending < batch_rows:
            problems.append("batch_rows must be at least 1 and max_pending at least batch_rows")
        if not 0.0 < sample_share <= 1.0:
            problems.append(f"sample_rate must lie in (0, 1], not {sample_share}")
        if max_age_s < 0 or retry_s < 0:
            problems.append("max_age_s and retry_s must be at least 0")
        if problems:
            raise ConfigError(problems)
        self._store = store
        self._labels = LabelStore(store.database, clock=store.clock)
        self._redaction, self._limits, self._sample_share = redaction, limits, sample_share
        self._batch_rows, self._max_pending, self._max_age_s = batch_rows, max_pending, max_age_s
        self._strict, self._monotonic, self._retry_s = strict, monotonic, retry_s
        self._pending: list[PredictionRecord] = []
        self._oldest_s = self._retry_at_s = 0.0
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self.num_stored = 0
        """Records that are safely stored."""
        self.num_dropped = 0
        """Records lost because the queue was full."""
        self.num_refused = 0
        """Records that are not usable (``monitor/validating.py``), or whose id was there with other content."""
        self.num_failed_writes = 0
        """Times that the store failed."""

    @property
    def num_pending(self) -> int:
        """Records that wait."""
        return len(self._pending)

    def add(self, records: Sequence[PredictionRecord]) -> None:
        """Queue records; store what waits when it is enough or old.

        Raises:
            StorageError: strict only; the records wait.
        """
        # In pieces: one call with many texts must not overflow a queue that could be emptied on the way.
        for start in range(0, len(records), self._batch_rows):
            self._add(records[start : start + self._batch_rows])

    def _add(self, records: Sequence[PredictionRecord]) -> None:
        now_s = self._monotonic()
        with self._lock:
            if not self._pending:
                self._oldest_s = now_s
            room = self._max_pending - len(self._pending)
            self._pending.extend(records[:room])
            num_dropped = max(0, len(records) - room)
            self.num_dropped += num_dropped
            is_due = len(self._pending) >= self._batch_rows or now_s - self._oldest_s > self._max_age_s
            is_due = is_due and bool(self._pending) and now_s >= self._retry_at_s
        if num_dropped:
            logger.warning("%d predictions were dropped: %d wait for a store that fails", num_dropped, self.num_pending)
        # While another thread stores, this one goes on: what it queued is stored by the next call.
        if is_due and self._storing.acquire(blocking=False):
            try:
                self._store_waiting()
            finally:
                self._storing.release()

    def flush(self) -> bool:
        """Store everything that waits; return whether nothing waits any more.

        Raises:
            StorageError: strict only; the records wait.
        """
        with self._storing:
            return self._store_waiting()

    def _store_waiting(self) -> bool:
        with self._lock:
            batch = list(self._pending)
        if not batch:
            return True
        try:
            report = ingest(
                self._store,
                batch,
                redaction=self._redaction,
                limits=self._limits,
                sample_share=self._sample_share,
                chunk_rows=len(batch),
            )
        except Exception as error:  # noqa: BLE001  whatever is wrong here, the model has answered
            self._failed(error)
            return False
        with self._lock:
            del self._pending[: len(batch)]
            self._oldest_s = self._monotonic()
        num_refused = report.num_refused + report.num_conflicts
        self.num_stored += report.num_stored
        self.num_refused += num_refused
        if num_refused:
            logger.warning("%d predictions were refused: %s", num_refused, report.refused[0].reason)
        return True

    def label(self, prediction_id: str, tenant: str, model_id: str, expected: str) -> bool:
        """Store one ground truth; return whether it is stored now (False: refused, another is there, or a failure).

        Raises:
            StorageError: strict only.
        """
        try:
            report = ingest_labels(
                self._labels,
                tenant,
                model_id,
                [(prediction_id, expected)],
                redaction=self._redaction,
                limits=self._limits,
            )
        except Exception as error:  # noqa: BLE001  whatever is wrong here, the model has answered
            self._failed(error)
            return False
        return report.num_stored + report.num_duplicates == 1

    def _failed(self, error: Exception) -> None:
        self.num_failed_writes += 1
        self._retry_at_s = self._monotonic() + self._retry_s
        if self._strict:
            raise error
        # Without the traceback: the same fault may come at every call.
        logger.warning("predictions could not be stored: %s (%d wait)", error, self.num_pending)
