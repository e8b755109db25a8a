"""Each figure and table is a function of plain rows and says in words what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbio_lab.display.accuracy import accuracy_figure
from symbio_lab.display.candidates import candidates_figure, candidates_table, refused_table, standings
from symbio_lab.display.costs import costs_figure, mean_phases
from symbio_lab.display.examples import examples_table
from symbio_lab.display.gate import gate_figure
from symbio_lab.display.pool import pool_table
from symbio_lab.display.progress import PlainProgress
from symbio_lab.display.strategies import strategies_figure
from symbio_lab.display.words import ARMS, verdict
from symbio_lab.errors import TRUST_CODES
from symbio_lab.events import CandidateRefused, GateDecided, PhaseStarted
from symbio_lab.healing.catalogue import STRATEGY_NAMES
from symbio_lab.reports.collecting import Results, collect_results
from symbio_lab.stats.intervals import to_interval
from tests.fixtures_results import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return collect_results(write_results(tmp_path_factory.mktemp("results")))


def test_the_forest_plot_tells_deployed_from_proposed(results: Results) -> None:
    shown = strategies_figure(results.ordered_rows())
    assert shown.png
    text = str(shown)
    assert "noop (seed 0): base stays" in text
    assert "surgery_only (seed 1): not deployed; candidate, fix rate 25.0 %" in text
    assert "best_single (seed 0): deployed, fix rate 66.7 %" in text


def test_standings_join_screening_and_gate(results: Results) -> None:
    found = {s.ref: s for s in standings(results.of("best_single")[0].attempts)}
    assert found["contributor-00/patch"].verdict == "chosen; accepted: both bounds clear their limits"
    assert found["noisy/patch"].verdict == "screened, not chosen"
    assert found["tampered/patch"].verdict == "refused: a file is not the one that was signed"
    (own,) = standings(results.of("surgery_only")[1].attempts)
    assert (own.ref, own.standing, own.score_pp) == ("prototype_rows", "undecided", 5.0)


def test_standings_put_the_best_first_and_what_did_not_run_last(results: Results) -> None:
    found = standings(results.of("best_single")[0].attempts)
    scores = [s.score_pp for s in found]
    assert scores == [7.5, 6.0, 1.0, 0.0, None, None]
    assert standings([]) == ()


def test_candidates_are_shown_with_codes(results: Results) -> None:
    found = standings(results.of("best_single")[0].attempts)
    assert "digest_mismatch" in candidates_table(found).html
    assert candidates_figure(found, "title").png
    assert candidates_figure(()).png


def test_the_same_refusal_is_shown_once(results: Results) -> None:
    attempts = [a for cell in results.cells for a in cell.attempts]
    shown = refused_table(attempts)
    assert shown.html.count("digest_mismatch") == 1
    assert "weights &lt;changed&gt;" in shown.html


def test_costs_are_means_by_phase(results: Results) -> None:
    phases = {"best_single": mean_phases([c.phases for c in results.of("best_single")])}
    assert phases["best_single"]["screen"]["forwards_equivalent"] == 400
    assert "screen candidates 400 (2.0 s)" in str(costs_figure(phases))


def test_the_gate_shows_bounds_and_limits(results: Results) -> None:
    attempt = results.of("surgery_only")[1].attempts[-1]
    shown = gate_figure([("surgery_only", attempt)], min_fix_rate=0.1, max_negative_flip_rate=0.05)
    assert "surgery_only: undecided, fix rate at least 0.0 %, flips at most 3.0 %" in str(shown)


def test_examples_say_what_changed(results: Results) -> None:
    shown = examples_table(results.of("best_single")[0].examples, "answers")
    assert "✓\u00a0fixed" in shown.html
    assert "&lt;please&gt;" in shown.html


def test_the_pool_lists_the_most_useful_patch_first(results: Results) -> None:
    lines = str(pool_table(results.world["pool"]["contributors"])).splitlines()
    assert lines[1].startswith("contributor-00/patch")


def test_accuracy_leaves_out_what_has_no_samples() -> None:
    shown = accuracy_figure([("a", to_interval(1, 4), True), ("b", to_interval(0, 0), False)])
    assert "a: 25.0 %" in str(shown)
    assert "b: –" in str(shown)


def test_every_arm_and_every_refusal_has_words() -> None:
    assert set(STRATEGY_NAMES) <= set(ARMS)
    assert all(verdict(code) and ";" not in verdict(code) for code in TRUST_CODES)


def test_progress_is_lines() -> None:
    lines: list[str] = []
    listener = PlainProgress(lines.append)
    listener(PhaseStarted("search"))
    listener(CandidateRefused("a/b", "unsigned"))
    listener(GateDecided("a/b", "accept", 0.5, 0.3, 0.0, 0.01))
    assert lines == ["  refused a/b: unsigned", "  gate on a/b: accept (fixes at least 30.0 %, breaks at most 1.0 %)"]


def test_figures_of_the_same_rows_are_the_same(results: Results, tmp_path: Path) -> None:
    again = collect_results(write_results(tmp_path))
    assert strategies_figure(again.ordered_rows()) == strategies_figure(results.ordered_rows())
