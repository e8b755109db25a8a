"""Bundles: what Jupyter is given, and that it needs nothing else."""

from __future__ import annotations

import struct

import pytest

from symbio_lab.display.bundles import Bundle, figure_bundle
from symbio_lab.display.numbers import NONE, count, num_bytes, percent, percent_range, pp, pp_range, seconds
from symbio_lab.display.palette import FAMILIES, FILLS, new_figure
from symbio_lab.display.prose import code, fold, prose, stack
from symbio_lab.display.table import Cell, Column, table

PNG = b"\x89PNG\r\n\x1a\n"


def made_figure() -> Bundle:
    figure, (axis,) = new_figure(3, 2)
    axis.plot([0, 1], [0, 1])
    return figure_bundle(figure, "a line that rises")


def test_a_figure_is_an_image_with_its_words() -> None:
    data, metadata = made_figure()._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"] == "a line that rises"
    png = made_figure().png
    assert png.startswith(PNG)
    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == (450, 300)


def test_equal_figures_are_equal_bytes() -> None:
    assert made_figure() == made_figure()


def test_figures_leave_no_global_state() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    made_figure()
    assert dict(matplotlib.rcParams) == before


def test_a_bundle_gives_only_what_is_asked_for() -> None:
    bundle = made_figure()
    assert set(bundle._repr_mimebundle_(include={"text/plain"})[0]) == {"text/plain"}
    assert set(bundle._repr_mimebundle_(exclude={"text/plain"})[0]) == {"image/png"}


def test_a_table_escapes_what_it_shows() -> None:
    shown = table([Column("<a>"), Column("n", number=True)], [["<script>", Cell("1", "x\n<y>")]], "a & b")
    assert "<script>" not in shown.html
    assert "&lt;script&gt;" in shown.html
    assert "x<br>&lt;y&gt;" in shown.html
    assert "a &amp; b" in shown.html
    assert str(shown).splitlines()[0] == "a & b"


def test_a_row_of_another_width_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"zip\(\)"):
        table([Column("a"), Column("b")], [["only one"]])


def test_prose_and_folds_have_plain_twins() -> None:
    folded = fold("More", [prose("It is " + code("a<b"), "", tone="warning"), prose()])
    assert folded.html.startswith("<details><summary>More</summary>")
    assert "<code>a&lt;b</code>" in folded.html
    assert "Caution. It is a<b" in str(folded)
    assert prose().html == stack(prose()).html == ""


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (percent(None), NONE),
        (percent(0.0), "0.0 %"),
        (percent_range(0.0, 0.0144), "[0.0, 1.4]"),
        (percent_range(None, 1.0), ""),
        (pp(-0.001), "0.00 pp"),
        (pp(-1.25), "−1.25 pp"),
        (pp_range(-0.5, 0.5), "[−0.50, +0.50]"),
        (count(1234567.4), "1,234,567"),
        (seconds(61.23), "61.2 s"),
        (num_bytes(999), "999 B"),
        (num_bytes(None), NONE),
    ],
)
def test_numbers_are_written_one_way(shown: str, text: str) -> None:
    assert shown == text


def test_nothing_rests_on_colour_alone() -> None:
    assert len({marker for _, marker in FAMILIES.values()}) == len(FAMILIES)
    assert len({hatch for _, hatch in FILLS}) == len(FILLS)
