"""Signing what changed in a registry, and publishing it so that a reader sees the old state or the new one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.codec import write_atomic
from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.registry.keeping import KeptRegistry, publish_current, remember
from symbio_lab.marketplace.registry.layout import METADATA
from symbio_lab.marketplace.registry.role_keys import Lifetimes, RegistryKeys
from symbio_lab.marketplace.registry.signer import tuf_signer
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.strict_fields import instant

if TYPE_CHECKING:
    from symbio_lab.marketplace.registry.tuf_names import Root, Targets


def publish_state(
    kept: KeptRegistry,
    keys: RegistryKeys,
    *,
    memory: Path,
    now: str,
    lifetimes: Lifetimes,
    changed: Mapping[str, Targets],
    with_snapshot: bool = True,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Sign and publish the new state of a registry.

    Args:
        kept: the registry; ``root`` and ``root_text`` are already those to publish.
        keys: private keys.
        memory: file in which the keeper remembers what it signed.
        now: UTC time.
        lifetimes: how long the new signatures last.
        changed: lists to sign anew, by role: versions and expiry are raised here, the content is as given.
        with_snapshot: False renews the timestamp alone; then nothing else may have changed.
        files: registered files to write, by path below the registry's folder.

    Raises:
        ConfigError: a private key that is needed is not there; nothing is written.
        StorageError: the folder cannot be written; the old state stays current.
    """
    from symbio_lab.marketplace.registry.tuf_names import Metadata, MetaFile

    # Checked first: half a state helps nobody.
    check_keys(kept, keys, [*changed, *(["snapshot"] if with_snapshot else []), "timestamp"])
    written: dict[str, bytes] = {}
    for role, listed in changed.items():
        known = kept.snapshot.meta.get(f"{role}.json")
        listed.version = known.version + 1 if known is not None else 1
        data = _sign(Metadata(listed), signers_of(kept.root, keys, role), role, now, lifetimes)
        written[f"{listed.version}.{role}.json"] = data
        kept.snapshot.meta[f"{role}.json"] = MetaFile(**_described(listed.version, data))
    if with_snapshot:
        kept.snapshot.version += 1
        signers = signers_of(kept.root, keys, "snapshot")
        data = _sign(Metadata(kept.snapshot), signers, "snapshot", now, lifetimes)
        written[f"{kept.snapshot.version}.snapshot.json"] = data
        kept.timestamp.snapshot_meta = MetaFile(**_described(kept.snapshot.version, data))
    kept.timestamp.version += 1
    signers = signers_of(kept.root, keys, "timestamp")
    timestamp = _sign(Metadata(kept.timestamp), signers, "timestamp", now, lifetimes).decode("utf-8")
    for name, data in (files or {}).items():
        write_atomic(kept.folder / name, data)
    for name, data in written.items():
        write_atomic(kept.folder / METADATA / name, data)
    remember(memory, kept.root_text, kept.root.version, timestamp, kept.timestamp.version)
    publish_current(kept.folder, kept.root_text, kept.root.version, timestamp)


def sign_root(root: Root, keys: RegistryKeys, now: str, lifetimes: Lifetimes, previous: Root | None = None) -> str:
    """Return the text of a root, signed by enough of its own keys and, where there is one, of the previous root's.

    Raises:
        ConfigError: too few private keys of either are here.
    """
    from symbio_lab.marketplace.registry.tuf_names import Metadata

    signers = {key.keyid: key for key in signers_of(root, keys, "root")}
    problems = _lacking(root, keys, ("root",))
    if previous is not None:
        signers |= {key.keyid: key for key in signers_of(previous, keys, "root")}
        problems += [f"before the change, {problem}" for problem in _lacking(previous, keys, ("root",))]
    if problems:
        raise ConfigError(problems, hint="bring the private keys of the root together: --keys, once for each folder")
    return _sign(Metadata(root), signers.values(), "root", now, lifetimes).decode("utf-8")


def check_keys(kept: KeptRegistry, keys: RegistryKeys, roles: Iterable[str]) -> None:
    """Return nothing if there are private keys enough to sign for every role; bins count as targets.

    Raises:
        ConfigError: naming every role that lacks keys.
    """
    problems = _lacking(kept.root, keys, roles)
    if problems:
        raise ConfigError(problems, hint="give the folder that holds the private keys of these roles: --keys")


def has_keys(kept: KeptRegistry, keys: RegistryKeys, role: str) -> bool:
    """Return whether there are private keys enough to sign for a role."""
    return not _lacking(kept.root, keys, (role,))


def signers_of(root: Root, keys: RegistryKeys, role: str) -> list[SigningKey]:
    """Return the private keys that count for a role under ``root``, each once."""
    allowed = set(root.roles[_top_level(role)].keyids)
    return list({key.keyid: key for key in keys.of(role) if key.keyid in allowed}.values())


def _lacking(root: Root, keys: RegistryKeys, roles: Iterable[str]) -> list[str]:
    problems = []
    for role in dict.fromkeys(map(_top_level, roles)):
        threshold, found = root.roles[role].threshold, len(signers_of(root, keys, role))
        if found < threshold:
            problems.append(f"the role {role} needs {threshold} of its keys, {found} are here")
    return problems


def _top_level(role: str) -> str:
    return role if role in ("root", "snapshot", "timestamp") else "targets"


def _sign(metadata: Any, signers: Iterable[SigningKey], role: str, now: str, lifetimes: Lifetimes) -> bytes:
    metadata.signed.expires = instant(now, "now").replace(microsecond=0) + timedelta(days=lifetimes.days_of(role))
    for key in signers:
        metadata.sign(tuf_signer(key), append=True)
    data: bytes = metadata.to_bytes()
    return data


def _described(version: int, data: bytes) -> dict[str, Any]:
    return {"version": version, "length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
