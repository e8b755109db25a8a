"""The bytes of files: at a revision, in one piece or in stretches, small ones directly and large ones too.

Rules:
    1. A large file is served directly (200), not by a redirection to the same origin: the client follows such a one
       while it asks for headers, and loses ``X-Repo-Commit``. With ``content_endpoint`` the redirection leads to
       another origin, as on the Hub, and the client does not send its token there.
    2. ``X-Repo-Commit`` names the commit, ``ETag`` git's id of the file, ``X-Linked-Etag`` and ``X-Linked-Size`` digest
       and size of a large one.
    3. One stretch (``Range: bytes=a-b``) is answered by 206; one beyond the end by 416.
"""

from __future__ import annotations

import re

from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal
from symbio_lab.testing.loopback_hub.listing import check_gate
from symbio_lab.testing.loopback_hub.state import HubState

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


def resolve(hub: HubState, request: HubRequest) -> HubAnswer:
    """Give a file of a repository."""
    repository = hub.readable(request)
    check_gate(hub, request, repository)
    commit = hub.revision(repository, request.captured["revision"], request.stale)
    path = request.captured["path"]
    file = commit.files.get(path)
    if file is None:
        raise Refusal(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit.id)
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
    headers["Content-Disposition"] = "attachment"
    if file.lfs is not None:
        headers |= {"X-Linked-Etag": f'"{file.lfs}"', "X-Linked-Size": str(file.size)}
        if hub.content_endpoint:
            place = f"{repository.key}/{file.blob}"
            headers["Location"] = f"{hub.content_endpoint}/_cdn/{place}?{hub.sign(f'cdn/{place}')}"
            return HubAnswer(302, headers=headers)
    return _stretch(hub, request, file.blob, headers)


def from_elsewhere(hub: HubState, request: HubRequest) -> HubAnswer:
    """Give a large file from the other origin, to whoever has its signed address."""
    key, blob = request.captured["key"], request.captured["blob"]
    hub.check_signature(request, f"cdn/{key}/{blob}")
    return _stretch(hub, request, blob, {"ETag": f'"{blob}"', "Accept-Ranges": "bytes"})


def _stretch(hub: HubState, request: HubRequest, blob: str, headers: dict[str, str]) -> HubAnswer:
    headers = {"Content-Type": "application/octet-stream", **headers}
    size, path = hub.blobs.size(blob), hub.blobs.path(blob)
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match.groups() == ("", ""):
        return HubAnswer(200, headers=headers, file=path, length=size)
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    if start >= size or end < start:
        return HubAnswer(416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return HubAnswer(206, headers=headers, file=path, start=start, length=end - start + 1)


ROUTES = tuple(
    HubRoute(method, pattern, handler)
    for method in ("GET", "HEAD")
    for pattern, handler in (
        ("{namespace}/{name}/resolve/{revision}/{path*}", resolve),
        ("{kind}/{namespace}/{name}/resolve/{revision}/{path*}", resolve),
        ("_cdn/{key}/{blob}", from_elsewhere),
    )
)
