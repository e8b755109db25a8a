"""The registry as its keeper holds it: loaded from its folder, checked before anything is built on it.

Rules:
    1. A keeper signs nothing that it did not check: whoever can write to the folder could otherwise slip targets in
       and wait for the next signature. Root, timestamp, snapshot, targets and bins are verified by the keys of the
       root that the keeper trusts; expiry is no obstacle, for renewing is what a keeper is for.
    2. The keeper remembers the newest root and timestamp that it signed (``memory``, in its own state folder). A folder
       that shows older ones was interrupted or put back: it is brought up to the memory, never the other way, so no
       version number is ever given twice.
    3. Files that carry a version are written first, the root next, the timestamp last: a reader sees the old state or
       the new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.codec import read_json, write_atomic, write_json
from symbio_lab.errors import DataError, NotFoundError, TrustError
from symbio_lab.marketplace.registry.layout import METADATA
from symbio_lab.marketplace.registry.refusals import refusal
from symbio_lab.marketplace.registry.signer import require_tuf
from symbio_lab.marketplace.registry.static_files import FolderFiles, read_static

if TYPE_CHECKING:
    from symbio_lab.marketplace.registry.tuf_names import Root, Snapshot, SuccinctRoles, Targets, Timestamp

MAX_METADATA_BYTES = 16 << 20


@dataclass
class KeptRegistry:
    """The current metadata of a registry, verified; changed in place by ``writing.py`` before it is signed anew."""

    folder: Path
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    root_text: str
    """Current root as written."""
    root_is_new: bool = False
    """The root was changed since it was loaded."""
    loaded: dict[str, Targets] = field(default_factory=dict)
    """Bins read so far, by role."""

    @property
    def bins(self) -> SuccinctRoles | None:
        """Hash bins that the targets are spread over, or None while one list holds them."""
        delegations = self.targets.delegations
        return delegations.succinct_roles if delegations is not None else None

    def role_of(self, path: str) -> str:
        """Return the role that lists a patch's path."""
        return self.bins.get_role_for_target(path) if self.bins is not None else "targets"

    def list_of(self, role: str) -> Targets:
        """Return the list of a role: the top-level targets, or a bin, read and verified on first use.

        Raises:
            TrustError: the folder's file is not the one that was signed.
            StorageError: it cannot be read.
        """
        if role == "targets":
            return self.targets
        if role not in self.loaded:
            self.loaded[role] = _named(self, role, self.targets)
        return self.loaded[role]

    def patch_lists(self) -> dict[str, Targets]:
        """Return every list that may hold patches, by role."""
        roles = list(self.bins.get_roles()) if self.bins is not None else ["targets"]
        return {role: self.list_of(role) for role in roles}


def open_kept(folder: Path, trusted_root: bytes, memory: Path) -> KeptRegistry:
    """Return the registry in ``folder``, verified from ``trusted_root`` on; expired metadata are accepted.

    Args:
        folder: folder of the registry.
        trusted_root: bytes of a root that the keeper trusts, any version.
        memory: file in which the keeper remembers what it signed last.

    Raises:
        NotFoundError: there is no registry.
        TrustError: ``bad_signature``, ``threshold``, ``mix_and_match``, ``rollback`` or ``bad_response``.
        StorageError: the folder cannot be read or written.
    """
    require_tuf()
    from symbio_lab.marketplace.registry.tuf_names import Root, Snapshot, Timestamp

    _bring_up_to_memory(folder, memory)
    root, root_text = _parse(Root, trusted_root, "root", folder), trusted_root.decode("utf-8")
    _verify(root, root, "root", folder)
    while (folder / METADATA / f"{root.signed.version + 1}.root.json").is_file():
        data = _read(folder, f"{root.signed.version + 1}.root.json")
        newer = _parse(Root, data, "root", folder)
        _verify(root, newer, "root", folder)
        _verify(newer, newer, "root", folder)
        if newer.signed.version != root.signed.version + 1:
            raise TrustError("rollback", f"root {root.signed.version + 1} says that it is {newer.signed.version}")
        root, root_text = newer, data.decode("utf-8")
    timestamp = _parse(Timestamp, _read(folder, "timestamp.json"), "timestamp", folder)
    _verify(root, timestamp, "timestamp", folder)
    named = timestamp.signed.snapshot_meta
    data = _read(folder, f"{named.version}.snapshot.json")
    _check_file(named, data, "snapshot", folder)
    snapshot = _parse(Snapshot, data, "snapshot", folder)
    _verify(root, snapshot, "snapshot", folder)
    if snapshot.signed.version != named.version:
        raise TrustError("mix_and_match", f"the snapshot says that it is {snapshot.signed.version}")
    kept = KeptRegistry(folder, root.signed, timestamp.signed, snapshot.signed, None, root_text)  # type: ignore[arg-type]
    kept.targets = _named(kept, "targets", root.signed)
    return kept


