"""The files of a commit as a Hub lists them, and the client library's cache that holds their bytes.

The cache names each blob by its digest: SHA-256 of a large file, git's own digest of another. A bad server may have
sent other bytes once, so a blob is hashed whenever it is read; the name is never believed.

Layout, the client library's: ``models--<owner>--<name>/blobs/<digest>``, with links to it from
``snapshots/<commit>/<file>``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.errors import StorageError, TrustError
from symbio_lab.marketplace.hub_answers import OversizeAnswerError

EVALUATIONS = "evaluations/"
"""Folder of what others say about a patch."""
_GIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a commit, as the listing describes it."""

    name: str
    size_bytes: int
    blob: str
    """Git digest of a file that git holds itself, 40 hex."""
    sha256: str | None
    """SHA-256 of a large file, 64 hex; None for others."""

    @property
    def digest(self) -> str:
        """The digest that names the content: SHA-256 of a large file, git's of another."""
        return self.sha256 or self.blob

    def is_of(self, data: bytes) -> bool:
        """Return whether ``data`` are the bytes that the listing describes."""
        if self.sha256 is not None:
            return hashlib.sha256(data).hexdigest() == self.sha256
        return git_digest(data) == self.blob


def git_digest(data: bytes) -> str:
    """Return the digest under which git stores ``data``.

    >>> git_digest(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def is_patch_file(name: str) -> bool:
    """Return whether a file of a repository belongs to its patch: all do but what the Hub and evaluators add.

    >>> is_patch_file("README.md"), is_patch_file(".gitattributes"), is_patch_file("evaluations/x/y.json")
    (True, False, False)
    """
    return name != ".gitattributes" and not name.startswith(EVALUATIONS)


def as_file(item: Any) -> HubFile:
    """Return what the client library read of one line of a listing.

    Raises:
        TrustError: ``bad_response``: the digest is none, or the size is no size.
    """
    sha256 = item.lfs.sha256 if item.lfs else None
    size = item.lfs.size if item.lfs else item.size
    is_sound = isinstance(item.path, str) and type(size) is int and 0 <= size < 1 << 50
    is_named = bool(_GIT.fullmatch(str(item.blob_id))) and (sha256 is None or bool(_SHA256.fullmatch(str(sha256))))
    if not is_sound or not is_named:
        raise TrustError("bad_response", "the listing describes a file that cannot be one")
    return HubFile(item.path, size, item.blob_id, sha256)


def cached_blob(cache: Path, repo: str, file: HubFile) -> bytes | None:
    """Return the bytes of a listed file if the cache holds them, whichever commit they came with.

    Raises:
        StorageError: the cache cannot be read.
    """
    path = cache / f"models--{repo.replace('/', '--')}" / "blobs" / file.digest
    try:
        data = read_bounded(path, file.size_bytes) if path.is_file() else None
    except OversizeAnswerError:
        return None
    return data if data is not None and file.is_of(data) else None


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a cached file.

    Raises:
        OversizeAnswerError: more than ``max_bytes``.
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(max_bytes + 1)
    except OSError as error:
        raise StorageError(f"cannot read the cached {path.name}: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise OversizeAnswerError(len(data), max_bytes)
    return data


def matches_its_name(path: Path, data: bytes) -> bool:
    """Return whether a cached file has the digest by which the cache names it; True where the name is none."""
    name = path.resolve().name
    if _SHA256.fullmatch(name):
        return hashlib.sha256(data).hexdigest() == name
    return not _GIT.fullmatch(name) or git_digest(data) == name


def forget(path: Path) -> None:
    """Remove a file and its blob from the cache: nobody must meet it again.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        blob = path.resolve()
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot clean the cache: {error.strerror or error}") from error
