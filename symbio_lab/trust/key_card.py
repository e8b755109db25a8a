"""The card of a key: its public half as a small file, to send to those who shall enrol it.

A card proves nothing: whoever can change it can put another key in. What is compared by another way (by voice, on
paper, in a signed mail) is the keyid.

Example:
    >>> card = card_of("alice", "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c")
    >>> card["keyid"][:16], card["kind"]
    ('7ab6b86cb2c9684b', 'symbio-key-card')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json
from symbio_lab.errors import DataError, NotFoundError, TrustError
from symbio_lab.trust.keys import PublicKey

CARD_KIND = "symbio-key-card"
CARD_SCHEMA = 1


def card_of(name: str, public_hex: str) -> dict[str, Any]:
    """Return the card of a public key.

    Args:
        name: what its holder calls it; whoever enrols it chooses a name again.
        public_hex: Ed25519 public key, 64 hex.

    Raises:
        TrustError: ``bad_key``: not a valid point.
    """
    key = PublicKey(public_hex)
    return {
        "schema": CARD_SCHEMA,
        "kind": CARD_KIND,
        "name": name,
        "keytype": "ed25519",
        "public_key": key.public_hex,
        "keyid": key.keyid,
    }


def read_card(card: str) -> str:
    """Return the public key (64 hex) of a card file or of hex text.

    Raises:
        NotFoundError: neither.
        DataError: the file is not a card.
        TrustError: ``bad_key``: not a valid key, or the card's keyid is another key's.
    """
    if re.fullmatch(r"[0-9a-fA-F]{64}", card):
        return PublicKey(card).public_hex
    path = Path(card)
    if not path.is_file():
        raise NotFoundError(f"{card!r:.120} is neither a card nor 64 hex characters", hint="symbio market keys export")
    value = read_json(path)
    if not isinstance(value, Mapping) or value.get("kind") != CARD_KIND or value.get("schema") != 1:
        raise DataError(
            f"{path.name} is not a card of a key", hint="make one: symbio market keys export NAME --out FILE"
        )
    key = PublicKey(value.get("public_key", ""))
    if value.get("keyid") != key.keyid:
        raise TrustError("bad_key", f"the keyid in {path.name} belongs to another key")
    return key.public_hex
