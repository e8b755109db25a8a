"""One test for each attack on a registry: by who serves its files, and by who has some of its keys."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tuf")
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, SuccinctRoles, TargetFile

from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.registry.layout import target_path
from symbio_lab.marketplace.registry.renewing import renew_registry, rotate_keys
from symbio_lab.marketplace.registry.revoked import RevokedKey
from symbio_lab.marketplace.registry.role_keys import RegistryKeys
from symbio_lab.marketplace.registry.signer import tuf_key
from symbio_lab.marketplace.registry.static_files import FolderFiles
from symbio_lab.records import SearchQuery
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.keys import SigningKey
from tests.attacks.market_simulator import ALICE, BASE, EVE, MALLORY, NOW, deltas, resign
from tests.attacks.registry_simulator import (
    KEYS,
    ROOT_KEYS,
    SNAPSHOT_KEY,
    STRANGER,
    TARGETS_KEY,
    TIMESTAMP_KEY,
    RegisteredMarket,
    code_of,
    describe,
    far_away,
    later,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market with one registered patch that the client has read."""
    folder = tmp_path_factory.mktemp("registered")
    market = RegisteredMarket(folder)
    market.publish()
    market.register()
    assert market.code() == "accepted"
    return folder


@pytest.fixture
def market(tmp_path: Path, template: Path) -> RegisteredMarket:
    """A copy of it, for this test to attack."""
    shutil.copytree(template, tmp_path / "own", symlinks=True)
    return RegisteredMarket(tmp_path / "own")


def rename(statement: dict[str, Any]) -> None:
    statement["predicate"]["card"]["title"] = "Changed"


def with_news(market: RegisteredMarket) -> None:
    """The keeper registers a second version; the client reads that too. The state before is kept as ``old``."""
    market.copy()
    market.publish(version=2, deltas=deltas(seed=1))
    market.register()
    market.read()


# ---------------------------------------------------------------------------------------------- freeze and order


@pytest.mark.parametrize(
    ("days", "code"), [(6, "accepted"), (7, "stale"), (31, "stale"), (200, "stale"), (366, "stale")]
)
def test_freeze(market: RegisteredMarket, days: int, code: str) -> None:
    market.now = later(NOW, days=days)
    assert market.read_code() == code
    assert market.code() == code


@pytest.mark.parametrize(("role", "days"), [("snapshot", 30), ("targets", 180), ("root", 365)])
def test_each_role_expires_by_itself(market: RegisteredMarket, role: str, days: int) -> None:
    at = later(NOW, days=days)
    keys = RegistryKeys(timestamp=KEYS.timestamp, snapshot=KEYS.snapshot if role != "snapshot" else ())
    with pytest.raises(Exception, match="needs"):
        renew_registry(market.folder, market.root, keys, memory=market.memory, now=at)
    # A keeper who has no key of the role cannot help; an attacker who holds all keys below it cannot either.
    timestamp = market.load("timestamp").signed
    timestamp.version, timestamp.expires = timestamp.version + 1, far_away()
    if role != "snapshot":
        snapshot = market.load("snapshot").signed
        snapshot.version, snapshot.expires = snapshot.version + 1, far_away()
        if role == "root":
            targets = market.load("targets").signed
            targets.version, targets.expires = targets.version + 1, far_away()
            snapshot.meta["targets.json"] = describe(market.forge("targets", targets, [TARGETS_KEY]))
        timestamp.snapshot_meta = describe(market.forge("snapshot", snapshot, [SNAPSHOT_KEY]))
    market.forge("timestamp", timestamp, [TIMESTAMP_KEY])
    market.now = later(at, seconds=-1)
    assert market.read_code() == "accepted"
    market.now = at
    assert market.read_code() == "stale"


def test_rollback(market: RegisteredMarket) -> None:
    with_news(market)
    market.put_back()
    assert market.read_code() == "rollback"
    assert market.code() == "rollback"


def test_rollback_of_the_timestamp_alone(market: RegisteredMarket) -> None:
    with_news(market)
    shutil.copy(market.copies / "old" / "timestamp.json", market.metadata)
    assert market.read_code() == "rollback"


def test_a_client_without_memory_cannot_tell_an_old_state_from_news(market: RegisteredMarket) -> None:
    with_news(market)
    market.put_back()
    shutil.rmtree(market.cache)
    assert market.read_code() == "accepted"


