"""The grammar of a Hub's answers: which targets may be asked, and which headers are believed. Pure.

Rules:
    1. Requests go to https, or to plain http where the endpoint itself is on the loopback interface; never to a
       number of a private network that the endpoint is not in. Redirects, pages and storage links obey the same rule.
    2. The token goes to the endpoint's own origin and nowhere else.
    3. The tag that names a file's content (``X-Linked-Etag``, else the ``ETag`` of a ``HEAD`` answer) is 40 or 64 hex,
       a commit 40 hex. If a commit was asked for, no other is accepted.
    4. Declared sizes are decimal numbers under the cap of the call, and bodies are not compressed, so that the cap
       holds for what is unpacked too.

Whatever breaks a rule is refused with the code ``bad_response``: the client library never sees the answer.

Example:
    >>> check_answer({"etag": '"../up"'}, method="HEAD", max_bytes=100)
    Traceback (most recent call last):
    ...
    symbio_lab.errors.TrustError: the server's ETag is not a digest
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.hub_address import is_loopback, is_private_number

_TAG = re.compile(r'(?:W/)?"?(?:[0-9a-f]{40}|[0-9a-f]{64})"?', re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SIZE = re.compile(r"[0-9]{1,15}", re.ASCII)
_RANGE = re.compile(r"bytes (?:\*|[0-9]{1,15}-[0-9]{1,15})/(\*|[0-9]{1,15})", re.ASCII)
_MAX_EXPLANATION = 1 << 20
_PORTS = {"http": 80, "https": 443}


class OversizeAnswerError(TrustError):
    """An answer declares, or has, more bytes than the call allows."""

    def __init__(self, num_bytes: int, max_bytes: int) -> None:
        super().__init__("bad_response", f"the server's answer has {num_bytes} bytes, more than {max_bytes}")


def check_target(url: str, endpoint: str) -> None:
    """Return nothing if a request to ``url`` is allowed for a market at ``endpoint``.

    Raises:
        TrustError: ``bad_response``: an answer led to a place where no answer may lead.

    >>> check_target("https://cdn.example.org/x?sig=1", "https://huggingface.co")
    """
    (scheme, host, _), (_, own, _) = _origin(url), _origin(endpoint)
    local = is_loopback(own)
    is_allowed = scheme == "https" or (scheme == "http" and local and is_loopback(host))
    if not host or not is_allowed:
        raise TrustError("bad_response", f"the server leads to {scheme or 'no'}://{host:.80}, which is not https")
    if host != own and not local and (is_loopback(host) or is_private_number(host)):
        raise TrustError("bad_response", f"the server leads to the private address {host:.80}")


def is_same_origin(url: str, endpoint: str) -> bool:
    """Return whether scheme, host and port are the same, so that the token may be sent.

    >>> is_same_origin("https://huggingface.co:443/api", "https://huggingface.co")
    True
    """
    return _origin(url) == _origin(endpoint)


def check_answer(
    headers: Mapping[str, str], *, method: str, max_bytes: int, commit: str | None = None, status: int = 200
) -> None:
    """Return nothing if the headers of an answer follow the grammar.

    Args:
        headers: by lower-case name.
        method: of the request.
        max_bytes: largest body, and largest file described.
        commit: commit that was asked for, 40 hex; None accepts any.
        status: of the answer; redirects and errors may explain themselves in a body larger than a small file.

    Raises:
        TrustError: ``bad_response``.
        OversizeAnswerError: a declared size is over ``max_bytes``.
    """
    linked = headers.get("x-linked-etag")
    if linked is not None and not _TAG.fullmatch(linked):
        raise TrustError("bad_response", "the server's X-Linked-Etag is not a digest")
    # Only here does the client take the plain tag for the name of the content; elsewhere it is the server's own affair.
    if method == "HEAD" and linked is None and "etag" in headers and not _TAG.fullmatch(headers["etag"]):
        raise TrustError("bad_response", "the server's ETag is not a digest")
    stated = headers.get("x-repo-commit")
    if stated is not None and not _COMMIT.fullmatch(stated):
        raise TrustError("bad_response", "the server's X-Repo-Commit is not a commit")
    if stated is not None and commit is not None and stated != commit:
        raise TrustError("bad_response", f"asked for commit {commit[:10]}, the answer is of {stated[:10]}")
    if "content-length" in headers:
        _check_size(headers["content-length"], body_cap(status, max_bytes))
    if "x-linked-size" in headers:
        _check_size(headers["x-linked-size"], max_bytes)
    if "content-range" in headers:
        match = _RANGE.fullmatch(headers["content-range"])
        if match is None:
            raise TrustError("bad_response", "the server's Content-Range cannot be read")
        if match[1] != "*":
            _check_size(match[1], max_bytes)
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise TrustError("bad_response", "the server's answer is compressed although none was asked for")


def body_cap(status: int, max_bytes: int) -> int:
    """Return how large the body of an answer may be.

    >>> body_cap(200, 100), body_cap(404, 100)
    (100, 1048576)
    """
    return max_bytes if status < 300 else max(max_bytes, _MAX_EXPLANATION)


def wait_asked_for(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, or None; dates and nonsense count as not said.

    >>> wait_asked_for({"retry-after": "7"}), wait_asked_for({"ratelimit": '"api";r=0;t=3'}), wait_asked_for({})
    (7.0, 3.0, None)
    """
    limit = re.search(r"\br\s*=\s*0\s*;\s*t\s*=\s*([0-9]{1,9})\b", headers.get("ratelimit", ""), re.ASCII)
    if limit:
        return float(limit[1])
    after = headers.get("retry-after", "").strip()
    return float(after) if re.fullmatch(r"[0-9]{1,9}", after, re.ASCII) else None


def _check_size(text: str, max_bytes: int) -> None:
    if not _SIZE.fullmatch(text):
        raise TrustError("bad_response", "the server declares a size that is no number")
    if int(text) > max_bytes:
        raise OversizeAnswerError(int(text), max_bytes)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", "", None
