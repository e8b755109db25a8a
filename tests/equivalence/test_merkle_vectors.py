"""Proofs of RFC 6962 trees against the vectors of transparency-dev/merkle."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import TrustError
from symbio_lab.trust.merkle import verify_consistency, verify_inclusion

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text(encoding="utf-8"))


def decode(text: str | None) -> bytes:
    return base64.b64decode(text or "", validate=True)


def proof(listed: list[str] | None) -> list[bytes]:
    return [decode(text) for text in listed or []]


def is_accepted(verify: Any, *arguments: Any) -> bool:
    try:
        verify(*arguments)
    except TrustError:
        return False
    return True


def test_no_vector_is_missing() -> None:
    assert len(VECTORS["inclusion"]) == len(VECTORS["consistency"]) == 98
    accepted = [sum(not row[-1] for row in VECTORS[kind]) for kind in ("inclusion", "consistency")]
    assert all(0 < number < 98 for number in accepted), accepted


@pytest.mark.parametrize("row", VECTORS["inclusion"], ids=lambda row: row[0])
def test_inclusion(row: list[Any]) -> None:
    _, index, size, root, leaf, hashes, is_wrong = row
    assert is_accepted(verify_inclusion, decode(leaf), index, size, proof(hashes), decode(root)) is not is_wrong


@pytest.mark.parametrize("row", VECTORS["consistency"], ids=lambda row: row[0])
def test_consistency(row: list[Any]) -> None:
    _, size1, size2, root1, root2, hashes, is_wrong = row
    accepted = is_accepted(verify_consistency, size1, size2, proof(hashes), decode(root1), decode(root2))
    assert accepted is not is_wrong
