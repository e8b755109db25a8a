"""Which words are common in the traffic, which are rare, and which rare ones look like typing errors.

Rules:
    1. A word is a run of letters and digits, apostrophes inside included, lower-cased.
    2. A word is rare when fewer than ``RARE`` texts of the traffic hold it and nobody vouches for it (``known``).
    3. A rare word is a misspelling when it is one deletion, insertion, substitution or swap of neighbours away from a
       common word, and no mere inflection of it.

Example:
    >>> lexicon = Lexicon.of(["book a flight"] * 12 + ["book a fligth", "book a zeppelin"])
    >>> [(word, lexicon.is_rare(word), lexicon.is_misspelling(word)) for word in ("flight", "fligth", "zeppelin")]
    [('flight', False, False), ('fligth', True, True), ('zeppelin', True, False)]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

RARE = 4
"""A word in fewer texts than this is rare."""
COMMON = 10
"""A word in at least this many texts is what others may be misspellings of."""
SHORTEST = 4
"""Shorter words are one edit away from too much, in letters."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_INFLECTIONS = ("s", "es", "d", "ed", "r", "er", "ing", "ly", "'s")


def words_in(text: str) -> list[str]:
    """Return the words of a text in order, lower-cased.

    >>> words_in("Don't pay TWICE, ok?")
    ["don't", 'pay', 'twice', 'ok']
    """
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words of some traffic by how many texts hold them."""

    seen: frozenset[str]
    """Words that are not rare, and those that somebody vouches for."""
    common: frozenset[str]
    """Words that others may be misspellings of."""
    near: frozenset[str]
    """The common words with any one letter left out, and themselves."""

    @classmethod
    def of(cls, texts: Iterable[str], known: Iterable[str] = ()) -> Lexicon:
        """Return the lexicon of N texts.

        Args:
            texts: the traffic, failures and successes alike.
            known: words that are not rare whatever the traffic says, such as an encoder's vocabulary.
        """
        counts = Counter(word for text in texts for word in set(words_in(text)))
        common = frozenset(word for word, count in counts.items() if count >= COMMON and len(word) >= SHORTEST)
        return cls(
            seen=frozenset(word for word, count in counts.items() if count >= RARE) | frozenset(known),
            common=common,
            near=common | frozenset(shorter for word in common for shorter in _shortened(word)),
        )

    def is_rare(self, word: str) -> bool:
        """Return whether hardly any text holds the word; numbers are never rare."""
        return word not in self.seen and not word[0].isdigit()

    def is_misspelling(self, word: str) -> bool:
        """Return whether a rare word is one edit away from a common one."""
        if len(word) < SHORTEST or not self.is_rare(word) or self._is_inflection(word):
            return False
        return word in self.near or any(shorter in self.near for shorter in _shortened(word))

    def _is_inflection(self, word: str) -> bool:
        stems = [word.removesuffix(ending) for ending in _INFLECTIONS if word.endswith(ending)]
        return any(stem in self.common for stem in stems) or any(
            word + ending in self.common for ending in _INFLECTIONS
        )


def _shortened(word: str) -> set[str]:
    """Return the word with any one letter left out.

    Two words share such a form when they differ by one substitution or a swap of neighbours (Garbe 2012, SymSpell);
    a few pairs two edits apart share one too.
    """
    return {word[:i] + word[i + 1 :] for i in range(len(word))}
