"""A ledger that takes a job's deployment only while the job is the worker's: one that was paused deploys nothing late.

A worker learns at its next heartbeat that its job was taken over, and may deploy before that. The condition is checked
where it cannot be too early or too late: in the transaction that adds the line.
"""

from __future__ import annotations

from collections.abc import Callable

from symbio_lab.records import Deployment
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.ledger import Ledger, LedgerHead


class FencedLedger(Ledger):
    """The ledger of one store, under a condition."""

    def __init__(self, database: Store, condition: Callable[[Connection], None]) -> None:
        """Name the store.

        Args:
            database: where the ledger is kept.
            condition: raises, inside the transaction, where nothing may be deployed any more.
        """
        super().__init__(database)
        self._condition = condition

    def append(self, deployment: Deployment, *, condition: Callable[[Connection], None] | None = None) -> LedgerHead:
        """Add one line if the condition holds, and return the new end of the chain.

        Raises:
            HealingCancelledError: the job is another worker's, or was cancelled; no line was added.
            DataError: as ``Ledger.append``.
            NotFoundError: as ``Ledger.append``.
            StorageError: the store cannot be written; no line was added.
        """

        def both(connection: Connection) -> None:
            self._condition(connection)
            if condition is not None:
                condition(connection)

        return super().append(deployment, condition=both)
