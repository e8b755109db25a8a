"""A registry from its clients' side: stock python-tuf with nothing of ours, our reader, and a market behind it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tuf")
from tuf.ngclient import Updater, UpdaterConfig

from symbio_lab.errors import ConfigError, DataError, NetworkUnavailableError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.registry import reading, registered_lists
from symbio_lab.marketplace.registry.layout import REVOKED_PATH, target_path
from symbio_lab.marketplace.registry.offers import collect_offers, compare_offers
from symbio_lab.marketplace.registry.reading import read_registry
from symbio_lab.marketplace.registry.renewing import renew_registry
from symbio_lab.marketplace.registry.revoked import RevokedKey, read_revoked
from symbio_lab.marketplace.registry.static_files import FolderFiles, HttpFiles
from symbio_lab.marketplace.registry.transport import RegisteredTransport, behind_registry
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.marketplace.transport import CommitTransport, Offered, Transport
from symbio_lab.records import Candidate, PatchManifest
from symbio_lab.trust.envelope import ENVELOPE_NAME
from tests.attacks.market_simulator import EVE, MALLORY, deltas, seal
from tests.attacks.registry_simulator import KEYS, RegisteredMarket, code_of, later
from tests.fixtures_static import Answer, StaticServer, serving

NOW = "2026-06-01T00:00:00Z"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of one patch and one of another, registered in hash bins; one key is revoked."""
    folder = tmp_path_factory.mktemp("registered")
    market = RegisteredMarket(folder)
    market.publish()
    market.publish(version=2, deltas=deltas(seed=1))
    market.publish(patch_id="mallory/banking", key=MALLORY, deltas=deltas(seed=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registered_lists, "MOST_IN_ONE_LIST", 1)
        market.register(revoke=[RevokedKey(EVE.keyid, "stolen", NOW)])
    return folder


@pytest.fixture
def market(tmp_path: Path, template: Path) -> RegisteredMarket:
    shutil.copytree(template, tmp_path / "own")
    return RegisteredMarket(tmp_path / "own")


@pytest.fixture
def server(market: RegisteredMarket) -> Iterator[StaticServer]:
    with serving(market.market.transport.path) as server:
        yield server


# ---------------------------------------------------------------------------------------------------- stock client


def stock_client(folder: Path, url: str, root: bytes, **config: Any) -> Updater:
    for name in ("metadata", "targets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Updater(
        metadata_dir=str(folder / "metadata"),
        metadata_base_url=f"{url}/registry/metadata/",
        target_dir=str(folder / "targets"),
        target_base_url=f"{url}/",
        config=UpdaterConfig(**config),
        bootstrap=root,
    )


@pytest.fixture
def current(market: RegisteredMarket) -> None:
    """Signatures that last beyond today: a stock client looks at the real clock."""
    from datetime import UTC, datetime

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    renew_registry(market.folder, market.root, KEYS, memory=market.memory, now=max(now, NOW))


@pytest.mark.usefixtures("current")
def test_a_stock_client_accepts_our_registry_over_http(
    market: RegisteredMarket, server: StaticServer, tmp_path: Path
) -> None:
    updater = stock_client(tmp_path / "stock", server.url, market.root, prefix_targets_with_hash=False)
    updater.refresh()
    offered = (("alice/travel", 1), ("alice/travel", 2), ("mallory/banking", 1))
    for ref, version in offered:
        target = updater.get_targetinfo(target_path(ref, version))
        assert target is not None
        downloaded = Path(updater.download_target(target)).read_bytes()
        assert downloaded == (market.market.folder(f"{ref}@{version}") / ENVELOPE_NAME).read_bytes()
    assert updater.get_targetinfo(target_path("alice/travel", 3)) is None
    asked = [path for path in server.paths if not path.startswith("/registry/metadata/")]
    assert asked == [f"/{target_path(ref, version)}" for ref, version in offered]


@pytest.mark.usefixtures("current")
@pytest.mark.parametrize("prefix", [True, False])
def test_a_stock_client_reads_the_revoked_keys(
    market: RegisteredMarket, server: StaticServer, tmp_path: Path, prefix: bool
) -> None:
    updater = stock_client(tmp_path / "stock", server.url, market.root, prefix_targets_with_hash=prefix)
    target = updater.get_targetinfo(REVOKED_PATH)
    assert target is not None
    path = updater.download_target(target, target_base_url=f"{server.url}/registry/targets/")
    assert [key.keyid for key in read_revoked(Path(path).read_bytes())] == [EVE.keyid]


def test_a_stock_client_refuses_what_has_expired(
    market: RegisteredMarket, server: StaticServer, tmp_path: Path
) -> None:
    from tuf.api.exceptions import ExpiredMetadataError

    # The registry of the simulator was signed in its own year.
    past = renew_registry(market.folder, market.root, KEYS, memory=market.memory, now="2026-06-02T00:00:00Z")
    assert past.signed == ("timestamp",)
    updater = stock_client(tmp_path / "stock", server.url, market.root)
    updater._trusted_set.reference_time = reading.instant("2026-07-02T00:00:00Z")
    with pytest.raises(ExpiredMetadataError):
        updater.refresh()


# ----------------------------------------------------------------------------------------------------- our reader


def test_reading_over_http_is_reading_the_folder(
    market: RegisteredMarket, server: StaticServer, tmp_path: Path
) -> None:
    files = HttpFiles(f"{server.url}/registry")
    found = read_registry(files, market.root, tmp_path / "cache", now=NOW)
    assert found.files == market.read().files
    assert (found.uri, found.num_lists) == (files.uri, 17)
    assert found.root == market.root
    first = len(server.requests)
    # What did not change is not asked for again: next root, timestamp; the newest root is looked for every time.
    read_registry(files, market.root, tmp_path / "cache", now=NOW)
    assert server.paths[first:] == ["/registry/metadata/2.root.json", "/registry/metadata/timestamp.json"]
    market.publish(version=3, deltas=deltas(seed=3))
    market.register()
    second = len(server.requests)
    assert list(read_registry(files, market.root, tmp_path / "cache", now=NOW).patches["alice/travel"]) == [1, 2, 3]
    assert len(server.requests) - second == 4, "next root, timestamp, snapshot, one bin"


def test_a_registry_that_is_not_there(market: RegisteredMarket, server: StaticServer, tmp_path: Path) -> None:
    for files in (HttpFiles(f"{server.url}/none"), FolderFiles(tmp_path / "none")):
        with pytest.raises(NotFoundError):
            read_registry(files, market.root, tmp_path / "cache", now=NOW)


def test_a_server_that_fails_is_not_a_refusal(market: RegisteredMarket, server: StaticServer, tmp_path: Path) -> None:
    files = HttpFiles(f"{server.url}/registry", deadline_s=0.1)
    server.answers["/registry/metadata/timestamp.json"] = Answer(503, {"Content-Length": "0"})
    with pytest.raises(NetworkUnavailableError):
        read_registry(files, market.root, tmp_path / "cache", now=NOW)
    server.answers["/registry/metadata/timestamp.json"] = Answer(401, {"Content-Length": "0"})
    with pytest.raises(ConfigError):
        read_registry(files, market.root, tmp_path / "cache", now=NOW)
    server.answers["/registry/metadata/timestamp.json"] = Answer(302, {"Location": "http://example.org/"})
    with pytest.raises(TrustError) as refused:
        read_registry(files, market.root, tmp_path / "cache", now=NOW)
    assert refused.value.code == "bad_response"


def test_a_root_that_is_none(market: RegisteredMarket) -> None:
    market.root = b"{}"
    assert market.read_code() == "bad_response"
    market.root = (market.metadata / "timestamp.json").read_bytes()
    assert market.read_code() == "bad_response"


def test_a_cache_that_cannot_be_written(market: RegisteredMarket) -> None:
    market.cache.parent.mkdir(parents=True)
    market.cache.write_text("a file")
    with pytest.raises(StorageError):
        market.read()


def test_a_damaged_cache_is_read_anew(market: RegisteredMarket) -> None:
    honest = market.read().files
    for path in market.cache.rglob("*.json"):
        if path.parent.name != "root_history" and not path.is_symlink():
            path.write_bytes(b"damaged")
    assert market.read().files == honest


def test_the_clock_is_the_callers(market: RegisteredMarket) -> None:
    market.now = "2026-06-07T23:59:59Z"
    assert market.read_code() == "accepted"
    market.now = "2026-06-08T00:00:00Z"
    assert market.read_code() == "stale"
    market.now = "yesterday"
    assert market.read_code() == "bad_manifest"


def test_another_python_tuf_is_told(market: RegisteredMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        _trusted_set = object()

    monkeypatch.setattr(reading, "_updater", lambda *arguments: Other())
    with pytest.raises(ConfigError, match="python-tuf"):
        market.read()


# ------------------------------------------------------------------------------------------- a market behind it


def test_it_is_a_transport(market: RegisteredMarket, tmp_path: Path) -> None:
    transport = market.transport()
    assert isinstance(transport, Transport)
    assert transport.uri == market.market.transport.uri
    assert transport.list_refs() == ["alice/travel", "mallory/banking"]
    assert transport.list_versions("alice/travel") == [1, 2]
    assert transport.read_manifest("alice/travel") == transport.read_manifest("alice/travel@2")
    folder = transport.fetch("alice/travel@1", tmp_path / "into")
    honest = market.market.folder("alice/travel@1")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in honest.iterdir()
    }
    assert snapshot_digest(transport) == snapshot_digest(market.market.transport)
    assert code_of(lambda: transport.fetch("alice/travel", tmp_path / "small", max_bytes=10)) == "too_large"
    for ref in ("../x", "alice", "alice/travel@0"):
        assert code_of(lambda ref=ref: transport.read_manifest(ref)) == "unsafe_name"  # type: ignore[misc]


def test_nothing_is_read_before_it_is_used(market: RegisteredMarket, tmp_path: Path) -> None:
    transport = RegisteredTransport(
        DirectoryTransport(tmp_path / "none"), FolderFiles(tmp_path / "none"), b"", tmp_path / "cache", NOW
    )
    assert not (tmp_path / "cache").exists()
    assert code_of(transport.list_refs) == "bad_response"


class Commits(DirectoryTransport):
    """A folder that answers as a market of commits does."""

    def offer(self, folder: Path, ref: str, *, pull_request: bool = False) -> Offered:
        self.publish(folder, ref)
        return Offered(pull_request="proposed") if pull_request else Offered(commit=ref)

    def offer_evaluation(self, digest: str, data: bytes) -> Offered:
        self.publish_evaluation(digest, data)
        return Offered(commit=digest)

    def front_matter(self, manifest: PatchManifest) -> str:
        return manifest.patch_id

    def page(self, ref: str) -> str:
        return f"page of {ref}"


def test_what_a_market_of_commits_can_do_passes_through(market: RegisteredMarket) -> None:
    files = FolderFiles(market.folder)
    inner = Commits(market.market.transport.path)
    transport = behind_registry(inner, files, market.root, market.cache, NOW)
    assert isinstance(transport, CommitTransport)
    patch = seal(market.market.root / "publisher", version=3)
    assert transport.offer(patch.root, "alice/travel@3", pull_request=True).pull_request == "proposed"
    assert transport.offer_evaluation("ab" * 32, b"{}").commit == "ab" * 32
    assert (transport.front_matter(patch.manifest), transport.page("a/b")) == ("alice/travel", "page of a/b")
    assert transport.list_versions("alice/travel") == [1, 2]
    plain = behind_registry(market.market.transport, files, market.root, market.cache, NOW)
    assert not isinstance(plain, CommitTransport)


def test_statements_pass_through(market: RegisteredMarket) -> None:
    transport = market.transport()
    transport.publish_evaluation("ab" * 32, b"{}")
    assert transport.read_evaluations("ab" * 32) == market.market.transport.read_evaluations("ab" * 32) == [b"{}"]


def test_published_versions_wait_for_the_keeper(market: RegisteredMarket) -> None:
    transport = market.transport()
    transport.publish(seal(market.market.root / "publisher", version=3).root, "alice/travel@3")
    assert transport.list_versions("alice/travel") == [1, 2]
    market.register()
    assert transport.list_versions("alice/travel") == [1, 2], "read once"
    transport.refresh()
    assert transport.list_versions("alice/travel") == [1, 2, 3]


def test_refreshing_fails_closed(market: RegisteredMarket) -> None:
    transport = market.transport()
    assert transport.list_refs()
    assert code_of(lambda: transport.refresh(later(NOW, days=8))) == "stale"
    assert code_of(transport.list_refs) == "stale"


def test_the_client_searches_and_fetches_behind_it(market: RegisteredMarket) -> None:
    transport = market.transport()
    client = MarketplaceClient([transport], market.market.policy, market.market.store, NOW)
    assert [(entry.ref, entry.problem) for index in client.indices for entry in index.entries] == [
        ("alice/travel", None),
        ("mallory/banking", None),
    ]
    patch, attempt = client.fetch(Candidate("alice/travel", transport.uri, None, 1.0, ""))
    assert patch is not None
    assert (patch.manifest.version, attempt.status) == (2, "proposed")


# ----------------------------------------------------------------------------------------------------- its offers


def test_offers_are_what_the_policy_of_the_keeper_accepts(market: RegisteredMarket) -> None:
    market.publish(patch_id="eve/other", key=EVE)
    broken = market.publish(patch_id="alice/broken")
    (broken / ENVELOPE_NAME).write_bytes(b"{}")
    unsigned = market.publish(patch_id="alice/unsigned")
    (unsigned / ENVELOPE_NAME).unlink()
    offers = collect_offers(market.market.transport, market.market.policy, now=NOW)
    assert sorted(offers.accepted) == [
        target_path("alice/travel", 1),
        target_path("alice/travel", 2),
        target_path("mallory/banking", 1),
    ]
    assert {verdict.ref: verdict.code for verdict in offers.refused} == {
        "alice/broken@1": "bad_envelope",
        "alice/unsigned@1": "unsigned",
        "eve/other@1": "unknown_key",
    }
    known = {path: file.sha256 for path, file in market.read().files.items()}
    assert collect_offers(market.market.transport, market.market.policy, now=NOW, known=known).accepted == {}


def test_offers_by_name(market: RegisteredMarket) -> None:
    def paths(*refs: str) -> list[str]:
        return sorted(collect_offers(market.market.transport, market.market.policy, now=NOW, refs=refs).accepted)

    assert paths("alice/travel@1") == [target_path("alice/travel", 1)]
    assert paths("alice/travel") == [target_path("alice/travel", 1), target_path("alice/travel", 2)]
    with pytest.raises(NotFoundError):
        paths("alice/travel@9")
    with pytest.raises(TrustError):
        paths("../x")


class OnlyTheProtocol:
    """A market that cannot list versions."""

    def __init__(self, inner: DirectoryTransport) -> None:
        self.inner, self.asked = inner, 0

    def list_refs(self) -> list[str]:
        return self.inner.list_refs()

    def read_manifest(self, ref: str) -> bytes:
        self.asked += 1
        return self.inner.read_manifest(ref)


def test_offers_of_a_market_that_cannot_list_versions(market: RegisteredMarket) -> None:
    market.publish(patch_id="alice/late", version=4)
    market.publish(patch_id="alice/far", version=900_000_000)
    transport: Any = OnlyTheProtocol(market.market.transport)
    offers = collect_offers(transport, market.market.policy, now=NOW)
    assert {path.split("/")[2] + path.split("/")[3] for path in offers.accepted} == {
        "travelv1",
        "travelv2",
        "bankingv1",
        "latev4",
        "farv900000000",
    }
    assert transport.asked < 1_100, "a number that a publisher wrote keeps nobody busy"


def test_comparing_a_market_with_its_registry(market: RegisteredMarket) -> None:
    market.publish(patch_id="alice/new")
    shutil.rmtree(market.market.folder("mallory/banking@1"))
    old, new = market.market.folder("alice/travel@1"), market.market.folder("alice/travel@2")
    shutil.copy(old / ENVELOPE_NAME, new / ENVELOPE_NAME)
    verdicts = {verdict.ref: verdict.code for verdict in compare_offers(market.market.transport, market.read())}
    assert verdicts == {
        "alice/new@1": "unregistered",
        "alice/travel@1": "",
        "alice/travel@2": "mix_and_match",
        "mallory/banking@1": "mix_and_match",
    }


def test_metadata_are_plain_json_with_our_keyids(market: RegisteredMarket) -> None:
    root = json.loads(market.root)["signed"]
    assert set(root["keys"]) == {
        key.keyid for role in ("root", "targets", "snapshot", "timestamp") for key in KEYS.of(role)
    }
    assert root["roles"]["root"]["threshold"] == 2
    with pytest.raises(DataError):
        market.change(add={target_path("alice/travel", 1): b"other"})
