"""Looking into a repository: its tree, single paths, commits, branches and tags.

Rules:
    1. A tree lists the files and folders of one folder, or of everything below it when ``recursive``; ``expand`` adds
       the last commit that changed each, on shorter pages.
    2. Paths that do not exist are left out of ``paths-info``; a folder that does not exist is 404 ``EntryNotFound``.
    3. Commits come newest first, along first parents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from symbio_lab.testing.loopback_hub.answers import (
    HubAnswer,
    HubRequest,
    HubRoute,
    Refusal,
    json_answer,
    page_answer,
)
from symbio_lab.testing.loopback_hub.blobs import lfs_pointer
from symbio_lab.testing.loopback_hub.repositories import HubCommit, Repository, TreeFile
from symbio_lab.testing.loopback_hub.state import HubState

MOST_PATHS = 10_000
"""Paths of one ``paths-info``."""


def tree(hub: HubState, request: HubRequest) -> HubAnswer:
    """List a folder."""
    repository = hub.readable(request)
    commit = hub.revision(repository, request.captured["revision"], request.stale)
    folder = request.captured.get("path", "").strip("/")
    below = f"{folder}/" if folder else ""
    inside = {path: file for path, file in commit.files.items() if path.startswith(below)}
    if folder and not inside:
        raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {commit.id}", X_Repo_Commit=commit.id)
    entries = dict(inside)
    folders = {name for path in inside for name in _folders(path) if name.startswith(below) and name != folder}
    if not request.flag("recursive"):
        entries = {path: file for path, file in inside.items() if "/" not in path[len(below) :]}
        folders = {name for name in folders if "/" not in name[len(below) :]}
    expand = request.flag("expand")
    shown = [_shown_folder(commit, name) for name in sorted(folders)]
    shown += [_shown_file(path, file) for path, file in entries.items()]
    if expand:
        _add_last_commits(hub, repository, commit, shown)
    return page_answer(shown, request, hub.endpoint, hub.limits.expanded_page if expand else hub.limits.page)


def paths_info(hub: HubState, request: HubRequest) -> HubAnswer:
    """Describe single files and folders."""
    repository = hub.readable(request)
    commit = hub.revision(repository, request.captured["revision"], request.stale)
    paths, expand = _asked_paths(request)
    folders = {name for path in commit.files for name in _folders(path)}
    shown = [
        _shown_file(path, commit.files[path]) if path in commit.files else _shown_folder(commit, path)
        for path in dict.fromkeys(path.strip("/") for path in paths)
        if path in commit.files or path in folders
    ]
    if expand:
        _add_last_commits(hub, repository, commit, shown)
    return json_answer(shown)


def _asked_paths(request: HubRequest) -> tuple[list[str], bool]:
    if request.headers.get("content-type", "").startswith("application/json"):
        value = request.json()
        paths, expand = value.get("paths"), value.get("expand") is True
    else:
        try:
            form = parse_qs(request.body.decode("utf-8"), max_num_fields=MOST_PATHS + 10)
        except ValueError as error:
            raise Refusal(400, message=f"the form cannot be read: {error}") from error
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() in ("true", "1")
    if not isinstance(paths, list) or len(paths) > MOST_PATHS or not all(isinstance(path, str) for path in paths):
        raise Refusal(400, message=f"paths must be an array of at most {MOST_PATHS} texts")
    return paths, expand


def commits(hub: HubState, request: HubRequest) -> HubAnswer:
    """List the commits that lead to a revision."""
    repository = hub.readable(request)
    head = hub.revision(repository, request.captured["revision"], request.stale)
    shown = [
        {
            "id": commit.id,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.author, "avatar": ""}],
        }
        for commit in hub.repositories.history(repository.key, head.id)
    ]
    return page_answer(shown, request, hub.endpoint, hub.limits.page)


def refs(hub: HubState, request: HubRequest) -> HubAnswer:
    """List branches, tags and, where asked for, pull requests."""
    repository = hub.readable(request)
    branches = {name: hub.revision(repository, f"refs/heads/{name}", request.stale).id for name in repository.branches}
    answer = {
        "branches": _references("heads", branches),
        "converts": [],
        "tags": _references("tags", {name: tag.commit for name, tag in repository.tags.items()}),
    }
    if request.flag("include_prs"):
        answer["pullRequests"] = _references("pr", repository.pulls)
    return json_answer(answer)


def _references(kind: str, commits_by_name: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
        for name, commit in sorted(commits_by_name.items())
    ]


def _folders(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts)))


def _shown_file(path: str, file: TreeFile) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    if file.lfs is not None:
        pointer = len(lfs_pointer(file.lfs, file.size))
        shown["lfs"] = {"oid": file.lfs, "size": file.size, "pointerSize": pointer}
    return shown


def _shown_folder(commit: HubCommit, folder: str) -> dict[str, Any]:
    return {"type": "directory", "oid": _folder_id(commit, folder), "size": 0, "path": folder}


def _folder_id(commit: HubCommit, folder: str) -> str:
    """Return an id that changes with anything below a folder; it is not git's."""
    digest = hashlib.sha1()
    for path, file in commit.files.items():
        if path.startswith(f"{folder}/"):
            digest.update(f"{path}\0{file.oid}\0".encode())
    return digest.hexdigest()


def _add_last_commits(hub: HubState, repository: Repository, head: HubCommit, shown: list[dict[str, Any]]) -> None:
    """Name for each entry the newest commit since which it is what it is now."""
    open_entries = list(shown)
    last: HubCommit = head
    for commit in hub.repositories.history(repository.key, head.id):
        still = []
        for entry in open_entries:
            if _entry_id(commit, entry) == entry["oid"]:
                still.append(entry)
            else:
                _set_last_commit(entry, last)
        open_entries, last = still, commit
        if not open_entries:
            return
    for entry in open_entries:
        _set_last_commit(entry, last)


def _entry_id(commit: HubCommit, entry: Mapping[str, Any]) -> str | None:
    if entry["type"] == "directory":
        return _folder_id(commit, entry["path"])
    file = commit.files.get(entry["path"])
    return None if file is None else file.oid


def _set_last_commit(entry: dict[str, Any], commit: HubCommit) -> None:
    entry["lastCommit"] = {"id": commit.id, "title": commit.title, "date": commit.date}
    if entry["type"] == "file":
        entry["securityFileStatus"] = {"status": "unscanned", "avScan": None, "pickleImportScan": None}


_REPOSITORY = "api/{kind}/{namespace}/{name}"
ROUTES = (
    HubRoute("GET", f"{_REPOSITORY}/tree/{{revision}}", tree),
    HubRoute("GET", f"{_REPOSITORY}/tree/{{revision}}/{{path*}}", tree),
    HubRoute("POST", f"{_REPOSITORY}/paths-info/{{revision}}", paths_info),
    HubRoute("GET", f"{_REPOSITORY}/commits/{{revision}}", commits),
    HubRoute("GET", f"{_REPOSITORY}/refs", refs),
)
