"""Making, deleting, renaming and opening up repositories, and naming their commits.

Rules:
    1. Only who may write to a namespace makes, deletes or renames what it owns.
    2. A name that is taken is 409 with the address of the repository that has it.
    3. ``main`` cannot be deleted; a branch or tag that exists is 409.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from symbio_lab.testing.loopback_hub.accounts import need_user
from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, json_answer
from symbio_lab.testing.loopback_hub.blobs import git_blob_id
from symbio_lab.testing.loopback_hub.names import check_ref_name, check_repository_name
from symbio_lab.testing.loopback_hub.repositories import (
    HubTag,
    Repository,
    RepositoryKind,
    TreeFile,
    make_commit,
    new_key,
)
from symbio_lab.testing.loopback_hub.state import HubState

LARGE_SUFFIXES = (
    *("7z", "arrow", "bin", "bz2", "ckpt", "ftz", "gguf", "gz", "h5", "joblib", "lz4", "model", "msgpack", "npy"),
    *("npz", "onnx", "parquet", "pb", "pickle", "pkl", "pt", "pth", "rar", "safetensors", "tar", "tflite", "tgz"),
    *("wasm", "xz", "zip", "zst"),
)
"""Files that are uploaded as large ones whatever their size, as new repositories on the Hub have it."""
ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_SUFFIXES).encode()


def address_of(hub: HubState, repository: Repository) -> str:
    """Return the address of a repository's page."""
    return f"{hub.endpoint}/{'datasets/' if repository.kind == 'dataset' else ''}{repository.name}"


def _kind(value: object) -> RepositoryKind:
    if value in (None, "model"):
        return "model"
    if value == "dataset":
        return "dataset"
    raise Refusal(400, message="this Hub keeps models and datasets only")


