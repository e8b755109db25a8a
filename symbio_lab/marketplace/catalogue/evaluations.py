"""Signed evaluations kept beside the rows that they are about, so that a level can be judged without the market.

Rules:
    1. Only evaluations of payloads that the market offers are read: a stranger cannot fill the catalogue.
    2. They are kept unverified; what they count for is decided by the trust rules at every judging.
    3. A market that cannot say which evaluations changed is asked again, row by row, only where the policy needs them.
"""

from __future__ import annotations

from collections.abc import Mapping

from symbio_lab.errors import NotFoundError
from symbio_lab.marketplace.catalogue.changes import token_of_all
from symbio_lab.marketplace.catalogue.judging import MarketRules
from symbio_lab.marketplace.transport import Transport
from symbio_lab.store.database import Database

_BATCH = 500


def kept_evaluations(database: Database, market_id: int) -> dict[str, tuple[bytes, ...]]:
    """Return payload digest (hex) -> evaluation envelopes kept of one market.

    Raises:
        StorageError: the catalogue cannot be read.
    """
    found: dict[str, list[bytes]] = {}
    with database.read() as connection:
        for digest, envelope in connection.execute(
            "SELECT digest, envelope FROM evaluations WHERE market_id = ? ORDER BY digest, number", (market_id,)
        ):
            found.setdefault(digest.hex(), []).append(envelope)
    return {digest: tuple(envelopes) for digest, envelopes in found.items()}


def sync_evaluations(
    database: Database,
    market_id: int,
    transport: Transport,
    rules: MarketRules,
    tokens: Mapping[str, str] | None,
) -> int:
    """Keep the evaluations that the market has now, and mark the rows of those that changed; return bytes read.

    Args:
        database: the catalogue.
        market_id: the market.
        transport: where to read.
        rules: whether the policy needs evaluations at all.
        tokens: payload digest -> token of its evaluations; None where only reading them tells.

    Raises:
        StorageError: the market cannot be read, or the catalogue cannot be written.
    """
    if tokens is None and not rules.policy.needs_evaluations:
        return 0
    with database.read() as connection:
        known = {
            digest.hex(): token
            for digest, token in connection.execute(
                "SELECT digest, token FROM evaluation_tokens WHERE market_id = ?", (market_id,)
            )
        }
        if tokens is None:
            offered = connection.execute("SELECT DISTINCT digest FROM patches WHERE market_id = ?", (market_id,))
            wanted = sorted(digest.hex() for (digest,) in offered if digest)
        else:
            differing = [digest for digest, token in tokens.items() if known.get(digest) != token]
            # Asked one by one: there are few, and the market may hold a million payloads.
            ask = "SELECT 1 FROM patches WHERE digest = ? AND market_id = ?"
            wanted = sorted(
                digest for digest in differing if connection.execute(ask, (bytes.fromhex(digest), market_id)).fetchone()
            )
            wanted += [digest for digest in known if digest not in tokens]
    num_bytes = 0
    for first in range(0, len(wanted), _BATCH):
        changed: list[tuple[str, str, list[bytes]]] = []
        for digest in wanted[first : first + _BATCH]:
            try:
                envelopes = transport.read_evaluations(digest)
            except NotFoundError:
                envelopes = []
            num_bytes += sum(map(len, envelopes))
            token = token_of_all(envelopes) if tokens is None else tokens.get(digest, "")
            if token != known.get(digest, ""):
                changed.append((digest, token, envelopes))
        if changed:
            _keep(database, market_id, changed)
    return num_bytes


def _keep(database: Database, market_id: int, changed: list[tuple[str, str, list[bytes]]]) -> None:
    with database.write() as connection:
        for digest_hex, token, envelopes in changed:
            key = (market_id, bytes.fromhex(digest_hex))
            connection.execute("DELETE FROM evaluations WHERE market_id = ? AND digest = ?", key)
            connection.executemany(
                "INSERT INTO evaluations VALUES (?, ?, ?, ?)",
                [(*key, number, envelope) for number, envelope in enumerate(envelopes)],
            )
            connection.execute("DELETE FROM evaluation_tokens WHERE market_id = ? AND digest = ?", key)
            if token:
                connection.execute("INSERT INTO evaluation_tokens VALUES (?, ?, ?)", (*key, token))
            # No set of rules has number 0: the row is judged again.
            connection.execute("UPDATE patches SET rules_id = 0 WHERE market_id = ? AND digest = ?", key)