def test_rollback_of_the_targets_by_the_snapshot_and_timestamp_keys(market: RegisteredMarket) -> None:
    old = market.current("targets").read_bytes()
    with_news(market)
    snapshot = market.forge_snapshot([SNAPSHOT_KEY], targets=old)
    market.forge_timestamp([TIMESTAMP_KEY], snapshot)
    assert market.read_code() == "rollback"


def test_removal_of_a_list_by_the_snapshot_and_timestamp_keys(market: RegisteredMarket) -> None:
    snapshot = market.load("snapshot").signed
    snapshot.version += 1
    del snapshot.meta["targets.json"]
    market.forge_timestamp([TIMESTAMP_KEY], market.forge("snapshot", snapshot, [SNAPSHOT_KEY]))
    assert market.read_code() == "rollback"


def test_an_older_root_is_no_newer_root(market: RegisteredMarket) -> None:
    shutil.copy(market.metadata / "1.root.json", market.metadata / "2.root.json")
    assert market.read_code() == "rollback"


# ------------------------------------------------------------------------------------------------- mix and match


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mix_and_match_of_metadata(market: RegisteredMarket, role: str) -> None:
    market.copy()
    old = market.current(role).read_bytes()
    market.publish(version=2)
    market.register()
    market.current(role).write_bytes(old)
    assert market.read_code() == "mix_and_match"


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_metadata_that_are_named_but_missing(market: RegisteredMarket, role: str) -> None:
    market.publish(version=2)
    market.register()
    market.current(role).unlink()
    assert market.read_code() == "mix_and_match"


def test_snapshot_that_is_not_the_version_that_the_timestamp_names(market: RegisteredMarket) -> None:
    # With the key of the timestamp one can lie about the version, but not sign the snapshot that would fit.
    timestamp = market.load("timestamp").signed
    timestamp.version += 1
    timestamp.snapshot_meta.version += 1
    market.forge("timestamp", timestamp, [TIMESTAMP_KEY])
    shutil.copy(market.current("snapshot"), market.metadata / f"{timestamp.snapshot_meta.version}.snapshot.json")
    assert market.read_code() == "mix_and_match"


def test_registries_of_two_markets(market: RegisteredMarket, tmp_path: Path) -> None:
    other = RegisteredMarket(tmp_path / "other")
    other.publish()
    other.register()
    other.publish(version=2)
    other.register()
    shutil.copy(other.current("targets"), market.current("targets"))
    shutil.rmtree(market.cache)
    assert market.read_code() == "mix_and_match"


def test_another_list_of_revoked_keys(market: RegisteredMarket) -> None:
    market.change(revoke=[RevokedKey(EVE.keyid, "stolen", NOW)])
    for path in (market.folder / "targets" / "registry").iterdir():
        path.write_bytes(b'{"revoked":[],"schema":1}\n')
    assert market.read_code() == "mix_and_match"


# ----------------------------------------------------------------------------------------- what the market shows


def test_unregistered(market: RegisteredMarket) -> None:
    market.publish(patch_id="alice/other")
    assert market.code("alice/other") == "unregistered"
    assert market.transport().list_refs() == ["alice/travel"]


def test_a_version_that_waits_for_the_keeper_is_not_taken(market: RegisteredMarket) -> None:
    market.publish(version=2, deltas=deltas(seed=1))
    assert market.code("alice/travel@2") == "unregistered"
    assert market.transport().list_versions("alice/travel") == [1]
    assert market.code() == "accepted"


def test_a_registered_version_is_withheld(market: RegisteredMarket) -> None:
    with_news(market)
    shutil.rmtree(market.market.folder("alice/travel@2"))
    assert market.code() == "mix_and_match"
    assert market.code("alice/travel@1") == "accepted"


def test_another_envelope_by_the_same_key(market: RegisteredMarket) -> None:
    resign(market.market.folder("alice/travel"), ALICE, rename)
    # Nothing but the registry stands against it where a client has not seen this version before.
    assert code_of(lambda: market.market.verify(market.market.folder("alice/travel"))) == "accepted"
    assert market.code() == "digest_mismatch"


def test_the_envelope_of_another_registered_version(market: RegisteredMarket) -> None:
    with_news(market)
    old, new = market.market.folder("alice/travel@1"), market.market.folder("alice/travel@2")
    shutil.copy(old / ENVELOPE_NAME, new / ENVELOPE_NAME)
    assert market.code() == "mix_and_match"


