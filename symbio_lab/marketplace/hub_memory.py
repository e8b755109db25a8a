"""What was last seen on a Hub, kept on disk for work without a network. Nothing here decides what is believed.

Layout, one folder per endpoint:
    commits/<namespace>~<name>.json    commit that ``main`` had, and when it was seen
    listings/<digest>.json             patches of an address with their commits, and when they were seen
    trees/<namespace>~<name>/<commit>.json   files of a commit
    files/                             the client library's own cache

Online, a name is always asked of the server; only what is named by its commit is taken from here. Offline, the last
commit seen is used and its age is logged: an old patch is then accepted knowingly, or refused as expired.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.codec import from_plain, read_json, write_json
from symbio_lab.errors import DataError
from symbio_lab.records import content_id

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeenCommit:
    """The commit that a repository's ``main`` had."""

    commit: str
    seen_at: int
    """Unix time, seconds."""


@dataclass(frozen=True, slots=True)
class SeenListing:
    """What an address offered."""

    commits: Mapping[str, str]
    """Patch id -> commit of ``main``; empty text where the listing did not say."""
    seen_at: int
    """Unix time, seconds."""


class HubMemory:
    """The folder of one endpoint; made when something is first remembered."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock

    @property
    def files(self) -> Path:
        """Folder of the client library's cache."""
        return self.folder / "files"

    def remember_commit(self, repo: str, commit: str) -> None:
        """Remember the commit that ``main`` of ``repo`` has now.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_json(self._commit_path(repo), SeenCommit(commit, self._now()))

    def last_commit(self, repo: str) -> str | None:
        """Return the commit that ``main`` had when it was last seen, alone or in a listing; its age is logged."""
        seen = [found] if (found := _load(SeenCommit, self._commit_path(repo))) else []
        for path in sorted((self.folder / "listings").glob("*.json")):
            listing = _load(SeenListing, path)
            if listing is not None and listing.commits.get(repo):
                seen.append(SeenCommit(listing.commits[repo], listing.seen_at))
        if not seen:
            return None
        newest = max(seen, key=lambda item: item.seen_at)
        logger.warning("offline: using %s as it was %s ago", repo, _age(self._now() - newest.seen_at))
        return newest.commit

    def remember_listing(self, uri: str, commits: Mapping[str, str]) -> None:
        """Remember what the address ``uri`` offers now.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_json(self._listing_path(uri), SeenListing(dict(commits), self._now()))

    def last_listing(self, uri: str) -> Mapping[str, str] | None:
        """Return what the address offered when it was last listed, or None; its age is logged."""
        listing = _load(SeenListing, self._listing_path(uri))
        if listing is None:
            return None
        logger.warning("offline: listing %s as it was %s ago", uri, _age(self._now() - listing.seen_at))
        return listing.commits

    def remember_tree(self, repo: str, commit: str, files: list[dict[str, Any]]) -> None:
        """Remember the files of a commit, which never change.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_json(self._tree_path(repo, commit), files)

    def last_tree(self, repo: str, commit: str) -> Any:
        """Return what ``remember_tree`` got for this commit, or None."""
        path = self._tree_path(repo, commit)
        try:
            return read_json(path) if path.is_file() else None
        except DataError:
            return None

    def _commit_path(self, repo: str) -> Path:
        return self.folder / "commits" / f"{repo.replace('/', '~')}.json"

    def _listing_path(self, uri: str) -> Path:
        return self.folder / "listings" / f"{content_id(uri)[:32]}.json"

    def _tree_path(self, repo: str, commit: str) -> Path:
        return self.folder / "trees" / repo.replace("/", "~") / f"{commit}.json"

    def _now(self) -> int:
        return int(self._clock())


def _load(kind: Any, path: Path) -> Any:
    """Return the record in ``path``, or None if there is none that can be read: it is only a memory."""
    try:
        return from_plain(kind, read_json(path)) if path.is_file() else None
    except DataError:
        return None


def _age(seconds: int) -> str:
    """Return a duration for reading.

    >>> _age(30), _age(7200), _age(200_000)
    ('30 seconds', '2 hours', '2 days')
    """
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size or (seconds >= size and name == "minutes"):
            return f"{seconds // size} {name}"
    return f"{max(0, seconds)} seconds"
