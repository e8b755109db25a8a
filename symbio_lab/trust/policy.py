"""What a tenant accepts: whose signatures, from which trust level on, under which licences, how large.

Levels, lowest first:
    - ``unverified``: no valid signature of an enrolled key. Never becomes a ``Patch``, whatever the policy says.
    - ``signed``: an enrolled key signed it.
    - ``known_publisher``: that key belongs to a publisher whom the policy calls known.
    - ``evaluated``: enough known evaluators, none of them the publisher, saw it improve its base, and fewer saw harm.
    - ``trusted``: the organisation itself names the publisher's key as trusted.
``self`` (our own sealed tensors) ranks with ``unverified`` here: no policy accepts it from a market.

Example:
    >>> policy_from_mapping({"min_level": "signd", "max_rank": 0})
    Traceback (most recent call last):
    ...
    symbio_lab.errors.ConfigError: policy.min_level: 'signd' is not one of unverified, signed, known_publisher, \
evaluated, trusted; policy.max_rank: must be an integer of at least 1
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, cast

from symbio_lab.errors import ConfigError, TrustError
from symbio_lab.trust.evaluation_statement import EvaluationTally
from symbio_lab.trust.keys import PublicKey

Level = Literal["unverified", "signed", "known_publisher", "evaluated", "trusted"]
LEVELS: tuple[Level, ...] = ("unverified", "signed", "known_publisher", "evaluated", "trusted")
SELF_LEVEL = "self"


@dataclass(frozen=True, slots=True)
class PublisherKey:
    """One enrolled key."""

    public_hex: str
    """Ed25519 public key, 64 hex."""
    name: str
    """Who it is, for people to read."""
    known: bool = False
    """Known publishers reach ``known_publisher``, and their evaluations count."""
    namespaces: tuple[str, ...] = ()
    """Namespaces in which the key may publish; empty allows any that no other key holds."""


@dataclass(frozen=True)
class TrustPolicy:
    """The rules of one tenant, as data."""

    keys: Mapping[str, PublisherKey] = field(default_factory=dict)
    """Enrolled keys by keyid."""
    revoked: frozenset[str] = frozenset()
    """Keyids that no longer count, for patches and evaluations alike."""
    trusted: frozenset[str] = frozenset()
    """Keyids that the organisation itself trusts."""
    min_level: Level = "signed"
    """Lowest level that becomes a ``Patch``."""
    min_evaluators: int = 1
    """Distinct improving evaluators that ``evaluated`` takes."""
    licences: frozenset[str] = frozenset()
    """Allowed SPDX ids; empty allows all."""
    max_file_bytes: int = 256 << 20
    max_total_bytes: int = 512 << 20
    max_rank: int = 256
    check_expiry: bool = True
    """False only to replay old markets; a policy that faces strangers keeps it."""

    @cached_property
    def public_keys(self) -> Mapping[str, PublicKey]:
        """Checked public keys by keyid.

        Raises:
            TrustError: ``bad_key``: a key is not a valid point, or stands under another keyid than its own.
        """
        checked = {}
        for keyid, publisher in self.keys.items():
            key = PublicKey(publisher.public_hex)
            if key.keyid != keyid:
                raise TrustError("bad_key", f"the key of {publisher.name!r} stands under the wrong keyid")
            checked[keyid] = key
        return checked

    @cached_property
    def evaluators(self) -> Mapping[str, PublicKey]:
        """Public keys whose evaluations count: known and not revoked."""
        return {
            keyid: key
            for keyid, key in self.public_keys.items()
            if self.keys[keyid].known and keyid not in self.revoked
        }

    def enrol(self, *publishers: PublisherKey) -> TrustPolicy:
        """Return a policy that knows these keys too.

        Raises:
            TrustError: ``bad_key``: a key is not a valid point.
        """
        added = {PublicKey(publisher.public_hex).keyid: publisher for publisher in publishers}
        return replace(self, keys={**self.keys, **added})

    def revoke(self, *keyids: str) -> TrustPolicy:
        """Return a policy that no longer accepts these keys."""
        return replace(self, revoked=self.revoked | set(keyids))


def level_of(keyid: str, policy: TrustPolicy, tally: EvaluationTally | None = None) -> Level:
    """Return the trust level of a patch whose signature by ``keyid`` verified.

    Args:
        keyid: publisher's keyid; an unknown or revoked one is ``unverified``.
        policy: the tenant's rules.
        tally: what the policy's evaluators say about this patch.
    """
    publisher = policy.keys.get(keyid)
    if publisher is None or keyid in policy.revoked:
        return "unverified"
    if keyid in policy.trusted:
        return "trusted"
    if tally and tally.num_improving >= max(1, policy.min_evaluators) and tally.num_improving > tally.num_worsening:
        return "evaluated"
    return "known_publisher" if publisher.known else "signed"


def reaches(level: str, minimum: Level) -> bool:
    """Return whether ``level`` is at least ``minimum``; ``self`` and unknown levels reach ``unverified`` only.

    >>> reaches("evaluated", "signed"), reaches("self", "signed")
    (True, False)
    """
    rank = LEVELS.index(level) if level in LEVELS else 0
    return rank >= LEVELS.index(minimum)


def policy_from_mapping(value: Mapping[str, Any]) -> TrustPolicy:
    """Return the policy written in a settings file, or name everything that is wrong with it.

    Args:
        value: fields of ``TrustPolicy``; ``keys`` is a list of objects with the fields of ``PublisherKey``.

    Raises:
        ConfigError: with all problems at once.
    """
    problems: list[str] = []
    known_fields = {item.name for item in fields(TrustPolicy)}
    problems += [f"policy.{name}: no such setting" for name in sorted(set(value) - known_fields)]
    settings: dict[str, Any] = {"keys": _keys(value.get("keys", []), problems)}
    for name in ("revoked", "trusted"):
        settings[name] = frozenset(_texts(value.get(name, []), name, problems, "64 hex characters", r"[0-9a-f]{64}"))
    settings["licences"] = frozenset(_texts(value.get("licences", []), "licences", problems, "an SPDX id", r"\S+"))
    settings["min_level"] = value.get("min_level", "signed")
    if settings["min_level"] not in LEVELS:
        problems.append(f"policy.min_level: {settings['min_level']!r} is not one of {', '.join(LEVELS)}")
    for name in ("min_evaluators", "max_file_bytes", "max_total_bytes", "max_rank"):
        settings[name] = value.get(name, getattr(TrustPolicy, name))
        if type(settings[name]) is not int or settings[name] < 1:
            problems.append(f"policy.{name}: must be an integer of at least 1")
    settings["check_expiry"] = value.get("check_expiry", True)
    if type(settings["check_expiry"]) is not bool:
        problems.append("policy.check_expiry: must be true or false")
    problems += [
        f"policy.trusted: the key {keyid[:16]}... is not enrolled"
        for keyid in sorted(settings["trusted"] - set(settings["keys"]))
    ]
    if problems:
        raise ConfigError(problems)
    return TrustPolicy(**settings)


def _keys(value: Any, problems: list[str]) -> dict[str, PublisherKey]:
    if not isinstance(value, list | tuple):
        problems.append("policy.keys: must be a list")
        return {}
    keys: dict[str, PublisherKey] = {}
    for i, item in enumerate(value):
        where = f"policy.keys[{i}]"
        if not isinstance(item, Mapping):
            problems.append(f"{where}: must be an object with public_hex and name")
            continue
        names = {field_.name for field_ in fields(PublisherKey)}
        problems += [f"{where}.{name}: no such setting" for name in sorted(set(item) - names)]
        public_hex, name, known = item.get("public_hex"), item.get("name"), item.get("known", False)
        if not isinstance(name, str) or not name:
            problems.append(f"{where}.name: must be text")
        if type(known) is not bool:
            problems.append(f"{where}.known: must be true or false")
        spaces = _texts(
            item.get("namespaces", []), f"keys[{i}].namespaces", problems, "a namespace", r"[A-Za-z0-9._-]+"
        )
        try:
            keyid = PublicKey(cast(str, public_hex)).keyid
        except TrustError as error:
            problems.append(f"{where}.public_hex: {error}")
            continue
        if keyid in keys:
            problems.append(f"{where}.public_hex: the key is listed twice")
        keys[keyid] = PublisherKey(cast(str, public_hex), str(name), known is True, tuple(spaces))
    return keys


def _texts(value: Any, name: str, problems: list[str], kind: str, pattern: str) -> list[str]:
    if not isinstance(value, list | tuple | set | frozenset):
        problems.append(f"policy.{name}: must be a list")
        return []
    items = list(value)
    bad = [item for item in items if not isinstance(item, str) or not re.fullmatch(pattern, item)]
    problems += [f"policy.{name}: {item!r:.40} is not {kind}" for item in bad]
    return [item for item in items if item not in bad]


def policy_for(publishers: Iterable[PublisherKey], **settings: Any) -> TrustPolicy:
    """Return a policy that enrols ``publishers``, with other fields as given.

    Raises:
        TrustError: ``bad_key``: a key is not a valid point.
    """
    return TrustPolicy(**settings).enrol(*publishers)
