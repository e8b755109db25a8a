"""The pool's contributors: what they knew, what their patches are worth here, what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import count, percent, pp
from symbio_lab.display.table import Column, TableRow, name, table


def pool_table(contributors: Sequence[Mapping[str, Any]], caption: str = "") -> Bundle:
    """Return one row a contributor, the most useful patch first.

    Args:
        contributors: ``ref``, ``topic``, ``coverage``, ``num_samples``, ``rank``, ``probe_fix_rate``,
            ``probe_net_gain_pp``, ``train_forwards_equivalent`` each.
        caption: which pool.
    """
    columns = [
        Column("patch"),
        Column("topic"),
        Column("of the slice known", number=True),
        Column("samples", number=True),
        Column("rank", number=True),
        Column("fixed on the probe", number=True),
        Column("net gain on the probe", number=True),
        Column("training cost", number=True),
    ]
    ordered = sorted(contributors, key=lambda c: (-c["probe_net_gain_pp"], c["ref"]))
    rows: list[TableRow] = [
        [
            name(c["ref"]),
            str(c["topic"]).replace("_", " "),
            percent(c["coverage"]),
            count(c["num_samples"]),
            count(c["rank"]),
            percent(c["probe_fix_rate"]),
            pp(c["probe_net_gain_pp"]),
            count(c["train_forwards_equivalent"]),
        ]
        for c in ordered
    ]
    return table(columns, rows, caption)