def test_the_envelope_of_another_registered_patch(market: RegisteredMarket) -> None:
    other = market.publish(patch_id="alice/other")
    market.register()
    shutil.copy(other / ENVELOPE_NAME, market.market.folder("alice/travel"))
    assert market.code() == "mix_and_match"


def test_a_market_that_shows_one_envelope_and_delivers_another(market: RegisteredMarket, tmp_path: Path) -> None:
    transport = market.transport()
    shown = transport.read_manifest("alice/travel")
    resign(market.market.folder("alice/travel"), ALICE, rename)
    transport.inner = ShowsOneDeliversAnother(transport.inner, shown)  # type: ignore[assignment]
    assert transport.read_manifest("alice/travel") == shown
    assert code_of(lambda: transport.fetch("alice/travel", tmp_path / "into")) == "digest_mismatch"


class ShowsOneDeliversAnother:
    def __init__(self, inner: Any, shown: bytes) -> None:
        self.inner, self.shown = inner, shown

    def read_manifest(self, ref: str) -> bytes:
        return self.shown

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        return self.inner.fetch(ref, into, max_bytes=max_bytes)  # type: ignore[no-any-return]


def test_revoked_key(market: RegisteredMarket) -> None:
    market.publish(patch_id="mallory/other", key=MALLORY)
    market.register()
    assert market.code("mallory/other") == "accepted"
    market.change(revoke=[RevokedKey(MALLORY.keyid, "sells access", NOW)])
    assert market.code("mallory/other") == "revoked_key"
    assert market.code() == "accepted"
    # Whoever keeps the registry cannot forget it by revoking another.
    market.change(revoke=[RevokedKey(EVE.keyid, "too", NOW), RevokedKey(MALLORY.keyid, "again", NOW)])
    assert {key.keyid: key.reason for key in market.read().revoked} == {MALLORY.keyid: "sells access", EVE.keyid: "too"}


def test_a_stranger_with_write_access_does_not_get_registered(market: RegisteredMarket) -> None:
    market.publish(patch_id="eve/travel", key=EVE)
    resign(market.publish(patch_id="alice/lamp"), MALLORY)
    market.register()
    assert sorted(market.read().patches) == ["alice/lamp", "alice/travel"]
    assert market.code("eve/travel") == "unregistered"


def test_a_search_shows_nothing_that_is_refused(market: RegisteredMarket) -> None:
    market.publish(patch_id="alice/other")
    transport = market.transport()
    client = MarketplaceClient([transport], market.market.policy, market.market.store, market.now)
    found = client.search(SearchQuery("text_classification", "flights", base_digest=BASE))
    assert [(candidate.ref, candidate.problem) for candidate in found] == [("alice/travel", None)]
    resign(market.market.folder("alice/travel"), ALICE, rename)
    client.refresh()
    found = client.search(SearchQuery("text_classification", "flights", base_digest=BASE))
    assert [(candidate.ref, candidate.problem) for candidate in found] == [("alice/travel", "digest_mismatch")]


# --------------------------------------------------------------------------------------------------- stolen keys


def offer(market: RegisteredMarket, targets: Any) -> None:
    """Add a target that nobody registered."""
    path = target_path("mallory/gift", 1)
    targets.targets[path] = TargetFile(4, {"sha256": "ab" * 32}, path)
    targets.version += 1


def test_a_stolen_timestamp_key_offers_nothing(market: RegisteredMarket) -> None:
    targets = market.load("targets").signed
    offer(market, targets)
    data = market.forge("targets", targets, [TIMESTAMP_KEY])
    market.forge_timestamp([TIMESTAMP_KEY], market.forge_snapshot([TIMESTAMP_KEY], targets=data))
    assert market.read_code() == "bad_signature"


def test_stolen_timestamp_and_snapshot_keys_offer_nothing(market: RegisteredMarket) -> None:
    targets = market.load("targets").signed
    offer(market, targets)
    data = market.forge("targets", targets, [TIMESTAMP_KEY, SNAPSHOT_KEY])
    market.forge_timestamp([TIMESTAMP_KEY], market.forge_snapshot([SNAPSHOT_KEY], targets=data))
    assert market.read_code() == "bad_signature"


