"""Serving files: what ``hf_hub_download`` and ``snapshot_download`` read.

Rules:
    1. Every answer names the commit (``X-Repo-Commit``) and the file's id (``ETag``); a large file also its SHA-256 and
       size (``X-Linked-Etag``, ``X-Linked-Size``).
    2. ``Range`` gives a stretch (206); one that begins behind the end is 416.
    3. Large files come from here, or, where the Hub has another origin for them, by a redirect to a signed address
       there: the client then leaves its token behind. A redirect to the same origin would lose ``X-Repo-Commit``.
    4. The files of a gated repository are for its owners and for those to whom access was granted.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, json_answer
from symbio_lab.testing.loopback_hub.repositories import Repository
from symbio_lab.testing.loopback_hub.state import HubState

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


def resolve(hub: HubState, request: HubRequest) -> HubAnswer:
    """Serve one file at a revision."""
    repository = hub.readable(request)
    _check_gate(hub, request, repository)
    commit = hub.revision(repository, request.captured["revision"], request.stale)
    path = request.captured["path"]
    file = commit.files.get(path)
    if file is None:
        raise Refusal(404, "EntryNotFound", f"{path:.200} does not exist on {commit.id}", X_Repo_Commit=commit.id)
    headers = {
        "X-Repo-Commit": commit.id,
        "ETag": f'"{file.oid}"',
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1], safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    if file.lfs is not None:
        headers |= {"X-Linked-Etag": f'"{file.lfs}"', "X-Linked-Size": str(file.size), "ETag": f'"{file.lfs}"'}
        if hub.content_endpoint:
            name = f"{repository.key}/{file.blob}/{file.size}"
            location = f"{hub.content_endpoint}/_lfs/get/{name}?{hub.sign(f'get/{name}')}"
            return HubAnswer(302, headers=headers | {"Location": location})
    return stretch(hub.blobs.path(file.blob), request, headers)


def serve_large(hub: HubState, request: HubRequest) -> HubAnswer:
    """Serve a large file from its signed address."""
    key, oid, size = (request.captured[name] for name in ("key", "oid", "size"))
    hub.check_signature(request, f"get/{key}/{oid}/{size}")
    headers = {"ETag": f'"{oid}"', "Content-Type": "application/octet-stream"}
    return stretch(hub.blobs.path(oid), request, headers)


def stretch(path: Path, request: HubRequest, headers: dict[str, str]) -> HubAnswer:
    """Return a stored file, or the stretch of it that is asked for.

    Raises:
        Refusal: 404: its bytes are gone; 416: the stretch begins behind the end.
    """
    try:
        total = path.stat().st_size
    except OSError as error:
        raise Refusal(404, "EntryNotFound", "the bytes of this file are gone") from error
    headers = {**headers, "Accept-Ranges": "bytes"}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or asked[0] == "bytes=-":
        return HubAnswer(200, headers=headers, file=path, length=total)
    if asked[1]:
        start = int(asked[1])
        end = min(int(asked[2]), total - 1) if asked[2] else total - 1
    else:
        start, end = max(0, total - int(asked[2])), total - 1
    if start >= total or end < start:
        raise Refusal(416, message="the stretch is behind the end", Content_Range=f"bytes */{total}")
    headers["Content-Range"] = f"bytes {start}-{end}/{total}"
    return HubAnswer(206, headers=headers, file=path, start=start, length=end - start + 1)


def _check_gate(hub: HubState, request: HubRequest, repository: Repository) -> None:
    if not repository.gated or hub.accounts.may_write(request.user, repository.namespace):
        return
    if request.user in repository.granted:
        return
    if request.user is None:
        raise Refusal(401, "GatedRepo", f"Access to {repository.name} is restricted. Please log in.")
    raise Refusal(403, "GatedRepo", f"Access to {repository.name} is restricted: you are not in the authorized list.")


def auth_check(hub: HubState, request: HubRequest) -> HubAnswer:
    """Answer ``HfApi.auth_check``: may the asker read the files?"""
    _check_gate(hub, request, hub.readable(request))
    return json_answer({})


def auth_check_write(hub: HubState, request: HubRequest) -> HubAnswer:
    """Answer ``HfApi.auth_check(write=True)``."""
    hub.writable(request)
    return json_answer({})


_RESOLVE = "{namespace}/{name}/resolve/{revision}/{path*}"
_REPOSITORY = "api/{kind}/{namespace}/{name}"
ROUTES = (
    HubRoute("GET", _RESOLVE, resolve),
    HubRoute("GET", "{kind}/" + _RESOLVE, resolve),
    HubRoute("GET", "_lfs/get/{key}/{oid}/{size}", serve_large),
    HubRoute("GET", f"{_REPOSITORY}/auth-check", auth_check),
    HubRoute("GET", f"{_REPOSITORY}/auth-check/write", auth_check_write),
)
