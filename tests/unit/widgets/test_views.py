"""Tables that hold what is looked at, and a plane of points, without a page."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import ConfigError
from symbio_lab.widgets.views.scatter import COLOURS, MAX_GROUPS, ScatterView
from symbio_lab.widgets.views.table import MAX_TEXT, PAGE, TableColumn, TableEntry, TableView


def made(num: int, *, multiple: bool = True) -> TableView:
    view = TableView([TableColumn("name", "name"), TableColumn("size", "size", number=True)], multiple=multiple)
    view.show([TableEntry(f"r{i}", (f"row {i}", str(i)), (f"row {i}", i)) for i in range(num)], f"{num} rows")
    return view


def asked(view: TableView, monkeypatch: pytest.MonkeyPatch, **content: Any) -> list[Any]:
    sent: list[Any] = []
    monkeypatch.setattr(view, "send", sent.append)
    view._answer(None, content, None)
    return sent


def test_a_saved_table_holds_one_page_however_long_it_is() -> None:
    short, long = made(PAGE), made(100_000)
    assert len(long.first_page) == PAGE
    assert long.num_rows == 100_000
    sizes = [len(json.dumps(view.get_state(["first_page", "columns", "chosen"]))) for view in (short, long)]
    assert sizes[0] == sizes[1]


def test_pages_come_by_message_and_only_of_the_rows_shown_now(monkeypatch: pytest.MonkeyPatch) -> None:
    view = made(500)
    (page,) = asked(view, monkeypatch, kind="page", start=450, stop=500, version=view.version)
    assert [row["id"] for row in page["rows"]] == [f"r{i}" for i in range(450, 500)]
    assert asked(view, monkeypatch, kind="page", start=450, version=view.version - 1) == []
    assert asked(view, monkeypatch, kind="page", start="0", version=view.version) == []
    (tail,) = asked(view, monkeypatch, kind="page", start=10_000, version=view.version)
    assert tail["rows"] == []


def test_sorting_keeps_the_choice_and_tells_numbers_from_words() -> None:
    view = made(12)
    view.chosen = ["r10"]
    view.sort = ["size", "down"]
    assert [row.row_id for row in view.entries][:3] == ["r11", "r10", "r9"]
    view.sort = ["name", "up"]
    assert [row.row_id for row in view.entries][:3] == ["r0", "r1", "r10"]
    assert view.chosen == ["r10"]
    view.sort = ["nobody", "up"]
    assert [row.row_id for row in view.entries][:3] == ["r0", "r1", "r10"]


def test_rows_that_are_gone_are_not_chosen() -> None:
    view = made(5)
    view.chosen = ["r1", "r4"]
    view.show(list(view.entries)[:3])
    assert view.chosen == ["r1"]


def test_a_range_is_chosen_in_the_order_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    view = made(100)
    view.sort = ["size", "down"]
    view.chosen = ["r50"]
    ends = {"kind": "range", "from": "r50", "to": "r47", "version": view.version}
    asked(view, monkeypatch, **ends)
    assert view.chosen == ["r50", "r49", "r48", "r47"]
    asked(view, monkeypatch, **{**ends, "to": "nobody"})
    assert len(view.chosen) == 4
    single = made(9, multiple=False)
    asked(single, monkeypatch, **{**ends, "from": "r1", "to": "r3", "version": single.version})
    assert single.chosen == []


def test_long_texts_are_cut_for_the_page_only() -> None:
    view = TableView([TableColumn("text", "text")])
    view.show([TableEntry("a", ("x" * 10_000,))])
    assert len(view.first_page[0]["cells"][0]) == MAX_TEXT
    assert len(view.entries[0].cells[0]) == 10_000


def test_ten_thousand_points_are_small_and_keep_their_places() -> None:
    view, draw = ScatterView(), np.random.default_rng(0)
    places = draw.normal(size=(10_000, 2)) * [3.0, 0.01]
    view.show(places, draw.integers(0, 3, 10_000).tolist(), ["a", "b", "c"])
    assert len(view.points) + len(view.groups) < 70_000
    steps = np.frombuffer(base64.b64decode(view.points), dtype="<u2").reshape(-1, 2).astype(float)
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    assert np.abs(steps / 65_535 * span + low - places).max(axis=0) == pytest.approx([0, 0], abs=span.max() / 65_535)
    assert [entry["colour"] for entry in view.legend] == list(COLOURS[:3])


@pytest.mark.parametrize(
    ("places", "groups", "titles", "problem"),
    [
        (np.zeros((2, 2)), [0], ["a"], "2 points, 1 groups"),
        (np.array([[0.0, np.nan]]), [0], ["a"], "finite"),
        (np.zeros((1, 2)), [1], ["a"], "no title"),
        (np.zeros((1, 2)), [0], [str(i) for i in range(MAX_GROUPS + 1)], "at most"),
    ],
)
def test_points_that_do_not_fit_are_refused(places: Any, groups: Any, titles: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ScatterView().show(places, groups, titles)


def test_no_point_and_one_point_can_be_shown() -> None:
    view = ScatterView()
    view.show(np.zeros((0, 2)), [], ["a"])
    assert view.points == ""
    view.show(np.array([[5.0, 5.0]]), [0], ["a"])
    assert view.version == 2
