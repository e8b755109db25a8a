"""Renewing signatures before they expire, and changing whose keys count.

Rules:
    1. A timestamp is short-lived and renewed always; other roles once half of their lifetime is over. A role whose keys
       are not at hand is left alone until it has expired: then renewing says which keys are lacking.
    2. A new set of root keys is signed by enough of the old ones and enough of the new ones. Clients follow the chain
       of roots from the one that they trust; what the replaced keys sign from then on counts for nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.registry.keeping import KeptRegistry, open_kept
from symbio_lab.marketplace.registry.layout import ROLES
from symbio_lab.marketplace.registry.registered_lists import bin_roles, delegate_bins
from symbio_lab.marketplace.registry.role_keys import Lifetimes, RegistryKeys
from symbio_lab.marketplace.registry.signer import tuf_key
from symbio_lab.marketplace.registry.signing import has_keys, publish_state, sign_root
from symbio_lab.marketplace.registry.writing import LOCK_NAME, RegistryChange
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.locking import locked
from symbio_lab.trust.strict_fields import instant


def due_roles(
    folder: Path, root: bytes, *, memory: Path, now: str, lifetimes: Lifetimes | None = None
) -> tuple[str, ...]:
    """Return the roles of which half of the lifetime is over, so that their keys can be fetched.

    Raises:
        NotFoundError: there is no registry.
        TrustError: the folder is not what was signed.
        StorageError: the folder cannot be read.
    """
    kept = open_kept(folder, root, memory)
    signed: list[tuple[str, Any]] = [("root", kept.root), ("snapshot", kept.snapshot), ("timestamp", kept.timestamp)]
    signed += [("targets", listed) for listed in (kept.targets, *map(kept.list_of, bin_roles(kept)))]
    due = {role for role, part in signed if _is_half_over(part, role, now, lifetimes or Lifetimes())}
    return tuple(role for role in ROLES if role in due)


def renew_registry(
    folder: Path,
    root: bytes,
    keys: RegistryKeys,
    *,
    memory: Path,
    now: str,
    lifetimes: Lifetimes | None = None,
) -> RegistryChange:
    """Return which roles were signed anew.

    Args:
        folder: folder of the registry.
        root: bytes of a root that the keeper trusts.
        keys: private keys that are at hand.
        memory: file in which the keeper remembers what it signed.
        now: UTC time.
        lifetimes: None takes the defaults.

    Raises:
        NotFoundError: there is no registry.
        ConfigError: the key of the timestamp, or of a role that has expired, is lacking.
        TrustError: the folder is not what was signed.
        StorageError: the folder cannot be written.
    """
    lifetimes = lifetimes or Lifetimes()
    with locked(folder / LOCK_NAME):
        kept = open_kept(folder, root, memory)

        def is_due(signed: Any, role: str) -> bool:
            is_over = signed.expires <= instant(now, "now")
            return is_over or (_is_half_over(signed, role, now, lifetimes) and has_keys(kept, keys, role))

        renewed = []
        if is_due(kept.root, "root"):
            kept.root.version += 1
            kept.root_text = sign_root(kept.root, keys, now, lifetimes)
            renewed.append("root")
        lists = {"targets": kept.targets, **{role: kept.list_of(role) for role in bin_roles(kept)}}
        changed = {role: listed for role, listed in lists.items() if is_due(listed, role)}
        with_snapshot = bool(changed) or is_due(kept.snapshot, "snapshot")
        renewed += [*(["targets"] if changed else []), *(["snapshot"] if with_snapshot else []), "timestamp"]
        publish_state(
            kept, keys, memory=memory, now=now, lifetimes=lifetimes, changed=changed, with_snapshot=with_snapshot
        )
        return RegistryChange(signed=tuple(renewed), timestamp_version=kept.timestamp.version)


def rotate_keys(
    folder: Path,
    root: bytes,
    keys: RegistryKeys,
    replace: Mapping[str, Sequence[PublicKey]],
    *,
    memory: Path,
    now: str,
    thresholds: Mapping[str, int] | None = None,
    lifetimes: Lifetimes | None = None,
) -> RegistryChange:
    """Return which roles were signed anew after their keys were replaced.

    Args:
        folder: folder of the registry.
        root: bytes of a root that the keeper trusts.
        keys: private keys: of root old and new ones, of every role that changes the new ones, and snapshot and
            timestamp.
        replace: role -> all its public keys from now on.
        memory: file in which the keeper remembers what it signed.
        now: UTC time.
        thresholds: role -> signatures that it needs from now on; the others keep theirs.
        lifetimes: None takes the defaults.

    Raises:
        NotFoundError: there is no registry.
        ConfigError: an unknown role, fewer keys than the threshold, or a private key is lacking.
        TrustError: the folder is not what was signed.
        StorageError: the folder cannot be written.
    """
    lifetimes, thresholds = lifetimes or Lifetimes(), thresholds or {}
    problems = [f"there is no role {role!r:.40}" for role in (*replace, *thresholds) if role not in ROLES]
    if problems:
        raise ConfigError(problems, hint="roles are: " + ", ".join(ROLES))
    with locked(folder / LOCK_NAME):
        kept = open_kept(folder, root, memory)
        previous = copy.deepcopy(kept.root)
        for role in ROLES:
            _set_keys(kept, role, replace.get(role), thresholds.get(role))
        kept.root.version += 1
        kept.root_text = sign_root(kept.root, keys, now, lifetimes, previous)
        touched = {*replace, *thresholds}
        changed = {}
        if "targets" in touched:
            if kept.bins is not None:
                bits = kept.bins.bit_length
                changed = {role: kept.list_of(role) for role in bin_roles(kept)}
                delegate_bins(kept, bits)
            changed["targets"] = kept.targets
        with_snapshot = bool(changed) or "snapshot" in touched
        publish_state(
            kept, keys, memory=memory, now=now, lifetimes=lifetimes, changed=changed, with_snapshot=with_snapshot
        )
        signed = ("root", *(["targets"] if changed else []), *(["snapshot"] if with_snapshot else []), "timestamp")
        return RegistryChange(signed=signed, timestamp_version=kept.timestamp.version)


def _set_keys(kept: KeptRegistry, role: str, keys: Sequence[PublicKey] | None, threshold: int | None) -> None:
    """Give a role its keys and threshold; keys that no role has any more leave the root."""
    if keys is not None:
        wanted = {key.keyid: tuf_key(key) for key in keys}
        for keyid in set(kept.root.roles[role].keyids) - set(wanted):
            kept.root.revoke_key(keyid, role)
        for key in wanted.values():
            kept.root.add_key(key, role)
    if threshold is not None:
        kept.root.roles[role].threshold = threshold
    found = kept.root.roles[role]
    if not 1 <= found.threshold <= len(found.keyids):
        raise ConfigError(
            [f"the role {role} has {len(found.keyids)} keys and asks for {found.threshold} of them"],
            hint="give more keys, or a lower threshold",
        )


def _is_half_over(signed: Any, role: str, now: str, lifetimes: Lifetimes) -> bool:
    left: timedelta = signed.expires - instant(now, "now")
    return left < timedelta(days=lifetimes.days_of(role)) / 2
