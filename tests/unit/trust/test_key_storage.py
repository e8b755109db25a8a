"""Key files: in the clear, under a passphrase, in the keyring; and what is wrong with a file is said."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from symbio_lab.errors import DataError, MissingExtraError, StorageError, TrustError
from symbio_lab.trust import key_storage
from symbio_lab.trust.key_storage import (
    DEFAULT_COST,
    MAX_MEMORY_BYTES,
    PASSPHRASE_VARIABLE,
    KdfCost,
    create_private,
    drop_from_keyring,
    key_bytes,
    keyring_fields,
    open_sealed,
    plain_fields,
    put_in_keyring,
    sealed_fields,
    take_from_keyring,
)
from symbio_lab.trust.keys import load_key, load_or_create_key, read_key_file, save_key, write_key_file
from tests.attacks.market_simulator import ALICE, MALLORY

CHEAP = KdfCost(ops=1, memory_bytes=8192)
PHRASE = "correct horse battery"


def sealed(passphrase: str = PHRASE) -> dict[str, Any]:
    return sealed_fields(ALICE.seed, ALICE.public_hex, passphrase, CHEAP)


def refused(fields: dict[str, Any], passphrase: str = PHRASE) -> str:
    with pytest.raises(TrustError) as error:
        open_sealed(fields, lambda: passphrase, "alice")
    assert error.value.code == "bad_key"
    return str(error.value)


class MemoryKeyring(KeyringBackend):
    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        if self.is_locked:
            raise KeyringLocked("locked by its user")
        return self.kept.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class ForgetfulKeyring(MemoryKeyring):
    def set_password(self, service: str, username: str, password: str) -> None:
        pass


@pytest.fixture
def memory() -> Iterator[MemoryKeyring]:
    before, backend = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


# ---------------------------------------------------------------------------------------------------- passphrase


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.text(min_size=8, max_size=40))
def test_what_is_sealed_opens_again_and_does_not_show(seed: bytes, passphrase: str) -> None:
    fields = sealed_fields(seed, ALICE.public_hex, passphrase, CHEAP)
    assert open_sealed(json.loads(key_bytes(fields)), lambda: passphrase, "alice") == seed
    assert seed.hex() not in json.dumps(fields)


def test_a_wrong_passphrase_is_refused() -> None:
    assert "wrong passphrase" in refused(sealed(), "correct horse bakery")


def test_an_accent_typed_in_two_ways_is_one_passphrase() -> None:
    fields = sealed("pâté de campagne")
    assert open_sealed(fields, lambda: "pa\u0302te\u0301 de campagne", "alice") == ALICE.seed


def test_two_files_of_one_key_and_passphrase_share_nothing_secret() -> None:
    one, two = sealed(), sealed()
    assert one["box"] != two["box"]
    assert one["kdf"]["salt"] != two["kdf"]["salt"]


def test_the_default_cost_is_stated_and_heavy() -> None:
    assert (DEFAULT_COST.ops, DEFAULT_COST.memory_bytes) == (3, 256 << 20)
    assert sealed()["kdf"] | {"salt": ""} == {"name": "argon2id", "ops": 1, "memory_bytes": 8192, "salt": ""}


@pytest.mark.parametrize("passphrase", ["", "short", "1234567", "e\u0301" * 7])
def test_short_passphrases_are_refused(passphrase: str) -> None:
    with pytest.raises(DataError, match="at least 8"):
        sealed(passphrase)


def never() -> str:
    raise AssertionError("the passphrase was asked for")


@pytest.mark.parametrize(
    "change",
    [
        {"ops": 0},
        {"ops": 17},
        {"ops": 10**9},
        {"ops": True},
        {"ops": "1"},
        {"memory_bytes": MAX_MEMORY_BYTES + 1},
        {"memory_bytes": 1 << 60},
        {"memory_bytes": 100},
        {"memory_bytes": 8192.0},
        {"salt": "00"},
        {"salt": "zz" * 16},
        {"salt": None},
        {"name": "scrypt"},
    ],
)
def test_a_cost_out_of_bounds_is_refused_before_it_is_spent(change: dict[str, Any]) -> None:
    fields = sealed()
    fields["kdf"] = {**fields["kdf"], **change}
    with pytest.raises(TrustError) as error:
        open_sealed(fields, never, "alice")
    assert error.value.code == "bad_key"


@pytest.mark.parametrize("field", ["kdf", "box"])
def test_a_missing_field_is_refused(field: str) -> None:
    fields = sealed()
    del fields[field]
    assert "damaged" in refused(fields)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 71), st.integers(0, 7))
def test_any_bit_of_the_box_matters(position: int, bit: int) -> None:
    fields = sealed()
    box = bytearray.fromhex(fields["box"])
    assert len(box) == 24 + 16 + 32
    box[position] ^= 1 << bit
    refused({**fields, "box": box.hex()})


@pytest.mark.parametrize("box", ["", "00", "00" * 30, "zz"])
def test_a_short_box_is_refused(box: str) -> None:
    refused({**sealed(), "box": box})


# --------------------------------------------------------------------------------------------------------- files


def test_an_encrypted_file_loads_with_its_passphrase_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "alice.json"
    write_key_file(path, sealed())
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    assert load_key(path, lambda: PHRASE) == ALICE
    with pytest.raises(DataError) as asked:
        load_key(path)
    assert PASSPHRASE_VARIABLE in asked.value.hint
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PHRASE)
    assert load_key(path) == load_or_create_key(path) == ALICE
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_public_half_needs_no_secret(tmp_path: Path, memory: MemoryKeyring) -> None:
    for fields, protection in (
        (plain_fields(ALICE.seed, ALICE.public_hex), "none"),
        (sealed(), "passphrase"),
        (keyring_fields(ALICE.public_hex), "keyring"),
    ):
        write_key_file(tmp_path / "alice.json", fields)
        found = read_key_file(tmp_path / "alice.json")
        assert (found.keyid, found.protection) == (ALICE.keyid, protection)
        assert ALICE.seed.hex() not in repr(found)


def test_a_public_half_that_was_swapped_is_noticed(tmp_path: Path) -> None:
    write_key_file(tmp_path / "alice.json", {**sealed(), "public": MALLORY.public_hex})
    with pytest.raises(TrustError, match="do not belong together"):
        load_key(tmp_path / "alice.json", lambda: PHRASE)


def test_files_of_the_first_format_are_written_as_ever(tmp_path: Path) -> None:
    save_key(tmp_path / "own.json", ALICE)
    assert (tmp_path / "own.json").read_bytes() == (
        b'{"keytype":"ed25519","public":"' + ALICE.public_hex.encode() + b'","schema":1,"seed":"' + b"01" * 32 + b'"}\n'
    )


def test_an_encrypted_file_of_the_first_release_of_its_format_still_opens(tmp_path: Path) -> None:
    written = (
        '{"box":"000102030405060708090a0b0c0d0e0f1011121314151617515bd362edbe7787ae3483bd0bd0c68224b0b90b7638278f'
        'c97b5df03ecd637795075470b7a56236dd385a9e33d0ba4e",'
        '"kdf":{"memory_bytes":8192,"name":"argon2id","ops":1,"salt":"000102030405060708090a0b0c0d0e0f"},'
        f'"keytype":"ed25519","public":"{ALICE.public_hex}","schema":2}}'
    )
    (tmp_path / "alice.json").write_text(written)
    (tmp_path / "alice.json").chmod(0o600)
    assert load_key(tmp_path / "alice.json", lambda: PHRASE) == ALICE


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "alice.json"
    assert create_private(path, b"first")
    assert not create_private(path, b"second")
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["alice.json"]


def test_a_file_system_without_links_has_one_winner_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*arguments: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    assert create_private(tmp_path / "alice.json", b"first")
    assert not create_private(tmp_path / "alice.json", b"second")
    assert (tmp_path / "alice.json").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["alice.json"]


def _create(arguments: tuple[str, int]) -> bool:
    return create_private(Path(arguments[0]), str(arguments[1]).encode())


def test_of_racing_processes_one_creates_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "alice.json")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        made = pool.map(_create, [(path, number) for number in range(8)], chunksize=1)
    assert made.count(True) == 1
    assert Path(path).read_text() == str(made.index(True))


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError):
        create_private(tmp_path / "file" / "alice.json", b"x")


# ------------------------------------------------------------------------------------------------------- keyring


def test_the_keyring_keeps_the_secret_and_the_file_does_not(tmp_path: Path, memory: MemoryKeyring) -> None:
    put_in_keyring(ALICE.seed, ALICE.public_hex)
    path = tmp_path / "alice.json"
    write_key_file(path, keyring_fields(ALICE.public_hex))
    assert ALICE.seed.hex() not in path.read_text()
    assert load_key(path) == ALICE
    drop_from_keyring(ALICE.public_hex)
    assert memory.kept == {}
    with pytest.raises(StorageError, match="does not have the key alice"):
        load_key(path)


def test_a_locked_or_forgetful_keyring_is_a_storage_error(memory: MemoryKeyring) -> None:
    put_in_keyring(ALICE.seed, ALICE.public_hex)
    memory.is_locked = True
    with pytest.raises(StorageError, match="locked by its user"):
        take_from_keyring(ALICE.public_hex, "alice")
    keyring.set_keyring(ForgetfulKeyring())
    with pytest.raises(StorageError):
        put_in_keyring(ALICE.seed, ALICE.public_hex)


def test_a_system_without_a_keyring_says_so(memory: MemoryKeyring) -> None:
    import keyring.backends.fail

    keyring.set_keyring(keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    with pytest.raises(StorageError) as error:
        put_in_keyring(ALICE.seed, ALICE.public_hex)
    assert "--keyring" in error.value.hint


def test_what_the_keyring_has_may_be_no_key(memory: MemoryKeyring) -> None:
    memory.kept[key_storage.KEYRING_SERVICE, ALICE.public_hex] = "not hex"
    with pytest.raises(TrustError) as error:
        take_from_keyring(ALICE.public_hex, "alice")
    assert error.value.code == "bad_key"


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError) as error:
        put_in_keyring(ALICE.seed, ALICE.public_hex)
    assert error.value.hint == "pip install 'symbio-lab[keyring]'"
