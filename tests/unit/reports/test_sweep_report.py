"""The report of a sweep with known answers: its figures are those, and nothing is claimed from too few."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import MIME, SCALE, SCHEMA, arm_scales, chart_bundle
from symbio_lab.errors import DataError, NotFoundError
from symbio_lab.reports.sweep import (
    crossover,
    families,
    forest,
    headline,
    healing_time,
    pareto,
    profiles,
    ranking,
    tables,
)
from symbio_lab.reports.sweep.contrasts import registered_contrasts
from symbio_lab.reports.sweep.differing import arm_differences, sweep_difference, write_difference
from symbio_lab.reports.sweep.results import SweepResults, collect_sweep
from tests.fixtures_sweep import ADVANTAGE, SIZES, made_rows, write_experiment

WHERE = {"pool": ["high"]}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    return collect_sweep(write_experiment(tmp_path_factory.mktemp("made") / "experiment"))


def test_registered_contrasts_are_what_was_put_in(results: SweepResults) -> None:
    contrasts = {c.stratum["n_repair"]: c for c in registered_contrasts(results)}
    assert set(contrasts) == set(SIZES)
    for size, contrast in contrasts.items():
        assert contrast.mean.value == pytest.approx(ADVANTAGE[size])
        assert contrast.counts == ((10, 0, 0) if ADVANTAGE[size] > 0 else (0, 0, 10))
        # Ten differences of one sign: two of 2 ** 10 sign patterns; three tests, corrected together.
        assert contrast.p == pytest.approx(2 / 2**10)
        assert contrast.p_adjusted == pytest.approx(3 * 2 / 2**10)
        assert not contrast.is_exploratory


def test_the_headline_says_who_gains_more(results: SweepResults) -> None:
    text = str(headline.registered(results))
    assert "best_single against surgery_only:\nat 4 failures: +3.00 pp" in text
    assert "best_single gains more (p = 0.0059 after correction)" in text
    assert "surgery_only gains more" in text
    assert "xploratory" not in text


def test_what_no_test_shows_is_not_called_equal(results: SweepResults, tmp_path: Path) -> None:
    """Equal within a tenth of a point: said so. Widely spread around nothing: how many incidents would be needed."""
    shown = {c.stratum["n_repair"]: c for c in registered_contrasts(results)}
    assert all(c.practical is not None and c.blocks_needed is None for c in shown.values())
    assert shown[4].practical is not None
    assert shown[4].practical.first_better > 0.99
    rng = np.random.default_rng(0)
    for spread, needed in ((0.05, False), (3.0, True)):
        rows = made_rows()
        noise = rng.normal(0, spread, len(rows))
        surgery = rows.loc[rows["strategy"] == "surgery_only", ["run_key", "deployed_net_gain_pp"]]
        base = rows["run_key"].map(surgery.set_index("run_key")["deployed_net_gain_pp"])
        rows["deployed_net_gain_pp"] = base + noise * (rows["strategy"] == "best_single")
        found = collect_sweep(write_experiment(tmp_path / str(spread), rows))
        contrasts = registered_contrasts(found)
        assert all(c.practical is not None and c.p_adjusted is not None and c.p_adjusted > 0.05 for c in contrasts)
        text = str(headline.registered(found))
        assert "No difference is shown" in text
        assert ("incidents would be needed" in text) is needed
        assert [c.blocks_needed for c in contrasts if c.blocks_needed and c.blocks_needed > 30] != [] or not needed


def test_profiles_and_aggregates_are_what_was_put_in(results: SweepResults) -> None:
    text = str(profiles.profiles_figure(results, WHERE))
    assert "4 failures, best_single: 10 of 10 gain, interquartile mean +4.45 pp" in text
    rows = str(profiles.aggregates_table(results, WHERE)).splitlines()
    best = [line for line in rows if "best_single" in line]
    assert len(best) == len(SIZES)
    assert "100.0 %" in best[0]
    assert "0.0 %" in best[2]
    assert "+4.00 pp, +4.90 pp" in best[0]


def test_a_family_of_many_incidents_is_seen(results: SweepResults, tmp_path: Path) -> None:
    """Eight incidents of one family lose, two of another win by far: the mean alone would not say so."""
    assert "one family of worlds" not in str(families.families_table(results))
    rows = made_rows()
    number = rows["scenario"].str.removeprefix("world-").astype(int)
    gains = np.where(number < 8, -1.0, 9.0) * (rows["strategy"] == "best_single")
    rows["deployed_net_gain_pp"] = gains
    rows["scenario"] = np.where(number < 8, "many/", "few/") + number.astype(str)
    folder = write_experiment(tmp_path / "families", rows, contrasts_where={"pool": ["high"]})
    found = collect_sweep(folder)
    contrast = registered_contrasts(found)[0]
    assert families.family_means(contrast) == {"few": (9.0, 2), "many": (-1.0, 8)}
    assert families.without_each_family(contrast) == (-1.0, 9.0)
    text = str(families.families_table(found))
    assert "+4.00 pp" in text
    assert contrast.mean.value == pytest.approx(1.0)
    rows["scenario"] = "many/" + number.astype(str)
    one = collect_sweep(write_experiment(tmp_path / "one", rows))
    assert families.without_each_family(registered_contrasts(one)[0]) is None
    assert "one family of worlds" in str(families.families_table(one))


def test_few_incidents_are_exploratory(tmp_path: Path) -> None:
    few = collect_sweep(write_experiment(tmp_path / "few", made_rows(7)))
    for contrast in registered_contrasts(few):
        assert (contrast.p, contrast.p_adjusted, contrast.mean.low, contrast.mean.n) == (None, None, None, 7)
        assert contrast.is_exploratory
    text = str(headline.registered(few))
    assert "Exploratory: fewer than 8 incidents" in text
    assert not re.search(r"p = [0-9]", text)


def test_without_registered_contrasts_everything_is_exploratory(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path / "none", contrasts=[], contrasts_within=[], contrasts_where={})
    text = str(headline.registered(collect_sweep(folder)))
    assert "everything in this report is exploratory" in text
    assert "p =" not in text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    rows = made_rows()
    short = collect_sweep(write_experiment(tmp_path / "short", rows[rows["run_key"] != "3-high-16"]))
    assert "1 run of 60 have no results yet" in str(headline.asked(short))
    contrasts = registered_contrasts(short)
    assert {c.stratum["n_repair"]: len(c.differences) for c in contrasts} == {4: 10, 16: 9, 64: 10}
    # Holm's family is not whole: nothing is tested, though nine and ten incidents would be enough; intervals stay.
    assert {(c.p, c.p_adjusted, c.practical, c.blocks_needed) for c in contrasts} == {(None, None, None, None)}
    assert all(c.mean.low is not None for c in contrasts)
    text = str(headline.registered(short))
    assert "Not tested: 9 of 10 incidents are in." in text
    assert text.count("Not tested: other registered contrasts lack incidents.") == 2
    assert "nothing is tested yet" in text
    gone = collect_sweep(write_experiment(tmp_path / "gone", rows[rows["n_repair"] != 16]))
    assert all(c.p is None for c in registered_contrasts(gone))


def test_seeds_of_an_incident_are_averaged_first(tmp_path: Path) -> None:
    """Two more seeds of one incident leave n as it was, and its weight too."""
    rows = made_rows()
    more = rows[rows["scenario"] == "world-0"]
    again = [more.assign(seed=s, deployed_net_gain_pp=more["deployed_net_gain_pp"] * (1 + s)) for s in (1, 2)]
    import pandas as pd

    found = collect_sweep(write_experiment(tmp_path / "seeds", pd.concat([rows, *again], ignore_index=True)))
    contrast = next(c for c in registered_contrasts(found) if c.stratum["n_repair"] == 4)
    assert len(contrast.differences) == 10
    assert contrast.differences["world-0"] == pytest.approx(np.mean([3.0, 6.0, 9.0]))


def test_crossover_points_are_means_with_intervals(results: SweepResults) -> None:
    points = crossover.crossover_points(results, ["surgery_only"], "deployed_net_gain_pp")
    assert [p["value"] for p in points] == pytest.approx([1.45] * len(points))
    assert all(p["low"] < 1.45 < p["high"] and p["incidents"] == 10 for p in points)


def test_pareto_front_and_forest_rows(results: SweepResults) -> None:
    rows = forest.forest_rows(results, "best_single", "surgery_only", WHERE, SIZES)
    at4 = {r["incident"]: r for r in rows if r["panel"] == "4 failures"}
    assert at4["world-3"]["value"] == pytest.approx(3.0)
    # Two intervals of 0.4 to each side, as if independent.
    assert at4["world-3"]["high"] - 3.0 == pytest.approx(0.4 * 2**0.5)
    assert at4[forest.POOLED]["value"] == pytest.approx(3.0)
    assert "not beaten on both: best_single" in str(pareto.pareto_figure(results, WHERE))


def test_ranks_and_groups(results: SweepResults) -> None:
    found = ranking.rank_arms(results, WHERE)
    assert found is not None
    assert found.mean_ranks == {"noop": 4.0, "best_single": 1.0, "surgery_only": 2.0, "null_pool": 3.0}
    assert "Critical difference 1.48" in str(ranking.ranking_figure(results, WHERE))


def test_half_is_healed_when_half_is(results: SweepResults) -> None:
    found = healing_time.curves(results, WHERE)
    # Ten runs at 5,000 to 5,900 forwards-equivalent, all healed.
    assert healing_time.median_time(found[16, "best_single"]) == 5400.0
    assert found[16, "best_single"].unhealed[-1] == 0.0


def test_tables_hold_shares_with_exact_intervals(results: SweepResults) -> None:
    text = str(tables.arms_table(results, "high"))
    assert "10 of 10" in text
    assert "[69.2, 100.0]" in text
    assert "5.5k" in str(tables.costs_table(results, WHERE))
    assert "+9.00 pp" in str(tables.worlds_table(results))


def test_every_figure_is_data_an_image_and_words(results: SweepResults) -> None:
    figures = [
        crossover.crossover_figure(results),
        forest.forest_figure(results, "best_single", "surgery_only", WHERE),
        pareto.pareto_figure(results, WHERE),
        ranking.ranking_figure(results, WHERE),
        healing_time.healing_time_figure(results, WHERE),
        profiles.profiles_figure(results, WHERE),
    ]
    for figure in figures:
        assert figure.data[MIME]["$schema"] == SCHEMA
        assert figure.png.startswith(b"\x89PNG")
        assert re.search(r"\d", str(figure))
        assert figure.metadata["image/png"]["alt"] == str(figure)
        addresses = set(re.findall(r"https?://[^\"' ]+", repr(figure.data[MIME])))
        assert addresses == {SCHEMA}


def test_a_figure_is_valid_in_a_notebook(results: SweepResults) -> None:
    import nbformat

    bundle: Bundle = crossover.crossover_figure(results)
    data, metadata = bundle._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))


def test_equal_figures_are_equal_bytes() -> None:
    spec = {"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x", "type": "quantitative"}}}
    assert chart_bundle(spec, "one").png == chart_bundle(spec, "one").png


def test_packing_changes_no_pixel() -> None:
    import io

    import vl_convert
    from PIL import Image, ImageChops

    points = [{"x": n, "y": n * n % 7} for n in range(40)]
    encoding = {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}}
    bundle = chart_bundle({"data": {"values": points}, "mark": "line", "encoding": encoding}, "a line")
    drawn = vl_convert.vegalite_to_png(bundle.data[MIME], vl_version="5.21", scale=SCALE)
    packed, raw = (Image.open(io.BytesIO(data)).convert("RGB") for data in (bundle.png, drawn))
    assert ImageChops.difference(packed, raw).getbbox() is None
    assert len(bundle.png) < len(drawn) / 2


def test_unknown_arms_have_marks_too() -> None:
    scales = arm_scales(["best_single", "mine", "yours"])
    assert len(set(zip(*(scales[c]["range"] for c in ("color", "shape")), strict=True))) == 3


def test_rows_of_something_else_are_refused(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path / "other", made_rows().drop(columns=["strategy"]))
    with pytest.raises(DataError, match="no column strategy"):
        collect_sweep(folder)
    with pytest.raises(NotFoundError, match="no sweep"):
        collect_sweep(tmp_path)


def changed(results: SweepResults, tmp_path: Path, **columns: Any) -> SweepResults:
    rows = made_rows()
    for name, change in columns.items():
        rows[name] = change(rows)
    return collect_sweep(write_experiment(tmp_path / "changed", rows))


def test_equal_sweeps_differ_in_times_only(results: SweepResults, tmp_path: Path) -> None:
    other = changed(results, tmp_path, cost_wall_s=lambda rows: rows["cost_wall_s"] * 2)
    found = sweep_difference(results, other)
    assert (found.differing, found.num_only_first, found.num_only_second) == ({}, 0, 0)
    assert len(found.joined) == 240
    page = write_difference(results.rows.folder, other.rows.folder, tmp_path / "compare.html").read_text()
    assert "Every figure but times is equal" in page
    assert "largest differences first" not in page
    assert ">nan" not in page


def test_differences_are_counted_and_measured(results: SweepResults, tmp_path: Path) -> None:
    other = changed(
        results,
        tmp_path,
        deployed_net_gain_pp=lambda r: r["deployed_net_gain_pp"] + 0.5 * (r["strategy"] == "best_single"),
    )
    found = sweep_difference(results, other)
    assert found.differing == {"deployed_net_gain_pp": 60}
    by_arm = arm_differences(found)
    assert by_arm["best_single"].value == pytest.approx(0.5)
    assert by_arm["surgery_only"].value == 0.0
    page = write_difference(results.rows.folder, other.rows.folder, tmp_path / "compare.html").read_text()
    assert "+0.50 pp" in page
    assert not re.search(r"(src|href)=.https?:", page)
