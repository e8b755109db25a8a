"""Addresses of markets on a Hugging Face Hub, and the endpoints that may serve them.

    hf://                              every patch on the Hub, found by the tag ``symbio-patch``
    hf://alice                         the patches of one user or organisation
    hf://alice/travel                  one patch, newest version
    hf://alice/travel@<40 hex>         one patch at one commit: nobody can move it
    hf://collections/alice/<slug>      the patches of a collection

Rules:
    1. One repository holds one patch, and its name is the patch's name: ``namespace/name``.
    2. An endpoint is https; plain http only on the loopback interface, for labs and tests.
    3. Nothing is asked of any server here: an address is checked by its form.

Example:
    >>> parse_hub_address("hf://alice/travel").repo
    'alice/travel'
    >>> parse_hub_address("hf://collections/alice/best-0123456789ab").owner
    'alice'
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from symbio_lab.errors import ConfigError

SCHEME = "hf://"
PUBLIC_ENDPOINT = "https://huggingface.co"
ENDPOINT_VARIABLE = "HF_ENDPOINT"
HINT = "write hf://, hf://OWNER, hf://OWNER/NAME, hf://OWNER/NAME@COMMIT or hf://collections/OWNER/SLUG"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")

Kind = Literal["all", "owner", "repo", "collection"]


@dataclass(frozen=True, slots=True)
class HubAddress:
    """What part of a Hub is meant."""

    kind: Kind
    owner: str = ""
    """User or organisation; empty for the whole Hub."""
    name: str = ""
    """Repository name, or slug of the collection."""
    commit: str | None = None
    """Commit that the address is pinned to, 40 hex."""

    @property
    def repo(self) -> str | None:
        """``owner/name`` of the one repository meant, else None."""
        return f"{self.owner}/{self.name}" if self.kind == "repo" else None

    @property
    def uri(self) -> str:
        """The address as text."""
        if self.kind == "all":
            return SCHEME
        if self.kind == "collection":
            return f"{SCHEME}collections/{self.owner}/{self.name}"
        path = self.owner if self.kind == "owner" else f"{self.owner}/{self.name}"
        return SCHEME + path + (f"@{self.commit}" if self.commit else "")

    def covers(self, patch_id: str) -> bool | None:
        """Return whether a patch belongs to the address; None where only the Hub can tell (collections).

        >>> HubAddress("owner", "alice").covers("bob/travel")
        False
        """
        if self.kind == "collection":
            return None
        if self.kind == "repo":
            return patch_id == self.repo
        return self.kind == "all" or patch_id.split("/")[0] == self.owner


def is_hub_address(uri: str) -> bool:
    """Return whether ``uri`` has the scheme of a Hub.

    >>> is_hub_address("HF://alice"), is_hub_address("pools/demo")
    (True, False)
    """
    return uri[: len(SCHEME)].lower() == SCHEME


def parse_hub_address(uri: str) -> HubAddress:
    """Return the address that ``uri`` writes.

    Raises:
        ConfigError: it follows none of the five forms.
    """
    rest = uri[len(SCHEME) :] if is_hub_address(uri) else None
    if rest == "":
        return HubAddress("all")
    path, at, commit = (rest or "").removesuffix("/").partition("@")
    parts = path.split("/")
    if rest is not None and all(is_hub_name(part) for part in parts):
        if len(parts) == 3 and parts[0] == "collections" and not at:
            return HubAddress("collection", parts[1], parts[2])
        if len(parts) == 1 and parts[0] != "collections" and not at:
            return HubAddress("owner", parts[0])
        if len(parts) == 2 and parts[0] != "collections" and (not at or _COMMIT.fullmatch(commit)):
            return HubAddress("repo", parts[0], parts[1], commit or None)
    raise ConfigError([f"market {uri!r:.120}: this is no address on a Hub"], hint=HINT)


def is_hub_name(name: str) -> bool:
    """Return whether a Hub accepts ``name`` as owner or repository name.

    >>> is_hub_name("travel-rows"), is_hub_name("a--b"), is_hub_name("x.git")
    (True, False, False)
    """
    return bool(_NAME.fullmatch(name)) and "--" not in name and ".." not in name and not name.endswith(".git")


def is_hub_repo(repo: str) -> bool:
    """Return whether a Hub accepts ``repo`` as the name of a repository.

    >>> is_hub_repo("org/base"), is_hub_repo("models/base/v1"), is_hub_repo("base")
    (True, False, False)
    """
    parts = repo.split("/")
    return len(parts) == 2 and all(map(is_hub_name, parts)) and len(repo) <= 96


def choose_endpoint(endpoint: str | None = None) -> str:
    """Return the endpoint: the given one, else ``HF_ENDPOINT``, else the public Hub.

    Raises:
        ConfigError: it is neither https nor loopback http, or holds more than scheme, host and port.

    >>> choose_endpoint("http://127.0.0.1:8765/")
    'http://127.0.0.1:8765'
    """
    source = "endpoint" if endpoint else ENDPOINT_VARIABLE
    chosen = (endpoint or os.environ.get(ENDPOINT_VARIABLE) or PUBLIC_ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(chosen)
        host, has_user = parts.hostname or "", parts.username is not None or parts.password is not None
        _ = parts.port
    except ValueError as error:
        raise ConfigError([f"{source}: not an address of a server"]) from error
    # The text may hold a password: it is not repeated then.
    shown = f"{source} {chosen!r:.120}" if not has_user else source
    problems = []
    if has_user:
        problems.append(f"{shown}: a user name or password does not belong into it")
    if parts.query or parts.fragment or not host:
        problems.append(f"{shown}: write scheme, host and port only")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        problems.append(f"{shown}: only https, or http on the loopback interface")
    if problems:
        raise ConfigError(problems, hint=f"set {ENDPOINT_VARIABLE}, such as {PUBLIC_ENDPOINT}")
    return chosen


def is_loopback(host: str) -> bool:
    """Return whether ``host`` names this machine by a loopback name or number; no name is resolved.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("10.0.0.1")
    (True, True, True, False)
    """
    return host.lower() == "localhost" or _is_number(host, "is_loopback")


def is_private_number(host: str) -> bool:
    """Return whether ``host`` is the number of a machine that is not reachable from everywhere.

    >>> is_private_number("10.0.0.1"), is_private_number("1.1.1.1"), is_private_number("example.org")
    (True, False, False)
    """
    return _is_number(host, "is_private") or _is_number(host, "is_link_local") or _is_number(host, "is_unspecified")


def _is_number(host: str, kind: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host.strip("[]")), kind))
    except ValueError:
        return False
