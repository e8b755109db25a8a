"""Repositories of the loopback Hub on disk: commits that never change, and one small file a repository that does.

Layout, below the Hub's folder:
    repositories/<key>/repository.json   name, owner, branches, tags, discussions: all that can change
    repositories/<key>/commits/<id>.json one commit with its whole tree
    repositories/<key>/objects/<sha256>  marker: this large file was uploaded to this repository

Rules:
    1. ``<key>`` is drawn at random: no name that a client chooses becomes a path, and renaming moves nothing.
    2. Commits and blobs are written first, ``repository.json`` last and atomically: after a kill the last change is
       whole or has not happened.
    3. Names are unique without regard to case. A renamed repository redirects from its old name until somebody
       registers that name again; a deleted name is free for everyone who may write to its namespace.
    4. One process serves a folder (``StorageError`` for the second).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from symbio_lab.codec import from_plain, read_json, to_plain, write_atomic, write_json
from symbio_lab.records import canonical_json

RepositoryKind = Literal["model", "dataset"]


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a commit."""

    oid: str
    """Git's id of the file, or of its pointer when it is large."""
    size: int
    """Bytes."""
    blob: str
    """SHA-256 of the bytes that are served."""
    lfs: str | None = None
    """SHA-256 that listings show for a large file; None for a regular one."""


@dataclass(frozen=True, slots=True)
class HubCommit:
    """One commit with its whole tree."""

    id: str
    """40 hex characters, from everything else."""
    parents: tuple[str, ...]
    title: str
    message: str
    date: str
    """UTC, ISO-8601, ends in ``Z``."""
    author: str
    files: Mapping[str, TreeFile]


@dataclass(frozen=True, slots=True)
class HubTag:
    """A name for a commit that does not move."""

    commit: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class HubDiscussion:
    """A discussion or a pull request."""

    num: int
    title: str
    author: str
    created_at: str
    status: str
    """``open``, ``draft``, ``closed`` or ``merged``."""
    is_pull_request: bool
    base: str = ""
    """Commit that a pull request starts from."""
    merged_as: str = ""
    """Commit on main that holds its changes."""
    events: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Repository:
    """All of a repository that can change."""

    key: str
    """24 hex characters; survives renaming."""
    kind: RepositoryKind
    name: str
    """``namespace/name``."""
    creator: str
    created_at: str
    private: bool = False
    gated: bool | str = False
    branches: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, HubTag] = field(default_factory=dict)
    pulls: Mapping[str, str] = field(default_factory=dict)
    """Number of a pull request -> its newest commit."""
    discussions: tuple[HubDiscussion, ...] = ()
    former_names: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    """Users who may read the files although they are gated."""

    @property
    def namespace(self) -> str:
        """User or organisation that owns it."""
        return self.name.split("/")[0]


def make_commit(
    parents: tuple[str, ...], title: str, message: str, date: str, author: str, files: Mapping[str, TreeFile]
) -> HubCommit:
    """Return a commit; its id depends on everything in it."""
    ordered = dict(sorted(files.items()))
    content = {"parents": parents, "title": title, "message": message, "date": date, "author": author}
    listed = {path: [file.oid, file.size, file.blob, file.lfs] for path, file in ordered.items()}
    commit_id = hashlib.sha1(canonical_json({**content, "files": listed})).hexdigest()
    return HubCommit(commit_id, parents, title, message, date, author, ordered)


class RepositoryStore:
    """Every repository of one Hub: in memory for reading, on disk first for every change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repositories"
        self._by_key: dict[str, Repository] = {}
        self._by_name: dict[tuple[str, str], str] = {}
        self._commits: dict[tuple[str, str], HubCommit] = {}

    def load(self) -> None:
        """Read what is on disk; folders that a kill left without their file are removed.

        Raises:
            DataError: a file is damaged.
        """
        for folder in sorted(self.folder.glob("*/")):
            if (folder / "repository.json").is_file():
                self._index(from_plain(Repository, read_json(folder / "repository.json")))
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def __iter__(self) -> Iterator[Repository]:
        return iter(sorted(self._by_key.values(), key=lambda repository: (repository.kind, repository.name.lower())))

    def find(self, kind: str, name: str) -> Repository | None:
        """Return the repository that has this name now, without regard to case."""
        key = self._by_name.get((kind, name.lower()))
        return self._by_key[key] if key else None

    def find_moved(self, kind: str, name: str) -> Repository | None:
        """Return the repository that had this name last."""
        found = [r for r in self._by_key.values() if r.kind == kind and name.lower() in map(str.lower, r.former_names)]
        return found[-1] if found else None

    def create(self, repository: Repository, first: HubCommit) -> Repository:
        """Store a new repository whose ``main`` is ``first``."""
        self.add_commit(repository.key, first)
        return self.save(replace(repository, branches={"main": first.id}))

    def save(self, repository: Repository) -> Repository:
        """Write a changed repository, then show it; after an error the old one stays.

        Raises:
            StorageError: disk full or no permission.
        """
        write_json(self.folder / repository.key / "repository.json", repository)
        before = self._by_key.get(repository.key)
        if before is not None:
            del self._by_name[before.kind, before.name.lower()]
        self._index(repository)
        return repository

    def delete(self, repository: Repository) -> None:
        """Remove a repository; its name is free at once."""
        (self.folder / repository.key / "repository.json").unlink()
        del self._by_key[repository.key]
        del self._by_name[repository.kind, repository.name.lower()]
        self._commits = {key: value for key, value in self._commits.items() if key[0] != repository.key}
        shutil.rmtree(self.folder / repository.key, ignore_errors=True)

    def add_commit(self, key: str, commit: HubCommit) -> None:
        """Store a commit; nothing points to it yet. A commit of the same id is replaced (see ``tampering.py``)."""
        write_atomic(self.folder / key / "commits" / f"{commit.id}.json", canonical_json(to_plain(commit)))
        self._commits[key, commit.id] = commit

    def commit(self, key: str, commit_id: str) -> HubCommit | None:
        """Return a commit of a repository, or None if there is none of this id."""
        if (key, commit_id) not in self._commits:
            if not re.fullmatch(r"[0-9a-f]{40}", commit_id):
                return None
            path = self.folder / key / "commits" / f"{commit_id}.json"
            if not path.is_file():
                return None
            self._commits[key, commit_id] = from_plain(HubCommit, read_json(path))
        return self._commits[key, commit_id]

    def history(self, key: str, commit_id: str) -> Iterator[HubCommit]:
        """Yield a commit and its first parents, newest first."""
        commit = self.commit(key, commit_id)
        while commit is not None:
            yield commit
            commit = self.commit(key, commit.parents[0]) if commit.parents else None

    def mark_object(self, key: str, sha256: str) -> None:
        """Note that a large file was uploaded to this repository."""
        write_atomic(self.folder / key / "objects" / sha256, b"")

    def has_object(self, key: str, sha256: str) -> bool:
        """Return whether a large file was uploaded to this repository."""
        return re.fullmatch(r"[0-9a-f]{64}", sha256) is not None and (self.folder / key / "objects" / sha256).is_file()

    def _index(self, repository: Repository) -> None:
        self._by_key[repository.key] = repository
        self._by_name[repository.kind, repository.name.lower()] = repository.key


def new_key() -> str:
    """Return a key that no other thing of the Hub has."""
    return secrets.token_hex(12)
