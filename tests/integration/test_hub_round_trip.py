"""Patches, evaluations and refusals over a Hub, with the unmodified client library against the loopback Hub."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from symbio_lab.errors import (
    ConfigError,
    DataError,
    NetworkUnavailableError,
    NotFoundError,
    StorageError,
    SymbioError,
    TrustError,
)
from symbio_lab.marketplace.catalogue.judging import MarketRules
from symbio_lab.marketplace.catalogue.storing import open_catalogue
from symbio_lab.marketplace.catalogue.syncing import SyncReport, sync_market
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.hub import HubTransport
from symbio_lab.marketplace.hub_limits import HubLimits
from symbio_lab.marketplace.publish import Published, publish_patch
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.records import Attempt, Candidate, Patch, SearchQuery
from symbio_lab.testing.loopback_hub import Fault, LoopbackHub
from symbio_lab.trust.envelope import ENVELOPE_NAME, MAX_ENVELOPE_BYTES
from symbio_lab.trust.evaluation_statement import EvaluationStatement, sign_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for
from tests.attacks.market_simulator import ALICE, BASE, EVE, EXPIRES, ISSUED, MALLORY, NOW, head_rows, seal

TOKENS = {"alice": "hf_alice", "bob": "hf_bob"}
PATIENT = HubLimits(timeout_s=10.0, deadline_s=60.0, first_wait_s=0.02, max_tries=3, max_wait_s=0.5)
ANY = r".*"
POLICY = policy_for([PublisherKey(ALICE.public_hex, "alice"), PublisherKey(MALLORY.public_hex, "bob", known=True)])


class Place:
    """The loopback Hub, and what a test does on it as one user or another."""

    def __init__(self, hub: LoopbackHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder

    def market(self, user: str | None = "alice", address: str = "hf://alice", **settings: Any) -> HubTransport:
        """Each user has a cache of their own."""
        settings = {
            "limits": PATIENT,
            "cache": self.folder / f"cache-{user}",
            "endpoint": self.hub.endpoint,
            **settings,
        }
        return HubTransport(address, token=TOKENS[user] if user else None, **settings)

    def api(self, user: str = "alice") -> HfApi:
        return HfApi(endpoint=self.hub.endpoint, token=TOKENS[user])

    def publish(
        self, market: HubTransport | None = None, key: SigningKey = ALICE, pull_request: bool = False, **changes: Any
    ) -> Published:
        patch = seal(self.folder / "sealed", **changes)
        return publish_patch(
            patch,
            market or self.market(),
            key,
            store=self.folder / "sealed",
            issued=ISSUED,
            expires=EXPIRES,
            pull_request=pull_request,
        )

    def client(self, market: HubTransport | None = None, policy: TrustPolicy = POLICY) -> MarketplaceClient:
        return MarketplaceClient([market or self.market(None)], policy, self.folder / "verified", NOW)

    def fetch(
        self, ref: str = "alice/travel", market: HubTransport | None = None, policy: TrustPolicy = POLICY
    ) -> tuple[Patch | None, Attempt]:
        client = self.client(market, policy)
        return client.fetch(Candidate(ref, next(iter(client.transports)), None, 1.0, ""))

    def code(self, ref: str = "alice/travel", **settings: Any) -> str:
        patch, attempt = self.fetch(ref, **settings)
        return "accepted" if patch is not None else attempt.code

    def main(self, repo: str = "alice/travel") -> str:
        return str(self.api().model_info(repo).sha)

    def titles(self, repo: str = "alice/travel") -> list[str]:
        return [commit.title for commit in self.api().list_repo_commits(repo)]

    def names(self, repo: str = "alice/travel", revision: str = "main") -> list[str]:
        return sorted(self.api().list_repo_files(repo, revision=revision))

    def sent(self, *methods: str) -> list[str]:
        """Raw paths asked for since the last call, of these methods or of all."""
        found = [path for method, path, _ in self.hub.requests if not methods or method in methods]
        self.hub.requests.clear()
        return found


def evaluation(
    digest: str, key: SigningKey = MALLORY, after_ppm: int = 900_000, patch_id: str = "alice/travel"
) -> bytes:
    statement = EvaluationStatement(
        patch_id=patch_id,
        patch_digest=digest,
        keyid=key.keyid,
        base_digest=BASE,
        suite_digest="5" * 64,
        n=100,
        before_ppm=400_000,
        after_ppm=after_ppm,
        issued=NOW,
        splits={"selection": "6" * 64},
    )
    return sign_evaluation(statement, key)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with LoopbackHub(tmp_path / "hub", users=TOKENS, orgs={"lab": ["alice"]}) as hub:
        yield Place(hub, tmp_path)


def test_a_patch_travels_from_its_publisher_to_a_stranger(place: Place) -> None:
    published = place.publish()
    assert published.ref == "alice/travel@1"
    assert not published.pull_request
    assert place.titles()[0] == "symbio-patch alice/travel@1"
    assert len(place.titles()) == 2  # the Hub's own first commit, and one of ours

    client = place.client()
    (candidate,) = client.search(SearchQuery("text_classification", "book a flight", base_digest=BASE))
    assert candidate.problem is None
    patch, attempt = client.fetch(candidate)
    assert patch is not None
    assert (attempt.status, patch.digest, patch.level) == ("proposed", published.digest, "signed")
    assert {*(file.name for file in patch.manifest.files), ENVELOPE_NAME, ".gitattributes"} == set(place.names())


def test_the_hub_itself_finds_it_by_what_the_card_says(place: Place) -> None:
    place.publish()
    place.api().create_repo("alice/other-model")
    found = place.api().list_models(filter=["symbio-patch", f"base-digest:{BASE[:16]}", "license:apache-2.0"])
    assert [model.id for model in found] == ["alice/travel"]
    info = place.api().model_info("alice/travel")
    assert (info.library_name, info.pipeline_tag) == ("peft", "text-classification")
    assert info.card_data is not None
    assert info.card_data.base_model == "org/base"
    assert place.market(None).list_refs() == ["alice/travel"]


def test_publishing_the_same_bytes_again_changes_nothing(place: Place) -> None:
    published = place.publish()
    before = place.main()
    place.sent()
    folder = place.folder / "sealed" / published.digest
    place.market().publish(folder, published.ref)
    assert place.sent("POST", "PUT", "DELETE") == []
    assert place.main() == before


def test_a_new_version_replaces_the_files_of_the_old_one(place: Place) -> None:
    first = place.publish(head_rows=head_rows())
    place.market().publish_evaluation(first.digest, evaluation(first.digest))
    old = place.main()
    second = place.publish()
    assert second.version == 2
    assert "head_rows.safetensors" in place.names(revision=old)
    assert "head_rows.safetensors" not in place.names()
    # What others said about the old version stays.
    assert place.market(None).read_evaluations(first.digest) == [evaluation(first.digest)]
    assert place.market(None).list_versions("alice/travel") == [1, 2]
    assert place.code("alice/travel@1") == "accepted"
    assert place.code("alice/travel@2") == "accepted"
    assert place.fetch("alice/travel@3")[1].status == "skipped"


def test_a_version_is_found_without_its_tag_and_past_a_moved_one(place: Place) -> None:
    first = place.publish()
    place.publish()
    place.api().delete_tag("alice/travel", tag="v1")
    assert place.code("alice/travel@1") == "accepted"
    place.api().create_tag("alice/travel", tag="v1", revision="main")
    patch, _ = place.fetch("alice/travel@1", market=place.market("bob"))
    assert patch is not None
    assert patch.digest == first.digest


def test_a_published_version_never_changes(place: Place, tmp_path: Path) -> None:
    place.publish()
    other = seal(tmp_path / "other", scope="something else")
    with pytest.raises(DataError, match="published with other bytes"):
        place.market().publish(other.root, "alice/travel@1")
    second = place.publish()
    with pytest.raises(DataError, match="older than version 2"):
        place.market().publish(other.root, "alice/travel@1")
    assert place.titles()[0] == "symbio-patch alice/travel@2"
    # The first version again, as it was: it stands in the history.
    first = place.folder / "sealed"
    same = [p for p in first.iterdir() if p.name not in (second.digest, seal(first).digest)]
    for folder in same:
        place.market().publish(folder, "alice/travel@1")
    assert place.titles()[0] == "symbio-patch alice/travel@2"


def test_what_does_not_belong_is_refused_before_anything_is_sent(place: Place, tmp_path: Path) -> None:
    patch = seal(tmp_path / "sealed")
    place.sent()
    with pytest.raises(TrustError, match="not alice/other"):
        place.market().publish(patch.root, "alice/other")
    with pytest.raises(ConfigError, match="does not belong"):
        place.market(address="hf://lab").publish(patch.root, "alice/travel")
    with pytest.raises(ConfigError, match="never changes"):
        place.market(address=f"hf://alice/travel@{'a' * 40}").publish(patch.root, "alice/travel")
    with pytest.raises(ConfigError, match="offline"):
        place.market(offline=True).publish(patch.root, "alice/travel")
    assert place.sent() == []


def test_a_file_dropped_into_the_repository_is_refused_and_publishing_again_repairs(place: Place) -> None:
    published = place.publish()
    place.hub.tamper("alice/travel", "notes.txt", b"hello")
    assert place.code() == "extra_file"
    place.market().publish(place.folder / "sealed" / published.digest, published.ref)
    assert place.code() == "accepted"


def test_of_two_contents_for_one_version_one_wins(place: Place, tmp_path: Path) -> None:
    place.api().create_repo("alice/travel")
    folders = [seal(tmp_path / f"sealed-{i}", scope=f"content {i}").root for i in range(2)]
    outcomes: list[str] = []
    ready = threading.Barrier(2)

    def run(i: int) -> None:
        market = place.market(cache=tmp_path / f"cache-{i}")
        ready.wait()
        try:
            market.publish(folders[i], "alice/travel@1")
            outcomes.append("published")
        except DataError:
            outcomes.append("told")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["published", "told"]
    assert place.code() == "accepted"
    assert len([title for title in place.titles() if title.startswith("symbio-patch")]) == 1


def test_a_stale_parent_is_read_again_once(place: Place) -> None:
    place.publish()
    place.hub.faults.add(Fault(method="POST", path=r"/commit/main", kind="status", status=412, times=1))
    assert place.publish().version == 2
    place.hub.faults.add(Fault(method="POST", path=r"/commit/main", kind="status", status=412, times=2))
    with pytest.raises(StorageError, match="412"):
        place.publish()


def test_who_may_not_write_proposes(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.publish()
    before = place.main()
    bob = place.market("bob")
    proposed = place.publish(bob)
    assert proposed.pull_request == f"{place.hub.endpoint}/alice/travel/discussions/1"
    assert proposed.pull_request in caplog.text
    assert place.main() == before
    # Proposing it again opens no second one.
    folder = place.folder / "sealed" / proposed.digest
    assert bob.offer(folder, proposed.ref).pull_request == proposed.pull_request
    place.api().merge_pull_request("alice/travel", 1)
    patch, _ = place.fetch()
    assert patch is not None
    assert (patch.digest, patch.manifest.version) == (proposed.digest, 2)


def test_an_owner_may_propose_to_themselves(place: Place) -> None:
    place.publish()
    before = place.main()
    assert place.publish(pull_request=True).pull_request
    assert place.main() == before


def test_without_a_token_nothing_can_be_written(place: Place) -> None:
    published = place.publish()
    for market in (place.market(None), place.market(None, "hf://lab")):
        with pytest.raises(ConfigError) as refused:
            market.publish_evaluation(published.digest, b"{}")
        assert "HF_TOKEN" in refused.value.hint
    with pytest.raises(ConfigError, match=r"namespace|right"):
        place.publish(place.market("bob"), patch_id="alice/new-one")


def test_an_evaluation_by_somebody_else_raises_the_level(place: Place) -> None:
    published = place.publish()
    strict = policy_for(
        [PublisherKey(ALICE.public_hex, "alice"), PublisherKey(MALLORY.public_hex, "bob", known=True)],
        min_level="evaluated",
    )
    assert place.code(policy=strict) == "level_too_low"
    data = evaluation(published.digest)
    offered = place.market("bob").offer_evaluation(published.digest, data)
    assert offered.pull_request
    again = place.market("bob").offer_evaluation(published.digest, data)
    assert again.pull_request == offered.pull_request
    patch, _ = place.fetch(policy=strict)
    assert patch is not None
    assert patch.level == "evaluated"
    (entry,) = place.client(policy=strict).refresh()[0].entries
    assert entry.problem is None
    place.api().merge_pull_request("alice/travel", 1)
    assert place.market(None).read_evaluations(published.digest) == [data]
    assert not place.market("bob").offer_evaluation(published.digest, data).pull_request
    # The evaluation is no file of the patch.
    assert place.code(policy=strict) == "accepted"


def test_evaluations_are_read_by_content_and_bounded(place: Place) -> None:
    published = place.publish()
    market = place.market()
    for number in range(3):
        market.publish_evaluation(published.digest, b"statement %d" % number)
    folder = f"evaluations/{published.digest}"
    place.hub.tamper("alice/travel", f"{folder}/{'0' * 64}.json", b"not what its name says")
    place.hub.tamper("alice/travel", f"{folder}/notes.txt", b"no statement")
    huge = b"x" * 70_000
    place.hub.tamper("alice/travel", f"{folder}/{hashlib.sha256(huge).hexdigest()}.json", huge)
    found = place.market(None).read_evaluations(published.digest)
    assert sorted(found) == [b"statement 0", b"statement 1", b"statement 2"]
    assert found == sorted(found, key=lambda data: hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError):
        market.publish_evaluation(published.digest, huge)
    assert market.read_evaluations("no digest") == []


def test_a_bad_proposal_does_not_hide_the_others(place: Place) -> None:
    published = place.publish()
    place.market("bob").publish_evaluation(published.digest, b"good")
    title = f"symbio-evaluation {published.digest}"
    place.api("bob").create_pull_request("alice/travel", title=title)
    place.hub.faults.add(Fault(method="GET", path=r"refs%2Fpr%2F2", kind="status", status=404, times=9))
    assert place.market(None).read_evaluations(published.digest) == [b"good"]


def test_statements_about_keys_lie_with_their_author(place: Place) -> None:
    keyid = MALLORY.keyid
    bob = place.market("bob", "hf://bob")
    assert bob.offer_evaluation(keyid, b"a voucher").commit
    assert not bob.offer_evaluation(keyid, b"a voucher").commit
    assert f"evaluations/{keyid}/{hashlib.sha256(b'a voucher').hexdigest()}.json" in place.names(
        "bob/symbio-statements"
    )
    assert place.market(None, "hf://bob").read_evaluations(keyid) == [b"a voucher"]
    assert place.market(None, "hf://alice").read_evaluations(keyid) == []
    # An organisation's member writes to the organisation; everybody reads back what they wrote.
    place.market("alice", "hf://lab").publish_evaluation(keyid, b"by the lab")
    assert place.market(None, "hf://lab").read_evaluations(keyid) == [b"by the lab"]
    place.market("bob", "hf://lab").publish_evaluation(keyid, b"by bob, too")
    assert set(place.market("bob", "hf://lab").read_evaluations(keyid)) == {b"by the lab", b"a voucher", b"by bob, too"}
    # The repository of statements is no patch.
    assert place.market(None, "hf://bob").list_refs() == []


def test_addresses_show_what_they_mean(place: Place) -> None:
    place.publish()
    old = place.main()
    place.publish()
    place.publish(place.market("bob", "hf://bob"), MALLORY, patch_id="bob/banking")
    place.api("bob").create_repo("bob/unrelated")
    collection = place.api("bob").create_collection("Best of", namespace="bob")
    place.api("bob").add_collection_item(collection.slug, "alice/travel", "model")
    both = ["alice/travel", "bob/banking"]
    assert place.market(None, "hf://").list_refs() == both
    assert place.market(None, "hf://bob").list_refs() == ["bob/banking"]
    assert place.market(None, "hf://alice/travel").list_refs() == ["alice/travel"]
    shown = place.market(None, f"hf://collections/{collection.slug}")
    assert shown.list_refs() == ["alice/travel"]
    assert place.code(market=shown) == "accepted"
    with pytest.raises(NotFoundError):
        shown.read_manifest("bob/banking")
    with pytest.raises(NotFoundError):
        place.market(None, "hf://alice").read_manifest("bob/banking")
    with pytest.raises(NotFoundError, match="no such repository"):
        place.market(None, "hf://alice/nothing").list_refs()
    pinned = place.market(None, f"hf://alice/travel@{old}")
    assert b'"signatures"' in pinned.read_manifest("alice/travel@1")
    with pytest.raises(NotFoundError):
        pinned.read_manifest("alice/travel@2")
    assert snapshot_digest(place.market(None, "hf://")) == snapshot_digest(place.market("bob", "hf://"))


def test_main_rolled_back_is_refused(place: Place) -> None:
    place.publish()
    old = place.main()
    place.publish()
    assert place.code() == "accepted"
    place.hub.set_branch("alice/travel", "main", old)
    assert place.code() == "rollback"
    (entry,) = place.client().refresh()[0].entries
    assert entry.problem == "rollback"


def test_a_name_that_somebody_else_takes_over_is_refused(place: Place) -> None:
    policy = POLICY.enrol(PublisherKey(EVE.public_hex, "eve"))
    place.publish()
    assert place.code(policy=policy) == "accepted"
    place.api().delete_repo("alice/travel")
    place.publish(key=EVE)
    assert place.code(policy=policy) in ("name_taken", "wrong_patch")


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("adapter_model.safetensors", b"x" * 40, "size_mismatch"),
        ("adapter_config.json", b"{}", "size_mismatch"),
        ("model.pkl", b"x", "forbidden_file"),
        ("run.py", b"x", "forbidden_file"),
        ("extra.txt", b"x", "extra_file"),
        (ENVELOPE_NAME, b"{}", "bad_envelope"),
        (ENVELOPE_NAME, b"x" * (MAX_ENVELOPE_BYTES + 1), "bad_envelope"),
    ],
)
def test_what_a_server_slips_in_is_refused(place: Place, name: str, data: bytes, code: str) -> None:
    place.publish()
    place.hub.tamper("alice/travel", name, data)
    assert place.code() == code
    assert not list((place.folder / "verified").glob("[0-9a-f]*"))


def test_a_repository_without_envelope_is_listed_and_refused(place: Place) -> None:
    place.publish()
    place.api().delete_file(ENVELOPE_NAME, "alice/travel")
    (entry,) = place.client().refresh()[0].entries
    assert entry.problem == "unsigned"
    with pytest.raises(TrustError, match="holds no") as refused:
        place.market(None).read_manifest("alice/travel")
    assert refused.value.code == "unsigned"


def test_too_much_is_refused_before_it_is_downloaded(place: Place, tmp_path: Path) -> None:
    place.publish()
    place.sent()
    with pytest.raises(TrustError) as refused:
        place.market(None).fetch("alice/travel", tmp_path / "into", max_bytes=100)
    assert refused.value.code == "too_large"
    assert not [path for path in place.sent() if "/resolve/" in path]
    assert not (tmp_path / "into").exists()


def test_flipped_bits_are_refused_and_not_kept(place: Place) -> None:
    place.publish()
    place.hub.faults.add(Fault(method="GET", path=r"adapter_model|/lfs|/_cdn|/cdn", kind="bit_flip", times=50))
    assert place.code() == "digest_mismatch"
    place.hub.faults.clear()
    assert place.code() == "accepted"


def test_a_cache_that_holds_other_bytes_is_not_believed(place: Place) -> None:
    place.publish()
    market = place.market(None)
    assert place.code(market=market) == "accepted"
    for blob in place.folder.glob("cache-None/*/files/models--*/blobs/*"):
        data = blob.read_bytes()
        blob.chmod(0o644)
        blob.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert place.code(market=place.market(None)) == "accepted"


def test_endpoints_do_not_share_a_cache(place: Place, tmp_path: Path) -> None:
    place.publish()
    assert place.code() == "accepted"
    elsewhere = place.market(None, endpoint=place.hub.endpoint.replace("127.0.0.1", "localhost"), offline=True)
    with pytest.raises(NetworkUnavailableError):
        elsewhere.list_refs()


def test_an_index_asks_only_for_what_changed(place: Place) -> None:
    for number in range(5):
        place.publish(patch_id=f"alice/patch-{number}")
    client = place.client()
    place.sent()
    client.refresh()
    assert len(place.sent()) <= 1 + 2 * 5
    client.refresh()
    assert len(place.sent()) == 1
    place.publish(patch_id="alice/patch-3")
    place.sent()
    index = client.refresh()[0]
    assert len(place.sent()) <= 3
    assert {entry.ref: entry.manifest.version for entry in index.entries if entry.manifest}["alice/patch-3"] == 2


def test_a_catalogue_reads_only_envelopes_that_changed(place: Place, tmp_path: Path) -> None:
    for number in range(4):
        place.publish(patch_id=f"alice/patch-{number}")
    database, rules = open_catalogue(tmp_path / "catalogue.db"), MarketRules(POLICY, NOW)

    def sync() -> SyncReport:
        return sync_market(database, place.market(None), rules)

    assert (sync().num_read, sync().num_read) == (4, 0)
    place.sent()
    sync()
    assert len(place.sent()) == 1, "one listing"
    place.publish(patch_id="alice/patch-3")
    place.api().delete_repo("alice/patch-0")
    report = sync()
    assert (report.num_read, report.num_removed) == (1, 1)


def test_a_listing_is_bounded(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        place.publish(patch_id=f"alice/patch-{number}")
    assert len(place.market(None, limits=HubLimits(max_patches=2)).list_refs()) == 2
    assert "more than 2 patches" in caplog.text


def test_offline_the_last_state_seen_is_used(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.publish()
    assert place.code() == "accepted"
    place.client().refresh()
    place.sent()
    offline = place.market(None, offline=True)
    assert offline.list_refs() == ["alice/travel"]
    assert place.code(market=offline) == "accepted"
    assert place.sent() == []
    assert "as it was 0 seconds ago" in caplog.text
    with pytest.raises(NetworkUnavailableError, match="offline"):
        place.market(None, "hf://bob", offline=True).list_refs()
    with pytest.raises(NetworkUnavailableError, match="offline"):
        offline.read_manifest("alice/never-read")


def test_the_library_s_own_offline_switch_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish()
    assert place.code() == "accepted"
    place.sent()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert place.code(market=place.market(None)) == "accepted"
    assert place.sent() == []


def test_a_dead_server_is_no_excuse_for_old_bytes(place: Place) -> None:
    place.publish()
    pinned = f"hf://alice/travel@{place.main()}"
    assert place.code() == "accepted"
    assert place.code(market=place.market(None, pinned)) == "accepted"
    place.hub.faults.add(Fault(method=ANY, path=ANY, kind="status", status=503, times=99))
    with pytest.raises(NetworkUnavailableError):
        place.market(None).list_refs()
    with pytest.raises(NetworkUnavailableError):
        place.fetch()
    # A commit is what it is, whoever is asked, or nobody.
    assert place.code(market=place.market(None, pinned)) == "accepted"


FAULTS = {
    "503": Fault(method=ANY, path=ANY, kind="status", status=503, times=999),
    "429 for an hour": Fault(method=ANY, path=ANY, kind="status", status=429, retry_after=3600, times=999),
    "500 on files": Fault(method="GET", path=r"/resolve/", kind="status", status=500, times=999),
    "403 on files": Fault(method=ANY, path=r"/resolve/", kind="status", status=403, times=999),
    "stall": Fault(method=ANY, path=r"/api/", kind="stall", delay_s=1.0, times=999),
    "stall on files": Fault(method=ANY, path=r"/resolve/", kind="stall", delay_s=1.0, times=999),
    "truncate": Fault(method="GET", path=r"/resolve/", kind="truncate", times=999),
    "odd tag": Fault(method=ANY, path=r"/resolve/", kind="header", headers={"ETag": '"odd"'}, times=999),
    "odd commit": Fault(method=ANY, path=r"/resolve/", kind="header", headers={"X-Repo-Commit": "b" * 40}, times=999),
    "odd size": Fault(method=ANY, path=r"/resolve/", kind="header", headers={"X-Linked-Size": "9" * 12}, times=999),
    "led away": Fault(
        method=ANY, path=r"/resolve/", kind="redirect", headers={"Location": "http://10.0.0.1/x"}, times=999
    ),
}
HURRY = HubLimits(timeout_s=0.3, deadline_s=1.2, first_wait_s=0.02, max_tries=3, max_wait_s=0.5)
REFUSED = ("odd tag", "odd commit", "odd size", "led away")


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_ends_in_a_typed_error_in_time(place: Place, name: str) -> None:
    place.publish()
    place.hub.faults.add(FAULTS[name])
    if name in REFUSED:
        assert place.code(market=place.market(None)) == "bad_response"
    else:
        started = time.monotonic()
        with pytest.raises(SymbioError) as refused:
            place.fetch(market=place.market(None, limits=HURRY))
        assert isinstance(refused.value, NetworkUnavailableError | ConfigError | StorageError)
        assert refused.value.hint
        assert time.monotonic() - started < HURRY.deadline_s + 5.0
    assert not list((place.folder / "verified").glob("[0-9a-f]*"))
    place.hub.faults.clear()
    assert place.code(market=place.market(None)) == "accepted"


def test_a_stale_main_is_a_rollback_to_who_saw_more(place: Place) -> None:
    place.publish()
    place.publish()
    assert place.code() == "accepted"
    place.hub.faults.add(Fault(method=ANY, path=ANY, kind="stale_main", times=999))
    assert place.code() == "rollback"


def test_private_and_gated_repositories_say_which_token_is_missing(place: Place) -> None:
    place.publish()
    place.api().update_repo_settings("alice/travel", gated="manual")
    with pytest.raises(ConfigError) as refused:
        place.fetch()
    assert "HF_TOKEN" in refused.value.hint
    place.api().update_repo_settings("alice/travel", gated=False, private=True)
    assert place.fetch()[1].status == "skipped"
    assert place.market(None).list_refs() == []
    with pytest.raises(NotFoundError) as hidden:
        place.market(None, "hf://alice/travel").list_refs()
    assert "HF_TOKEN" in hidden.value.hint
    assert place.code(market=place.market("alice")) == "accepted"


def test_no_token_is_written_anywhere(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="symbio_lab")
    published = place.publish()
    bob = place.market("bob")
    bob.publish_evaluation(published.digest, evaluation(published.digest))
    place.fetch(market=bob)
    said = [caplog.text, repr(bob), str(vars(bob)), json.dumps(published.__class__.__name__)]
    said += [
        path.read_bytes().decode("utf-8", "replace")
        for root in ("cache-alice", "cache-bob", "verified", "sealed")
        for path in (place.folder / root).rglob("*")
        if path.is_file()
    ]
    assert len(said) > 10
    assert not [text for text in said for token in TOKENS.values() if token in text]
