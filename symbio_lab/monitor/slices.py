"""Failure patterns of labelled traffic: readable conditions and groups, found on one half, confirmed on the other.

Rules:
    1. Near duplicates count once, and stay on one side: a template that fails is neither found nor confirmed by its own
       copies, which the model answers alike.
    2. Found: conditions by enrichment (``monitor/enrichment.py``), and groups of failures whose neighbourhood is
       enriched (``monitor/clusters.py``). A group whose failures a condition already holds is dropped.
    3. Confirmed: Fisher's exact test on the half that the search never saw, Benjamini-Hochberg over all that was found.
       Only the confirmed are patterns; the others are returned as such when asked for.
    4. Rates inside and outside, with Wilson intervals, are of the confirming half alone, near duplicates counted once:
       on the half that was searched they would be too high. A confirmed slice also has a large enough odds ratio there.
    5. Symptoms (low confidence, an answer given too often, two labels taken for each other) are reported beside the
       conditions on what was asked, and hide none of them.

Example:
    >>> from symbio_lab.monitor.traffic import traffic_of
    >>> from symbio_lab.records import PredictionRecord
    >>> asked = [(f"{i} where is order {i * 7}", False) for i in range(90)]
    >>> asked += [(f"{i} return the {i * 7} parcel", i % 5 > 0) for i in range(60)]
    >>> rows = [PredictionRecord("m", "text_generation", text, "x", "y" if wrong else "x") for text, wrong in asked]
    >>> found = find_slices(traffic_of(rows), settings=SliceSettings(labels=False, max_share=0.5))
    >>> [(one.description, round(one.inside.value, 2)) for one in found.confirmed]
    [('the text says "parcel"', 0.77)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from symbio_lab.errors import DataError, EmptySliceError
from symbio_lab.failures.grouping import near_duplicate_groups
from symbio_lab.monitor.clusters import Neighbourhood, Vectors, failure_clusters, neighbourhood
from symbio_lab.monitor.enrichment import enriched, enrichment_p, odds_ratio
from symbio_lab.monitor.lexicon import Lexicon
from symbio_lab.monitor.patterns import typical_words
from symbio_lab.monitor.predicates import Predicate, candidate_predicates, is_symptom
from symbio_lab.monitor.traffic import Traffic
from symbio_lab.records import Interval
from symbio_lab.seeding import numpy_generator
from symbio_lab.stats.intervals import to_interval

BoolArray = NDArray[np.bool_]
OVERLAP = 0.5
"""Share of a group's failures inside a condition from which the group says nothing new."""


@dataclass(frozen=True, slots=True)
class SliceSettings:
    """How patterns are looked for."""

    q: float = 0.05
    """False-discovery level, of a search round and of confirmation alike."""
    most: int = 12
    """Conditions looked for, at most; as many groups again."""
    most_symptoms: int = 4
    """Symptoms looked for, at most."""
    min_rows: int = 5
    """Rows that a condition must hold for in the searched half."""
    max_share: float = 0.5
    """Share of the rows that a condition may hold for."""
    min_failures: int = 5
    min_odds_ratio: float = 1.5
    """How many times the odds to fail outside a slice must reach inside."""
    confirm_share: float = 0.5
    """Share of the rows that confirm and are not searched."""
    labels: bool = True
    """Whether labels may define a slice; False for free text."""
    seed: int = 0
    """Draws the halves."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the traffic that fails more often than the rest."""

    description: str
    rule: Predicate | Neighbourhood
    """Says of any later traffic what lies inside."""
    p_value: float
    """Fisher's, one-sided, on the confirming half."""
    confirmed: bool
    """Whether it passed Benjamini-Hochberg among all that was found, with the odds ratio that the settings ask for."""
    inside: Interval
    """Failure rate inside, on the confirming half."""
    outside: Interval
    """Failure rate outside, on the confirming half."""
    members: tuple[int, ...]
    """Rows inside, in all of the traffic: failures first, the most typical first."""
    support: int
    """Failures inside, in all of the traffic."""
    centroid: tuple[float, ...] = ()
    """Mean direction of the failures, (D,); empty without embeddings."""

    @property
    def is_symptom(self) -> bool:
        """Whether it says how the model failed, not what it was asked."""
        return is_symptom(self.rule)

    def contains(self, traffic: Traffic, embeddings: Vectors | None = None) -> BoolArray:
        """Return which rows of some traffic lie inside, (N,).

        Raises:
            DataError: the rule is a neighbourhood and there are no embeddings.
        """
        return _contains(self.rule, traffic, embeddings)


