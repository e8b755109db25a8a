"""A sealed patch becomes one commit in the repository of its name.

Protocol:
    1. Read what stands: the commit of ``main``, its files, the version that its envelope states.
    2. The same version with the same envelope: only files that differ from it are repaired, usually none. The same
       version with another envelope, or an older one than what stands: refused, for a published version never changes.
    3. Otherwise one commit on top of what was read: the files of the new version come, those of the old one go,
       evaluations stay. If the repository moved meanwhile, begin again once.
    4. The commit is tagged ``v<version>``; its title ``symbio-patch <id>@<version>`` finds it as well.
    5. Where the token may not write, the same change is proposed by a pull request.
"""

from __future__ import annotations

import logging
from pathlib import Path

from symbio_lab.errors import DataError, NotFoundError, SymbioError, TrustError
from symbio_lab.marketplace.directory import MAX_PATCH_BYTES
from symbio_lab.marketplace.hub_commits import Change, HubWriter
from symbio_lab.marketplace.hub_errors import ConflictError
from symbio_lab.marketplace.hub_files import is_patch_file
from symbio_lab.marketplace.hub_reading import PATCH_TAG, HubReader
from symbio_lab.marketplace.transport import Offered
from symbio_lab.records import PatchManifest
from symbio_lab.trust.adapter_files import CARD_NAME
from symbio_lab.trust.envelope import ENVELOPE_NAME, MAX_ENVELOPE_BYTES, peek_payload
from symbio_lab.trust.folder_reading import list_folder, read_file
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.naming import split_ref

logger = logging.getLogger(__name__)
_MAX_TRIES = 2


class HubPublisher:
    """Publishes to one endpoint as the token's user."""

    def __init__(self, reader: HubReader, writer: HubWriter) -> None:
        self.reader = reader
        self.writer = writer

    def offer(self, folder: Path, ref: str, *, pull_request: bool = False) -> Offered:
        """Return where the patch in ``folder`` went; see ``CommitTransport.offer``."""
        files = _read_all(folder)
        manifest = payload_to_manifest(peek_payload(files.get(ENVELOPE_NAME, b"")))
        namespace, name, version = split_ref(ref)
        if manifest.patch_id != f"{namespace}/{name}" or version not in (None, manifest.version):
            raise TrustError("wrong_patch", f"the folder holds {manifest.patch_id}@{manifest.version}, not {ref}")
        if PATCH_TAG.encode() not in files.get(CARD_NAME, b"")[:4096]:
            logger.warning("the card of %s lacks the tag %s: hf:// will not list it", ref, PATCH_TAG)
        for tried in range(_MAX_TRIES):
            try:
                return self._offer_once(manifest, files, pull_request=pull_request)
            except ConflictError:
                if tried == _MAX_TRIES - 1:
                    raise
                logger.info("%s changed meanwhile; reading it again", manifest.patch_id)
        raise AssertionError("unreachable: the last try returns or raises")

    def _offer_once(self, manifest: PatchManifest, files: dict[str, bytes], *, pull_request: bool) -> Offered:
        repo = manifest.patch_id
        try:
            parent = self.reader.find_commit(repo)
        except NotFoundError:
            if pull_request:
                raise
            parent = self.writer.create(repo)
        standing = {file.name: file for file in self.reader.list_files(repo, parent) if is_patch_file(file.name)}
        if ENVELOPE_NAME in standing and self._stands(repo, parent, manifest, files[ENVELOPE_NAME]):
            return Offered()
        change = Change(
            title=version_title(repo, manifest.version),
            add={n: data for n, data in files.items() if n not in standing or not standing[n].is_of(data)},
            remove=tuple(name for name in standing if name not in files),
        )
        if not change.add and not change.remove:
            return Offered()
        done = self.writer.change(repo, parent, change, pull_request=pull_request)
        if done.commit:
            self._tag(repo, manifest.version, done.commit)
        return done

    def _stands(self, repo: str, parent: str, manifest: PatchManifest, envelope: bytes) -> bool:
        """Return whether a newer version stands and holds this one in its history; refuse what must not replace it.

        Raises:
            DataError: this version stands with other bytes, or a newer one without it.
        """
        held = self.reader.read_file(repo, parent, ENVELOPE_NAME, MAX_ENVELOPE_BYTES)
        version = stated_version(held)
        if held == envelope or version is None or version < manifest.version:
            return False
        ref = f"{repo}@{manifest.version}"
        if version > manifest.version:
            commits = self.reader.find_titled(repo, version_title(repo, manifest.version))
            if any(self._envelope_at(repo, commit) == envelope for commit in commits):
                return True
            raise DataError(f"{ref} is older than version {version}, which is published", hint="publish a new version")
        raise DataError(f"{ref} is published with other bytes", hint="publish a new version")

    def _envelope_at(self, repo: str, commit: str) -> bytes | None:
        try:
            return self.reader.read_file(repo, commit, ENVELOPE_NAME, MAX_ENVELOPE_BYTES)
        except NotFoundError:
            return None

    def _tag(self, repo: str, version: int, commit: str) -> None:
        try:
            self.writer.tag(repo, f"v{version}", commit)
        except SymbioError as error:
            # The title of the commit finds the version as well.
            logger.warning("%s@%d is published, but not tagged: %s", repo, version, error)


def version_title(patch_id: str, version: int) -> str:
    """Return the title of the commit that publishes a version.

    >>> version_title("alice/travel", 3)
    'symbio-patch alice/travel@3'
    """
    return f"symbio-patch {patch_id}@{version}"


def stated_version(envelope: bytes) -> int | None:
    """Return the version that an unverified envelope states, or None if it cannot be read."""
    try:
        return payload_to_manifest(peek_payload(envelope)).version
    except TrustError:
        return None


def _read_all(folder: Path) -> dict[str, bytes]:
    sizes = list_folder(folder)
    if sum(sizes.values()) > MAX_PATCH_BYTES:
        raise TrustError("too_large", f"{folder.name} has {sum(sizes.values())} bytes, more than {MAX_PATCH_BYTES}")
    return {name: read_file(folder, name, size) for name, size in sizes.items()}
