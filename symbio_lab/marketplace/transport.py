"""The protocol of a market: dumb storage that nobody needs to trust.

Rules:
    1. A reference is ``namespace/name`` (the newest version) or ``namespace/name@version``.
    2. A transport moves bytes and checks names; it never decides whether a patch is good. All rules are in ``trust/``.
    3. ``publish`` is all or nothing, and a published version never changes.
    4. An unknown reference is a ``NotFoundError``; a reference that leaves the market is ``unsafe_name``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


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
