"""Independent tools verify what our keys say about each other: DSSE thresholds, rotations, revocations, in-toto."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import ENVELOPE_NAME, open_envelope, peek_payload, sign_envelope
from symbio_lab.trust.keys import SigningKey, keyid_of
from symbio_lab.trust.policy import PublisherKey, policy_for
from symbio_lab.trust.succession import read_key_statement, sign_revocation, sign_succession
from symbio_lab.trust.trusted_set import TrustedState, check_envelope
from tests.attacks.market_simulator import ALICE, EVE, MALLORY, NOW, attempt, seal

dsse = pytest.importorskip("securesystemslib.dsse")
signer = pytest.importorskip("securesystemslib.signer")
VerificationError = pytest.importorskip("securesystemslib.exceptions").VerificationError

NEW = SigningKey.from_seed(bytes([11]) * 32)
ISSUED = "2026-01-31T12:00:00Z"


def their_key(key: SigningKey) -> Any:
    return signer.SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.public_hex})


def their_verdict(data: bytes, keys: list[SigningKey], threshold: int) -> set[str] | None:
    """Keyids that they verified, or None when they refuse."""
    envelope = dsse.Envelope.from_dict(copy.deepcopy(json.loads(data)))
    try:
        return set(envelope.verify([their_key(key) for key in keys], threshold))
    except VerificationError:
        return None


def test_they_verify_a_patch_that_reaches_its_threshold(tmp_path: Path) -> None:
    payload = peek_payload((seal(tmp_path).root / ENVELOPE_NAME).read_bytes())
    policy = policy_for(
        [PublisherKey(ALICE.public_hex, "alice"), PublisherKey(MALLORY.public_hex, "mallory")], min_signatures=2
    )
    both, one = sign_envelope(payload, ALICE, MALLORY), sign_envelope(payload, ALICE)
    assert their_verdict(both, [ALICE, MALLORY], 2) == {ALICE.keyid, MALLORY.keyid}
    assert their_verdict(one, [ALICE, MALLORY], 2) is None
    assert check_envelope(both, policy, TrustedState(), now=NOW).manifest.keyid == ALICE.keyid
    assert attempt(lambda: check_envelope(one, policy, TrustedState(), now=NOW))[1] == "threshold"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([ALICE, MALLORY, EVE, NEW]), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from([ALICE, MALLORY, EVE, NEW]), min_size=1, max_size=4, unique=True),
    st.integers(1, 4),
)
def test_thresholds_agree(signed_by: list[SigningKey], enrolled: list[SigningKey], threshold: int) -> None:
    data = sign_envelope(b"payload", *signed_by)
    if threshold <= len(enrolled):  # they raise ValueError for a threshold that cannot be met
        theirs = their_verdict(data, enrolled, threshold)
        try:
            ours = set(open_envelope(data, {key.keyid: key.public_key for key in enrolled}, threshold).keyids)
        except TrustError:
            assert theirs is None
        else:
            # They stop at the threshold; we count all.
            assert theirs is not None
            assert theirs <= ours
            assert len(theirs) >= threshold


def test_they_verify_a_rotation_by_both_keys() -> None:
    data = sign_succession(ALICE, NEW, issued=ISSUED)
    assert their_verdict(data, [ALICE, NEW], 2) == {ALICE.keyid, NEW.keyid}
    value = json.loads(data)
    value["signatures"] = value["signatures"][:1]
    assert their_verdict(json.dumps(value).encode(), [ALICE, NEW], 2) is None
    assert attempt(lambda: read_key_statement(json.dumps(value).encode()))[1] == "bad_signature"


def test_they_verify_a_revocation() -> None:
    data = sign_revocation(ALICE.keyid, NEW, reason="stolen", issued=ISSUED)
    assert their_verdict(data, [NEW], 1) == {NEW.keyid}
    assert their_verdict(data, [ALICE], 1) is None


def test_a_rotation_that_they_signed_reads_here() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    payload = peek_payload(sign_succession(ALICE, NEW, issued=ISSUED))
    envelope = dsse.Envelope(payload, "application/vnd.in-toto+json", {})
    for key in (ALICE, NEW):
        envelope.sign(signer.CryptoSigner(Ed25519PrivateKey.from_private_bytes(key.seed)))
    read = read_key_statement(json.dumps(envelope.to_dict()).encode())
    assert read == read_key_statement(sign_succession(ALICE, NEW, issued=ISSUED))


@pytest.mark.parametrize(
    ("data", "subjects"),
    [
        (sign_succession(ALICE, NEW, issued=ISSUED), {"predecessor": ALICE.keyid, "successor": NEW.keyid}),
        (sign_revocation(EVE.keyid, ALICE, reason="x", issued=ISSUED), {"key": EVE.keyid}),
    ],
)
def test_the_payloads_are_valid_in_toto_statements(data: bytes, subjects: dict[str, str]) -> None:
    statement_module = pytest.importorskip("in_toto_attestation.v1.statement")
    statement_pb2 = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    from google.protobuf import json_format

    parsed = json_format.Parse(peek_payload(data), statement_pb2.Statement())
    statement_module.Statement.copy_from_pb(parsed).validate()
    assert {subject.name: subject.digest["sha256"] for subject in parsed.subject} == subjects
    # The digests are keyids as they compute them, so their tools match the subjects to keys.
    assert keyid_of(NEW.public_hex) == their_key(NEW).keyid
