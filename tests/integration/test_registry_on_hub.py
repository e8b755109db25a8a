"""A registry in a Hub repository: uploaded from a folder, read through its resolve addresses, before a Hub market."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tuf")
from huggingface_hub import constants

from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.hub import HubTransport
from symbio_lab.marketplace.hub_commits import HubWriter
from symbio_lab.marketplace.log_entries import gather_entries
from symbio_lab.marketplace.log_proof import check_inclusion
from symbio_lab.marketplace.log_reading import LogReader, verify_log
from symbio_lab.marketplace.log_writing import append_entries
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.marketplace.registry.layout import LOG
from symbio_lab.marketplace.registry.offers import collect_offers
from symbio_lab.marketplace.registry.opening import registry_files
from symbio_lab.marketplace.registry.static_files import below
from symbio_lab.marketplace.registry.transport import RegisteredTransport, behind_registry
from symbio_lab.marketplace.registry.uploading import upload_registry
from symbio_lab.marketplace.transport import CommitTransport
from symbio_lab.records import Candidate
from symbio_lab.testing.loopback_hub import LoopbackHub
from symbio_lab.trust.checkpoint import LogKey
from tests.attacks.market_simulator import ALICE, EXPIRES, ISSUED, NOW, deltas, seal, standard_policy
from tests.attacks.registry_simulator import RegisteredMarket, code_of, later

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")
TOKENS = {"alice": "hf_alice", "bob": "hf_bob"}
ORIGIN = "example.org/alice"


class Place:
    """Alice's patch on the Hub, the registry that she keeps in a folder, and one client."""

    def __init__(self, hub: LoopbackHub, folder: Path) -> None:
        self.hub, self.path = hub, folder
        self.market = HubTransport("hf://alice", endpoint=hub.endpoint, token=TOKENS["alice"], cache=folder / "alice")
        self.kept = RegisteredMarket(folder / "keeper")
        self.publish(1)

    def publish(self, seed: int) -> None:
        store = self.path / "publisher"
        patch = seal(store, deltas=deltas(seed=seed))
        publish_patch(patch, self.market, ALICE, store=store, issued=ISSUED, expires=EXPIRES)

    def register(self) -> None:
        offers = collect_offers(self.market, standard_policy(), now=NOW)
        assert not offers.refused
        self.kept.change(add=offers.accepted)

    def record(self) -> None:
        entries = [entry.to_bytes() for entry in gather_entries(self.market).entries]
        append_entries(self.kept.folder / LOG, entries, ALICE, origin=ORIGIN, memory=self.path / "signed")

    def upload(self, user: str = "alice") -> str:
        hub = HubTransport(
            "hf://alice", endpoint=self.hub.endpoint, token=TOKENS[user], cache=self.path / f"upload-{user}"
        )
        offered = upload_registry(self.kept.folder, "alice", HubWriter(hub.reader))
        return offered.commit or offered.pull_request

    def transport(self, now: str = NOW) -> RegisteredTransport:
        """A client without a token, through the Hub alone."""
        market = HubTransport("hf://alice", endpoint=self.hub.endpoint, cache=self.path / "client")
        files = registry_files("hf://alice", endpoint=self.hub.endpoint)
        return behind_registry(market, files, self.kept.root, self.path / "registry-cache", now)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with LoopbackHub(tmp_path / "hub", users=TOKENS) as hub:
        yield Place(hub, tmp_path)


def test_a_market_and_its_registry_on_one_hub(place: Place, tmp_path: Path) -> None:
    with pytest.raises((NotFoundError, ConfigError)):
        place.transport().refresh()
    place.register()
    assert place.upload()
    assert place.upload() == "", "nothing is new"
    transport = place.transport()
    assert isinstance(transport, CommitTransport), "what a Hub can do, it can do behind its registry"
    assert transport.page("alice/travel") == f"{place.hub.endpoint}/alice/travel"
    assert transport.list_refs() == ["alice/travel"]
    client = MarketplaceClient([transport], standard_policy(), tmp_path / "store", NOW)
    patch, attempt = client.fetch(Candidate("alice/travel", transport.uri, None, 1.0, ""))
    assert patch is not None, attempt
    # A new version waits for the keeper; then one commit makes it known.
    place.publish(2)
    assert code_of(lambda: place.transport().read_manifest("alice/travel@2")) == "unregistered"
    place.register()
    before = len(place.hub.requests)
    assert place.upload()
    commits = [path for method, path, _ in place.hub.requests[before:] if method == "POST" and "/commit/" in path]
    assert len(commits) == 1
    assert place.transport().list_versions("alice/travel") == [1, 2]
    assert code_of(lambda: place.transport(later(NOW, days=8)).list_refs()) == "stale"


def test_a_hub_that_steps_back(place: Place) -> None:
    place.register()
    first = place.upload()
    place.publish(2)
    place.register()
    place.upload()
    assert place.transport().list_versions("alice/travel") == [1, 2]
    place.hub.set_branch("alice/symbio-registry", "main", first)
    assert code_of(place.transport().list_refs) == "rollback"


def test_a_hub_that_changes_a_file(place: Place) -> None:
    place.register()
    place.upload()
    honest = (place.kept.metadata / "2.targets.json").read_bytes()
    place.hub.tamper("alice/symbio-registry", "metadata/2.targets.json", honest.replace(b"travel", b"trevel"))
    assert code_of(place.transport().list_refs) == "mix_and_match"


def test_a_log_on_a_hub(place: Place, tmp_path: Path) -> None:
    place.register()
    place.record()
    place.upload()
    files = below(registry_files("hf://alice", endpoint=place.hub.endpoint), LOG)
    reader = LogReader(files, LogKey(ORIGIN, ALICE.public_key))
    assert verify_log(reader, tmp_path / "seen").checkpoint.size == 1
    digest = gather_entries(place.market).entries[0].digest
    assert check_inclusion(digest, reader).index == 0
    place.publish(2)
    place.record()
    place.upload()
    assert verify_log(reader, tmp_path / "seen").checkpoint.size == 2


def test_somebody_else_can_only_propose(place: Place) -> None:
    place.register()
    place.upload()
    place.publish(2)
    place.register()
    assert "/discussions/" in place.upload("bob")
    assert place.transport().list_versions("alice/travel") == [1]


def test_keys_and_locks_stay_at_home(place: Place) -> None:
    place.register()
    (place.kept.folder / "root-1.json").write_text('{"seed": "secret"}')
    (place.kept.metadata / ".unfinished.tmp").write_text("x")
    place.upload()
    hub = HubTransport("hf://alice", endpoint=place.hub.endpoint, cache=place.path / "look")
    commit = hub.reader.find_commit("alice/symbio-registry")
    names = {file.name for file in hub.reader.list_files("alice/symbio-registry", commit)} - {".gitattributes"}
    assert {name.split("/")[0] for name in names} == {"metadata", "targets"}
    assert not [name for name in names if "unfinished" in name]


def test_nothing_to_upload(place: Place) -> None:
    shutil.rmtree(place.kept.folder)
    with pytest.raises(NotFoundError):
        place.upload()
