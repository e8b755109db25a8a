"""The list of revoked keys that a registry carries as a registered file.

Example:
    >>> data = write_revoked([RevokedKey("ab" * 32, "stolen laptop", "2026-01-31T12:00:00Z")])
    >>> read_revoked(data)[0].reason
    'stolen laptop'
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from symbio_lab.errors import TrustError
from symbio_lab.records import canonical_json
from symbio_lab.trust.envelope import strict_json
from symbio_lab.trust.strict_fields import array, hex_digest, take, text, utc_time

REVOKED_SCHEMA = 1
MAX_REVOKED = 10_000
MAX_REVOKED_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """One key that no longer counts in this market."""

    keyid: str
    """64 hex."""
    reason: str
    since: str
    """UTC time of the revocation, for people to read: signatures carry no trusted time, so the key counts for nothing,
    whenever it signed."""


def write_revoked(keys: Iterable[RevokedKey]) -> bytes:
    """Return the file that lists ``keys``, one entry a key, sorted.

    Raises:
        TrustError: ``bad_manifest``: an entry does not follow the schema.
    """
    by_keyid: dict[str, RevokedKey] = {}
    for key in keys:
        by_keyid.setdefault(key.keyid, key)
    listed = [asdict(by_keyid[keyid]) for keyid in sorted(by_keyid)]
    data = canonical_json({"schema": REVOKED_SCHEMA, "revoked": listed}) + b"\n"
    read_revoked(data)
    return data


def read_revoked(data: bytes) -> tuple[RevokedKey, ...]:
    """Return the keys that the file lists, read strictly.

    Raises:
        TrustError: ``bad_manifest`` or ``duplicate_key``.
    """
    value = strict_json(data, "bad_manifest", "list of revoked keys")
    schema, listed = take(value, "list of revoked keys", "schema", "revoked")
    if schema != REVOKED_SCHEMA:
        raise TrustError("bad_manifest", f"the list of revoked keys has schema {schema!r:.20}, not {REVOKED_SCHEMA}")
    found = []
    for i, item in enumerate(array(listed, "revoked", MAX_REVOKED)):
        keyid, reason, since = take(item, f"revoked[{i}]", "keyid", "reason", "since")
        found.append(
            RevokedKey(
                hex_digest(keyid, f"revoked[{i}].keyid"),
                text(reason, f"revoked[{i}].reason"),
                utc_time(since, f"revoked[{i}].since"),
            )
        )
    return tuple(found)
