"""Independent tools verify evaluations and vouchers: securesystemslib the signature, in-toto the statement."""

from __future__ import annotations

import copy
import json

import pytest

from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.evaluation_statement import (
    EVALUATION_TYPE,
    EvaluationStatement,
    MeasuredRate,
    open_evaluation,
    sign_evaluation,
)
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.voucher import VOUCHER_TYPE, Voucher, open_voucher, sign_voucher
from tests.attacks.market_simulator import ALICE, BASE, MALLORY

dsse = pytest.importorskip("securesystemslib.dsse")
signer = pytest.importorskip("securesystemslib.signer")

OLD = EvaluationStatement(
    "alice/travel",
    "5" * 64,
    MALLORY.keyid,
    BASE,
    "a" * 64,
    200,
    400_000,
    900_000,
    "2026-03-01T00:00:00Z",
    {"s": "d" * 64},
)
NEW = EvaluationStatement(
    "alice/travel",
    "5" * 64,
    MALLORY.keyid,
    BASE,
    "a" * 64,
    200,
    400_000,
    900_000,
    "2026-03-01T00:00:00Z",
    {"slice": "d" * 64, "control": "c" * 64},
    schema=2,
    seeds=(3,),
    passed_before=80,
    passed_after=180,
    environment="e" * 64,
    judge="label",
    measures=(MeasuredRate("fix_rate", 104, 120), MeasuredRate("negative_flip_rate", 4, 80)),
)
VOUCHER = Voucher(MALLORY.public_hex, ALICE.keyid, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "Mallory", 1)
WRITTEN = {
    "evaluation 1": (sign_evaluation(OLD, MALLORY), MALLORY, EVALUATION_TYPE, {"alice/travel": "5" * 64}),
    "evaluation 2": (sign_evaluation(NEW, MALLORY), MALLORY, EVALUATION_TYPE, {"alice/travel": "5" * 64}),
    "voucher": (sign_voucher(VOUCHER, ALICE), ALICE, VOUCHER_TYPE, {"rater": MALLORY.keyid}),
}
EVERY = pytest.mark.parametrize("name", WRITTEN)


def their_key(key: SigningKey) -> object:
    return signer.SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.public_hex})


@EVERY
def test_they_verify_the_signature(name: str) -> None:
    data, key, _, _ = WRITTEN[name]
    envelope = dsse.Envelope.from_dict(copy.deepcopy(json.loads(data)))
    assert list(envelope.verify([their_key(key)], 1)) == [key.keyid]
    other = ALICE if key is MALLORY else MALLORY
    with pytest.raises(Exception, match=r"(?i)signature"):
        envelope.verify([their_key(other)], 1)


@EVERY
def test_the_payload_is_a_valid_in_toto_statement(name: str) -> None:
    statement_module = pytest.importorskip("in_toto_attestation.v1.statement")
    statement_pb2 = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    from google.protobuf import json_format

    data, _, kind, subjects = WRITTEN[name]
    parsed = json_format.Parse(peek_payload(data), statement_pb2.Statement())
    statement_module.Statement.copy_from_pb(parsed).validate()
    assert parsed.predicate_type == kind
    assert {subject.name: subject.digest["sha256"] for subject in parsed.subject} == subjects


def test_whole_numbers_stay_whole_for_other_readers() -> None:
    """Other readers keep JSON numbers as doubles: every number that we sign must survive that."""
    predicate = json.loads(peek_payload(WRITTEN["evaluation 2"][0]))["predicate"]
    numbers = [value for value in predicate.values() if isinstance(value, int)]
    assert numbers
    assert all(int(float(value)) == value for value in numbers)
    assert int(float(1 << 50)) == 1 << 50


def test_ours_read_what_they_sign() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for name, key in (("evaluation 2", MALLORY), ("voucher", ALICE)):
        envelope = dsse.Envelope(peek_payload(WRITTEN[name][0]), "application/vnd.in-toto+json", {})
        envelope.sign(signer.CryptoSigner(Ed25519PrivateKey.from_private_bytes(key.seed)))
        data, keys = json.dumps(envelope.to_dict()).encode(), {key.keyid: key.public_key}
        assert (open_evaluation(data, keys) if key is MALLORY else open_voucher(data, keys)) in (NEW, VOUCHER)
