"""The audit log: who did what for which tenant, appended and chained by digests, as the ledger is.

Rules:
    1. Lines are added, never changed or removed; the tables refuse both.
    2. Each line's digest covers the line before, over all tenants: removing any line breaks the chain for everybody.
    3. A tenant reads its own lines only. Their digests prove that they stand in the chain, without showing others'.
    4. No text of a sample and no secret is ever written here: ids, names, counts and codes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symbio_lab.codec import strict_loads
from symbio_lab.errors import StorageError
from symbio_lab.records import canonical_json
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.ledger import GENESIS, line_digest


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line."""

    seq: int
    tenant: str
    at: str
    """UTC, ISO-8601, ends in ``Z``."""
    actor: str
    """Key id, ``local``, ``worker`` or ``operator``."""
    action: str
    """``deployment.live``, ``key.create`` ..."""
    subject: str
    """Id of what it was done to."""
    detail: Mapping[str, Any]
    digest: str


def add_line(
    connection: Connection,
    tenant: str,
    *,
    at: str,
    actor: str,
    action: str,
    subject: str = "",
    detail: Mapping[str, Any] = {},
) -> AuditLine:
    """Add one line in a write transaction of the caller's: what it tells of and the line are there, or neither."""
    record = canonical_json(
        {"tenant": tenant, "at": at, "actor": actor, "action": action, "subject": subject, "detail": dict(detail)}
    ).decode()
    last = connection.execute("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = (1, GENESIS) if last is None else (last["seq"] + 1, last["digest"])
    digest = line_digest(seq, previous, record)
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?)", (seq, tenant, record, previous, digest))
    return _line(seq, record, digest)


class AuditLog:
    """The audit log of one store; making the object touches nothing."""

    def __init__(self, database: Store) -> None:
        self._database = database

    def append(
        self, tenant: str, *, at: str, actor: str, action: str, subject: str = "", detail: Mapping[str, Any] = {}
    ) -> AuditLine:
        """Add one line and return it.

        Raises:
            StorageError: the store cannot be written; no line was added.
        """
        with self._database.write() as connection:
            return add_line(connection, tenant, at=at, actor=actor, action=action, subject=subject, detail=detail)

    def lines(self, tenant: str, *, after: int = 0, limit: int = 1000) -> tuple[AuditLine, ...]:
        """Return lines of one tenant in order, ``after`` a line's number.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT seq, record, digest FROM audit WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?",
                (tenant, after, limit),
            ).fetchall()
        return tuple(_line(row["seq"], row["record"], row["digest"]) for row in rows)

    def verify_chain(self) -> tuple[int, str]:
        """Recompute every digest; return the number of lines and the last digest.

        Raises:
            StorageError: a line was changed, removed or reordered.
        """
        number, digest = 0, GENESIS
        with self._database.read() as connection:
            for number, row in enumerate(connection.execute("SELECT * FROM audit ORDER BY seq"), start=1):
                stated = (row["seq"], row["previous_digest"], row["digest"])
                if stated != (number, digest, line_digest(number, digest, row["record"])) or (
                    strict_loads(row["record"]).get("tenant") != row["tenant"]
                ):
                    raise StorageError(
                        f"the audit log was tampered with or damaged: line {number} is not the one that was appended",
                        hint="restore the store from a copy; do not trust what the log says now",
                    )
                digest = row["digest"]
        return number, digest


def _line(seq: int, record: str, digest: str) -> AuditLine:
    fields = strict_loads(record)
    return AuditLine(
        seq,
        fields["tenant"],
        fields["at"],
        fields["actor"],
        fields["action"],
        fields["subject"],
        fields["detail"],
        digest,
    )
