"""Where the registry of a market lies, by the market's address.

| market | registry |
|---|---|
| a folder, ``file://`` | its folder ``registry/`` |
| ``hf://owner...`` | the repository ``owner/symbio-registry`` on the same endpoint, branch ``main`` |
| ``https://...`` (``http`` on loopback) | that address itself: the registry alone, on any web server |

Example:
    >>> registry_files("pools/demo").uri
    'file://pools/demo/registry'
    >>> registry_files("hf://alice/travel", endpoint="https://hub.example").uri
    'https://hub.example/alice/symbio-registry/resolve/main'
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.hub_address import choose_endpoint, is_hub_address, parse_hub_address
from symbio_lab.marketplace.registry.layout import HUB_REPOSITORY, REGISTRY_FOLDER
from symbio_lab.marketplace.registry.static_files import FolderFiles, HttpFiles, StaticFiles

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters or more: "C:" is a Windows drive


def registry_files(market: str, *, endpoint: str | None = None, token: str | None = None) -> StaticFiles:
    """Return where the registry (and the log) of a market lies. Nothing is read yet.

    Args:
        market: address of the market, or of the registry itself where it is a web address.
        endpoint: Hub that serves ``hf://`` addresses; None takes ``HF_ENDPOINT`` or the public one.
        token: bearer token for private registries; it is sent to that server alone.

    Raises:
        ConfigError: the address is not supported, or names no owner.
    """
    if is_hub_address(market):
        owner = parse_hub_address(market).owner
        if not owner:
            raise ConfigError(["the whole Hub has no registry"], hint="name an owner: hf://OWNER")
        return HttpFiles(f"{choose_endpoint(endpoint)}/{owner}/{HUB_REPOSITORY}/resolve/main", token)
    match = _SCHEME.match(market)
    scheme = match[1].lower() if match is not None else ""
    if scheme in ("http", "https"):
        return HttpFiles(market, token)
    if scheme == "file":
        market, scheme = unquote(market[len("file:") :].removeprefix("//").removeprefix("localhost")), ""
    if scheme or not market.strip():
        raise ConfigError(
            [f"market {market!r:.80}: this address has no registry"], hint="give a folder, hf:// or https"
        )
    return FolderFiles(Path(market) / REGISTRY_FOLDER)