def test_a_stolen_targets_key_offers_until_the_root_replaces_it(market: RegisteredMarket) -> None:
    targets = market.load("targets").signed
    offer(market, targets)
    data = market.forge("targets", targets, [TARGETS_KEY])
    market.forge_timestamp([TIMESTAMP_KEY], market.forge_snapshot([SNAPSHOT_KEY], targets=data))
    assert "mallory/gift" in market.read().patches
    new = SigningKey.from_seed(bytes([40]) * 32)
    keys = RegistryKeys(ROOT_KEYS, (new,), KEYS.snapshot, KEYS.timestamp)
    where = {"memory": market.memory, "now": NOW}
    rotate_keys(market.folder, market.root, keys, {"targets": [new.public_key]}, **where)
    targets.version += 5
    data = market.forge("targets", targets, [TARGETS_KEY])
    market.forge_timestamp([TIMESTAMP_KEY], market.forge_snapshot([SNAPSHOT_KEY], targets=data))
    assert market.read_code() == "bad_signature"


def rotate_root(market: RegisteredMarket, new: list[SigningKey], signers: list[SigningKey], threshold: int = 2) -> None:
    root = market.load("root").signed
    root.version += 1
    for keyid in list(root.roles["root"].keyids):
        root.revoke_key(keyid, "root")
    for key in new:
        root.add_key(tuf_key(key.public_key), "root")
    root.roles["root"].threshold = threshold
    market.forge("root", root, signers)


NEW_ROOT = [SigningKey.from_seed(bytes([50 + i]) * 32) for i in range(3)]


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        ([*ROOT_KEYS[:2], *NEW_ROOT[:2]], "accepted"),
        ([*ROOT_KEYS, *NEW_ROOT], "accepted"),
        ([ROOT_KEYS[0], *NEW_ROOT], "threshold"),
        ([ROOT_KEYS[0], ROOT_KEYS[0], *NEW_ROOT], "threshold"),
        ([*ROOT_KEYS, NEW_ROOT[0]], "threshold"),
        ([*ROOT_KEYS], "bad_signature"),
        ([*NEW_ROOT], "bad_signature"),
        ([STRANGER, TARGETS_KEY, *NEW_ROOT], "bad_signature"),
    ],
)
def test_a_new_root_takes_enough_of_the_old_and_of_the_new_keys(
    market: RegisteredMarket, signers: list[SigningKey], code: str
) -> None:
    rotate_root(market, NEW_ROOT, signers)
    assert market.read_code() == code


def test_replaced_root_keys_sign_no_further_root(market: RegisteredMarket) -> None:
    rotate_root(market, NEW_ROOT, [*ROOT_KEYS, *NEW_ROOT])
    assert market.read().versions["root"] == 2
    rotate_root(market, list(ROOT_KEYS), list(ROOT_KEYS))
    assert market.read_code() == "bad_signature"


def test_a_root_that_was_seen_cannot_be_withheld(market: RegisteredMarket) -> None:
    new = SigningKey.from_seed(bytes([41]) * 32)
    keys = RegistryKeys(ROOT_KEYS, KEYS.targets, KEYS.snapshot, (new,))
    market.copy()
    rotate_keys(market.folder, market.root, keys, {"timestamp": [new.public_key]}, memory=market.memory, now=NOW)
    assert market.read().versions["root"] == 2
    # The stolen key of the timestamp was replaced; the thief serves the world as it was before.
    market.put_back()
    timestamp = market.load("timestamp").signed
    timestamp.version += 9
    market.forge("timestamp", timestamp, [TIMESTAMP_KEY])
    assert market.read_code() == "bad_signature"


def test_one_key_under_two_names_counts_once(market: RegisteredMarket) -> None:
    root = market.load("root").signed
    root.version += 1
    again = SSlibKey("ab" * 32, "ed25519", "ed25519", {"public": ROOT_KEYS[0].public_hex})
    root.add_key(again, "root")
    market.forge("root", root, ROOT_KEYS)
    assert market.read_code() == "threshold"


def test_a_low_order_key_is_refused(market: RegisteredMarket) -> None:
    root = market.load("root").signed
    root.version += 1
    root.add_key(SSlibKey("cd" * 32, "ed25519", "ed25519", {"public": "00" * 32}), "timestamp")
    market.forge("root", root, ROOT_KEYS)
    assert market.read_code() == "bad_key"


