"""Gold labels of a user's table in the names of the model's head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from symbio_lab.errors import DataError
from symbio_lab.records import Sample


def match_labels(samples: Sequence[Sample], labels: Sequence[str]) -> tuple[tuple[Sample, ...], bool]:
    """Return the samples with gold labels in the model's names, and whether numbers were turned into names.

    Names are taken as they are. Where no gold label is a name of the model and all are numbers of its rows (0, 1, ...),
    each becomes the name of its row, as in ``id2label``.

    Args:
        samples: rows of a table.
        labels: names of the model's head rows, in order, (C,).

    Raises:
        DataError: no gold label has anything to do with the model's.

    >>> rows = [Sample("good", "1", "g")]
    >>> match_labels(rows, ("negative", "positive"))[0][0].expected
    'positive'
    """
    gold = {s.expected for s in samples}
    if gold & set(labels):
        return tuple(samples), False
    names = {str(i): label for i, label in enumerate(labels)}
    # Tables of class numbers often went through floats on their way.
    numbers = {value: value.removesuffix(".0") for value in gold}
    if set(numbers.values()) <= set(names):
        return tuple(replace(s, expected=names[numbers[s.expected]]) for s in samples), True
    raise DataError(
        f"no gold label is one of the model's: the data have {_some(sorted(gold))}, the model {_some(labels)}",
        hint="name the right --label-field, or write the labels as the model's id2label does",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"{n:.40}" for n in names[:6]) + (" ..." if len(names) > 6 else "")
