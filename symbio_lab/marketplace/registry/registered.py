"""The verified state of a registry: which envelope belongs to which version, and whether a market shows that one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.registry.layout import split_target_path
from symbio_lab.marketplace.registry.revoked import RevokedKey
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.naming import split_ref


@dataclass(frozen=True, slots=True)
class RegisteredFile:
    """What the registry says about one envelope."""

    sha256: str
    """64 hex."""
    num_bytes: int


@dataclass(frozen=True)
class Registry:
    """The verified state of a registry at one time."""

    uri: str
    files: Mapping[str, RegisteredFile]
    """Registered envelopes by path."""
    revoked: tuple[RevokedKey, ...]
    versions: Mapping[str, int]
    """Version of each top-level role."""
    expires: Mapping[str, str]
    """When each top-level role ends, UTC; of ``targets`` the earliest of its lists."""
    num_lists: int = 1
    """Lists that were read: the top-level one, and the bins."""
    root: bytes = field(default=b"", repr=False)
    """The newest root: a client that keeps it starts there the next time."""

    @cached_property
    def patches(self) -> Mapping[str, Mapping[int, RegisteredFile]]:
        """Registered versions by patch id, oldest first."""
        found: dict[str, dict[int, RegisteredFile]] = {}
        for path, file in self.files.items():
            patch = split_target_path(path)
            if patch is not None:
                found.setdefault(patch[0], {})[patch[1]] = file
        return {patch_id: dict(sorted(found[patch_id].items())) for patch_id in sorted(found)}

    @cached_property
    def digests(self) -> frozenset[str]:
        """SHA-256 of every registered envelope."""
        return frozenset(file.sha256 for file in self.files.values())

    @cached_property
    def revoked_keyids(self) -> frozenset[str]:
        """Keys that no longer count in this market; a policy may add them to its own."""
        return frozenset(key.keyid for key in self.revoked)

    def find(self, ref: str) -> tuple[str, RegisteredFile]:
        """Return ``namespace/name@version`` and what is registered for it; without a version the newest one counts.

        Raises:
            TrustError: ``unregistered``, or ``unsafe_name``.
        """
        namespace, name, version = split_ref(ref)
        versions = self.patches.get(f"{namespace}/{name}", {})
        chosen = version if version is not None else max(versions, default=None)
        if chosen is None or chosen not in versions:
            raise TrustError("unregistered", f"{self.uri} does not list {ref}")
        return f"{namespace}/{name}@{chosen}", versions[chosen]

    def check(self, ref: str, envelope: bytes) -> None:
        """Return nothing if ``envelope`` is what is registered for ``ref`` and its key is not revoked.

        Raises:
            TrustError: ``unregistered``; ``mix_and_match``: another registered version has these bytes;
                ``digest_mismatch``: none has; ``revoked_key``.
        """
        exact, registered = self.find(ref)
        digest = hashlib.sha256(envelope).hexdigest()
        if digest != registered.sha256:
            if digest in self.digests:
                raise TrustError("mix_and_match", f"the market shows another registered version as {exact}")
            raise TrustError("digest_mismatch", f"the envelope of {exact} is not the one that is registered")
        if self.revoked and payload_to_manifest(peek_payload(envelope)).keyid in self.revoked_keyids:
            raise TrustError("revoked_key", f"the registry revokes the key of {exact}")
