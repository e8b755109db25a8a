"""What a model card says in its front matter, and the tags that follow from it.

Rules:
    1. The front matter is YAML between two lines of ``---``, read safely and up to a size; what cannot be read says
       nothing, as on the Hub.
    2. Tags: those of the card, its library, ``safetensors`` where such a file lies, ``base_model:..`` and, for an
       adapter, ``base_model:adapter:..``, ``license:..``.
"""

from __future__ import annotations

import datetime
from typing import Any

import yaml

from symbio_lab.testing.loopback_hub.repositories import HubCommit
from symbio_lab.testing.loopback_hub.state import HubState

CARD_NAME = "README.md"
MAX_CARD_BYTES = 1 << 20


def read_card(hub: HubState, commit: HubCommit) -> dict[str, Any]:
    """Return the front matter of a commit's card; empty where there is none that can be read."""
    file = commit.files.get(CARD_NAME)
    if file is None or file.size > MAX_CARD_BYTES:
        return {}
    return front_matter(hub.blobs.read(file.blob).decode("utf-8", "replace"))


def front_matter(text: str) -> dict[str, Any]:
    r"""Return the front matter of a text.

    >>> front_matter("---\nlicense: mit\n---\n# A card")
    {'license': 'mit'}
    """
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), 0)
    try:
        value = yaml.safe_load("\n".join(lines[1:end])) if end else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    plain = _plain(value)
    return plain if isinstance(plain, dict) else {}


def problems_of(text: str) -> list[str]:
    """Return what is wrong with the front matter of a text."""
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != "---":
        return []
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), 0)
    if not end:
        return ["the front matter has no end"]
    try:
        value = yaml.safe_load("\n".join(lines[1:end]))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [f"the front matter is not YAML: {error}".splitlines()[0]]
    return [] if value is None or isinstance(value, dict) else ["the front matter is not a mapping"]


def tags_of(card: dict[str, Any], commit: HubCommit) -> list[str]:
    """Return the tags of a repository, each once."""
    tags = [str(tag) for tag in _listed(card.get("tags"))]
    tags += [str(card["library_name"])] if card.get("library_name") else []
    tags += ["safetensors"] if any(path.endswith(".safetensors") for path in commit.files) else []
    is_adapter = card.get("base_model_relation") == "adapter" or card.get("library_name") == "peft"
    for base in _listed(card.get("base_model")):
        tags += [f"base_model:{base}", *([f"base_model:adapter:{base}"] if is_adapter else [])]
    tags += [f"license:{card['license']}"] if card.get("license") else []
    tags += [str(card["pipeline_tag"])] if card.get("pipeline_tag") else []
    return list(dict.fromkeys([*tags, "region:us"]))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _plain(value: Any) -> Any:
    """Return a YAML value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)
