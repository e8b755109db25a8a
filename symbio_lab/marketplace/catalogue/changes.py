"""What a market offers now, each offer with a token that changes when the offer does.

Rules:
    1. A market that can list its offers with tokens is asked for them (``ListsTokens``): a commit, a version with the
       time of its file. Equal token, equal offer: it is not read again.
    2. A folder has no such list, but its file system has: number of the newest version, and time, size and inode of
       its envelope. Publishing renames a new file into place, so these never stay the same.
    3. Any other market is read whole at every sync; the token is the digest of what was read, so what stayed the same
       is neither judged nor written again.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from symbio_lab.errors import StorageError, TrustError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.transport import Transport
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.naming import check_patch_id

_VERSION = re.compile(r"v([1-9][0-9]{0,8})")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@runtime_checkable
class ListsTokens(Protocol):
    """A market that tells a changed offer from an unchanged one without giving it."""

    def list_tokens(self) -> Mapping[str, str]:
        """Return reference -> token of the newest version of every patch; tokens are not empty.

        Raises:
            StorageError: the market cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Listing:
    """What a market offers at one time."""

    offers: Mapping[str, str]
    """Reference -> token; empty where only reading the offer tells."""
    evaluations: Mapping[str, str] | None
    """Payload digest -> token of its signed evaluations; None where only reading them tells."""


def list_market(transport: Transport) -> Listing:
    """Return what ``transport`` offers now.

    Raises:
        StorageError: the market cannot be read.
    """
    if isinstance(transport, ListsTokens):
        return Listing(dict(transport.list_tokens()), None)
    if isinstance(transport, DirectoryTransport):
        return Listing(dict(_folder_offers(transport.path)), dict(_folder_evaluations(transport.path)))
    return Listing(dict.fromkeys(transport.list_refs(), ""), None)


def token_of(data: bytes) -> str:
    """Return the token of an offer that was read."""
    return "read:" + hashlib.sha256(data).hexdigest()[:32]


def token_of_all(data: Sequence[bytes]) -> str:
    """Return the token of several files that were read, whatever their order; empty for none."""
    if not data:
        return ""
    return "read:" + hashlib.sha256("".join(sorted(hashlib.sha256(d).hexdigest() for d in data)).encode()).hexdigest()


def _folder_offers(market: Path) -> Iterator[tuple[str, str]]:
    for namespace in _folders(market / "patches"):
        for name in _folders(namespace.path):
            ref = f"{namespace.name}/{name.name}"
            try:
                check_patch_id(ref)
            except TrustError:
                continue
            versions = [int(match[1]) for entry in _folders(name.path) if (match := _VERSION.fullmatch(entry.name))]
            if versions:
                yield ref, _envelope_token(Path(name.path), max(versions))


def _envelope_token(patch: Path, version: int) -> str:
    try:
        found = os.lstat(patch / f"v{version}" / ENVELOPE_NAME)
    except FileNotFoundError:
        return f"v{version}:none"
    except OSError as error:
        raise StorageError(f"cannot read the market folder {patch.name}: {error.strerror or error}") from error
    kind = "" if stat.S_ISREG(found.st_mode) else ":odd"
    return f"v{version}:{found.st_mtime_ns:x}:{found.st_size:x}:{found.st_ino:x}{kind}"


def _folder_evaluations(market: Path) -> Iterator[tuple[str, str]]:
    for folder in _folders(market / "evaluations"):
        if _DIGEST.fullmatch(folder.name):
            try:
                yield folder.name, f"{folder.stat(follow_symlinks=False).st_mtime_ns:x}"
            except FileNotFoundError:
                continue


def _folders(path: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [e for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"cannot read the market folder {Path(path).name}: {error.strerror or error}") from error
