"""Search: filters, scores, order, reasons, and what is refused in plain sight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import DataError
from symbio_lab.marketplace.index import MarketIndex, build_index
from symbio_lab.marketplace.lexical import lexical_scores
from symbio_lab.marketplace.search import explain_empty, search
from symbio_lab.records import SearchQuery
from symbio_lab.trust.envelope import ENVELOPE_NAME
from tests.attacks.market_simulator import BASE, EVE, NOW, Market, standard_policy

QUERY = SearchQuery(
    "text_classification", "please book me a flight", base_digest=BASE, labels=("book_flight", "book_hotel", "visa")
)


def embed(texts: list[str]) -> np.ndarray:
    """Count letters: deterministic, and similar for similar texts."""
    return np.array([[text.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], float)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    market = Market(tmp_path_factory.mktemp("search"))
    market.publish()
    market.publish(patch_id="alice/pizza", title="Food", scope="order pizza", labels=("order_pizza",), domain="food")
    market.publish(patch_id="alice/other-base", base_digest="c" * 64)
    market.publish(patch_id="alice/generation", task_type="text_generation")
    market.publish(patch_id="alice/mit", licence="MIT", scope="book a flight", labels=("book_flight",))
    market.publish(patch_id="eve/stranger", key=EVE)
    return market


@pytest.fixture(scope="module")
def index(market: Market) -> MarketIndex:
    return build_index(market.transport, market.policy, now=NOW)


def refs(index: MarketIndex, query: SearchQuery = QUERY, **settings: Any) -> list[str]:
    return [candidate.ref for candidate in search(query, [index], **settings)]


def test_hard_filters(index: MarketIndex) -> None:
    assert set(refs(index)) == {"alice/travel", "alice/pizza", "alice/mit", "eve/stranger"}
    assert refs(index, replace(QUERY, base_digest="c" * 64)) == ["alice/other-base"]
    assert "alice/other-base" in refs(index, replace(QUERY, base_digest=None))
    assert refs(index, replace(QUERY, task_type="text_generation")) == ["alice/generation"]
    assert refs(index, replace(QUERY, licences=("MIT",))) == ["alice/mit"]
    assert refs(index, replace(QUERY, max_bytes=10)) == []


def test_scores_are_cosines_and_fusion_only_orders(index: MarketIndex) -> None:
    found = search(QUERY, [index], embed)
    asked = "please book me a flight book flight book hotel visa"
    for candidate in found:
        entry = next(e for e in index.entries if e.ref == candidate.ref)
        a, b = embed([asked, entry.card_text])
        assert candidate.score == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found[0].ref == "alice/travel"
    assert found[0].reason == f"fixes 2 of 3 labels; text similarity {found[0].score:.2f}"


def test_without_an_embedder_the_reason_says_so(index: MarketIndex) -> None:
    found = search(QUERY, [index])
    assert "word match (no embedder)" in found[0].reason
    assert all(0 <= candidate.score <= 1 for candidate in found)
    assert [c.ref for c in found if c.problem is None][-1] == "alice/pizza"


def test_without_labels_the_reason_does_not_count_them(index: MarketIndex) -> None:
    assert search(replace(QUERY, labels=()), [index])[0].reason.startswith("word match")


def test_order_does_not_depend_on_the_order_of_entries(index: MarketIndex) -> None:
    turned = MarketIndex(index.market, tuple(reversed(index.entries)))
    for embedder in (None, embed):
        assert search(QUERY, [index], embedder) == search(QUERY, [turned], embedder)


def test_min_score_and_max_results(index: MarketIndex) -> None:
    found = search(QUERY, [index], embed)
    floor = found[0].score
    assert all(c.score >= floor for c in search(replace(QUERY, min_score=floor), [index], embed))
    assert [c.ref for c in search(replace(QUERY, max_results=1), [index], embed) if c.problem is None] == [found[0].ref]
    assert search(replace(QUERY, max_results=0), [index]) == []


def test_refused_ones_come_last_with_their_code(index: MarketIndex) -> None:
    last = search(QUERY, [index], embed)[-1]
    assert (last.ref, last.problem) == ("eve/stranger", "unknown_key")
    assert last.manifest is not None


def test_unreadable_manifests_are_kept(tmp_path: Path) -> None:
    market = Market(tmp_path)
    (market.publish() / ENVELOPE_NAME).write_bytes(b"{")
    (market.publish(patch_id="alice/none") / ENVELOPE_NAME).unlink()
    index = build_index(market.transport, market.policy, now=NOW)
    found = search(replace(QUERY, min_score=0.9), [index], embed)
    assert {(c.ref, c.problem, c.manifest) for c in found} == {
        ("alice/travel", "bad_envelope", None),
        ("alice/none", "unsigned", None),
    }
    assert "can be read" in explain_empty(QUERY, [index])


def test_expired_and_revoked_are_marked(market: Market) -> None:
    late = build_index(market.transport, market.policy, now="2030-01-01T00:00:00Z")
    assert {c.problem for c in search(QUERY, [late])} == {"expired", "unknown_key"}
    narrow = standard_policy(licences=frozenset({"MIT"}))
    wide = build_index(market.transport, market.policy, now=NOW)
    problems = {c.ref: c.problem for c in search(QUERY, [wide], None, narrow)}
    assert (problems["alice/mit"], problems["alice/travel"]) == (None, "licence")


def test_reasons_for_an_empty_list(index: MarketIndex) -> None:
    nobody = replace(QUERY, base_digest="0" * 64)
    assert refs(index, nobody) == []
    assert explain_empty(nobody, [index]) == (
        "none of the 6 patches is for base 0000000000000000...; they serve 2 other(s)"
    )
    assert explain_empty(QUERY, []) == "the markets hold no patch"
    assert "licence" in explain_empty(replace(QUERY, licences=("GPL-3.0",)), [index])
    assert "min_score" in explain_empty(replace(QUERY, min_score=0.99), [index])
    only = MarketIndex("m", tuple(e for e in index.entries if e.ref == "alice/travel"))
    assert "text_generation" in explain_empty(replace(QUERY, task_type="text_generation"), [only])


def test_a_broken_embedder_is_reported(index: MarketIndex) -> None:
    with pytest.raises(DataError, match="shape"):
        search(QUERY, [index], lambda texts: np.zeros((1, 3)))
    assert all(c.score == 0 for c in search(QUERY, [index], lambda texts: np.zeros((len(texts), 3))))


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=5))
def test_word_scores_stay_in_range(query: str, documents: list[str]) -> None:
    scores = lexical_scores(query, documents)
    assert len(scores) == len(documents)
    assert all(0 <= score <= 1 for score in scores)


def test_bm25_by_hand() -> None:
    # One of two documents of equal length has the word once: idf = ln 2, saturation 2.2 / (1 + 1.2), ceiling 2.2.
    assert lexical_scores("a", ["a b", "c d"]) == pytest.approx([1 / 2.2, 0])
    assert lexical_scores("", ["a"]) == [0.0]
    assert lexical_scores("a a", ["a b", "c d"]) == lexical_scores("A", ["a b", "c d"])
