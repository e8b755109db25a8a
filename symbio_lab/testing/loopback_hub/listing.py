"""Finding repositories, and what the Hub says about one.

Rules:
    1. A list shows what the asker may read. Several ``filter`` must all be tags of a repository; ``search`` is a part
       of its name; ``author`` its namespace.
    2. A list is short unless ``full``, ``cardData`` or ``expand`` ask for more; the view of one repository is always
       complete.
    3. ``sort`` puts the greatest first; without it the order is by name. Pages follow by ``Link``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbio_lab.errors import StorageError
from symbio_lab.testing.loopback_hub.answers import (
    HubAnswer,
    HubRequest,
    HubRoute,
    Refusal,
    json_answer,
    page_answer,
)
from symbio_lab.testing.loopback_hub.blobs import lfs_pointer
from symbio_lab.testing.loopback_hub.cards import MOST_BYTES, find_tags, parse_card, read_card
from symbio_lab.testing.loopback_hub.repositories import HubCommit, Repository, TreeFile
from symbio_lab.testing.loopback_hub.state import HubState

SORTS = ("lastModified", "createdAt", "downloads", "likes", "trendingScore")
_SHORT = ("_id", "id", "modelId", "likes", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt")
_FULL = (*_SHORT, "author", "sha", "lastModified", "gated", "disabled", "siblings")


def list_repositories(hub: HubState, request: HubRequest) -> HubAnswer:
    """List models or data sets."""
    kind = {"models": "model", "datasets": "dataset"}.get(request.captured["kind"])
    if kind is None:
        raise Refusal(404, message="this Hub keeps models and datasets only")
    filters = [tag for value in request.query.get("filter", ()) for tag in value.split(",") if tag]
    author, search, sort = request.first("author"), request.first("search").lower(), request.first("sort")
    if sort not in ("", *SORTS):
        raise Refusal(400, message=f"sort must be one of {', '.join(SORTS)}")
    found = []
    for repository in hub.repositories:
        if repository.kind != kind or not hub.may_read(request.user, repository):
            continue
        if author not in ("", repository.namespace) or search not in repository.name.lower():
            continue
        view = describe(hub, repository, hub.revision(repository, "main", request.stale))
        wanted_pipeline = request.first("pipeline_tag")
        if set(filters) <= set(view["tags"]) and wanted_pipeline in ("", view["pipeline_tag"]):
            found.append(view)
    if sort:
        found.sort(key=lambda view: view[sort], reverse=True)
    fields = _fields(request)
    shown = [{name: view[name] for name in fields if name in view} for view in found]
    return page_answer(shown, request, hub.endpoint, hub.limits.page)


def _fields(request: HubRequest) -> tuple[str, ...]:
    asked = tuple(field for name in ("expand", "expand[]") for field in request.query.get(name, ()))
    if asked:
        return ("_id", "id", "modelId", *asked)
    return (*(_FULL if request.flag("full") else _SHORT), *(("cardData",) if request.flag("cardData") else ()))


def info(hub: HubState, request: HubRequest) -> HubAnswer:
    """Describe one repository at ``main`` or at a revision."""
    repository = hub.readable(request)
    commit = hub.revision(repository, request.captured.get("revision", "main"), request.stale)
    view = describe(hub, repository, commit, with_blobs=request.flag("blobs"))
    if request.query.get("expand"):
        view = {name: view[name] for name in _fields(request) if name in view}
    if request.flag("securityStatus"):
        view["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return json_answer(view)


def describe(hub: HubState, repository: Repository, commit: HubCommit, *, with_blobs: bool = False) -> dict[str, Any]:
    """Return everything that the Hub says about a repository at one commit."""
    card = _card(hub, commit)
    siblings = [{"rfilename": path, **(_blob(file) if with_blobs else {})} for path, file in commit.files.items()]
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
        "trendingScore": 0,
        "tags": find_tags(card, commit.files),
        "library_name": _text(card.get("library_name")),
        "pipeline_tag": _text(card.get("pipeline_tag")),
        "cardData": dict(card),
        "siblings": siblings,
        "spaces": [],
        "usedStorage": sum(file.size for file in commit.files.values()),
    }


def _card(hub: HubState, commit: HubCommit) -> Mapping[str, Any]:
    readme = commit.files.get("README.md")
    if readme is None or readme.size > MOST_BYTES:
        return {}
    try:
        return read_card(hub.blobs.read(readme.blob))
    except StorageError:
        return {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _blob(file: TreeFile) -> dict[str, Any]:
    blob: dict[str, Any] = {"size": file.size, "blobId": file.oid}
    if file.lfs is not None:
        pointer = len(lfs_pointer(file.lfs, file.size))
        blob["lfs"] = {"sha256": file.lfs, "size": file.size, "pointerSize": pointer}
    return blob


def validate_yaml(hub: HubState, request: HubRequest) -> HubAnswer:
    """Say what is wrong with a card before it is committed."""
    content = request.text("content", most=MOST_BYTES)
    try:
        parse_card(content.encode("utf-8", "replace"))
    except ValueError as error:
        return json_answer({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return json_answer({"errors": [], "warnings": []})


ROUTES = (
    HubRoute("POST", "api/validate-yaml", validate_yaml),
    HubRoute("GET", "api/{kind}", list_repositories),
    HubRoute("GET", "api/{kind}/{namespace}/{name}", info),
    HubRoute("GET", "api/{kind}/{namespace}/{name}/revision/{revision}", info),
)