def remember(memory: Path, root_text: str, root_version: int, timestamp_text: str, timestamp_version: int) -> None:
    """Remember what is about to be published: root and timestamp together, in one file.

    Raises:
        StorageError: the state folder cannot be written.
    """
    value = {
        "schema": 1,
        "root": {"version": root_version, "text": root_text},
        "timestamp": {"version": timestamp_version, "text": timestamp_text},
    }
    write_json(memory, value)


def publish_current(folder: Path, root_text: str, root_version: int, timestamp_text: str) -> None:
    """Write the two files that make a state current, the timestamp last.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_atomic(folder / METADATA / f"{root_version}.root.json", root_text.encode())
    write_atomic(folder / METADATA / "timestamp.json", timestamp_text.encode())


def _bring_up_to_memory(folder: Path, memory: Path) -> None:
    if not memory.is_file():
        return
    value = read_json(memory)
    try:
        root_version, root_text = int(value["root"]["version"]), str(value["root"]["text"])
        version, text = int(value["timestamp"]["version"]), str(value["timestamp"]["text"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{memory.name} is no memory of a registry", hint="restore it from a backup") from error
    current = folder / METADATA / "timestamp.json"
    found = _stated_version(current)
    if found < version or not (folder / METADATA / f"{root_version}.root.json").is_file():
        publish_current(folder, root_text, root_version, text if found < version else current.read_text("utf-8"))
    elif found == version and current.read_bytes() != text.encode():
        raise TrustError("mix_and_match", f"timestamp {version} is not the one that was signed here")


def _stated_version(timestamp: Path) -> int:
    """Return the version that a timestamp file states, 0 when it states none."""
    try:
        version = read_json(timestamp)["signed"]["version"] if timestamp.is_file() else 0
    except (DataError, KeyError, TypeError):
        return 0
    return version if isinstance(version, int) else 0


def _named(kept: KeptRegistry, role: str, delegator: Root | Targets) -> Targets:
    """Return the list of a role as the snapshot names it, verified by the keys of its delegator."""
    from symbio_lab.marketplace.registry.tuf_names import Metadata, Targets

    meta = kept.snapshot.meta.get(f"{role}.json")
    if meta is None:
        raise TrustError("mix_and_match", f"the snapshot does not name {role}")
    data = _read(kept.folder, f"{meta.version}.{role}.json")
    _check_file(meta, data, role, kept.folder)
    found = _parse(Targets, data, role, kept.folder)
    _verify(Metadata(delegator), found, role, kept.folder)
    if found.signed.version != meta.version:
        raise TrustError("mix_and_match", f"{role} says that it is version {found.signed.version}")
    listed: Targets = found.signed
    return listed


def _read(folder: Path, name: str) -> bytes:
    try:
        return read_static(FolderFiles(folder), f"{METADATA}/{name}", MAX_METADATA_BYTES)
    except NotFoundError:
        if name == "timestamp.json":
            raise NotFoundError(
                f"there is no registry in {folder}", hint="make one: symbio market registry init"
            ) from None
        raise TrustError("mix_and_match", f"{name} is named by the registry, but missing") from None


def _parse(kind: type[Any], data: bytes, role: str, folder: Path) -> Any:
    from symbio_lab.marketplace.registry.tuf_names import Metadata, RepositoryError

    try:
        found = Metadata.from_bytes(data)
        if not isinstance(found.signed, kind):
            raise TrustError("mix_and_match", f"the {role} metadata is of the type {found.signed.type}")
    except RepositoryError as error:
        raise refusal(error, role, folder.name) from error
    return found


def _verify(delegator: Any, metadata: Any, role: str, folder: Path) -> None:
    from symbio_lab.marketplace.registry.tuf_names import RepositoryError

    try:
        delegator.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise refusal(error, role, folder.name) from error


def _check_file(meta: Any, data: bytes, role: str, folder: Path) -> None:
    from symbio_lab.marketplace.registry.tuf_names import RepositoryError

    try:
        meta.verify_length_and_hashes(data)
    except RepositoryError as error:
        raise refusal(error, role, folder.name) from error
