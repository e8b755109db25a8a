"""What there is: models and their tags, one repository at a revision, its files, commits and references."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from symbio_lab.testing.loopback_hub.accounts import need_user
from symbio_lab.testing.loopback_hub.answers import (
    HubAnswer,
    HubRequest,
    HubRoute,
    Refusal,
    json_answer,
    page_answer,
)
from symbio_lab.testing.loopback_hub.blobs import lfs_pointer
from symbio_lab.testing.loopback_hub.cards import problems_of, read_card, tags_of
from symbio_lab.testing.loopback_hub.repositories import HubCommit, Repository, TreeFile
from symbio_lab.testing.loopback_hub.state import HubState

MOST_PATHS = 1000
"""Paths of one question."""
_SORTS = {"lastModified": "lastModified", "createdAt": "createdAt", "downloads": "downloads", "likes": "likes"}


def list_repositories(hub: HubState, request: HubRequest) -> HubAnswer:
    """List repositories that have all tags, the newest first unless another order is asked for."""
    kind = {"datasets": "dataset"}.get(request.captured["kind"], "model")
    wanted, author, words = request.query.get("filter", ()), request.first("author"), request.first("search").lower()
    sort = request.first("sort", "createdAt")
    is_full = any(name in request.query for name in ("full", "cardData"))
    found = []
    for repository in hub.repositories:
        if repository.kind != kind or not hub.may_read(request.user, repository):
            continue
        if author not in ("", repository.namespace) or words not in repository.name.lower():
            continue
        commit = hub.revision(repository, "main", request.stale)
        shown = _info(hub, repository, commit)
        if all(tag in shown["tags"] for tag in wanted):
            found.append(shown if is_full else {k: v for k, v in shown.items() if k not in ("siblings", "cardData")})
    found.sort(key=lambda shown: str(shown["id"]))
    key = _SORTS.get(sort, "createdAt")
    found.sort(key=lambda shown: shown[key], reverse=True)
    return page_answer(found, request, hub.endpoint, hub.limits.page)


def info(hub: HubState, request: HubRequest) -> HubAnswer:
    """Describe a repository at a revision."""
    repository = hub.readable(request)
    commit = hub.revision(repository, request.captured.get("revision", "main"), request.stale)
    shown = _info(hub, repository, commit, blobs=request.flag("blobs"))
    if request.flag("securityStatus"):
        shown["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return json_answer(shown)


def tree(hub: HubState, request: HubRequest) -> HubAnswer:
    """List files and folders below a path."""
    repository = hub.readable(request)
    commit = hub.revision(repository, request.captured["revision"], request.stale)
    below = request.captured.get("path", "").strip("/")
    prefix = f"{below}/" if below else ""
    inside = {path: file for path, file in commit.files.items() if path.startswith(prefix)}
    if not inside and below:
        raise Refusal(404, "EntryNotFound", f"{below} does not exist on {request.captured['revision']:.80}")
    is_deep, expand = request.flag("recursive"), request.flag("expand")
    folders: dict[str, None] = {}
    entries: list[dict[str, Any]] = []
    for path, file in inside.items():
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            if is_deep or depth == 1:
                folders.setdefault(prefix + "/".join(parts[:depth]))
        if is_deep or len(parts) == 1:
            entries.append(_file(path, file))
    entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in folders]
    entries.sort(key=lambda entry: str(entry["path"]))
    if expand:
        for entry in entries:
            entry["lastCommit"] = _last_commit(hub, repository, commit, str(entry["path"]))
    most = hub.limits.expanded_page if expand else hub.limits.page
    return page_answer(entries, request, hub.endpoint, most)


def paths_info(hub: HubState, request: HubRequest) -> HubAnswer:
    """Describe named files; names that are not there are left out."""
    repository = hub.readable(request)
    commit = hub.revision(repository, request.captured["revision"], request.stale)
    if "json" in request.headers.get("content-type", ""):
        paths = request.json().get("paths", [])
        paths = paths if isinstance(paths, list) else [paths]
    else:
        paths = parse_qs(request.body.decode("utf-8", "replace"), max_num_fields=MOST_PATHS + 10).get("paths", [])
    if len(paths) > MOST_PATHS:
        raise Refusal(400, message=f"at most {MOST_PATHS} paths")
    found = []
    for path in map(str, paths):
        if path in commit.files:
            found.append(_file(path, commit.files[path]))
        elif any(name.startswith(f"{path}/") for name in commit.files):
            found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
    return json_answer(found)


def commits(hub: HubState, request: HubRequest) -> HubAnswer:
    """List the commits of a revision, newest first."""
    repository = hub.readable(request)
    newest = hub.revision(repository, request.captured["revision"], request.stale)
    found = [
        {"id": c.id, "title": c.title, "message": c.message, "date": c.date, "authors": [{"user": c.author}]}
        for c in hub.repositories.history(repository.key, newest.id)
    ]
    return page_answer(found, request, hub.endpoint, hub.limits.page)


def refs(hub: HubState, request: HubRequest) -> HubAnswer:
    """List branches and tags, and pull requests if they are asked for."""
    repository = hub.readable(request)
    main = hub.revision(repository, "main", request.stale).id
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": main if name == "main" else commit}
        for name, commit in repository.branches.items()
    ]
    tags = [
        {"name": name, "ref": f"refs/tags/{name}", "targetCommit": tag.commit} for name, tag in repository.tags.items()
    ]
    pulls = [{"name": num, "ref": f"refs/pr/{num}", "targetCommit": commit} for num, commit in repository.pulls.items()]
    shown = {"branches": branches, "converts": [], "tags": tags}
    return json_answer({**shown, "pullRequests": pulls} if request.flag("include_prs") else shown)


def auth_check(hub: HubState, request: HubRequest) -> HubAnswer:
    """Say whether the asker may read a repository's files."""
    check_gate(hub, request, hub.readable(request))
    return json_answer({})


