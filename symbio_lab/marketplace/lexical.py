"""Word-match scores in [0, 1], for search without an embedder and as one of its rankings.

Example:
    >>> [round(s, 2) for s in lexical_scores("book a flight", ["flight booking travel", "pizza", "flight"])]
    [0.03, 0.0, 0.06]

References:
    Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond", section 3.
    Differs from the paper: divided by the score that a document would reach if every query word occurred without
    end, so that scores lie in [0, 1] and words that no document has count against it; idf is the non-negative form
    log(1 + ...).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")
K1 = 1.2
B = 0.75


def words(text: str) -> list[str]:
    """Return the lower-case words of ``text``; underscores separate words.

    >>> words("Transfer_money, now")
    ['transfer', 'money', 'now']
    """
    return _WORD.findall(text.casefold())


class WordIndex:
    """The words of N texts, counted once for many queries."""

    def __init__(self, documents: Sequence[str]) -> None:
        """Count the words of N texts."""
        self._counts = [Counter(words(document)) for document in documents]
        self._lengths = [sum(count.values()) for count in self._counts]
        self._mean_length = sum(self._lengths) / len(self._lengths) if sum(self._lengths) else 1.0

    def scores(self, query: str) -> list[float]:
        """Return the scaled BM25 score of each text, (N,), in [0, 1]; 0 where no word of the query is in it."""
        counts = self._counts
        idf = {}
        for word in sorted(set(words(query))):
            containing = sum(word in count for count in counts)
            idf[word] = math.log(1 + (len(counts) - containing + 0.5) / (containing + 0.5))
        ceiling = sum(idf.values()) * (K1 + 1)
        if ceiling == 0:
            return [0.0] * len(counts)
        scores = []
        for count, length in zip(counts, self._lengths, strict=True):
            norm = K1 * (1 - B + B * length / self._mean_length)
            scores.append(sum(idf[w] * count[w] * (K1 + 1) / (count[w] + norm) for w in idf if w in count) / ceiling)
        return scores


def lexical_scores(query: str, documents: Sequence[str]) -> list[float]:
    """Return the scaled BM25 score of each document, in [0, 1].

    Args:
        query: free text; each distinct word counts once.
        documents: N texts.

    Returns:
        N scores; 0 where no word matches.
    """
    return WordIndex(documents).scores(query)
