"""A log of static files: its layout, growing, interruptions, what readers refuse, and proofs that stand alone."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import DataError, NotFoundError, TrustError
from symbio_lab.marketplace import log_writing
from symbio_lab.marketplace.log_entries import LogEntry, digest_of_ref, gather_entries, read_entry, statement_entry
from symbio_lab.marketplace.log_proof import HEADER, check_inclusion, prove_entry, verify_proof
from symbio_lab.marketplace.log_reading import LogReader, verify_log
from symbio_lab.marketplace.log_tiles import (
    MAX_ENTRY_BYTES,
    decode_bundle,
    decode_tile,
    encode_bundle,
    nodes_in_tiles,
    tile_name,
    tile_width,
    tiles_of,
)
from symbio_lab.marketplace.log_writing import append_entries
from symbio_lab.marketplace.registry.static_files import FolderFiles, HttpFiles
from symbio_lab.records import canonical_json
from symbio_lab.trust.checkpoint import Checkpoint, LogKey, sign_checkpoint
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload, sign_envelope
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.merkle import complete_nodes, leaf_hash, root_of
from tests.attacks.market_simulator import ALICE, MALLORY, Market, deltas
from tests.fixtures_static import serving

KEY = SigningKey.from_seed(bytes([1]) * 32)
THIEF = SigningKey.from_seed(bytes([2]) * 32)
ORIGIN = "example.org/market"
PUBLIC = LogKey(ORIGIN, KEY.public_key)


def entry(i: int) -> LogEntry:
    return LogEntry(f"{i:064x}", "patch")


def entries(*numbers: int) -> list[bytes]:
    return [entry(i).to_bytes() for i in numbers]


class Log:
    def __init__(self, folder: Path) -> None:
        self.folder, self.signed, self.seen = folder / "log", folder / "signed", folder / "seen"

    def append(self, *numbers: int) -> Checkpoint:
        added = append_entries(self.folder, entries(*numbers), KEY, origin=ORIGIN, memory=self.signed)
        return added.checkpoint

    def reader(self) -> LogReader:
        return LogReader(FolderFiles(self.folder), PUBLIC)

    def verify(self) -> int:
        return verify_log(self.reader(), self.seen).checkpoint.size

    def refusal(self) -> str:
        before = self.seen.read_bytes() if self.seen.exists() else None
        with pytest.raises(TrustError) as refused:
            self.verify()
        assert refused.value.code in ("bad_proof", "bad_response")  # the latter: longer than any tile
        # Nothing that was refused is remembered.
        assert (self.seen.read_bytes() if self.seen.exists() else None) == before
        return str(refused.value)

    def names(self) -> list[str]:
        found = (path for path in self.folder.rglob("*") if path.is_file() and path.name != ".lock")
        return sorted(path.relative_to(self.folder).as_posix() for path in found)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


# --------------------------------------------------------------------------------------------------------- layout


def test_names_of_tiles() -> None:
    # The examples of c2sp.org/tlog-tiles.
    assert tile_name(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_name(3, 7) == "tile/3/007"
    assert tile_name("entries", 999, 5) == "tile/entries/999.p/5"
    assert tile_name(0, 1000) == "tile/0/x001/000"
    tiles = list(tiles_of(70_000))
    assert len([tile for tile in tiles if tile[0] == 0 and tile[2] == 256]) == 273
    assert tiles[273:] == [(0, 273, 112), (1, 0, 256), (1, 1, 17), (2, 0, 1)]
    assert list(tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles_of(0)) == []
    assert [tile_width(*tile[:2], 70_000) for tile in tiles] == [tile[2] for tile in tiles]


@given(st.lists(st.binary(max_size=300), max_size=256))
@settings(max_examples=30, deadline=None)
def test_bundles(found: list[bytes]) -> None:
    data = encode_bundle(found)
    assert decode_bundle(data, len(found)) == found
    for wrong, width in ((data + b"\x00", len(found)), (data[:-1], len(found)), (data, len(found) + 1)):
        if wrong != data or width != len(found):
            with pytest.raises(TrustError):
                decode_bundle(wrong, width)


def test_bounds_of_bundles_and_tiles() -> None:
    assert encode_bundle([b"ab", b""]) == b"\x00\x02ab\x00\x00"
    with pytest.raises(DataError):
        encode_bundle([bytes(MAX_ENTRY_BYTES + 1)])
    assert decode_tile(bytes(64), 2) == [bytes(32)] * 2
    for data, width in ((bytes(33), 1), (bytes(32), 2), (bytes(64), 1)):
        with pytest.raises(TrustError):
            decode_tile(data, width)


def test_nodes_are_found_in_tiles() -> None:
    leaves = [leaf_hash(b"%d" % i) for i in range(700)]
    whole = complete_nodes(leaves)
    asked: list[tuple[int, int, int]] = []

    def read(level: int, index: int, width: int) -> list[bytes]:
        asked.append((level, index, width))
        return [whole(8 * level, 256 * index + i) for i in range(width)]

    node = nodes_in_tiles(read, 700)
    for level in range(10):
        for index in range(700 >> level):
            assert node(level, index) == whole(level, index)
    assert sorted(asked) == list(tiles_of(700)), "each tile once"
    for level, index in ((0, 700), (9, 1), (10, 0), (30, 0)):
        with pytest.raises(TrustError):
            node(level, index)


# -------------------------------------------------------------------------------------------------------- growing


def test_a_log_grows(log: Log) -> None:
    size = 0
    for step in (1, 3, 251, 1, 1, 256, 600):
        state = log.append(*range(size, size + step))
        size += step
        assert (state.size, state.root) == (size, root_of([leaf_hash(e) for e in entries(*range(size))]))
        assert log.verify() == size
    found = verify_log(log.reader(), log.seen)
    assert list(found.entries) == entries(*range(size))
    assert found.remembered == found.checkpoint
    # Full tiles replaced their partial ones.
    assert "tile/0/000" in log.names()
    assert not [name for name in log.names() if name.startswith(("tile/0/000.p", "tile/entries/000.p"))]


def test_what_it_holds_is_not_added_again(log: Log) -> None:
    log.append(1, 2, 3)
    before = log.names()
    assert log.append(3, 2, 1, 1).size == 3
    assert log.names() == before
    assert log.append(2, 4, 4).size == 4


def test_an_empty_log(log: Log) -> None:
    assert log.append().size == 0
    assert log.verify() == 0
    assert log.names() == ["checkpoint"]
    assert log.append(1).size == 1
    assert log.verify() == 1


def test_readers_of_an_older_checkpoint_find_their_tiles(log: Log) -> None:
    log.append(*range(200))
    old = LogReader(FolderFiles(log.folder), PUBLIC, note=(log.folder / "checkpoint").read_bytes())
    log.append(*range(600))
    assert old.checkpoint.size == 200
    assert len(old.entries()) == 200
    old.check_root()
    assert len(old.prove_inclusion(entries(7)[0], 7)) == 8


def test_a_log_over_http(log: Log) -> None:
    log.append(*range(300))
    with serving(log.folder) as server:
        reader = LogReader(HttpFiles(server.url), PUBLIC)
        assert verify_log(reader).checkpoint.size == 300
        first = len(server.requests)
        reader = LogReader(HttpFiles(server.url), PUBLIC)
        reader.prove_inclusion(entries(299)[0], 299)
        assert sorted(server.paths[first:]) == ["/checkpoint", "/tile/0/001.p/44", "/tile/1/000.p/1"]


# -------------------------------------------------------------------------------------------------- interruptions


class Killed(BaseException):
    pass


@pytest.mark.parametrize("number", range(8))
def test_a_writer_that_is_killed_goes_on(log: Log, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    log.append(*range(200))
    log.verify()
    left = [number]
    write = log_writing.write_atomic

    def stop(path: Path, data: bytes) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(log_writing, "write_atomic", stop)
        try:
            log.append(*range(300))
        except Killed:
            pass
        else:
            assert number == 7, "every write was stopped once"
    assert log.verify() in (200, 300)
    # The next call may even bring other entries: what no checkpoint promised can still change.
    numbers = [*range(300), 900] if log.signed.read_bytes() != (log.folder / "checkpoint").read_bytes() else [900]
    log.append(*numbers)
    assert log.verify() in (201, 301)


def test_a_remembered_checkpoint_is_published_first(log: Log) -> None:
    log.append(*range(10))
    published = (log.folder / "checkpoint").read_bytes()
    log.append(*range(20))
    (log.folder / "checkpoint").write_bytes(published)
    assert log.append().size == 20
    assert log.verify() == 20


def append_from_a_process(folder: Path, memory: Path, first: int) -> None:
    for i in range(first, first + 5):
        append_entries(folder, entries(i), KEY, origin=ORIGIN, memory=memory)


def test_two_writers_take_turns(log: Log) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=append_from_a_process, args=(log.folder, log.signed, first)) for first in (0, 100)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert log.verify() == 10


# --------------------------------------------------------------------------------------------------------- attacks


def forge(log: Log, numbers: list[int], key: SigningKey = KEY) -> None:
    """Replace the log by one with these entries, signed by whoever holds its key."""
    shutil.rmtree(log.folder)
    append_entries(log.folder, entries(*numbers), key, origin=ORIGIN, memory=log.folder.with_name("thief"))
    log.folder.with_name("thief").unlink()


def test_a_log_that_shrinks(log: Log) -> None:
    log.append(*range(10))
    log.verify()
    forge(log, list(range(9)))
    assert "shrank from 10 to 9" in log.refusal()


@pytest.mark.parametrize("numbers", [[*range(9), 77], [0, 1, 77, *range(3, 30)], [*range(1, 20)], [5]])
def test_a_log_that_rewrites_history(log: Log, numbers: list[int]) -> None:
    log.append(*range(10))
    log.verify()
    forge(log, numbers)
    log.refusal()
    # Who reads it for the first time cannot know: readers must compare checkpoints.
    log.seen.unlink()
    assert log.verify() == len(numbers)


def test_a_log_signed_by_another_key(log: Log) -> None:
    log.append(*range(10))
    forge(log, list(range(10)), THIEF)
    assert "no known key" in log.refusal()


@pytest.mark.parametrize(
    "name", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"]
)
@pytest.mark.parametrize("how", ["bit", "short", "long", "missing"])
def test_any_changed_file_is_found(log: Log, name: str, how: str) -> None:
    log.append(*range(300))
    path = log.folder / name
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    path.unlink()
    if how != "missing":
        path.write_bytes({"bit": bytes(flipped), "short": data[:-1], "long": data + b"x"}[how])
    log.refusal()


def test_a_size_that_nobody_has_entries_for(log: Log) -> None:
    log.append(*range(10))
    note = sign_checkpoint(Checkpoint(ORIGIN, 1 << 61, bytes(32)), KEY)
    (log.folder / "checkpoint").write_bytes(note)
    log.refusal()


def test_no_log(log: Log) -> None:
    with pytest.raises(NotFoundError):
        log.verify()


@pytest.mark.parametrize("attack", ["older copy", "rewritten", "empty", "tiles", "stranger"])
def test_a_writer_does_not_sign_on_what_was_changed(log: Log, attack: str, tmp_path: Path) -> None:
    log.append(*range(10))
    shutil.copytree(log.folder, tmp_path / "old")
    log.append(*range(300))
    remembered = log.signed.read_bytes()
    if attack == "older copy":
        shutil.rmtree(log.folder)
        shutil.copytree(tmp_path / "old", log.folder)
    elif attack == "rewritten":
        forge(log, [77, *range(1, 400)])
    elif attack == "empty":
        shutil.rmtree(log.folder)
    elif attack == "tiles":
        (log.folder / "tile/0/000").write_bytes(bytes(8192))
    else:
        forge(log, list(range(400)), THIEF)
    with pytest.raises(TrustError) as refused:
        log.append(500)
    assert refused.value.code == "bad_proof"
    assert log.signed.read_bytes() == remembered


# --------------------------------------------------------------------------------------------------------- entries


def statement(kind: str, subject: str, note: str = "") -> bytes:
    types = {
        "voucher": "https://symbio-lab.dev/attestations/voucher/v1",
        "revocation": "https://symbio-lab.dev/attestations/key-revocation/v1",
        "evaluation": "https://symbio-lab.dev/attestations/evaluation/v1",
        "other": "https://example.org/other/v1",
    }
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "x", "digest": {"sha256": subject}}],
        "predicateType": types[kind],
        "predicate": {"note": note},
    }
    return canonical_json(value)


def test_everything_that_a_market_holds_is_gathered(tmp_path: Path) -> None:
    market = Market(tmp_path)
    digests = []
    for version in (1, 2):
        folder = market.publish(version=version, deltas=deltas(seed=version))
        digests.append(statement_entry((folder / ENVELOPE_NAME).read_bytes()).digest)
    (market.publish(patch_id="alice/broken") / ENVELOPE_NAME).write_bytes(b"{}")
    transport = market.transport
    evaluation = sign_envelope(statement("evaluation", digests[0]), MALLORY)
    transport.publish_evaluation(digests[0], evaluation)
    transport.publish_evaluation(digests[0], sign_envelope(statement("other", digests[0]), MALLORY))
    # Found through the key of the evaluator, then through the key of who vouches.
    voucher = sign_envelope(statement("voucher", MALLORY.keyid), KEY)
    transport.publish_evaluation(MALLORY.keyid, voucher)
    revocation = sign_envelope(statement("revocation", THIEF.keyid), THIEF)
    transport.publish_evaluation(KEY.keyid, sign_envelope(statement("voucher", KEY.keyid), THIEF))
    transport.publish_evaluation(THIEF.keyid, revocation)
    gathered = gather_entries(transport)
    assert gathered.num_unreadable == 2
    assert [e.digest for e in gathered.entries if e.kind == "patch"] == digests
    assert sorted(e.kind for e in gathered.entries) == [
        "evaluation",
        "patch",
        "patch",
        "revocation",
        "voucher",
        "voucher",
    ]
    assert gather_entries(transport) == gathered
    assert digest_of_ref(transport, "alice/travel") == digest_of_ref(transport, "alice/travel@2") == digests[1]
    assert digest_of_ref(transport, digests[0]) == digests[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"digest":"' + b"ab" * 32 + b'","kind":"patch","schema":2}',
        b'{"digest":"' + b"ab" * 32 + b'","kind":"other","schema":1}',
        b'{"digest":"xy","kind":"patch","schema":1}',
        b'{"kind":"patch","digest":"' + b"ab" * 32 + b'","schema":1}',
        b'{"digest":"' + b"ab" * 32 + b'","kind":"patch","schema":1} ',
        b'{"digest":"' + b"ab" * 32 + b'","kind":"patch","schema":1,"schema":1}',
        b'{"digest":"' + b"ab" * 32 + b'","kind":1,"schema":1}',
    ],
)
def test_entries_are_read_strictly(data: bytes) -> None:
    with pytest.raises(TrustError) as refused:
        read_entry(data)
    assert refused.value.code == "bad_proof"
    assert read_entry(entry(1).to_bytes()) == entry(1)


# ---------------------------------------------------------------------------------------------------------- proofs


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Log, list[str]]:
    log = Log(tmp_path_factory.mktemp("proved"))
    log.append(*range(300))
    reader = log.reader()
    return log, [prove_entry(reader, entry(i)) for i in range(300)]


def test_every_entry_can_be_proved(proved: tuple[Log, list[str]]) -> None:
    log, proofs = proved
    for i, text in enumerate(proofs):
        found = verify_proof(text, PUBLIC)
        assert (found.entry, found.index, found.checkpoint.size) == (entry(i), i, 300)
        assert check_inclusion(entry(i).digest, text, key=PUBLIC) == found
    assert check_inclusion(entry(7).digest, log.reader()).index == 7
    head = proofs[0].split("\n")
    assert head[0] == HEADER
    assert head[2] == "index 0"


def test_what_is_not_in_the_log_is_not_proved(proved: tuple[Log, list[str]]) -> None:
    log, proofs = proved
    for call in (
        lambda: check_inclusion(entry(300).digest, log.reader()),
        lambda: check_inclusion(entry(3).digest, log.reader(), kind="voucher"),
        lambda: check_inclusion(entry(4).digest, proofs[3], key=PUBLIC),
        lambda: check_inclusion(entry(3).digest, proofs[3], key=PUBLIC, kind="voucher"),
        lambda: check_inclusion(entry(3).digest, proofs[3]),
        lambda: verify_proof(proofs[3], LogKey(ORIGIN, THIEF.public_key)),
        lambda: verify_proof(proofs[3], LogKey("example.org/other", KEY.public_key)),
        lambda: verify_proof(proofs[3], PUBLIC, origin="example.org/other"),
        lambda: log.reader().prove_inclusion(entry(3).to_bytes(), 300),
        lambda: log.reader().prove_inclusion(entry(3).to_bytes(), 4),
    ):
        with pytest.raises(TrustError) as refused:
            call()
        assert refused.value.code == "bad_proof"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_change_of_a_proof_is_refused(proved: tuple[Log, list[str]], data: st.DataObject) -> None:
    text = proved[1][data.draw(st.integers(0, 299))]
    place = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["replace", "drop", "double"]))
    if kind == "replace":
        changed = (
            text[:place]
            + data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[place]))
            + text[place + 1 :]
        )
    elif kind == "drop":
        changed = text[:place] + text[place + 1 :]
    else:
        changed = text[:place] + text[place] + text[place:]
    with pytest.raises(TrustError) as refused:
        verify_proof(changed, PUBLIC, verify_proof(text, PUBLIC).entry)
    assert refused.value.code == "bad_proof"


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [],
        lambda lines: ["c2sp.org/tlog-proof@v2", *lines[1:]],
        lambda lines: [lines[0], lines[1]],
        lambda lines: [lines[0], lines[1], "index 01", *lines[3:]],
        lambda lines: [lines[0], lines[1], "index -1", *lines[3:]],
        lambda lines: [*lines, *lines[3:4] * 80],
        lambda lines: [lines[0], lines[1] + "=", *lines[2:]],
        lambda lines: [lines[0], "extra e30=", *lines[2:]],
    ],
)
def test_texts_that_are_no_proof(proved: tuple[Log, list[str]], change: Any) -> None:
    head, _, note = proved[1][5].partition("\n\n")
    with pytest.raises(TrustError):
        verify_proof("\n".join(change(head.split("\n"))) + "\n\n" + note, PUBLIC)


def test_a_proof_without_its_entry_proves_the_one_expected(proved: tuple[Log, list[str]]) -> None:
    lines = proved[1][5].split("\n")
    assert json.loads(entry(5).to_bytes())["digest"] == entry(5).digest
    short = "\n".join([lines[0], *lines[2:]])
    assert verify_proof(short, PUBLIC, entry(5)).index == 5
    for expected in (None, entry(6)):
        with pytest.raises(TrustError):
            verify_proof(short, PUBLIC, expected)


def test_statements_are_told_by_their_type() -> None:
    payload = statement("voucher", ALICE.keyid)
    assert statement_entry(sign_envelope(payload, ALICE)).kind == "voucher"
    assert peek_payload(sign_envelope(payload, ALICE)) == payload
    for wrong in (b"{}", sign_envelope(b"[]", ALICE), sign_envelope(b'{"predicateType": 1}', ALICE)):
        with pytest.raises(TrustError):
            statement_entry(wrong)