def auth_check_write(hub: HubState, request: HubRequest) -> HubAnswer:
    """Say whether the asker may write to a repository."""
    hub.writable(request)
    return json_answer({})


def validate_yaml(hub: HubState, request: HubRequest) -> HubAnswer:
    """Say what is wrong with a card's front matter."""
    errors = [{"message": problem} for problem in problems_of(request.text("content", most=1 << 20))]
    return json_answer({"errors": errors, "warnings": []})


def check_gate(hub: HubState, request: HubRequest, repository: Repository) -> None:
    """Refuse the files of a gated repository to who was not let in.

    Raises:
        Refusal: 401 or 403 (``GatedRepo``).
    """
    if not repository.gated or hub.accounts.may_write(request.user, repository.namespace):
        return
    message = f"Access to model {repository.name} is restricted."
    if request.user is None:
        raise Refusal(401, "GatedRepo", f"{message} You must be authenticated to access it.")
    if request.user not in repository.granted:
        raise Refusal(403, "GatedRepo", f"{message} You are not in the authorized list.")


def _info(hub: HubState, repository: Repository, commit: HubCommit, *, blobs: bool = False) -> dict[str, Any]:
    card = read_card(hub, commit)
    siblings = []
    for path, file in commit.files.items():
        sibling: dict[str, Any] = {"rfilename": path}
        if blobs:
            sibling.update(size=file.size, blobId=file.oid)
            if file.lfs is not None:
                sibling["lfs"] = {"sha256": file.lfs, "size": file.size, "pointerSize": _pointer_size(file)}
        siblings.append(sibling)
    return {
        "_id": repository.key,
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.namespace,
        "sha": commit.id,
        "lastModified": commit.date,
        "createdAt": repository.created_at,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags_of(card, commit),
        "library_name": card.get("library_name"),
        "pipeline_tag": card.get("pipeline_tag"),
        "usedStorage": sum(file.size for file in commit.files.values()),
        "cardData": card,
        "spaces": [],
        "siblings": siblings,
    }


def _file(path: str, file: TreeFile) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    if file.lfs is not None:
        shown["lfs"] = {"oid": file.lfs, "size": file.size, "pointerSize": _pointer_size(file)}
    return shown


def _pointer_size(file: TreeFile) -> int:
    return len(lfs_pointer(file.lfs or "", file.size))


def _last_commit(hub: HubState, repository: Repository, newest: HubCommit, path: str) -> dict[str, str]:
    """Return the newest commit that changed a file or something in a folder."""
    last = newest
    for commit in hub.repositories.history(repository.key, newest.id):
        if _below(commit, path) != _below(newest, path):
            break
        last = commit
    return {"id": last.id, "title": last.title, "date": last.date}


def _below(commit: HubCommit, path: str) -> dict[str, TreeFile]:
    return {name: file for name, file in commit.files.items() if name == path or name.startswith(f"{path}/")}


def no_harness(hub: HubState, request: HubRequest) -> HubAnswer:
    """Have nothing of what the client asks for in the background."""
    raise Refusal(404, message="this Hub has none")


def login_needed(hub: HubState, request: HubRequest) -> HubAnswer:
    """Answer a question that only somebody can ask."""
    need_user(request)
    return json_answer({})


_REPOSITORY = "api/{kind}/{namespace}/{name}"
ROUTES = (
    HubRoute("GET", "api/agent-harnesses", no_harness),
    HubRoute("POST", "api/validate-yaml", validate_yaml),
    HubRoute("GET", "api/{kind}", list_repositories),
    HubRoute("GET", _REPOSITORY, info),
    HubRoute("GET", f"{_REPOSITORY}/revision/{{revision}}", info),
    HubRoute("GET", f"{_REPOSITORY}/tree/{{revision}}", tree),
    HubRoute("GET", f"{_REPOSITORY}/tree/{{revision}}/{{path*}}", tree),
    HubRoute("POST", f"{_REPOSITORY}/paths-info/{{revision}}", paths_info),
    HubRoute("GET", f"{_REPOSITORY}/commits/{{revision}}", commits),
    HubRoute("GET", f"{_REPOSITORY}/refs", refs),
    HubRoute("GET", f"{_REPOSITORY}/auth-check", auth_check),
    HubRoute("GET", f"{_REPOSITORY}/auth-check/write", auth_check_write),
)
