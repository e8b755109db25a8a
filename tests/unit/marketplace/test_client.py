"""Client and publishing: every refusal an attempt, every byte counted, every name its key's."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.contribution.standing import newest_of_ours
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.index import build_index
from symbio_lab.marketplace.overlay import OverlayTransport
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.records import ClaimedMetric, Patch, SearchQuery
from symbio_lab.trust.adapter_files import DELTAS_NAME
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload
from symbio_lab.trust.evaluation_statement import EvaluationStatement, sign_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey
from symbio_lab.trust.sealing import process_key
from symbio_lab.trust.verifying import read_verified
from tests.attacks.market_simulator import (
    ALICE,
    BASE,
    EVE,
    EXPIRES,
    ISSUED,
    MALLORY,
    NOW,
    Market,
    deltas,
    seal,
    standard_policy,
)

QUERY = SearchQuery("text_classification", "book a flight", base_digest=BASE)


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


def test_search_then_fetch(market: Market) -> None:
    market.publish()
    client = market.client()
    (candidate,) = client.search(QUERY)
    patch, attempt = client.fetch(candidate)
    assert patch is not None
    assert patch.root.parent == market.store
    assert (attempt.kind, attempt.ref, attempt.status, attempt.code) == ("marketplace", "alice/travel", "proposed", "")
    assert client.explain_empty(replace(QUERY, base_digest="0" * 64)).startswith("none of the 1 patches")


def test_every_byte_is_counted_once(market: Market) -> None:
    folder = market.publish()
    envelope = (folder / "symbio.patch.dsse.json").stat().st_size
    total = sum(path.stat().st_size for path in folder.iterdir())
    client = market.client()
    assert client.bytes_read == 0
    (candidate,) = client.search(QUERY)
    assert client.bytes_read == envelope
    client.search(QUERY)
    assert client.bytes_read == envelope
    client.fetch(candidate)
    assert client.bytes_read == envelope + total


class Counted(DirectoryTransport):
    """A market that notes whose evaluations it was asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []

    def read_evaluations(self, digest: str) -> list[bytes]:
        self.asked.append(digest)
        return super().read_evaluations(digest)


@pytest.mark.parametrize(
    ("rules", "needed"),
    [
        ({}, False),
        ({"min_level": "known_publisher"}, False),
        ({"min_level": "evaluated"}, True),
        ({"refuse_disputed": True}, True),
        ({"licence_levels": {"MIT": "evaluated"}}, True),
    ],
)
def test_an_index_reads_evaluations_only_where_they_can_decide(
    market: Market, rules: dict[str, Any], needed: bool
) -> None:
    market.publish()
    (market.publish(patch_id="alice/broken") / ENVELOPE_NAME).write_bytes(b"{}")
    transport = Counted(market.transport.path)
    index = build_index(transport, standard_policy(**rules), now=NOW)
    digests = {entry.ref: entry.digest for entry in index.entries}
    assert digests["alice/broken"] == ""
    # Never for an entry whose payload cannot be read: it has no digest to ask by.
    assert transport.asked == ([digests["alice/travel"]] if needed else [])


def test_who_follows_the_publisher_is_no_other_evaluator(market: Market, tmp_path: Path) -> None:
    folder = market.publish()
    digest = hashlib.sha256(peek_payload((folder / ENVELOPE_NAME).read_bytes())).hexdigest()
    heir = SigningKey.from_seed(bytes([9]) * 32)
    for key in (heir, MALLORY):
        said = EvaluationStatement(
            "alice/travel", digest, key.keyid, BASE, "5" * 64, 100, 100_000, 900_000, ISSUED, {"test": "6" * 64}
        )
        market.transport.publish_evaluation(digest, sign_evaluation(said, key))
    known = (PublisherKey(MALLORY.public_hex, "mallory", known=True), PublisherKey(heir.public_hex, "heir", known=True))
    market.policy = market.policy.enrol(*known)
    client = market.client()
    (candidate,) = client.search(QUERY)
    assert {found.keyid for found in client.evaluations(candidate)} == {heir.keyid, MALLORY.keyid}
    market.policy = market.policy.succeed(ALICE.keyid, heir.public_hex)
    client = market.client()
    assert [found.keyid for found in client.evaluations(candidate)] == [MALLORY.keyid]


