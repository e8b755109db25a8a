"""Title, scope and training statement of a contribution: written from facts and from words that many users share.

Rules:
    1. A word of the pattern's description that only one or two private texts hold is left out: it may be a name.
       Words that no private text holds and words that many hold (the topic's) stay, and so do those of the slice's
       name and labels, which are published anyway, and those of the sentence that every description is.
    2. The training statement has numbers, digests, method and seed, and the notices to keep. It has no text.

Example:
    >>> texts = ["book a flight to Rome", "is my flight late", "change the flight", "pay my bill"]
    >>> shared_words("Requests about travel are answered wrongly (flight, rome)", texts, 3)
    'Requests about travel are answered wrongly (flight)'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from symbio_lab.marketplace.contribution.incident import Incident
from symbio_lab.marketplace.contribution.privacy_screen import words_of
from symbio_lab.records import Patch

MAX_TITLE_LABELS = 4
MAX_TEXT = 8_000
"""Characters of a long text of a manifest."""
_SENTENCE = ("requests", "about", "are", "answered", "wrongly")
"""Words of ours in every description."""
_WORD = re.compile(r"[^\W_]+")
_EMPTY = ((r"\s*,(?:\s*,)+", ","), (r"\(\s*,\s*", "("), (r"\s*,\s*\)", ")"), (r"\(\s*\)", ""), (r"\s{2,}", " "))


def title_of(incident: Incident) -> str:
    """Return one line: the slice, and the first of its labels."""
    topic = incident.domain.replace("_", " ") or "unnamed traffic"
    shown = ", ".join(incident.labels[:MAX_TITLE_LABELS])
    more = len(incident.labels) - MAX_TITLE_LABELS
    title = f"Repair of {topic}" + (f": {shown}" if shown else "") + (f" and {more} more" if more > 0 else "")
    return title[:300]


def scope_of(incident: Incident, min_texts: int) -> str:
    """Return the pattern's description without words of few users."""
    public = {word for text in (incident.domain, *incident.labels) for word in words_of(text)}
    return shared_words(incident.description, incident.private_texts(), min_texts, public)[:MAX_TEXT]


def shared_words(description: str, private_texts: Iterable[str], min_texts: int, public: Collection[str] = ()) -> str:
    """Return ``description`` without words of few users.

    Args:
        description: the pattern in words.
        private_texts: what users wrote.
        min_texts: texts that must hold a word, unless none does.
        public: words that are published anyway.
    """
    held = Counter(word for text in private_texts for word in set(words_of(text)))
    kept_anyway = {*_SENTENCE, *public}

    def keep(match: re.Match[str]) -> str:
        rare = any(0 < held[word] < min_texts and word not in kept_anyway for word in words_of(match[0]))
        return "" if rare else match[0]

    kept = _WORD.sub(keep, description)
    for pattern, by in _EMPTY:
        kept = re.sub(pattern, by, kept)
    return kept.strip()


def training_statement(incident: Incident, patch: Patch, notices: Iterable[str]) -> str:
    """Return what was given to the method, what decided about the patch, and the notices to keep.

    Args:
        incident: how the patch came about.
        patch: as it was made here, or adopted from a market.
        notices: ``source: licence`` of everything that the patch was made from.
    """
    digests = incident.digests()

    def stated(name: str, what: str) -> str:
        return f"{len(incident.splits[name])} {what} (split {name}, sha256 {digests[name]})" if name in digests else ""

    given = [stated("repair", "failures of the base"), stated("replay", "samples of its other traffic")]
    judged = [stated("selection", "failures"), stated("control_selection", "samples of other traffic")]
    deciding = f"{_and(judged)} decided about it and were not trained on."
    if not incident.adopted:
        made = f"Made by the method {incident.method} (seed {incident.seed}) from {_and(given)}. {deciding}"
    else:
        made = f"Adopted unchanged: patch {patch.digest} of the key {patch.manifest.keyid}. {deciding}"
    parts = [made, "A digest is over the sorted ids of the samples; no text of a sample is published."]
    if notices := tuple(notices):
        parts.append(f"Notices to keep: {'; '.join(notices)}.")
    if incident.adopted and patch.manifest.training_data:
        parts.append(f"Its publisher states: {patch.manifest.training_data}")
    return " ".join(parts)[:MAX_TEXT]


def _and(parts: Iterable[str]) -> str:
    return " and ".join(part for part in parts if part)
