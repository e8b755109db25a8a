"""Commits as the Hub's client makes them: ask how each file is uploaded, upload the large ones, send one commit.

Rules:
    1. A commit is one newline-delimited JSON body: a header, then ``file``, ``lfsFile``, ``deletedFile`` and
       ``deletedFolder`` lines. All of it happens or nothing does.
    2. ``parentCommit`` that is not the newest commit of its branch is 412: somebody else was faster.
    3. ``create_pr=1`` makes a pull request instead, from ``parentCommit`` where it is given; everybody who is logged in
       may do so. The author of a pull request may add commits to it under ``refs/pr/<n>``.
    4. A large file must have been uploaded to this very repository: knowing a digest opens nobody else's file.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from symbio_lab.codec import strict_loads
from symbio_lab.errors import DataError
from symbio_lab.testing.loopback_hub.accounts import need_user
from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, json_answer
from symbio_lab.testing.loopback_hub.blobs import git_blob_id, lfs_pointer
from symbio_lab.testing.loopback_hub.discussions import add_event, commit_event, find_discussion, open_discussion
from symbio_lab.testing.loopback_hub.managing import address_of
from symbio_lab.testing.loopback_hub.names import check_path
from symbio_lab.testing.loopback_hub.repositories import HubCommit, Repository, TreeFile, make_commit
from symbio_lab.testing.loopback_hub.state import HubState

MOST_OPERATIONS = 25_000
"""Lines of one commit."""
MOST_FILES = 100_000
"""Files of one tree."""


def preupload(hub: HubState, request: HubRequest) -> HubAnswer:
    """Say for each file whether it is regular or large, and what lies there now."""
    repository = _repository_to_change(hub, request)
    commit = hub.revision(repository, request.captured["revision"])
    patterns = _large_patterns(hub, commit)
    asked = request.json().get("files")
    if not isinstance(asked, list) or len(asked) > MOST_OPERATIONS:
        raise Refusal(400, message="'files' must be an array")
    answers = []
    for item in asked:
        path, size = (item.get("path"), item.get("size")) if isinstance(item, dict) else (None, None)
        check_path(path)
        if not isinstance(size, int) or size < 0:
            raise Refusal(400, message=f"the size of {path} is missing")
        name = str(path).rsplit("/", 1)[-1]
        is_large = size > hub.limits.file_bytes or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        now = commit.files.get(str(path))
        oid = None if now is None else now.lfs or now.oid
        mode = "lfs" if is_large else "regular"
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return json_answer({"files": answers, "commitOid": commit.id})


def commit(hub: HubState, request: HubRequest) -> HubAnswer:
    """Make one commit on a branch or a pull request, or a pull request with one commit."""
    repository, user = _repository_to_change(hub, request), need_user(request)
    revision, as_pull = request.captured["revision"], request.flag("create_pr")
    header, operations = _parse(request.body)
    title, message = _text(header, "summary", 500), _text(header, "description", 65_536)
    parent = header.get("parentCommit")
    head = hub.revision(repository, revision)
    if not as_pull:
        _check_target(repository, revision)
        if parent not in (None, head.id):
            raise Refusal(412, message="A commit has happened since. Please refresh and try again.")
    base = hub.revision(repository, str(parent)) if as_pull and parent is not None else head
    files = _apply(hub, repository, base, operations)
    made = make_commit((base.id,), title.strip(), message, hub.now(), user, files)
    hub.repositories.add_commit(repository.key, made)
    answer = {
        "success": True,
        "commitOid": made.id,
        "commitUrl": f"{address_of(hub, repository)}/commit/{made.id}",
        "hookOutput": "",
    }
    if as_pull:
        repository, num = open_discussion(repository, title, message, user, hub.now(), base=base.id)
        answer["pullRequestUrl"] = f"{address_of(hub, repository)}/discussions/{num}"
        revision = f"refs/pr/{num}"
    hub.repositories.save(_advance(repository, revision, made, user))
    return json_answer(answer)


def _advance(repository: Repository, revision: str, made: HubCommit, user: str) -> Repository:
    if revision.startswith("refs/pr/"):
        num = revision.removeprefix("refs/pr/")
        moved = replace(repository, pulls={**repository.pulls, num: made.id})
        return add_event(moved, int(num), commit_event(made, user))
    return replace(repository, branches={**repository.branches, revision.removeprefix("refs/heads/"): made.id})


def _repository_to_change(hub: HubState, request: HubRequest) -> Repository:
    """Return the repository if the user may commit what the request asks for."""
    repository = hub.readable(request)
    user = need_user(request)
    if request.flag("create_pr") or hub.accounts.may_write(user, repository.namespace):
        return repository
    revision = request.captured.get("revision", "")
    num = revision.removeprefix("refs/pr/")
    if revision.startswith("refs/pr/") and num in repository.pulls and find_discussion(repository, num).author == user:
        return repository
    raise Refusal(403, message="Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")


def _check_target(repository: Repository, revision: str) -> None:
    """Refuse a commit on something that does not move."""
    if revision.startswith("refs/pr/"):
        if find_discussion(repository, revision.removeprefix("refs/pr/")).status in ("merged", "closed"):
            raise Refusal(403, message="The pull request is closed")
    elif revision.removeprefix("refs/heads/") not in repository.branches:
        raise Refusal(400, message=f"{revision!r:.80} is not a branch: a commit needs one")


def _parse(body: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Return the header of a commit and its operations."""
    lines = [line for line in body.splitlines() if line.strip()]
    if not 1 < len(lines) <= MOST_OPERATIONS + 1:
        raise Refusal(400, message=f"a commit has a header and 1 to {MOST_OPERATIONS} operations")
    parsed = []
    for line in lines:
        try:
            value = strict_loads(line)
        except DataError as error:
            raise Refusal(400, message=str(error)) from error
        if not isinstance(value, dict) or not isinstance(value.get("value"), dict):
            raise Refusal(400, message="each line of a commit is an object with a key and a value")
        parsed.append((str(value.get("key")), value["value"]))
    if parsed[0][0] != "header":
        raise Refusal(400, message="the first line of a commit is its header")
    return parsed[0][1], parsed[1:]


