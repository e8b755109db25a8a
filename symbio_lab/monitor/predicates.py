"""Readable conditions on one answer: words, form, labels, confidence, domain and the caller's own columns.

A predicate is a value: it can be counted on the traffic in which it was found, and asked again of any later traffic.
The list of forms follows Azimuth's smart tags (Gauthier-Melancon et al. 2022, EMNLP demo, table 2) as far as they need
no parser.

Example:
    >>> Predicate("ngram", "not about").describe()
    'the text says "not about"'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from symbio_lab.errors import DataError
from symbio_lab.monitor.lexicon import Lexicon, words_in
from symbio_lab.monitor.traffic import Traffic

MIN_ROWS = 5
"""Rows that a predicate must hold for."""
LONGEST_NGRAM = 3
"""Words of the longest phrase that is tried."""
MOST_WORDS = 256
"""Words of a text in which phrases are looked for, from its start: memory stays bounded on long texts."""
_NEGATION = re.compile(
    r"\b(?:not|never|no|none|nobody|nothing|neither|nor|cannot|without|\w+n['’]t"
    r"|(?:do|does|did|is|are|was|were|ca|wo|could|should|would|have|has|had)nt)\b",
    re.IGNORECASE,
)
_BANDS = ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0))
"""Bands of confidence, the upper end excluded but for the last."""


def _shouting(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return len(letters) >= 4 and sum(c.isupper() for c in letters) >= len(letters) / 2


FORMS: dict[str, tuple[str, Callable[[str, Lexicon], bool]]] = {
    "negation": ("the text has a negation", lambda text, _: _NEGATION.search(text) is not None),
    "misspelling": (
        "the text has a misspelt word",
        lambda text, lexicon: any(lexicon.is_misspelling(word) for word in words_in(text)),
    ),
    "rare_word": (
        "the text has a word that is rare in this traffic",
        lambda text, lexicon: any(lexicon.is_rare(word) for word in words_in(text)),
    ),
    "rare_words": (
        "a third of the words or more are rare in this traffic",
        lambda text, lexicon: 3 * sum(lexicon.is_rare(w) for w in words_in(text)) >= max(2, len(words_in(text))),
    ),
    "digits": ("the text has digits", lambda text, _: any(c.isdigit() for c in text)),
    "question": ("the text has a question mark", lambda text, _: "?" in text),
    "capitals": ("the text is in capitals", lambda text, _: _shouting(text)),
    "non_ascii": ("the text has characters beyond ASCII", lambda text, _: not text.isascii()),
}
"""Name of a form -> what it says, and whether a text has it."""
SYMPTOMS = frozenset({"answered", "confused", "confidence"})
"""Kinds that say how the model failed, not what it was asked: an answer that is never right fails wherever it comes."""
NAMED = frozenset({"domain", "metadata"})
"""Kinds that the caller named before anything failed."""
_SAYS: dict[str, str] = {
    "ngram": 'the text says "{0}"',
    "domain": "the domain is {0}",
    "expected": "the answer should be {0}",
    "answered": "the model answers {0}",
    "confused": "{0} and {1} are taken for each other",
    "confidence": "the confidence is from {0} to {1}",
    "shortest": "the text has at most {0} words",
    "longest": "the text has at least {0} words",
    "metadata": "{0} is {1}",
}


@dataclass(frozen=True, slots=True)
class Predicate:
    """One readable condition on an answer."""

    kind: str
    """``ngram``, a name of ``FORMS``, ``domain``, ``expected``, ``answered``, ``confused`` and so on."""
    value: str = ""
    other: str = ""
    """Second value of ``confused`` (the other label), ``confidence`` (upper end) and ``metadata`` (its value)."""
    lexicon: Lexicon | None = field(default=None, compare=False, repr=False)
    """What is rare in the traffic in which the predicate was found; for misspellings and rare words."""

    def describe(self) -> str:
        """Return the condition in words."""
        if self.kind in FORMS:
            return FORMS[self.kind][0]
        return _SAYS[self.kind].format(self.value, self.other)

    def contains(self, traffic: Traffic) -> NDArray[np.bool_]:
        """Return for which rows the condition holds, (N,).

        Raises:
            DataError: the predicate needs a lexicon and has none.
        """
        return np.array([self._holds(traffic, row) for row in range(len(traffic))], dtype=np.bool_)

    def _holds(self, traffic: Traffic, row: int) -> bool:
        text = traffic.texts[row]
        if self.kind in FORMS:
            if self.lexicon is None:
                raise DataError(f"a {self.kind} predicate needs the lexicon of the traffic that it was found in")
            return FORMS[self.kind][1](text, self.lexicon)
        match self.kind:
            case "ngram":
                return f" {self.value} " in f" {' '.join(words_in(text)[:MOST_WORDS])} "
            case "shortest":
                return len(words_in(text)) <= int(self.value)
            case "longest":
                return len(words_in(text)) >= int(self.value)
            case "domain":
                return traffic.domains[row] == self.value
            case "expected":
                return traffic.expected[row] == self.value
            case "answered":
                return traffic.actual[row] == self.value
            case "confused":
                return {traffic.expected[row], traffic.actual[row]} <= {self.value, self.other}
            case "confidence":
                return float(self.value) <= traffic.confidence[row] < float(self.other) + (self.other == "1")
            case "metadata":
                column = traffic.metadata.get(self.value)
                return column is not None and column[row] == self.other
        raise DataError(f"no predicate is called {self.kind!r}")


def is_symptom(rule: object) -> bool:
    """Return whether a rule says how the model failed, not what it was asked.

    >>> is_symptom(Predicate("answered", "refund")), is_symptom(Predicate("expected", "refund"))
    (True, False)
    """
    return isinstance(rule, Predicate) and rule.kind in SYMPTOMS


@dataclass(frozen=True, slots=True)
class Predicates:
    """Candidate predicates and where they hold."""

    listed: tuple[Predicate, ...]
    holds: csr_matrix
    """Whether predicate p holds for row i, (N, P), 0 or 1."""


def candidate_predicates(
    traffic: Traffic, lexicon: Lexicon, *, min_rows: int = MIN_ROWS, max_share: float = 0.5, labels: bool = True
) -> Predicates:
    """Return every predicate that holds for at least ``min_rows`` rows and for no large part of them.

    Args:
        traffic: N labelled rows.
        lexicon: what is rare.
        min_rows: rows that a predicate must hold for.
        max_share: share of the rows that it may hold for, in (0, 1]; what holds for half of the traffic is no slice.
            Domains and the caller's own columns are slices whatever their size.
        labels: whether labels may define a slice; False for free text, where every output is its own label.
    """
    rows: dict[Predicate, list[int]] = {}
    lengths = [len(words_in(text)) for text in traffic.texts]
    cuts = np.quantile(lengths, (0.1, 0.25, 0.75, 0.9)).astype(int) if lengths else np.zeros(4, dtype=int)
    frequent = _frequent_ngrams(traffic.texts, min_rows)
    bounds = [("shortest", int(n)) for n in cuts[:2]] + [("longest", int(n)) for n in cuts[2:]]
    for i, text in enumerate(traffic.texts):
        holding = {Predicate("ngram", gram) for gram in _ngrams(text) if gram in frequent}
        holding |= {Predicate(name, "", "", lexicon) for name, (_, has) in FORMS.items() if has(text, lexicon)}
        holding |= {Predicate(kind, str(n)) for kind, n in bounds if _within(kind, lengths[i], n)}
        if traffic.domains[i]:
            holding.add(Predicate("domain", traffic.domains[i]))
        if labels:
            holding |= set(_label_predicates(traffic.expected[i], traffic.actual[i]))
        for low, high in _BANDS:
            if low <= traffic.confidence[i] < high + (high == 1.0):
                holding.add(Predicate("confidence", f"{low:g}", f"{high:g}"))
        holding |= {Predicate("metadata", name, column[i]) for name, column in traffic.metadata.items() if column[i]}
        for predicate in holding:
            rows.setdefault(predicate, []).append(i)
    if labels:
        rows |= _confusions(traffic)
    most = {True: len(traffic) - 1, False: int(max_share * len(traffic))}
    kept = {p: found for p, found in rows.items() if min_rows <= len(found) <= most[p.kind in NAMED]}
    listed = sorted(kept, key=lambda p: (p.kind, p.value, p.other))
    indices = [i for p in listed for i in kept[p]]
    columns = [j for j, p in enumerate(listed) for _ in kept[p]]
    ones = np.ones(len(indices), dtype=np.int64)
    return Predicates(tuple(listed), csr_matrix((ones, (indices, columns)), shape=(len(traffic), len(listed))))


def _within(kind: str, length: int, bound: int) -> bool:
    return length <= bound if kind == "shortest" else length >= bound


def _label_predicates(expected: str | None, actual: str) -> Iterable[Predicate]:
    yield Predicate("answered", actual)
    if expected is not None:
        yield Predicate("expected", expected)


def _confusions(traffic: Traffic) -> dict[Predicate, list[int]]:
    """Return the rows of each two labels between which the model chose, for pairs that it mistook at least once."""
    cells: dict[tuple[str, str], list[int]] = {}
    for i, (expected, actual) in enumerate(zip(traffic.expected, traffic.actual, strict=True)):
        if expected is not None:
            cells.setdefault((expected, actual), []).append(i)
    pairs = {(min(cell), max(cell)) for cell in cells if cell[0] != cell[1]}
    return {
        Predicate("confused", x, y): sorted(i for cell in ((x, x), (y, y), (x, y), (y, x)) for i in cells.get(cell, []))
        for x, y in sorted(pairs)
    }


def _ngrams(text: str) -> set[str]:
    words = words_in(text)[:MOST_WORDS]
    return {
        " ".join(words[start : start + size])
        for size in range(1, LONGEST_NGRAM + 1)
        for start in range(len(words) - size + 1)
    }


def _frequent_ngrams(texts: Iterable[str], min_rows: int) -> frozenset[str]:
    counts = Counter(gram for text in texts for gram in _ngrams(text))
    return frozenset(gram for gram, count in counts.items() if count >= min_rows)
