"""A market that reads a base and a folder of its own, and writes only to its own.

A cell of an experiment reads a pool snapshot that others read too; what it publishes stays in its overlay, so no
cell can change what another one sees.
"""

from __future__ import annotations

from pathlib import Path

from symbio_lab.errors import DataError, NotFoundError, TrustError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.transport import Transport
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.naming import split_ref
from symbio_lab.trust.verifying import read_envelope


class OverlayTransport:
    """Base and overlay seen as one market; of one version in both, the overlay's is taken."""

    def __init__(self, base: Transport, path: Path) -> None:
        self.base = base
        self.own = DirectoryTransport(path)

    @property
    def uri(self) -> str:
        """``overlay+`` and the URI of the overlay's own folder."""
        return "overlay+" + self.own.uri

    def list_refs(self) -> list[str]:
        """Return the references of both, sorted."""
        return sorted({*self.base.list_refs(), *self.own.list_refs()})

    def read_manifest(self, ref: str) -> bytes:
        """Return the envelope of the newest version in either; see ``Transport.read_manifest``."""
        return self._holder(ref).read_manifest(ref)

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        """Return ``into``, filled from whichever holds the newest version; see ``Transport.fetch``."""
        return self._holder(ref).fetch(ref, into, max_bytes=max_bytes)

    def publish(self, folder: Path, ref: str) -> None:
        """Publish into the overlay; a version that the base holds with another manifest is refused.

        Raises:
            DataError: this version exists with other bytes.
            TrustError: as ``Transport.publish``.
            StorageError: the overlay cannot be written.
        """
        namespace, name, _ = split_ref(ref)
        envelope = read_envelope(folder)
        manifest = payload_to_manifest(peek_payload(envelope))
        try:
            held = self.base.read_manifest(f"{namespace}/{name}@{manifest.version}")
        except NotFoundError:
            self.own.publish(folder, ref)
            return
        if held != envelope:
            raise DataError(
                f"{manifest.patch_id}@{manifest.version} is published with other bytes", hint="publish a new version"
            )

    def read_evaluations(self, digest: str) -> list[bytes]:
        """Return the evaluations of both, without repeats, in a stable order."""
        return sorted({*self.base.read_evaluations(digest), *self.own.read_evaluations(digest)})

    def publish_evaluation(self, digest: str, data: bytes) -> None:
        """Offer one signed evaluation in the overlay; see ``Transport.publish_evaluation``."""
        self.own.publish_evaluation(digest, data)

    def _holder(self, ref: str) -> Transport:
        own, base = _version(self.own, ref), _version(self.base, ref)
        if own is None and base is None:
            raise NotFoundError(f"the market holds no {ref}", hint="list what it holds: symbio market list")
        return self.own if own is not None and own >= (base or 0) else self.base


def _version(transport: Transport, ref: str) -> int | None:
    """Return the newest version that a market offers, 0 if its manifest cannot be read, None if it has none."""
    try:
        return payload_to_manifest(peek_payload(transport.read_manifest(ref))).version
    except NotFoundError:
        return None
    except TrustError:
        return 0
