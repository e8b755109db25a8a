"""Envelopes: which refusal for which fault, both base64 alphabets, exact bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import DataError, TrustError
from symbio_lab.trust.envelope import PAYLOAD_TYPE, open_envelope, pae, peek_keyids, peek_payload, sign_envelope
from tests.attacks.market_simulator import ALICE, EVE, MALLORY

KEYS = {key.keyid: key.public_key for key in (ALICE, MALLORY)}


def code(data: bytes, **settings: Any) -> str:
    with pytest.raises(TrustError) as refused:
        open_envelope(data, KEYS, **settings)
    return refused.value.code


def changed(data: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(data), **changes}).encode()


@given(st.binary(max_size=300))
def test_any_payload_comes_back(payload: bytes) -> None:
    opened = open_envelope(sign_envelope(payload, ALICE), KEYS)
    assert (opened.payload, opened.keyids) == (payload, (ALICE.keyid,))


@given(st.binary(max_size=200))
def test_garbage_is_never_another_error(data: bytes) -> None:
    assert code(data) in ("bad_envelope", "duplicate_key", "unsigned")


def test_the_specification_example_of_pae() -> None:
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_pae_counts_bytes_not_characters() -> None:
    assert pae("é", "ü".encode()) == "DSSEv1 2 é 2 ü".encode()


def test_both_base64_alphabets_open() -> None:
    payload = b"\xfb\xff\xfe" * 5
    value = json.loads(sign_envelope(payload, ALICE))
    assert "+" in value["payload"] or "/" in value["payload"]
    value["payload"] = base64.urlsafe_b64encode(payload).decode()
    value["signatures"][0]["sig"] = base64.urlsafe_b64encode(base64.b64decode(value["signatures"][0]["sig"])).decode()
    assert open_envelope(json.dumps(value).encode(), KEYS).payload == payload


def test_the_keyid_is_only_a_hint() -> None:
    data = sign_envelope(b"x", ALICE)
    for keyid in ("", MALLORY.keyid, "unknown"):
        signature = {**json.loads(data)["signatures"][0], "keyid": keyid}
        assert open_envelope(changed(data, signatures=[signature]), KEYS).keyids == (ALICE.keyid,)


def test_each_fault_has_its_code() -> None:
    data = sign_envelope(b"x", ALICE)
    assert code(changed(data, payload=base64.b64encode(b"y").decode())) == "bad_signature"
    assert code(sign_envelope(b"x", EVE)) == "unknown_key"
    assert code(changed(data, signatures=[])) == "unsigned"
    assert code(changed(data, payloadType="application/json")) == "bad_envelope"
    assert code(changed(data, payload="not base64!")) == "bad_envelope"
    assert code(changed(data, payload="-_+/")) == "bad_envelope"
    assert code(changed(data, payload=None)) == "bad_envelope"
    assert code(changed(data, signatures={})) == "bad_envelope"
    assert code(changed(data, signatures=["x"])) == "bad_envelope"
    assert code(changed(data, signatures=json.loads(data)["signatures"] * 33)) == "bad_envelope"
    assert code(data.replace(b'{"payload"', b'{"payload":"","payload"', 1)) == "duplicate_key"
    assert code(b"[]") == "bad_envelope"


def test_a_short_signature_counts_as_wrong_and_others_still_count() -> None:
    data = sign_envelope(b"x", ALICE, MALLORY)
    first, second = json.loads(data)["signatures"]
    assert open_envelope(changed(data, signatures=[{**first, "sig": "AAAA"}, second]), KEYS).keyids == (MALLORY.keyid,)


def test_thresholds() -> None:
    both = sign_envelope(b"x", MALLORY, ALICE)
    assert open_envelope(both, KEYS, threshold=2).keyids == tuple(sorted(KEYS))
    assert code(both, threshold=3) == "bad_signature"
    assert code(sign_envelope(b"x", ALICE), threshold=2) == "bad_signature"
    with pytest.raises(DataError):
        open_envelope(both, KEYS, threshold=0)


def test_peeking_needs_no_key() -> None:
    data = sign_envelope(b"x", EVE)
    assert peek_payload(data) == b"x"
    assert peek_keyids(data) == (EVE.keyid,)
    assert json.loads(data)["payloadType"] == PAYLOAD_TYPE