# -------------------------------------------------------------------------------- answers that keep clients busy


def delegate(market: RegisteredMarket, delegations: Delegations) -> None:
    targets = market.load("targets").signed
    targets.version += 1
    targets.delegations = delegations
    data = market.forge("targets", targets, [TARGETS_KEY])
    market.forge_timestamp([TIMESTAMP_KEY], market.forge_snapshot([SNAPSHOT_KEY], targets=data))


def test_more_bins_than_anybody_needs(market: RegisteredMarket) -> None:
    key = tuf_key(TARGETS_KEY.public_key)
    bins = SuccinctRoles([key.keyid], 1, 32, "bin")
    delegate(market, Delegations({key.keyid: key}, succinct_roles=bins))
    assert market.read_code() == "bad_response"


def test_delegations_that_cannot_be_listed(market: RegisteredMarket) -> None:
    key = tuf_key(TARGETS_KEY.public_key)
    role = DelegatedRole("other", [key.keyid], 1, True, paths=["*"])
    delegate(market, Delegations({key.keyid: key}, roles={"other": role}))
    assert market.read_code() == "bad_response"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[1]", b"\xff", b'{"signed": {}, "signatures": []}', b"[" * 100_000, b'{"signed":{"_type":"root"}}'],
)
def test_timestamps_that_are_none(market: RegisteredMarket, data: bytes) -> None:
    (market.metadata / "timestamp.json").write_bytes(data)
    assert market.read_code() == "bad_response"


class Endless:
    """Files that never end."""

    uri = "endless:"

    def __init__(self, inner: FolderFiles, name: str) -> None:
        self.inner, self.name, self.num_bytes = inner, name, 0

    def stream(self, name: str) -> Iterator[bytes]:
        return self.inner.stream(name) if self.name not in name else self.drip()

    def drip(self) -> Iterator[bytes]:
        while True:
            self.num_bytes += 4096
            yield b" " * 4096


@pytest.mark.parametrize(
    ("name", "cap"), [("timestamp", 24_576), ("2.root", 520_000), ("snapshot", 8_192), ("targets", 8_192)]
)
def test_endless_data(market: RegisteredMarket, name: str, cap: int) -> None:
    market.publish(version=2)
    market.register()
    endless = Endless(FolderFiles(market.folder), name)
    # Of a list it is known how long it must be: one that is longer is another file.
    assert market.read_code(endless) == ("bad_response" if name in ("timestamp", "2.root") else "mix_and_match")
    assert endless.num_bytes <= cap


# ------------------------------------------------------------------------------------------------------ the keeper


def slip_in(market: RegisteredMarket) -> None:
    """Add a target to the current list without its keys."""
    targets = market.load("targets")
    offer(market, targets.signed)
    targets.signed.version -= 1
    market.current("targets").write_bytes(targets.to_bytes())


def older(market: RegisteredMarket) -> None:
    market.put_back("first")


def without_lists(market: RegisteredMarket) -> None:
    market.current("targets").unlink()


def by_a_stranger(market: RegisteredMarket) -> None:
    timestamp = market.load("timestamp").signed
    timestamp.version += 1
    market.forge("timestamp", timestamp, [STRANGER])


def same_version_again(market: RegisteredMarket) -> None:
    timestamp = market.load("timestamp").signed
    timestamp.expires = far_away()
    market.forge("timestamp", timestamp, [TIMESTAMP_KEY])


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (slip_in, "mix_and_match"),
        (older, "mix_and_match"),
        (without_lists, "mix_and_match"),
        (by_a_stranger, "bad_signature"),
        (same_version_again, "mix_and_match"),
    ],
)
def test_a_keeper_signs_nothing_that_was_slipped_in(
    market: RegisteredMarket, attack: Callable[[RegisteredMarket], None], code: str
) -> None:
    market.copy("first")
    market.publish(version=2)
    market.register()
    attack(market)
    market.publish(version=3)
    before = {path.name: path.read_bytes() for path in market.metadata.iterdir()}
    assert code_of(market.register) == code
    after = {path.name: path.read_bytes() for path in market.metadata.iterdir()}
    # What was signed before may be put in place again, never anything new.
    assert {name for name, data in after.items() if before.get(name) != data} <= {"timestamp.json"}
