"""All that one loopback Hub knows, and the questions that every handler asks of it.

Rules:
    1. A repository that the asker may not read does not exist: 401 for nobody, 404 for somebody.
    2. A revision is a branch, a tag, ``refs/heads/..``, ``refs/tags/..``, ``refs/pr/<n>`` or a commit of 40 hex
       characters that this very repository holds.
    3. Handlers run one at a time under ``lock``: two commits on one parent cannot both see it as the newest.
"""

from __future__ import annotations

import hmac
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from symbio_lab.codec import read_json, write_json
from symbio_lab.errors import DataError
from symbio_lab.testing.loopback_hub.answers import HubRequest, Refusal
from symbio_lab.testing.loopback_hub.blobs import BlobStore
from symbio_lab.testing.loopback_hub.repositories import HubCommit, Repository, RepositoryStore

if TYPE_CHECKING:
    from symbio_lab.testing.loopback_hub.accounts import Accounts
    from symbio_lab.testing.loopback_hub.curation import CollectionStore

LAYOUT = 1
"""Version of the folder's layout."""
LINK_VALID_S = 3600
"""How long a signed address of a large file is good."""


@dataclass(frozen=True, slots=True)
class HubLimits:
    """What the Hub accepts and how much it gives at once."""

    body_bytes: int = 64 << 20
    """Largest body of any request but the upload of a large file."""
    file_bytes: int = 10 << 20
    """Largest regular file; above, a file is uploaded as a large one."""
    large_file_bytes: int = 2 << 30
    """Largest large file."""
    part_bytes: int = 256 << 20
    """Larger files are uploaded in parts of this size."""
    page: int = 1000
    """Items on a page of a listing."""
    expanded_page: int = 50
    """Items on a page of a tree that names last commits."""


def utc_now() -> str:
    """Return the time now, UTC, in milliseconds: ``2026-01-31T12:00:00.000Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass
class HubState:
    """Storage, accounts and settings of one Hub."""

    folder: Path
    endpoint: str
    """Address without a slash at the end."""
    accounts: Accounts
    collections: CollectionStore
    limits: HubLimits = field(default_factory=HubLimits)
    now: Callable[[], str] = utc_now
    content_endpoint: str = ""
    """Other origin from which large files are served; empty: they come from ``endpoint``."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        self.blobs = BlobStore(self.folder)
        self.repositories = RepositoryStore(self.folder)

    def load(self) -> None:
        """Read the folder, which may be new.

        Raises:
            DataError: written by a later version, or damaged.
            StorageError: it cannot be written.
        """
        marker = self.folder / "hub.json"
        if not marker.is_file():
            write_json(marker, {"layout": LAYOUT})
        layout = read_json(marker)
        if layout != {"layout": LAYOUT}:
            raise DataError(f"the folder's layout is {layout!r:.80}, not {LAYOUT}", hint="serve another folder")
        shutil.rmtree(self.folder / "incoming", ignore_errors=True)
        self.repositories.load()
        self.collections.load()

    def may_read(self, user: str | None, repository: Repository) -> bool:
        """Return whether a user may know that a repository exists."""
        return not repository.private or self.accounts.may_write(user, repository.namespace)

    def readable(self, request: HubRequest) -> Repository:
        """Return the repository that a request names.

        Raises:
            Refusal: 401 or 404 (``RepoNotFound``); 307 if it was renamed.
        """
        kind = {"datasets": "dataset"}.get(request.captured.get("kind", ""), "model")
        return self.named(request, kind, f"{request.captured['namespace']}/{request.captured['name']}")

    def named(self, request: HubRequest, kind: str, name: str) -> Repository:
        """Return a repository by name, for the one who asks; see ``readable``."""
        repository = self.repositories.find(kind, name)
        if repository is not None and self.may_read(request.user, repository):
            return repository
        moved = self.repositories.find_moved(kind, name) if repository is None else None
        if moved is not None and self.may_read(request.user, moved) and f"/{name}" in request.path:
            query = urlencode([(key, value) for key, values in request.query.items() for value in values])
            location = request.path.replace(f"/{name}", f"/{moved.name}", 1) + (f"?{query}" if query else "")
            raise Refusal(307, message="moved", Location=location)
        if request.user is None:
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        raise Refusal(404, "RepoNotFound", "Repository not found")

    def writable(self, request: HubRequest) -> Repository:
        """Return the repository that a request names if the user may write to it.

        Raises:
            Refusal: as ``readable``; 401 for nobody; 403 for everybody else.
        """
        repository = self.readable(request)
        if request.user is None:
            raise Refusal(401, message="Invalid username or password.")
        if not self.accounts.may_write(request.user, repository.namespace):
            raise Refusal(403, message=f"You don't have the rights to write to {repository.name}")
        return repository

    def revision(self, repository: Repository, revision: str, stale: str | None = None) -> HubCommit:
        """Return the commit that a revision names.

        Args:
            repository: whose revision.
            revision: see the rules above.
            stale: what ``main`` is frozen at; see ``HubRequest.stale``.

        Raises:
            Refusal: 404 (``RevisionNotFound``).
        """
        commit_id = self._commit_id(repository, revision)
        commit = self.repositories.commit(repository.key, commit_id)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if stale is not None and revision in ("main", "refs/heads/main"):
            older = stale or (commit.parents[0] if commit.parents else commit.id)
            return self.repositories.commit(repository.key, older) or commit
        return commit

    def _commit_id(self, repository: Repository, revision: str) -> str:
        for prefix, names in (("refs/heads/", repository.branches), ("refs/pr/", repository.pulls)):
            if revision.startswith(prefix):
                return names.get(revision.removeprefix(prefix), "")
        if revision in repository.branches:
            return repository.branches[revision]
        tag = repository.tags.get(revision.removeprefix("refs/tags/"))
        return tag.commit if tag is not None else revision

    def sign(self, purpose: str) -> str:
        """Return the query of an address that only this Hub can have made, and only for this purpose."""
        expires = int(time.time()) + LINK_VALID_S
        return f"expires={expires}&signature={self._signature(purpose, expires)}"

    def check_signature(self, request: HubRequest, purpose: str) -> None:
        """Refuse an address that this Hub did not make.

        Raises:
            Refusal: 403.
        """
        expires = request.first("expires")
        good = expires.isdigit() and len(expires) < 12 and int(expires) >= time.time()
        expected = self._signature(purpose, int(expires)) if good else ""
        if not good or not hmac.compare_digest(expected.encode(), request.first("signature").encode()):
            raise Refusal(403, message="the address is not signed for this, or has expired")

    def _signature(self, purpose: str, expires: int) -> str:
        return hmac.new(self._secret, f"{purpose} {expires}".encode(), sha256).hexdigest()
