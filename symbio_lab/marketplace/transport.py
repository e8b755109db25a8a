"""The protocol of a market: dumb storage that nobody needs to trust.

Rules:
    1. A reference is ``namespace/name`` (the newest version) or ``namespace/name@version``.
    2. A transport moves bytes and checks names; it never decides whether a patch is good. All rules are in ``trust/``.
    3. ``publish`` is all or nothing, and a published version never changes.
    4. An unknown reference is a ``NotFoundError``; a reference that leaves the market is ``unsafe_name``.
    5. A market behind a network may also raise ``NetworkUnavailableError`` (no answer), ``ConfigError`` (a token is
       missing or lacks the right) and ``TrustError`` ``bad_response`` from every call.

Markets whose offers are commits (``CommitTransport``) can do more: say where an offer went, propose it to an owner
who must agree, and put metadata before the card. Whoever publishes asks with ``isinstance``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from symbio_lab.records import PatchManifest


@runtime_checkable
class Transport(Protocol):
    """What every market offers."""

    @property
    def uri(self) -> str:
        """Name of the market; ``Candidate.market`` carries it."""

    def list_refs(self) -> list[str]:
        """Return ``namespace/name`` of every patch, sorted.

        Raises:
            StorageError: the market cannot be read.
        """

    def read_manifest(self, ref: str) -> bytes:
        """Return the bytes of a patch's envelope, unverified.

        Raises:
            NotFoundError: no such patch.
            TrustError: ``unsafe_name``, ``unsigned`` (no envelope), ``bad_envelope`` (too large).
            StorageError: the market cannot be read.
        """

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        """Return ``into``, filled with the files of a patch as they are, unverified.

        Args:
            ref: which patch.
            into: folder that does not exist yet or is empty.
            max_bytes: stop beyond this total size.

        Raises:
            NotFoundError: no such patch.
            TrustError: ``unsafe_name``, ``too_large``, ``extra_file``.
            StorageError: reading or writing failed.
        """

    def publish(self, folder: Path, ref: str) -> None:
        """Offer the patch in ``folder`` under ``ref``; publishing the same bytes again changes nothing.

        Raises:
            DataError: this version exists with other bytes.
            TrustError: the envelope names another patch than ``ref`` (``wrong_patch``) or cannot be read.
            StorageError: the market cannot be written.
        """

    def read_evaluations(self, digest: str) -> list[bytes]:
        """Return the envelope files of evaluations of the payload ``digest``, unverified, in a stable order.

        Raises:
            StorageError: the market cannot be read.
        """

    def publish_evaluation(self, digest: str, data: bytes) -> None:
        """Offer one signed evaluation of the payload ``digest``; doing it twice changes nothing.

        Raises:
            StorageError: the market cannot be written.
        """


@dataclass(frozen=True, slots=True)
class Offered:
    """Where an offer went: into the market, or to its owner for review."""

    commit: str = ""
    """Commit that holds it; empty when it was proposed, or when it stood there already."""
    pull_request: str = ""
    """Address of the pull request that proposes it; empty when it is in the market."""


@runtime_checkable
class CommitTransport(Transport, Protocol):
    """A market whose offers are commits in repositories that have owners."""

    def offer(self, folder: Path, ref: str, *, pull_request: bool = False) -> Offered:
        """Return where the patch in ``folder`` went; ``publish`` is this without the answer.

        Args:
            folder: sealed patch.
            ref: ``namespace/name`` or ``namespace/name@version``.
            pull_request: propose it even where we may write.

        Raises:
            DataError: this version exists with other bytes.
            TrustError: the envelope names another patch than ``ref`` (``wrong_patch``) or cannot be read.
            ConfigError: no token, or one that may not even propose.
            StorageError: the market cannot be written.
        """

    def offer_evaluation(self, digest: str, data: bytes) -> Offered:
        """Return where one signed statement went; ``publish_evaluation`` is this without the answer.

        Raises:
            ConfigError: no token, or one that may not even propose.
            StorageError: the market cannot be written.
        """

    def front_matter(self, manifest: PatchManifest) -> str:
        """Return what a card must begin with to be found in this market."""

    def page(self, ref: str) -> str:
        """Return the address of a patch for people to open."""
