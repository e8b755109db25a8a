"""One ranking from words, meaning, labels and weights, by the rule of the in-memory search, with its reasons.

Rules:
    1. Order is reciprocal rank fusion (k = 60) of the rankings; equal scores share the better rank; ties break by
       reference, then market. This is ``marketplace/search.py``'s rule, and the two are tested against each other.
    2. ``score`` is the cosine of query and card, clipped to [0, 1]; where there are no vectors it is the word match.
       Fusion only orders.
    3. The word match is ``lexical.lexical_scores``, with the statistics of the cards handed over.
    4. Where only the best rows of a large catalogue are ranked, a row has the rank that it has among all: its place in
       the list that found it, the middle of the rest for a list that did not, and by labels the true rank.
    5. A prior (``weight_prior.py``) is one more ranking. A row without one takes the middle rank: not knowing speaks
       neither for nor against it.

References:
    Cormack, Clarke and Buettcher (2009), "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning
    Methods", section 2.
    Differs from the paper: equal scores share a rank; a row that a ranking does not know gets its middle rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from symbio_lab.marketplace.lexical import K1, B
from symbio_lab.marketplace.search import RRF_K


class CardRow(NamedTuple):
    """What ranking needs of one row."""

    row_id: int
    ref: str
    market: str
    words: str
    """Words of its card, one space between them."""
    labels: frozenset[str]
    readable: bool = True
    """Whether there is a manifest."""


@dataclass(frozen=True, slots=True)
class WordStatistics:
    """What BM25 needs to know of all cards."""

    num_cards: int
    mean_length: float
    """Words a card, on average."""
    containing: Mapping[str, int]
    """Cards that hold each word of the query."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """What is known of the rows that were not chosen for ranking."""

    listed: Mapping[str, Collection[int]]
    """Ranking -> rows of its own list: the best by this ranking of all rows that fit."""
    num_fitting: int
    """Rows that fit, about."""
    label_rank: Callable[[int], int]
    """Number of labels claimed -> rank among all rows."""

    def rank(self, name: str) -> int:
        """Return the rank of a row that is not in a ranking's list: the middle of all that are not."""
        listed = len(self.listed.get(name, ()))
        return listed + 1 + max(0, self.num_fitting - listed) // 2


@dataclass(frozen=True, slots=True)
class Ranked:
    """One row in its place."""

    row: CardRow
    score: float
    """In [0, 1]."""
    num_labels: int
    """Labels asked for that it claims to fix."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Ranking -> rank, 1 is best."""
    num_ranked: int = 0
    """Rows that it was ranked among."""


def statistics_of(cards: Sequence[str], asked: Sequence[str]) -> WordStatistics:
    """Return the statistics of these cards alone, for the words asked for."""
    wanted = set(asked)
    containing = dict.fromkeys(wanted, 0)
    total = 0
    for card in cards:
        words = card.split()
        total += len(words)
        for word in wanted.intersection(words):
            containing[word] += 1
    return WordStatistics(len(cards), total / len(cards) if total else 1.0, containing)


def word_scores(asked: Sequence[str], cards: Sequence[str], statistics: WordStatistics) -> list[float]:
    """Return the scaled BM25 score of each card, in [0, 1]; see ``lexical.lexical_scores``.

    >>> cards = ["flight booking travel", "pizza", "flight"]
    >>> asked = ["book", "a", "flight"]
    >>> [round(s, 2) for s in word_scores(asked, cards, statistics_of(cards, asked))]
    [0.03, 0.0, 0.06]
    """
    num = statistics.num_cards
    idf = {
        word: math.log(
            1 + (num - statistics.containing.get(word, 0) + 0.5) / (statistics.containing.get(word, 0) + 0.5)
        )
        for word in sorted(set(asked))
    }
    ceiling = sum(idf.values()) * (K1 + 1)
    if ceiling == 0:
        return [0.0] * len(cards)
    scores = []
    for card in cards:
        words = card.split()
        found = [word for word in words if word in idf]
        if not found:
            scores.append(0.0)
            continue
        norm = K1 * (1 - B + B * len(words) / statistics.mean_length)
        score = 0.0
        # In one order for every card, so that equal cards score equally to the last bit.
        for word in sorted(set(found)):
            count = found.count(word)
            score += idf[word] * count * (K1 + 1) / (count + norm)
        scores.append(score / ceiling)
    return scores


