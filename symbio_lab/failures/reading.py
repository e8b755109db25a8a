"""One stored row to one sample, for every dataset of the catalogue.

Rules:
    1. A row that has no single gold label is dropped (None), never guessed.
    2. Numeric labels become their names, so that bases and patches of different datasets can share labels.
    3. ``group`` is empty where the source names no unit; near-duplicate clusters fill it later.

Example:
    >>> from symbio_lab.failures.catalogue import get_card
    >>> to_sample(get_card("snips"), "test", {"text": "play jazz", "intent": "PlayMusic"}).expected
    'PlayMusic'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from symbio_lab.errors import MissingColumnsError
from symbio_lab.failures.catalogue import DatasetCard
from symbio_lab.records import Sample

Row = Mapping[str, Any]


def to_sample(card: DatasetCard, source: str, row: Row) -> Sample | None:
    """Return the sample of a row, or None when the row carries no single gold label.

    Args:
        card: the dataset's card.
        source: source split, the stem of the file name.
        row: one JSON object.

    Raises:
        MissingColumnsError: the row lacks the text or label column.
    """
    missing = [name for name in (card.text_field, card.label_field) if name not in row]
    if missing:
        raise MissingColumnsError(f"{card.name}/{source}", missing, sorted(row))
    expected = _gold(card, row)
    if expected is None:
        return None
    text = _TEXTS[card.name](row) if card.name in _TEXTS else str(row[card.text_field])
    if card.name in _GROUPS:
        group = _GROUPS[card.name](source, row)
    else:
        group = _text_or_empty(row.get(card.group_field)) if card.group_field else ""
    if card.name in _DOMAINS:
        domain = _DOMAINS[card.name](source, row)
    else:
        domain = _text_or_empty(row.get(card.domain_field)) if card.domain_field else ""
    return Sample(text, expected, group, domain, source)


def _text_or_empty(value: object) -> str:
    return "" if value is None else str(value)


def _gold(card: DatasetCard, row: Row) -> str | None:
    value = row[card.label_field]
    if row.get("expect", "label") != "label" or value is None or not str(value).strip():
        return None
    if isinstance(value, list):
        return str(value[0]) if len(value) == 1 else None
    if card.label_names and isinstance(value, int):
        return card.label_names[value]
    return str(value)


def _sgd_text(row: Row) -> str:
    acts = [f"{act} {slot} = {', '.join(values)}".strip(" =") for act, slot, values in row["actions"]]
    return f"{row['service']} | {'; '.join(acts)} | user: {row['user']}"


def _hatemoji_group(source: str, row: Row) -> str:
    if "test_group_id" in row:
        return f"check-{row['test_group_id']}"
    # An original and its perturbation name each other; the smaller id stands for the pair.
    pair = [int(row[key]) for key in ("id", "matched_id") if row.get(key) is not None]
    return f"build-{min(pair)}"


def _first_word(source: str, row: Row) -> str:
    return source.split("_")[0]


_TEXTS: dict[str, Callable[[Row], str]] = {"sgd_nlg": _sgd_text}
_GROUPS: dict[str, Callable[[str, Row], str]] = {
    "hatemoji": _hatemoji_group,
    # Dialogue numbers start again in every split of the source.
    "sgd_nlg": lambda source, row: f"{source}-{row['dialogue']}",
}
_DOMAINS: dict[str, Callable[[str, Row], str]] = {
    "banking77": lambda source, row: "banking",
    "clinc150": lambda source, row: _text_or_empty(row.get("domain")) or "out_of_scope",
    "hatemoji": lambda source, row: str(row.get("functionality") or row.get("type") or ""),
    "hint3": _first_word,
    "multidogo": _first_word,
    "scan": lambda source, row: source.rsplit("_", 1)[0],
}
