"""Tiny samples: a text's label is the class of its key words.

The base knows the classes ``red``, ``green``, ``blue`` and ``grey``; the slices are texts of the new labels ``cyan``
and ``plum``, or new words (``odd``) of known labels. The generator names the class of the key words.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from symbio_lab.records import Sample

KNOWN = ("blue", "green", "grey", "red")
NEW = ("cyan", "plum")
SHADES = (*NEW, "rust", "teal")
ANSWERS = ("it is an animal", "that was fruit", "some tool here")
FILLERS = ("please", "the", "a", "my", "now", "with", "and", "for", "about", "need")


def key_words(label: str) -> tuple[str, ...]:
    """Return the words that mark a class."""
    return tuple(f"{label}{n}" for n in range(6))


def all_words() -> list[str]:
    """Return every word that the tiny tokenizers know."""
    kinds = [*KNOWN, *SHADES, *(f"odd{label}" for label in KNOWN), "animal", "fruit", "tool", "strange"]
    answers = [word for answer in ANSWERS for word in answer.split()]
    return sorted({*FILLERS, *answers, *(w for kind in kinds for w in key_words(kind))})


def texts_of(kind: str, count: int, seed: int) -> list[str]:
    """Distinct texts of one class: three key words among two fillers."""
    rng = np.random.default_rng([seed, *kind.encode()])
    found: dict[str, None] = {}
    while len(found) < count:
        words = [*rng.choice(key_words(kind), size=3), *rng.choice(FILLERS, size=2)]
        found[" ".join(rng.permutation(words).tolist())] = None
    return list(found)


def samples_of(kinds: Mapping[str, str], count: int, seed: int, *, domain: str, source: str = "") -> tuple[Sample, ...]:
    """``count`` samples of each kind in turn; kind -> gold. Every text is its own group."""
    columns = [[Sample(t, gold, t, domain, source) for t in texts_of(k, count, seed)] for k, gold in kinds.items()]
    return tuple(sample for row in zip(*columns, strict=True) for sample in row)


def known_samples(count: int = 40, seed: int = 0) -> tuple[Sample, ...]:
    """Return samples of the labels that the base knows."""
    return samples_of({label: label for label in KNOWN}, count, seed, domain="colours")


def new_samples(count: int = 20, seed: int = 0) -> tuple[Sample, ...]:
    """Return samples of labels that the base has no rows for."""
    return samples_of({label: label for label in NEW}, count, seed, domain="shades")


def odd_samples(count: int = 20, seed: int = 0) -> tuple[Sample, ...]:
    """Known labels in words that the base never learned."""
    return samples_of({f"odd{label}": label for label in KNOWN[:2]}, count, seed, domain="odd")


def generation_samples(count: int = 24, seed: int = 0) -> tuple[Sample, ...]:
    """Return inputs that the generator answers rightly."""
    return samples_of(dict(zip(("animal", "fruit", "tool"), ANSWERS, strict=True)), count, seed, domain="things")


def strange_samples(count: int = 24, seed: int = 0) -> tuple[Sample, ...]:
    """Words that the generator was taught a wrong answer to; the right one is one that it can give."""
    return samples_of({"strange": ANSWERS[0]}, count, seed, domain="strange")
