"""The deployment ledger: what ran for whom, appended line by line and chained by digests.

Rules:
    1. Lines are added, never changed or removed; the tables refuse both.
    2. Each line's digest covers the digest of the line before, so a changed, removed or reordered line breaks the
       chain from there on. A cut-off end is seen by whoever kept an earlier ``head``.
    3. ``previous`` names an earlier line of the same tenant and model.
    4. A line whose stage is ``rolled_back`` states what serves after the roll-back, like a ``live`` line does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symbio_lab.codec import from_plain, strict_loads
from symbio_lab.errors import DataError, NotFoundError, StorageError
from symbio_lab.records import Deployment, canonical_json, content_id
from symbio_lab.store.connection import Connection, Store

GENESIS = "0" * 64
"""Stands where the first line names the digest of the line before."""
SERVING_STAGES = ("live", "rolled_back")
"""Stages whose newest line says what serves."""


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The end of the chain; kept elsewhere, it proves later that nothing before it changed."""

    num_lines: int
    digest: str
    """Digest of the last line, 64 hex; ``GENESIS`` for an empty ledger."""


class Ledger:
    """The deployments of one store, as an append-only list; making the object touches nothing."""

    def __init__(self, database: Store) -> None:
        self._database = database

    def append(self, deployment: Deployment, *, condition: Callable[[Connection], None] | None = None) -> LedgerHead:
        """Add one line and return the new end of the chain.

        Args:
            deployment: the line.
            condition: raises, inside the transaction, where the line must not be added after all.

        Raises:
            DataError: the line is already there, or ``previous`` belongs to another tenant or model.
            NotFoundError: ``previous`` is not in the ledger.
            StorageError: the store cannot be written; no line was added.
        """
        deployment_id, record = deployment.deployment_id, canonical_json(deployment.plain()).decode("utf-8")
        with self._database.write() as connection:
            if condition is not None:
                condition(connection)
            if _find(connection, deployment_id) is not None:
                raise DataError(f"deployment {deployment_id[:12]} is already in the ledger")
            _check_previous(connection, deployment)
            head = _head(connection)
            digest = line_digest(head.num_lines + 1, head.digest, record)
            connection.execute(
                "INSERT INTO deployments (seq, deployment_id, tenant, model_id, stage, record, previous_digest, digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    head.num_lines + 1,
                    deployment_id,
                    deployment.tenant,
                    deployment.model_id,
                    deployment.stage,
                    record,
                    head.digest,
                    digest,
                ),
            )
        return LedgerHead(head.num_lines + 1, digest)

    def get(self, deployment_id: str, *, tenant: str | None = None) -> Deployment:
        """Return the line with this id.

        Args:
            deployment_id: of the line.
            tenant: whose line it must be; another tenant's is not read.

        Raises:
            NotFoundError: there is none.
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            row = _find(connection, deployment_id, tenant)
        if row is None:
            raise NotFoundError(f"no deployment {deployment_id[:64]!r}")
        return _deployment(row)

    def history(self, tenant: str, model_id: str) -> tuple[Deployment, ...]:
        """Return all lines of one tenant's model, oldest first; empty when there are none.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM deployments WHERE tenant = ? AND model_id = ? ORDER BY seq", (tenant, model_id)
            ).fetchall()
        return tuple(_deployment(row) for row in rows)

    def lines(self, *, tenant: str | None = None, model_id: str | None = None) -> tuple[Deployment, ...]:
        """Return all lines, of one tenant or model if it is named, oldest first; empty when there are none.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM deployments WHERE tenant = COALESCE(?, tenant) AND model_id = COALESCE(?, model_id)"
                " ORDER BY seq",
                (tenant, model_id),
            ).fetchall()
        return tuple(_deployment(row) for row in rows)

    def current(self, tenant: str, model_id: str, *, stages: Sequence[str] = SERVING_STAGES) -> Deployment | None:
        """Return the newest line of one tenant's model in one of ``stages``; None when there is none.

        Raises:
            StorageError: the store cannot be read.
        """
        marks = ", ".join("?" * len(stages))
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT * FROM deployments WHERE tenant = ? AND model_id = ? AND stage IN ({marks})"
                " ORDER BY seq DESC LIMIT 1",
                (tenant, model_id, *stages),
            ).fetchone()
        return None if row is None else _deployment(row)

    def head(self) -> LedgerHead:
        """Return the end of the chain.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            return _head(connection)

    def verify_chain(self, expected: LedgerHead | None = None) -> LedgerHead:
        """Recompute every digest and return the end of the chain.

        Args:
            expected: a head seen earlier; the chain must still run through it.

        Raises:
            StorageError: a line was changed, removed or reordered, or ``expected`` is not in the chain.
        """
        digest, number = GENESIS, 0
        met = expected is None or expected == LedgerHead(0, GENESIS)
        with self._database.read() as connection:
            for number, row in enumerate(connection.execute("SELECT * FROM deployments ORDER BY seq"), start=1):
                _check_line(row, number, digest)
                digest = row["digest"]
                met = met or expected == LedgerHead(number, digest)
        if not met:
            raise _broken(f"the line numbered {expected.num_lines if expected else 0} that was seen earlier is gone")
        return LedgerHead(number, digest)


def line_digest(number: int, previous_digest: str, record: str) -> str:
    """Return the digest of one line of a chain, which covers the line before; the audit log is chained alike."""
    return content_id([number, previous_digest, record])


def _head(connection: Connection) -> LedgerHead:
    row = connection.execute("SELECT seq, digest FROM deployments ORDER BY seq DESC LIMIT 1").fetchone()
    return LedgerHead(0, GENESIS) if row is None else LedgerHead(row["seq"], row["digest"])


def _find(connection: Connection, deployment_id: str, tenant: str | None = None) -> Any:
    return connection.execute(
        "SELECT * FROM deployments WHERE deployment_id = ? AND tenant = COALESCE(?, tenant)", (deployment_id, tenant)
    ).fetchone()


def _check_previous(connection: Connection, deployment: Deployment) -> None:
    if deployment.previous is None:
        return
    row = _find(connection, deployment.previous)
    if row is None:
        raise NotFoundError(f"no deployment {deployment.previous[:64]!r} that this one could replace")
    if (row["tenant"], row["model_id"]) != (deployment.tenant, deployment.model_id):
        raise DataError("a deployment can only replace one of the same tenant and model")


def _deployment(row: Any) -> Deployment:
    try:
        return from_plain(Deployment, strict_loads(row["record"]))
    except DataError as error:
        raise _broken(f"line {row['seq']} cannot be read: {error}") from error


def _check_line(row: Any, number: int, previous_digest: str) -> None:
    deployment = _deployment(row)
    columns = (row["deployment_id"], row["tenant"], row["model_id"], row["stage"])
    stated = (deployment.deployment_id, deployment.tenant, deployment.model_id, deployment.stage)
    if (
        row["seq"] != number
        or row["previous_digest"] != previous_digest
        or row["digest"] != line_digest(number, previous_digest, row["record"])
        # The columns are what queries read, so they must say what the chained record says.
        or columns != stated
    ):
        raise _broken(f"line {number} is not the one that was appended")


def _broken(message: str) -> StorageError:
    return StorageError(
        f"the deployment ledger was tampered with or damaged: {message}",
        hint="restore the store from a copy; do not trust what the ledger says now",
    )