@dataclass(frozen=True, slots=True)
class SliceSearch:
    """What a search found."""

    confirmed: tuple[Slice, ...]
    """The most significant first."""
    unconfirmed: tuple[Slice, ...]
    """What stood out on the searched half and not on the other."""
    num_searched: int
    """Distinct requests of the searched half: near duplicates count once."""
    num_confirming: int
    """Distinct requests of the confirming half."""
    base_rate: float
    """Failure rate of all rows, in [0, 1]."""
    notes: tuple[str, ...] = field(default=())
    """What could not be looked for, and why."""


def find_slices(
    traffic: Traffic,
    embeddings: Vectors | None = None,
    *,
    settings: SliceSettings = SliceSettings(),
    lexicon: Lexicon | None = None,
) -> SliceSearch:
    """Return the slices of some traffic that fail more often than the rest.

    Args:
        traffic: N rows; those without ground truth are left out.
        embeddings: unit vectors of the rows, (N, D); None looks for conditions only.
        settings: levels, sizes and seed.
        lexicon: what is rare; None learns it from the traffic.

    Raises:
        EmptySliceError: no labelled row, or no failure among them.
        DataError: embeddings of another number of rows.
    """
    if embeddings is not None and len(embeddings) != len(traffic):
        raise DataError(f"{len(embeddings)} embeddings for {len(traffic)} rows")
    rows = np.flatnonzero(traffic.labelled)
    known = traffic.take(rows)
    vectors = None if embeddings is None else np.asarray(embeddings, dtype=np.float64)[rows]
    if not len(known) or not known.failed.any():
        raise EmptySliceError(
            "there is no labelled failure to find a pattern in",
            hint="join the ground truth first; without it nobody knows which answers were wrong",
        )
    words = lexicon or Lexicon.of(known.texts)
    searched, distinct = _halves(known.texts, settings)
    rules: list[Predicate | Neighbourhood] = []
    looked = searched & distinct
    if looked.any() and known.failed[looked].any():
        rules += _conditions(known.take(looked), words, settings)
        if vectors is not None:
            rules += _new_groups(rules, known, vectors, looked, settings)
    confirming = ~searched & distinct
    found = [_measure(rule, known, vectors, confirming) for rule in rules]
    passing = false_discovery_control([f.p_value for f in found]) <= settings.q if found else np.zeros(0)
    slices = []
    for one, passed in zip(found, passing, strict=True):
        large = one.odds_ratio >= settings.min_odds_ratio
        slices.append(_described(one, bool(passed) and large, known, vectors, rows))
    slices.sort(key=lambda s: (s.p_value, -s.support, s.description))
    return SliceSearch(
        confirmed=tuple(s for s in slices if s.confirmed),
        unconfirmed=tuple(s for s in slices if not s.confirmed),
        num_searched=int(looked.sum()),
        num_confirming=int(confirming.sum()),
        base_rate=float(known.failed.mean()),
        notes=_notes(vectors is not None, int(known.failed[looked].sum()), int(confirming.sum())),
    )


def _notes(embedded: bool, num_failures: int, num_confirming: int) -> tuple[str, ...]:
    notes = [] if embedded else ["without embeddings no groups by meaning were looked for"]
    notes += [] if num_failures else ["there is no failure in the searched half"]
    notes += [] if num_confirming else ["all requests are near duplicates of each other: nothing can be confirmed"]
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class _Found:
    rule: Predicate | Neighbourhood
    p_value: float
    inside: Interval
    outside: Interval
    odds_ratio: float
    holds: BoolArray
    """On all labelled rows."""


def _contains(rule: Predicate | Neighbourhood, traffic: Traffic, embeddings: Vectors | None) -> BoolArray:
    if isinstance(rule, Predicate):
        return rule.contains(traffic)
    if embeddings is None:
        raise DataError("a neighbourhood needs the embeddings of the traffic", hint="embed the texts first")
    return rule.contains(embeddings)


