"""Where the files of a registry lie, and how a patch is called in it.

Layout:
    metadata/timestamp.json                      what is current; the only file that is ever rewritten
    metadata/<N>.root.json                       whose keys count
    metadata/<N>.snapshot.json, <N>.targets.json which versions belong together; what is registered
    metadata/<N>.bins<B>-<hex>.json              hash bins, once a single list would be too long
    targets/registry/<sha256>.revoked.json       revoked keys, itself a registered file; also as ``revoked.json``
    log/                                         a transparency log, where the market keeps one
A registry lies in ``<market>/registry/`` of a folder, or at the top of the Hub repository ``<owner>/symbio-registry``.

Example:
    >>> target_path("alice/travel", 3)
    'patches/alice/travel/v3/symbio.patch.dsse.json'
    >>> split_target_path("patches/alice/travel/v3/symbio.patch.dsse.json")
    ('alice/travel', 3)
"""

from __future__ import annotations

import re

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.naming import check_patch_id

REGISTRY_FOLDER = "registry"
"""Folder of a registry inside a market folder."""
HUB_REPOSITORY = "symbio-registry"
"""Name of the Hub repository that carries an owner's registry."""
METADATA = "metadata"
TARGETS = "targets"
LOG = "log"
REVOKED_PATH = "registry/revoked.json"
"""Target path of the list of revoked keys."""
ROLES = ("root", "timestamp", "snapshot", "targets")
"""Top-level roles in the order in which a client loads them."""
_TARGET = re.compile(r"patches/([^/]+/[^/]+)/v([1-9][0-9]{0,8})/" + re.escape(ENVELOPE_NAME))


def target_path(patch_id: str, version: int) -> str:
    """Return the path under which the envelope of one version is registered.

    Raises:
        TrustError: ``unsafe_name``.
    """
    return f"patches/{check_patch_id(patch_id)}/v{version}/{ENVELOPE_NAME}"


def split_target_path(path: str) -> tuple[str, int] | None:
    """Return patch id and version of a registered path, or None if it is no patch."""
    match = _TARGET.fullmatch(path)
    if match is None:
        return None
    try:
        return check_patch_id(match[1]), int(match[2])
    except TrustError:
        return None


def hashed_name(path: str, sha256: str) -> str:
    """Return the name, below the registry's folder, of a registered file that carries its digest.

    >>> hashed_name("registry/revoked.json", "ab12")
    'targets/registry/ab12.revoked.json'
    """
    folder, _, name = path.rpartition("/")
    return f"{TARGETS}/{folder}/{sha256}.{name}"
