"""The widgets without a page: what they show, what they refuse, what a reader without a kernel sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import ConfigError, DataError, EmptySliceError, NotFoundError, UnknownDatasetError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.records import FailurePattern, PredictionRecord
from symbio_lab.widgets import FailureExplorer, HealingBench, MarketplaceBrowser, StrategyComparison, TrustManager
from symbio_lab.widgets.bench_controls import OWN
from symbio_lab.widgets.bench_results import Standings
from symbio_lab.widgets.dashboard import Dashboard
from symbio_lab.widgets.panel import VIEW
from symbio_lab.widgets.traffic_study import embeddings_of, plane_of, read_traffic, study_folder
from tests.attacks.market_simulator import ALICE, NOW, standard_policy
from tests.fixtures_results import write_results
from tests.fixtures_sweep import write_experiment
from tests.unit.marketplace.catalogue_market import generated

MARKUP = "<img src=x onerror=alert(1)>"


def records(num: int = 60) -> list[PredictionRecord]:
    return [
        PredictionRecord(
            "m",
            "text_classification",
            f"{MARKUP if i == 0 else 'cover my device'} {i}",
            "other" if i % 3 == 0 else "warranty",
            "warranty",
            domain="warranty" if i % 2 else "billing",
            event_id=str(i),
        )
        for i in range(num)
    ]


def check_shared(widget: Any) -> str:
    """The bundle has the live view and something to read; nothing of it is markup from outside."""
    bundle = widget._repr_mimebundle_()
    assert {VIEW, "text/html", "text/plain"} <= set(bundle)
    assert MARKUP not in bundle["text/html"]
    json.dumps(bundle)
    html: str = bundle["text/html"]
    return html


def test_the_explorer_narrows_chooses_and_tags(tmp_path: Path) -> None:
    explorer = FailureExplorer.of_records(records(), out=tmp_path)
    assert explorer.rows.caption == "20 failures"
    explorer.only_failures.value = False
    explorer.domain.value = "billing"
    assert explorer.rows.caption == "30 answers"
    explorer.query.value = "DEVICE 12"
    assert [row.row_id for row in explorer.rows.entries] == ["12"]
    explorer.query.value = ""
    explorer.choose([0, 12])
    assert explorer.chosen == (0, 12)
    assert "rows=[0, 12]" in explorer.code()
    explorer.tag_chosen("odd")
    assert "odd" in check_shared(explorer)
    again = FailureExplorer.of_records(records(), out=tmp_path)
    assert again.tags == explorer.tags == {records()[i].prediction_id: ["odd"] for i in (0, 12)}
    again.choose([12])
    again.tag_chosen("odd")
    assert list(again.tags) == [records()[0].prediction_id]


def test_a_suite_needs_embeddings_a_choice_and_failures(tmp_path: Path) -> None:
    explorer = FailureExplorer.of_records(records(), out=tmp_path)
    with pytest.raises(DataError, match="not embedded"):
        explorer.make_suite("warranty", rows=[1])
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    np.save(explorer._folder / "embeddings.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    with pytest.raises(EmptySliceError, match="no row is chosen"):
        explorer.make_suite("warranty")
    rows = [i for i, record in enumerate(records()) if record.domain == "warranty"]
    made = explorer.make_suite("warranty", rows=rows)
    assert made.suite.task.repair
    assert {sample.domain for sample in made.suite.task.repair} == {"warranty"}


def test_a_study_keeps_its_traffic_and_refuses_damaged_embeddings(tmp_path: Path) -> None:
    traffic = FailureExplorer.of_records(records(), out=tmp_path).traffic
    folder = study_folder(tmp_path, traffic)
    again = read_traffic(folder)
    assert (again.ids, again.texts, again.failed.tolist()) == (traffic.ids, traffic.texts, traffic.failed.tolist())
    assert embeddings_of(folder, 60) is None
    (folder / "embeddings.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="cannot be read"):
        embeddings_of(folder, 60)
    np.save(folder / "embeddings.npy", np.zeros((3, 4)))
    with pytest.raises(DataError, match="not 60 rows"):
        embeddings_of(folder, 60)


def test_the_plane_is_that_of_principal_components() -> None:
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(0).normal(size=(50, 6)) * [9, 5, 1, 1, 1, 1]
    ours, theirs = plane_of(vectors), PCA(2).fit_transform(vectors)
    for axis in range(2):
        assert abs(np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1]) == pytest.approx(1.0)
        assert np.std(ours[:, axis]) == pytest.approx(np.std(theirs[:, axis]))


def test_the_bench_refuses_what_a_comparison_refuses(tmp_path: Path) -> None:
    with pytest.raises(UnknownDatasetError):
        HealingBench("nowhere", out=tmp_path)
    with pytest.raises(ConfigError, match="gate"):
        HealingBench("helpdesk", gate="none", out=tmp_path)
    bench = HealingBench("helpdesk", strategies=("noop",), out=tmp_path)
    bench.controls.arms["noop"].value = False
    bench.run()
    assert "no strategies given" in bench.status.text
    assert bench.code_box.code.startswith("#")
    bench.controls.arms["lora"].value = True
    compile(bench.code(), "code", "exec")
    bench.deploy()
    assert "no arm is chosen" in bench.status.text
    bench.contribute()
    assert "nothing is live" in bench.status.text
    assert "no arm has finished yet" in check_shared(bench)


def test_the_bench_says_what_is_missing_of_an_own_model(tmp_path: Path) -> None:
    bench = HealingBench("helpdesk", strategies=("noop",), out=tmp_path)
    assert bench.controls.own.box.layout.display == "none"
    bench.controls.scenario.value = OWN
    assert bench.controls.own.box.layout.display == "flex"
    assert bench.controls.pool.disabled
    bench.run()
    for missing in ("no model", "no table", "no slice"):
        assert missing in bench.status.text
    fields = bench.controls.own.fields
    fields["model"].value, fields["data"].value, fields["slice"].value = "org/base", "rows.csv", "topic"
    assert "COLUMN" not in bench.code_box.code
    assert "not FIELD=VALUE" in bench.code_box.code
    fields["slice"].value = "topic=a b"
    assert bench.plan.scenario == "own/topic=a b"
    assert bench.base_name == "org/base"
    compile(bench.code(), "code", "exec")
    bench.contribute()
    assert "worlds" in bench.status.text
    assert "no arm has finished yet" in check_shared(bench)


def test_standings_follow_the_events() -> None:
    found = Standings()
    assert not found.take({"event": "CellStarted", "strategy": "best_single", "seed": 0, "number": 1, "total": 2})
    assert found.take({"event": "CandidateScreened", "ref": "a/b", "fix_rate": 0.5, "flip_rate": 0.0, "n": 8})
    assert found.take({"event": "CandidateRefused", "ref": "e/f", "code": "unsigned"})
    decided = {"event": "GateDecided", "ref": "a/b", "decision": "accept", "fix_rate": 0.6, "flip_rate": 0.01}
    assert found.take(decided)
    assert [row.cells[1:] for row in found.rows.values()] == [
        ("a/b", "60.0 %", "1.0 %", "8", "gate: accept"),
        ("e/f", "–", "–", "–", "refused: the patch has no signed manifest"),
    ]


def test_the_browser_filters_offers_and_says_why_one_is_refused(tmp_path: Path) -> None:
    client = MarketplaceClient([generated(120)], standard_policy(), tmp_path, NOW)
    client.refresh()
    browser = MarketplaceBrowser(client)
    assert browser.table.num_rows == 120
    browser.refused.value = False
    assert 0 < browser.table.num_rows < 120
    browser.licence.value = "MIT"
    assert {row.cells[5] for row in browser.table.entries} == {"MIT"}
    browser.level.value = "known_publisher"
    assert all("known" in row.cells[1] for row in browser.table.entries)
    browser.show("visa hotel")
    scores = [float(row.cells[2]) for row in browser.table.entries]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0
    browser.install()
    assert "choose an offer" in browser.status.text
    assert browser.candidate(browser.table.entries[0].cells[0]).market == "memory://market"
    with pytest.raises(NotFoundError):
        browser.candidate("nobody/nothing")
    check_shared(browser)


def test_trust_shows_every_problem_and_keeps_no_secret(tmp_path: Path, tmp_home: Path) -> None:
    trust = TrustManager(policy=tmp_path / "policy.yaml")
    trust.text.value = "version: 1\ndefault: {min_level: sgined, max_rnak: 3}\n"
    assert len(trust.problems) == 2
    assert trust.save_button.disabled
    trust.text.value = "default: [\n"
    assert trust.problems[0].startswith("line ")
    trust.text.value = "version: 1\ndefault: {min_level: signed}\n"
    assert trust.problems == ()
    trust.card.value, trust.who.value = ALICE.public_hex, MARKUP
    trust.enrol()
    assert trust.key_table.num_rows >= 1
    trust.judge()
    assert "no market was named" in trust.status.text
    trust.revoke()
    assert "no key is chosen" in trust.status.text
    trust.save()
    assert (tmp_path / "policy.yaml").read_text() == trust.text.value
    check_shared(trust)
    state = json.dumps([widget.get_state() for widget in (trust, *trust.children)], default=str)
    assert "private" not in state.casefold()


def test_comparisons_and_sweeps_are_read_where_they_lie(tmp_path: Path) -> None:
    arms = StrategyComparison(write_results(tmp_path / "comparison"))
    assert list(arms._views) == ["arms", "figures", "proposed and deployed"]
    sweep = StrategyComparison(write_experiment(tmp_path / "sweep"))
    assert "surface" in sweep._views
    sweep.first.value, sweep.second.value = "best_single", "surgery_only"
    words = str(sweep._views["surface"]())
    assert "high pool, 4 failures: +3.00 pp" in words
    assert "high pool, 64 failures: −1.00 pp" in words
    compile(arms.code(), "code", "exec")
    compile(sweep.code(), "code", "exec")
    assert all("<img" in shown.twin().html for shown in (arms, sweep))
    with pytest.raises(NotFoundError):
        StrategyComparison(tmp_path)


def test_the_dashboard_has_a_tab_for_each(tmp_path: Path, tmp_home: Path) -> None:
    board = Dashboard("helpdesk", out=tmp_path)
    assert board.titles == ("Healing bench", "Trust")
    assert check_shared(board)


def test_a_record_is_a_card() -> None:
    html = FailurePattern(MARKUP, ("a",), ("x",), ("text",), 3)._repr_html_()
    assert "FailurePattern" in html
    assert MARKUP not in html
