"""A table of any length: the kernel keeps the rows, the page draws and holds those that are looked at.

Rules:
    1. Saved notebooks hold the first page (50 rows): a view without a kernel shows that much, and how much there is.
    2. Sorting is stable and done here; what is chosen is named by the id of its row, so that sorting keeps it.
    3. Cells are text. Nothing in them is read as HTML.

Example::

    view = TableView([TableColumn("patch", "patch"), TableColumn("score", "score", number=True)], label="candidates")
    view.show(rows)
    view.observe(lambda change: print(view.chosen), "chosen")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets

PAGE = 50
"""Rows sent at once; ``table.js`` has the same."""
MAX_TEXT = 300
"""Characters of a cell that are sent; whoever shows one row shows all of it."""
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column."""

    name: str
    """Key of ``sort``."""
    title: str
    number: bool = False
    """Set right."""
    width: str = ""
    """A CSS grid track, such as ``8rem`` or ``minmax(10rem, 3fr)``."""
    sortable: bool = True


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One row."""

    row_id: str
    """Unique within the table."""
    cells: tuple[str, ...]
    """Text, one a column."""
    keys: tuple[Any, ...] = ()
    """What each column sorts by; empty: the text. None goes last both ways."""
    tones: tuple[str, ...] = ()
    """``good``, ``bad`` or nothing, one a column."""


class TableView(anywidget.AnyWidget):
    """The table."""

    _esm = (_HERE / "table.js").read_text(encoding="utf-8")
    _css = (_HERE / "table.css").read_text(encoding="utf-8")
    columns: Any = traitlets.List().tag(sync=True)
    num_rows = traitlets.Int(0).tag(sync=True)
    first_page: Any = traitlets.List().tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    empty = traitlets.Unicode("nothing to show").tag(sync=True)
    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """Ids of the chosen rows, the newest choice last."""
    multiple = traitlets.Bool(False).tag(sync=True)
    sort = traitlets.List(["", "up"]).tag(sync=True)
    """Name of a column, and ``up`` or ``down``."""
    version = traitlets.Int(0).tag(sync=True)
    """Raised with each change of rows or order."""

    def __init__(
        self,
        columns: Sequence[TableColumn],
        *,
        caption: str = "",
        empty: str = "nothing to show",
        multiple: bool = False,
    ) -> None:
        """Make a table without rows.

        Args:
            columns: C columns.
            caption: what the rows are; it names the table to screen readers.
            empty: shown in place of no rows.
            multiple: whether more than one row may be chosen.
        """
        self._columns = tuple(columns)
        self._rows: list[TableEntry] = []
        self._place: dict[str, int] = {}
        super().__init__(
            columns=[
                {"name": c.name, "title": c.title, "number": c.number, "width": c.width, "sortable": c.sortable}
                for c in columns
            ],
            caption=caption,
            empty=empty,
            multiple=multiple,
        )
        self.on_msg(self._answer)
        self.observe(lambda _: self._arrange(), "sort")

    @property
    def entries(self) -> Sequence[TableEntry]:
        """The rows in the order shown."""
        return self._rows

    def show(self, rows: Sequence[TableEntry], caption: str | None = None) -> None:
        """Show these rows, in their order or in the one that was chosen; what is gone is no longer chosen."""
        self._rows = list(rows)
        known = {row.row_id for row in rows}
        with self.hold_sync():
            if caption is not None:
                self.caption = caption
            self._arrange()
            if any(row_id not in known for row_id in self.chosen):
                self.chosen = [row_id for row_id in self.chosen if row_id in known]

    def page(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return rows ``start`` to ``stop`` as the page draws them."""
        return [_plain(row) for row in self._rows[max(start, 0) : min(stop, start + PAGE)]]

    def _arrange(self) -> None:
        name, direction = (*self.sort, "up")[:2]
        index = next((i for i, column in enumerate(self._columns) if column.name == name), None)
        if index is not None:
            self._rows = ordered(self._rows, index, down=direction == "down")
        self._place = {row.row_id: i for i, row in enumerate(self._rows)}
        with self.hold_sync():
            self.num_rows = len(self._rows)
            self.first_page = self.page(0, PAGE)
            self.version += 1

    def _answer(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        # What a page asks for may be older than the rows, or made up.
        if content.get("version") != self.version:
            return
        if content.get("kind") == "page" and isinstance(content.get("start"), int):
            start = content["start"]
            self.send({"kind": "page", "start": start, "rows": self.page(start, start + PAGE), "version": self.version})
        elif content.get("kind") == "range" and self.multiple:
            ends = [self._place.get(str(content.get(end)), -1) for end in ("from", "to")]
            if min(ends) >= 0:
                between = [row.row_id for row in self._rows[min(ends) : max(ends) + 1]]
                self.chosen = list(dict.fromkeys([*self.chosen, *between]))


def ordered(rows: Sequence[TableEntry], column: int, *, down: bool = False) -> list[TableEntry]:
    """Return the rows sorted by one column; rows without a value go last both ways.

    >>> rows = [TableEntry("a", ("2",), (2,)), TableEntry("b", ("-",), (None,)), TableEntry("c", ("1",), (1,))]
    >>> [row.row_id for row in ordered(rows, 0)], [row.row_id for row in ordered(rows, 0, down=True)]
    (['c', 'a', 'b'], ['a', 'c', 'b'])
    """

    def key(row: TableEntry) -> Any:
        return row.keys[column] if row.keys else row.cells[column].casefold()

    known = sorted((row for row in rows if key(row) is not None), key=key, reverse=down)
    return [*known, *(row for row in rows if key(row) is None)]


def _plain(row: TableEntry) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": row.row_id,
        "cells": [text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…" for text in row.cells],
    }
    if any(row.tones):
        plain["tones"] = list(row.tones)
    return plain
