"""A folder as a market: local, shared over a file system, or checked into a repository.

Layout:
    patches/<namespace>/<name>/v<version>/     files of one version, with symbio.patch.dsse.json
    evaluations/<payload digest>/<digest>.json signed evaluations by others

A version is built under a hidden temporary name, synced, and renamed once: a kill in between leaves nothing that is
listed, and a power cut no version of half a file. What a killed publisher left is removed by a later one, a day after.
Two processes may publish at once; of two different contents for one version the first wins and the second is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from pathlib import Path

from symbio_lab.codec import build_folder, write_atomic
from symbio_lab.errors import DataError, NotFoundError, StorageError, TrustError
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload
from symbio_lab.trust.folder_reading import list_folder, read_file
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.naming import check_file_name, check_patch_id, split_ref
from symbio_lab.trust.verifying import read_envelope

MAX_PATCH_BYTES = 2 << 30
MAX_EVALUATIONS = 256
MAX_EVALUATION_BYTES = 64 << 10
LEFTOVER_AGE_S = 24 * 3600
"""Age from which a half-written version counts as left behind: no publisher is that slow."""
_LEFTOVER = re.compile(r"\.(?:v[1-9][0-9]{0,8}|[0-9a-f]{64}\.json)\.[0-9a-f]{12}\.tmp")
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DirectoryTransport:
    """A market in one folder; the folder need not exist before the first ``publish``."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def uri(self) -> str:
        """``file://`` and the folder as given."""
        return "file://" + self.path.as_posix()

    def list_refs(self) -> list[str]:
        """Return ``namespace/name`` of every patch that has a version, sorted; links and hidden names are skipped."""
        refs = []
        for namespace in _folders(self.path / "patches"):
            for name in _folders(namespace):
                ref = f"{namespace.name}/{name.name}"
                try:
                    check_patch_id(ref)
                except TrustError:
                    continue
                if _versions(name):
                    refs.append(ref)
        return sorted(refs)

    def list_versions(self, ref: str) -> list[int]:
        """Return the versions of a patch, oldest first; empty if there is none.

        Raises:
            TrustError: ``unsafe_name``.
        """
        namespace, name, _ = split_ref(ref)
        return _versions(self._inside("patches", namespace, name))

    def read_manifest(self, ref: str) -> bytes:
        """Return the bytes of a patch's envelope, unverified; see ``Transport.read_manifest``."""
        return read_envelope(self._version_folder(ref))

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        """Return ``into``, filled with the files of a patch, unverified; see ``Transport.fetch``."""
        cap = MAX_PATCH_BYTES if max_bytes is None else max_bytes
        for name, data in _read_all(self._version_folder(ref), cap).items():
            write_atomic(into / name, data)
        return into

    def publish(self, folder: Path, ref: str) -> None:
        """Offer the patch in ``folder``, whole or not at all; see ``Transport.publish``."""
        namespace, name, version = split_ref(ref)
        files = _read_all(folder, MAX_PATCH_BYTES)
        manifest = payload_to_manifest(peek_payload(files.get(ENVELOPE_NAME, b"")))
        if manifest.patch_id != f"{namespace}/{name}" or version not in (None, manifest.version):
            raise TrustError("wrong_patch", f"the folder holds {manifest.patch_id}@{manifest.version}, not {ref}")
        target = self._inside("patches", namespace, name) / f"v{manifest.version}"

        def fill(temporary: Path) -> None:
            for file_name, data in files.items():
                path = temporary / check_file_name(file_name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as handle:
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
            _sync_folder(temporary)

        if not target.is_dir():
            _remove_leftovers(target.parent)
            build_folder(target, fill)
            for folder in list(target.parents)[:3]:  # name, namespace and patches: each may be new
                _sync_folder(folder)
        # Also after building: another process may have been first.
        if _read_all(target, MAX_PATCH_BYTES) != files:
            raise DataError(
                f"{manifest.patch_id}@{manifest.version} is published with other bytes", hint="publish a new version"
            )

    def read_evaluations(self, digest: str) -> list[bytes]:
        """Return signed evaluations of a payload, unverified; oversized ones and links are skipped."""
        if not _DIGEST.fullmatch(digest):
            return []
        folder = self._inside("evaluations", digest)
        names = sorted(path.name for path in _entries(folder) if re.fullmatch(r"[0-9a-f]{64}\.json", path.name))
        found = []
        for name in names[:MAX_EVALUATIONS]:
            try:
                found.append(read_file(folder, name, MAX_EVALUATION_BYTES))
            except TrustError:
                continue
        return found

    def publish_evaluation(self, digest: str, data: bytes) -> None:
        """Offer one signed evaluation, named by its content.

        Raises:
            DataError: not a digest, or more than 64 KiB.
            StorageError: the market cannot be written.
        """
        if not _DIGEST.fullmatch(digest) or len(data) > MAX_EVALUATION_BYTES:
            raise DataError("an evaluation needs the payload digest of its patch and at most 64 KiB")
        folder = self._inside("evaluations", digest)
        _remove_leftovers(folder)
        write_atomic(folder / f"{hashlib.sha256(data).hexdigest()}.json", data)

    def _version_folder(self, ref: str) -> Path:
        namespace, name, version = split_ref(ref)
        folder = self._inside("patches", namespace, name)
        versions = _versions(folder)
        if not versions or version not in (None, *versions):
            raise NotFoundError(f"the market holds no {ref}", hint="list what it holds: symbio market list")
        return folder / f"v{version or versions[-1]}"

    def _inside(self, *parts: str) -> Path:
        """Return a path below the market, refusing links: a link could lead anywhere."""
        path = self.path
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise TrustError("unsafe_name", f"{part} is a link; a market holds plain folders only")
        return path


def _read_all(folder: Path, max_bytes: int) -> dict[str, bytes]:
    """Read every file of a folder that is at most ``max_bytes`` large in total."""
    sizes = list_folder(folder)
    if sum(sizes.values()) > max_bytes:
        raise TrustError("too_large", f"{folder.name} has {sum(sizes.values())} bytes, more than {max_bytes}")
    # Each read is bounded by the size listed: a bound of the whole cap would reserve as much for every file.
    return {name: read_file(folder, name, size) for name, size in sizes.items()}


def _sync_folder(folder: Path) -> None:
    """Put the entries of a folder on disk now; systems that cannot do so keep their own order of writes."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    for path in _entries(folder):
        if not _LEFTOVER.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):  # another publisher may be cleaning too
            if time.time() - path.lstat().st_mtime < LEFTOVER_AGE_S:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"cannot read the market folder {folder.name}: {error.strerror or error}") from error


def _folders(folder: Path) -> list[Path]:
    return [p for p in _entries(folder) if not p.name.startswith(".") and p.is_dir() and not p.is_symlink()]


def _versions(folder: Path) -> list[int]:
    return sorted(int(match[1]) for p in _folders(folder) if (match := _VERSION.fullmatch(p.name)))
