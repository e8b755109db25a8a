"""The memory of ``trusted_set`` on disk: one empty marker file for each version ever accepted.

Layout: ``seen/<namespace>~<name>/<version>~<payload digest>~<keyid>``. Making a file is atomic and nothing is ever
rewritten, so any number of processes may remember at once and none can make another forget.
"""

from __future__ import annotations

import re
from pathlib import Path

from symbio_lab.errors import StorageError
from symbio_lab.records import PatchManifest
from symbio_lab.trust.naming import check_patch_id
from symbio_lab.trust.trusted_set import SeenVersion, TrustedState

_MARKER = re.compile(r"([1-9][0-9]{0,8})~([0-9a-f]{64})~([0-9a-f]{64})")


def load_seen(folder: Path) -> TrustedState:
    """Return the newest accepted version of every patch remembered in ``folder``; empty if there is none.

    Of two patches under one version the one with the smaller digest counts, on every machine alike.

    Raises:
        StorageError: the folder cannot be read.
    """
    seen: dict[str, SeenVersion] = {}
    try:
        markers = sorted(folder.glob("*~*/*~*~*"))
    except OSError as error:
        raise StorageError(f"cannot read the versions seen: {error.strerror or error}") from error
    for marker in markers:
        match = _MARKER.fullmatch(marker.name)
        if match is None:
            continue
        patch_id = marker.parent.name.replace("~", "/", 1)
        version = SeenVersion(int(match[1]), match[2], match[3])
        known = seen.get(patch_id)
        if known is None or version.version > known.version:
            seen[patch_id] = version
    return TrustedState(seen)


def remember_seen(folder: Path, manifest: PatchManifest, digest: str) -> None:
    """Remember that this version was accepted; doing it twice changes nothing.

    Raises:
        StorageError: disk full or no permission.
    """
    name = check_patch_id(manifest.patch_id).replace("/", "~")
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{manifest.version}~{digest}~{manifest.keyid}").touch()
    except OSError as error:
        raise StorageError(f"cannot remember {manifest.patch_id}: {error.strerror or error}") from error
