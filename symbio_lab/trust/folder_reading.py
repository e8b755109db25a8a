"""Reading a stranger's folder: names and sizes first, then bounded bytes, never through a link.

Rules:
    1. Links, pipes, sockets and devices are refused, not followed and not opened.
    2. A file is opened once; its size is taken from the open file and the read is bounded by the cap.
    3. The number of entries is bounded before any file is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from symbio_lab.errors import StorageError, TrustError
from symbio_lab.trust.naming import check_file_name

MAX_ENTRIES = 256
MAX_DEPTH = 8
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe must not wait for a writer
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def list_folder(folder: Path) -> dict[str, int]:
    """Return the size in bytes of every file below ``folder`` by its POSIX name, sorted by name.

    Raises:
        TrustError: ``unsafe_name``: a link or another thing that is not a plain file; ``extra_file``: more than
            256 entries or 8 levels.
        StorageError: the folder cannot be read.
    """
    found: dict[str, int] = {}
    pending = [(folder, "")]
    num_entries = 0
    try:
        if folder.is_symlink():
            raise TrustError("unsafe_name", f"{folder.name} is a link")
        while pending:
            current, prefix = pending.pop()
            with os.scandir(current) as entries:
                for entry in entries:
                    num_entries += 1
                    name = prefix + entry.name
                    if num_entries > MAX_ENTRIES or name.count("/") > MAX_DEPTH:
                        raise TrustError("extra_file", f"{folder.name} holds too many files or levels")
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode) and not _is_junction(entry):
                        pending.append((Path(entry.path), name + "/"))
                    elif stat.S_ISREG(status.st_mode):
                        found[name] = status.st_size
                    else:
                        raise TrustError("unsafe_name", f"{name!r:.80} is a link or not a plain file")
    except OSError as error:
        raise StorageError(f"cannot read the folder {folder.name}: {error.strerror or error}") from error
    return dict(sorted(found.items()))


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is a Windows junction (Python 3.11 cannot tell; there it counts as a folder)."""
    test = getattr(entry, "is_junction", None)
    return bool(test is not None and test())


def read_file(folder: Path, name: str, max_bytes: int) -> bytes:
    """Return the bytes of the plain file ``name`` below ``folder``.

    Args:
        folder: folder that was listed with ``list_folder``.
        name: safe POSIX name.
        max_bytes: the read stops, and the file is refused, beyond this size.

    Raises:
        TrustError: ``unsafe_name``: the name or the file is a link or not plain; ``too_large``; ``missing_file``.
        StorageError: it cannot be read.
    """
    path = folder / check_file_name(name)
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise TrustError("unsafe_name", f"{name} is a link or not a plain file")
        with os.fdopen(os.open(path, _FLAGS), "rb") as handle:
            status = os.fstat(handle.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise TrustError("unsafe_name", f"{name} is a link or not a plain file")
            if status.st_size > max_bytes:
                raise TrustError("too_large", f"{name} has {status.st_size} bytes, more than {max_bytes}")
            # Python sets aside what it is told to read: no more than the file has.
            data = handle.read(min(max_bytes, status.st_size) + 1)
    except FileNotFoundError as error:
        raise TrustError("missing_file", f"{name} is missing") from error
    except OSError as error:
        if error.errno == errno.ELOOP:  # it became a link after the listing
            raise TrustError("unsafe_name", f"{name} is a link") from error
        raise StorageError(f"cannot read {name}: {error.strerror or error}") from error
    if len(data) > min(max_bytes, status.st_size):
        raise TrustError("too_large", f"{name} grew beyond {status.st_size} bytes while it was read")
    return data
