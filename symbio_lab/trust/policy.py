"""What a tenant accepts: whose signatures, from which trust level on, under which licences, how large.

Levels, lowest first:
    - ``unverified``: no valid signature of an enrolled key. Never becomes a ``Patch``, whatever the policy says.
    - ``signed``: an enrolled key signed it.
    - ``known_publisher``: that key belongs to a publisher whom the policy calls known.
    - ``evaluated``: enough known evaluators, none of them the publisher, saw it improve its base, and fewer saw harm;
      a claim that more of them dispute than confirm is not evaluated, whatever else they saw.
    - ``trusted``: the organisation itself names the publisher's key as trusted.
``self`` (our own sealed tensors) ranks with ``unverified`` here: no policy accepts it from a market.

Holders: a key and the keys that succeed it belong to one holder, who has one vote, one signature towards a threshold,
and the names of all its keys. A policy is a value; ``policy_file`` reads one that people write, and ``succession`` the
signed statements by which a holder changes or revokes a key.

Example:
    >>> TrustPolicy(min_level="known_publisher").revoke("ab" * 32).revoked == {"ab" * 32}
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from symbio_lab.errors import TrustError
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


@dataclass(frozen=True, slots=True)
class RegistryRequirement:
    """The registry that must list a patch; whoever opens a market for this policy wraps it accordingly."""

    uri: str
    """Where its metadata lie."""
    root_keyids: tuple[str, ...]
    """Keyids that may sign its root metadata, 64 hex each."""


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
    min_signatures: int = 1
    """Distinct holders of enrolled, unrevoked keys that must have signed the manifest."""
    licence_levels: Mapping[str, Level] = field(default_factory=dict)
    """Licence -> lowest level at which a patch under it becomes a ``Patch``, where that is above ``min_level``."""
    max_age_days: int | None = None
    """Days after its issue at which a patch is refused although it has not expired; None asks nothing."""
    refuse_disputed: bool = False
    """Refuse patches whose claims more evaluators dispute than confirm, at every level."""
    check_lookalikes: bool = False
    """Refuse names that can be taken for one that another key published before."""
    protected_names: tuple[str, ...] = ()
    """Namespaces and ``namespace/name`` ids that nobody may imitate, seen before or not."""
    successors: Mapping[str, str] = field(default_factory=dict)
    """Keyid -> keyid of the key that takes its place."""
    require_registry: RegistryRequirement | None = None
    """The registry that must list every patch."""

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
        """Public keys whose evaluations count: known, not revoked, and the last key of their holder."""
        return {
            keyid: key
            for keyid, key in self.public_keys.items()
            if self.keys[keyid].known and keyid not in self.revoked and keyid not in self.successors
        }

    def evaluators_of(self, publisher: str) -> Mapping[str, PublicKey]:
        """Return the evaluators whose word about a patch by the key ``publisher`` counts: not its own holder's."""
        return {
            keyid: key
            for keyid, key in self.evaluators.items()
            if keyid == publisher or not self.same_holder(keyid, publisher)
        }

    @property
    def needs_evaluations(self) -> bool:
        """Whether what evaluators say can decide if a patch is accepted."""
        asked = (self.min_level, *self.licence_levels.values())
        return self.refuse_disputed or any(reaches(level, "evaluated") for level in asked)

    def level_asked(self, licence: str) -> Level:
        """Return the lowest level at which a patch under ``licence`` is accepted."""
        own = self.licence_levels.get(licence, self.min_level)
        return own if reaches(own, self.min_level) else self.min_level

    def enrol(self, *publishers: PublisherKey) -> TrustPolicy:
        """Return a policy that knows these keys too.

        Raises:
            TrustError: ``bad_key``: a key is not a valid point.
        """
        added = {PublicKey(publisher.public_hex).keyid: publisher for publisher in publishers}
        return replace(self, keys={**self.keys, **added})

    def revoke(self, *keyids: str) -> TrustPolicy:
        """Return a policy that no longer accepts these keys.

        A revoked key does not count at all: a signature has no trusted time, so whoever stole the key could date
        one before the revocation.
        """
        return replace(self, revoked=self.revoked | set(keyids))

    def succeed(self, old: str, new_hex: str) -> TrustPolicy:
        """Return a policy in which a new key has the rights and the names of an enrolled one.

        This is the policy's own decision; ``succession.accept_statement`` makes it on a statement of both keys. The
        old key keeps counting until it is revoked. A new key that was enrolled before keeps its own rights too.

        Args:
            old: keyid of an enrolled key.
            new_hex: public key that takes its place, 64 hex.

        Raises:
            TrustError: ``bad_key``: not a valid point; ``unknown_key``: ``old`` is not enrolled; ``name_taken``:
                another key succeeds it already; ``bad_manifest``: the new key comes before the old one.
        """
        new, held = PublicKey(new_hex).keyid, self.keys.get(old)
        if held is None:
            raise TrustError("unknown_key", f"the key {old[:16]}... that is to be succeeded is not enrolled")
        if self.successors.get(old, new) != new:
            raise TrustError("name_taken", f"another key succeeds {old[:16]}... already")
        if self.descends(new, old):
            raise TrustError("bad_manifest", f"the key {new[:16]}... cannot succeed itself or a key that follows it")
        own = self.keys.get(new)
        heir = PublisherKey(
            new_hex,
            own.name if own else held.name,
            known=held.known or bool(own and own.known),
            namespaces=tuple(sorted({*held.namespaces, *(own.namespaces if own else ())})),
        )
        return replace(
            self,
            keys={**self.keys, new: heir},
            trusted=self.trusted | {new} if old in self.trusted else self.trusted,
            successors={**self.successors, old: new},
        )

    def descends(self, old: str, new: str) -> bool:
        """Return whether ``new`` is ``old`` or follows it through successors."""
        seen = set()
        while old != new:
            seen.add(old)
            old = self.successors.get(old, "")
            if not old or old in seen:
                return False
        return True

    def predecessors_of(self, keyid: str) -> frozenset[str]:
        """Return the keyids whose names have passed to ``keyid``."""
        return frozenset(old for old in self.successors if old != keyid and self.descends(old, keyid))

    def same_holder(self, one: str, other: str) -> bool:
        """Return whether two keys belong to one holder: either follows the other, or both lead to one key."""
        return self._last(one) == self._last(other)

    def num_holders(self, keyids: Iterable[str]) -> int:
        """Return how many distinct holders these keys have; revoked and unknown keys have none."""
        counted = [keyid for keyid in keyids if keyid in self.keys and keyid not in self.revoked]
        # By key bytes as well: one key enrolled under two ids would otherwise count twice.
        return len({self._last(PublicKey(self.keys[keyid].public_hex).keyid) for keyid in counted})

    def _last(self, keyid: str) -> str:
        seen = set()
        while keyid in self.successors and keyid not in seen:
            seen.add(keyid)
            keyid = self.successors[keyid]
        return keyid


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
    enough = tally is not None and tally.num_improving >= max(1, policy.min_evaluators)
    if tally and enough and tally.num_improving > tally.num_worsening and not is_disputed(tally):
        return "evaluated"
    return "known_publisher" if publisher.known else "signed"


def is_disputed(tally: EvaluationTally) -> bool:
    """Return whether more evaluators dispute what the publisher claims than bear it out.

    >>> is_disputed(EvaluationTally(num_disputing=1)), is_disputed(EvaluationTally(num_disputing=1, num_confirming=1))
    (True, False)
    """
    return tally.num_disputing > tally.num_confirming


def reaches(level: str, minimum: Level) -> bool:
    """Return whether ``level`` is at least ``minimum``; ``self`` and unknown levels reach ``unverified`` only.

    >>> reaches("evaluated", "signed"), reaches("self", "signed")
    (True, False)
    """
    rank = LEVELS.index(level) if level in LEVELS else 0
    return rank >= LEVELS.index(minimum)


def policy_for(publishers: Iterable[PublisherKey], **settings: Any) -> TrustPolicy:
    """Return a policy that enrols ``publishers``, with other fields as given.

    Raises:
        TrustError: ``bad_key``: a key is not a valid point.
    """
    return TrustPolicy(**settings).enrol(*publishers)
