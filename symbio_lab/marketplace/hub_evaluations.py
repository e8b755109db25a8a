"""Signed statements on a Hub: beside the patch that they are about, proposed to its owner, or kept by their author.

Layout, in every repository: ``evaluations/<digest>/<sha256 of the file>.json``.

Rules:
    1. An evaluation of a patch lies in the patch's repository. Who may not write there proposes it by a pull request;
       open pull requests are read too, so that an owner cannot keep an evaluation from being read by not merging it.
    2. A statement about anything else (a voucher is about a key) lies in ``<owner>/symbio-statements`` of its author.
    3. Numbers and sizes are bounded: those on ``main`` first, then pull requests, newest first. A flood of proposals
       can hide other proposals, not what was merged.
    4. A file counts only if its name is its content's digest. Whether the signature counts is decided by ``trust/``.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable

from symbio_lab.errors import NetworkUnavailableError, NotFoundError, TrustError
from symbio_lab.marketplace.directory import MAX_EVALUATION_BYTES, MAX_EVALUATIONS
from symbio_lab.marketplace.hub_commits import Change, HubWriter
from symbio_lab.marketplace.hub_errors import ConflictError
from symbio_lab.marketplace.hub_files import EVALUATIONS
from symbio_lab.marketplace.hub_reading import HubReader
from symbio_lab.marketplace.transport import Offered

logger = logging.getLogger(__name__)

STATEMENTS_NAME = "symbio-statements"
"""Name of the repository of statements that are not about a patch."""
_STATEMENTS_CARD = (
    "---\ntags:\n- symbio-statements\n---\n"
    "# Signed statements\n\nStatements by this owner's keys, such as vouchers for the keys of others.\n"
)
_MAX_TRIES = 3


class HubEvaluations:
    """Statements on one endpoint."""

    def __init__(self, reader: HubReader, writer: HubWriter) -> None:
        self.reader = reader
        self.writer = writer

    def read(self, repo: str, digest: str, commit: str | None = None) -> dict[str, bytes]:
        """Return the statements about ``digest`` in a repository by their own digests, unverified.

        Args:
            repo: ``owner/name``; one that does not exist holds none.
            digest: what the statements are about, 64 hex.
            commit: look at this commit only, without proposals; None looks at ``main`` and open pull requests.

        Raises:
            NetworkUnavailableError: no answer.
            TrustError: ``bad_response``.
        """
        found: dict[str, bytes] = {}
        try:
            self._read_commit(repo, commit or self.reader.find_commit(repo), digest, found)
        except NotFoundError:
            return found
        if commit is None and not self.reader.calls.offline:
            for request in self.writer.pull_requests(repo, _title(digest)):
                if len(found) >= MAX_EVALUATIONS:
                    break
                try:
                    self._read_commit(repo, self.reader.find_commit(repo, request.revision), digest, found)
                except (NotFoundError, TrustError) as error:
                    # A stranger's proposal must not keep the others from being read.
                    logger.info("pull request %d of %s is left out: %s", request.number, repo, error)
        return found

    def offer(self, repo: str, digest: str, data: bytes) -> Offered:
        """Return where a statement about a patch went: into its repository, or to its owner.

        Raises:
            NotFoundError: there is no such repository.
            ConfigError: no token, or one that may not even propose.
            ConflictError: others kept changing the repository.
            StorageError: the Hub refuses.
        """
        name = file_name(digest, data)
        for tried in range(_MAX_TRIES):
            parent = self.reader.find_commit(repo)
            if name in {file.name for file in self.reader.list_files(repo, parent)}:
                return Offered()
            try:
                return self.writer.change(repo, parent, Change(_title(digest), {name: data}))
            except ConflictError:
                if tried == _MAX_TRIES - 1:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def offer_statement(self, owner: str, digest: str, data: bytes) -> Offered:
        """Return where a statement that is about no patch went: into ``owner/symbio-statements``, made if it is new.

        Raises:
            ConfigError: no token, or the owner is somebody else.
            StorageError: the Hub refuses.
        """
        repo = f"{owner}/{STATEMENTS_NAME}"
        try:
            self.reader.find_commit(repo)
        except NotFoundError:
            parent = self.writer.create(repo)
            self.writer.commit(repo, parent, Change("symbio-statements", {"README.md": _STATEMENTS_CARD.encode()}))
        return self.offer(repo, digest, data)

    def read_statements(self, owners: Iterable[str], digest: str) -> dict[str, bytes]:
        """Return the statements about ``digest`` in the owners' repositories of statements, without proposals."""
        found: dict[str, bytes] = {}
        for owner in owners:
            repo = f"{owner}/{STATEMENTS_NAME}"
            try:
                found.update(self.read(repo, digest, self.reader.find_commit(repo)))
            except NotFoundError:
                continue
            except NetworkUnavailableError:
                if not self.reader.calls.offline:
                    raise
        return found

    def _read_commit(self, repo: str, commit: str, digest: str, found: dict[str, bytes]) -> None:
        pattern = re.compile(re.escape(f"{EVALUATIONS}{digest}/") + r"([0-9a-f]{64})\.json")
        for file in self.reader.list_files(repo, commit):
            match = pattern.fullmatch(file.name)
            if match is None or match[1] in found or file.size_bytes > MAX_EVALUATION_BYTES:
                continue
            if len(found) >= MAX_EVALUATIONS:
                logger.warning("%s holds more than %d statements about one patch", repo, MAX_EVALUATIONS)
                return
            try:
                data = self.reader.read_file(repo, commit, file.name, MAX_EVALUATION_BYTES)
            except NotFoundError:
                continue
            if hashlib.sha256(data).hexdigest() == match[1]:
                found[match[1]] = data


def file_name(digest: str, data: bytes) -> str:
    """Return where a statement about ``digest`` lies in a repository.

    >>> file_name("ab" * 32, b"{}")[:20]
    'evaluations/abababab'
    """
    return f"{EVALUATIONS}{digest}/{hashlib.sha256(data).hexdigest()}.json"


def _title(digest: str) -> str:
    return f"symbio-evaluation {digest}"
