"""Idempotency keys: a request that is sent again gets the first answer, and has its effect once.

Rules:
    1. A key belongs to a tenant; the same key with another request is refused, not answered.
    2. While the first request is still being answered, a second one is told so. A first request that was killed lets go
       after ``ABANDONED_S``: its effects are idempotent by themselves (content ids, one job a key).
    3. Answers are kept for ``KEPT_S``.

References:
    IETF draft-ietf-httpapi-idempotency-key-header (2025), sections 2.4 to 2.7.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from symbio_lab.store.connection import Store

KEPT_S = 24 * 3600.0
ABANDONED_S = 60.0


@dataclass(frozen=True, slots=True)
class Begun:
    """What is known of a key."""

    verdict: Literal["new", "replay", "in_flight", "other_request"]
    status: int | None = None
    response: str | None = None


class IdempotencyKeys:
    """The keys of one store; making the object touches nothing."""

    def __init__(self, database: Store, *, clock: Callable[[], float] = time.time) -> None:
        """Name the store.

        Args:
            database: where answers are kept.
            clock: seconds since the epoch.
        """
        self._database = database
        self._clock = clock

    def begin(self, tenant: str, name: str, request_digest: str) -> Begun:
        """Take a key for a request, or say what became of the first one.

        Raises:
            StorageError: the store cannot be written.
        """
        now = self._clock()
        with self._database.write() as connection:
            connection.execute("DELETE FROM idempotency_keys WHERE created_s < ?", (now - KEPT_S,))
            connection.execute(
                "DELETE FROM idempotency_keys WHERE status IS NULL AND created_s < ?", (now - ABANDONED_S,)
            )
            row = connection.execute(
                "SELECT * FROM idempotency_keys WHERE tenant = ? AND name = ?", (tenant, name)
            ).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO idempotency_keys (tenant, name, request_digest, created_s) VALUES (?, ?, ?, ?)",
                    (tenant, name, request_digest, now),
                )
                return Begun("new")
        if row["request_digest"] != request_digest:
            return Begun("other_request")
        return Begun("in_flight") if row["status"] is None else Begun("replay", row["status"], row["response"])

    def end(self, tenant: str, name: str, status: int, response: str) -> None:
        """Keep the answer.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            connection.execute(
                "UPDATE idempotency_keys SET status = ?, response = ? WHERE tenant = ? AND name = ?",
                (status, response, tenant, name),
            )

    def forget(self, tenant: str, name: str) -> None:
        """Let go of a key whose request failed, so that it can be tried again.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            connection.execute("DELETE FROM idempotency_keys WHERE tenant = ? AND name = ?", (tenant, name))
