"""What the registry of a keeper says: how much it lists, how long its signatures last, which keys it revokes."""

from __future__ import annotations

import hashlib
from typing import Any

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.registry.keeping import KeptRegistry
from symbio_lab.marketplace.registry.layout import REVOKED_PATH, hashed_name, split_target_path
from symbio_lab.marketplace.registry.revoked import MAX_REVOKED_BYTES, RevokedKey, read_revoked
from symbio_lab.marketplace.registry.static_files import FolderFiles, read_static
from symbio_lab.trust.strict_fields import instant


def describe_kept(kept: KeptRegistry, *, now: str) -> dict[str, Any]:
    """Return what a registry lists and how long its signatures last, as JSON values.

    Args:
        kept: the registry.
        now: UTC time.
    """
    lists = kept.patch_lists()
    patches = [patch for listed in lists.values() for patch in map(split_target_path, listed.targets) if patch]
    tops: list[tuple[str, Any]] = [("root", kept.root), ("timestamp", kept.timestamp), ("snapshot", kept.snapshot)]
    tops.append(("targets", min((kept.targets, *lists.values()), key=lambda listed: listed.expires)))
    roles = [
        {
            "role": role,
            "version": (kept.targets if role == "targets" else signed).version,
            "expires": signed.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "days_left": (signed.expires - instant(now, "now")).days,
            "num_keys": len(kept.root.roles[role].keyids),
            "threshold": kept.root.roles[role].threshold,
        }
        for role, signed in tops
    ]
    return {
        "num_patches": len({patch_id for patch_id, _ in patches}),
        "num_versions": len(patches),
        "num_lists": len({"targets", *lists}),
        "num_revoked": len(kept_revoked(kept)),
        "roles": roles,
    }


def kept_revoked(kept: KeptRegistry) -> tuple[RevokedKey, ...]:
    """Return the keys that the registry revokes now, read from the file that it registers.

    Raises:
        TrustError: ``mix_and_match``: the file is not the registered one or is missing.
        StorageError: it cannot be read.
    """
    registered = kept.targets.targets.get(REVOKED_PATH)
    if registered is None:
        return ()
    name = hashed_name(REVOKED_PATH, registered.hashes["sha256"])
    try:
        data = read_static(FolderFiles(kept.folder), name, MAX_REVOKED_BYTES)
    except NotFoundError as error:
        raise TrustError("mix_and_match", f"{name} is registered, but missing") from error
    if hashlib.sha256(data).hexdigest() != registered.hashes["sha256"]:
        raise TrustError("mix_and_match", f"{name} is not the file that is registered")
    return read_revoked(data)
