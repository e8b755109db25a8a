"""A signed voucher: an organisation's key states that it knows who holds a rater's key.

Anybody can make a thousand keys, so a rating by an unknown key says nothing. A voucher ties keys to somebody who is
enrolled here, and whoever vouches for many gives them one voice together (``marketplace/ratings.py``).

Rules:
    1. The subject's digest is the rater's keyid. The voucher carries the public key, which must have that keyid:
       a keyid alone cannot verify a rating.
    2. ``depth`` says how many further levels the rater may vouch for: 0 may rate, 1 may also vouch for raters.
       A chain is as deep as its first voucher allows, never deeper than ``MAX_DEPTH`` levels.
    3. A voucher expires; of several by one issuer for one rater the newest counts. Withdrawing is issuing a newer one
       that has expired already, and a market that hides it gains time until the old one expires, no more.
    4. Nobody vouches for his own key.

Predicate type: ``https://symbio-lab.dev/attestations/voucher/v1``.

Example:
    >>> lab, rater = SigningKey.from_seed(bytes([1]) * 32), SigningKey.from_seed(bytes([2]) * 32)
    >>> said = Voucher(rater.public_hex, lab.keyid, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "a colleague")
    >>> open_voucher(sign_voucher(said, lab), {lab.keyid: lab.public_key}) == said
    True
    >>> said.counts_at("2027-01-01T00:00:00Z")
    False
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import open_envelope, sign_envelope
from symbio_lab.trust.keys import PublicKey, SigningKey, keyid_of
from symbio_lab.trust.statement import read_statement, write_statement
from symbio_lab.trust.strict_fields import hex_digest, instant, integer, refuse, take, text, utc_time

VOUCHER_TYPE = "https://symbio-lab.dev/attestations/voucher/v1"
VOUCHER_SCHEMA = 1
MAX_DEPTH = 3
"""Levels of vouchers below an enrolled key, at most."""
_SUBJECT = "rater"


@dataclass(frozen=True, slots=True)
class Voucher:
    """One key vouched for by another."""

    public_hex: str
    """Rater's Ed25519 public key, 64 hex."""
    issuer: str
    """Keyid of whoever vouches, 64 hex."""
    issued: str
    """UTC time, ``2026-01-31T12:00:00Z``."""
    expires: str
    """UTC time, later than ``issued`` but for a withdrawal."""
    name: str = ""
    """Who it is, for people to read."""
    depth: int = 0
    """Further levels that the rater may vouch for, at most ``MAX_DEPTH - 1``."""

    @property
    def rater(self) -> str:
        """Rater's keyid, 64 hex."""
        return keyid_of(self.public_hex)

    def counts_at(self, now: str) -> bool:
        """Return whether it was issued by ``now`` and has not expired.

        Args:
            now: UTC time, ISO-8601, ends in ``Z``.
        """
        return instant(self.issued) <= instant(now, "now") < instant(self.expires)


def voucher_to_payload(voucher: Voucher) -> bytes:
    """Return the payload bytes that are signed for ``voucher``.

    Raises:
        TrustError: ``bad_manifest`` or ``bad_key``: the voucher does not follow the schema.
    """
    payload = _compose(voucher)
    payload_to_voucher(payload)
    return payload


def payload_to_voucher(payload: bytes) -> Voucher:
    """Return the voucher in ``payload``, read strictly.

    Raises:
        TrustError: ``bad_manifest`` or ``duplicate_key``; ``bad_key``: the rater's key is not a valid point.
    """
    subjects, predicate = read_statement(payload, VOUCHER_TYPE)
    if list(subjects) != [_SUBJECT]:
        raise refuse("subject", "a voucher is about exactly one rater")
    schema, issuer, rater, name, depth, issued, expires = take(
        predicate, "predicate", "schema", "issuer", "rater", "name", "depth", "issued", "expires"
    )
    integer(schema, "schema", VOUCHER_SCHEMA, VOUCHER_SCHEMA)
    (keyid,) = take(issuer, "issuer", "keyid")
    (public,) = take(rater, "rater", "public")
    key = PublicKey(hex_digest(public, "rater.public"))
    if key.keyid != subjects[_SUBJECT]:
        raise refuse("rater.public", "not the key whose keyid is the subject")
    if key.keyid == hex_digest(keyid, "issuer.keyid"):
        raise refuse("issuer.keyid", "nobody vouches for his own key")
    return Voucher(
        public_hex=key.public_hex,
        issuer=keyid,
        issued=utc_time(issued, "issued"),
        expires=utc_time(expires, "expires"),
        name=text(name, "name"),
        depth=integer(depth, "depth", 0, MAX_DEPTH - 1),
    )


def sign_voucher(voucher: Voucher, key: SigningKey) -> bytes:
    """Return the envelope file of ``voucher``, signed by the issuer that it names.

    Raises:
        TrustError: ``bad_manifest``: it names another issuer, or breaks the schema; ``bad_key``.
    """
    if voucher.issuer != key.keyid:
        raise refuse("issuer.keyid", "the voucher names another key than the one that signs")
    return sign_envelope(voucher_to_payload(voucher), key)


def open_voucher(data: bytes, keys: Mapping[str, PublicKey]) -> Voucher:
    """Return the voucher of an envelope whose signature is by the issuer that it names.

    Args:
        data: bytes of the envelope file.
        keys: keys that may vouch, by keyid.

    Raises:
        TrustError: every code of ``open_envelope`` and of ``payload_to_voucher``; ``bad_signature`` also when another
            of the keys signed than the one named.
    """
    opened = open_envelope(data, keys)
    voucher = payload_to_voucher(opened.payload)
    if voucher.issuer not in opened.keyids:
        raise TrustError("bad_signature", "the voucher names another issuer than the key that signed it")
    return voucher


def valid_vouchers(vouchers: Iterable[Voucher], now: str) -> tuple[Voucher, ...]:
    """Return the vouchers that count at ``now``: of one issuer and rater the newest, unless it has expired.

    Args:
        vouchers: opened vouchers, in any order.
        now: UTC time, ISO-8601, ends in ``Z``; what was issued later does not exist yet.
    """
    newest: dict[tuple[str, str], Voucher] = {}
    for voucher in vouchers:
        pair = (voucher.issuer, voucher.public_hex)
        known = newest.get(pair)
        exists = instant(voucher.issued) <= instant(now, "now")
        if exists and (known is None or _age(voucher) > _age(known)):
            newest[pair] = voucher
    return tuple(newest[pair] for pair in sorted(newest) if newest[pair].counts_at(now))


def _age(voucher: Voucher) -> tuple[str, float, bytes]:
    # Of equal times the one that expires first, so that a withdrawal always wins; then the bytes, so that the order of
    # files on disk never decides.
    return voucher.issued, -instant(voucher.expires).timestamp(), _compose(voucher)


def _compose(voucher: Voucher) -> bytes:
    predicate = {
        "schema": VOUCHER_SCHEMA,
        "issuer": {"keyid": voucher.issuer},
        "rater": {"public": voucher.public_hex},
        "name": voucher.name,
        "depth": voucher.depth,
        "issued": voucher.issued,
        "expires": voucher.expires,
    }
    return write_statement({_SUBJECT: keyid_of(voucher.public_hex)}, VOUCHER_TYPE, predicate)
