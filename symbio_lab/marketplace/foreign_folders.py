"""The two files of somebody else's adapter, fetched at one pinned commit and read under caps.

Rules:
    1. An address names a commit of 40 hex characters. A branch can be moved, so it is refused; the refusal says where
       the branch stands now.
    2. Of a repository only ``adapter_config.json`` and ``adapter_model.safetensors`` are fetched. What else is there
       is never opened, whatever its name, and is listed for the adopter.
    3. Sizes are judged before anything is fetched, and again as the bytes are read.
    4. Pickled weights alone are refused: there is no safe way to read them.
    5. The licence is the one that the card states. Where it states none, or none with an SPDX id of its own, the
       adopter reads the terms and states it; nobody but the author can state another.

Example:
    >>> parse_pinned("hf://org/adapter@" + "a" * 40).repo
    'org/adapter'
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from symbio_lab.errors import ConfigError, SymbioError
from symbio_lab.marketplace.contribution.licence_terms import LICENCES
from symbio_lab.marketplace.hub_address import HubAddress, parse_hub_address
from symbio_lab.marketplace.hub_card import hub_licence
from symbio_lab.records import FileEntry
from symbio_lab.trust.adapter_files import CONFIG_NAME, DELTAS_NAME
from symbio_lab.trust.folder_reading import list_folder, read_file
from symbio_lab.trust.foreign_config import MAX_CONFIG_BYTES, refuse_foreign
from symbio_lab.trust.naming import is_forbidden

logger = logging.getLogger(__name__)

FETCHED = (CONFIG_NAME, DELTAS_NAME)
"""All that is ever fetched of a repository."""
PICKLED_NAME = "adapter_model.bin"
OTHER = "other"
"""What the Hub calls a licence that is not on its list."""


@dataclass(frozen=True, slots=True)
class ForeignListing:
    """What a repository holds at a commit, as its server says."""

    sizes: Mapping[str, int]
    """Bytes of each file by its name."""
    licence: str | None = None
    """Licence in the card's metadata, in the Hub's spelling; None: not stated."""


class FolderSource(Protocol):
    """Where somebody else's repositories are read from; nothing that it returns is believed."""

    def current_commit(self, repo: str) -> str:
        """Return the commit that the main branch of ``org/name`` points to now, 40 hex.

        Raises:
            NotFoundError: no such repository.
            NetworkUnavailableError: the server does not answer.
        """

    def list_files(self, repo: str, sha: str) -> ForeignListing:
        """Return the files of a repository at a commit.

        Raises:
            NotFoundError: no such repository or commit.
            NetworkUnavailableError: the server does not answer.
        """

    def fetch_folder(self, repo: str, sha: str, into: Path, max_bytes: int) -> None:
        """Put the files named in ``FETCHED``, as they are at a commit, below ``into``.

        Args:
            repo: ``org/name``.
            sha: commit, 40 hex.
            into: empty folder.
            max_bytes: stop beyond this total size.

        Raises:
            NotFoundError: no such repository, commit or file.
            TrustError: ``too_large`` or ``bad_response``.
            NetworkUnavailableError: the server does not answer.
            StorageError: writing failed.
        """


@dataclass(frozen=True, slots=True)
class ForeignFolder:
    """The files that were fetched, and what was left."""

    files: tuple[FileEntry, ...]
    """Name, SHA-256 and size of each file read, sorted by name."""
    left_out: tuple[str, ...]
    """Files of the repository that were not fetched, sorted."""
    licence: str | None
    """As the card states it."""
    config: bytes = field(repr=False)
    tensors: bytes = field(repr=False)


def parse_pinned(address: str, source: FolderSource | None = None) -> HubAddress:
    """Return the address of one repository at one commit.

    Args:
        address: ``hf://org/name@`` and 40 hex characters.
        source: asked for the current commit when the address names none; None asks nobody.

    Raises:
        ConfigError: another address; the hint says how to pin it.
    """
    plain, _, revision = address.partition("@")
    found = parse_hub_address(plain)
    repo = found.repo
    if repo is None:
        raise ConfigError([f"{address!r:.120} names no repository"], hint="write hf://ORG/NAME@COMMIT")
    try:
        pinned = parse_hub_address(address)
    except ConfigError:
        pinned = found
    if pinned.commit is not None:
        return pinned
    problem = f"{revision!r:.60} is no commit of 40 hex characters" if revision else "it names no commit"
    hint = f"write {found.uri}@COMMIT: a branch can be moved after you looked at it"
    if source is not None:
        try:
            hint = f"look at it, then pin what its main branch is now: {found.uri}@{source.current_commit(repo)}"
        except SymbioError as error:
            logger.info("cannot ask where %s stands: %s", repo, error)
    raise ConfigError([f"{address!r:.120} is not pinned: {problem}"], hint=hint)


