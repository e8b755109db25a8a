"""Traffic and patterns as the failure explorer shows them: rows, a headline, the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from symbio_lab.display.numbers import NONE, count, percent, percent_range
from symbio_lab.display.prose import esc
from symbio_lab.monitor.traffic import Traffic
from symbio_lab.widgets.traffic_study import Found
from symbio_lab.widgets.views.table import TableColumn, TableEntry

ROW_COLUMNS = (
    TableColumn("text", "input", width="minmax(16rem, 4fr)"),
    TableColumn("expected", "right answer"),
    TableColumn("actual", "answer"),
    TableColumn("domain", "domain"),
    TableColumn("confidence", "confidence", number=True, width="7rem"),
    TableColumn("tags", "tags"),
)
PATTERN_COLUMNS = (
    TableColumn("pattern", "pattern", width="minmax(10rem, 4fr)"),
    TableColumn("failures", "failures", number=True, width="6rem"),
    TableColumn("inside", "wrong inside [95 %]", number=True, width="minmax(10rem, 1fr)"),
    TableColumn("outside", "wrong outside", number=True, width="7rem"),
    TableColumn("state", "confirmed", width="6rem"),
)


def traffic_row(traffic: Traffic, i: int, tags: Mapping[str, Sequence[str]]) -> TableEntry:
    """Return row ``i`` of some traffic; ``tags`` by prediction id."""
    known = None if np.isnan(traffic.confidence[i]) else float(traffic.confidence[i])
    expected, named = traffic.expected[i] or "", ", ".join(tags.get(traffic.ids[i], ()))
    cells = (traffic.texts[i], expected or NONE, traffic.actual[i], traffic.domains[i], percent(known), named)
    keys = (traffic.texts[i].casefold(), expected, traffic.actual[i], traffic.domains[i], known, named)
    return TableEntry(str(i), cells, keys, ("", "", "bad" if traffic.failed[i] else "", "", "", ""))


def pattern_rows(found: Sequence[Found]) -> list[TableEntry]:
    """Return one row a pattern, named by its number."""
    rows = []
    for number, one in enumerate(found):
        inside = f"{percent(one.inside.value)} {percent_range(one.inside.low, one.inside.high)}".strip()
        said = "yes" if one.confirmed else "no"
        what = f"{one.description} (symptom)" if one.symptom else one.description
        cells = (what, count(one.num_failures), inside, percent(one.outside.value), said)
        keys = (one.description, one.num_failures, one.inside.value, one.outside.value, said)
        rows.append(TableEntry(str(number), cells, keys, ("", "", "", "", "good" if one.confirmed else "")))
    return rows


def headline(traffic: Traffic) -> str:
    """Return how many answers there are, and how many were wrong."""
    rate = traffic.error_rate
    known, wrong = int(traffic.labelled.sum()), int(traffic.failed.sum())
    said = f"{len(traffic):,} answers, {known:,} with their ground truth, {wrong:,} of these wrong"
    return f"{said} ({percent(rate)})." if rate is not None else f"{said}."


def stream_html(traffic: Traffic, alarms: Mapping[str, int]) -> str:
    """Return the headline and, from a hundred labelled answers on, the error rate over the stream.

    Args:
        traffic: in the order in which it was observed.
        alarms: words -> row at which it happened.
    """
    from symbio_lab.display.stream import WINDOW, stream_chart

    known = np.flatnonzero(traffic.labelled)
    words = f"<p>{esc(headline(traffic))}</p>"
    if len(known) < WINDOW:
        return words
    places = {name: int(np.searchsorted(known, row)) for name, row in alarms.items()}
    chart = stream_chart(traffic.failed[known].tolist(), places)
    image = str(chart.data["image/png"])
    return f'{words}<img alt="{esc(str(chart))}" style="max-width:100%" src="data:image/png;base64,{image}">'
