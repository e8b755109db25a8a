"""A registry from its keeper's side: states, hash bins, interruptions, renewing, and whose keys sign."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tuf")

from symbio_lab.errors import ConfigError, DataError, MissingExtraError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.registry import registered_lists, signer, signing
from symbio_lab.marketplace.registry.describing import describe_kept
from symbio_lab.marketplace.registry.keeping import open_kept
from symbio_lab.marketplace.registry.layout import REVOKED_PATH, split_target_path, target_path
from symbio_lab.marketplace.registry.reading import read_registry
from symbio_lab.marketplace.registry.registered import Registry
from symbio_lab.marketplace.registry.renewing import due_roles, renew_registry, rotate_keys
from symbio_lab.marketplace.registry.revoked import RevokedKey, read_revoked, write_revoked
from symbio_lab.marketplace.registry.role_keys import Lifetimes, RegistryKeys, Thresholds
from symbio_lab.marketplace.registry.static_files import FolderFiles
from symbio_lab.marketplace.registry.writing import RegistryChange, change_registry, create_registry
from symbio_lab.trust.keys import SigningKey
from tests.attacks.registry_simulator import KEYS, ROOT_KEYS, STRANGER, TARGETS_KEY, later

NOW = "2026-06-01T00:00:00Z"


class Keeper:
    """One registry in ``folder``, new or as a copy of the folder left it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.memory, self.cache = folder / "registry", folder / "kept.json", folder / "cache"
        self.keys, self.now = KEYS, NOW
        first = self.folder / "metadata" / "1.root.json"
        if not first.is_file():
            create_registry(self.folder, KEYS, memory=self.memory, now=NOW, thresholds=Thresholds(root=2))
        self.root = first.read_bytes()

    def change(self, **changes: Any) -> RegistryChange:
        return change_registry(self.folder, self.root, self.keys, memory=self.memory, now=self.now, **changes)

    def add(self, *refs: str) -> RegistryChange:
        return self.change(add=files(*refs))

    def renew(self, keys: RegistryKeys | None = None) -> RegistryChange:
        return renew_registry(self.folder, self.root, keys or self.keys, memory=self.memory, now=self.now)

    def rotate(self, keys: RegistryKeys, role: str, *new: SigningKey, threshold: int = 1) -> RegistryChange:
        replace = {role: [key.public_key for key in new]}
        where = {"memory": self.memory, "now": self.now, "thresholds": {role: threshold}}
        return rotate_keys(self.folder, self.root, keys, replace, **where)  # type: ignore[arg-type]

    def read(self) -> Registry:
        return read_registry(FolderFiles(self.folder), self.root, self.cache, now=self.now)

    def names(self) -> set[str]:
        return {path.name for path in (self.folder / "metadata").iterdir()}


def files(*refs: str) -> dict[str, bytes]:
    found = {}
    for ref in refs:
        patch_id, _, version = ref.partition("@")
        found[target_path(patch_id, int(version or 1))] = ref.encode()
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    Keeper(folder)
    return folder


