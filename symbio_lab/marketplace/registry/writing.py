"""Keeping a registry: make it, register what a market offers, withdraw, revoke.

Every function checks the folder before it signs (``keeping.py``), holds the registry's lock, and publishes a whole new
state or nothing.

References:
    Samuel, Mathewson, Cappos and Dingledine (2010), "Survivable Key Compromise in Software Update Systems", section 4.
    Differs from the paper: nothing (TUF 1.0 metadata by python-tuf, consistent snapshots). Registered are the
    envelopes of patches, which name the digests of all other files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.codec import write_atomic
from symbio_lab.errors import DataError
from symbio_lab.marketplace.registry.describing import kept_revoked
from symbio_lab.marketplace.registry.keeping import KeptRegistry, open_kept
from symbio_lab.marketplace.registry.layout import METADATA, REVOKED_PATH, ROLES, TARGETS, hashed_name
from symbio_lab.marketplace.registry.registered_lists import add_files, bin_roles, remove_files, target_file
from symbio_lab.marketplace.registry.revoked import RevokedKey, write_revoked
from symbio_lab.marketplace.registry.role_keys import Lifetimes, RegistryKeys, Thresholds
from symbio_lab.marketplace.registry.signer import require_tuf, tuf_key
from symbio_lab.marketplace.registry.signing import check_keys, publish_state, sign_root
from symbio_lab.trust.locking import locked

LOCK_NAME = ".lock"


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """What a call changed."""

    num_added: int = 0
    num_removed: int = 0
    num_revoked: int = 0
    signed: tuple[str, ...] = ()
    """Roles that were signed anew; bins count as ``targets``."""
    timestamp_version: int = 0
    """Version of the state that is now current."""


def create_registry(
    folder: Path,
    keys: RegistryKeys,
    *,
    memory: Path,
    now: str,
    thresholds: Thresholds | None = None,
    lifetimes: Lifetimes | None = None,
) -> bytes:
    """Return the bytes of the first root: what clients must be given to trust this registry.

    Args:
        folder: folder of the registry, without one yet.
        keys: private keys; the public halves become the keys of the roles.
        memory: file in which the keeper remembers what it signed.
        now: UTC time, ISO-8601, ends in ``Z``.
        thresholds: signatures that each role needs; None asks for one each.
        lifetimes: None takes the defaults.

    Raises:
        DataError: there is a registry already, or the memory is of another one.
        ConfigError: a role has fewer keys than its threshold.
        StorageError: the folder cannot be written.
    """
    require_tuf()
    from symbio_lab.marketplace.registry.tuf_names import Root, Snapshot, Targets, Timestamp

    thresholds, lifetimes = thresholds or Thresholds(), lifetimes or Lifetimes()
    with locked(folder / LOCK_NAME):
        if (folder / METADATA / "timestamp.json").exists():
            raise DataError(f"there is a registry in {folder} already", hint="add to it: symbio market registry add")
        if memory.exists():
            raise DataError(
                f"a registry was kept in {folder} before", hint=f"put it back, or remove {memory} to start anew"
            )
        root = Root(consistent_snapshot=True)
        for role in ROLES:
            for key in keys.of(role):
                root.add_key(tuf_key(key.public_key), role)
            root.roles[role].threshold = thresholds.of(role)
        kept = KeptRegistry(folder, root, Timestamp(), Snapshot(), Targets(), "")
        check_keys(kept, keys, ROLES)
        kept.root_text = sign_root(root, keys, now, lifetimes)
        # Publishing raises every version by one.
        kept.timestamp.version = kept.snapshot.version = 0
        kept.snapshot.meta = {}
        files = _list_revoked(kept, ())
        changed = {"targets": kept.targets}
        publish_state(kept, keys, memory=memory, now=now, lifetimes=lifetimes, changed=changed, files=files)
        _write_plain(kept, files)
    return kept.root_text.encode()


def change_registry(
    folder: Path,
    root: bytes,
    keys: RegistryKeys,
    *,
    memory: Path,
    now: str,
    add: Mapping[str, bytes] | None = None,
    remove: Collection[str] = (),
    revoke: Iterable[RevokedKey] = (),
    lifetimes: Lifetimes | None = None,
) -> RegistryChange:
    """Return what changed after withdrawing, registering and revoking in one step.

    Args:
        folder: folder of the registry.
        root: bytes of a root that the keeper trusts.
        keys: private keys of targets, snapshot and timestamp.
        memory: file in which the keeper remembers what it signed.
        now: UTC time.
        add: path of a patch version (``layout.target_path``) -> bytes of its envelope.
        remove: paths that are no longer offered.
        revoke: keys that no longer count; those revoked before stay so.
        lifetimes: None takes the defaults.

    Raises:
        DataError: a path is registered with other bytes; a published version never changes.
        NotFoundError: there is no registry, or a path to withdraw is not registered.
        ConfigError: a private key is lacking.
        TrustError: the folder is not what was signed.
        StorageError: the folder cannot be written; the old state stays current.
    """
    with locked(folder / LOCK_NAME):
        kept = open_kept(folder, root, memory)
        removed = remove_files(kept, remove)
        added, num_added = add_files(kept, add or {})
        # Adding may have spread everything over more bins; the lists that were left are not published again.
        roles = {"targets", *bin_roles(kept)}
        changed = {role: listed for role, listed in (removed | added).items() if role in roles}
        known = {key.keyid: key for key in kept_revoked(kept)}
        revoked = {**{key.keyid: key for key in revoke}, **known}
        files: dict[str, bytes] = {}
        if len(revoked) > len(known):
            files = _list_revoked(kept, revoked.values())
            changed["targets"] = kept.targets
        if changed:
            publish_state(
                kept, keys, memory=memory, now=now, lifetimes=lifetimes or Lifetimes(), changed=changed, files=files
            )
            _write_plain(kept, files)
        return RegistryChange(
            num_added=num_added,
            num_removed=len(remove),
            num_revoked=len(revoked) - len(known),
            signed=("targets", "snapshot", "timestamp") if changed else (),
            timestamp_version=kept.timestamp.version,
        )


def _list_revoked(kept: KeptRegistry, keys: Iterable[RevokedKey]) -> dict[str, bytes]:
    """Register the list of revoked keys; return its file by path."""
    data = write_revoked(keys)
    kept.targets.targets[REVOKED_PATH] = target_file(REVOKED_PATH, data)
    return {hashed_name(REVOKED_PATH, hashlib.sha256(data).hexdigest()): data}


def _write_plain(kept: KeptRegistry, files: Mapping[str, bytes]) -> None:
    """Write registered files under their plain names too, for clients that do not ask for hashed ones."""
    for data in files.values():
        write_atomic(kept.folder / TARGETS / REVOKED_PATH, data)
