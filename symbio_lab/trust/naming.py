"""Names that are safe as paths: file names, patch ids, references and module names.

Rules:
    1. Characters ``[A-Za-z0-9._-]`` and ``/`` between parts; no empty part, no part that starts with a dot.
    2. No ``..``, no absolute path, no backslash, no drive letter; no name that Windows reserves.
    3. A module name is a literal dotted path; a pattern cannot be written in this grammar.

Example:
    >>> split_ref("alice/travel-rows@3")
    ('alice', 'travel-rows', 3)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from symbio_lab.errors import TrustError

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,95}")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_MODULE = re.compile(r"[A-Za-z0-9_]{1,96}(\.[A-Za-z0-9_]{1,96}){0,31}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))}

_PICKLES = "bin pt pth ckpt pkl pickle joblib npy npz h5 keras pb onnx msgpack"
_CODE = "py pyc pyd so dll dylib exe sh bat ps1 js jar"
_ARCHIVES = "whl egg zip tar gz tgz bz2 xz 7z rar zst"
FORBIDDEN_SUFFIXES = frozenset(f"{_PICKLES} {_CODE} {_ARCHIVES}".split())
"""Pickles, code and archives: never part of a patch, signed or not."""


def check_file_name(name: object) -> str:
    """Return ``name`` if it is a safe repository-relative POSIX file name.

    Raises:
        TrustError: ``unsafe_name``.

    >>> check_file_name("adapter_model.safetensors")
    'adapter_model.safetensors'
    """
    if not isinstance(name, str) or len(name) > 200:
        raise TrustError("unsafe_name", "a file name is not text of at most 200 characters")
    for part in name.split("/"):
        if not _PART.fullmatch(part) or part.endswith(".") or part.split(".")[0].lower() in _RESERVED:
            raise TrustError("unsafe_name", f"the file name {name!r:.80} is not safe")
    return name


def is_forbidden(name: str) -> bool:
    """Return whether any suffix of ``name`` marks a pickle, code or an archive (``a.tar.gz``, ``a.PKL``).

    >>> is_forbidden("model.bin"), is_forbidden("adapter_model.safetensors")
    (True, False)
    """
    return any(part in FORBIDDEN_SUFFIXES for part in name.rsplit("/", 1)[-1].lower().split(".")[1:])


def check_patch_id(patch_id: object) -> str:
    """Return ``patch_id`` if it is a safe ``namespace/name``.

    Raises:
        TrustError: ``unsafe_name``.
    """
    parts = patch_id.split("/") if isinstance(patch_id, str) else []
    if len(parts) != 2 or not all(map(_is_owner, parts)):
        raise TrustError("unsafe_name", f"{patch_id!r:.80} is not a patch id; write namespace/name")
    return str(patch_id)


def check_namespace_name(namespace: object) -> str:
    """Return ``namespace`` if it can stand before the stroke of a patch id.

    Raises:
        TrustError: ``unsafe_name``.

    >>> check_namespace_name("partner-lab")
    'partner-lab'
    """
    if not isinstance(namespace, str) or not _is_owner(namespace):
        raise TrustError("unsafe_name", f"{namespace!r:.80} is no namespace")
    return namespace


def split_ref(ref: str) -> tuple[str, str, int | None]:
    """Return namespace, name and version of ``namespace/name`` or ``namespace/name@version``.

    The version is None when the reference asks for the newest one.

    Raises:
        TrustError: ``unsafe_name``: it could leave its folder, or is not a reference.
    """
    patch_id, at, version = ref.partition("@") if isinstance(ref, str) else ("", "", "")
    check_patch_id(patch_id)
    if at and not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise TrustError("unsafe_name", f"{ref!r:.80} names no version; write namespace/name@3")
    namespace, name = patch_id.split("/")
    return namespace, name, int(version) if at else None


def check_module_names(names: Iterable[object]) -> tuple[str, ...]:
    """Return module names if each is literal and they are sorted and unique.

    Raises:
        TrustError: ``bad_manifest``: a pattern, an unsorted list or a duplicate.

    >>> check_module_names(["(([a-z])+)+[A-Z]"])
    Traceback (most recent call last):
    ...
    symbio_lab.errors.TrustError: '(([a-z])+)+[A-Z]' is not a literal module name
    """
    listed: list[str] = []
    for name in names:
        if not isinstance(name, str) or not _MODULE.fullmatch(name):
            raise TrustError("bad_manifest", f"{name!r:.80} is not a literal module name")
        listed.append(name)
    if listed != sorted(set(listed)):
        raise TrustError("bad_manifest", "module names are not sorted and unique")
    return tuple(listed)


def _is_owner(part: str) -> bool:
    if not _OWNER.fullmatch(part) or part.endswith(".") or ".." in part:
        return False
    return part.split(".")[0].lower() not in _RESERVED
