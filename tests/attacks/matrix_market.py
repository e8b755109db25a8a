"""Lines of the matrix: somebody with write access to a market, or who serves its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.marketplace.log_entries import LogEntry
from symbio_lab.marketplace.log_reading import LogReader, verify_log
from symbio_lab.marketplace.log_writing import append_entries
from symbio_lab.marketplace.registry.static_files import FolderFiles
from symbio_lab.records import SearchQuery
from symbio_lab.trust.adapter_files import CARD_NAME, DELTAS_NAME
from symbio_lab.trust.checkpoint import LogKey
from symbio_lab.trust.envelope import ENVELOPE_NAME
from tests.attacks.market_simulator import ALICE, BASE, deltas
from tests.attacks.matrix_case import Line, Place, Refusal, code_of


def arbitrary_file(place: Place) -> Refusal:
    market = place.market()
    market.publish(patch_id="alice/other", deltas=deltas(seed=1))
    shutil.copy(market.folder("alice/other") / DELTAS_NAME, market.folder("alice/travel") / DELTAS_NAME)
    return market.code


def bit_flip(place: Place) -> Refusal:
    market = place.market()
    path = market.folder("alice/travel") / DELTAS_NAME
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    return market.code


def extra_file(place: Place) -> Refusal:
    market = place.market()
    (market.folder("alice/travel") / "notes.txt").write_text("read me")
    return market.code


def missing_file(place: Place) -> Refusal:
    market = place.market()
    (market.folder("alice/travel") / DELTAS_NAME).unlink()
    return market.code


def unsigned(place: Place) -> Refusal:
    market = place.market()
    (market.folder("alice/travel") / ENVELOPE_NAME).unlink()
    return market.code


def endless_data(place: Place) -> Refusal:
    market = place.market(max_total_bytes=1 << 20)
    with (market.folder("alice/travel") / "filler").open("wb") as handle:
        handle.truncate(8 << 30)  # sparse
    return market.code


def rollback(place: Place) -> Refusal:
    market = place.market()
    market.publish(version=2, deltas=deltas(seed=1))
    assert market.code() == "accepted"
    shutil.rmtree(market.folder("alice/travel@2"))
    return market.code


def freeze(place: Place) -> Refusal:
    market = place.market()
    market.now = "2027-01-01T00:00:00Z"
    return market.code


def weights_of_another_version(place: Place) -> Refusal:
    market = place.market()
    new = market.publish(version=2, deltas=deltas(seed=1))
    assert market.code() == "accepted"
    shutil.copy(market.folder("alice/travel@1") / DELTAS_NAME, new / DELTAS_NAME)
    return market.code


def manifest_of_another_version(place: Place) -> Refusal:
    market = place.market()
    old, new = market.folder("alice/travel"), market.publish(version=2, deltas=deltas(seed=1))
    for name in (ENVELOPE_NAME, CARD_NAME):
        shutil.copy(old / name, new / name)
    # Asked for by its version: the manifest says that it is the other one.
    return lambda: market.code("alice/travel@2")


def manifest_of_another_patch(place: Place) -> Refusal:
    market = place.market()
    folder = market.folder("alice/travel")
    shutil.rmtree(folder)
    shutil.copytree(market.publish(patch_id="alice/banking"), folder)
    return market.code


def bait_and_switch(place: Place) -> Refusal:
    market = place.market()
    client = market.client()
    (candidate,) = client.search(SearchQuery("text_classification", "travel", base_digest=BASE))
    assert client.fetch(candidate)[0] is not None
    market.publish(version=2, base_digest="c" * 64)
    return lambda: client.fetch(candidate)[1].code


def wrong_base(place: Place) -> Refusal:
    market = place.market()
    assert market.code(base_digest=BASE) == "accepted"
    return lambda: market.code(base_digest="c" * 64)


# ---------------------------------------------------------------------------------------------- behind a registry


def registered(folder: Path) -> Any:
    """Return a market whose one patch is registered and accepted."""
    pytest.importorskip("tuf")
    from tests.attacks.registry_simulator import RegisteredMarket

    market = RegisteredMarket(folder)
    market.publish()
    market.register()
    assert market.code() == "accepted"
    return market


def registry_freeze(place: Place) -> Refusal:
    market = registered(place.folder)
    market.now = "2026-06-20T00:00:00Z"  # nineteen days after it was registered
    return market.code


def registry_rollback(place: Place) -> Refusal:
    market = registered(place.folder)
    market.copy()
    market.publish(version=2, deltas=deltas(seed=1))
    market.register()
    assert market.code() == "accepted"
    market.put_back()
    return market.code


def registry_mixed(place: Place) -> Refusal:
    market = registered(place.folder)
    old = market.current("targets").read_bytes()
    market.publish(version=2, deltas=deltas(seed=1))
    market.register()
    market.current("targets").write_bytes(old)
    return market.code


def registry_bypassed(place: Place) -> Refusal:
    market = registered(place.folder)
    market.publish(patch_id="alice/other")
    return lambda: market.code("alice/other")


def stolen_timestamp_key(place: Place) -> Refusal:
    market = registered(place.folder)
    from tuf.api.metadata import TargetFile

    from symbio_lab.marketplace.registry.layout import target_path
    from tests.attacks.registry_simulator import TIMESTAMP_KEY

    targets = market.load("targets").signed
    path = target_path("mallory/gift", 1)
    targets.targets[path] = TargetFile(4, {"sha256": "ab" * 32}, path)
    targets.version += 1
    data = market.forge("targets", targets, [TIMESTAMP_KEY])
    market.forge_timestamp([TIMESTAMP_KEY], market.forge_snapshot([TIMESTAMP_KEY], targets=data))
    return market.code


def rewritten_log(place: Place) -> Refusal:
    origin, seen = "example.org/market", place.folder / "seen"
    key = LogKey(origin, ALICE.public_key)

    def tell(name: str, *numbers: int) -> FolderFiles:
        entries = [LogEntry(f"{i:064x}", "patch").to_bytes() for i in numbers]
        append_entries(place.folder / name, entries, ALICE, origin=origin, memory=place.folder / f"{name}-signed")
        return FolderFiles(place.folder / name)

    assert verify_log(LogReader(tell("log", 1, 2, 3), key), seen).checkpoint.size == 3
    assert verify_log(LogReader(tell("log", 4), key), seen).checkpoint.size == 4
    other = tell("other", 1, 9, 3, 4, 5)  # the keeper tells another history, and signs that too
    return lambda: code_of(lambda: verify_log(LogReader(other, key), seen))


DIGESTS = "SHA-256 and size of every file are signed; the bytes that are loaded are those that were hashed"
EXACT = "the files must be exactly the signed ones"
LINES = (
    Line("arbitrary-file", "Arbitrary file", "Replaces weights by those of another patch.", DIGESTS,
         "digest_mismatch", arbitrary_file),
    Line("bit-flip", "Bit flip in transit", "Changes one bit of a file, as a broken cache would.", DIGESTS,
         "digest_mismatch", bit_flip),
    Line("extra-file", "Extra file", "Adds a file beside the signed ones.", EXACT, "extra_file", extra_file),
    Line("missing-file", "Withheld file", "Removes a signed file.", EXACT, "missing_file", missing_file),
    Line("unsigned", "Unsigned patch", "Removes the envelope.", "nothing without a signature is opened", "unsigned",
         unsigned),
    Line("endless-data", "Endless data", "Adds 8 GiB of zeros.",
         "sizes are summed from the listing, before any file is opened", "too_large", endless_data),
    Line("rollback", "Rollback", "Takes the newest version away, so that an old one is offered.",
         "the newest version accepted is remembered for each name", "rollback", rollback),
    Line("rollback-registry", "Rollback of a registry", "Puts an older, signed state of the registry back.",
         "TUF: versions of every role only grow", "rollback", registry_rollback),
    Line("freeze", "Freeze", "Keeps showing what was signed long ago.", "every statement expires", "expired", freeze),
    Line("freeze-registry", "Freeze of a registry", "Keeps showing an old state, without a newer timestamp.",
         "TUF: the timestamp expires within days", "stale", registry_freeze),
    Line("mix-old-weights", "Mix and match: weights", "Puts weights of version 1 under the manifest of version 2.",
         DIGESTS, "digest_mismatch", weights_of_another_version),
    Line("mix-old-manifest", "Mix and match: manifest", "Shows the manifest of version 1 as version 2.",
         "name and version are signed", "wrong_patch", manifest_of_another_version),
    Line("mix-patches", "Mix and match: patches", "Shows the honest manifest of another patch under this name.",
         "name and version are signed", "wrong_patch", manifest_of_another_patch),
    Line("mix-registry", "Mix and match: registry", "Shows lists of one state with the snapshot of another.",
         "TUF: the snapshot names version and digest of every list", "mix_and_match", registry_mixed),
    Line("bypassed-registry", "Bypassed registry", "Offers a signed patch that the keeper never registered.",
         "only registered envelopes are seen through a registry", "unregistered", registry_bypassed),
    Line("stolen-timestamp-key", "Stolen timestamp key", "Signs new lists with the key that is kept online.",
         "TUF: each role has its own keys", "bad_signature", stolen_timestamp_key),
    Line("rewritten-log", "Rewritten history", "Signs a log that lacks an entry which was shown before.",
         "RFC 6962: a new tree must be proved to extend the remembered one", "bad_proof", rewritten_log),
    Line("bait-and-switch", "Bait and switch", "Shows one manifest to the search and delivers another.",
         "what is fetched must fit the base that was searched for", "wrong_base", bait_and_switch),
    Line("wrong-base", "Wrong base", "Offers a patch for another model.", "the digest of the base is signed",
         "wrong_base", wrong_base),
)  # fmt: skip