def test_refused_files_cost_bytes_too(market: Market) -> None:
    folder = market.publish()
    data = bytearray((folder / DELTAS_NAME).read_bytes())
    data[-1] ^= 1
    (folder / DELTAS_NAME).write_bytes(data)
    client = market.client()
    patch, attempt = client.fetch(client.search(QUERY)[0])
    assert (patch, attempt.status, attempt.code, attempt.keyid) == (None, "refused", "digest_mismatch", ALICE.keyid)
    assert client.bytes_read > len(data)


def test_withdrawn_since_the_search(market: Market) -> None:
    folder = market.publish()
    client = market.client()
    (candidate,) = client.search(QUERY)
    shutil.rmtree(folder)
    patch, attempt = client.fetch(candidate)
    assert (patch, attempt.status, attempt.code) == (None, "skipped", "not_found")
    assert client.fetch(replace(candidate, market="file://elsewhere"))[1].code == "not_found"


def test_new_offers_show_after_a_refresh(market: Market) -> None:
    client = market.client()
    assert client.search(QUERY) == []
    market.publish()
    assert client.search(QUERY) == []
    client.refresh()
    assert len(client.search(QUERY)) == 1
    client.refresh(now="2030-01-01T00:00:00Z")
    assert client.search(QUERY)[0].problem == "expired"


def test_another_process_remembers_the_version(market: Market) -> None:
    market.publish()
    market.publish(version=2, deltas=deltas(1))
    assert market.code() == "accepted"
    shutil.rmtree(market.folder("alice/travel@2"))
    client = market.client()  # a new client on the same store
    assert client.search(QUERY)[0].problem == "rollback"


def test_several_markets(market: Market, tmp_path: Path) -> None:
    market.publish()
    other = Market(tmp_path / "other")
    other.publish(patch_id="mallory/x", key=MALLORY)
    client = MarketplaceClient([market.transport, other.transport], market.policy, market.store, NOW)
    found = client.search(QUERY)
    assert {(c.ref, c.market) for c in found} == {
        ("alice/travel", market.transport.uri),
        ("mallory/x", other.transport.uri),
    }
    assert all(client.fetch(candidate)[0] is not None for candidate in found)


def test_cards_are_embedded_once(market: Market) -> None:
    market.publish()
    market.publish(patch_id="alice/pizza", scope="pizza")
    calls: list[list[str]] = []

    def embed(texts: list[str]) -> np.ndarray:
        calls.append(texts)
        return np.array([[len(text), 1.0] for text in texts])

    client = market.client(embed=embed)
    first = client.search(QUERY)
    assert client.search(QUERY) == first
    assert [len(call) for call in calls] == [3, 1]


# ------------------------------------------------------------------------------------------------------ publishing


def publish(market: Market, patch: Patch, key: object = ALICE, **changes: object) -> str:
    arguments = {"store": market.store, "issued": ISSUED, "expires": EXPIRES, **changes}
    return publish_patch(patch, market.transport, key, **arguments).ref  # type: ignore[arg-type]


def test_a_self_sealed_patch_is_published_under_a_real_key(market: Market, tmp_path: Path) -> None:
    own = seal(tmp_path / "own", key=None, patch_id="lab/surgery")
    claims = [ClaimedMetric("fix_rate", 1 / 3, 9)]
    published = publish_patch(
        own, market.transport, ALICE, store=market.store, issued=ISSUED, expires=EXPIRES, patch_id="alice/travel",
        licence="MIT", claims=claims,
    )  # fmt: skip
    assert published.ref == "alice/travel@1"
    patch, _ = market.fetch()
    assert patch is not None
    assert (patch.digest, patch.manifest.licence, patch.manifest.claims[0].value) == (published.digest, "MIT", 0.333333)
    assert patch.manifest.lineage == ()
    assert read_verified(patch, DELTAS_NAME) == read_verified(own, DELTAS_NAME)


