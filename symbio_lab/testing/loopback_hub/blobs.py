"""Bytes under their digests: what a repository of the loopback Hub is made of.

Rules:
    1. A blob lies at ``blobs/<first two hex>/<sha256>`` and never changes; storing it twice changes nothing.
    2. It is written beside its place and renamed: after a kill it is whole or absent.
    3. Nothing is ever removed, also when a repository is deleted: another one may hold the same bytes.
    4. Whether somebody may read a blob is decided by the repository that holds it, never by knowing its digest.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from symbio_lab.codec import write_atomic
from symbio_lab.errors import NotFoundError, StorageError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def git_blob_id(data: bytes) -> str:
    """Return the id that git gives to a file with these bytes.

    >>> git_blob_id(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Return the small file that git keeps in place of a large one."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class BlobStore:
    """The blobs below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Return where a blob lies, whether it is there or not.

        Raises:
            NotFoundError: not a digest.
        """
        if not _SHA256.fullmatch(sha256):
            raise NotFoundError("a blob is named by 64 hex characters")
        return self.folder / "blobs" / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Return whether a blob is stored."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Return the length of a stored blob in bytes."""
        return self.path(sha256).stat().st_size

    def read(self, sha256: str) -> bytes:
        """Return the bytes of a stored blob.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            return self.path(sha256).read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read blob {sha256[:12]}: {error.strerror or error}") from error

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest.

        Raises:
            StorageError: disk full or no permission.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256):
            write_atomic(self.path(sha256), data)
        return sha256

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a complete file, whose digest the caller has computed, to its place.

        Raises:
            StorageError: disk full or no permission.
        """
        target = self.path(sha256)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
            os.replace(path, target)
        except OSError as error:
            raise StorageError(f"cannot store blob {sha256[:12]}: {error.strerror or error}") from error

    def incoming(self) -> Path:
        """Return a new path for bytes that are arriving; what a kill leaves there is removed at the next start."""
        folder = self.folder / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / secrets.token_hex(16)
