"""Writing to a Hub: one commit on top of a known one, or the same change as a pull request.

Rules:
    1. A change names the commit that it was made for. If ``main`` moved since, the Hub refuses it (412): the caller
       reads again and decides; nothing is overwritten unseen.
    2. All files of a change are in one commit: there is no state in between.
    3. Who may not write opens a pull request with the same files. One that says the same is not opened twice.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from symbio_lab.errors import ConfigError, TrustError
from symbio_lab.marketplace.hub_errors import LOG_IN, AccessDeniedError
from symbio_lab.marketplace.hub_reading import HubReader
from symbio_lab.marketplace.transport import Offered

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """Files to add and to remove, with a title by which it is found again."""

    title: str
    """First line of the commit, or title of the pull request."""
    add: Mapping[str, bytes] = field(default_factory=dict)
    """Content by name."""
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullRequest:
    """An open pull request."""

    number: int
    title: str

    @property
    def revision(self) -> str:
        """Name of its branch."""
        return f"refs/pr/{self.number}"


class HubWriter:
    """Writes to one endpoint as the token's user."""

    def __init__(self, reader: HubReader) -> None:
        self.reader = reader
        self.calls = reader.calls

    def commit(self, repo: str, parent: str, change: Change) -> str:
        """Return the new commit of ``main``.

        Args:
            repo: ``owner/name``.
            parent: commit that ``main`` must still have.
            change: what to do.

        Raises:
            AccessDeniedError: the token may not write here.
            ConflictError: ``main`` is no longer at ``parent``.
            ConfigError: there is no token.
            NetworkUnavailableError: no answer; whether the commit was made shows when it is read again.
            StorageError: the Hub refuses.
        """
        return self._send(repo, parent, change, pull_request=False)[0]

    def open_pull_request(self, repo: str, parent: str, change: Change) -> str:
        """Return the address of a pull request with this change: an open one, or a new one.

        Raises:
            ConfigError: there is no token, or it may not even propose.
            NetworkUnavailableError: no answer.
            StorageError: the Hub refuses.
        """
        for request in self.pull_requests(repo, change.title):
            files = {f.name: f for f in self.reader.list_files(repo, self.reader.find_commit(repo, request.revision))}
            same = all(name in files and files[name].is_of(data) for name, data in change.add.items())
            if same and not set(change.remove) & set(files):
                return self._address(repo, request.number)
        number = self._send(repo, parent, change, pull_request=True)[1]
        if number is None:
            raise TrustError("bad_response", "the server does not say which pull request it opened")
        address = self._address(repo, number)
        logger.warning("opened a pull request: %s", address)
        return address

    def pull_requests(self, repo: str, title: str) -> list[PullRequest]:
        """Return the open pull requests with this title, newest first; a bounded number is looked at.

        Raises:
            NotFoundError: there is no such repository.
        """
        most = self.calls.limits.max_pull_requests

        def read(api: Any) -> list[PullRequest]:
            listed = api.get_repo_discussions(repo, discussion_type="pull_request", discussion_status="open")
            titled = (d for d in islice(listed, 32 * most) if d.is_pull_request and d.status in ("open", "draft"))
            return [PullRequest(int(d.num), str(d.title)) for d in titled if d.title == title]

        found = self.calls.call(f"read the pull requests of {repo}", read)
        return sorted(found, key=lambda request: -request.number)[:most]

    def create(self, repo: str) -> str:
        """Return the first commit of ``repo``, which is made if it does not exist.

        Raises:
            AccessDeniedError: the namespace belongs to somebody else.
            ConfigError: there is no token, or the Hub does not allow the name.
        """
        self.calls.call(f"create {repo}", lambda api: api.create_repo(repo, exist_ok=True), is_read=False)
        return self.reader.find_commit(repo)

    def tag(self, repo: str, tag: str, commit: str) -> None:
        """Tag a commit.

        Raises:
            SymbioError: of any kind that a call may raise.
        """
        self.calls.call(
            f"tag {repo}", lambda api: api.create_tag(repo, tag=tag, revision=commit, exist_ok=True), is_read=False
        )

    def user_names(self) -> tuple[str, ...]:
        """Return the name of the token's user, then those of the organisations that they belong to.

        Raises:
            ConfigError: there is no token, or it is not accepted.
        """
        if not self.calls.has_token:
            raise ConfigError(["writing to a Hub needs a token"], hint=LOG_IN)
        who = self.calls.call("find out whose token this is", lambda api: api.whoami())
        names = [who.get("name"), *(org.get("name") for org in who.get("orgs") or ())]
        if not all(isinstance(name, str) for name in names):
            raise TrustError("bad_response", "the server does not say whose token this is")
        return tuple(names)

    def change(self, repo: str, parent: str, change: Change, *, pull_request: bool = False) -> Offered:
        """Return what became of a change: a commit, or a pull request if that is wanted or all that is allowed.

        Raises:
            ConflictError: ``main`` is no longer at ``parent``.
            ConfigError: there is no token, or it may not even propose.
            NetworkUnavailableError: no answer.
            StorageError: the Hub refuses.
        """
        if not pull_request:
            try:
                return Offered(commit=self.commit(repo, parent, change))
            except AccessDeniedError:
                logger.warning("no right to write to %s; proposing the change to its owner", repo)
        return Offered(pull_request=self.open_pull_request(repo, parent, change))

    def _send(self, repo: str, parent: str, change: Change, *, pull_request: bool) -> tuple[str, int | None]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        # A buffer instead of bytes: the client library then uploads over HTTP, which the guard sees.
        add = [CommitOperationAdd(name, io.BytesIO(data)) for name, data in sorted(change.add.items())]
        large = [operation for operation in add if operation.path_in_repo.endswith(".safetensors")]
        remove = [CommitOperationDelete(name, is_folder=False) for name in sorted(change.remove)]

        def send(api: Any) -> tuple[str, int | None]:
            # One at a time: for several, the library starts threads, which the guard does not reach.
            for operation in large if len(large) > 1 else ():
                api.preupload_lfs_files(repo, [operation], create_pr=pull_request, num_threads=1, free_memory=False)
            done = api.create_commit(
                repo,
                [*add, *remove],
                commit_message=change.title,
                parent_commit=parent,
                create_pr=pull_request,
                num_threads=1,
            )
            return str(done.oid), None if done.pr_num is None else int(done.pr_num)

        num_bytes = sum(map(len, change.add.values()))
        with self.calls.operation(num_bytes=num_bytes), _without_xet_notice():
            return self.calls.call(f"write to {repo}", send, is_read=False)

    def _address(self, repo: str, number: int) -> str:
        return f"{self.calls.endpoint}/{repo}/discussions/{number}"


@contextmanager
def _without_xet_notice() -> Iterator[None]:
    """Keep the client library from telling, with each upload, that it uploads over HTTP: that is what we want."""
    log = logging.getLogger("huggingface_hub._commit_api")

    def is_news(record: logging.LogRecord) -> bool:
        return "not supported by Xet" not in record.getMessage()

    log.addFilter(is_news)
    try:
        yield
    finally:
        log.removeFilter(is_news)
