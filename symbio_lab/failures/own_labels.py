"""Gold labels of a user's table in the names of the model's head.

Rules:
    1. Labels that are names of the model are taken as they are; the others are new labels.
    2. Where none is a name and all are numbers of its rows (0, 1, ...), each becomes the name of its row.
    3. What could be either, or nearly is a name of the model, is an error: a guess would invent failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from symbio_lab.errors import UnknownLabelsError
from symbio_lab.records import Sample


def match_labels(samples: Sequence[Sample], labels: Sequence[str]) -> tuple[tuple[Sample, ...], bool]:
    """Return the samples with gold labels in the model's names, and whether numbers were turned into names.

    Args:
        samples: rows of a table.
        labels: names of the model's head rows, in the order of ``id2label``, (C,).

    Raises:
        UnknownLabelsError: no gold label has anything to do with the model's, or it is not clear which is meant; the
            message names both sides.

    >>> rows = [Sample("good", "1", "g")]
    >>> match_labels(rows, ("negative", "positive"))[0][0].expected
    'positive'
    """
    gold = {s.expected for s in samples}
    names = set(labels)
    if gold <= names:
        return tuple(samples), False
    # Tables of class numbers often went through floats on their way.
    written = {value: value.removesuffix(".0") for value in gold}
    if set(written.values()) <= names:
        return tuple(replace(s, expected=written[s.expected]) for s in samples), False
    rows = {str(i): label for i, label in enumerate(labels)}
    as_rows = set(written.values()) <= set(rows)
    if as_rows and not names & set(written.values()):
        return tuple(replace(s, expected=rows[written[s.expected]]) for s in samples), True
    unknown = sorted(gold - names)
    if as_rows:
        raise UnknownLabelsError(
            unknown,
            known=labels,
            hint="the gold labels could be names or row numbers; write them all as the model's id2label does",
        )
    if not gold & names:
        raise UnknownLabelsError(
            unknown,
            known=labels,
            hint="name the right --label-field, or write the labels as the model's id2label does",
        )
    near = {_plain(name) for name in names}
    if doubtful := [v for v in unknown if _plain(v) in near or written[v] in rows]:
        raise UnknownLabelsError(
            doubtful, known=labels, hint="write each label as the model's id2label does, or give it a name of its own"
        )
    return tuple(samples), False


def _plain(name: str) -> str:
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())
