r"""Model cards: the YAML in front of a README, and the tags that the Hub makes of it.

Rules:
    1. The card is what stands between two lines ``---`` at the very beginning; one that is too long, too deep or no
       mapping counts as empty: a listing never fails because of somebody's README.
    2. Tags are the card's own, then the library, what the files show, base models, data sets, languages and licence.

Example:
    >>> card = read_card(b"---\nlicense: mit\nbase_model: org/base\nlibrary_name: peft\n---\n# Title")
    >>> find_tags(card, ["adapter_model.safetensors"])
    ['peft', 'safetensors', 'base_model:org/base', 'base_model:adapter:org/base', 'license:mit', 'region:us']
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

MOST_BYTES = 1 << 20
"""Longest README that is looked into."""
_MOST_VALUES = 20_000
_MOST_DEPTH = 20
_FRONT = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def read_card(readme: bytes) -> Mapping[str, Any]:
    """Return the card of a README; empty if there is none that can be read."""
    try:
        return parse_card(readme)
    except ValueError:
        return {}


@lru_cache(maxsize=512)
def parse_card(readme: bytes) -> Mapping[str, Any]:
    """Return the card of a README; empty if there is none.

    Raises:
        ValueError: there is one, but it is no mapping of plain values, or is too large.
    """
    import yaml

    found = _FRONT.match(readme[:MOST_BYTES])
    if found is None:
        return {}
    try:
        value = yaml.safe_load(found[1].decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"the metadata is no YAML: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("the metadata must be a mapping")
    # Aliases make a short text huge, so values are counted while they are copied.
    budget = [_MOST_VALUES]
    plain: dict[str, Any] = _plain(value, budget, _MOST_DEPTH)
    return plain


def _plain(value: Any, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        raise ValueError("the metadata has too many values")
    if isinstance(value, dict):
        return {str(key): _plain(item, budget, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item, budget, depth - 1) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def find_tags(card: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the tags of a repository.

    Args:
        card: its card.
        names: its files.
    """
    names = list(names)
    library, pipeline = _texts(card.get("library_name")), _texts(card.get("pipeline_tag"))
    bases = _texts(card.get("base_model"))
    is_adapter = "peft" in library or "adapter_config.json" in names
    relation = (_texts(card.get("base_model_relation")) or ["adapter" if is_adapter else "finetune"])[0]
    tags = [*library, *(["safetensors"] if any(name.endswith(".safetensors") for name in names) else [])]
    tags += [*pipeline, *_texts(card.get("tags")), *_texts(card.get("language"))]
    tags += [f"dataset:{name}" for name in _texts(card.get("datasets"))]
    tags += [f"base_model:{name}" for name in bases] + [f"base_model:{relation}:{name}" for name in bases]
    tags += [f"license:{name}" for name in _texts(card.get("license"))]
    return list(dict.fromkeys([*tags, "region:us"]))


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str) and item]
