"""The catalogue's search: the in-memory search's order and scores, filters, reasons, and what is refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import DataError
from symbio_lab.marketplace.catalogue import approximate, dense
from symbio_lab.marketplace.catalogue.approximate import build_index as build_faiss
from symbio_lab.marketplace.catalogue.embedding import embed_missing, vectors_of
from symbio_lab.marketplace.catalogue.hybrid import Catalogue, vectors_folder
from symbio_lab.marketplace.catalogue.storing import open_catalogue
from symbio_lab.marketplace.catalogue.syncing import sync_market
from symbio_lab.marketplace.catalogue.tantivy_text import update_text_index
from symbio_lab.marketplace.index import IndexEntry, MarketIndex, build_index
from symbio_lab.marketplace.search import search
from symbio_lab.records import SearchQuery
from tests.attacks.market_simulator import ALICE, BASE, EVE, NOW, standard_policy
from tests.unit.marketplace.catalogue_market import (
    LICENCES,
    OTHER_BASE,
    TOPICS,
    MemoryMarket,
    TokenMarket,
    envelope,
    generated,
    letters,
    rules,
)

COUNT = 400
QUERY = SearchQuery(
    "text_classification",
    "please book a hotel and a flight ticket",
    base_digest=BASE,
    labels=("travel_hotel", "travel_flight", "food_pizza"),
)


@pytest.fixture(scope="module")
def market() -> MemoryMarket:
    return generated(COUNT, seed=3, market=TokenMarket())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, market: MemoryMarket) -> Path:
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.db"
    database = open_catalogue(path)
    sync_market(database, market, rules())
    embed_missing(database, vectors_folder(path), letters, "letters", batch=90)
    return path


@pytest.fixture(scope="module")
def index(market: MemoryMarket) -> MarketIndex:
    return build_index(market, standard_policy(), now=NOW)


def queries(count: int) -> list[SearchQuery]:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(count):
        topic = str(rng.choice(list(TOPICS)))
        words = TOPICS[topic].split()
        found.append(
            SearchQuery(
                "text_classification",
                " ".join(rng.choice([*words, "please", "the", "unheard"], size=6).tolist()),
                base_digest=[BASE, OTHER_BASE, None][int(rng.integers(3))],
                labels=tuple(f"{topic}_{word}" for word in rng.choice(words, size=int(rng.integers(3)), replace=False)),
                domain=topic if rng.random() < 0.3 else "",
                licences=(LICENCES[int(rng.integers(3))],) if rng.random() < 0.3 else (),
                max_results=15,
            )
        )
    return found


@pytest.mark.parametrize("embedded", [False, True])
def test_accepted_candidates_are_those_of_the_in_memory_search(path: Path, index: MarketIndex, embedded: bool) -> None:
    catalogue = Catalogue(path, letters, "letters") if embedded else Catalogue(path)
    for query in queries(25):
        expected = [c for c in search(query, [index], letters if embedded else None) if c.problem is None]
        found = [c for c in catalogue.search(query, now=NOW) if c.problem is None]
        assert [(c.ref, c.market) for c in found] == [(c.ref, c.market) for c in expected]
        assert [c.score for c in found] == pytest.approx([c.score for c in expected], abs=2e-6)
        assert [c.manifest for c in found] == [c.manifest for c in expected]


def test_refused_candidates_follow_with_their_problem(path: Path, index: MarketIndex) -> None:
    query = replace(QUERY, max_results=COUNT, base_digest=None)
    expected = {c.ref: c.problem for c in search(query, [index]) if c.problem is not None}
    found = Catalogue(path, letters, "letters").search(query, now=NOW)
    assert {c.ref: c.problem for c in found if c.problem is not None} == expected
    refused = [c.problem is not None for c in found]
    assert refused == sorted(refused)
    # Which is without a manifest has no score.
    assert {c.score for c in found if c.manifest is None} == {0.0}


def test_fusion_orders_and_the_score_stays_a_cosine(path: Path) -> None:
    found = Catalogue(path, letters, "letters").search(QUERY, now=NOW)
    accepted = [c for c in found if c.problem is None]
    asked = "please book a hotel and a flight ticket  food pizza travel flight travel hotel"
    for candidate in accepted:
        a, b = letters([asked, IndexEntry(candidate.ref, "", candidate.manifest).card_text])
        assert candidate.score == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=2e-6)
    # Words and labels count too: the order is not that of the score.
    scores = [c.score for c in accepted]
    assert scores != sorted(scores, reverse=True)
    why = r"fixes [0-3] of 3 labels; text similarity 0\.\d\d; number \d+ by words, \d+ by meaning of \d+"
    assert all(re.fullmatch(why, c.reason) for c in accepted)


def test_a_flood_of_refused_texts_moves_nobody(path: Path, market: MemoryMarket, tmp_path: Path) -> None:
    flooded = tmp_path / "flooded.db"
    database = open_catalogue(flooded)
    both = TokenMarket(envelopes=dict(market.envelopes))
    for number in range(300):
        ref = f"eve/flood-{number}"
        both.envelopes[ref] = envelope(EVE, patch_id=ref, scope=QUERY.text, labels=QUERY.labels)
    sync_market(database, both, rules())
    embed_missing(database, vectors_folder(flooded), letters, "letters")
    for exact_below in (500, 10):
        alone = Catalogue(path, letters, "letters", exact_below=exact_below).search(QUERY, now=NOW)
        among = Catalogue(flooded, letters, "letters", exact_below=exact_below).search(QUERY, now=NOW)
        accepted = [(c.ref, c.score, c.reason) for c in among if c.problem is None]
        assert accepted == [(c.ref, c.score, c.reason) for c in alone if c.problem is None]
        assert sum(c.problem is not None for c in among) == QUERY.max_results


@pytest.mark.parametrize("tantivy", [False, True])
def test_the_best_of_many_are_the_best_of_all(path: Path, tantivy: bool) -> None:
    """Ranking the best by words and meaning only must find nearly what ranking every row finds."""
    if tantivy:
        pytest.importorskip("tantivy")
        update_text_index(open_catalogue(path), vectors_folder(path))
    whole = Catalogue(path, letters, "letters", exact_below=COUNT)
    best = Catalogue(path, letters, "letters", exact_below=0, depth=40, use_tantivy=tantivy)
    hits = wanted = 0
    for query in queries(25):
        expected = [c.ref for c in whole.search(replace(query, max_results=5), now=NOW) if c.problem is None]
        found = best.search(replace(query, max_results=5), now=NOW)
        for candidate in found:
            manifest = candidate.manifest
            assert manifest is None or query.base_digest in (None, manifest.base_digest)
            assert manifest is None or not query.licences or manifest.licence in query.licences
        wanted += len(expected)
        hits += len(set(expected) & {c.ref for c in found if c.problem is None})
    assert hits / wanted > 0.8


FILTERS: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
    "base": ({"base_digest": OTHER_BASE}, lambda m: m.base_digest == OTHER_BASE),
    "task": ({"task_type": "text_generation"}, lambda m: m.task_type == "text_generation"),
    "licence": ({"licences": ("MIT", "Apache-2.0")}, lambda m: m.licence in ("MIT", "Apache-2.0")),
    "size": ({"max_bytes": 2_999}, lambda m: False),
    "unknown": ({"base_digest": "f" * 64}, lambda m: False),
}


@pytest.mark.parametrize("exact_below", [0, 1_000])
@pytest.mark.parametrize("name", FILTERS)
def test_hard_filters(path: Path, index: MarketIndex, name: str, exact_below: int) -> None:
    changes, fits = FILTERS[name]
    query = replace(QUERY, **{"base_digest": None, "max_results": COUNT, **changes})
    found = Catalogue(path, letters, "letters", exact_below=exact_below).search(query, now=NOW)
    assert all(fits(c.manifest) for c in found if c.manifest is not None)
    expected = {
        e.ref
        for e in index.entries
        if e.problem is None and e.manifest is not None and fits(e.manifest) and e.manifest.task_type == query.task_type
    }
    assert {c.ref for c in found if c.problem is None} == expected


def test_labels_can_be_required_and_markets_named(path: Path) -> None:
    catalogue = Catalogue(path)
    found = catalogue.search(replace(QUERY, max_results=COUNT), now=NOW, require_labels=True)
    assert found
    assert all(set(QUERY.labels) & set(c.manifest.labels) for c in found if c.manifest is not None)
    assert catalogue.search(QUERY, now=NOW, markets=["memory://other"]) == []
    assert catalogue.search(QUERY, now=NOW, markets=["memory://market"])
    assert catalogue.search(replace(QUERY, max_results=0), now=NOW) == []


def test_a_row_whose_time_has_come_is_no_candidate(path: Path) -> None:
    assert [c for c in Catalogue(path).search(QUERY, now="2027-01-01T00:00:00Z") if c.problem is None] == []


def test_least_score(path: Path) -> None:
    every = [c for c in Catalogue(path, letters, "letters").search(replace(QUERY, max_results=COUNT), now=NOW)]
    bar = sorted(c.score for c in every if c.problem is None)[-5]
    some = Catalogue(path, letters, "letters").search(replace(QUERY, max_results=COUNT, min_score=bar), now=NOW)
    assert sum(c.problem is None for c in some) == 5


def test_a_vector_is_searched_with_as_it_is(path: Path) -> None:
    text = "pizza recipe restaurant menu"
    (vector,) = letters([text])
    plain = replace(QUERY, text="", labels=())
    found = Catalogue(path, None, "letters").search(plain, now=NOW, vector=3 * vector)
    by_text = Catalogue(path, letters, "letters").search(replace(plain, text=text), now=NOW)
    scores = {c.ref: c.score for c in by_text}
    assert any(c.ref in scores for c in found)
    assert all(c.score == scores[c.ref] for c in found if c.ref in scores and c.problem is None)
    with pytest.raises(DataError, match="numbers"):
        Catalogue(path, None, "letters").search(plain, now=NOW, vector=np.ones(3))
    with pytest.raises(DataError, match="shape"):
        Catalogue(path, lambda texts: np.ones(64), "letters").search(QUERY, now=NOW)


@pytest.mark.parametrize("exact_below", [0, 1_000])
def test_weights_order_too_and_the_reason_says_so(path: Path, exact_below: int) -> None:
    catalogue = Catalogue(path, letters, "letters", exact_below=exact_below)
    before = [c for c in catalogue.search(QUERY, now=NOW) if c.problem is None]
    with catalogue.database.read() as connection:
        digests = {row["ref"]: row["digest"].hex() for row in connection.execute("SELECT ref, digest FROM patches")}
    favoured = before[5].ref
    prior = {digests[c.ref]: -float(rank) for rank, c in enumerate(before)} | {digests[favoured]: 9.0}
    after = [c for c in catalogue.search(QUERY, now=NOW, prior=prior) if c.problem is None]
    places = [c.ref for c in after].index(favoured), [c.ref for c in before].index(favoured)
    assert places[0] < places[1]
    assert "1 by weights" in after[places[0]].reason
    assert after[places[0]].score == before[5].score


def test_another_embedder_has_vectors_of_its_own(path: Path, market: MemoryMarket, tmp_path: Path) -> None:
    database = open_catalogue(tmp_path / "c.db")
    sync_market(database, market, rules())
    folder = vectors_folder(tmp_path / "c.db")
    assert "no embedder" in Catalogue(tmp_path / "c.db", letters, "letters").search(QUERY, now=NOW)[0].reason
    num = embed_missing(database, folder, letters, "letters")
    assert embed_missing(database, folder, letters, "letters") == 0
    assert embed_missing(database, folder, lambda t: letters(t)[:, :20], "short") == num
    assert Catalogue(tmp_path / "c.db", lambda t: letters(t)[:, :20], "short").search(QUERY, now=NOW)
    found = vectors_of(database, folder, "letters")
    assert found is not None
    assert (found[0].num_dims, found[1]) == (64, 0)
    more = TokenMarket(envelopes={**market.envelopes, "alice/one-more": envelope(ALICE, patch_id="alice/one-more")})
    sync_market(database, more, rules())
    with pytest.raises(DataError, match="before"):
        embed_missing(database, folder, lambda t: letters(t)[:, :20], "letters")


def test_the_faiss_index_is_built_used_and_outgrown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    market = generated(900, seed=8, market=TokenMarket())
    path = tmp_path / "catalogue.db"
    database, folder = open_catalogue(path), vectors_folder(path)
    sync_market(database, market, rules())
    embed_missing(database, folder, letters, "letters")
    assert not build_faiss(database, folder, "letters")
    assert build_faiss(database, folder, "letters", least=100)
    assert not build_faiss(database, folder, "letters", least=100)
    asked: list[int] = []
    real = approximate.ApproximateIndex.best

    def counted(self: Any, *arguments: Any, **settings: Any) -> Any:
        asked.append(1)
        return real(self, *arguments, **settings)

    monkeypatch.setattr(approximate.ApproximateIndex, "best", counted)
    monkeypatch.setattr(dense, "SCAN_UP_TO", 0)
    query = replace(QUERY, max_results=10)
    near = Catalogue(path, letters, "letters", exact_below=0)
    found = [c.ref for c in near.search(query, now=NOW) if c.problem is None]
    assert asked
    asked.clear()
    exact = [c.ref for c in near.search(query, now=NOW, exact=True) if c.problem is None]
    assert not asked
    assert len(set(found) & set(exact)) >= 9
    # What came since is found beside the index.
    market.envelopes["alice/new"] = envelope(patch_id="alice/new", scope=QUERY.text, labels=QUERY.labels)
    sync_market(database, market, rules())
    embed_missing(database, folder, letters, "letters")
    assert near.search(query, now=NOW)[0].ref == "alice/new"
    assert asked
    # A lost file is built again, and nothing breaks in between.
    for file in folder.glob("*.faiss"):
        file.unlink()
    assert Catalogue(path, letters, "letters", exact_below=0).search(query, now=NOW)[0].ref == "alice/new"
    assert build_faiss(database, folder, "letters", least=100)


def test_the_tantivy_index_follows_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("tantivy")
    market = generated(300, seed=9, market=TokenMarket())
    path = tmp_path / "catalogue.db"
    database, folder = open_catalogue(path), vectors_folder(path)
    sync_market(database, market, rules())
    accepted = sync_market(database, market, rules()).num_accepted
    assert update_text_index(database, folder) == accepted
    assert update_text_index(database, folder) == 0
    catalogue = Catalogue(path, exact_below=0)
    query = replace(QUERY, text="zebra crossing", labels=(), max_results=3)
    market.envelopes["alice/zebra"] = envelope(patch_id="alice/zebra", scope="zebra crossing")
    sync_market(database, market, rules())
    assert catalogue.search(query, now=NOW)[0].ref == "alice/zebra"  # by SQLite: the index lags behind
    assert update_text_index(database, folder) == 1
    assert catalogue.search(query, now=NOW)[0].ref == "alice/zebra"
    # A row that went is not found, whatever the index holds.
    del market.envelopes["alice/zebra"]
    sync_market(database, market, rules())
    update_text_index(database, folder)
    assert "alice/zebra" not in [c.ref for c in catalogue.search(query, now=NOW)]
    # A lost folder is built again.
    shutil.rmtree(folder)
    assert update_text_index(database, folder) == accepted
    assert Catalogue(path, exact_below=0).search(query, now=NOW)
