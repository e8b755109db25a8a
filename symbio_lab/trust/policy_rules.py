"""What a trust policy file may say: one section of rules, for everybody or for one tenant.

``policy_file`` reads the file and lays a tenant's section over the default; ``TrustPolicy`` says what each setting
means.

Example:
    >>> problems = []
    >>> read_rules({"min_level": "high", "max_rank": 0, "revoked": ["alice"]}, "tenants.acme", problems)
    >>> for problem in problems:
    ...     print(problem)
    tenants.acme.min_level: Input should be 'unverified', 'signed', 'known_publisher', 'evaluated' or 'trusted'
    tenants.acme.revoked[0]: not 64 lower-case hex characters
    tenants.acme.max_rank: Input should be greater than or equal to 1
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from symbio_lab.errors import TrustError
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.naming import check_namespace_name, check_patch_id
from symbio_lab.trust.policy import Level, TrustPolicy


def _hex64(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("not 64 lower-case hex characters")
    return value


def _public_key(value: str) -> str:
    return _told(lambda text: PublicKey(str(text)).public_hex, value)


def _namespace(value: str) -> str:
    return _told(check_namespace_name, value)


def _protected(value: str) -> str:
    return _told(check_patch_id if "/" in value else check_namespace_name, value)


def _told(check: Callable[[object], str], value: str) -> str:
    try:
        return check(value)
    except TrustError as error:
        raise ValueError(str(error)) from error


def _licence(value: str) -> str:
    if not re.fullmatch(r"\S{1,100}", value):
        raise ValueError(f"{value!r:.80} is no SPDX id")
    return value


Keyid = Annotated[str, AfterValidator(_hex64)]
Licence = Annotated[str, AfterValidator(_licence)]
Namespace = Annotated[str, AfterValidator(_namespace)]
Text = Annotated[str, Field(min_length=1, max_length=400)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PublisherRule(_Strict):
    """One key that counts."""

    name: Text
    key: Annotated[str, AfterValidator(_public_key)]
    """Ed25519 public key, 64 hex."""
    known: bool = False
    trusted: bool = False
    namespaces: list[Namespace] = Field(default_factory=list)


class LicenceRule(_Strict):
    """The level that patches under one licence must reach."""

    licence: Licence
    min_level: Level


class RegistryRule(_Strict):
    """The registry that must list every patch."""

    uri: Text
    root_keyids: Annotated[list[Keyid], Field(min_length=1, max_length=64)]


class SuccessionRule(_Strict):
    """The policy's own word that one publisher's key takes the place of another's."""

    old: Keyid
    new: Keyid


def _kind_of_succession(value: Any) -> str:
    return _FILE if isinstance(value, str) else _KEYS


_FILE, _KEYS = "(file)", "(keys)"
SuccessionChoice = Annotated[
    Annotated[Text, Tag(_FILE)] | Annotated[SuccessionRule, Tag(_KEYS)], Discriminator(_kind_of_succession)
]
"""The file of a statement that both keys signed, or a decision of the policy's own."""


class PolicyRules(_Strict):
    """What the default or a tenant may set; see ``TrustPolicy`` for what each setting means."""

    min_level: Level = TrustPolicy.min_level
    min_signatures: int = Field(default=TrustPolicy.min_signatures, ge=1, le=32)
    min_evaluators: int = Field(default=TrustPolicy.min_evaluators, ge=1, le=10_000)
    licences: list[Licence] = Field(default_factory=list)
    licence_rules: list[LicenceRule] = Field(default_factory=list)
    publishers: list[PublisherRule] = Field(default_factory=list)
    revoked: list[Keyid] = Field(default_factory=list)
    successions: list[SuccessionChoice] = Field(default_factory=list)
    check_expiry: bool = TrustPolicy.check_expiry
    max_age_days: int | None = Field(default=TrustPolicy.max_age_days, ge=1, le=36_500)
    max_file_bytes: int = Field(default=TrustPolicy.max_file_bytes, ge=1)
    max_total_bytes: int = Field(default=TrustPolicy.max_total_bytes, ge=1)
    max_rank: int = Field(default=TrustPolicy.max_rank, ge=1)
    require_registry: RegistryRule | None = None
    protected_names: list[Annotated[str, AfterValidator(_protected)]] = Field(default_factory=list)
    check_lookalikes: bool = True
    refuse_disputed: bool = TrustPolicy.refuse_disputed


def read_rules(value: Any, place: str, problems: list[str]) -> PolicyRules | None:
    """Return one section of a policy file, or add everything that is wrong with it to ``problems``.

    Args:
        value: parsed YAML; a section that is left empty sets nothing.
        place: where it stands, for messages.
        problems: extended.
    """
    return read_model(PolicyRules, {} if value is None else value, place, problems)


_M = TypeVar("_M", bound=BaseModel)


def read_model(kind: type[_M], value: Any, place: str, problems: list[str]) -> _M | None:
    """Return ``value`` as a model, or add everything that is wrong with it to ``problems``, each with its place."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems += [
            f"{_path(place, item['loc'])}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
        ]
        return None


def _path(place: str, location: tuple[int | str, ...]) -> str:
    """Return a place in the file; what pydantic adds to tell kinds, and keys from values, apart is none."""
    named = [part for part in location if part not in (_FILE, _KEYS, "[key]")]
    steps = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in named]
    return (place + "".join(steps)).lstrip(".") or "the file"
