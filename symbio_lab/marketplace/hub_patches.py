"""The patches at one address of a Hub: by reference, by version, and by the digest of what was signed.

Rules:
    1. Listing says at which commit each patch stands. The next reading of a patch's envelope takes that commit; later
       ones ask again, so that nothing old is served from memory for long.
    2. With the first reading after a listing all its envelopes are downloaded, a few at once: an index of a thousand
       patches is then one listing and the envelopes that changed.
    3. A version is found by the tag ``v<version>``, else by the titles of the commits; whether the envelope there is
       of that version is looked at, for tags can be moved.
    4. Every envelope that is read teaches which repository its payload digest belongs to.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from symbio_lab.errors import NotFoundError, SymbioError, TrustError
from symbio_lab.marketplace.hub_address import HubAddress, is_hub_repo
from symbio_lab.marketplace.hub_answers import OversizeAnswerError
from symbio_lab.marketplace.hub_publishing import stated_version, version_title
from symbio_lab.marketplace.hub_reading import HubReader
from symbio_lab.records import PatchManifest
from symbio_lab.trust.envelope import ENVELOPE_NAME, MAX_ENVELOPE_BYTES, peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.naming import split_ref

logger = logging.getLogger(__name__)


class HubPatches:
    """What one address offers; may be used by several threads."""

    def __init__(self, address: HubAddress, reader: HubReader) -> None:
        self.address = address
        self.reader = reader
        self._lock = threading.Lock()
        self._members: frozenset[str] | None = None
        self._fresh: dict[str, str] = {}
        """Commit of each patch as listed, until it is read."""
        self._is_new = False
        """Whether nothing was read since the listing."""
        self._repos: dict[str, str] = {}
        self._searched = False

    def list_refs(self) -> list[str]:
        """Return the ids of all patches, sorted; see ``Transport.list_refs``."""
        commits = self.reader.list_patches(self.address)
        with self._lock:
            self._members = frozenset(commits)
            self._fresh = {ref: commit for ref, commit in commits.items() if commit}
            self._is_new = len(self._fresh) > 1
        return sorted(commits)

    def list_tokens(self) -> dict[str, str]:
        """Return the id of every patch with the commit at which it stands; see ``ListsTokens``."""
        refs = self.list_refs()
        with self._lock:
            listed = dict(self._fresh)
        tokens = {}
        for ref in refs:
            try:
                tokens[ref] = listed.get(ref) or self.reader.find_commit(ref)
            except NotFoundError:
                continue  # withdrawn between listing and asking
        return tokens

    def list_versions(self, ref: str) -> list[int]:
        """Return the versions of a patch, oldest first: the newest, and older ones that are tagged.

        Raises:
            NotFoundError: the address holds no such patch.
            TrustError: ``unsafe_name``, ``unsigned``, ``bad_envelope``, ``bad_response``.
            NetworkUnavailableError: no answer.
        """
        repo = self.repo(ref)
        newest = stated_version(self.read_envelope(repo))
        if newest is None:
            return []
        if self.address.commit or self.reader.calls.offline:
            return [newest]
        tags = (tag[1:] for tag in self.reader.find_tags(repo) if tag.startswith("v"))
        older = {int(number) for number in tags if number.isascii() and number.isdigit() and len(number) < 10}
        return sorted({*(version for version in older if 0 < version < newest), newest})

    def read_envelope(self, ref: str) -> bytes:
        """Return the bytes of a patch's envelope, unverified; see ``Transport.read_manifest``."""
        repo, version = self.repo(ref), split_ref(ref)[2]
        commit = self._take_listed(repo) if version is None else None
        return self._read(repo, commit or self.find_commit(ref))

    def find_commit(self, ref: str) -> str:
        """Return the commit at which a reference stands now.

        Raises:
            NotFoundError: the address holds no such patch, or not in this version.
            NetworkUnavailableError: no answer; or offline, and it was not read before.
        """
        repo, version = self.repo(ref), split_ref(ref)[2]
        main = self.address.commit or self.reader.find_commit(repo)
        if version is None or self._is_version(repo, main, version):
            return main
        if not self.address.commit and not self.reader.calls.offline:
            for commit in self._candidates(repo, version):
                if self._is_version(repo, commit, version):
                    return commit
        raise self._absent(ref)

    def repo(self, ref: str) -> str:
        """Return the repository of a reference that belongs to the address.

        Raises:
            TrustError: ``unsafe_name``.
            NotFoundError: it belongs elsewhere, or no repository can have this name.
        """
        repo = "/".join(split_ref(ref)[:2])
        covered = self.address.covers(repo)
        if covered is None:
            if self._members is None:
                self.list_refs()
            covered = repo in (self._members or ())
        if not covered or not is_hub_repo(repo):
            raise self._absent(ref)
        return repo

    def repo_of_digest(self, digest: str) -> str | None:
        """Return the repository of the patch with this payload digest, or None if the address has none.

        All patches are read once, if need be: a digest alone does not say where it belongs.
        """
        if digest not in self._repos and not self._searched:
            for ref in self.list_refs():
                try:
                    self.read_envelope(ref)
                except (NotFoundError, TrustError) as error:
                    logger.info("%s is left out of the search for a digest: %s", ref, error)
            self._searched = True
        return self._repos.get(digest)

    def owners(self) -> list[str]:
        """Return the owners of the address and of the patches last listed, sorted, the address's own first."""
        own = [self.address.owner] if self.address.owner else []
        if self._members is None and self.address.kind in ("all", "collection"):
            self.list_refs()
        others = {ref.split("/")[0] for ref in self._members or ()} if self.address.kind != "repo" else set()
        return [*own, *sorted(others - set(own))]

    def learn(self, repo: str, envelope: bytes) -> None:
        """Remember which repository the digests of an envelope belong to: its own, and its predecessor's."""
        try:
            payload = peek_payload(envelope)
            manifest: PatchManifest | None = payload_to_manifest(payload)
        except TrustError:
            return
        if manifest is None or manifest.patch_id != repo:
            return
        with self._lock:
            # A predecessor is a claim: it never takes a digest away from the patch that has it.
            if manifest.previous is not None:
                self._repos.setdefault(manifest.previous, repo)
            self._repos[hashlib.sha256(payload).hexdigest()] = repo

    def _take_listed(self, repo: str) -> str | None:
        with self._lock:
            start, self._is_new = self._is_new, False
            fresh = dict(self._fresh) if start else {}
        if start:
            self._download_all(fresh)
        with self._lock:
            return self._fresh.pop(repo, None)

    def _download_all(self, commits: Mapping[str, str]) -> None:
        """Fill the cache; what fails here fails again where it is read, and is reported there."""

        def download(repo: str, commit: str) -> None:
            try:
                self.reader.read_file(repo, commit, ENVELOPE_NAME, MAX_ENVELOPE_BYTES)
            except SymbioError as error:
                logger.debug("%s was not read ahead: %s", repo, error)

        with ThreadPoolExecutor(self.reader.calls.limits.num_threads, thread_name_prefix="hub-envelopes") as pool:
            # Each in a copy of this context: all share the deadline of the operation.
            for repo, commit in commits.items():
                pool.submit(contextvars.copy_context().run, download, repo, commit)

    def _read(self, repo: str, commit: str) -> bytes:
        try:
            envelope = self.reader.read_file(repo, commit, ENVELOPE_NAME, MAX_ENVELOPE_BYTES)
        except NotFoundError as error:
            raise TrustError("unsigned", f"{repo} holds no {ENVELOPE_NAME}") from error
        except OversizeAnswerError as error:
            raise TrustError("bad_envelope", f"the envelope of {repo} is larger than {MAX_ENVELOPE_BYTES}") from error
        self.learn(repo, envelope)
        return envelope

    def _is_version(self, repo: str, commit: str, version: int) -> bool:
        try:
            return stated_version(self._read(repo, commit)) == version
        except TrustError as error:
            if error.code == "bad_response":
                raise
            return False

    def _candidates(self, repo: str, version: int) -> Iterator[str]:
        tagged = self.reader.find_tags(repo).get(f"v{version}")
        if tagged is not None:
            yield tagged
        yield from self.reader.find_titled(repo, version_title(repo, version))[:8]

    def _absent(self, ref: str) -> NotFoundError:
        return NotFoundError(
            f"the market {self.address.uri} holds no {ref}", hint="list what it holds: symbio market list"
        )
