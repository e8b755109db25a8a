"""Putting a registry that is kept in a folder, and the log in it, into its owner's repository on a Hub.

Rules:
    1. One commit holds all that is new, the timestamp included: readers of ``main`` see one state or the next.
    2. Nothing is deleted: a reader that follows an older timestamp, or an older checkpoint, still finds its files.
    3. Only ``metadata/``, ``targets/`` and ``log/`` go up; hidden files (locks, unfinished writes) and whatever else
       lies in the folder, private keys for instance, stay at home.
"""

from __future__ import annotations

import os
from pathlib import Path

from symbio_lab.errors import NotFoundError, StorageError
from symbio_lab.marketplace.hub_commits import Change, HubWriter
from symbio_lab.marketplace.hub_errors import ConflictError
from symbio_lab.marketplace.log_tiles import CHECKPOINT_NAME
from symbio_lab.marketplace.registry.layout import HUB_REPOSITORY, LOG, METADATA, TARGETS
from symbio_lab.marketplace.registry.static_files import MAX_FILE_BYTES
from symbio_lab.marketplace.transport import Offered
from symbio_lab.trust.folder_reading import read_file

_MAX_TRIES = 2


def upload_registry(folder: Path, owner: str, writer: HubWriter) -> Offered:
    """Return where the new files of a registry went: into the repository, or into a pull request.

    Args:
        folder: folder of the registry.
        owner: user or organisation whose repository ``symbio-registry`` carries it; made if it is new.
        writer: access to the Hub.

    Raises:
        NotFoundError: the folder holds neither a registry nor a log.
        ConfigError: no token, or one that may not even propose.
        ConflictError: the repository changed twice while it was read.
        NetworkUnavailableError: no answer.
        StorageError: the folder cannot be read, or the Hub refuses.
        TrustError: ``unsafe_name``: the folder holds links or unsafe names; ``bad_response``.
    """
    repo = f"{owner}/{HUB_REPOSITORY}"
    files = _read_all(folder)
    for tried in range(_MAX_TRIES):
        try:
            parent = writer.reader.find_commit(repo)
        except NotFoundError:
            parent = writer.create(repo)
        held = {file.name: file for file in writer.reader.list_files(repo, parent)}
        new = {name: data for name, data in files.items() if name not in held or not held[name].is_of(data)}
        if not new:
            return Offered()
        try:
            return writer.change(repo, parent, Change(f"symbio-registry: {len(new)} files", new))
        except ConflictError:
            if tried == _MAX_TRIES - 1:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _read_all(folder: Path) -> dict[str, bytes]:
    """Read every visible file of a registry."""
    found: dict[str, bytes] = {}
    try:
        for part in (METADATA, TARGETS, LOG):
            for current, folders, names in os.walk(folder / part):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(name for name in names if not name.startswith(".")):
                    path = (Path(current) / name).relative_to(folder).as_posix()
                    found[path] = read_file(folder, path, MAX_FILE_BYTES)
    except OSError as error:
        raise StorageError(f"cannot read {folder.name}: {error.strerror or error}") from error
    if not {f"{METADATA}/timestamp.json", f"{LOG}/{CHECKPOINT_NAME}"} & set(found):
        raise NotFoundError(f"there is no registry in {folder}", hint="make one: symbio market registry init")
    return found
