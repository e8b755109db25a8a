"""What a Hub can do behind the back of an owner: the attacker of the trust model is the server itself.

Rules:
    1. ``set_branch`` moves a branch to any commit of the repository, also to an older one.
    2. ``tamper`` puts other bytes into the newest commit of ``main``: in a commit of its own, or, with ``rewrite``,
       under the commit id that clients have pinned.
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace

from symbio_lab.errors import NotFoundError
from symbio_lab.testing.loopback_hub.blobs import git_blob_id, lfs_pointer
from symbio_lab.testing.loopback_hub.managing import LARGE_SUFFIXES
from symbio_lab.testing.loopback_hub.repositories import HubCommit, Repository, TreeFile, make_commit
from symbio_lab.testing.loopback_hub.state import HubState


def set_branch(hub: HubState, name: str, branch: str, commit: str) -> None:
    """Make a branch point to a commit.

    Raises:
        NotFoundError: no such repository or commit.
    """
    with hub.lock:
        repository = _find(hub, name)
        if hub.repositories.commit(repository.key, commit) is None:
            raise NotFoundError(f"{name} has no commit {commit!r:.60}")
        hub.repositories.save(replace(repository, branches={**repository.branches, branch: commit}))


def tamper(hub: HubState, name: str, path: str, data: bytes | None, *, rewrite: bool = False) -> str:
    """Put a file into a repository, whatever its path, or take one out.

    Args:
        hub: the Hub.
        name: ``namespace/name`` of a model.
        path: of the file; not checked, a bad server checks nothing.
        data: its bytes; None: the file is taken out.
        rewrite: keep the id of the newest commit.

    Returns:
        The commit that has the file now.

    Raises:
        NotFoundError: no such repository.
        StorageError: disk full or no permission.
    """
    with hub.lock:
        repository = _find(hub, name)
        head = hub.repositories.commit(repository.key, repository.branches["main"])
        assert head is not None
        files = {other: file for other, file in head.files.items() if other != path}
        if data is not None:
            files[path] = _stored(hub, repository, path, data)
        made = _rewritten(head, files) if rewrite else make_commit((head.id,), "tampered", "", hub.now(), "hub", files)
        hub.repositories.add_commit(repository.key, made)
        hub.repositories.save(replace(repository, branches={**repository.branches, "main": made.id}))
        return made.id


def _rewritten(head: HubCommit, files: dict[str, TreeFile]) -> HubCommit:
    return replace(head, files=dict(sorted(files.items())))


def _stored(hub: HubState, repository: Repository, path: str, data: bytes) -> TreeFile:
    blob = hub.blobs.put(data)
    if not any(fnmatch.fnmatchcase(path, f"*.{suffix}") for suffix in LARGE_SUFFIXES):
        return TreeFile(git_blob_id(data), len(data), blob)
    hub.repositories.mark_object(repository.key, blob)
    return TreeFile(git_blob_id(lfs_pointer(blob, len(data))), len(data), blob, blob)


def _find(hub: HubState, name: str) -> Repository:
    repository = hub.repositories.find("model", name)
    if repository is None:
        raise NotFoundError(f"the Hub has no model {name!r:.100}")
    return repository