def rank_rows(
    rows: Sequence[CardRow],
    asked: Sequence[str],
    labels: frozenset[str],
    *,
    statistics: WordStatistics | None = None,
    cosines: Mapping[int, float] | None = None,
    prior: Mapping[int, float] | None = None,
    beyond: Beyond | None = None,
    least_score: float = 0.0,
    most: int | None = None,
) -> list[Ranked]:
    """Return the rows in order, best first.

    Args:
        rows: what to rank.
        asked: words of the query.
        labels: labels asked for.
        statistics: of the words; None takes those of ``rows`` alone.
        cosines: row number -> cosine of query and card; a row that lacks has 0. None ranks by words and labels only.
        prior: row number -> signal of the weights, more is better; rows that lack one take the middle rank.
        beyond: what is known of the rows that fit and are not handed over; None where these are all.
        least_score: rows below it are left out after ranking, but for those without a manifest, which have no score.
        most: rows to return, at most; None returns all.
    """
    cards = [row.words for row in rows]
    lexical = word_scores(asked, cards, statistics or statistics_of(cards, asked))
    overlaps = [float(len(labels & row.labels)) for row in rows]
    rankings: dict[str, list[int]] = {"words": ranks_of(lexical), "labels": ranks_of(overlaps)}
    scores = lexical
    row_ids = [row.row_id for row in rows]
    if cosines is not None:
        scores = [min(1.0, max(0.0, cosines.get(row.row_id, 0.0))) for row in rows]
        rankings["meaning"] = ranks_of(scores)
    if prior is not None:
        rankings["weights"] = _ranks_with_gaps([prior.get(row.row_id) for row in rows])
    if beyond is not None:
        rankings["labels"] = [beyond.label_rank(int(overlap)) for overlap in overlaps]
        for name in beyond.listed:
            rankings[name] = _ranks_in_list(beyond, name, row_ids, lexical if name == "words" else scores)
    fused = [sum(1.0 / (RRF_K + rank) for rank in ranks) for ranks in zip(*rankings.values(), strict=True)]
    order = sorted(range(len(rows)), key=lambda i: (-fused[i], rows[i].ref, rows[i].market))
    kept = [i for i in order if scores[i] >= least_score or not rows[i].readable][:most]
    return [
        Ranked(rows[i], scores[i], int(overlaps[i]), {name: ranks[i] for name, ranks in rankings.items()}, len(rows))
        for i in kept
    ]


def ranks_of(scores: Sequence[float]) -> list[int]:
    """Return each score's rank, 1 for the highest; equal scores share the better rank.

    >>> ranks_of([0.2, 0.9, 0.2])
    [2, 1, 2]
    """
    first: dict[float, int] = {}
    for rank, score in enumerate(sorted(scores, reverse=True), start=1):
        first.setdefault(score, rank)
    return [first[score] for score in scores]


def reason_for(ranked: Ranked, num_labels: int, *, weighed: bool = False) -> str:
    """Return why a row is where it is, in one line.

    Args:
        ranked: the row.
        num_labels: labels asked for.
        weighed: whether the prior of its weights is known.
    """
    fixes = f"fixes {ranked.num_labels} of {num_labels} labels; " if num_labels else ""
    embedded = "meaning" in ranked.ranks
    measure = "text similarity" if embedded else "word match (no embedder)"
    places = [f"{ranked.ranks['words']} by words"]
    if embedded:
        places.append(f"{ranked.ranks['meaning']} by meaning")
    if weighed:
        places.append(f"{ranked.ranks['weights']} by weights")
    return f"{fixes}{measure} {ranked.score:.2f}; number {', '.join(places)} of {ranked.num_ranked}"


def _ranks_in_list(beyond: Beyond, name: str, row_ids: Sequence[int], scores: Sequence[float]) -> list[int]:
    """Rank the rows of a list among themselves; the others stand somewhere behind it."""
    listed, outside = beyond.listed[name], beyond.rank(name)
    ranks = iter(ranks_of([score for row_id, score in zip(row_ids, scores, strict=True) if row_id in listed]))
    return [next(ranks) if row_id in listed else outside for row_id in row_ids]


def _ranks_with_gaps(values: Sequence[float | None]) -> list[int]:
    known = [value for value in values if value is not None]
    ranks = iter(ranks_of(known))
    middle = (len(known) + 2) // 2
    return [middle if value is None else next(ranks) for value in values]
