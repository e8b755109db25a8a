"""Signatures against Wycheproof, and against the edge cases of CCTV on which libraries disagree."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from symbio_lab.errors import TrustError
from symbio_lab.trust.keys import PublicKey

FOLDER = Path(__file__).parents[1] / "vectors"
WYCHEPROOF = json.loads((FOLDER / "wycheproof_ed25519.json").read_text(encoding="utf-8"))
CCTV = json.loads((FOLDER / "cctv_ed25519.json").read_text(encoding="utf-8"))


def verdict(public_hex: str, message: bytes, signature: bytes) -> str:
    try:
        return "accepted" if PublicKey(public_hex).verifies(message, signature) else "bad_signature"
    except TrustError as error:
        return error.code


@pytest.mark.parametrize("row", WYCHEPROOF["tests"], ids=lambda row: f"tc{row[0]}")
def test_wycheproof(row: list[Any]) -> None:
    _, public_hex, message, signature, result, _, comment = row
    found = verdict(public_hex, bytes.fromhex(message), bytes.fromhex(signature))
    assert (found == "accepted") == (result == "valid"), comment


def test_no_vector_is_missing() -> None:
    assert len(WYCHEPROOF["tests"]) == 151
    assert Counter(row[4] for row in WYCHEPROOF["tests"]) == {"valid": 88, "invalid": 63}
    assert [row[0] for row in CCTV["vectors"]] == list(range(914))


def test_only_what_every_library_accepts_is_accepted() -> None:
    verdicts = Counter()
    for number, key, signature, message, flags in CCTV["vectors"]:
        found = verdict(CCTV["keys"][key], message.encode(), bytes.fromhex(signature))
        verdicts[found] += 1
        # A flag marks what some library rejects: low-order points, non-canonical encodings, cofactors.
        assert (found == "accepted") == (not flags), number
    assert verdicts == {"bad_key": 886, "bad_signature": 27, "accepted": 1}


def test_the_check_of_the_point_matters() -> None:
    accepted = set()
    for number, key, signature, message, _ in CCTV["vectors"]:
        try:
            VerifyKey(bytes.fromhex(CCTV["keys"][key])).verify(message.encode(), bytes.fromhex(signature))
        except BadSignatureError:
            continue
        accepted.add(number)
    assert len(accepted) == 43, "libsodium alone accepts signatures that other libraries reject"
