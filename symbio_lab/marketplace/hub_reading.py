"""Reading from a Hub: what there is, at which commit, and its bytes. Nothing read here is believed.

Rules:
    1. ``main`` is resolved to a commit once; listing and files are then asked for by that commit, and an answer of
       another commit is refused.
    2. Only files that the listing shows are downloaded, after their sizes were added up.
    3. The client library's cache may hold what a bad server once sent. A cached file is named by its digest, so it is
       hashed; what does not match its name is removed and downloaded again. Whether the bytes are the publisher's is
       decided by ``trust/``, on the bytes.
    4. Offline, a name stands for the commit that it had when it was last seen (``hub_memory``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from symbio_lab.codec import from_plain, write_atomic
from symbio_lab.errors import DataError, NetworkUnavailableError, TrustError
from symbio_lab.marketplace.hub_address import HubAddress, is_hub_repo
from symbio_lab.marketplace.hub_calls import HubCalls
from symbio_lab.marketplace.hub_files import (
    HubFile,
    as_file,
    cached_blob,
    forget,
    is_patch_file,
    matches_its_name,
    read_bounded,
)
from symbio_lab.marketplace.hub_memory import HubMemory
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.folder_reading import MAX_ENTRIES
from symbio_lab.trust.naming import check_file_name

logger = logging.getLogger(__name__)

PATCH_TAG = "symbio-patch"
"""Tag in the card of every patch, by which the whole Hub is searched."""
OFFLINE_HINT = "read it once with a network; then HF_HUB_OFFLINE=1 can use it"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_TREES = 4096


class HubReader:
    """Reads one endpoint."""

    def __init__(self, calls: HubCalls, memory: HubMemory) -> None:
        self.calls = calls
        self.memory = memory
        self._trees: dict[tuple[str, str], tuple[HubFile, ...]] = {}

    def list_patches(self, address: HubAddress) -> Mapping[str, str]:
        """Return the patches of an address with the commit of ``main``, empty where the Hub did not say it.

        Raises:
            NotFoundError: there is no such repository or collection.
            NetworkUnavailableError: no answer; or offline, and it was not listed before.
        """
        if address.repo is not None:
            return {address.repo: address.commit or self.find_commit(address.repo)}
        if self.calls.offline:
            known = self.memory.last_listing(address.uri)
            if known is None:
                raise NetworkUnavailableError(f"offline: {address.uri} was not listed before", hint=OFFLINE_HINT)
            return known
        found = self._collected(address) if address.kind == "collection" else self._tagged(address)
        most = self.calls.limits.max_patches
        if len(found) > most:
            logger.warning("%s offers more than %d patches; the rest is left out", address.uri, most)
        found = dict(list(found.items())[:most])
        self.memory.remember_listing(address.uri, found)
        return found

    def find_commit(self, repo: str, revision: str = "main") -> str:
        """Return the commit (40 hex) that a branch, a tag or ``refs/pr/N`` stands for.

        Raises:
            NotFoundError: there is no such repository or revision.
            NetworkUnavailableError: no answer; or offline, and ``main`` was not seen before.
        """
        if self.calls.offline:
            known = self.memory.last_commit(repo) if revision == "main" else None
            if known is None:
                raise NetworkUnavailableError(f"offline: {repo} was not read before", hint=OFFLINE_HINT)
            return known
        commit = self.calls.call(f"find {repo}", lambda api: _commit_of(api.model_info(repo, revision=revision)))
        if revision == "main":
            self.memory.remember_commit(repo, commit)
        return commit

    def find_tags(self, repo: str) -> Mapping[str, str]:
        """Return the tags of a repository with their commits; they can be moved, so they only say where to look.

        Raises:
            NotFoundError: there is no such repository.
        """
        return self.calls.call(
            f"read the tags of {repo}",
            lambda api: {str(tag.name): _commit_of(tag) for tag in api.list_repo_refs(repo).tags},
        )

    def find_titled(self, repo: str, title: str) -> list[str]:
        """Return the commits of ``main`` with this title, newest first."""
        most = self.calls.limits.max_commits
        return self.calls.call(
            f"read the history of {repo}",
            lambda api: [_commit_of(c) for c in islice(api.list_repo_commits(repo), most) if c.title == title],
        )

    def list_files(self, repo: str, commit: str) -> tuple[HubFile, ...]:
        """Return the files of a commit, by name.

        Raises:
            NotFoundError: there is no such commit.
            TrustError: ``extra_file``: more than 10,000 files.
            NetworkUnavailableError: no answer; or offline, and it was not listed before.
        """
        if (repo, commit) in self._trees:
            return self._trees[repo, commit]
        files = None
        if not self.calls.offline:
            try:
                files = self.calls.call(f"list {repo}", lambda api: self._read_tree(api, repo, commit))
                self.memory.remember_tree(repo, commit, [asdict(file) for file in files])
            except NetworkUnavailableError:
                # The files of a commit never change: what was listed before is as good, whoever is down.
                files = self._remembered_tree(repo, commit)
                if files is None:
                    raise
        else:
            files = self._remembered_tree(repo, commit)
        if files is None:
            raise NetworkUnavailableError(f"offline: {repo} was not read before", hint=OFFLINE_HINT)
        if len(self._trees) >= _MAX_TREES:
            self._trees.clear()
        self._trees[repo, commit] = files
        return files

    def read_file(self, repo: str, commit: str, name: str, max_bytes: int) -> bytes:
        """Return the bytes of one file of a commit.

        Raises:
            NotFoundError: no such file.
            OversizeAnswerError: it is larger than ``max_bytes``.
            TrustError: ``unsafe_name``, ``bad_response``; ``digest_mismatch``: other bytes than listed, twice.
            NetworkUnavailableError: no answer; or offline, and it was not downloaded before.
            StorageError: the cache cannot be written.
        """
        check_file_name(name)
        known = self._cached_blob(repo, commit, name, max_bytes)
        if known is not None:
            return known
        path = self._download(repo, commit, name, max_bytes)
        data = read_bounded(path, max_bytes)
        if matches_its_name(path, data):
            return data
        forget(path)
        if not self.calls.offline:
            logger.warning("the cached %s of %s is damaged; downloading it again", name, repo)
            path = self._download(repo, commit, name, max_bytes)
            data = read_bounded(path, max_bytes)
            if matches_its_name(path, data):
                return data
            forget(path)
        raise TrustError("digest_mismatch", f"{name} of {repo} has other bytes than its listing says, twice")

    def fetch_folder(
        self,
        repo: str,
        commit: str,
        into: Path,
        *,
        max_bytes: int,
        keep: Callable[[str], bool] = is_patch_file,
    ) -> Path:
        """Return ``into``, filled with the files of a commit for which ``keep`` is true, unverified.

        Args:
            repo: ``owner/name``.
            commit: 40 hex.
            into: folder that does not exist yet or is empty.
            max_bytes: largest total size; it is compared with the listing before anything is downloaded.
            keep: file name -> whether it is wanted.

        Raises:
            NotFoundError: no such commit, or it was withdrawn meanwhile.
            TrustError: ``unsafe_name``, ``extra_file`` (more than 256 files), ``too_large``, ``bad_response``,
                ``digest_mismatch``: not what the commit lists.
            NetworkUnavailableError: no answer; or offline, and not everything was downloaded before.
            StorageError: reading or writing failed.
        """
        files = [file for file in self.list_files(repo, commit) if keep(file.name)]
        for file in files:
            check_file_name(file.name)
        if len(files) > MAX_ENTRIES:
            raise TrustError("extra_file", f"{repo} holds {len(files)} files, more than {MAX_ENTRIES}")
        total = sum(file.size_bytes for file in files)
        if total > max_bytes:
            raise TrustError("too_large", f"{repo} has {total} bytes, more than {max_bytes}")
        with self.calls.operation(num_bytes=total):
            for file in files:
                data = self.read_file(repo, commit, file.name, file.size_bytes)
                # Of an adapter without a signature the listing is all that says what its files are.
                if not file.is_of(data):
                    raise TrustError("digest_mismatch", f"{file.name} of {repo} is not the file that the commit lists")
                write_atomic(into / file.name, data)
        return into

    def _tagged(self, address: HubAddress) -> dict[str, str]:
        most = self.calls.limits.max_patches + 1
        wanted = {"author": address.owner} if address.kind == "owner" else {"filter": PATCH_TAG}
        models = self.calls.call(
            f"list {address.uri}", lambda api: list(islice(api.list_models(full=True, limit=most, **wanted), most))
        )
        found = {}
        for model in models:
            # An owner's other models are left out; a patch without envelope is kept, to be refused as unsigned.
            names = {sibling.rfilename for sibling in model.siblings or ()}
            is_patch = ENVELOPE_NAME in names or PATCH_TAG in (model.tags or ())
            if is_patch and is_hub_repo(model.id) and address.covers(model.id):
                found[model.id] = model.sha if _is_commit(model.sha) else ""
        return found

    def _collected(self, address: HubAddress) -> dict[str, str]:
        collection = self.calls.call(
            f"read {address.uri}", lambda api: api.get_collection(f"{address.owner}/{address.name}")
        )
        models = (item.item_id for item in collection.items if item.item_type == "model")
        return {repo: "" for repo in models if isinstance(repo, str) and is_hub_repo(repo)}

    def _remembered_tree(self, repo: str, commit: str) -> tuple[HubFile, ...] | None:
        try:
            return tuple(from_plain(HubFile, item) for item in self.memory.last_tree(repo, commit))
        except (DataError, TypeError):
            return None

    def _read_tree(self, api: Any, repo: str, commit: str) -> tuple[HubFile, ...]:
        from huggingface_hub.hf_api import RepoFile

        most = self.calls.limits.max_listed_files
        items = list(islice(api.list_repo_tree(repo, revision=commit, recursive=True), 2 * most + 1))
        files = [as_file(item) for item in items if isinstance(item, RepoFile)]
        if len(items) > 2 * most or len(files) > most:
            raise TrustError("extra_file", f"{repo} holds more than {most} files")
        if len({file.name for file in files}) != len(files):
            raise TrustError("bad_response", f"the listing of {repo} names a file twice")
        return tuple(sorted(files, key=lambda file: file.name))

    def _cached_blob(self, repo: str, commit: str, name: str, max_bytes: int) -> bytes | None:
        """Return a file whose content was downloaded with another commit already, if the listing is known.

        Every evaluation that is merged makes a new commit, in which the patch's files are the same.
        """
        listed = self._trees.get((repo, commit))
        if listed is None and self.calls.offline:
            listed = self._remembered_tree(repo, commit)
        file = next((file for file in listed or () if file.name == name), None)
        if file is None or file.size_bytes > max_bytes:
            return None
        return cached_blob(self.memory.files, repo, file)

    def _download(self, repo: str, commit: str, name: str, max_bytes: int) -> Path:
        """Return where the file lies in the client library's cache, downloaded if it was not."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import silent_tqdm

        path = self.calls.call(
            f"read {name} of {repo}",
            lambda _: hf_hub_download(
                repo,
                name,
                revision=commit,
                cache_dir=self.memory.files,
                endpoint=self.calls.endpoint,
                token=self.calls.token_for_client(),
                library_name="symbio_lab",
                etag_timeout=self.calls.limits.timeout_s,
                local_files_only=self.calls.offline,
                tqdm_class=silent_tqdm,
            ),
            # An empty file is allowed to be none; the bound of a call cannot be zero.
            max_bytes=max(1, max_bytes),
            commit=commit,
        )
        return Path(path)


def _commit_of(described: Any) -> str:
    """Return the commit in an answer: of a model, a tag or a history line."""
    for field in ("sha", "target_commit", "commit_id"):
        value = getattr(described, field, None)
        if _is_commit(value):
            return str(value)
    raise TrustError("bad_response", "the server's answer names no commit of 40 hex")


def _is_commit(value: object) -> bool:
    return isinstance(value, str) and bool(_COMMIT.fullmatch(value))