def _halves(texts: Sequence[str], settings: SliceSettings) -> tuple[BoolArray, BoolArray]:
    """Return which rows are searched, and which stand for their near duplicates, (N,) each.

    Near duplicates go to one half together, and one of them, drawn at random, counts.
    """
    groups = near_duplicate_groups(texts)
    names = sorted(set(groups))
    rng = numpy_generator(settings.seed, "slices")
    drawn = rng.random(len(names)) >= settings.confirm_share
    chosen = dict(zip(names, drawn.tolist(), strict=True))
    first: dict[str, int] = {}
    for row in rng.permutation(len(groups)):
        first.setdefault(groups[row], int(row))
    distinct = np.zeros(len(groups), dtype=np.bool_)
    distinct[list(first.values())] = True
    return np.array([chosen[group] for group in groups], dtype=np.bool_), distinct


def _conditions(traffic: Traffic, lexicon: Lexicon, settings: SliceSettings) -> tuple[Predicate, ...]:
    candidates = candidate_predicates(
        traffic, lexicon, min_rows=settings.min_rows, max_share=settings.max_share, labels=settings.labels
    )
    # A symptom goes with failing whatever was asked: looked at by themselves, symptoms hide no condition.
    symptom = np.array([is_symptom(p) for p in candidates.listed], dtype=np.bool_)
    found = []
    for columns, most in ((np.flatnonzero(~symptom), settings.most), (np.flatnonzero(symptom), settings.most_symptoms)):
        rows = enriched(
            candidates.holds[:, columns],
            traffic.failed,
            q=settings.q,
            most=most,
            min_failures=settings.min_failures,
            min_odds_ratio=settings.min_odds_ratio,
        )
        found += [candidates.listed[columns[one.column]] for one in rows]
    return tuple(found)


def _new_groups(
    conditions: list[Predicate | Neighbourhood],
    traffic: Traffic,
    vectors: Vectors,
    searched: BoolArray,
    settings: SliceSettings,
) -> list[Neighbourhood]:
    """Return the groups whose failures no condition holds already, at most ``settings.most``."""
    known = traffic.take(searched)
    groups = failure_clusters(vectors[searched], known.failed, q=settings.q, min_odds_ratio=settings.min_odds_ratio)
    taken = [_contains(rule, known, None) & known.failed for rule in conditions if not is_symptom(rule)]
    new: list[Neighbourhood] = []
    for group in groups:
        failures = group.contains(vectors[searched]) & known.failed
        covered = max(((failures & rows).sum() / max(failures.sum(), 1) for rows in taken), default=0.0)
        if covered < OVERLAP and len(new) < settings.most:
            new.append(group)
            taken.append(failures)
    return new


def _measure(
    rule: Predicate | Neighbourhood, traffic: Traffic, vectors: Vectors | None, confirming: BoolArray
) -> _Found:
    holds = _contains(rule, traffic, vectors)
    inside, failed = holds[confirming], traffic.failed[confirming]
    rates = [to_interval(int(failed[rows].sum()), int(rows.sum()), method="wilson") for rows in (inside, ~inside)]
    odds = odds_ratio(int((inside & failed).sum()), int(inside.sum()), int(failed.sum()), len(failed))
    p_value = enrichment_p(inside, failed) if inside.any() else 1.0
    return _Found(rule, p_value, rates[0], rates[1], float(odds), holds)


def _described(
    one: _Found, confirmed: bool, traffic: Traffic, vectors: Vectors | None, rows: NDArray[np.intp]
) -> Slice:
    failures = one.holds & traffic.failed
    centre: Neighbourhood | None = None
    if vectors is not None and failures.any():
        centre = neighbourhood(vectors[failures])
    typical = centre.cosines(vectors) if centre is not None and vectors is not None else np.zeros(len(traffic))
    inside = np.flatnonzero(one.holds)
    order = sorted(inside.tolist(), key=lambda i: (not traffic.failed[i], -typical[i], i))
    if isinstance(one.rule, Predicate):
        description = one.rule.describe()
    else:
        words = typical_words([traffic.texts[i] for i in np.flatnonzero(failures)], traffic.texts)
        description = "texts like: " + ", ".join(words)
    return Slice(
        description=description,
        rule=one.rule,
        p_value=one.p_value,
        confirmed=confirmed,
        inside=one.inside,
        outside=one.outside,
        members=tuple(int(rows[i]) for i in order),
        support=int(failures.sum()),
        centroid=centre.centroid if centre is not None else (),
    )
