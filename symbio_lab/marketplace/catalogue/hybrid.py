"""The catalogue's search: rows that fit, the best of them by words and by meaning, fused, with the reasons.

Rules:
    1. Where at most ``EXACT_BELOW`` rows fit, all of them are ranked, exactly as ``marketplace/search.py`` ranks a
       market. Where more do, the ``DEPTH`` best by words and by meaning are ranked among themselves by the same rule,
       with the statistics of all accepted cards.
    2. What the trust rules refuse follows the candidates, with its problem. It is ranked by words only, among its own
       kind: no text of it is embedded, and none counts in the statistics above.
    3. An accepted row whose time has come is no candidate any more, synced or not; from the next sync on it is shown
       as refused.
    4. Nothing is written and no market is asked: a search works offline and sees one state of the catalogue.

Differences from ``marketplace/search.py``, besides rule 1: refused rows are ranked without an embedder, so their
``score`` is the word match; a reason also says the ranks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError
from symbio_lab.marketplace.catalogue.dense import FEW, DenseIndex, best_by_vector, unit
from symbio_lab.marketplace.catalogue.filtering import (
    Filter,
    accepted_filter,
    count_fitting,
    refused_filter,
    unreadable_filter,
)
from symbio_lab.marketplace.catalogue.fusing import Beyond, Ranked, WordStatistics, rank_rows, reason_for
from symbio_lab.marketplace.catalogue.label_search import match_labels
from symbio_lab.marketplace.catalogue.pruning import Floats
from symbio_lab.marketplace.catalogue.reading import (
    CandidateReader,
    card_rows,
    first_rows,
    prior_of_rows,
    rows_with_prior,
)
from symbio_lab.marketplace.catalogue.schema import ACCEPTED, REFUSED
from symbio_lab.marketplace.catalogue.storing import open_catalogue
from symbio_lab.marketplace.catalogue.tantivy_text import TantivyText
from symbio_lab.marketplace.catalogue.text_search import base_share, best_by_words, word_counts
from symbio_lab.marketplace.lexical import words
from symbio_lab.marketplace.search import Embedder
from symbio_lab.records import Candidate, SearchQuery
from symbio_lab.store.kept_reader import KeptReader

EXACT_BELOW = 500
"""Fitting rows up to which all are ranked."""
MOST_REFUSED = 40
"""Refused rows up to which all are ranked; beyond, those that match best by words."""
REFUSED_BUDGET = 200
"""Refused rows that a search may score: they are shown, not chosen from."""
DEPTH = 64
"""Best rows by words, and by meaning, that are ranked where more fit."""


def vectors_folder(path: Path) -> Path:
    """Return the folder of vectors and other derived files beside a catalogue.

    >>> vectors_folder(Path("home/catalogue.db")).name
    'catalogue.vectors'
    """
    return path.with_name(f"{path.stem}.vectors")


@dataclass(frozen=True, slots=True)
class _Sought:
    """A query, taken apart."""

    asked: list[str]
    labels: frozenset[str]
    meaning: Floats | None
    prior: Mapping[str, float]
    least_score: float
    most: int
    exact: bool


class Catalogue:
    """One catalogue, opened for searching; mapped files and manifests are kept between searches."""

    def __init__(
        self,
        path: Path,
        embed: Embedder | None = None,
        embedder: str = "",
        *,
        exact_below: int = EXACT_BELOW,
        depth: int = DEPTH,
        use_tantivy: bool = True,
    ) -> None:
        """Name the catalogue; nothing is read.

        Args:
            path: the database, such as ``settings.home / "catalogue.db"``.
            embed: N texts -> (N, D); None searches by words, unless a search brings its own vector.
            embedder: name of the embedder whose vectors are searched; empty searches by words only.
            exact_below: fitting rows up to which all are ranked.
            depth: best rows by words, and by meaning, that are ranked where more fit.
            use_tantivy: whether a tantivy index is asked where there is one.
        """
        self.database = open_catalogue(path)
        self.folder = vectors_folder(path)
        self.embedder = embedder
        self._embed = embed
        self._exact_below, self._depth = exact_below, depth
        self._dense = DenseIndex(self.folder, embedder) if embedder else None
        self._tantivy = TantivyText(self.folder) if use_tantivy else None
        self._reader = CandidateReader()
        self._connections = KeptReader(self.database)

    def search(
        self,
        query: SearchQuery,
        *,
        now: str,
        vector: NDArray[np.floating] | None = None,
        prior: Mapping[str, float] | None = None,
        markets: Sequence[str] = (),
        require_labels: bool = False,
        exact: bool = False,
    ) -> list[Candidate]:
        """Return the candidates of ``query``, best first, then those already known to be refused.

        Args:
            query: what a patch must satisfy; ``max_results`` bounds each of the two groups.
            now: UTC time, ISO-8601, ends in ``Z``.
            vector: meaning to search for, (D,), made by the catalogue's embedder; None embeds the query's words.
            prior: payload digest (64 hex) -> signal of the weights, more is better (``weight_prior.py``).
            markets: URIs to search; empty searches all.
            require_labels: only patches that claim at least one of the query's labels.
            exact: rank by exact vectors whatever it costs.

        Raises:
            DataError: the embedder or ``vector`` has other dimensions than the catalogue's vectors.
            StorageError: the catalogue cannot be read.
        """
        most = max(0, query.max_results)
        if not most:
            return []
        wished = frozenset(label for label in query.labels if label)
        asked = " ".join([query.text, query.domain, *(label.replace("_", " ") for label in sorted(wished))]).strip()
        with self._connections.read() as connection:
            wanted = accepted_filter(connection, query, now=now, markets=markets, require_labels=require_labels)
            meaning = self._meaning(connection, asked, vector)
            sought = _Sought(words(asked), wished, meaning, prior or {}, query.min_score, most, exact)
            found = self._accepted(connection, wanted, sought)
            refused = refused_filter(connection, query, markets=markets, require_labels=require_labels)
            unread = first_rows(connection, unreadable_filter(connection, query, markets=markets), most)
            found += self._refused(connection, refused, unread, sought)
            known = prior_of_rows(connection, [ranked.row.row_id for ranked in found], prior)

            def reason(ranked: Ranked) -> str:
                return reason_for(ranked, len(wished), weighed=ranked.row.row_id in known)

            return self._reader.candidates(connection, found, reason)

    def _meaning(
        self, connection: sqlite3.Connection, asked: str, vector: NDArray[np.floating] | None
    ) -> Floats | None:
        """Return the query's unit vector; None where the search goes by words only."""
        mapped = self._dense.mapped(connection) if self._dense is not None else None
        if mapped is None or (vector is None and self._embed is None):
            return None
        if vector is None and self._embed is not None:
            embedded = np.asarray(self._embed([asked]))
            if embedded.ndim != 2 or len(embedded) != 1:
                raise DataError(f"the embedder returned shape {embedded.shape} for 1 text")
            vector = embedded[0]
        found = np.asarray(vector)
        if found.shape != (mapped.described.num_dims,):
            raise DataError(
                f"the query has shape {found.shape}, the catalogue's vectors {mapped.described.num_dims} numbers",
                hint="search with the embedder that the catalogue was synced with",
            )
        return unit(found)

    def _accepted(self, connection: sqlite3.Connection, wanted: Filter, sought: _Sought) -> list[Ranked]:
        statistics = beyond = None
        if count_fitting(connection, wanted, self._exact_below) <= self._exact_below:
            row_ids = first_rows(connection, wanted, self._exact_below)
        else:
            counts = word_counts(connection, set(sought.asked))
            depth = max(self._depth, sought.most)
            labelled = match_labels(connection, sought.labels, wanted, depth)
            lists = {"words": self._by_words(connection, counts, wanted, depth)}
            if sought.meaning is not None and self._dense is not None:
                lists["meaning"] = self._by_meaning(connection, sought.meaning, wanted, depth, sought.exact)
            more = rows_with_prior(connection, sought.prior, wanted, depth) if sought.prior else []
            row_ids = list(dict.fromkeys([*chain.from_iterable(lists.values()), *labelled.best, *more]))
            if len(row_ids) < sought.most:
                row_ids = list(dict.fromkeys([*row_ids, *first_rows(connection, wanted, sought.most)]))
            num, length = connection.execute(
                "SELECT num_rows, num_words FROM parts WHERE part = ?", (ACCEPTED,)
            ).fetchone()
            statistics = WordStatistics(num, length / num if length else 1.0, counts)
            listed = {name: frozenset(found) for name, found in lists.items()}
            beyond = Beyond(listed, round(num * base_share(connection, wanted)), labelled.rank)
        cosines = None
        if sought.meaning is not None and self._dense is not None:
            # Rounded: how a product was summed must not decide between equal cards.
            found = self._dense.cosines(connection, sought.meaning, row_ids)
            cosines = {row_id: round(value, 6) for row_id, value in found.items()}
        return rank_rows(
            card_rows(connection, row_ids),
            sought.asked,
            sought.labels,
            statistics=statistics,
            cosines=cosines,
            prior=prior_of_rows(connection, row_ids, sought.prior) if sought.prior else None,
            beyond=beyond,
            least_score=sought.least_score,
            most=sought.most,
        )

    def _refused(
        self, connection: sqlite3.Connection, wanted: Filter, unread: list[int], sought: _Sought
    ) -> list[Ranked]:
        limit = max(MOST_REFUSED, sought.most)
        if count_fitting(connection, wanted, limit) <= limit:
            row_ids = first_rows(connection, wanted, limit)
        else:
            counts = word_counts(connection, set(sought.asked), REFUSED)
            row_ids = best_by_words(connection, counts, wanted, sought.most, part=REFUSED, budget=REFUSED_BUDGET)
            if len(row_ids) < sought.most:
                row_ids = list(dict.fromkeys([*row_ids, *first_rows(connection, wanted, sought.most)]))
        return rank_rows(
            card_rows(connection, [*row_ids, *unread]),
            sought.asked,
            sought.labels,
            least_score=sought.least_score,
            most=sought.most,
        )

    def _by_words(
        self, connection: sqlite3.Connection, counts: dict[str, int], wanted: Filter, depth: int
    ) -> list[int]:
        if self._tantivy is not None and self._tantivy.covers(connection):
            return self._tantivy.best(connection, counts, wanted, depth)
        return best_by_words(connection, counts, wanted, depth)

    def _by_meaning(
        self, connection: sqlite3.Connection, meaning: Floats, wanted: Filter, depth: int, exact: bool
    ) -> list[int]:
        if self._dense is None:
            return []
        share = base_share(connection, wanted)
        mapped, scan = self._dense.mapped(connection), self._dense.scan(connection, meaning, wanted, share, exact=exact)
        if mapped is None or scan is None:
            return []
        share = 1.0 if share < FEW else share
        return best_by_vector(connection, scan, mapped.described, wanted, depth, share=share)
