"""What a house lets out: licences that it states, and the fields in which it accepts what the screen finds.

A file, every field optional::

    version: 1
    licence: Apache-2.0                  # of what is published; default: the patch's own
    base_licence: Apache-2.0             # of the base, where it is not known here
    base_name: org/model                 # public name of a base that is known here by a local path
    lineage_licences:                    # of patches that are not in the store: payload digest -> SPDX id
      <64 hex>: MIT
    may_hold:                            # field -> kinds of the privacy screen that it may hold
      labels: [shared_words]
    min_texts_behind_word: 3             # a word of the description that fewer texts hold is left out
    min_samples_behind_digest: 4         # the digest of a smaller split could be guessed

Keys and tokens (kind ``token``) can never be allowed.

Example:
    >>> house_rules({"may_hold": {"scope": ["token"]}, "min_texts_behind_word": 0})
    Traceback (most recent call last):
    ...
    symbio_lab.errors.ConfigError: may_hold.scope: 'token' can never be published; \
min_texts_behind_word: must be an integer of at least 1
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.contribution.privacy_screen import KINDS

FIELDS = [
    "patch_id",
    "title",
    "scope",
    "labels",
    "domain",
    "training_data",
    "licence",
    "base_id",
    "target_modules",
    "head_labels",
    "claims",
    "evaluation",
]
"""Published fields, as findings name them."""
RULES = [
    "version",
    "licence",
    "base_licence",
    "base_name",
    "lineage_licences",
    "may_hold",
    "min_texts_behind_word",
    "min_samples_behind_digest",
]


@dataclass(frozen=True, slots=True)
class HouseRules:
    """The rules of one house, as data."""

    licence: str | None = None
    """SPDX id of what is published; None keeps the patch's own."""
    base_licence: str | None = None
    """SPDX expression of the base; None: not known."""
    base_name: str | None = None
    """Name of the base for others; None keeps the patch's own. What a patch fits is decided by the base's digest."""
    lineage_licences: Mapping[str, str] = field(default_factory=dict)
    """Payload digest -> SPDX expression, for patches that are not in the store."""
    may_hold: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Published field -> kinds of the screen that it may hold all the same."""
    min_texts_behind_word: int = 3
    """Texts that must hold a word of the description before it is published."""
    min_samples_behind_digest: int = 4
    """Samples that a split must have before its digest is published."""


def load_house_rules(path: Path) -> HouseRules:
    """Return the rules in a YAML file.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or breaks rules; all problems at once.
    """
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        """Refuses a key that stands twice: only one of the two would count."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [str(key.value) for key, _ in node.value]
            if len(set(names)) != len(names):
                raise yaml.constructor.ConstructorError(None, None, "duplicate key", node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{path.name}: {' '.join(str(error).split())}"], hint="give a YAML file") from error
    if not isinstance(value, Mapping):
        raise ConfigError([f"{path.name}: is not a mapping of rules"], hint="start it with: version: 1")
    return house_rules(value)


def house_rules(value: Mapping[str, Any]) -> HouseRules:
    """Return the rules written as plain values.

    Raises:
        ConfigError: with all problems at once.
    """
    problems = [f"{name}: no such rule" for name in map(str, value) if name not in RULES]
    if value.get("version", 1) != 1:
        problems.append("version: must be 1")
    for name, what in (("licence", "an SPDX id"), ("base_licence", "an SPDX id"), ("base_name", "a name")):
        if not isinstance(value.get(name), str | None) or value.get(name) == "":
            problems.append(f"{name}: must be {what}")
    lineage = _mapping(value, "lineage_licences", problems)
    for digest, licence in lineage.items():
        if not re.fullmatch(r"[0-9a-f]{64}", str(digest)) or not isinstance(licence, str):
            problems.append(f"lineage_licences.{digest!s:.16}: must be a digest of 64 hex characters and an SPDX id")
    allowed = {name: _kinds(name, kinds, problems) for name, kinds in _mapping(value, "may_hold", problems).items()}
    numbers: dict[str, int] = {}
    for name in ("min_texts_behind_word", "min_samples_behind_digest"):
        numbers[name] = value.get(name, getattr(HouseRules(), name))
        if type(numbers[name]) is not int or numbers[name] < 1:
            problems.append(f"{name}: must be an integer of at least 1")
    if problems:
        raise ConfigError(problems, hint="rules: " + ", ".join(RULES))
    return HouseRules(
        licence=value.get("licence"),
        base_licence=value.get("base_licence"),
        base_name=value.get("base_name"),
        lineage_licences={str(digest): licence for digest, licence in lineage.items()},
        may_hold=allowed,
        min_texts_behind_word=numbers["min_texts_behind_word"],
        min_samples_behind_digest=numbers["min_samples_behind_digest"],
    )


def _mapping(value: Mapping[str, Any], name: str, problems: list[str]) -> Mapping[Any, Any]:
    found = value.get(name) or {}
    if not isinstance(found, Mapping):
        problems.append(f"{name}: must be a mapping")
        return {}
    return found


def _kinds(name: object, kinds: Any, problems: list[str]) -> frozenset[str]:
    if name not in FIELDS:
        problems.append(f"may_hold.{name!s:.40}: no such field; fields: {', '.join(FIELDS)}")
    if not isinstance(kinds, list | tuple):
        problems.append(f"may_hold.{name!s:.40}: must be a list of kinds")
        return frozenset()
    for kind in kinds:
        if kind == "token":
            problems.append(f"may_hold.{name!s:.40}: 'token' can never be published")
        elif kind not in KINDS:
            problems.append(f"may_hold.{name!s:.40}: {kind!r:.40} is no kind; kinds: {', '.join(KINDS)}")
    return frozenset(map(str, kinds))
