"""What may be named on the loopback Hub: repositories, files, branches and tags.

Rules:
    1. A repository is ``namespace/name``: letters, digits, ``-``, ``_`` and ``.``; at most 96 characters a part; no
       part begins or ends with ``-`` or ``.``; no ``--``, no ``..``, no ``.git`` at the end. So says the Hub's client.
    2. A file path is relative and POSIX: no empty part, no ``.`` or ``..``, no backslash, no control character, nothing
       below ``.git``. No name ever becomes a path on this machine: blobs are stored under their digests.
    3. A branch or tag follows the rules of git that matter: no ``..``, no leading ``-``, no space, no wildcard.

Example:
    >>> check_path("evaluations/one.json")
    'evaluations/one.json'
"""

from __future__ import annotations

import re

from symbio_lab.testing.loopback_hub.answers import Refusal

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}")
MOST_PATH = 400
"""Characters of a file path."""


def check_repository_name(namespace: object, name: object) -> str:
    """Return ``namespace/name``.

    Raises:
        Refusal: 400.
    """
    for part in (namespace, name):
        fits = isinstance(part, str) and _PART.fullmatch(part)
        if not fits or "--" in str(part) or ".." in str(part) or str(part).lower().endswith(".git"):
            raise Refusal(400, message=f"{part!r:.100} is not a name for a repository or a user")
    return f"{namespace}/{name}"


def check_path(path: object) -> str:
    """Return the path of a file in a repository.

    Raises:
        Refusal: 400: it could leave the folder that somebody downloads it to, or is no text.

    >>> check_path("../up")
    Traceback (most recent call last):
    ...
    symbio_lab.testing.loopback_hub.answers.Refusal: '../up' is not a safe file path
    """
    if not isinstance(path, str) or not 0 < len(path) <= MOST_PATH:
        raise Refusal(400, message=f"a file path is text of 1 to {MOST_PATH} characters")
    parts = path.split("/")
    bad = {"", ".", ".."} & set(parts) or parts[0].lower() == ".git" or re.search(r"[\x00-\x1f\x7f\\]", path)
    if bad or re.match(r"[A-Za-z]:", path):
        raise Refusal(400, message=f"{path!r:.100} is not a safe file path")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refusal(400, message=f"{path!r:.100} is not valid Unicode") from error
    return path


def check_ref_name(name: object) -> str:
    """Return the name of a branch or tag.

    Raises:
        Refusal: 400.
    """
    fits = isinstance(name, str) and _REF.fullmatch(name)
    if not fits or ".." in str(name) or "//" in str(name) or str(name).endswith(("/", ".", ".lock")):
        raise Refusal(400, message=f"{name!r:.100} is not a name for a branch or tag")
    return str(name)