def _may_own(hub: HubState, request: HubRequest, namespace: str) -> str:
    user = need_user(request)
    if not hub.accounts.may_write(user, namespace):
        raise Refusal(403, message=f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    return user


def _visibility(value: dict[str, Any], before: bool) -> bool:
    if "visibility" in value:
        if value["visibility"] not in ("public", "private"):
            raise Refusal(400, message="visibility is public or private")
        return bool(value["visibility"] == "private")
    private = value.get("private", before)
    if not isinstance(private, bool):
        raise Refusal(400, message="private is true or false")
    return private


def create(hub: HubState, request: HubRequest) -> HubAnswer:
    """Make a repository with one commit, which holds ``.gitattributes``."""
    value, kind = request.json(), _kind(request.json().get("type"))
    namespace = value.get("organization") or need_user(request)
    name = check_repository_name(namespace, value.get("name"))
    user = _may_own(hub, request, str(namespace))
    taken = hub.repositories.find(kind, name)
    if taken is not None:
        message = f"You already created this {kind} repo: {taken.name}"
        return json_answer({"error": message, "url": address_of(hub, taken)}, 409, {"X-Error-Message": message})
    now = hub.now()
    files = {".gitattributes": TreeFile(git_blob_id(ATTRIBUTES), len(ATTRIBUTES), hub.blobs.put(ATTRIBUTES))}
    first = make_commit((), "initial commit", "", now, user, files)
    private = _visibility(value, False)
    made = hub.repositories.create(Repository(new_key(), kind, name, user, now, private=private), first)
    return json_answer({"url": address_of(hub, made), "name": made.name, "id": made.key})


def delete(hub: HubState, request: HubRequest) -> HubAnswer:
    """Delete a repository and everything in it."""
    value, user = request.json(), need_user(request)
    name = check_repository_name(value.get("organization") or user, value.get("name"))
    repository = hub.named(request, _kind(value.get("type")), name)
    _may_own(hub, request, repository.namespace)
    hub.repositories.delete(repository)
    return json_answer({})


def move(hub: HubState, request: HubRequest) -> HubAnswer:
    """Rename a repository, or hand it to another namespace of the user."""
    kind = _kind(request.json().get("type"))
    old, new = request.text("fromRepo"), request.text("toRepo")
    namespace, _, name = new.partition("/")
    new = check_repository_name(namespace, name)
    repository = hub.named(request, kind, old)
    _may_own(hub, request, repository.namespace)
    _may_own(hub, request, namespace)
    taken = hub.repositories.find(kind, new)
    if taken is not None and taken.key != repository.key:
        raise Refusal(409, message=f"{new} exists already")
    former = tuple(n for n in (*repository.former_names, repository.name) if n.lower() != new.lower())
    hub.repositories.save(replace(repository, name=new, former_names=former))
    return json_answer({})


def settings(hub: HubState, request: HubRequest) -> HubAnswer:
    """Change who may see or download a repository."""
    repository, value = hub.writable(request), request.json()
    gated = value.get("gated", repository.gated)
    if gated not in (False, "auto", "manual"):
        raise Refusal(400, message="gated is false, auto or manual")
    changed = replace(repository, private=_visibility(value, repository.private), gated=gated)
    hub.repositories.save(changed)
    return json_answer({"private": changed.private, "gated": changed.gated})


def grant(hub: HubState, request: HubRequest) -> HubAnswer:
    """Let a user download from a gated repository."""
    repository, user = hub.writable(request), request.text("user")
    hub.repositories.save(replace(repository, granted=tuple(sorted({*repository.granted, user}))))
    return json_answer({})


def create_branch(hub: HubState, request: HubRequest) -> HubAnswer:
    """Name a commit by a branch."""
    repository, name = hub.writable(request), check_ref_name(request.captured["ref"])
    if name in repository.branches:
        raise Refusal(409, message=f"Reference already exists: {name}")
    commit = hub.revision(repository, request.text("startingPoint", default="main"))
    hub.repositories.save(replace(repository, branches={**repository.branches, name: commit.id}))
    return json_answer({})


def delete_branch(hub: HubState, request: HubRequest) -> HubAnswer:
    """Forget a branch; its commits stay."""
    repository, name = hub.writable(request), request.captured["ref"]
    if name == "main":
        raise Refusal(403, message="Cannot delete the default branch")
    if name not in repository.branches:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {name}")
    hub.repositories.save(replace(repository, branches={k: v for k, v in repository.branches.items() if k != name}))
    return json_answer({})


def create_tag(hub: HubState, request: HubRequest) -> HubAnswer:
    """Name a commit by a tag."""
    repository, name = hub.writable(request), check_ref_name(request.text("tag"))
    commit = hub.revision(repository, request.captured["ref"])
    if name in repository.tags:
        raise Refusal(409, message=f"Tag reference exists already: {name}")
    tag = HubTag(commit.id, request.text("message", default=""))
    hub.repositories.save(replace(repository, tags={**repository.tags, name: tag}))
    return json_answer({})


def delete_tag(hub: HubState, request: HubRequest) -> HubAnswer:
    """Forget a tag; its commit stays."""
    repository, name = hub.writable(request), request.captured["ref"]
    if name not in repository.tags:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {name}")
    hub.repositories.save(replace(repository, tags={k: v for k, v in repository.tags.items() if k != name}))
    return json_answer({})


_REPOSITORY = "api/{kind}/{namespace}/{name}"
ROUTES = (
    HubRoute("POST", "api/repos/create", create),
    HubRoute("DELETE", "api/repos/delete", delete),
    HubRoute("POST", "api/repos/move", move),
    HubRoute("PUT", f"{_REPOSITORY}/settings", settings),
    HubRoute("POST", f"{_REPOSITORY}/user-access-request/grant", grant),
    HubRoute("POST", f"{_REPOSITORY}/branch/{{ref}}", create_branch),
    HubRoute("DELETE", f"{_REPOSITORY}/branch/{{ref}}", delete_branch),
    HubRoute("POST", f"{_REPOSITORY}/tag/{{ref}}", create_tag),
    HubRoute("DELETE", f"{_REPOSITORY}/tag/{{ref}}", delete_tag),
)
