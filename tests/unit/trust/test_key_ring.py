"""Keys by name: made once, never lost, rotated even when a rotation was killed half-way."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keyring
import pytest

from symbio_lab.errors import DataError, NotFoundError, StorageError, TrustError
from symbio_lab.trust import key_ring
from symbio_lab.trust.key_ring import KeyRing
from symbio_lab.trust.key_storage import KdfCost
from symbio_lab.trust.keys import load_or_create_key, read_key_file
from symbio_lab.trust.locking import locked
from symbio_lab.trust.succession import Revocation, Succession, read_key_statement
from tests.unit.trust.test_key_storage import MemoryKeyring

CHEAP = KdfCost(ops=1, memory_bytes=8192)
ISSUED = "2026-01-31T12:00:00Z"


def phrase() -> str:
    return "correct horse battery"


def other_phrase() -> str:
    return "another good phrase"


def never() -> str:
    raise AssertionError("the passphrase was asked for")


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys", CHEAP)


@pytest.fixture
def memory() -> Iterator[MemoryKeyring]:
    before, backend = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def test_a_key_is_made_once_and_opens_by_name(ring: KeyRing) -> None:
    made = ring.create("alice", "passphrase", phrase)
    assert (made.name, made.protection, made.retired) == ("alice", "passphrase", False)
    assert ring.open("alice", phrase).keyid == made.keyid == ring.find("alice").keyid
    with pytest.raises(DataError, match="already"):
        ring.create("alice", "none")
    assert ring.find("alice") == made
    with pytest.raises(TrustError):
        ring.open("alice", other_phrase)


@pytest.mark.parametrize("name", ["", "Alice", "a/b", "../up", "a.b", "-a", "a" * 65, "alice.json"])
def test_names_are_plain_words(ring: KeyRing, name: str) -> None:
    for call in (lambda: ring.create(name, "none"), lambda: ring.find(name), lambda: ring.open(name)):
        with pytest.raises(DataError):
            call()
    assert not ring.folder.exists()


def test_what_is_not_there_is_not_found(ring: KeyRing) -> None:
    with pytest.raises(NotFoundError):
        ring.find("alice")
    assert ring.stored() == []


def test_a_short_passphrase_makes_no_key(ring: KeyRing) -> None:
    with pytest.raises(DataError):
        ring.create("alice", "passphrase", lambda: "short")
    with pytest.raises(DataError):
        ring.create("alice", "passphrase")
    assert ring.stored() == []


def test_listing_shows_what_is_not_encrypted_and_needs_no_secret(ring: KeyRing, memory: MemoryKeyring) -> None:
    own = load_or_create_key(ring.folder / "own.json")
    ring.create("bob", "passphrase", phrase)
    ring.create("carol", "keyring")
    memory.is_locked = True
    (ring.folder / "broken.json").write_text("{}")
    (ring.folder / "text.json").write_text("no JSON")
    listed = {key.name: key for key in ring.stored()}
    assert {name: key.protection for name, key in listed.items()} == {
        "own": "none",
        "bob": "passphrase",
        "carol": "keyring",
    }
    assert listed["own"].keyid == own.keyid
    with pytest.raises(TrustError):
        ring.find("broken")


def test_protecting_keeps_the_key_and_removes_the_secret_from_the_disk(ring: KeyRing, memory: MemoryKeyring) -> None:
    seed = load_or_create_key(ring.folder / "own.json").seed
    kept = ring.protect("own", "passphrase", old=never, new=phrase)
    assert kept.protection == "passphrase"
    assert ring.open("own", phrase).seed == seed
    assert seed.hex() not in (ring.folder / "own.json").read_text()
    ring.protect("own", "passphrase", old=phrase, new=other_phrase)
    assert ring.open("own", other_phrase).seed == seed
    with pytest.raises(TrustError):
        ring.protect("own", "none", old=phrase, new=never)
    ring.protect("own", "keyring", old=other_phrase, new=never)
    assert (ring.open("own", never).seed, len(memory.kept)) == (seed, 1)
    ring.protect("own", "passphrase", old=never, new=phrase)
    assert memory.kept == {}


@pytest.mark.parametrize("protection", ["none", "passphrase", "keyring"])
def test_rotation_keeps_the_old_key_and_signs_with_both(ring: KeyRing, memory: MemoryKeyring, protection: Any) -> None:
    before = ring.create("alice", protection, phrase)
    done = ring.rotate("alice", issued=ISSUED, old=phrase, new=phrase)
    after = ring.find("alice")
    assert (done.old.keyid, done.new) == (before.keyid, after)
    assert after.keyid != before.keyid
    assert after.protection == done.old.protection == protection
    statement = read_key_statement(done.statement.read_bytes())
    assert statement == Succession(before.public_hex, after.public_hex, ISSUED)
    assert [(key.name, key.keyid, key.retired) for key in ring.stored()] == [
        ("alice", after.keyid, False),
        ("alice", before.keyid, True),
    ]
    assert not list((ring.folder / "next").iterdir())
    again = ring.rotate("alice", issued=ISSUED, old=phrase, new=phrase)
    assert again.old.keyid == after.keyid
    assert len(ring.retired("alice")) == 2
    assert ring.open("alice", phrase).keyid == again.new.keyid


@pytest.mark.parametrize("killed_at", ["sign_succession", "os.replace", "statement", "retired"])
def test_a_killed_rotation_goes_on_with_the_key_that_it_had_made(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    before = ring.create("alice", "none")
    create = key_ring.create_private

    def die(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    def create_until(path: Path, data: bytes) -> bool:
        made = create(path, data)
        if (killed_at, path.parent.name) in (("statement", "statements"), ("retired", "retired")):
            raise KeyboardInterrupt
        return made

    with monkeypatch.context() as patch:
        if killed_at == "sign_succession":
            patch.setattr(key_ring, "sign_succession", die)
        elif killed_at == "os.replace":
            patch.setattr(os, "replace", die)
        else:
            patch.setattr(key_ring, "create_private", create_until)
        with pytest.raises(KeyboardInterrupt):
            ring.rotate("alice", issued=ISSUED, old=never, new=never)
    assert ring.find("alice").keyid == before.keyid
    waiting = read_key_file(ring.folder / "next" / "alice.json").keyid
    done = ring.rotate("alice", issued="2026-02-01T00:00:00Z", old=never, new=never)
    assert (done.old.keyid, done.new.keyid) == (before.keyid, waiting)
    statement = read_key_statement(done.statement.read_bytes())
    assert isinstance(statement, Succession)
    assert (statement.old, statement.new) == (before.keyid, waiting)


def _rotate(folder: str) -> str:
    return KeyRing(Path(folder)).rotate("alice", issued=ISSUED, old=never, new=never).new.keyid


def test_racing_rotations_follow_each_other_and_lose_no_key(ring: KeyRing) -> None:
    first = ring.create("alice", "none")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        told = pool.map(_rotate, [str(ring.folder)] * 8, chunksize=1)
    assert len(set(told)) == 8
    held = {key.keyid for key in ring.stored()}
    assert held == {first.keyid, *told}
    statements = [read_key_statement(path.read_bytes()) for path in (ring.folder / "statements").iterdir()]
    after = {read.old: read.new for read in statements if isinstance(read, Succession)}
    chain = [first.keyid]
    while chain[-1] in after:
        chain.append(after[chain[-1]])
    assert len(chain) == 9
    assert chain[-1] == ring.find("alice").keyid


def _create(folder: str) -> str:
    try:
        return KeyRing(Path(folder)).create("alice", "none").keyid
    except DataError as error:
        return error.code


def test_racing_processes_make_one_key(ring: KeyRing) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        told = pool.map(_create, [str(ring.folder)] * 6, chunksize=1)
    made = [keyid for keyid in told if len(keyid) == 64]
    assert made == [ring.find("alice").keyid]
    assert told.count("bad_data") == 5


def test_a_second_successor_of_a_key_is_never_signed(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ring.create("alice", "none")

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            ring.rotate("alice", issued=ISSUED, old=never, new=never)
    (ring.folder / "next" / "alice.json").unlink()
    (statement,) = (ring.folder / "statements").iterdir()
    handed_out = statement.read_bytes()
    with pytest.raises(DataError, match="names another successor"):
        ring.rotate("alice", issued=ISSUED, old=never, new=never)
    assert statement.read_bytes() == handed_out
    assert ring.find("alice").keyid == before.keyid


def test_changes_of_one_key_wait_for_each_other(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    ring.create("alice", "none")
    ring.create("bob", "none")
    monkeypatch.setattr(key_ring, "locked", partial(locked, wait_s=0.05))
    with locked(ring.folder / ".alice.lock"):
        for change in (
            lambda: ring.rotate("alice", issued=ISSUED, old=never, new=never),
            lambda: ring.protect("alice", "passphrase", old=never, new=phrase),
        ):
            with pytest.raises(StorageError, match="another process holds"):
                change()
        ring.rotate("bob", issued=ISSUED, old=never, new=never)
    ring.rotate("alice", issued=ISSUED, old=never, new=never)


def test_revocations_are_signed_by_the_key_itself_even_when_it_is_retired(ring: KeyRing) -> None:
    ring.create("alice", "passphrase", phrase)
    done = ring.rotate("alice", issued=ISSUED, old=phrase, new=phrase)
    path, signed = ring.revoke(done.old.keyid, "alice", reason="stolen", issued=ISSUED, passphrase=phrase)
    assert path.read_bytes() == signed
    statement = read_key_statement(signed)
    assert statement == Revocation(done.old.keyid, done.old.public_hex, "stolen", ISSUED)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("not a folder")
    with pytest.raises(StorageError):
        KeyRing(tmp_path / "keys").create("alice", "none")
