"""From failures to patterns: which slice of the traffic fails, how badly, and what to search for.

The pattern found here is the slice by domain: its failure rate against all traffic of that domain, with a
Clopper-Pearson interval, its labels, its most typical words and exemplars. A pattern is the query of a search.

Flow: pipeline.py -> monitor/patterns.py -> healing/marketplace_first.py
Next: symbio_lab/healing/marketplace_first.py

References:
    Words by a class-based TF-IDF: Grootendorst 2022, BERTopic, section 3.3. Differs from the paper: share of the
    slice's texts that hold the word, times the logarithm of its lift over all texts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from symbio_lab.errors import EmptySliceError
from symbio_lab.records import FailurePattern, FailureRecord, Sample, TaskType
from symbio_lab.stats.intervals import to_interval

NUM_WORDS = 6
NUM_EXEMPLARS = 5
_WORD = re.compile(r"[a-z']{3,}")


def failure_records(
    samples: Sequence[Sample],
    outputs: Sequence[str],
    *,
    model_id: str,
    model_revision: str,
    task_type: TaskType,
    tenant: str = "default",
) -> tuple[FailureRecord, ...]:
    """Return the failure records of wrong answers to labelled samples.

    Args:
        samples: labelled inputs that the model answered wrongly, (N,).
        outputs: its answers, (N,).
        model_id: who answered.
        model_revision: digest of the model.
        task_type: of the model.
        tenant: whose traffic.
    """
    return tuple(
        FailureRecord(
            model_id=model_id,
            model_revision=model_revision,
            task_type=task_type,
            domain=sample.domain,
            error_type="wrong_label" if task_type == "text_classification" else "wrong_output",
            input_sample=sample.text,
            expected_output=sample.expected,
            actual_output=output,
            tenant=tenant,
        )
        for sample, output in zip(samples, outputs, strict=True)
    )


def find_patterns(
    failures: Sequence[FailureRecord],
    predictions_by_domain: Mapping[str, int] | None = None,
    background: Sequence[str] = (),
) -> tuple[FailurePattern, ...]:
    """Return one pattern a domain, the largest first.

    Args:
        failures: failure records.
        predictions_by_domain: number of predictions seen in each domain; without it no rate can be stated.
        background: other traffic, whose words are not typical of a failure.

    Raises:
        EmptySliceError: there are no failures.
    """
    if not failures:
        raise EmptySliceError("there are no failures to find a pattern in")
    domains = Counter(f.domain for f in failures)
    texts = [*(f.input_sample for f in failures), *background]
    return tuple(
        _pattern([f for f in failures if f.domain == domain], texts, domain, predictions_by_domain or {})
        for domain, _ in sorted(domains.items(), key=lambda item: (-item[1], item[0]))
    )


def _pattern(
    members: Sequence[FailureRecord], everything: Sequence[str], domain: str, seen: Mapping[str, int]
) -> FailurePattern:
    words = ", ".join(typical_words([m.input_sample for m in members], everything))
    topic = domain.replace("_", " ") or "unnamed traffic"
    labels = tuple(sorted({m.expected_output for m in members if m.task_type == "text_classification"}))
    rate = to_interval(len(members), seen[domain]) if seen.get(domain, 0) >= len(members) else None
    return FailurePattern(
        description=f"Requests about {topic} are answered wrongly ({words})",
        members=tuple(m.failure_id for m in members),
        labels=labels,
        exemplars=tuple(m.input_sample for m in members[:NUM_EXEMPLARS]),
        support=len(members),
        failure_rate=rate.value if rate else None,
        failure_rate_low=rate.low if rate else None,
        failure_rate_high=rate.high if rate else None,
    )


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text that a pattern may be named by.

    >>> sorted(words_of("Is it a Flight?"))
    ['flight']
    """
    return frozenset(_WORD.findall(text.lower()))


def typical_words(inside: Sequence[str], everywhere: Sequence[str]) -> tuple[str, ...]:
    """Return the words that set a slice apart, most typical first.

    >>> typical_words(["book a flight", "a flight to rome"], ["pay a bill", "book a flight", "a flight to rome"])[0]
    'flight'
    """
    slice_counts, counts = (Counter(w for t in texts for w in words_of(t)) for texts in (inside, everywhere))
    score = {}
    for word, count in slice_counts.items():
        share, overall = count / len(inside), (counts[word] + 1) / (len(everywhere) + 1)
        # Words that are as common everywhere (are, the, does) have no lift and score nothing.
        score[word] = share * math.log(share / overall)
    return tuple(sorted(score, key=lambda w: (-score[w], w))[:NUM_WORDS])