@pytest.fixture
def keeper(tmp_path: Path, template: Path) -> Keeper:
    return Keeper(Path(shutil.copytree(template, tmp_path / "own")))


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of at most 4, bins of 2 on average: growth without thousands of files."""
    monkeypatch.setattr(registered_lists, "MOST_IN_ONE_LIST", 4)
    monkeypatch.setattr(registered_lists, "MEAN_IN_A_BIN", 2)
    monkeypatch.setattr(registered_lists, "BITS_A_STEP", 2)


# --------------------------------------------------------------------------------------------------------- states


def test_a_new_registry_lists_nothing(keeper: Keeper) -> None:
    found = keeper.read()
    assert (dict(found.files), found.revoked, found.num_lists) == ({}, (), 1)
    assert found.versions == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    assert found.expires["timestamp"] == "2026-06-08T00:00:00Z"
    assert keeper.names() == {"1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"}


def test_a_registry_is_made_once(keeper: Keeper) -> None:
    with pytest.raises(DataError, match="already"):
        create_registry(keeper.folder, KEYS, memory=keeper.memory, now=NOW)
    # A folder that was lost is no reason to give versions twice.
    shutil.rmtree(keeper.folder)
    with pytest.raises(DataError, match=r"kept in .* before"):
        create_registry(keeper.folder, KEYS, memory=keeper.memory, now=NOW)


def test_what_is_added_is_read(keeper: Keeper) -> None:
    change = keeper.add("a/one@1", "a/one@2", "b/two@7")
    assert (change.num_added, change.signed) == (3, ("targets", "snapshot", "timestamp"))
    found = keeper.read()
    assert {patch_id: list(versions) for patch_id, versions in found.patches.items()} == {"a/one": [1, 2], "b/two": [7]}
    assert found.find("a/one")[0] == "a/one@2"
    assert found.patches["b/two"][7].num_bytes == len(b"b/two@7")


def test_adding_again_changes_nothing(keeper: Keeper) -> None:
    keeper.add("a/one@1")
    before = keeper.names()
    assert keeper.add("a/one@1") == RegistryChange(timestamp_version=2)
    assert keeper.names() == before


def test_a_version_never_changes(keeper: Keeper) -> None:
    keeper.add("a/one@1")
    with pytest.raises(DataError, match="other bytes"):
        keeper.change(add={target_path("a/one", 1): b"other", target_path("a/two", 1): b"new"})
    assert list(keeper.read().patches) == ["a/one"]


def test_removing(keeper: Keeper) -> None:
    keeper.add("a/one@1", "a/one@2")
    assert keeper.change(remove=[target_path("a/one", 1)]).num_removed == 1
    assert list(keeper.read().patches["a/one"]) == [2]
    for path in (target_path("a/one", 1), REVOKED_PATH, "x"):
        with pytest.raises(NotFoundError):
            keeper.change(remove=[path])


@pytest.mark.parametrize("path", ["x", "registry/revoked.json", "patches/a/one/v0/symbio.patch.dsse.json", "../x"])
def test_only_patches_are_registered(keeper: Keeper, path: str) -> None:
    with pytest.raises(DataError):
        keeper.change(add={path: b"x"})


def test_paths() -> None:
    assert split_target_path(target_path("alice/travel", 12)) == ("alice/travel", 12)
    for path in ("patches/a/v1/symbio.patch.dsse.json", "patches/a/b/v01/symbio.patch.dsse.json", "patches/a/b/v1/x"):
        assert split_target_path(path) is None
    with pytest.raises(TrustError):
        target_path("../x", 1)


def test_revoked_keys_are_kept_in_a_registered_file(keeper: Keeper) -> None:
    change = keeper.change(revoke=[RevokedKey("ab" * 32, "stolen", NOW)], add=files("a/one@1"))
    assert (change.num_revoked, change.num_added) == (1, 1)
    keeper.change(revoke=[RevokedKey("cd" * 32, "lost", NOW)])
    assert [key.reason for key in keeper.read().revoked] == ["stolen", "lost"]
    plain = keeper.folder / "targets" / "registry" / "revoked.json"
    assert read_revoked(plain.read_bytes()) == keeper.read().revoked
    assert keeper.change(revoke=[RevokedKey("ab" * 32, "again", NOW)]).num_revoked == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"revoked":[],"schema":2}',
        b'{"revoked":[],"schema":1,"more":1}',
        b'{"revoked":[],"revoked":[],"schema":1}',
        b'{"revoked":[{"keyid":"x","reason":"","since":"2026-01-01T00:00:00Z"}],"schema":1}',
        b'{"revoked":[{"keyid":"' + b"ab" * 32 + b'","reason":"","since":"today"}],"schema":1}',
    ],
)
def test_lists_of_revoked_keys_are_read_strictly(data: bytes) -> None:
    with pytest.raises(TrustError):
        read_revoked(data)
    assert read_revoked(write_revoked([])) == ()


def test_a_description(keeper: Keeper) -> None:
    keeper.add("a/one@1", "a/one@2")
    described = describe_kept(open_kept(keeper.folder, keeper.root, keeper.memory), now=NOW)
    rows = {row["role"]: row for row in described.pop("roles")}
    assert described == {"num_patches": 1, "num_versions": 2, "num_lists": 1, "num_revoked": 0}
    assert (rows["timestamp"]["days_left"], rows["root"]["num_keys"], rows["targets"]["version"]) == (7, 3, 2)


# ----------------------------------------------------------------------------------------------------------- bins


@pytest.mark.usefixtures("small_lists")
def test_many_versions_are_spread_over_bins(keeper: Keeper) -> None:
    keeper.add("a/one@1", "a/two@1", "a/three@1")
    assert keeper.read().num_lists == 1
    everything = ["a/one@1", "a/two@1", "a/three@1"]
    for number, num_lists in ((5, 5), (24, 17)):
        new = [f"b/patch{number}-{i}@{i + 1}" for i in range(number)]
        everything += new
        assert keeper.add(*new).num_added == number
        found = keeper.read()
        assert found.num_lists == num_lists
        named = {f"{patch_id}@{version}" for patch_id, versions in found.patches.items() for version in versions}
        assert named == set(everything)
    # Withdrawing touches one bin; the registry does not shrink again.
    before = keeper.names()
    keeper.change(remove=[target_path("a/one", 1)])
    assert len(keeper.names() - before) == 2, "one bin and the snapshot"
    assert keeper.read().num_lists == 17
    assert "a/one" not in keeper.read().patches


@pytest.mark.usefixtures("small_lists")
def test_one_more_version_signs_one_bin(keeper: Keeper) -> None:
    keeper.add(*(f"a/patch{i}@1" for i in range(7)))
    before = keeper.names()
    keeper.add("a/one@1")
    assert sorted(name.split(".")[1][:5] for name in keeper.names() - before) == ["bins2", "snaps"]
    assert json.loads((keeper.folder / "metadata" / "timestamp.json").read_bytes())["signed"]["version"] == 3


@pytest.mark.usefixtures("small_lists")
def test_withdrawing_while_growing(keeper: Keeper) -> None:
    keeper.add(*(f"a/patch{i}@1" for i in range(8)))
    new = files(*(f"b/patch{i}@1" for i in range(20)))
    change = keeper.change(remove=[target_path("a/patch3", 1)], add=new)
    assert (change.num_added, change.num_removed) == (20, 1)
    found = keeper.read()
    assert (found.num_lists, len(found.files), "a/patch3" in found.patches) == (17, 27, False)


@pytest.mark.usefixtures("small_lists")
def test_keys_of_bins_are_rotated_with_those_of_targets(keeper: Keeper) -> None:
    keeper.add(*(f"a/patch{i}@1" for i in range(10)))
    new = SigningKey.from_seed(bytes([60]) * 32)
    keeper.rotate(RegistryKeys(ROOT_KEYS, (new,), KEYS.snapshot, KEYS.timestamp), "targets", new)
    assert len(keeper.read().files) == 10
    with pytest.raises(ConfigError, match="targets needs 1"):
        keeper.add("a/more@1")
    keeper.keys = RegistryKeys((), (new,), KEYS.snapshot, KEYS.timestamp)
    keeper.add("a/more@1")
    assert len(keeper.read().files) == 11


# -------------------------------------------------------------------------------------------------- interruptions


class Killed(BaseException):
    pass


@pytest.mark.parametrize("number", range(7))
def test_a_keeper_that_is_killed_goes_on(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    keeper.add("a/one@1")
    keeper.read()
    left = [number]

    def stop(function: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*arguments: Any, **named: Any) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            function(*arguments, **named)

        return wrapped

    with monkeypatch.context() as patch:
        from symbio_lab import codec
        from symbio_lab.marketplace.registry import keeping, writing

        for module in (keeping, signing, writing):
            patch.setattr(module, "write_atomic", stop(codec.write_atomic))
        patch.setattr(keeping, "write_json", stop(codec.write_json))
        try:
            keeper.change(add=files("a/two@1"), revoke=[RevokedKey("ab" * 32, "stolen", NOW)])
        except Killed:
            pass
        else:
            assert number == 6, "every write was stopped once"
    assert list(keeper.read().patches) in (["a/one"], ["a/one", "a/two"])
    keeper.change(add=files("a/two@1", "a/three@1"), revoke=[RevokedKey("ab" * 32, "stolen", NOW)])
    assert list(keeper.read().patches) == ["a/one", "a/three", "a/two"]
    assert len(keeper.read().revoked) == 1


def test_a_full_disk_leaves_the_old_state(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.add("a/one@1")

    def full(*arguments: Any) -> None:
        raise StorageError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(signing, "write_atomic", full)
        with pytest.raises(StorageError):
            keeper.add("a/two@1")
    assert list(keeper.read().patches) == ["a/one"]


def add_from_a_process(folder: Path, root: bytes, memory: Path, number: int) -> None:
    add = files(*(f"p{number}/patch{i}@1" for i in range(3)))
    for path, data in add.items():
        change_registry(folder, root, KEYS, memory=memory, now=NOW, add={path: data})


def test_two_keepers_on_one_machine_take_turns(keeper: Keeper) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=add_from_a_process, args=(keeper.folder, keeper.root, keeper.memory, number))
        for number in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = keeper.read()
    assert len(found.files) == 6
    assert found.versions["timestamp"] == 7


# ---------------------------------------------------------------------------------------------------- time and keys


def test_renewing_signs_what_is_half_over(keeper: Keeper) -> None:
    keeper.add("a/one@1")
    for days, due, signed in (
        (1, (), ("timestamp",)),
        (5, ("timestamp",), ("timestamp",)),
        (16, ("timestamp", "snapshot"), ("snapshot", "timestamp")),
        (100, ("timestamp", "snapshot", "targets"), ("targets", "snapshot", "timestamp")),
        (200, ("root", "timestamp", "snapshot", "targets"), ("root", "targets", "snapshot", "timestamp")),
    ):
        keeper.now = later(NOW, days=days)
        assert due_roles(keeper.folder, keeper.root, memory=keeper.memory, now=keeper.now) == due
        assert keeper.renew().signed == signed
        assert list(keeper.read().patches) == ["a/one"]
    assert keeper.read().versions["root"] == 2


def test_a_machine_that_renews_needs_the_key_of_the_timestamp_only(keeper: Keeper) -> None:
    only = RegistryKeys(timestamp=KEYS.timestamp)
    keeper.now = later(NOW, days=29)
    assert keeper.renew(only).signed == ("timestamp",)
    keeper.read()
    keeper.now = later(NOW, days=30)
    with pytest.raises(ConfigError, match="snapshot needs 1 of its keys, 0 are here"):
        keeper.renew(only)


@pytest.mark.usefixtures("small_lists")
def test_renewing_bins(keeper: Keeper) -> None:
    keeper.add(*(f"a/patch{i}@1" for i in range(10)))
    keeper.now = later(NOW, days=170)
    assert keeper.renew().signed == ("targets", "snapshot", "timestamp")
    keeper.now = later(NOW, days=176)
    assert keeper.read().expires["targets"] == later(NOW, days=350)


def test_all_keys_that_are_lacking_are_named_at_once(keeper: Keeper) -> None:
    keeper.keys = RegistryKeys(targets=(STRANGER,))
    with pytest.raises(ConfigError) as refused:
        keeper.add("a/one@1")
    assert len(refused.value.problems) == 3
    assert keeper.read().versions["timestamp"] == 1


def test_thresholds_of_every_role(tmp_path: Path) -> None:
    second = SigningKey.from_seed(bytes([61]) * 32)
    both = RegistryKeys(ROOT_KEYS, (TARGETS_KEY, second), KEYS.snapshot, KEYS.timestamp)
    root = create_registry(
        tmp_path / "r", both, memory=tmp_path / "m", now=NOW, thresholds=Thresholds(root=3, targets=2)
    )
    where = {"memory": tmp_path / "m", "now": NOW}
    for keys in (KEYS, RegistryKeys((), (TARGETS_KEY, TARGETS_KEY), KEYS.snapshot, KEYS.timestamp)):
        with pytest.raises(ConfigError, match="targets needs 2 of its keys, 1 are here"):
            change_registry(tmp_path / "r", root, keys, add=files("a/one@1"), **where)  # type: ignore[arg-type]
    change_registry(tmp_path / "r", root, both, add=files("a/one@1"), **where)  # type: ignore[arg-type]
    found = read_registry(FolderFiles(tmp_path / "r"), root, tmp_path / "cache", now=NOW)
    assert list(found.patches) == ["a/one"]
    with pytest.raises(ConfigError):
        create_registry(tmp_path / "x", KEYS, memory=tmp_path / "y", now=NOW, thresholds=Thresholds(root=4))


def test_rotating_each_role(keeper: Keeper) -> None:
    keeper.add("a/one@1")
    new = {
        role: SigningKey.from_seed(bytes([70 + i]) * 32) for i, role in enumerate(("targets", "snapshot", "timestamp"))
    }
    keys = KEYS
    for i, (role, key) in enumerate(new.items()):
        keys = RegistryKeys(**{**{r: keys.of(r) for r in ("root", "targets", "snapshot", "timestamp")}, role: (key,)})
        assert keeper.rotate(keys, role, key).signed[0] == "root"
        assert keeper.read().versions["root"] == i + 2
    keeper.keys = keys
    keeper.add("a/two@1")
    assert list(keeper.read().patches) == ["a/one", "a/two"]


def test_rotating_the_root(keeper: Keeper) -> None:
    new = tuple(SigningKey.from_seed(bytes([80 + i]) * 32) for i in range(2))
    with pytest.raises(ConfigError, match="root needs 2 of its keys, 0 are here"):
        keeper.rotate(RegistryKeys(ROOT_KEYS, (), (), KEYS.timestamp), "root", *new, threshold=2)
    with pytest.raises(ConfigError, match="before the change"):
        keeper.rotate(RegistryKeys(new, (), (), KEYS.timestamp), "root", *new, threshold=2)
    assert keeper.read().versions["root"] == 1
    keeper.rotate(RegistryKeys((*ROOT_KEYS[1:], *new), (), (), KEYS.timestamp), "root", *new, threshold=2)
    assert keeper.read().versions["root"] == 2
    # The next root takes two of the new keys.
    with pytest.raises(ConfigError, match="before the change, the role root needs 2"):
        keeper.rotate(RegistryKeys(ROOT_KEYS, (), (), KEYS.timestamp), "root", *ROOT_KEYS)


@pytest.mark.parametrize(
    ("role", "keys", "threshold"), [("mirror", ROOT_KEYS, 1), ("targets", (), 1), ("targets", ROOT_KEYS[:1], 2)]
)
def test_rotations_that_cannot_be(keeper: Keeper, role: str, keys: tuple[SigningKey, ...], threshold: int) -> None:
    with pytest.raises(ConfigError):
        keeper.rotate(KEYS, role, *keys, threshold=threshold)


@pytest.mark.parametrize("days", [(365, 180, 30, 0), (365, 180, 7, 30), (100, 180, 30, 7)])
def test_lifetimes_have_an_order(days: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        Lifetimes(*days)


def test_there_is_no_registry(tmp_path: Path, keeper: Keeper) -> None:
    with pytest.raises(NotFoundError):
        change_registry(tmp_path / "none", keeper.root, KEYS, memory=tmp_path / "m", now=NOW)
    with pytest.raises(NotFoundError):
        read_registry(FolderFiles(tmp_path / "none"), keeper.root, tmp_path / "c", now=NOW)


@pytest.mark.parametrize("text", ["{}", "[]", '{"root": 1}', '{"root": {"version": 1, "text": ""}}'])
def test_a_damaged_memory_is_told(keeper: Keeper, text: str) -> None:
    keeper.memory.write_text(text)
    with pytest.raises(DataError, match="no memory"):
        keeper.add("a/one@1")


def test_without_python_tuf(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "symbio_lab.marketplace.registry.tuf_names", None)
    monkeypatch.delattr("symbio_lab.marketplace.registry.tuf_names", raising=False)
    with pytest.raises(MissingExtraError) as missing:
        signer.require_tuf()
    assert "symbio-lab[registry]" in missing.value.hint


def test_private_keys_are_not_read_from_addresses() -> None:
    signing_key = signer.tuf_signer(TARGETS_KEY)
    assert signing_key.public_key.keyid == TARGETS_KEY.keyid
    signing_key.public_key.verify_signature(signing_key.sign(b"x"), b"x")
    with pytest.raises(NotImplementedError):
        type(signing_key).from_priv_key_uri("file:x", signing_key.public_key)
