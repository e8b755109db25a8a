"""A market seen through its registry: only what is registered, only as it was registered.

Rules:
    1. ``namespace/name`` means the newest *registered* version. What was published since waits for the keeper; what the
       market withholds is refused, not replaced by an older version.
    2. The bytes of an envelope must have the registered digest: else ``mix_and_match`` when another registered version
       has those bytes, ``digest_mismatch`` when none has. The envelope names the digests of all other files.
    3. A patch whose publisher's key the registry revokes is ``revoked_key``.
    4. The registry is read on first use and by ``refresh``. If it is stale, rolled back or mixed up, every call is
       refused: a market without a valid registry offers nothing.
    5. Publishing goes to the market itself; use ``inner`` to publish a next version, since the newest one that is shown
       here is the newest registered one. Statements about patches need no registration and pass through.
"""

from __future__ import annotations

from pathlib import Path

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.registry.reading import read_registry
from symbio_lab.marketplace.registry.registered import Registry
from symbio_lab.marketplace.registry.static_files import StaticFiles
from symbio_lab.marketplace.transport import CommitTransport, Offered, Transport
from symbio_lab.records import PatchManifest
from symbio_lab.trust.naming import split_ref
from symbio_lab.trust.verifying import read_envelope


class RegisteredTransport:
    """Any market, behind the registry that its clients trust."""

    def __init__(self, inner: Transport, files: StaticFiles, root: bytes, cache: Path, now: str) -> None:
        """Prepare; nothing is read yet.

        Args:
            inner: the market.
            files: where its registry lies.
            root: bytes of a root of that registry that is trusted.
            cache: folder for verified metadata, this registry's alone; it remembers the newest versions seen.
            now: UTC time by which expiry is judged, ISO-8601, ends in ``Z``.
        """
        self.inner = inner
        self.files = files
        self.root = root
        self.cache = cache
        self.now = now
        self._registry: Registry | None = None

    @property
    def uri(self) -> str:
        """Name of the market: a registry does not make it another one."""
        return self.inner.uri

    @property
    def registry(self) -> Registry:
        """The verified state of the registry, read on first use.

        Raises:
            TrustError: ``stale``, ``rollback``, ``mix_and_match`` or another code of ``read_registry``.
            NotFoundError: there is no registry.
            StorageError: the cache cannot be written.
            NetworkUnavailableError: the registry's server does not answer.
        """
        return self._registry if self._registry is not None else self.refresh()

    def refresh(self, now: str | None = None) -> Registry:
        """Return the state of the registry, read anew; on failure nothing older is used in its place.

        Raises:
            TrustError, NotFoundError, StorageError, NetworkUnavailableError: as ``registry``.
        """
        self._registry = None
        self.now = now or self.now
        self._registry = read_registry(self.files, self.root, self.cache, now=self.now)
        return self._registry

    def list_refs(self) -> list[str]:
        """Return ``namespace/name`` of every registered patch that the market offers; see ``Transport.list_refs``."""
        return sorted(set(self.inner.list_refs()) & set(self.registry.patches))

    def list_versions(self, ref: str) -> list[int]:
        """Return the registered versions of a patch, oldest first; empty if there is none."""
        namespace, name, _ = split_ref(ref)
        return list(self.registry.patches.get(f"{namespace}/{name}", {}))

    def read_manifest(self, ref: str) -> bytes:
        """Return the registered bytes of a patch's envelope; see ``Transport.read_manifest``.

        Raises:
            TrustError: ``unregistered``, ``mix_and_match``, ``digest_mismatch`` or ``revoked_key``, besides the codes
                of ``registry`` and of the market.
            StorageError: the market cannot be read.
        """
        exact, _ = self.registry.find(ref)
        try:
            envelope = self.inner.read_manifest(exact)
        except NotFoundError as error:
            raise TrustError("mix_and_match", f"{exact} is registered, but the market does not hold it") from error
        self.registry.check(exact, envelope)
        return envelope

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        """Return ``into``, filled with the files of a registered version; see ``Transport.fetch``.

        Raises:
            TrustError: as ``read_manifest``; the files in ``into`` must then not be used.
            StorageError: reading or writing failed.
        """
        exact, _ = self.registry.find(ref)
        try:
            folder = self.inner.fetch(exact, into, max_bytes=max_bytes)
        except NotFoundError as error:
            raise TrustError("mix_and_match", f"{exact} is registered, but the market does not hold it") from error
        # Not what ``read_manifest`` saw: a market may show one envelope and deliver another.
        self.registry.check(exact, read_envelope(folder))
        return folder

    def publish(self, folder: Path, ref: str) -> None:
        """Publish to the market; the version is offered here once its keeper registered it."""
        self.inner.publish(folder, ref)

    def read_evaluations(self, digest: str) -> list[bytes]:
        """Return the market's statements about a digest; they are signed, and judged, one by one."""
        return self.inner.read_evaluations(digest)

    def publish_evaluation(self, digest: str, data: bytes) -> None:
        """Offer one signed statement in the market; see ``Transport.publish_evaluation``."""
        self.inner.publish_evaluation(digest, data)


class RegisteredCommitTransport(RegisteredTransport):
    """A market whose offers are commits, behind its registry."""

    inner: CommitTransport

    def __init__(self, inner: CommitTransport, files: StaticFiles, root: bytes, cache: Path, now: str) -> None:
        """Prepare; nothing is read yet. Arguments as of ``RegisteredTransport``."""
        super().__init__(inner, files, root, cache, now)

    def offer(self, folder: Path, ref: str, *, pull_request: bool = False) -> Offered:
        """Return where a patch went; the version is offered here once its keeper registered it."""
        return self.inner.offer(folder, ref, pull_request=pull_request)

    def offer_evaluation(self, digest: str, data: bytes) -> Offered:
        """Return where one signed statement went; see ``CommitTransport.offer_evaluation``."""
        return self.inner.offer_evaluation(digest, data)

    def front_matter(self, manifest: PatchManifest) -> str:
        """Return what a card must begin with to be found in the market."""
        return self.inner.front_matter(manifest)

    def page(self, ref: str) -> str:
        """Return the address of a patch for people to open."""
        return self.inner.page(ref)


def behind_registry(inner: Transport, files: StaticFiles, root: bytes, cache: Path, now: str) -> RegisteredTransport:
    """Return a market behind its registry, with all that the market itself can do; nothing is read yet.

    Args:
        inner: the market.
        files: where its registry lies.
        root: bytes of a root of that registry that is trusted.
        cache: folder for verified metadata, this registry's alone.
        now: UTC time by which expiry is judged.
    """
    if isinstance(inner, CommitTransport):
        return RegisteredCommitTransport(inner, files, root, cache, now)
    return RegisteredTransport(inner, files, root, cache, now)
