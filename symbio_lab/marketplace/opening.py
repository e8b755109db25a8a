"""A market's address becomes a transport.

Example:
    >>> open_transport("pools/demo").uri
    'file://pools/demo'
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.transport import Transport

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters or more: "C:" is a Windows drive


def open_transport(uri: str) -> Transport:
    """Return the transport for ``uri``: ``file://folder`` or a plain path. Nothing is read yet.

    Raises:
        ConfigError: the address is empty, or its scheme is not supported.
    """
    match = _SCHEME.match(uri)
    if match is None and uri.strip():
        return DirectoryTransport(Path(uri))
    if match is not None and match[1].lower() == "file":
        path = unquote(uri[len("file:") :].removeprefix("//").removeprefix("localhost"))
        if path:
            return DirectoryTransport(Path(path))
    raise ConfigError(
        [f"market {uri!r:.80}: this address is not supported"], hint="give a folder, or file:// and a folder"
    )
