"""Discussions and pull requests of a repository.

Rules:
    1. Everybody who is logged in may open and comment; only its author or who may write closes, reopens or renames.
    2. A pull request that ``create_pull_request`` opens is a draft and must be opened before it is merged; one that
       comes with a commit is open.
    3. Merging needs the right to write. What the pull request changed since its base is put on top of ``main``; a file
       that both changed differently is a conflict and nothing is merged.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from symbio_lab.testing.loopback_hub.accounts import need_user
from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, json_answer
from symbio_lab.testing.loopback_hub.repositories import HubCommit, HubDiscussion, Repository, TreeFile, make_commit
from symbio_lab.testing.loopback_hub.state import HubState

PAGE = 50
"""Discussions on a page."""


def find_discussion(repository: Repository, num: str) -> HubDiscussion:
    """Return a discussion by its number.

    Raises:
        Refusal: 404.
    """
    if re.fullmatch(r"[1-9][0-9]{0,8}", num) and int(num) <= len(repository.discussions):
        return repository.discussions[int(num) - 1]
    raise Refusal(404, message=f"Discussion #{num:.20} not found")


def open_discussion(
    repository: Repository, title: str, text: str, author: str, now: str, *, base: str = "", draft: bool = False
) -> tuple[Repository, int]:
    """Return the repository with one more discussion, and its number; a ``base`` makes it a pull request."""
    num = len(repository.discussions) + 1
    status = "draft" if draft else "open"
    made = HubDiscussion(num, title.strip(), author, now, status, bool(base), base)
    opened = replace(made, events=(comment_event(text, author, now),))
    return replace(repository, discussions=(*repository.discussions, opened)), num


def add_event(repository: Repository, num: int, event: Mapping[str, Any], **changes: Any) -> Repository:
    """Return the repository with one more event in a discussion, whose fields ``changes`` overrides."""
    discussions = list(repository.discussions)
    before = discussions[num - 1]
    discussions[num - 1] = replace(before, events=(*before.events, event), **changes)
    return replace(repository, discussions=tuple(discussions))


def _event(kind: str, author: str, now: str, data: Mapping[str, Any]) -> dict[str, Any]:
    who = {"name": author, "type": "user"}
    return {"id": secrets.token_hex(12), "type": kind, "author": who, "createdAt": now, "data": dict(data)}


def comment_event(text: str, author: str, now: str) -> dict[str, Any]:
    """Return a comment as an event."""
    latest = {"raw": text, "html": "", "updatedAt": now, "author": {"name": author}}
    data = {"edited": False, "hidden": False, "hiddenBy": "", "latest": latest, "history": [latest]}
    return _event("comment", author, now, data)


def commit_event(commit: HubCommit, author: str) -> dict[str, Any]:
    """Return a commit on a pull request as an event."""
    return _event("commit", author, commit.date, {"subject": commit.title, "oid": commit.id})


def list_discussions(hub: HubState, request: HubRequest) -> HubAnswer:
    """List discussions, newest first; a draft counts as open."""
    repository = hub.readable(request)
    kind, status, author = request.first("type", "all"), request.first("status", "all"), request.first("author")
    found = [
        discussion
        for discussion in reversed(repository.discussions)
        if kind in ("", "all", "pull_request" if discussion.is_pull_request else "discussion")
        and (status in ("", "all") or (status == "open") == (discussion.status in ("open", "draft")))
        and author in ("", discussion.author)
    ]
    page = request.first("p", "0")
    if not re.fullmatch(r"[0-9]{1,6}", page):
        raise Refusal(400, message="p must be a number")
    start = int(page) * PAGE
    shown = [_shown(hub, repository, discussion, brief=True) for discussion in found[start : start + PAGE]]
    return json_answer({"discussions": shown, "count": len(found), "start": start})


def create(hub: HubState, request: HubRequest) -> HubAnswer:
    """Open a discussion or an empty pull request."""
    repository, user, now = hub.readable(request), need_user(request), hub.now()
    title, text = request.text("title", most=200), request.text("description", most=65_536, default="")
    if len(title.strip()) < 3:
        raise Refusal(400, message="a title has at least 3 characters")
    base = hub.revision(repository, "main").id if request.json().get("pullRequest") is True else ""
    repository, num = open_discussion(repository, title, text, user, now, base=base, draft=bool(base))
    pulls = {**repository.pulls, str(num): base} if base else repository.pulls
    saved = hub.repositories.save(replace(repository, pulls=pulls))
    return json_answer(_shown(hub, saved, saved.discussions[-1]))


def details(hub: HubState, request: HubRequest) -> HubAnswer:
    """Show one discussion with its events; a pull request also with its conflicts."""
    repository = hub.readable(request)
    return json_answer(_shown(hub, repository, find_discussion(repository, request.captured["num"])))


def comment(hub: HubState, request: HubRequest) -> HubAnswer:
    """Add a comment."""
    repository, user = hub.readable(request), need_user(request)
    discussion = find_discussion(repository, request.captured["num"])
    event = comment_event(request.text("comment", most=65_536), user, hub.now())
    hub.repositories.save(add_event(repository, discussion.num, event))
    return json_answer({"newMessage": event})


def rename(hub: HubState, request: HubRequest) -> HubAnswer:
    """Change a title."""
    repository, discussion, user = _own(hub, request)
    title = request.text("title", most=200).strip()
    event = _event("title-change", user, hub.now(), {"from": discussion.title, "to": title})
    hub.repositories.save(add_event(repository, discussion.num, event, title=title))
    return json_answer({"newTitle": event})


def change_status(hub: HubState, request: HubRequest) -> HubAnswer:
    """Open or close a discussion."""
    repository, discussion, user = _own(hub, request)
    status, text = request.text("status"), request.text("comment", most=65_536, default="")
    if status not in ("open", "closed") or discussion.status == "merged":
        raise Refusal(400, message="an unmerged discussion can be open or closed")
    if text:
        repository = add_event(repository, discussion.num, comment_event(text, user, hub.now()))
    event = _event("status-change", user, hub.now(), {"status": status})
    hub.repositories.save(add_event(repository, discussion.num, event, status=status))
    return json_answer({"newStatus": event})


def merge(hub: HubState, request: HubRequest) -> HubAnswer:
    """Put a pull request on ``main``."""
    repository, user = hub.writable(request), need_user(request)
    discussion = find_discussion(repository, request.captured["num"])
    if not discussion.is_pull_request or discussion.status != "open":
        raise Refusal(400, message=f"Only an open pull request can be merged; this is {discussion.status}")
    files, conflicts = _merged(hub, repository, discussion)
    if conflicts:
        raise Refusal(409, message=f"The pull request conflicts with main: {', '.join(conflicts)[:200]}")
    head, pull = hub.revision(repository, "main"), hub.revision(repository, f"refs/pr/{discussion.num}")
    title = f"{discussion.title} (#{discussion.num})"
    made = make_commit((head.id, pull.id), title, "", hub.now(), discussion.author, files)
    hub.repositories.add_commit(repository.key, made)
    event = _event("status-change", user, hub.now(), {"status": "merged"})
    merged = add_event(repository, discussion.num, event, status="merged", merged_as=made.id)
    hub.repositories.save(replace(merged, branches={**merged.branches, "main": made.id}))
    return json_answer({})


def _own(hub: HubState, request: HubRequest) -> tuple[Repository, HubDiscussion, str]:
    """Return repository, discussion and user if the user may steer it."""
    repository, user = hub.readable(request), need_user(request)
    discussion = find_discussion(repository, request.captured["num"])
    if discussion.author != user and not hub.accounts.may_write(user, repository.namespace):
        raise Refusal(403, message="Only its author or a maintainer may do this")
    return repository, discussion, user


def _merged(
    hub: HubState, repository: Repository, discussion: HubDiscussion
) -> tuple[Mapping[str, TreeFile], list[str]]:
    """Return the tree of ``main`` with the changes of a pull request, and the files that both changed differently."""
    base = hub.revision(repository, discussion.base).files
    main = hub.revision(repository, "main").files
    pull = hub.revision(repository, f"refs/pr/{discussion.num}").files
    files, conflicts = dict(main), []
    for path in sorted({path for path in {*base, *pull} if base.get(path) != pull.get(path)}):
        if main.get(path) not in (base.get(path), pull.get(path)):
            conflicts.append(path)
        elif path in pull:
            files[path] = pull[path]
        else:
            files.pop(path, None)
    return files, conflicts


def _shown(hub: HubState, repository: Repository, discussion: HubDiscussion, *, brief: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author, "type": "user"},
        "createdAt": discussion.created_at,
        "status": discussion.status,
        "repo": {"name": repository.name, "type": repository.kind},
        "isPullRequest": discussion.is_pull_request,
        "numComments": sum(event["type"] == "comment" for event in discussion.events),
    }
    if brief:
        return shown
    shown["events"] = [dict(event) for event in discussion.events]
    if discussion.is_pull_request:
        changes = {"base": "refs/heads/main"}
        if discussion.merged_as:
            changes["mergeCommitId"] = discussion.merged_as
        is_settled = discussion.status in ("merged", "closed")
        conflicts = [] if is_settled else _merged(hub, repository, discussion)[1]
        shown.update(changes=changes, filesWithConflicts=conflicts, diff=_diff(hub, repository, discussion))
    return shown


def _diff(hub: HubState, repository: Repository, discussion: HubDiscussion) -> str:
    """Return which files a pull request adds, changes and deletes, in the manner of git's headers."""
    base = hub.revision(repository, discussion.base).files
    pull = hub.revision(repository, f"refs/pr/{discussion.num}").files
    lines = []
    for path in sorted({path for path in {*base, *pull} if base.get(path) != pull.get(path)}):
        lines.append(f"diff --git a/{path} b/{path}")
        if path not in base:
            lines.append("new file mode 100644")
        elif path not in pull:
            lines.append("deleted file mode 100644")
    return "\n".join(lines)


_DISCUSSIONS = "api/{kind}/{namespace}/{name}/discussions"
ROUTES = (
    HubRoute("GET", _DISCUSSIONS, list_discussions),
    HubRoute("POST", _DISCUSSIONS, create),
    HubRoute("GET", f"{_DISCUSSIONS}/{{num}}", details),
    HubRoute("POST", f"{_DISCUSSIONS}/{{num}}/comment", comment),
    HubRoute("POST", f"{_DISCUSSIONS}/{{num}}/title", rename),
    HubRoute("POST", f"{_DISCUSSIONS}/{{num}}/status", change_status),
    HubRoute("POST", f"{_DISCUSSIONS}/{{num}}/merge", merge),
)