def read_foreign_folder(
    source: FolderSource, repo: str, sha: str, workspace: Path, *, max_file_bytes: int
) -> ForeignFolder:
    """Return config and tensors of a repository at a commit.

    Args:
        source: where to fetch from.
        repo: ``org/name``.
        sha: commit, 40 hex.
        workspace: folder for the fetched files, made new by this call.
        max_file_bytes: largest file of tensors that the policy accepts.

    Raises:
        TrustError: ``forbidden_file``: weights only as a pickle; ``missing_file``; ``too_large``; ``extra_file``: the
            source delivered something else; ``unsafe_name``; ``size_mismatch``: not what was listed.
        NotFoundError: no such repository or commit.
        NetworkUnavailableError: the server does not answer.
        StorageError: reading or writing failed.
    """
    listing = source.list_files(repo, sha)
    caps = {CONFIG_NAME: MAX_CONFIG_BYTES, DELTAS_NAME: max_file_bytes}
    _check_listing(listing.sizes, caps, f"{repo}@{sha[:12]}")
    workspace.mkdir(parents=True)
    source.fetch_folder(repo, sha, workspace, sum(listing.sizes[name] for name in FETCHED))
    delivered = list_folder(workspace)
    if odd := sorted(set(delivered) ^ set(FETCHED)):
        code = "extra_file" if odd[0] in delivered else "missing_file"
        raise refuse_foreign(code, f"fetching {repo} gave not what was asked for: {odd[0]!r:.80}")
    # Not the policy's cap: reading reserves as much memory as it is told.
    contents = {name: read_file(workspace, name, listing.sizes[name]) for name in FETCHED}
    for name, data in contents.items():
        if len(data) != listing.sizes[name]:
            raise refuse_foreign(
                "size_mismatch",
                f"{name} of {repo} has {len(data)} bytes, listed are {listing.sizes[name]}",
                "fetch it again, or from a server that you trust more",
            )
    return ForeignFolder(
        files=tuple(FileEntry(n, hashlib.sha256(d).hexdigest(), len(d)) for n, d in sorted(contents.items())),
        left_out=tuple(sorted(set(listing.sizes) - set(FETCHED))),
        licence=listing.licence,
        config=contents[CONFIG_NAME],
        tensors=contents[DELTAS_NAME],
    )


def choose_licence(stated: str | None, given: str | None) -> str:
    """Return the licence of a converted adapter.

    Args:
        stated: what its card states, in the Hub's spelling.
        given: SPDX id that the adopter states.

    Raises:
        ConfigError: nobody states one that is known, or the adopter contradicts the card.

    >>> choose_licence("apache-2.0", None), choose_licence("other", "LicenseRef-model-terms")
    ('Apache-2.0', 'LicenseRef-model-terms')
    """
    hub_name = (stated or "").lower()
    if given is not None:
        if hub_licence(hub_name) == hub_name != OTHER and hub_licence(given) != hub_name:
            problem = f"--licence {given!r:.60}: its card says {stated}"
            raise ConfigError([problem], hint="only its author can put it under another licence")
        return given
    meant = sorted(name for name in LICENCES if hub_licence(name) == hub_name != OTHER)
    if len(meant) == 1:
        return meant[0]
    reads = f"its card says {stated!r:.60}" if stated else "its card states none"
    either = f", which may be {' or '.join(meant)}" if meant else ""
    raise ConfigError(
        [f"the licence is not known: {reads}{either}"], hint="read its terms, then state the SPDX id by --licence"
    )


def _check_listing(sizes: Mapping[str, int], caps: Mapping[str, int], where: str) -> None:
    """Refuse what a listing already tells, before anything is fetched."""
    if DELTAS_NAME not in sizes:
        pickled = sorted(name for name in sizes if name == PICKLED_NAME or is_forbidden(name))
        if pickled:
            raise refuse_foreign(
                "forbidden_file",
                f"{where} has its weights as {pickled[0]!r:.80} only; a pickle runs code when it is read",
                "ask its author for adapter_model.safetensors",
            )
    missing = [name for name in FETCHED if name not in sizes]
    if missing:
        raise refuse_foreign(
            "missing_file", f"{where} holds no {missing[0]}", "name a repository that holds an adapter"
        )
    for name, cap in caps.items():
        if sizes[name] > cap:
            raise refuse_foreign("too_large", f"{name} of {where} has {sizes[name]} bytes, more than {cap}")
