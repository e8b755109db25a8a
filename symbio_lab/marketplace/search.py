"""Ranked candidates for a query: hard filters, then cosine, word match and label overlap, fused by rank.

Rules:
    1. Base digest, task, licence and size are filters: what cannot fit is never shown.
    2. ``score`` is the cosine of query and card, clipped to [0, 1]; without an embedder it is the word match, and the
       reason says so. Fusion only orders.
    3. Order is reciprocal rank fusion (k = 60) of the rankings; ties break by reference, so it is deterministic.
    4. What the trust rules already refuse is not hidden: it follows the others with its ``problem``, so that a healer
       can report it. It neither takes a place of an honest candidate nor changes the order among them.

References:
    Cormack, Clarke and Buettcher (2009), "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning
    Methods", section 2.
    Differs from the paper: equal scores share a rank.

Flow: marketplace/search.py -> trust/verifying.py
Next: symbio_lab/trust/verifying.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError
from symbio_lab.marketplace.index import IndexEntry, MarketIndex
from symbio_lab.marketplace.lexical import lexical_scores
from symbio_lab.records import Candidate, SearchQuery
from symbio_lab.trust.policy import TrustPolicy

Embedder = Callable[[list[str]], NDArray[Any]]
"""N texts -> (N, D) array."""
RRF_K = 60


def search(
    query: SearchQuery,
    indices: Iterable[MarketIndex],
    embed: Embedder | None = None,
    policy: TrustPolicy | None = None,
) -> list[Candidate]:
    """Return the candidates of ``query``, best first, then those already known to be refused.

    Args:
        query: what a patch must satisfy; ``max_results`` bounds each of the two groups.
        indices: markets to search.
        embed: N texts -> (N, D); None searches by words only.
        policy: its licences and sizes mark candidates too, where the index was built under a wider policy.

    Raises:
        DataError: the embedder returns another number of rows than it got texts.
    """
    entries = [entry for index in indices for entry in index.entries if _fits(entry, query)]
    problems = [entry.problem or _policy_problem(entry, policy) for entry in entries]
    clean = [entry for entry, problem in zip(entries, problems, strict=True) if problem is None]
    refused = [(entry, problem) for entry, problem in zip(entries, problems, strict=True) if problem is not None]
    found = _rank(query, clean, [None] * len(clean), embed)
    # Refused texts are ranked among themselves: a flood of them cannot move an honest patch.
    found += _rank(query, [entry for entry, _ in refused], [problem for _, problem in refused], embed)
    return found


def explain_empty(query: SearchQuery, indices: Iterable[MarketIndex]) -> str:
    """Return, in one sentence, why ``query`` finds nothing in ``indices``."""
    entries = [entry for index in indices for entry in index.entries]
    manifests = [entry.manifest for entry in entries if entry.manifest is not None]
    if not entries:
        return "the markets hold no patch"
    if not manifests:
        return f"none of the {len(entries)} patches has a manifest that can be read"
    if query.base_digest is not None and all(m.base_digest != query.base_digest for m in manifests):
        bases = len({m.base_digest for m in manifests})
        return (
            f"none of the {len(entries)} patches is for base {query.base_digest[:16]}...; they serve {bases} other(s)"
        )
    if all(m.task_type != query.task_type for m in manifests):
        return f"none of the {len(entries)} patches serves {query.task_type}"
    if not any(_fits(entry, query) for entry in entries):
        return f"none of the {len(entries)} patches satisfies base, task, licence and size together"
    return f"no card reaches the score {query.min_score:.2f}; lower min_score"


def _fits(entry: IndexEntry, query: SearchQuery) -> bool:
    manifest = entry.manifest
    if manifest is None:
        return True  # nothing is known about it but that it is refused
    return (
        query.base_digest in (None, manifest.base_digest)
        and query.task_type == manifest.task_type
        and (not query.licences or manifest.licence in query.licences)
        and (query.max_bytes is None or sum(f.size_bytes for f in manifest.files) <= query.max_bytes)
    )


def _policy_problem(entry: IndexEntry, policy: TrustPolicy | None) -> str | None:
    if policy is None or entry.manifest is None:
        return None
    if policy.licences and entry.manifest.licence not in policy.licences:
        return "licence"
    if sum(f.size_bytes for f in entry.manifest.files) > policy.max_total_bytes:
        return "too_large"
    return None


def _rank(
    query: SearchQuery, entries: list[IndexEntry], problems: Sequence[str | None], embed: Embedder | None
) -> list[Candidate]:
    if not entries:
        return []
    cards = [entry.card_text for entry in entries]
    wanted = {label for label in query.labels if label}
    asked = " ".join([query.text, query.domain, *(label.replace("_", " ") for label in sorted(wanted))]).strip()
    lexical = lexical_scores(asked, cards)
    overlaps = [len(wanted & set(entry.manifest.labels)) if entry.manifest else 0 for entry in entries]
    rankings = [lexical, [float(overlap) for overlap in overlaps]]
    scores = lexical
    if embed is not None:
        scores = _cosines(embed, asked, cards)
        rankings.append(scores)
    fused = [sum(parts) for parts in zip(*(_reciprocal_ranks(ranking) for ranking in rankings), strict=True)]
    order = sorted(range(len(entries)), key=lambda i: (-fused[i], entries[i].ref, entries[i].market))
    kept = [i for i in order if scores[i] >= query.min_score or entries[i].manifest is None]
    measure = "text similarity" if embed is not None else "word match (no embedder)"
    return [
        Candidate(
            ref=entries[i].ref,
            market=entries[i].market,
            manifest=entries[i].manifest,
            score=scores[i],
            reason=(f"fixes {overlaps[i]} of {len(wanted)} labels; " if wanted else "") + f"{measure} {scores[i]:.2f}",
            problem=problems[i],
        )
        for i in kept[: max(0, query.max_results)]
    ]


def _cosines(embed: Embedder, asked: str, cards: list[str]) -> list[float]:
    vectors = np.asarray(embed([asked, *cards]), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(cards) + 1:
        raise DataError(f"the embedder returned shape {vectors.shape} for {len(cards) + 1} texts")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return [float(cosine) for cosine in np.clip(units[1:] @ units[0], 0.0, 1.0)]


def _reciprocal_ranks(scores: Sequence[float]) -> list[float]:
    """Return 1 / (k + rank) with rank 1 for the best; equal scores share the better rank."""
    ordered = sorted(scores, reverse=True)
    first = {score: rank for rank, score in reversed(list(enumerate(ordered, start=1)))}
    return [1.0 / (RRF_K + first[score]) for score in scores]
