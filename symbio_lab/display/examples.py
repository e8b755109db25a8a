"""Held-out failures with the model's answers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.table import Cell, Column, TableRow, table

NO_BREAK = "\u00a0"


def examples_table(examples: Sequence[Mapping[str, str]], caption: str = "") -> Bundle:
    """Return inputs with gold, answer before, answer after and what changed.

    Args:
        examples: ``text``, ``expected``, ``before``, ``after`` each.
        caption: whose answers these are.
    """
    columns = [Column("input"), Column("right answer"), Column("before"), Column("after"), Column("")]
    rows: list[TableRow] = [
        [
            Cell(e["text"]),
            Cell(e["expected"], is_code=True),
            Cell(e["before"], is_code=True),
            Cell(e["after"], is_code=True, is_strong=e["after"] == e["expected"]),
            change(e).replace(" ", NO_BREAK),
        ]
        for e in examples
    ]
    return table(columns, rows, caption)


def change(example: Mapping[str, str]) -> str:
    """Return what became of one example.

    >>> change({"expected": "a", "before": "b", "after": "a"}), change({"expected": "a", "before": "b", "after": "c"})
    ('✓ fixed', '✗ still wrong')
    """
    was, now = (example[key] == example["expected"] for key in ("before", "after"))
    words = {(False, True): "✓ fixed", (True, False): "✗ broken", (True, True): "✓ right"}
    return words.get((was, now), "✗ still wrong")
