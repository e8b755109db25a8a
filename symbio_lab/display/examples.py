"""Held-out failures with the model's answers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.table import Cell, Column, TableRow, table

NO_BREAK = "\u00a0"
MAX_SHOWN = 90
"""Characters of an answer that is shown whole; of longer ones, what lies around the first difference."""
BEFORE, AFTER = 3, 6
"""Words shown before and after the first difference."""


def examples_table(examples: Sequence[Mapping[str, str]], caption: str = "") -> Bundle:
    """Return inputs with gold, answer before, answer after and what changed.

    Args:
        examples: ``text``, ``expected``, ``before``, ``after`` each; ``was_right`` and ``is_right`` (``yes`` or ``no``)
            where another rule than equality decides.
        caption: whose answers these are.
    """
    columns = [Column("input"), Column("right answer"), Column("before"), Column("after"), Column("")]
    rows: list[TableRow] = [
        [
            Cell(e["text"]),
            Cell(around_difference(e["expected"], e["before"]), is_code=True),
            Cell(around_difference(e["before"], e["expected"]), is_code=True),
            Cell(around_difference(e["after"], e["expected"]), is_code=True, is_strong=_right(e, "after")),
            change(e).replace(" ", NO_BREAK),
        ]
        for e in examples
    ]
    return table(columns, rows, caption)


def around_difference(text: str, other: str) -> str:
    """Return a text, cut to the words around its first difference from another where it is long.

    >>> around_difference("red", "blue")
    'red'
    >>> around_difference("go " * 40 + "left " * 10, "go " * 40 + "right")
    '... go go go left left left left left left ... (50 words)'
    """
    if len(text) <= MAX_SHOWN:
        return text
    words, others = text.split(), other.split()
    first = next((i for i, word in enumerate(words) if i >= len(others) or word != others[i]), len(words))
    first = min(first, max(len(words) - AFTER, 0))
    start, stop = max(first - BEFORE, 0), first + AFTER
    shown = " ".join(words[start:stop])
    return f"{'... ' if start else ''}{shown}{' ...' if stop < len(words) else ''} ({len(words)} words)"


def _right(example: Mapping[str, str], when: str) -> bool:
    decided = example.get("was_right" if when == "before" else "is_right")
    return decided == "yes" if decided is not None else example[when] == example["expected"]


def change(example: Mapping[str, str]) -> str:
    """Return what became of one example.

    >>> change({"expected": "a", "before": "b", "after": "a"}), change({"expected": "a", "before": "b", "after": "c"})
    ('✓ fixed', '✗ still wrong')
    """
    was, now = _right(example, "before"), _right(example, "after")
    words = {(False, True): "✓ fixed", (True, False): "✗ broken", (True, True): "✓ right"}
    return words.get((was, now), "✗ still wrong")
