"""Does a text that is about to be published repeat what users wrote, or hold something that looks private?

Every published text is compared with every private one, after normalisation (NFKC, case, punctuation and invisible
characters gone):

    ``shared_words``       five words in a row stand in a private text too
    ``whole_text``         a private text stands in it as a whole (three words or more, or 16 letters)
    ``shared_characters``  24 characters in a row (8 of Chinese, Japanese or Korean) stand in a private text too
    ``email``, ``number`` (six digits or more), ``token`` (keys, UUIDs, long random strings), ``path``

A finding names the field and the kind and never repeats the text: it ends in logs. ``facts`` are strings that we made
ourselves, such as digests and times; they are taken out before patterns are tried.

What it cannot see: one private word or name, a rewording, another language, and what the weights have learned by
heart. A patch trained on private texts can reveal some of them to whoever probes it; only its publisher can weigh that.

Example:
    >>> texts = ["Please move my visit to Doctor Ngugi to Friday"]
    >>> find_private({"scope": "asks to MOVE my visit to Doctor Ngugi", "title": "appointments"}, texts)
    (Finding(field='scope', kind='shared_words'), Finding(field='scope', kind='shared_characters'))

References:
    Brown et al. (2020), "Language Models are Few-Shot Learners", appendix C (overlap by n-grams of words).
    Differs from the paper: five words in a row instead of thirteen, and characters too, because cards are short.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from symbio_lab.errors import TrustError

KINDS = ("shared_words", "whole_text", "shared_characters", "email", "number", "token", "path")
NUM_WORDS = 5
NUM_CHARACTERS = 24
NUM_WIDE_CHARACTERS = 8
MIN_WHOLE_WORDS = 3
MIN_WHOLE_CHARACTERS = 16
_WORD = re.compile(r"[^\W_]+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]{8,}")
# Bounded runs: a long text must not take quadratic time.
_PATTERNS: Mapping[str, re.Pattern[str]] = {
    "email": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
    "number": re.compile(r"\d(?:[ ()./-]{0,2}\d){5,}"),
    "token": re.compile(
        r"\b(?:hf_|sk-|gh[pousr]_|glpat-|xox[abprs]-)[A-Za-z0-9_-]{10,}|\bAKIA[A-Z0-9]{12,}|\beyJ[A-Za-z0-9_-]{10,}\."
        r"|-----BEGIN |://[^\s/@:]{1,64}:[^\s/@]{1,64}@"
        r"|\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"
    ),
    "path": re.compile(r"(?:^|[\s\"'(=:,;|])(?:/[\w.@+-]+){2,}|\bfile:/|~/\w|\b[A-Za-z]:\\|\\\\[\w.-]+\\"),
}
_RANDOM = re.compile(r"[A-Za-z0-9+/=]{20,}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One published text that must not leave as it is."""

    field: str
    """Name of the published field."""
    kind: str
    """One of ``KINDS``."""


def refuse_private(
    published: Mapping[str, str],
    private_texts: Iterable[str],
    *,
    facts: Collection[str] = (),
    may_hold: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Return nothing if no published text holds anything private.

    Args:
        published: field name -> text; an item of a list is named ``labels[3]``.
        private_texts: what users wrote.
        facts: strings of our own making.
        may_hold: field name without its index -> kinds that it may hold.

    Raises:
        TrustError: ``private_data``: names every field and kind, and repeats no text.
    """
    allowed = may_hold or {}
    found = [
        finding
        for finding in find_private(published, private_texts, facts=facts)
        if finding.kind not in allowed.get(finding.field.partition("[")[0], ())
    ]
    if found:
        listed = ", ".join(f"{finding.field} ({finding.kind})" for finding in found[:16])
        more = f" and {len(found) - 16} more" if len(found) > 16 else ""
        raise TrustError("private_data", f"private data would be published in {listed}{more}")


def find_private(
    published: Mapping[str, str], private_texts: Iterable[str], *, facts: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Return what is private in ``published``, in its order and that of ``KINDS``; see ``refuse_private``."""
    found: set[tuple[str, str]] = set()
    for field, text in published.items():
        found |= {(field, kind) for kind in _patterns_in(text, facts)}
    cards = [_Card(field, text) for field, text in published.items()]
    grams = _index(cards, lambda card: card.grams)
    pieces = _index(cards, lambda card: card.pieces)
    for text in private_texts:
        words = words_of(text)
        compact = "".join(words)
        for gram in _windows(words, NUM_WORDS):
            found |= {(field, "shared_words") for field in grams.get(gram, ())}
        for piece in _pieces(compact):
            found |= {(field, "shared_characters") for field in pieces.get(piece, ())}
        if MIN_WHOLE_WORDS <= len(words) < NUM_WORDS:
            found |= {(field, "whole_text") for field in grams.get(tuple(words), ())}
        elif len(words) < MIN_WHOLE_WORDS and len(compact) >= MIN_WHOLE_CHARACTERS:
            found |= {(card.field, "whole_text") for card in cards if compact in card.compact}
    order = list(published)
    return tuple(Finding(f, k) for f, k in sorted(found, key=lambda item: (order.index(item[0]), KINDS.index(item[1]))))


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text as they are compared.

    >>> words_of("Book_a  FLIGHT-now!")
    ('book', 'a', 'flight', 'now')
    """
    return tuple(_WORD.findall(_visible(text).casefold()))


class _Card:
    """A published text, cut into what can be shared."""

    def __init__(self, field: str, text: str) -> None:
        self.field = field
        words = words_of(text)
        self.compact = "".join(words)
        self.grams: set[tuple[str, ...]] = set()
        for size in range(MIN_WHOLE_WORDS, NUM_WORDS + 1):
            self.grams.update(_windows(words, size))
        self.pieces = set(_pieces(self.compact))


def _index(cards: list[_Card], parts: Callable[[_Card], Iterable[Hashable]]) -> dict[Hashable, set[str]]:
    index: dict[Hashable, set[str]] = {}
    for card in cards:
        for part in parts(card):
            index.setdefault(part, set()).add(card.field)
    return index


def _windows(words: tuple[str, ...], size: int) -> Iterator[tuple[str, ...]]:
    return (words[i : i + size] for i in range(len(words) - size + 1))


def _pieces(compact: str) -> Iterator[str]:
    yield from (compact[i : i + NUM_CHARACTERS] for i in range(len(compact) - NUM_CHARACTERS + 1))
    for run in _WIDE.findall(compact):
        yield from (run[i : i + NUM_WIDE_CHARACTERS] for i in range(len(run) - NUM_WIDE_CHARACTERS + 1))


def _visible(text: str) -> str:
    """Return text in NFKC without format characters (zero-width joiners, soft hyphens, marks of direction)."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")


def _patterns_in(text: str, facts: Collection[str]) -> set[str]:
    plain = _visible(text)
    # Longest first: a short fact may be a part of a long one.
    for fact in sorted({_visible(fact) for fact in facts if len(fact) > 3}, key=len, reverse=True):
        plain = re.sub(rf"(?<!\w){re.escape(fact)}(?!\w)", " ", plain)
    found = {kind for kind, pattern in _PATTERNS.items() if pattern.search(plain)}
    runs = _RANDOM.findall(plain)
    if any(any(c.isdigit() for c in run) and any(c.isalpha() for c in run) for run in runs):
        found.add("token")
    return found
