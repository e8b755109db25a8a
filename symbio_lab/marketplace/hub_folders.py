"""Somebody else's adapter repositories on a Hub, read through the market's own guarded reader.

Rules:
    1. Only the two files of an adapter are ever asked for; the listing names the others.
    2. A file must be the one that the listing of the commit describes (``digest_mismatch``).
    3. The licence is what the card's metadata says, as the server tells it; nobody signed it.
"""

from __future__ import annotations

from pathlib import Path

from symbio_lab.marketplace.foreign_folders import FETCHED, ForeignListing
from symbio_lab.marketplace.hub import HubTransport

_MAX_LICENCE = 100


class HubFolders:
    """The ``FolderSource`` of one Hub."""

    def __init__(self, hub: HubTransport | None = None) -> None:
        """Prepare the source; nothing is read.

        Args:
            hub: which Hub, and as whom; None: the endpoint and the token of this machine.
        """
        self._hub = hub or HubTransport("hf://")

    def current_commit(self, repo: str) -> str:
        """Return the commit that the main branch points to now; see ``FolderSource``."""
        return self._hub.reader.find_commit(repo)

    def list_files(self, repo: str, sha: str) -> ForeignListing:
        """Return names and sizes of a commit's files, and the licence stated there; see ``FolderSource``."""
        reader = self._hub.reader
        files = reader.list_files(repo, sha)
        stated: object = None
        if not reader.calls.offline:
            stated = reader.calls.call(
                f"read the card of {repo}", lambda api: _licence(api.model_info(repo, revision=sha))
            )
        known = stated if isinstance(stated, str) and 0 < len(stated) <= _MAX_LICENCE and stated.isascii() else None
        return ForeignListing({file.name: file.size_bytes for file in files}, known)

    def fetch_folder(self, repo: str, sha: str, into: Path, max_bytes: int) -> None:
        """Put the two files of an adapter below ``into``; see ``FolderSource``."""
        self._hub.reader.fetch_folder(repo, sha, into, max_bytes=max_bytes, keep=lambda name: name in FETCHED)


def _licence(info: object) -> object:
    """Return what the card's metadata state, of whatever type; None without a card."""
    return getattr(getattr(info, "card_data", None), "license", None)
