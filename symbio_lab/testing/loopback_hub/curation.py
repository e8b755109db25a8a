"""Collections: lists of repositories that a user or organisation curates.

Layout, below the Hub's folder: ``collections.json``, all of them, written whole after each change.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symbio_lab.codec import from_plain, read_json, write_json
from symbio_lab.testing.loopback_hub.accounts import need_user
from symbio_lab.testing.loopback_hub.answers import (
    HubAnswer,
    HubRequest,
    HubRoute,
    Refusal,
    json_answer,
    page_answer,
)
from symbio_lab.testing.loopback_hub.state import HubState

MOST_ITEMS = 1000
"""Items of one collection."""


@dataclass(frozen=True, slots=True)
class HubCollection:
    """One collection."""

    slug: str
    """``owner/title-<24 hex>``."""
    title: str
    owner: str
    description: str
    private: bool
    updated_at: str
    items: tuple[Mapping[str, Any], ...] = ()


class CollectionStore:
    """Every collection of one Hub: in memory for reading, on disk first for every change."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "collections.json"
        self._by_slug: dict[str, HubCollection] = {}

    def load(self) -> None:
        """Read what is on disk.

        Raises:
            DataError: the file is damaged.
        """
        if self._path.is_file():
            found = from_plain(tuple[HubCollection, ...], read_json(self._path))
            self._by_slug = {collection.slug: collection for collection in found}

    def __iter__(self) -> Iterator[HubCollection]:
        return iter(sorted(self._by_slug.values(), key=lambda collection: collection.slug))

    def find(self, slug: str) -> HubCollection | None:
        """Return a collection, or None."""
        return self._by_slug.get(slug)

    def save(self, collection: HubCollection) -> HubCollection:
        """Write a changed collection, then show it.

        Raises:
            StorageError: disk full or no permission.
        """
        changed = {**self._by_slug, collection.slug: collection}
        write_json(self._path, tuple(changed.values()))
        self._by_slug = changed
        return collection

    def delete(self, slug: str) -> None:
        """Forget a collection.

        Raises:
            StorageError: disk full or no permission.
        """
        left = {name: collection for name, collection in self._by_slug.items() if name != slug}
        write_json(self._path, tuple(left.values()))
        self._by_slug = left


def list_collections(hub: HubState, request: HubRequest) -> HubAnswer:
    """List collections, of one owner or with one item if that is asked for."""
    owner, item = request.first("owner"), request.first("item").partition("/")[2]
    found = [
        _shown(collection, brief=True)
        for collection in hub.collections
        if _may_see(hub, request, collection)
        and owner in ("", collection.owner)
        and (not item or any(one["id"] == item for one in collection.items))
    ]
    return page_answer(found, request, hub.endpoint, hub.limits.page)


def show(hub: HubState, request: HubRequest) -> HubAnswer:
    """Show one collection with its items."""
    return json_answer(_shown(_named(hub, request)))


def create(hub: HubState, request: HubRequest) -> HubAnswer:
    """Make a collection."""
    user, title = need_user(request), request.text("title", most=60).strip()
    owner = request.text("namespace", default=user)
    if not hub.accounts.may_write(user, owner):
        raise Refusal(403, message=f"You don't have the rights to create a collection under {owner!r:.100}")
    if not title:
        raise Refusal(400, message="a collection has a title")
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "collection"
    private = request.json().get("private", False)
    description = request.text("description", most=150, default="")
    made = HubCollection(
        f"{owner}/{words}-{secrets.token_hex(12)}", title, owner, description, private is True, hub.now()
    )
    return json_answer(_shown(hub.collections.save(made)))


def add_item(hub: HubState, request: HubRequest) -> HubAnswer:
    """Add a repository at the end."""
    collection, item = _own(hub, request), request.json().get("item")
    kind, name = (item.get("type"), item.get("id")) if isinstance(item, dict) else (None, None)
    if kind not in ("model", "dataset") or not isinstance(name, str):
        raise Refusal(400, message="an item has a type (model or dataset) and an id")
    hub.named(request, kind, name)
    if any(one["id"] == name and one["type"] == kind for one in collection.items):
        raise Refusal(409, message="the collection has this item")
    if len(collection.items) >= MOST_ITEMS:
        raise Refusal(413, message=f"a collection has at most {MOST_ITEMS} items")
    note = request.text("note", most=500, default="")
    added = {"_id": secrets.token_hex(12), "id": name, "type": kind, "note": note}
    return json_answer(_shown(_saved(hub, collection, (*collection.items, added))))


def remove_item(hub: HubState, request: HubRequest) -> HubAnswer:
    """Take an item out."""
    collection, item = _own(hub, request), request.captured["item"]
    left = tuple(one for one in collection.items if one["_id"] != item)
    if len(left) == len(collection.items):
        raise Refusal(404, message="the collection has no such item")
    _saved(hub, collection, left)
    return json_answer({})


def delete(hub: HubState, request: HubRequest) -> HubAnswer:
    """Delete a collection; its repositories stay."""
    hub.collections.delete(_own(hub, request).slug)
    return json_answer({})


def _saved(hub: HubState, collection: HubCollection, items: tuple[Mapping[str, Any], ...]) -> HubCollection:
    return hub.collections.save(replace(collection, items=items, updated_at=hub.now()))


def _may_see(hub: HubState, request: HubRequest, collection: HubCollection) -> bool:
    return not collection.private or hub.accounts.may_write(request.user, collection.owner)


def _named(hub: HubState, request: HubRequest) -> HubCollection:
    collection = hub.collections.find(f"{request.captured['namespace']}/{request.captured['slug']}")
    if collection is None or not _may_see(hub, request, collection):
        raise Refusal(404, message="Collection not found")
    return collection


def _own(hub: HubState, request: HubRequest) -> HubCollection:
    collection = _named(hub, request)
    if not hub.accounts.may_write(need_user(request), collection.owner):
        raise Refusal(403, message="You don't have the rights to change this collection")
    return collection


def _shown(collection: HubCollection, *, brief: bool = False) -> dict[str, Any]:
    items = [
        {**one, "position": position, "note": {"text": one["note"], "html": ""} if one["note"] else None}
        for position, one in enumerate(collection.items)
    ]
    return {
        "slug": collection.slug,
        "title": collection.title,
        "owner": {"name": collection.owner, "type": "user"},
        "description": collection.description,
        "items": items[:4] if brief else items,
        "lastUpdated": collection.updated_at,
        "position": 0,
        "private": collection.private,
        "theme": "blue",
        "upvotes": 0,
    }


_COLLECTION = "api/collections/{namespace}/{slug}"
ROUTES = (
    HubRoute("GET", "api/collections", list_collections),
    HubRoute("POST", "api/collections", create),
    HubRoute("GET", _COLLECTION, show),
    HubRoute("DELETE", _COLLECTION, delete),
    HubRoute("POST", f"{_COLLECTION}/item", add_item),
    HubRoute("POST", f"{_COLLECTION}/items", add_item),
    HubRoute("DELETE", f"{_COLLECTION}/items/{{item}}", remove_item),
)
