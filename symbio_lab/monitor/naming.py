"""From a slice to the pattern that people read and a marketplace is searched with.

The search text says what the failing texts are about, in their own words and gold labels; the condition by which they
were found (a length, a metadata column) often says nothing that a patch's card could match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from symbio_lab.errors import EmptySliceError
from symbio_lab.monitor.extraction import Extraction
from symbio_lab.monitor.patterns import NUM_EXEMPLARS, typical_words
from symbio_lab.monitor.predicates import Predicate
from symbio_lab.monitor.slices import Slice, SliceSearch
from symbio_lab.monitor.traffic import Traffic
from symbio_lab.records import FailurePattern, SearchQuery, TaskType

NUM_LABELS = 12
"""Gold labels named in a search text, at most: the most frequent."""


def pattern_of(one: Slice, traffic: Traffic, task_type: TaskType) -> FailurePattern:
    """Return a slice as a pattern.

    Args:
        one: the slice, found in ``traffic``.
        traffic: where it was found.
        task_type: of the model; free text has no labels.

    Raises:
        EmptySliceError: nothing in the slice failed.
    """
    failures = [i for i in one.members if traffic.failed[i]]
    if not failures:
        raise EmptySliceError(f"nothing failed where {one.description}")
    texts = [traffic.texts[i] for i in failures]
    golds = [str(traffic.expected[i]) for i in failures] if task_type == "text_classification" else []
    labels = tuple(sorted(set(golds)))
    return FailurePattern(
        description=one.description,
        members=tuple(traffic.ids[i] for i in failures),
        labels=labels,
        exemplars=tuple(texts[:NUM_EXEMPLARS]),
        support=len(failures),
        failure_rate=one.inside.value,
        failure_rate_low=one.inside.low,
        failure_rate_high=one.inside.high,
        centroid=one.centroid,
        outside_rate=one.outside.value,
        outside_rate_low=one.outside.low,
        outside_rate_high=one.outside.high,
        traffic_share=len(one.members) / max(int(traffic.labelled.sum()), 1),
        search_text=_search_text(one, texts, traffic.texts, golds),
    )


def _search_text(one: Slice, texts: Sequence[str], everything: Sequence[str], golds: Sequence[str]) -> str:
    parts = []
    if isinstance(one.rule, Predicate) and one.rule.kind in ("domain", "metadata"):
        name = one.rule.other or one.rule.value
        parts.append(f"Requests about {name.replace('_', ' ')} are answered wrongly")
    parts.append(", ".join(typical_words(texts, everything)))
    frequent = sorted(set(golds), key=lambda label: (-golds.count(label), label))[:NUM_LABELS]
    if frequent:
        parts.append("labels: " + ", ".join(label.replace("_", " ") for label in frequent))
    return "; ".join(part for part in parts if part)


def described(extraction: Extraction, one: Slice) -> Extraction:
    """Return an incident whose description is made from ``repair`` and ``replay`` alone.

    A pattern's own search text comes from all of its failures, those for the gate among them; what a healer searches
    with must not.
    """
    task = extraction.suite.task
    golds = [s.expected for s in task.repair] if task.task_type == "text_classification" else []
    texts = [s.text for s in task.repair]
    words = _search_text(one, texts, [*texts, *(s.text for s in task.replay)], golds)
    return replace(extraction, suite=replace(extraction.suite, task=replace(task, description=words)))


def query_for(
    pattern: FailurePattern, *, task_type: TaskType, base_digest: str | None = None, max_results: int = 20
) -> SearchQuery:
    """Return what a marketplace should be asked about a pattern.

    Args:
        pattern: what fails.
        task_type: of the model.
        base_digest: of the model; None searches for any base.
        max_results: candidates wanted.
    """
    return SearchQuery(
        task_type,
        pattern.search_text or pattern.description,
        base_digest=base_digest,
        labels=pattern.labels,
        max_results=max_results,
    )


def excess_failures(one: Slice) -> float:
    """Return how many failures there are inside beyond what the rate outside would give."""
    return one.support - len(one.members) * (one.outside.value or 0.0)


def main_slice(search: SliceSearch) -> Slice | None:
    """Return the confirmed slice that explains most failures and says what was asked; None where there is none.

    A symptom (low confidence, a wrong answer given too often) names no input that a patch could be made for.
    """
    asked = [one for one in search.confirmed if not one.is_symptom]
    return max(asked, key=lambda one: (excess_failures(one), -one.p_value), default=None)
