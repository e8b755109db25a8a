"""A market's address becomes a transport.

    folder, file://folder         a directory market
    hf://...                      a Hugging Face Hub, see ``hub_address``

Example:
    >>> open_transport("pools/demo").uri
    'file://pools/demo'
    >>> open_transport("hf://alice").uri
    'hf://alice'
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.hub import HubTransport
from symbio_lab.marketplace.hub_address import is_hub_address
from symbio_lab.marketplace.hub_limits import HubLimits

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters or more: "C:" is a Windows drive


def open_transport(
    uri: str, *, cache: Path | None = None, limits: HubLimits | None = None
) -> DirectoryTransport | HubTransport:
    """Return the transport for ``uri``. Nothing is read yet.

    Args:
        uri: a plain path, ``file://`` and a folder, or ``hf://`` and what of a Hub is meant.
        cache: folder for what is read from a Hub; None takes the one in the state folder.
        limits: of time and size at a Hub; None takes the usual ones.

    Raises:
        ConfigError: the address is empty, or its scheme is not supported; of a Hub also a wrong ``HF_ENDPOINT``.
    """
    if is_hub_address(uri):
        return HubTransport(uri, cache=cache, limits=limits)
    match = _SCHEME.match(uri)
    if match is None and uri.strip():
        return DirectoryTransport(Path(uri))
    if match is not None and match[1].lower() == "file":
        path = unquote(uri[len("file:") :].removeprefix("//").removeprefix("localhost"))
        if path:
            return DirectoryTransport(Path(path))
    raise ConfigError(
        [f"market {uri!r:.80}: this address is not supported"],
        hint="give a folder, file:// and a folder, or hf://OWNER",
    )
