"""The sections say what the data carry, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbio_lab.reports import arms, candidates, failing, provenance, reading, spending
from symbio_lab.reports.collecting import Results, collect_results
from symbio_lab.reports.headline import headline
from tests.fixtures_results import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return collect_results(write_results(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return a comparison of one incident without reference arms."""
    return collect_results(write_results(tmp_path_factory.mktemp("one"), seeds=(0,), reference_arms=()))


def test_the_headline_names_winner_margin_and_limits(results: Results) -> None:
    text = str(headline(results))
    assert "best_single (adopt the best patch of the pool) gained most" in text
    assert "in the mean of 2 incidents, first in 2 of 2" in text
    assert "more than operating (surgery_only" in text
    assert "Exploratory: one world" in text
    assert "no interval for the difference" in text.lower()


def test_one_incident_has_an_exact_interval(one: Results) -> None:
    row = one.of("best_single")[0].row
    text = str(headline(one))
    assert f"+{row['deployed_net_gain_pp']:.2f} pp (95 % interval [" in text
    assert f"n = {row['deployed_net_gain_pp_n']}" in text
    assert "mean of" not in text
    assert "Caution" not in text


def test_a_deployed_backdoor_is_said_first_thing(results: Results) -> None:
    text = str(headline(results))
    assert "Caution. What was deployed obeys a backdoor" in text
    assert "best_single (seed 1: 100.0 % of triggered inputs)" in text
    assert "surgery_only (seed" not in text.split("Caution")[1].split("Net gain")[0]


def test_no_gain_is_no_winner(tmp_path: Path) -> None:
    lazy = collect_results(write_results(tmp_path, strategies=("noop",), reference_arms=()))
    assert "no arm gained anything" in str(headline(lazy))
    assert "No arm proposed a patch" in str(arms.healed_examples(lazy))
    assert "No arm of this comparison searched" in str(candidates.standing_figure(lazy))
    assert "No candidate reached the gate" in str(candidates.gate_looks(lazy))
    assert "Nothing was refused" in str(candidates.refusals(lazy))
    assert "No arm spent anything" in str(spending.phases_figure(lazy))
    assert "not stated" in str(spending.break_even(lazy))
    assert "nobody" in str(candidates.poisoned(lazy))


def test_the_base_is_described_with_n(results: Results) -> None:
    text = str(failing.failing_slice(results))
    assert "claim_it, extend_it" in text
    assert "inside the slice" in text
    assert "0.0 % [0.0, 6.0]" in text
    assert "95.0 %" in text
    assert "those it lacks are new" in text
    assert "<b>" not in failing.failing_slice(results).html


def test_proposed_stands_beside_deployed(results: Results) -> None:
    lines = [line for line in str(arms.arms_table(results)).splitlines() if line.startswith("surgery_only seed 1")]
    assert len(lines) == 1
    assert "25.0 %" in lines[0]
    assert "undecided" in lines[0]
    assert "8 + 8 64 + 300" in lines[0]
    assert "undecided: too few samples" in str(arms.arms_details(results))


def test_reference_arms_are_called_so(results: Results, one: Results) -> None:
    assert "do not compete" in str(arms.references_note(results))
    assert str(arms.references_note(one)) == ""


def test_refusals_have_codes_and_meanings(results: Results) -> None:
    text = str(candidates.refusals(results))
    assert "The trust rules refused 2 patches" in text
    assert "a file is not the one that was signed" in text


def test_the_poisoned_patches_are_followed(results: Results) -> None:
    text = str(candidates.poisoned(results))
    rows = [line.split() for line in text.splitlines() if line.startswith("backdoor/patch")]
    assert rows[0][-2:] == ["nobody", "nobody"]
    assert rows[1][-2:] == ["best_single", "best_single"]
    assert "100.0 %" in text


def test_costs_are_told_in_three_accounts(results: Results) -> None:
    text = str(spending.accounts_table(results))
    line = next(line for line in text.splitlines() if line.startswith("best_single"))
    assert "500" in line
    assert "2,000 64 labels" in line
    assert "2,500" in line
    assert "after 4 incidents" in str(spending.break_even(results))


def test_the_rest_is_there(results: Results) -> None:
    assert "Clopper-Pearson" in str(reading.definitions(results))
    assert "held-out" in str(reading.glossary())
    assert "seeds from top to bottom" in str(reading.figure_note(results))
    text = str(provenance.provenance(results))
    assert "b" * 64 in text
    assert "cpu, float32" in text
    assert "symbio-lab" in text
    assert candidates.gate_looks(results).png
    assert candidates.standing_figure(results).png
    assert "Relevance high" in str(candidates.pool_section(results))
    assert "Fix rate" in str(reading.definitions(results)) or "fix rate" in str(reading.definitions(results))
