"""The secret of a lab's redaction: made once, kept in the keys folder, readable by its owner alone."""

from __future__ import annotations

import logging
import os
import secrets
import stat
from pathlib import Path

from symbio_lab.errors import StorageError

logger = logging.getLogger(__name__)

FILE_NAME = "redaction.key"
KEY_BYTES = 32


def load_or_create_redaction_key(folder: Path) -> bytes:
    """Return the key in ``folder``, making it first if there is none.

    Who loses the key loses the link between what is stored under it and what will be stored later.

    Args:
        folder: the keys folder of the lab (``settings.keys``).

    Returns:
        32 secret bytes; two processes that race get the same ones.

    Raises:
        StorageError: the file cannot be read or written, or is no key.
    """
    path = folder / FILE_NAME
    try:
        if not path.exists():
            _create(path)
        text = path.read_text(encoding="ascii").strip()
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            logger.warning("the redaction key %s can be read by other users; run: chmod 600", path.name)
        key = bytes.fromhex(text)
    except OSError as error:
        raise StorageError(f"cannot use {path.name}: {error.strerror or error}") from error
    except ValueError as error:
        raise StorageError(f"{path.name} holds no hex key", hint="restore it from a copy") from error
    if len(key) != KEY_BYTES:
        raise StorageError(f"{path.name} holds {len(key)} bytes, not {KEY_BYTES}", hint="restore it from a copy")
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        # Private from its first byte on.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as handle:
            # A key is the one thing that is never seeded.
            handle.write(secrets.token_hex(KEY_BYTES) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        try:
            # A hard link fails when the target exists; a rename would overwrite the winner's key.
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
