"""Controlled shifts: the same request, worded so that a model trained on clean text may fail.

Rules:
    1. A shift is a pure function of text and seed; the gold label stays true.
    2. A shift that finds nothing to change returns the text unchanged; ``apply_shift`` leaves such samples out.
    3. ``group`` is kept: a shifted text stays with its template.

Example:
    >>> new_products("My kettle broke.", seed=0) != "My kettle broke."
    True
    >>> new_products("I forgot my password.", seed=0)
    'I forgot my password.'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from symbio_lab.errors import DataError
from symbio_lab.failures.helpdesk_lexicon import DISTRACTORS, FILLERS, NEW_PRODUCTS, PRODUCTS
from symbio_lab.failures.spoken import spoken
from symbio_lab.records import Sample
from symbio_lab.seeding import numpy_generator

if TYPE_CHECKING:
    import numpy

Shift = Callable[[str, int], str]
TYPO_SHARE = 0.25
"""Share of words of at least four letters that get a slip of the fingers; at least one does."""
FILLER_SHARE = 0.12
"""Share of words that a filler precedes in a voice transcript; at least one does."""
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_PLAIN = {**{plural: single for single, plural in PRODUCTS.items()}, **{single: single for single in PRODUCTS}}
_KNOWN = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _PLAIN), key=len, reverse=True)) + r")\b", re.IGNORECASE)


def typos(text: str, seed: int) -> str:
    """Return the text as typed in haste: letters swapped, dropped, doubled, or a neighbouring key hit.

    Args:
        text: any text; words below four letters stay.
        seed: redraws which words and which slips.
    """
    rng = numpy_generator(seed, "typos", text)
    words = text.split(" ")
    able = [i for i, word in enumerate(words) if len(re.sub(r"[^A-Za-z]", "", word)) >= 4 and word.isascii()]
    if not able:
        return text
    hit = {i for i in able if rng.random() < TYPO_SHARE} or {able[int(rng.integers(len(able)))]}
    return " ".join(_slip(word, rng) if i in hit else word for i, word in enumerate(words))


def _slip(word: str, rng: numpy.random.Generator) -> str:
    letters = [i for i, char in enumerate(word) if char.isalpha()]
    # The first letter stays: readers and typists rarely get that one wrong.
    at = letters[1 + int(rng.integers(len(letters) - 2))]
    kind = int(rng.integers(4))
    if kind == 0 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    row = next(row for row in _ROWS if word[at].lower() in row)
    place = row.index(word[at].lower())
    return word[:at] + row[place + 1 if place + 1 < len(row) else place - 1] + word[at + 1 :]


def negation(text: str, seed: int) -> str:
    """Return the text with a sentence that denies another topic, before or after it.

    The gold label stays true: a topic is denied only where none of its word stems occurs in the text.

    Args:
        text: any text.
        seed: redraws the topic and its place.
    """
    rng = numpy_generator(seed, "negation", text)
    low = text.lower()
    free = [sentence for sentence, stems in DISTRACTORS.items() if not any(stem in low for stem in stems)]
    if not free:
        return text
    denied = free[int(rng.integers(len(free)))]
    if rng.random() < 0.5:
        return f"{denied} {text}"
    return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {denied}"


def new_products(text: str, seed: int) -> str:
    """Return the text with every product replaced by one that the corpus never names.

    Args:
        text: any text; unchanged when it names no product of the lexicon.
        seed: redraws the new products; one product becomes one new product throughout the text.
    """
    rng = numpy_generator(seed, "new_products", text)
    names = tuple(NEW_PRODUCTS)
    chosen: dict[str, str] = {}

    def swap(match: re.Match[str]) -> str:
        word = match.group().lower()
        single = _PLAIN[word]
        new = chosen.setdefault(single, names[int(rng.integers(len(names)))])
        return new if word == single else NEW_PRODUCTS[new]

    changed = _KNOWN.sub(swap, text)
    if not chosen:
        return text
    # The article follows the new word: "a kettle" becomes "an air fryer".
    for new in chosen.values():
        article = r"\1n " if new[0] in "aeio" else r"\1 "
        changed = re.sub(rf"\b([Aa])n? (?={re.escape(new)}\b)", article, changed)
    return changed


def voice_transcript(text: str, seed: int) -> str:
    """Return the text as a speech recogniser would write it: fillers, spelled numbers, no case, no punctuation.

    Args:
        text: any text.
        seed: redraws the fillers and their places.
    """
    rng = numpy_generator(seed, "voice_transcript", text)
    words = spoken(text).split()
    if not words:
        return text
    before = {i for i in range(len(words)) if rng.random() < FILLER_SHARE} or {int(rng.integers(len(words)))}
    said: list[str] = []
    for i, word in enumerate(words):
        if i in before:
            said.append(FILLERS[int(rng.integers(len(FILLERS)))].lower())
        said.append(word)
    return " ".join(said)


SHIFTS: dict[str, Shift] = {
    "typos": typos,
    "negation": negation,
    "new_products": new_products,
    "voice_transcript": voice_transcript,
}
"""Name -> shift."""


def apply_shift(samples: Iterable[Sample], shift: str, seed: int) -> tuple[Sample, ...]:
    """Return the shifted samples; those that the shift cannot change are left out.

    Args:
        samples: N samples.
        shift: a name in ``SHIFTS``; it becomes the ``source`` of the new samples.
        seed: redraws the shift.

    Returns:
        At most N samples, in order, with label, group and domain kept.

    Raises:
        DataError: no shift has this name.
    """
    if shift not in SHIFTS:
        raise DataError(f"unknown shift {shift!r}", hint="use one of: " + ", ".join(SHIFTS))
    changed = ((sample, SHIFTS[shift](sample.text, seed)) for sample in samples)
    return tuple(replace(sample, text=text, source=shift) for sample, text in changed if text != sample.text)
