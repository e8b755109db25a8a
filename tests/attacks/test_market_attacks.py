"""One test for each attack that somebody with write access to a market, or with a signing key, can try."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TRUST_CODES, TrustError
from symbio_lab.records import SearchQuery
from symbio_lab.trust.adapter_files import CARD_NAME, CONFIG_NAME, DELTAS_NAME
from symbio_lab.trust.envelope import ENVELOPE_NAME, open_envelope, peek_payload, sign_envelope
from symbio_lab.trust.folder_reading import list_folder, read_file
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.policy import PublisherKey
from tests.attacks.market_simulator import (
    ALICE,
    BASE,
    EVE,
    MALLORY,
    MODULE,
    NOW,
    Market,
    attempt,
    deltas,
    resign,
    safetensors_bytes,
    standard_policy,
)

A_NAME = f"base_model.model.{MODULE}.lora_A.weight"
B_NAME = f"base_model.model.{MODULE}.lora_B.weight"


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


def header(**changes: Any) -> dict[str, Any]:
    entries: dict[str, Any] = {
        A_NAME: {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]},
        B_NAME: {"dtype": "F32", "shape": [8, 2], "data_offsets": [64, 128]},
    }
    return {**entries, **changes}


def tensor_attack(market: Market, data: bytes) -> str:
    """An enrolled publisher signs these weights."""
    resign(market.publish(), files={DELTAS_NAME: data})
    return market.code()


def test_the_honest_patch_is_accepted(market: Market) -> None:
    market.publish()
    patch, attempt = market.fetch(base_digest=BASE, task_type="text_classification")
    assert patch is not None
    assert patch.level == "known_publisher"
    assert (attempt.status, attempt.keyid) == ("proposed", ALICE.keyid)


# ------------------------------------------------------------------------------------------------ changed files


@pytest.mark.parametrize("name", [DELTAS_NAME, CONFIG_NAME, CARD_NAME])
def test_bit_flip(market: Market, name: str) -> None:
    path = market.publish() / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert market.code() == "digest_mismatch"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_bit_of_the_envelope_matters(market: Market, position: int, bit: int) -> None:
    folder = market.publish() if not market.folder("alice/travel").exists() else market.folder("alice/travel")
    honest = (folder / ENVELOPE_NAME).read_bytes()
    payload = peek_payload(honest)
    flipped = bytearray(honest)
    flipped[position % len(honest)] ^= 1 << bit
    opened, code = attempt(lambda: open_envelope(bytes(flipped), market.policy.public_keys))
    assert code in ("", "unsigned", "bad_envelope", "bad_signature", "unknown_key", "duplicate_key")
    # A hint, a space or unused base64 bits may change; what was signed never does.
    assert opened is None or opened.payload == payload


def test_arbitrary_file(market: Market) -> None:
    folder = market.publish()
    market.publish(patch_id="alice/other", deltas=deltas(seed=1))
    shutil.copy(market.folder("alice/other") / DELTAS_NAME, folder / DELTAS_NAME)
    assert market.code() == "digest_mismatch"


def test_resized_file(market: Market) -> None:
    path = market.publish() / DELTAS_NAME
    path.write_bytes(path.read_bytes() + b"PK\x03\x04")
    assert market.code() == "size_mismatch"


def test_extra_file(market: Market) -> None:
    (market.publish() / "notes.txt").write_text("read me")
    assert market.code() == "extra_file"


def test_extra_file_in_a_hidden_folder(market: Market) -> None:
    folder = market.publish()
    (folder / "git").mkdir()
    (folder / "git" / "hook").write_text("run me")
    assert market.code() == "extra_file"


def test_missing_file(market: Market) -> None:
    (market.publish() / CONFIG_NAME).unlink()
    assert market.code() == "missing_file"


@pytest.mark.parametrize("name", ["adapter_model.bin", "model.pt", "x.ckpt", "x.pkl", "setup.py", "a.zip", "A.PKL"])
def test_pickle_code_or_archive_beside_the_patch(market: Market, name: str) -> None:
    (market.publish() / name).write_bytes(pickle.dumps({"weights": 1}))
    assert market.code() == "forbidden_file"


def test_signed_pickle(market: Market) -> None:
    resign(market.publish(), files={"adapter_model.bin": pickle.dumps([1])})
    assert market.code() == "forbidden_file"


def test_signed_stranger_file(market: Market) -> None:
    resign(market.publish(), files={"notes.txt": b"signed, but not part of the format"})
    assert market.code() == "bad_manifest"


def test_pickle_under_the_name_of_the_weights(market: Market) -> None:
    assert tensor_attack(market, pickle.dumps({"lora_A": [1.0]}, protocol=4)) == "bad_tensors"


# ------------------------------------------------------------------------------------------------- time and order


def test_rollback(market: Market) -> None:
    market.publish(version=1)
    market.publish(version=2, deltas=deltas(seed=1))
    assert market.code() == "accepted"
    shutil.rmtree(market.folder("alice/travel@2"))
    assert market.code() == "rollback"


def test_rollback_within_one_folder(market: Market) -> None:
    old = market.publish(version=1)
    market.publish(version=2)
    assert market.code() == "accepted"
    shutil.rmtree(market.folder("alice/travel@2"))
    shutil.copytree(old, market.folder("alice/travel@2"))
    assert market.code() == "rollback"


def test_two_contents_under_one_version(market: Market) -> None:
    market.publish()
    assert market.code() == "accepted"
    shutil.rmtree(market.folder("alice/travel"))
    market.publish(deltas=deltas(seed=1))
    assert market.code() == "rollback"


def test_freeze(market: Market) -> None:
    market.publish()
    market.now = "2027-01-01T00:00:00Z"
    assert market.code() == "expired"


def test_expiry_is_decided_by_the_clock_given(market: Market) -> None:
    market.publish()
    market.now = "2026-12-31T23:59:59Z"
    assert market.code() == "accepted"


def test_mix_and_match_new_weights_old_manifest(market: Market) -> None:
    old, new = market.publish(version=1), market.publish(version=2, deltas=deltas(seed=1))
    shutil.copy(old / ENVELOPE_NAME, new / ENVELOPE_NAME)
    shutil.copy(old / CARD_NAME, new / CARD_NAME)
    assert market.code() == "digest_mismatch"


def test_mix_and_match_old_weights_new_manifest(market: Market) -> None:
    old, new = market.publish(version=1), market.publish(version=2, deltas=deltas(seed=1))
    shutil.copy(old / DELTAS_NAME, new / DELTAS_NAME)
    assert market.code() == "digest_mismatch"


def test_manifest_of_another_patch(market: Market) -> None:
    folder = market.publish()
    shutil.rmtree(folder)
    shutil.copytree(market.publish(patch_id="alice/banking"), folder)
    assert market.code() == "wrong_patch"


# ---------------------------------------------------------------------------------------------------------- keys


def test_revoked_key(market: Market) -> None:
    market.publish()
    market.policy = market.policy.revoke(ALICE.keyid)
    assert market.code() == "revoked_key"


def test_unknown_key(market: Market) -> None:
    market.publish(key=EVE)
    assert market.code() == "unknown_key"


def test_self_sealed_patch_is_a_stranger_elsewhere(market: Market) -> None:
    market.publish(key=None)
    assert market.code() == "unknown_key"


@pytest.mark.parametrize("how", ["no file", "no signatures"])
def test_unsigned(market: Market, how: str) -> None:
    path = market.publish() / ENVELOPE_NAME
    if how == "no file":
        path.unlink()
    else:
        path.write_bytes(json.dumps({**json.loads(path.read_bytes()), "signatures": []}).encode())
    assert market.code() == "unsigned"


def test_stolen_name_with_another_enrolled_key(market: Market) -> None:
    market.publish()
    assert market.code() == "accepted"
    market.publish(version=2, key=MALLORY)
    assert market.code() == "name_taken"


def test_namespace_of_another_publisher(market: Market) -> None:
    market.policy = standard_policy().enrol(
        PublisherKey(ALICE.public_hex, "alice", known=True, namespaces=("alice",)),
    )
    market.publish(key=MALLORY)
    assert market.code() == "name_taken"


def test_typosquat_earns_no_level(market: Market) -> None:
    market.policy = standard_policy(min_level="known_publisher")
    market.publish(patch_id="alice1/travel", key=MALLORY)
    assert market.code("alice1/travel") == "level_too_low"


def test_revoked_publisher_comes_back_under_a_new_key(market: Market) -> None:
    market.publish()
    assert market.code() == "accepted"
    market.policy = market.policy.revoke(ALICE.keyid).enrol(PublisherKey(EVE.public_hex, "alice, new key"))
    market.publish(version=2, key=EVE)
    assert market.code() == "name_taken"
    market.policy = market.policy.succeed(ALICE.keyid, EVE.public_hex)
    assert market.code() == "accepted"


def test_publisher_named_is_not_the_signer(market: Market) -> None:
    def claim_alice(statement: dict[str, Any]) -> None:
        statement["predicate"]["publisher"]["keyid"] = ALICE.keyid

    resign(market.publish(), key=MALLORY, edit=claim_alice)
    assert market.code() == "bad_signature"


def test_keyid_of_another_on_the_signature(market: Market) -> None:
    path = market.publish(key=EVE) / ENVELOPE_NAME
    value = json.loads(path.read_bytes())
    value["signatures"][0]["keyid"] = ALICE.keyid
    path.write_bytes(json.dumps(value).encode())
    assert market.code() == "bad_signature"


def test_threshold_padding() -> None:
    envelope = sign_envelope(b"payload", ALICE, ALICE)
    twice = {ALICE.keyid: PublicKey(ALICE.public_hex), "0" * 64: PublicKey(ALICE.public_hex)}
    with pytest.raises(TrustError) as refused:
        open_envelope(envelope, twice, threshold=2)
    assert refused.value.code == "bad_signature"
    both = {ALICE.keyid: ALICE.public_key, MALLORY.keyid: MALLORY.public_key}
    assert len(open_envelope(sign_envelope(b"payload", ALICE, MALLORY), both, threshold=2).keyids) == 2


# ------------------------------------------------------------------------------------------------------- parsing


def test_duplicate_key_in_the_envelope(market: Market) -> None:
    path = market.publish() / ENVELOPE_NAME
    path.write_bytes(path.read_bytes().replace(b'{"payload":', b'{"payload":"AAAA","payload":', 1))
    assert market.code() == "duplicate_key"


def test_duplicate_key_in_the_signed_statement(market: Market) -> None:
    path = market.publish() / ENVELOPE_NAME
    payload = peek_payload(path.read_bytes()).replace(b'"schema":1', b'"schema":1,"schema":1')
    path.write_bytes(sign_envelope(payload, ALICE))
    assert market.code() == "duplicate_key"


def test_giant_envelope(market: Market) -> None:
    (market.publish() / ENVELOPE_NAME).write_bytes(b" " * (5 << 20))
    assert market.code() == "bad_envelope"


def edit_adapter(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda statement: statement["predicate"]["adapter"].update(changes)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (edit_adapter(rank=20_000_000), "too_large"),
        (edit_adapter(rank=-1), "bad_manifest"),
        (edit_adapter(alpha=1.5), "bad_manifest"),
        (edit_adapter(alpha="1/0"), "bad_manifest"),
        (edit_adapter(targetModules="(([a-z])+)+[A-Z]"), "bad_manifest"),
        (edit_adapter(targetModules=["(([a-z])+)+[A-Z]"]), "bad_manifest"),
        (edit_adapter(rank_pattern={".*": 1 << 30}), "bad_manifest"),
        (lambda s: s["predicate"].update(surprise=1), "bad_manifest"),
        (lambda s: s["predicate"].pop("expires"), "bad_manifest"),
        (lambda s: s["predicate"].update(expires="whenever"), "bad_manifest"),
        (lambda s: s["predicate"]["card"].update(title="harmless\u202etxt.exe"), "bad_manifest"),
        (lambda s: s["predicate"]["claims"][0].update(ppm=0.5), "bad_manifest"),
        (lambda s: s["predicate"]["patch"].update(id="../../outside"), "unsafe_name"),
        (lambda s: s.update(predicateType="https://example.com/other"), "bad_manifest"),
        (lambda s: s["subject"].reverse(), "bad_manifest"),
    ],
)
def test_signed_statement_that_breaks_the_schema(
    market: Market, edit: Callable[[dict[str, Any]], None], code: str
) -> None:
    resign(market.publish(), edit=edit)
    assert market.code() == code


@pytest.mark.parametrize("name", ["../escaped.safetensors", "/etc/passwd", "a\\b", "C:/x", "a//b", ".hidden", "NUL"])
def test_path_traversal_in_a_signed_name(market: Market, name: str) -> None:
    def rename(statement: dict[str, Any]) -> None:
        statement["subject"][0]["name"] = name
        statement["subject"].sort(key=lambda item: item["name"])
        sizes = statement["predicate"]["sizes"]
        sizes[name] = sizes.pop(CARD_NAME)

    resign(market.publish(), edit=rename)
    assert market.code() == "unsafe_name"
    assert not list(market.root.rglob("escaped*"))


@pytest.mark.parametrize(
    "ref", ["../x", "alice/../../x", "/alice/x", "alice", "a/b/c", "alice/x@0", "alice/x@../1", ""]
)
def test_path_traversal_in_a_reference(market: Market, ref: str) -> None:
    market.publish()
    assert market.code(ref) == "unsafe_name"


def test_symlinked_file(market: Market, tmp_path: Path) -> None:
    path = market.publish() / DELTAS_NAME
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)  # same bytes, but a link could point anywhere a moment later
    assert market.code() == "unsafe_name"


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system cannot open without following links")
def test_link_that_appears_after_the_listing(market: Market, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = market.publish() / DELTAS_NAME
    sizes = list_folder(path.parent)
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    monkeypatch.setattr(Path, "lstat", Path.stat)  # the attacker wins the race against every look before the open
    with pytest.raises(TrustError) as refused:
        read_file(path.parent, DELTAS_NAME, sizes[DELTAS_NAME])
    assert refused.value.code == "unsafe_name"


def test_symlinked_version(market: Market, tmp_path: Path) -> None:
    folder = market.publish()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert market.transport.list_refs() == []
    assert market.fetch()[1].code == "not_found"


def test_symlinked_namespace(market: Market, tmp_path: Path) -> None:
    namespace = market.publish().parent.parent
    namespace.rename(tmp_path / "elsewhere")
    namespace.symlink_to(tmp_path / "elsewhere")
    assert market.code() == "unsafe_name"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipe_instead_of_a_file_does_not_hang(market: Market) -> None:
    path = market.publish() / DELTAS_NAME
    path.unlink()
    os.mkfifo(path)
    assert market.code() == "unsafe_name"


# ------------------------------------------------------------------------------------------------ config, tensors


@pytest.mark.parametrize(
    "change",
    [
        {"r": 20_000_000},
        {"target_modules": "(([a-z])+)+[A-Z]"},
        {"rank_pattern": {"(([a-z])+)+": 8}},
        {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}},
    ],
)
def test_attack_in_the_config(market: Market, change: dict[str, Any]) -> None:
    folder = market.publish()
    config = {**json.loads((folder / CONFIG_NAME).read_bytes()), **change}
    resign(folder, files={CONFIG_NAME: json.dumps(config).encode()})
    assert market.code() == "bad_config"


BODY = np.ones(32, "<f4").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(safetensors_bytes(header(), BODY, length=1 << 63), id="header of 2^63 bytes"),
        pytest.param(safetensors_bytes(json.dumps(header()).encode() + b" " * (1 << 20), BODY), id="header over 1 MB"),
        pytest.param(safetensors_bytes(b"[" * 100_000, BODY), id="deep nesting"),
        pytest.param(safetensors_bytes(b"{" + b'"a":[' * 100_000, BODY), id="deep nesting in an object"),
        pytest.param(safetensors_bytes(header(), BODY + b"PK\x05\x06" + b"\0" * 18), id="polyglot zip at the end"),
        pytest.param(safetensors_bytes(header(**{A_NAME: {"dtype": "F32", "shape": [2, 8], "data_offsets": [4, 68]},
            B_NAME: {"dtype": "F32", "shape": [8, 2], "data_offsets": [68, 132]}}), BODY + b"1234"), id="hole"),
        pytest.param(safetensors_bytes(header(**{B_NAME: {"dtype": "F32", "shape": [8, 2], "data_offsets": [0, 64]}}),
            BODY), id="overlap"),
        pytest.param(safetensors_bytes(header(**{A_NAME: {"dtype": "F32", "shape": [0, 8], "data_offsets": [0, 0]}}),
            BODY), id="zero dimension"),
        pytest.param(safetensors_bytes(header(**{A_NAME: {"dtype": "F32", "shape": [2, 1 << 40],
            "data_offsets": [0, 64]}}), BODY), id="shape beyond its bytes"),
        pytest.param(safetensors_bytes(header(**{A_NAME: {"dtype": "F64", "shape": [2, 8], "data_offsets": [0, 64]}}),
            BODY), id="other dtype than signed"),
        pytest.param(safetensors_bytes(header(extra={"dtype": "F32", "shape": [1], "data_offsets": [128, 132]}),
            BODY + b"\0" * 4), id="tensor that was not signed"),
        pytest.param(safetensors_bytes({A_NAME: header()[A_NAME]}, BODY[:64]), id="missing tensor"),
        pytest.param(safetensors_bytes({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
            for i in range(5000)}, b""), id="5000 empty tensors"),
        pytest.param(safetensors_bytes(header(__metadata__={"x": "<script>"}), BODY), id="hidden metadata"),
        pytest.param(safetensors_bytes(header(**{A_NAME: {"dtype": "F32", "shape": [True, 16],
            "data_offsets": [0, 64]}}), BODY), id="boolean in a shape"),
        pytest.param(safetensors_bytes(header(**{A_NAME: {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}),
            BODY), id="other rank than signed"),
        pytest.param(b"", id="empty file"),
    ],
)  # fmt: skip
def test_malformed_tensors(market: Market, data: bytes) -> None:
    assert tensor_attack(market, data) == "bad_tensors"


def test_duplicate_tensor_name(market: Market) -> None:
    raw = json.dumps(header()).encode()
    first = json.dumps(A_NAME).encode() + b": " + json.dumps(header()[A_NAME]).encode()
    assert tensor_attack(market, safetensors_bytes(raw[:1] + first + b", " + raw[1:], BODY)) == "duplicate_key"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_poisoned_values(market: Market, value: float) -> None:
    weights = np.ones(32, "<f4")
    weights[17] = value
    assert tensor_attack(market, safetensors_bytes(header(), weights.tobytes())) == "non_finite"


def test_too_large_file(market: Market) -> None:
    market.policy = standard_policy(max_file_bytes=500, max_total_bytes=5000)
    market.publish()
    assert market.code() == "too_large"


def test_endless_data(market: Market) -> None:
    folder = market.publish()
    with (folder / "filler").open("wb") as handle:
        handle.truncate(600 << 20)  # sparse: costs the attacker nothing
    market.policy = standard_policy(max_total_bytes=1 << 20)
    assert market.code() == "too_large"


# --------------------------------------------------------------------------------------------------- wrong target


def test_wrong_base(market: Market) -> None:
    market.publish()
    assert market.code(base_digest="c" * 64) == "wrong_base"


def test_wrong_task(market: Market) -> None:
    market.publish()
    assert market.code(task_type="text_generation") == "wrong_task"


def test_licence_that_the_policy_does_not_allow(market: Market) -> None:
    market.policy = standard_policy(licences=frozenset({"MIT"}))
    market.publish()
    assert market.code() == "licence"


def test_another_manifest_is_delivered_than_was_shown(market: Market) -> None:
    market.publish()
    client = market.client()
    (candidate,) = client.search(SearchQuery("text_classification", "travel", base_digest=BASE))
    market.publish(version=2, base_digest="c" * 64)
    patch, attempt = client.fetch(candidate)
    assert patch is None
    assert attempt.code == "wrong_base"


def test_swap_after_verification(market: Market) -> None:
    from symbio_lab.trust.verifying import read_verified

    folder = market.publish()
    patch, _ = market.fetch()
    assert patch is not None
    honest = read_verified(patch, DELTAS_NAME)
    (folder / DELTAS_NAME).write_bytes(b"swapped in the market")
    assert read_verified(patch, DELTAS_NAME) == honest
    (patch.root / DELTAS_NAME).write_bytes(honest[:-1] + b"\x01")
    with pytest.raises(TrustError) as refused:
        read_verified(patch, DELTAS_NAME)
    assert refused.value.code == "digest_mismatch"


def test_refused_candidates_are_shown_but_never_before_honest_ones(market: Market) -> None:
    market.publish()
    for i in range(5):
        market.publish(patch_id=f"flood/p{i}", key=EVE, title="book flight hotel travel")
    query = SearchQuery("text_classification", "book flight hotel travel", labels=("book_flight",), max_results=2)
    client = market.client()
    found = client.search(query)
    assert [c.problem for c in found] == [None, "unknown_key", "unknown_key"]
    patch, attempt = client.fetch(found[1])
    assert patch is None
    assert (attempt.status, attempt.code, attempt.keyid) == ("refused", "unknown_key", EVE.keyid)


def test_every_code_has_a_hint_and_now_is_a_time() -> None:
    assert all(TRUST_CODES.values())
    assert NOW.endswith("Z")