def _apply(
    hub: HubState, repository: Repository, base: HubCommit, operations: list[tuple[str, dict[str, Any]]]
) -> dict[str, TreeFile]:
    """Return the tree of ``base`` after the operations."""
    files = dict(base.files)
    for key, value in operations:
        path = check_path(str(value.get("path", "")).rstrip("/") if key == "deletedFolder" else value.get("path"))
        if key == "file":
            files[path] = _regular_file(hub, value)
        elif key == "lfsFile":
            files[path] = _large_file(hub, repository, value)
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                raise Refusal(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
        elif key == "deletedFolder":
            inside = [name for name in files if name.startswith(f"{path}/")]
            if not inside:
                raise Refusal(404, "EntryNotFound", f"A folder with this name doesn't exist: {path}")
            for name in inside:
                del files[name]
        else:
            raise Refusal(400, message=f"unknown operation {key!r:.40}")
    if len(files) > MOST_FILES:
        raise Refusal(413, message=f"a tree has at most {MOST_FILES} files")
    if clash := next((folder for name in files for folder in _folders(name) if folder in files), None):
        raise Refusal(400, message=f"{clash} would be a file and a folder")
    return files


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts)))


def _regular_file(hub: HubState, value: dict[str, Any]) -> TreeFile:
    content = value.get("content")
    if not isinstance(content, str) or value.get("encoding") != "base64":
        raise Refusal(400, message="the content of a file must be base64")
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, message=f"the content of a file must be base64: {error}") from error
    if len(data) > hub.limits.file_bytes:
        raise Refusal(400, message="Your push was rejected because it contains files larger than 10 MiB: use LFS")
    return TreeFile(git_blob_id(data), len(data), hub.blobs.put(data))


def _large_file(hub: HubState, repository: Repository, value: dict[str, Any]) -> TreeFile:
    oid, is_sha256 = value.get("oid"), value.get("algo") == "sha256"
    if not is_sha256 or not isinstance(oid, str) or not hub.repositories.has_object(repository.key, oid):
        raise Refusal(400, message=f"LFS pointer pointed to a file that does not exist: {oid!r:.80}")
    size = hub.blobs.size(oid)
    if value.get("size") not in (None, size):
        raise Refusal(400, message=f"the file {oid} has {size} bytes")
    return TreeFile(git_blob_id(lfs_pointer(oid, size)), size, oid, oid)


def _large_patterns(hub: HubState, commit: HubCommit) -> list[str]:
    attributes = commit.files.get(".gitattributes")
    if attributes is None or attributes.size > 1 << 20:
        return []
    lines = hub.blobs.read(attributes.blob).decode("utf-8", "replace").splitlines()
    return [line.split()[0] for line in lines if "filter=lfs" in line.split()[1:]]


def _text(value: dict[str, Any], name: str, most: int) -> str:
    text = value.get(name, "")
    if not isinstance(text, str) or len(text) > most:
        raise Refusal(400, message=f"{name!r} must be text of at most {most} characters")
    return text


_REPOSITORY = "api/{kind}/{namespace}/{name}"
ROUTES = (
    HubRoute("POST", f"{_REPOSITORY}/preupload/{{revision}}", preupload),
    HubRoute("POST", f"{_REPOSITORY}/commit/{{revision}}", commit),
)
