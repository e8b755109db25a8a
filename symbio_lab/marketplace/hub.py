"""A Hugging Face Hub as a market: one repository a patch, one commit a version.

Files, in reading order:
    - ``hub_address.py``: what ``hf://...`` means; ``hub_limits.py``: all bounds.
    - ``hub_answers.py``, ``hub_guard.py``, ``hub_calls.py``, ``hub_errors.py``: calls under a deadline, answers under a
      grammar, errors of ours.
    - ``hub_memory.py``, ``hub_files.py``, ``hub_reading.py``, ``hub_patches.py``: commits, bytes, and the patches of
      an address.
    - ``hub_card.py``, ``hub_commits.py``, ``hub_publishing.py``: one commit, or a pull request.
    - ``hub_evaluations.py``: signed statements of others.

Rules:
    1. The server is storage that nobody needs to trust: what it answers is bounded and well-formed, or refused; whether
       it is the publisher's is decided by ``trust/`` on the bytes.
    2. A name is asked of the server each time; only bytes that are named by their commit come from a cache. Without an
       answer there is an error, or with ``offline`` the last commit seen, whose age is logged.
    3. A repository is found, read and written under the patch's own name: ``namespace/name``.

Example::

    market = HubTransport("hf://alice")
    client = MarketplaceClient([market], policy, store, now)
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from symbio_lab.errors import ConfigError, DataError, NotFoundError
from symbio_lab.marketplace.directory import MAX_EVALUATION_BYTES, MAX_PATCH_BYTES
from symbio_lab.marketplace.hub_address import HubAddress, choose_endpoint, parse_hub_address
from symbio_lab.marketplace.hub_calls import HubCalls
from symbio_lab.marketplace.hub_card import front_matter
from symbio_lab.marketplace.hub_commits import HubWriter
from symbio_lab.marketplace.hub_evaluations import HubEvaluations
from symbio_lab.marketplace.hub_limits import HubLimits
from symbio_lab.marketplace.hub_memory import HubMemory
from symbio_lab.marketplace.hub_patches import HubPatches
from symbio_lab.marketplace.hub_publishing import HubPublisher
from symbio_lab.marketplace.hub_reading import HubReader
from symbio_lab.marketplace.transport import Offered
from symbio_lab.records import PatchManifest, content_id
from symbio_lab.trust.naming import split_ref

_MOST_OWNERS = 16
"""Owners whose statements are read when an address has many."""


class HubTransport:
    """The market at one address of one Hub."""

    def __init__(
        self,
        address: str | HubAddress,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        cache: Path | None = None,
        offline: bool = False,
        limits: HubLimits | None = None,
    ) -> None:
        """Prepare the market; nothing is read.

        Args:
            address: ``hf://...``, see ``hub_address``.
            endpoint: server; None takes ``HF_ENDPOINT``, else the public Hub.
            token: None takes ``HF_TOKEN`` or the token that ``hf auth login`` stored; better so, for what is written
                in a notebook is shared with it.
            cache: folder for what was read; None takes ``hub/`` in the state folder. Endpoints do not share it.
            offline: True uses what was read before and sends nothing, as ``HF_HUB_OFFLINE=1`` does.
            limits: bounds of time and size.

        Raises:
            ConfigError: the address or the endpoint is not one.
        """
        self.address = parse_hub_address(address) if isinstance(address, str) else address
        self.endpoint = choose_endpoint(endpoint)
        self._calls = HubCalls(self.endpoint, token=token, offline=offline, limits=limits)
        self._cache = cache

    @property
    def uri(self) -> str:
        """The address, ``hf://...``."""
        return self.address.uri

    @cached_property
    def reader(self) -> HubReader:
        """What reads the endpoint, for whoever wants files that are no patch."""
        return HubReader(self._calls, HubMemory(self._cache_folder() / content_id(self.endpoint)[:16]))

    def page(self, ref: str) -> str:
        """Return the address of a patch's page for people to open."""
        namespace, name, _ = split_ref(ref)
        return f"{self.endpoint}/{namespace}/{name}"

    def front_matter(self, manifest: PatchManifest) -> str:
        """Return what a card must begin with to be found on a Hub; see ``hub_card``."""
        return front_matter(manifest)

    def list_refs(self) -> list[str]:
        """Return ``namespace/name`` of every patch at the address, sorted; see ``Transport.list_refs``.

        Raises:
            NotFoundError: the repository or collection of the address does not exist.
            NetworkUnavailableError: no answer; or offline, and it was not listed before.
            ConfigError: a token is missing or lacks the right.
            TrustError: ``bad_response``.
        """
        with self._calls.operation():
            return self._patches.list_refs()

    def list_tokens(self) -> dict[str, str]:
        """Return each patch with its commit, so that a sync reads only what changed; raises as ``list_refs`` does."""
        with self._calls.operation():
            return self._patches.list_tokens()

    def list_versions(self, ref: str) -> list[int]:
        """Return the versions of a patch, oldest first: the newest, and older ones that are tagged; empty if none.

        Raises:
            TrustError: ``unsafe_name``, ``unsigned``, ``bad_envelope``, ``bad_response``.
            NetworkUnavailableError: no answer.
        """
        try:
            with self._calls.operation():
                return self._patches.list_versions(ref)
        except NotFoundError:
            return []

    def read_manifest(self, ref: str) -> bytes:
        """Return the bytes of a patch's envelope, unverified; see ``Transport.read_manifest``."""
        with self._calls.operation():
            return self._patches.read_envelope(ref)

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        """Return ``into``, filled with the files of a patch, unverified; see ``Transport.fetch``."""
        cap = MAX_PATCH_BYTES if max_bytes is None else max_bytes
        with self._calls.operation():
            commit = self._patches.find_commit(ref)
            return self.reader.fetch_folder(self._patches.repo(ref), commit, into, max_bytes=cap)

    def publish(self, folder: Path, ref: str) -> None:
        """Offer the patch in ``folder``; see ``Transport.publish`` and, for where it went, ``offer``."""
        self.offer(folder, ref)

    def offer(self, folder: Path, ref: str, *, pull_request: bool = False) -> Offered:
        """Return where a patch went: into its repository, or to its owner; see ``CommitTransport.offer``."""
        self._check_writable()
        if self.address.covers("/".join(split_ref(ref)[:2])) is False:
            raise ConfigError(
                [f"{ref} does not belong to the market {self.uri}"], hint="publish it under a name of this market: --as"
            )
        with self._calls.operation():
            return HubPublisher(self.reader, self._writer).offer(folder, ref, pull_request=pull_request)

    def read_evaluations(self, digest: str) -> list[bytes]:
        """Return signed statements about a patch or, if no patch has this digest, about a key; unverified.

        Raises:
            NetworkUnavailableError: no answer.
            ConfigError: a token is missing or lacks the right.
            TrustError: ``bad_response``.
        """
        if not _is_digest(digest):
            return []
        with self._calls.operation():
            repo = self._patches.repo_of_digest(digest)
            if repo is not None:
                found = self._evaluations.read(repo, digest, self.address.commit)
            else:
                found = self._evaluations.read_statements(self._owners(), digest)
        return [found[name] for name in sorted(found)]

    def publish_evaluation(self, digest: str, data: bytes) -> None:
        """Offer one signed statement; see ``Transport.publish_evaluation`` and ``offer_evaluation``."""
        self.offer_evaluation(digest, data)

    def offer_evaluation(self, digest: str, data: bytes) -> Offered:
        """Return where a statement went: beside its patch, to the patch's owner, or to our own statements.

        Raises:
            DataError: not a digest, or more than 64 KiB.
            ConfigError: no token, or one that may not even propose.
            NetworkUnavailableError: no answer.
            StorageError: the Hub refuses.
        """
        if not _is_digest(digest) or len(data) > MAX_EVALUATION_BYTES:
            raise DataError("an evaluation needs the payload digest of its patch and at most 64 KiB")
        self._check_writable()
        with self._calls.operation():
            repo = self._patches.repo_of_digest(digest)
            if repo is not None:
                return self._evaluations.offer(repo, digest, data)
            names = self._writer.user_names()
            owner = self.address.owner if self.address.owner in names else names[0]
            return self._evaluations.offer_statement(owner, digest, data)

    @cached_property
    def _patches(self) -> HubPatches:
        return HubPatches(self.address, self.reader)

    @cached_property
    def _writer(self) -> HubWriter:
        return HubWriter(self.reader)

    @cached_property
    def _evaluations(self) -> HubEvaluations:
        return HubEvaluations(self.reader, self._writer)

    @cached_property
    def _own_name(self) -> str | None:
        if self._calls.offline or not self._calls.has_token:
            return None
        return self._writer.user_names()[0]

    def _owners(self) -> list[str]:
        """Return whose statements are read: the address's owners and our own, for what we state we want to see."""
        owners = self._patches.owners()
        own = [self._own_name] if self._own_name and self._own_name not in owners else []
        return [*own, *owners[:_MOST_OWNERS]]

    def _check_writable(self) -> None:
        if self.address.commit is not None:
            raise ConfigError([f"market {self.uri}: a commit never changes"], hint="leave @COMMIT out to publish")
        if self._calls.offline:
            raise ConfigError(["offline: nothing can be published"], hint="unset HF_HUB_OFFLINE")

    def _cache_folder(self) -> Path:
        if self._cache is not None:
            return self._cache
        from symbio_lab.config import load_settings

        return load_settings().settings.home / "hub"


def _is_digest(digest: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{64}", digest))
