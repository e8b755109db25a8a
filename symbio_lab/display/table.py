"""Tables as bundles: HTML with a caption and scoped headers, and aligned plain text.

Example:
    >>> print(table([Column("arm"), Column("gain", number=True)], [["noop", "0.00 pp"], ["lora", Cell("+1.00 pp")]]))
    arm      gain
    noop  0.00 pp
    lora +1.00 pp
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import esc


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    title: str
    number: bool = False
    """Right-aligned."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell with optional further lines in small print."""

    text: str
    small: str = ""
    is_code: bool = False
    """A name or digest, set as code."""
    is_strong: bool = False

    @property
    def html(self) -> str:
        """The cell's inner HTML."""
        text = esc(self.text)
        if self.is_code:
            text = f"<code>{text}</code>"
        if self.is_strong:
            text = f"<strong>{text}</strong>"
        small = "<br>".join(esc(line) for line in self.small.split("\n"))
        return text + (f"<br><small>{small}</small>" if small else "")

    @property
    def plain(self) -> str:
        """The cell on one line."""
        return " ".join(f"{self.text} {self.small}".split())


TableRow = list[Cell | str]
"""Cells of one row; plain text needs no ``Cell``."""


def name(text: object) -> Cell:
    """Return a cell for a name, a label or a digest."""
    return Cell(str(text), is_code=True)


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]], caption: str = "") -> Bundle:
    """Return a table.

    Args:
        columns: C columns; the first one names the rows.
        rows: C cells each.
        caption: what the table shows and how to read it.
    """
    cells = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows]
    head = "".join(f'<th scope="col"{_align(column)}>{esc(column.title)}</th>' for column in columns)
    body = "".join(f"<tr>{_row(columns, row)}</tr>" for row in cells)
    title = f"<caption><span>{esc(caption)}</span></caption>" if caption else ""
    markup = f'<div class="table"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return Bundle({"text/html": markup, "text/plain": _plain(columns, cells, caption)})


def _align(column: Column) -> str:
    return ' class="number" align="right"' if column.number else ' align="left"'


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    parts = []
    for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
        tag, scope = ("th", ' scope="row"') if index == 0 else ("td", "")
        parts.append(f"<{tag}{scope}{_align(column)}>{cell.html}</{tag}>")
    return "".join(parts)


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], caption: str) -> str:
    lines = [[c.title for c in columns], *([c.plain for c in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    text = "\n".join(
        " ".join(
            part.rjust(width) if column.number else part.ljust(width)
            for part, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    )
    return f"{caption}\n{text}" if caption else text
