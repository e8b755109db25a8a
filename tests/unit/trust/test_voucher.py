"""Vouchers: who vouches for whom, how deep and until when; nothing else can be written or signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.records import canonical_json
from symbio_lab.trust.envelope import peek_payload, sign_envelope
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.voucher import (
    MAX_DEPTH,
    Voucher,
    open_voucher,
    payload_to_voucher,
    sign_voucher,
    valid_vouchers,
    voucher_to_payload,
)

ORG, RATER, OTHER = (SigningKey.from_seed(bytes([n]) * 32) for n in (1, 9, 3))
KEYS = {key.keyid: key.public_key for key in (ORG, OTHER)}
SAID = Voucher(RATER.public_hex, ORG.keyid, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "Bob of the lab", 1)
NOW = "2026-06-01T00:00:00Z"


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(TrustError) as refused:
        call()
    return refused.value.code


def test_round_trip() -> None:
    assert payload_to_voucher(voucher_to_payload(SAID)) == SAID
    assert open_voucher(sign_voucher(SAID, ORG), KEYS) == SAID
    assert SAID.rater == RATER.keyid
    subject = json.loads(voucher_to_payload(SAID))["subject"]
    assert subject == [{"name": "rater", "digest": {"sha256": RATER.keyid}}]


def test_a_voucher_that_was_written_before_still_loads() -> None:
    path = Path(__file__).parent / "fixtures" / "statements" / "voucher-1.dsse.json"
    assert open_voucher(path.read_bytes(), KEYS) == SAID
    assert sign_voucher(SAID, ORG) == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"depth": MAX_DEPTH}, "bad_manifest"),
        ({"depth": -1}, "bad_manifest"),
        ({"name": "a\u202eb"}, "bad_manifest"),
        ({"issued": "today"}, "bad_manifest"),
        ({"expires": "2026-01-01"}, "bad_manifest"),
        ({"public_hex": ORG.public_hex}, "bad_manifest"),  # of oneself
        ({"public_hex": "01" + "00" * 31}, "bad_key"),  # a low-order point
        ({"public_hex": "zz"}, "bad_key"),
        ({"issuer": OTHER.keyid}, "bad_manifest"),  # in another's name
    ],
)
def test_what_cannot_be_signed(change: dict[str, Any], expected: str) -> None:
    assert code(lambda: sign_voucher(replace(SAID, **change), ORG)) == expected


def test_the_key_must_have_the_keyid_that_is_vouched_for() -> None:
    value = json.loads(voucher_to_payload(SAID))
    value["subject"][0]["digest"]["sha256"] = OTHER.keyid
    assert code(lambda: payload_to_voucher(canonical_json(value))) == "bad_manifest"


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v["predicate"].update(extra=1),
        lambda v: v["predicate"].pop("depth"),
        lambda v: v["predicate"].update(schema=2),
        lambda v: v["subject"].append({"name": "second", "digest": {"sha256": OTHER.keyid}}),
        lambda v: v["subject"][0].update(name="patch"),
        lambda v: v.update(predicateType="https://symbio-lab.dev/attestations/evaluation/v1"),
    ],
)
def test_a_voucher_is_read_strictly(edit: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(voucher_to_payload(SAID))
    edit(value)
    assert code(lambda: payload_to_voucher(canonical_json(value))) == "bad_manifest"


def test_only_the_issuer_signs() -> None:
    payload = peek_payload(sign_voucher(SAID, ORG))
    assert code(lambda: open_voucher(sign_envelope(payload, OTHER), KEYS)) == "bad_signature"
    assert code(lambda: open_voucher(sign_envelope(payload, RATER), KEYS)) == "unknown_key"
    forged = bytearray(sign_voucher(SAID, ORG))
    forged[forged.index(b'"sig":"') + 9] ^= 1
    with pytest.raises(TrustError):
        open_voucher(bytes(forged), KEYS)


@pytest.mark.parametrize(
    ("now", "counts"),
    [
        ("2025-12-31T23:59:59Z", False),
        ("2026-01-01T00:00:00Z", True),
        ("2026-12-31T23:59:59Z", True),
        ("2027-01-01T00:00:00Z", False),
    ],
)
def test_when_it_counts(now: str, counts: bool) -> None:
    assert SAID.counts_at(now) is counts
    assert valid_vouchers([SAID], now) == ((SAID,) if counts else ())


def test_the_newest_counts_and_a_withdrawal_is_one() -> None:
    later = replace(SAID, issued="2026-03-01T00:00:00Z", depth=0)
    withdrawn = replace(SAID, issued="2026-04-01T00:00:00Z", expires="2026-04-01T00:00:00Z")
    assert valid_vouchers([later, SAID], NOW) == valid_vouchers([SAID, later, later], NOW) == (later,)
    assert valid_vouchers([SAID, later, withdrawn], NOW) == ()
    # Issued in the same second: the withdrawal wins.
    assert valid_vouchers([replace(withdrawn, issued=SAID.issued, expires=SAID.issued), SAID], NOW) == ()
    # What is dated into the future does not exist yet, so it cannot replace anything.
    assert valid_vouchers([SAID, replace(withdrawn, issued="2026-07-01T00:00:00Z")], NOW) == (SAID,)
    # Another issuer's voucher stands on its own.
    others = replace(SAID, issuer=OTHER.keyid)
    assert set(valid_vouchers([SAID, withdrawn, others], NOW)) == {others}


TIMES = st.sampled_from([f"2026-0{month}-01T00:00:00Z" for month in range(1, 8)])
VOUCHERS = st.builds(
    Voucher,
    st.sampled_from([RATER.public_hex, OTHER.public_hex]),
    st.sampled_from([ORG.keyid, "a" * 64]),
    TIMES,
    TIMES,
    st.sampled_from(["", "x"]),
    st.integers(0, MAX_DEPTH - 1),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(VOUCHERS, max_size=8), st.randoms(use_true_random=False))
def test_order_and_copies_never_matter(vouchers: list[Voucher], random: Any) -> None:
    shuffled = [*vouchers, *vouchers]
    random.shuffle(shuffled)
    found = valid_vouchers(vouchers, NOW)
    assert valid_vouchers(shuffled, NOW) == found
    assert len({(voucher.issuer, voucher.rater) for voucher in found}) == len(found)
    assert all(voucher.counts_at(NOW) for voucher in found)
