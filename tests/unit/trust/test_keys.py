"""Keys: golden keyid, point check, private files."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from symbio_lab.errors import StorageError, SymbioError, TrustError
from symbio_lab.trust.keys import PublicKey, SigningKey, keyid_of, load_key, load_or_create_key, save_key

GOLDEN_PUBLIC = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
GOLDEN_KEYID = "7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12"


def test_golden_key() -> None:
    key = SigningKey.from_seed(bytes([1]) * 32)
    assert (key.public_hex, key.keyid) == (GOLDEN_PUBLIC, GOLDEN_KEYID)


def test_rfc_8032_vector_1() -> None:
    key = SigningKey.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public_hex == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = key.sign(b"")
    assert signature.hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974")
    assert key.public_key.verifies(b"", signature)
    assert not key.public_key.verifies(b"x", signature)
    assert not key.public_key.verifies(b"", signature[:-1])


@pytest.mark.parametrize(
    "public_hex",
    [
        "00" * 32,  # low order
        "01" + "00" * 31,  # the identity
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # order 2
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # order 8
        GOLDEN_PUBLIC.upper(),
        GOLDEN_PUBLIC[:-2],
        "zz" * 32,
        "",
    ],
)
def test_bad_public_keys_are_refused(public_hex: str) -> None:
    with pytest.raises(TrustError) as refused:
        PublicKey(public_hex)
    assert refused.value.code == "bad_key"


@pytest.mark.parametrize("seed", [b"", b"x" * 31, "x" * 32])
def test_bad_seeds_are_refused(seed: bytes) -> None:
    with pytest.raises(TrustError, match="32 bytes"):
        SigningKey.from_seed(seed)


def test_two_generated_keys_differ_and_hide_their_seed() -> None:
    one, two = SigningKey.generate(), SigningKey.generate()
    assert one.keyid != two.keyid
    assert one.seed.hex() not in repr(one)
    assert repr(one.seed) not in repr(one)


def test_saved_key_is_private_and_comes_back(tmp_path: Path) -> None:
    path, key = tmp_path / "keys" / "publisher.json", SigningKey.generate()
    save_key(path, key)
    assert load_key(path) == key
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["publisher.json"]


def test_a_key_that_others_can_read_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key.json"
    save_key(path, SigningKey.generate())
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        load_key(path)
    assert "chmod 600" in caplog.text


@pytest.mark.parametrize(
    "change", [{"seed": "00"}, {"seed": 5}, {"public": "00" * 32}, {"schema": 2}, {"keytype": "rsa"}]
)
def test_a_damaged_key_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "key.json"
    save_key(path, SigningKey.generate())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    path.chmod(0o600)
    with pytest.raises(TrustError) as refused:
        load_key(path)
    assert refused.value.code == "bad_key"


def test_missing_key_file_and_file_that_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        load_key(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("not JSON")
    with pytest.raises(SymbioError):
        load_key(tmp_path / "text.json")


def _create(path: str) -> str:
    return load_or_create_key(Path(path)).keyid


def test_racing_processes_get_one_key(tmp_path: Path) -> None:
    path = str(tmp_path / "keys" / "publisher.json")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        keyids = pool.map(_create, [path] * 4)
    assert set(keyids) == {load_or_create_key(Path(path)).keyid}


def test_created_key_leaves_no_other_file(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "key.json")
    assert load_or_create_key(tmp_path / "key.json") == key
    assert keyid_of(key.public_hex) == key.keyid
    assert [p.name for p in tmp_path.iterdir()] == ["key.json"]
