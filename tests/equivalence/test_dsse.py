"""Independent tools read what we write, and we read what they write: DSSE, in-toto, safetensors, peft."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.trust.adapter_files import DELTAS_NAME, ROWS_NAME
from symbio_lab.trust.envelope import ENVELOPE_NAME, PAYLOAD_TYPE, open_envelope, pae, peek_payload, sign_envelope
from symbio_lab.trust.keys import SigningKey
from tests.attacks.market_simulator import ALICE, MALLORY, MODULE, deltas, head_rows, seal

dsse = pytest.importorskip("securesystemslib.dsse")
signer = pytest.importorskip("securesystemslib.signer")

KEYS = {key.keyid: key.public_key for key in (ALICE, MALLORY)}


def their_key(key: SigningKey) -> object:
    return signer.SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.public_hex})


def their_envelope(data: bytes) -> object:
    return dsse.Envelope.from_dict(copy.deepcopy(json.loads(data)))


def their_signer(seed: bytes) -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return signer.CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_keyids_and_signatures_agree_both_ways(payload: bytes, seed: bytes) -> None:
    ours, theirs = SigningKey.from_seed(seed), their_signer(seed)
    assert theirs.public_key.keyid == ours.keyid  # type: ignore[attr-defined]
    envelope = dsse.Envelope(payload, PAYLOAD_TYPE, {})
    assert envelope.pae() == pae(PAYLOAD_TYPE, payload)
    envelope.sign(theirs)
    data = json.dumps(envelope.to_dict()).encode()
    assert open_envelope(data, {ours.keyid: ours.public_key}).payload == payload
    verified = their_envelope(sign_envelope(payload, ours)).verify([their_key(ours)], 1)  # type: ignore[attr-defined]
    assert list(verified) == [ours.keyid]


def test_the_golden_keyid_is_theirs_too() -> None:
    theirs = their_signer(bytes([1]) * 32).public_key  # type: ignore[attr-defined]
    assert theirs.keyid == ALICE.keyid == "7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12"


def test_they_verify_a_sealed_patch_with_two_signers(tmp_path: Path) -> None:
    payload = peek_payload((seal(tmp_path).root / ENVELOPE_NAME).read_bytes())
    envelope = their_envelope(sign_envelope(payload, ALICE, MALLORY))
    verified = envelope.verify([their_key(ALICE), their_key(MALLORY)], 2)  # type: ignore[attr-defined]
    assert sorted(verified) == sorted(KEYS)


def test_both_refuse_a_changed_payload() -> None:
    value = json.loads(sign_envelope(b"honest", ALICE))
    value["payload"] = "ZXZpbA=="
    data = json.dumps(value).encode()
    with pytest.raises(TrustError):
        open_envelope(data, KEYS)
    with pytest.raises(Exception, match=r"(?i)signature"):
        their_envelope(data).verify([their_key(ALICE)], 1)  # type: ignore[attr-defined]


def test_the_payload_is_a_valid_in_toto_statement(tmp_path: Path) -> None:
    statement_module = pytest.importorskip("in_toto_attestation.v1.statement")
    statement_pb2 = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    from google.protobuf import json_format

    patch = seal(tmp_path, head_rows=head_rows())
    payload = peek_payload((patch.root / ENVELOPE_NAME).read_bytes())
    parsed = json_format.Parse(payload, statement_pb2.Statement())
    statement = statement_module.Statement.copy_from_pb(parsed)
    statement.validate()
    assert {s.name: s.digest["sha256"] for s in parsed.subject} == {f.name: f.sha256 for f in patch.manifest.files}


def test_safetensors_reads_the_files(tmp_path: Path) -> None:
    patch = seal(tmp_path, head_rows=head_rows())
    tensors = safetensors.numpy.load_file(patch.root / DELTAS_NAME)
    np.testing.assert_array_equal(tensors[f"base_model.model.{MODULE}.lora_B.weight"], deltas()[MODULE][1])
    assert safetensors.numpy.load_file(patch.root / ROWS_NAME)["weight"].shape == (2, 8)


def test_peft_loads_a_sealed_adapter_and_computes_the_same(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries; ours are errors everywhere else
        torch = pytest.importorskip("torch")
        peft = pytest.importorskip("peft")
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30, num_labels=3
        )
        torch.manual_seed(0)
        model = transformers.BertForSequenceClassification(config).eval()
        patch = seal(tmp_path, head_rows=head_rows())
        loaded_config = peft.LoraConfig.from_pretrained(str(patch.root))
        assert (loaded_config.r, loaded_config.lora_alpha, set(loaded_config.target_modules)) == (2, 4, {MODULE})
        weight = model.get_submodule(MODULE).weight.detach().clone()
        merged = peft.PeftModel.from_pretrained(model, str(patch.root)).merge_and_unload()
    a, b = deltas()[MODULE]
    expected = weight.numpy() + 4 / 2 * (b @ a)
    np.testing.assert_allclose(merged.get_submodule(MODULE).weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
