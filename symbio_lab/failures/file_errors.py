"""The errors of file readers as ours: what is wrong with which file, and what to do next."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from symbio_lab.errors import DataError, StorageError


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into our errors.

    Args:
        name: of the file, for the message.

    Raises:
        DataError: a gzip file is not whole.
        StorageError: the file cannot be read.
    """
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{name} is not a whole gzip file: {error}", hint="compress or copy it again") from error
    except OSError as error:
        raise StorageError(f"cannot read {name}: {error.strerror or error}") from error
