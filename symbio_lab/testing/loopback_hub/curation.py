"""Collections: lists of repositories that somebody recommends.

Rules:
    1. A collection is found by the 24 hex characters at the end of its slug; the words before them may change.
    2. Who may write to its namespace makes, changes and deletes it; a private one is hidden from everybody else.
    3. An item whose repository the asker cannot read is not shown. A list of collections shows four items of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
from symbio_lab.testing.loopback_hub.repositories import new_key
from symbio_lab.testing.loopback_hub.state import HubState

MOST_ITEMS = 1000
"""Items of one collection."""
LISTED_ITEMS = 4
"""Items of each collection in a list of collections."""
ITEM_KINDS = ("model", "dataset", "space", "paper", "collection", "bucket")


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """One item of a collection."""

    key: str
    kind: str
    item: str
    """Name of a repository, or the id of something that this Hub does not keep."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class HubCollection:
    """A list of items under one title."""

    key: str
    namespace: str
    title: str
    updated_at: str
    description: str = ""
    private: bool = False
    theme: str = "blue"
    items: tuple[CollectionEntry, ...] = ()

    @property
    def slug(self) -> str:
        """Address below ``collections/``."""
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{self.namespace}/{words or 'collection'}-{self.key}"


class CollectionStore:
    """The collections of one Hub: one file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "collections"
        self._by_key: dict[str, HubCollection] = {}

    def load(self) -> None:
        """Read what is on disk.

        Raises:
            DataError: a file is damaged.
        """
        for path in sorted(self.folder.glob("*.json")):
            collection = from_plain(HubCollection, read_json(path))
            self._by_key[collection.key] = collection

    def __iter__(self) -> Iterator[HubCollection]:
        return iter(sorted(self._by_key.values(), key=lambda c: (c.updated_at, c.key), reverse=True))

    def find(self, namespace: str, slug: str) -> HubCollection | None:
        """Return the collection of a slug."""
        found = self._by_key.get(slug[-24:])
        return found if found is not None and found.namespace == namespace else None

    def save(self, collection: HubCollection) -> HubCollection:
        """Write a new or changed collection.

        Raises:
            StorageError: disk full or no permission.
        """
        write_json(self.folder / f"{collection.key}.json", collection)
        self._by_key[collection.key] = collection
        return collection

    def delete(self, collection: HubCollection) -> None:
        """Remove a collection."""
        (self.folder / f"{collection.key}.json").unlink(missing_ok=True)
        del self._by_key[collection.key]


def list_collections(hub: HubState, request: HubRequest) -> HubAnswer:
    """List collections by owner or by an item such as ``models/alice/travel``, newest first."""
    owners = request.query.get("owner", ())
    wanted = {
        (item.partition("/")[0].removesuffix("s"), item.partition("/")[2]) for item in request.query.get("item", ())
    }
    found = [
        collection
        for collection in hub.collections
        if _may_read(hub, request.user, collection)
        and (not owners or collection.namespace in owners)
        and (not wanted or wanted & {(entry.kind, entry.item) for entry in collection.items})
    ]
    # The client counts the positions of a list itself.
    shown = [
        {key: value for key, value in _shown(hub, request, collection, LISTED_ITEMS).items() if key != "position"}
        for collection in found
    ]
    return page_answer(shown, request, hub.endpoint, hub.limits.page)


def show(hub: HubState, request: HubRequest) -> HubAnswer:
    """Show one collection with all its items."""
    return json_answer(_shown(hub, request, _readable(hub, request)))


def create(hub: HubState, request: HubRequest) -> HubAnswer:
    """Make an empty collection; a title that its namespace has is 409 with the slug."""
    user = need_user(request)
    namespace, title = request.text("namespace", default=user), request.text("title", most=60).strip()
    if not hub.accounts.may_write(user, namespace):
        raise Refusal(403, message=f'You don\'t have the rights to create a collection under "{namespace}"')
    if not title:
        raise Refusal(400, message="a collection has a title")
    taken = next((c for c in hub.collections if (c.namespace, c.title) == (namespace, title)), None)
    if taken is not None:
        message = f"You already have a collection {title!r}"
        return json_answer({"error": message, "slug": taken.slug}, 409)
    description = request.text("description", most=150, default="")
    private = request.json().get("private") is True
    made = HubCollection(new_key(), namespace, title, hub.now(), description, private)
    return json_answer(_shown(hub, request, hub.collections.save(made)))


def change(hub: HubState, request: HubRequest) -> HubAnswer:
    """Change title, description, theme or visibility."""
    collection = _writable(hub, request)
    private = request.json().get("private", collection.private)
    changed = replace(
        collection,
        title=request.text("title", most=60, default=collection.title).strip() or collection.title,
        description=request.text("description", most=150, default=collection.description),
        theme=request.text("theme", most=20, default=collection.theme),
        private=private is True,
        updated_at=hub.now(),
    )
    return json_answer({"success": True, "data": _shown(hub, request, hub.collections.save(changed))})


def delete(hub: HubState, request: HubRequest) -> HubAnswer:
    """Delete a collection."""
    hub.collections.delete(_writable(hub, request))
    return json_answer({"success": True})


def add_item(hub: HubState, request: HubRequest) -> HubAnswer:
    """Add one item at the end; one that is there already is 409."""
    collection, item = _writable(hub, request), request.json().get("item")
    kind, name = (item.get("type"), item.get("id")) if isinstance(item, dict) else (None, None)
    if kind not in ITEM_KINDS or not isinstance(name, str) or not 0 < len(name) <= 300:
        raise Refusal(400, message="an item has a type and an id")
    if not _item_exists(hub, request, str(kind), name):
        raise Refusal(404, message=f"There is no {kind} {name:.100}")
    if any((entry.kind, entry.item) == (kind, name) for entry in collection.items):
        raise Refusal(409, message="the item is in the collection already")
    if len(collection.items) >= MOST_ITEMS:
        raise Refusal(400, message=f"a collection has at most {MOST_ITEMS} items")
    entry = CollectionEntry(new_key(), str(kind), name, request.text("note", most=500, default=""))
    return json_answer(_shown(hub, request, _with_items(hub, collection, [*collection.items, entry])))


def change_item(hub: HubState, request: HubRequest) -> HubAnswer:
    """Change the note or the place of an item."""
    collection, entry = _item(hub, request)
    others = [other for other in collection.items if other.key != entry.key]
    position = request.json().get("position", collection.items.index(entry))
    if not isinstance(position, int) or not 0 <= position <= len(others):
        raise Refusal(400, message="position is a place in the collection")
    others.insert(position, replace(entry, note=request.text("note", most=500, default=entry.note)))
    return json_answer(_shown(hub, request, _with_items(hub, collection, others)))


def delete_item(hub: HubState, request: HubRequest) -> HubAnswer:
    """Take an item out."""
    collection, entry = _item(hub, request)
    _with_items(hub, collection, [other for other in collection.items if other.key != entry.key])
    return json_answer({"success": True})


def _with_items(hub: HubState, collection: HubCollection, items: list[CollectionEntry]) -> HubCollection:
    return hub.collections.save(replace(collection, items=tuple(items), updated_at=hub.now()))


def _may_read(hub: HubState, user: str | None, collection: HubCollection) -> bool:
    return not collection.private or hub.accounts.may_write(user, collection.namespace)


def _readable(hub: HubState, request: HubRequest) -> HubCollection:
    collection = hub.collections.find(request.captured["namespace"], request.captured["slug"])
    if collection is None or not _may_read(hub, request.user, collection):
        raise Refusal(404, message="Collection not found")
    return collection


def _writable(hub: HubState, request: HubRequest) -> HubCollection:
    collection, user = _readable(hub, request), need_user(request)
    if not hub.accounts.may_write(user, collection.namespace):
        raise Refusal(403, message="You don't have the rights to change this collection")
    return collection


def _item(hub: HubState, request: HubRequest) -> tuple[HubCollection, CollectionEntry]:
    collection = _writable(hub, request)
    entry = next((entry for entry in collection.items if entry.key == request.captured["item"]), None)
    if entry is None:
        raise Refusal(404, message="Item not found")
    return collection, entry


def _item_exists(hub: HubState, request: HubRequest, kind: str, name: str) -> bool:
    """Return whether the asker can read an item; of what this Hub does not keep, anything is taken."""
    if kind in ("model", "dataset"):
        repository = hub.repositories.find(kind, name)
        return repository is not None and hub.may_read(request.user, repository)
    return True


def _shown(hub: HubState, request: HubRequest, collection: HubCollection, most: int = MOST_ITEMS) -> dict[str, Any]:
    entries = [entry for entry in collection.items if _item_exists(hub, request, entry.kind, entry.item)]
    items = [
        {
            "_id": entry.key,
            "id": entry.item,
            "type": entry.kind,
            "position": position,
            **({"note": {"text": entry.note, "html": ""}} if entry.note else {}),
            **({"slug": entry.item} if entry.kind == "collection" else {}),
        }
        for position, entry in enumerate(entries[:most])
    ]
    return {
        "slug": collection.slug,
        "title": collection.title,
        "description": collection.description,
        "owner": {"name": collection.namespace, "type": "org" if hub.accounts.is_org(collection.namespace) else "user"},
        "items": items,
        "lastUpdated": collection.updated_at,
        "position": 0,
        "private": collection.private,
        "theme": collection.theme,
        "upvotes": 0,
    }


_COLLECTION = "api/collections/{namespace}/{slug}"
ROUTES = (
    HubRoute("GET", "api/collections", list_collections),
    HubRoute("POST", "api/collections", create),
    HubRoute("GET", _COLLECTION, show),
    HubRoute("PATCH", _COLLECTION, change),
    HubRoute("DELETE", _COLLECTION, delete),
    HubRoute("POST", f"{_COLLECTION}/items", add_item),
    HubRoute("PATCH", f"{_COLLECTION}/items/{{item}}", change_item),
    HubRoute("DELETE", f"{_COLLECTION}/items/{{item}}", delete_item),
)
