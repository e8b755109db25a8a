r"""Near-duplicate clusters: the unit that splits keep together when a dataset names no template or product.

Two texts are near duplicates when the Jaccard similarity of their token sets (lower-cased ``\\w+``) reaches
the threshold; clusters are the connected components. The join is exact:

    1. Tokens are ordered from rare to common; each text is a sorted set.
    2. Texts that reach the threshold must share a token among their first ``n - ceil(t * n) + 1`` ones
       (prefix filter), and their sizes may differ by at most the factor t (length filter).
    3. Every pair that survives is verified; a union-find merges it.

References:
    Chaudhuri, Ganti and Kaushik (2006), "A primitive operator for similarity joins in data cleaning", ICDE;
    Bayardo, Ma and Srikant (2007), "Scaling up all pairs similarity search", WWW (prefix and length filters).
    Differs from the papers: pairs that are already in one cluster are not verified, since only clusters count.

Example:
    >>> a, b, c = near_duplicate_groups(["book me a flight now", "Book me a flight now!", "what is the time"])
    >>> (a == b, a == c)
    (True, False)
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from symbio_lab.errors import DataError
from symbio_lab.records import Sample

_WORD = re.compile(r"\w+")
_SLACK = 1e-9
"""Guards ceil() against 0.8 * 5 = 4.000000000000001: too short a prefix would lose pairs."""


def tokens(text: str) -> frozenset[str]:
    r"""Return the token set of a text: lower-cased ``\\w+``; a text without words is its own single token.

    >>> sorted(tokens("Where's my order?"))
    ['my', 'order', 's', 'where']
    """
    found = frozenset(_WORD.findall(text.lower()))
    return found or frozenset([text.strip()])


def near_duplicate_groups(texts: Sequence[str], threshold: float = 0.8) -> list[str]:
    """Return one cluster name per text.

    Args:
        texts: N texts, in any order.
        threshold: Jaccard similarity in (0, 1] from which two texts are near duplicates.

    Returns:
        N names, ``near-`` and the start of the smallest SHA-256 among the cluster's texts. Names and clusters
        do not depend on the order of the texts.

    Raises:
        DataError: the threshold lies outside (0, 1].
    """
    _check_threshold(threshold)
    sets = [tokens(text) for text in texts]
    # Equal token sets are one cluster for free; real corpora have thousands of them.
    first: dict[frozenset[str], int] = {}
    owner = [first.setdefault(items, len(first)) for items in sets]
    unique = list(first)
    parent = list(range(len(unique)))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    order = _rarity(unique)
    index: dict[str, list[int]] = {}
    # Short sets first, so that every indexed set is at most as long as the one that probes.
    for current in sorted(range(len(unique)), key=lambda i: len(unique[i])):
        items = unique[current]
        shortest = math.ceil(threshold * len(items) - _SLACK)
        tried: set[int] = set()
        for token in _prefix(items, order, threshold):
            posting = index.setdefault(token, [])
            for other in posting:
                if other in tried or len(unique[other]) < shortest:
                    continue
                tried.add(other)
                here, there = find(current), find(other)
                if here != there and _jaccard(items, unique[other]) >= threshold:
                    parent[max(here, there)] = min(here, there)
            posting.append(current)
    return _named(texts, [find(i) for i in owner])


def near_neighbours(texts: Sequence[str], references: Sequence[str], threshold: float = 0.8) -> list[bool]:
    """Return, for each text, whether some reference text is its near duplicate.

    Args:
        texts: N texts to look up, e.g. a test split.
        references: texts to look among, e.g. a training split.
        threshold: Jaccard similarity in (0, 1].

    Returns:
        N flags.

    Raises:
        DataError: the threshold lies outside (0, 1].
    """
    _check_threshold(threshold)
    known = list({tokens(text) for text in references})
    wanted = [tokens(text) for text in texts]
    order = _rarity([*known, *wanted])
    index: dict[str, list[int]] = {}
    for number, items in enumerate(known):
        for token in _prefix(items, order, threshold):
            index.setdefault(token, []).append(number)

    def candidates(items: frozenset[str]) -> Iterator[int]:
        for token in _prefix(items, order, threshold):
            yield from index.get(token, ())

    return [any(_jaccard(items, known[i]) >= threshold for i in candidates(items)) for items in wanted]


def with_groups(samples: Iterable[Sample], threshold: float = 0.8) -> tuple[Sample, ...]:
    """Return the samples with every empty ``group`` filled by its near-duplicate cluster.

    Groups that the source names (template, product, conversation) stay. Give all splits at once: clusters
    found within one split cannot keep duplicates of another split away.

    Args:
        samples: N samples, in any order.
        threshold: Jaccard similarity in (0, 1].

    Returns:
        N samples in the same order.

    Raises:
        DataError: the threshold lies outside (0, 1].
    """
    listed = tuple(samples)
    empty = [i for i, sample in enumerate(listed) if not sample.group]
    names = dict(zip(empty, near_duplicate_groups([listed[i].text for i in empty], threshold), strict=True))
    return tuple(replace(s, group=names[i]) if i in names else s for i, s in enumerate(listed))


def _check_threshold(threshold: float) -> None:
    if not 0.0 < threshold <= 1.0:
        raise DataError(f"threshold must lie in (0, 1], not {threshold}", hint="0.8 is the lab's value")


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _rarity(sets: Sequence[frozenset[str]]) -> dict[str, tuple[int, str]]:
    """Return a sort key per token: rare first, ties by spelling."""
    counts = Counter(token for items in sets for token in items)
    return {token: (count, token) for token, count in counts.items()}


def _prefix(items: frozenset[str], order: dict[str, tuple[int, str]], threshold: float) -> list[str]:
    """Return the rarest tokens of a set, one of which every near duplicate shares."""
    size = len(items) - math.ceil(threshold * len(items) - _SLACK) + 1
    return sorted(items, key=order.__getitem__)[:size]


def _named(texts: Sequence[str], clusters: Sequence[int]) -> list[str]:
    """Name each cluster after the smallest text digest in it."""
    smallest: dict[int, str] = {}
    for text, cluster in zip(texts, clusters, strict=True):
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        if digest < smallest.get(cluster, "g"):
            smallest[cluster] = digest
    return [f"near-{smallest[cluster][:16]}" for cluster in clusters]