def test_versions_follow_and_name_the_previous(market: Market, tmp_path: Path) -> None:
    own = seal(tmp_path / "own", key=None)
    assert [publish(market, own), publish(market, own)] == ["alice/travel@1", "alice/travel@2"]
    first, _ = market.fetch("alice/travel@1")
    second, _ = market.fetch("alice/travel@2")
    assert first is not None
    assert second is not None
    assert second.manifest.previous == first.digest


def test_what_came_from_a_market_stays_in_the_lineage(market: Market) -> None:
    market.publish()
    adopted, _ = market.fetch()
    assert adopted is not None
    publish(market, adopted, MALLORY, patch_id="mallory/derived")
    derived, _ = market.fetch("mallory/derived")
    assert derived is not None
    assert derived.manifest.lineage == (adopted.digest,)


def test_a_name_belongs_to_its_key(market: Market) -> None:
    market.publish()
    named = snapshot_digest(market.transport)
    own = seal(market.root / "own", key=None)
    with pytest.raises(TrustError) as refused:
        publish(market, own, EVE)
    assert refused.value.code == "name_taken"
    assert snapshot_digest(market.transport) == named


def test_a_name_passes_to_the_key_that_succeeds_its_own(market: Market) -> None:
    folder = market.publish()
    first = hashlib.sha256(peek_payload((folder / ENVELOPE_NAME).read_bytes())).hexdigest()
    own = seal(market.root / "own", key=None)
    done = publish_patch(
        own, market.transport, EVE, store=market.root / "own", issued=ISSUED, expires=EXPIRES,
        predecessors={ALICE.keyid},
    )  # fmt: skip
    assert done.ref == "alice/travel@2"
    standing = newest_of_ours(market.transport, "alice/travel", EVE)
    assert standing is not None
    assert (standing.digest, standing.manifest.previous) == (done.digest, first)
    # The next key of the line sees what it inherits; the old one and strangers are told that the name is taken.
    inherited = newest_of_ours(market.transport, "alice/travel", MALLORY, {ALICE.keyid, EVE.keyid})
    assert inherited == standing
    for key, predecessors in ((ALICE, ()), (MALLORY, (ALICE.keyid,))):
        with pytest.raises(TrustError) as refused:
            newest_of_ours(market.transport, "alice/travel", key, predecessors)
        assert refused.value.code == "name_taken"
    assert newest_of_ours(market.transport, "alice/other", MALLORY) is None


def test_the_process_key_never_publishes(market: Market) -> None:
    with pytest.raises(TrustError) as refused:
        publish(market, seal(market.root / "own", key=None), process_key())
    assert refused.value.code == "level_too_low"
    assert market.transport.list_refs() == []


def test_a_patch_changed_on_disk_is_not_published(market: Market) -> None:
    own = seal(market.root / "own", key=None)
    (own.root / DELTAS_NAME).write_bytes(b"\0" * (own.root / DELTAS_NAME).stat().st_size)
    with pytest.raises(TrustError) as refused:
        publish(market, own)
    assert refused.value.code == "digest_mismatch"


def test_publishing_into_an_overlay_continues_the_base(market: Market, tmp_path: Path) -> None:
    market.publish()
    overlay = OverlayTransport(market.transport, tmp_path / "cell")
    own = seal(market.root / "own", key=None)
    published = publish_patch(own, overlay, ALICE, store=market.store, issued=ISSUED, expires=EXPIRES)
    assert published.version == 2
    with pytest.raises(NotFoundError):
        market.transport.read_manifest("alice/travel@2")
    client = MarketplaceClient([overlay], market.policy, market.store, NOW)
    patch, _ = client.fetch(client.search(QUERY)[0])
    assert patch is not None
    assert patch.digest == published.digest
