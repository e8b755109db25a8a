"""Results on stdout: JSON, lines and tables; plain and unwrapped when stdout is not a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """Print ``value`` as readable JSON; dataclasses become objects, paths become text.

    Raises:
        TypeError: the value holds something else that JSON lacks.
        ValueError: the value holds NaN.
    """
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: drawn on a terminal, else aligned text with one line a row."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Column, Table

        # Folded, never cut: half a digest is none.
        table = Table(*(Column(name, overflow="fold") for name in columns))
        for row in texts:
            # Patch names and reasons come from strangers: they are text, never markup.
            table.add_row(*row)
        Console(markup=False, highlight=False, emoji=False).print(table)
        return
    for line in aligned([list(columns), *texts]):
        print(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns stand below each other.

    >>> aligned([["a", "bc"], ["def", ""]])
    ['a    bc', 'def']
    """
    flat = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max((len(row[i]) for row in flat), default=0) for i in range(max(map(len, flat), default=0))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths[: len(row)], strict=True)).rstrip()
        for row in flat
    ]


def interval_text(value: float | None, low: float | None, high: float | None, *, digits: int = 2) -> str:
    """Return a figure with its bounds.

    >>> interval_text(0.5, 0.25, 0.75), interval_text(None, None, None)
    ('0.50 [0.25, 0.75]', '-')
    """
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def number_text(value: float | None, digits: int = 0) -> str:
    """Return a number for reading.

    >>> number_text(4840.2), number_text(None)
    ('4,840', '-')
    """
    return "-" if value is None else f"{value:,.{digits}f}"
