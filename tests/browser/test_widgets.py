"""The widgets in JupyterLab, worked as a person works them: click, type, choose, draw a lasso, cancel."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser.lab import LabPage, Server, opened

SHOTS = os.environ.get("SYMBIO_LAB_SHOTS")
"""Folder for screenshots; none are kept without it."""


def write(lab: Server, name: str, *cells: str) -> str:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, lab.folder / name)
    return name


def shoot(place: LabPage, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        place.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=False)


def said(place: LabPage, widget: str, words: str, timeout: int = 60_000) -> None:
    """Wait until the widget's status line says something with these words."""
    from playwright.sync_api import expect

    expect(place.page.locator(f".sl-{widget} .sl-spoken").first).to_contain_text(words, timeout=timeout)


def check_quiet(place: LabPage) -> None:
    assert place.problems == []
    assert place.outside == []


TRAFFIC = """
import numpy as np
from symbio_lab.records import PredictionRecord
from symbio_lab.widgets import FailureExplorer

def traffic(num, seed=0):
    draw = np.random.default_rng(seed)
    topics = {"billing": "what does my bill of number say", "travel": "book a flight to town", "warranty": "is my device
 still covered".replace("\\n", "")}
    for i in range(num):
        topic = draw.choice(["billing", "travel", "warranty"], p=[.4, .4, .2])
        wrong = draw.random() < (.9 if topic == "warranty" else .1)
        text = f"{topics[topic]} {draw.integers(10**6)}"
        yield PredictionRecord("m", "text_classification", text, "other" if wrong else topic, topic, domain=topic,
            confidence=float(draw.random()), event_id=str(i))
""".replace("device\n still", "device still")


def test_the_failure_explorer_from_alarm_to_suite(browser: Any, lab: Server) -> None:
    name = write(
        lab,
        "explorer.ipynb",
        TRAFFIC,
        "explorer = FailureExplorer.of_records(list(traffic(700)), alarms={'alarm': 300})\nexplorer",
    )
    with opened(browser, lab, name) as place:
        place.run_all()
        page = place.page
        panel = page.locator(".sl-failure-explorer")
        panel.wait_for()
        page.locator(".sl-study").click()
        said(place, "failure-explorer", "confirmed on withheld rows", 120_000)
        shoot(place, "explorer-light")
        # A pattern chooses its rows in table and map.
        page.locator(".sl-patterns .sl-body .sl-row").first.click()
        said(place, "failure-explorer", "rows chosen")
        chosen = place.value("list(explorer.chosen)")
        assert chosen
        assert place.value("len(explorer.map.chosen)") == len(chosen)
        # A lasso around everything chooses every failure.
        box = page.locator(".sl-map canvas").first.bounding_box()
        corners = [(1, 1), (box["width"] - 2, 1), (box["width"] - 2, box["height"] - 2), (1, box["height"] - 2)]
        page.mouse.move(box["x"] + 1, box["y"] + 1)
        page.mouse.down()
        for x, y in [*corners[1:], corners[0]]:
            page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
        page.mouse.up()
        page.wait_for_function(
            "() => document.querySelector('.sl-failure-explorer .sl-spoken').textContent.includes('rows')"
        )
        assert place.value("len(explorer.map.chosen) == int(explorer.traffic.failed.sum())")
        # Words narrow the table; keys choose a row; a tag stays on it.
        page.locator(".sl-find input").fill("covered")
        page.locator(".sl-rows .sl-caption", has_text="failures").wait_for()
        grid = page.locator(".sl-rows .sl-grid")
        grid.focus()
        grid.press("ArrowDown")
        grid.press("Enter")
        said(place, "failure-explorer", "1 rows chosen")
        page.locator(".sl-tag input").fill("odd")
        page.locator(".sl-tag-button").click()
        said(place, "failure-explorer", "tag 'odd' put on 1 rows")
        assert place.value("list(explorer.tags.values())") == [["odd"]]
        inside = "[i for i, d in enumerate(explorer.traffic.domains) if d == 'warranty']"
        suite = f"explorer.make_suite('warranty', rows={inside})"
        assert place.value(f"len({suite}.suite.task.repair)") > 0
        place.dark()
        shoot(place, "explorer-dark")
        saved = place.save()
        assert saved["metadata"]["widgets"]
        check_quiet(place)


def test_a_saved_notebook_shows_its_twin_without_a_kernel(browser: Any, lab: Server) -> None:
    name = write(lab, "twin.ipynb", TRAFFIC, "FailureExplorer.of_records(list(traffic(300)))")
    with opened(browser, lab, name) as place:
        place.run_all()
        place.page.locator(".sl-failure-explorer").wait_for()
        saved = place.save()
    bundle = saved["cells"][1]["outputs"][0]["data"]
    assert "".join(bundle["text/html"]).startswith("<div")
    assert "failures" in "".join(bundle["text/plain"])
    del saved["metadata"]["widgets"]
    nbformat.write(nbformat.from_dict(saved), lab.folder / "shared.ipynb")
    with opened(browser, lab, "shared.ipynb") as place:
        place.page.locator(".jp-OutputArea-output table").first.wait_for()
        assert place.page.locator(".jp-OutputArea-output table").first.inner_text()


PAINT_MS, ANSWER_MS, MOST_NOTEBOOK, REPEATS = 2_000, 100, 1 << 20, 7
SLACK = 1 if os.environ.get("SYMBIO_LAB_EXACT") else 5
"""The suite shares its cores with other tests: limits are guarded loosely unless SYMBIO_LAB_EXACT is set."""
TIMED = """async ([act, done, most]) => {
    const acts = new Function('page', act), isDone = new Function('page', 'return ' + done);
    const started = performance.now();
    acts(document);
    while (!isDone(document)) {
        if (performance.now() - started > most) return -1;
        await new Promise(requestAnimationFrame);
    }
    return performance.now() - started;
}"""


def timed(place: LabPage, act: str, done: str, most: int = 30_000) -> float:
    """Milliseconds from doing something in the page until what it leads to is painted."""
    took: float = place.page.evaluate(TIMED, [act, done, most])
    assert took >= 0, f"{act} never led to {done}"
    return took


def painted(place: LabPage, rows: str) -> float:
    """Milliseconds from running the next cell until a table below ``rows`` has rows."""
    return timed(
        place,
        "window.jupyterapp.commands.execute('notebook:run-cell')",
        f"!!page.querySelector('{rows} .sl-body .sl-row[aria-selected]') "
        f"&& !page.querySelector('{rows} .sl-body').textContent.includes('…')",
    )


def answers(place: LabPage, rows: str, find: str, words: str) -> dict[str, list[float]]:
    """Milliseconds that scrolling, typing and choosing take, ``REPEATS`` times each."""
    scroller, first = f"page.querySelector('{rows} .sl-scroller')", f"page.querySelector('{rows} .sl-body .sl-row')"
    body, field = f"page.querySelector('{rows} .sl-body')", f"page.querySelector('{find} input')"
    caption = f"page.querySelector('{rows} .sl-caption').textContent"
    took: dict[str, list[float]] = {"scroll": [], "choose": [], "find": []}
    for turn in range(REPEATS):
        part = (turn + 1) / (REPEATS + 1)
        took["scroll"].append(
            timed(
                place,
                f"page.was = {first}.id; {scroller}.scrollTop = {scroller}.scrollHeight * {part}",
                f"{first}.id !== page.was && !{body}.textContent.includes('…')",
            )
        )
        took["choose"].append(
            timed(
                place,
                f"page.row = {first}.nextSibling.id; page.getElementById(page.row).click()",
                "page.getElementById(page.row).getAttribute('aria-selected') === 'true'",
            )
        )
    for turn in range(REPEATS):
        took["find"].append(
            timed(
                place,
                f"page.was = {caption}; {field}.value = '{words if turn % 2 == 0 else ''}'; "
                f"{field}.dispatchEvent(new Event('input', {{bubbles: true}}))",
                f"{caption} !== page.was",
            )
        )
    return took


def test_ten_thousand_failures_are_painted_and_answer_in_time(browser: Any, lab: Server) -> None:
    name = write(
        lab,
        "many.ipynb",
        TRAFFIC + "\nwarm = FailureExplorer.of_records(list(traffic(200)))",
        "records = [r for r in traffic(60_000) if r.failed][:10_000]\nlen(records)",
        "many = FailureExplorer.of_records(records)\nmany",
    )
    with opened(browser, lab, name) as place:
        place.wait_until_idle()
        for _ in range(2):
            place.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell-and-select-next')")
        assert place.value("len(records)") == 10_000
        paint = painted(place, ".sl-failure-explorer .sl-rows")
        took = answers(place, ".sl-failure-explorer .sl-rows", ".sl-find", "covered")
        saved = place.save()
        size = (lab.folder / name).stat().st_size
        medians = {what: round(statistics.median(times)) for what, times in took.items()}
        print(f"10,000 failures: first paint {paint:.0f} ms, medians in ms {medians}, notebook {size:,} B")
        assert saved["metadata"]["widgets"]
        assert size <= MOST_NOTEBOOK
        assert paint <= SLACK * PAINT_MS
        assert max(medians.values()) <= SLACK * ANSWER_MS
        check_quiet(place)


BENCH = """
from symbio_lab.widgets import HealingBench

bench = HealingBench("helpdesk", strategies=("noop", "prototype_rows", "best_single"), out="bench")
bench
"""


def latencies(place: LabPage, seconds: float) -> list[float]:
    """Milliseconds that the kernel takes to answer another cell, asked twice a second."""
    found: list[float] = place.page.evaluate(
        """async (seconds) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const took = [], until = performance.now() + 1000 * seconds;
            while (performance.now() < until) {
                const at = performance.now();
                await kernel.requestExecute({code: '1 + 1', silent: true, store_history: false}).done;
                took.push(performance.now() - at);
                await new Promise(go => setTimeout(go, 500));
            }
            return took;
        }""",
        seconds,
    )
    return found


def test_an_own_model_is_named_in_the_bench(browser: Any, lab: Server) -> None:
    name = write(
        lab, "own.ipynb", "from symbio_lab.widgets import HealingBench\n\nbench = HealingBench(out='bench')\nbench"
    )
    with opened(browser, lab, name) as place:
        place.run_all()
        place.page.locator(".sl-scenario select").select_option("my own model and table")
        place.page.locator(".sl-run").click()
        said(place, "healing-bench", "no table", 20_000)
        for field, words in (("model", "org/base"), ("data", "rows.csv"), ("label", "intent"), ("slice", "topic=a b")):
            box = place.page.locator(f".sl-own-{field} input")
            box.fill(words)
            box.press("Enter")
        place.page.wait_for_function(
            "document.querySelector('.sl-healing-bench').textContent.includes('compare_own_data')", timeout=20_000
        )
        shoot(place, "bench-own")
        assert place.value("bench.plan.scenario") == "own/topic=a b"
        check_quiet(place)


def test_a_run_of_the_bench_blocks_nothing_and_is_cancelled(browser: Any, lab: Server) -> None:
    name = write(lab, "bench.ipynb", BENCH)
    with opened(browser, lab, name) as place:
        place.run_all()
        place.page.locator(".sl-run").click()
        said(place, "healing-bench", "building", 120_000)
        took = latencies(place, 10)
        print(f"kernel answers in ms: median {statistics.median(took):.0f}, slowest {max(took):.0f} of {len(took)}")
        assert statistics.median(took) <= 200
        shoot(place, "bench-running")
        at = time.monotonic()
        place.page.locator(".sl-cancel").click()
        said(place, "healing-bench", "cancelled", 10_000)
        assert time.monotonic() - at < 2 * SLACK
        assert place.value("bench.child.ended.status") == "cancelled"
        assert place.value("[b.disabled for b in (bench.run_button, bench.cancel_button)]") == [False, True]
        home = lab.folder.parent / "home"
        assert [p for p in home.rglob("*.tmp")] == [], "nothing half done is left"
        assert place.value("bench.status.text").startswith("cancelled")
        # What is typed wrongly is said, and nothing starts.
        place.page.locator(".sl-budget input").fill("much")
        place.page.locator(".sl-run").click()
        said(place, "healing-bench", "not a number")
        assert place.save()["metadata"]["widgets"]
        check_quiet(place)


@pytest.mark.slow
def test_the_bench_heals_deploys_and_rolls_back(browser: Any, lab: Server) -> None:
    name = write(lab, "heals.ipynb", BENCH.replace('"bench"', '"heals"'))
    with opened(browser, lab, name) as place:
        place.run_all()
        place.page.locator(".sl-run").click()
        said(place, "healing-bench", "building", 120_000)
        took = latencies(place, 60)
        print(f"kernel answers in ms: median {statistics.median(took):.0f}, slowest {max(took):.0f} of {len(took)}")
        assert max(took) <= 200 * SLACK
        said(place, "healing-bench", "arms finished", 900_000)
        shoot(place, "bench-light")
        place.page.locator(".sl-arms .sl-body .sl-row", has_text="best_single").click()
        place.page.locator(".sl-examples table").wait_for()
        place.page.locator(".sl-deploy").click()
        said(place, "healing-bench", "is live for default", 300_000)
        # What the command refuses is said as the command says it; what it publishes lies in the market.
        place.page.locator(".sl-market input").fill("contributed")
        place.page.locator(".sl-publish-as input").fill("me/warranty")
        place.page.locator(".sl-contribute").click()
        said(place, "healing-bench", "published me/warranty", 300_000)
        assert list((lab.folder / "contributed").rglob("symbio.patch.dsse.json"))
        place.page.locator(".sl-roll-back").click()
        said(place, "healing-bench", "bit for bit", 300_000)
        place.dark()
        shoot(place, "bench-dark")
        assert place.save()["metadata"]["widgets"]
        check_quiet(place)
    # The kernel is gone; a bench made again shows what is finished.
    with opened(browser, lab, name) as place:
        place.run_all()
        assert place.value("[c.strategy for c in bench.cells]") == ["noop", "best_single", "prototype_rows"]


OFFERS = """
from pathlib import Path

from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.widgets import MarketplaceBrowser
from tests.attacks.market_simulator import NOW, standard_policy
from tests.unit.marketplace.catalogue_market import generated

client = MarketplaceClient([generated(5_000)], standard_policy(), Path("store"), NOW)
len(client.indices[0].entries)
"""


def test_five_thousand_offers_are_painted_and_answer_in_time(browser: Any, lab: Server) -> None:
    name = write(lab, "offers.ipynb", OFFERS, "market = MarketplaceBrowser(client)\nmarket")
    with opened(browser, lab, name) as place:
        place.wait_until_idle()
        place.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell-and-select-next')")
        paint = painted(place, ".sl-offers")
        took = answers(place, ".sl-offers", ".sl-marketplace-browser .sl-find", "hotel visa")
        medians = {what: round(statistics.median(times)) for what, times in took.items()}
        # An offer that is refused says by which rule; one that is not can be looked at whole.
        place.page.locator(".sl-marketplace-browser .sl-find input").fill("luggage")
        place.page.locator(".sl-offers .sl-bad").first.click()
        place.page.locator(".sl-detail", has_text="is refused").wait_for()
        place.page.locator(".sl-offers .sl-good").first.click()
        place.page.locator(".sl-detail", has_text="Trust rules").wait_for()
        shoot(place, "browser-light")
        place.save()
        size = (lab.folder / name).stat().st_size
        print(f"5,000 offers: first paint {paint:.0f} ms, medians in ms {medians}, notebook {size:,} B")
        assert size <= MOST_NOTEBOOK
        assert paint <= SLACK * PAINT_MS
        assert max(medians.values()) <= SLACK * ANSWER_MS
        check_quiet(place)


FOLDER_MARKET = """
from pathlib import Path

from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.widgets import MarketplaceBrowser
from tests.attacks.market_simulator import ALICE, EVE, EXPIRES, ISSUED, NOW, seal, standard_policy

market = DirectoryTransport(Path("market"))
for key, name in ((ALICE, "alice/travel"), (EVE, "eve/travel")):
    patch = seal(Path("sealed") / name.split("/")[0], patch_id=name)
    publish_patch(patch, market, key, store=Path("sealed"), issued=ISSUED, expires=EXPIRES, patch_id=name)
client = MarketplaceClient([market], standard_policy(), Path("verified"), NOW)
client.refresh()
browser = MarketplaceBrowser(client)
browser
"""


def test_an_offer_is_verified_and_installed_or_refused_by_name(browser: Any, lab: Server) -> None:
    name = write(lab, "install.ipynb", FOLDER_MARKET)
    with opened(browser, lab, name) as place:
        place.run_all()
        row = place.page.locator(".sl-offers .sl-body .sl-row")
        row.filter(has_text="alice/travel").click()
        place.page.locator(".sl-install").click()
        said(place, "marketplace-browser", "verified")
        assert place.value("[p.name for p in Path('verified').iterdir() if p.is_dir() and len(p.name) == 64]")
        row.filter(has_text="eve/travel").click()
        place.page.locator(".sl-install").click()
        said(place, "marketplace-browser", "unknown key")
        place.page.locator(".sl-evaluate").click()
        said(place, "marketplace-browser", "name a suite first")
        check_quiet(place)


def test_trust_is_managed_with_problems_shown_inline(browser: Any, lab: Server) -> None:
    cell = FOLDER_MARKET.split("client =")[0] + (
        "from symbio_lab.widgets import TrustManager\n"
        "trust = TrustManager(markets=['market'], policy='policy.yaml')\ntrust"
    )
    name = write(lab, "trust.ipynb", cell.replace('"market"', '"trust-market"').replace("'market'", "'trust-market'"))
    with opened(browser, lab, name) as place:
        place.run_all()
        page = place.page
        page.locator(".sl-policy textarea").fill("version: 1\ndefault:\n  min_level: sgined\n  max_rnak: 3\n")
        alert = page.locator(".sl-policy-words [role=alert]")
        alert.wait_for()
        assert "min_level" in alert.inner_text()
        assert "max_rnak" in alert.inner_text()
        assert page.locator(".sl-save-policy").is_disabled()
        page.locator(".sl-policy textarea").fill("version: 1\ndefault:\n  min_level: known_publisher\n")
        page.locator(".sl-policy-words", has_text="known_publisher").wait_for()
        page.locator(".sl-card input").fill(place.value("ALICE.public_hex"))
        page.locator(".sl-who input").fill("Alice")
        page.locator(".sl-enrol").click()
        said(place, "trust-manager", "enrolled Alice")
        page.locator(".sl-try-policy").click()
        page.locator(".sl-rulings .sl-body .sl-row", has_text="eve/travel").wait_for()
        shoot(place, "trust-light")
        page.locator(".sl-save-policy").click()
        said(place, "trust-manager", "saved")
        assert "known_publisher" in (lab.folder / "policy.yaml").read_text()
        page.locator(".sl-keys .sl-body .sl-row", has_text="Alice").click()
        page.locator(".sl-revoke").click()
        said(place, "trust-manager", "say why")
        page.locator(".sl-reason input").fill("lost")
        page.locator(".sl-revoke").click()
        said(place, "trust-manager", "revoked")
        page.locator(".sl-keys", has_text="REVOKED").wait_for()
        check_quiet(place)


def test_arms_are_compared_and_a_sweep_is_watched(browser: Any, lab: Server) -> None:
    cells = (
        "from pathlib import Path\n"
        "from symbio_lab.widgets import StrategyComparison, SweepMonitor\n"
        "from tests.fixtures_results import write_results\n"
        "from tests.fixtures_sweep import write_experiment\n"
        "arms = StrategyComparison(write_results(Path('comparison')))\narms",
        "sweep = StrategyComparison(write_experiment(Path('experiment')))\nsweep",
    )
    name = write(lab, "compared.ipynb", *cells)
    with opened(browser, lab, name) as place:
        place.run_all()
        page = place.page
        first = page.locator(".sl-strategy-comparison").first
        first.locator(".sl-picture img").wait_for()
        first.locator(".sl-view select").select_option("figures")
        first.locator(".sl-picture table").wait_for()
        second = page.locator(".sl-strategy-comparison").nth(1)
        for view in ("surface", "fixes against damage", "by incident", "crossover"):
            second.locator(".sl-view select").select_option(view)
            second.locator(".sl-spoken", has_text=f"{view}:").wait_for()
            assert second.locator(".sl-picture img").get_attribute("alt")
        second.locator(".sl-view select").select_option("surface")
        second.locator(".sl-spoken", has_text="surface:").wait_for()
        second.scroll_into_view_if_needed()
        shoot(place, "comparison-light")
        check_quiet(place)


SWEEP = """
import json
from pathlib import Path

import nbformat
from symbio_lab.sweeps.plan import make_plan
from symbio_lab.widgets import SweepMonitor

parameters = nbformat.v4.new_code_cell('number: int = 0\\nout: str = "out"', metadata={"tags": ["parameters"]})
code = nbformat.v4.new_code_cell("assert number != 2, 'two is wrong'")
kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
nbformat.write(nbformat.v4.new_notebook(cells=[parameters, code], metadata=kernel), "trivial.ipynb")
spec = {"name": "trivial", "notebook": "trivial.ipynb", "grid": {"product": {"number": [0, 1, 2]}}}
Path("trivial.yaml").write_text(json.dumps(spec))
make_plan(Path("trivial.yaml"), Path("sweep"))
monitor = SweepMonitor("sweep", look_every_s=0.5)
monitor
"""


def test_a_sweep_is_run_and_its_failure_explained(browser: Any, lab: Server) -> None:
    name = write(lab, "sweep.ipynb", SWEEP)
    with opened(browser, lab, name) as place:
        place.run_all()
        said(place, "sweep-monitor", "0 of 3 finished")
        place.page.locator(".sl-resume").click()
        said(place, "sweep-monitor", "2 of 3 finished, 0 running, 1 failed", 180_000)
        place.page.locator(".sl-runs .sl-body .sl-row", has_text="failed").click()
        detail = place.page.locator(".sl-sweep-monitor .sl-detail")
        detail.locator("a", has_text="notebook.ipynb").wait_for()
        assert "two is wrong" in detail.inner_text()
        shoot(place, "sweep-light")
        place.page.locator(".sl-sweep-monitor .sl-cancel").click()
        said(place, "sweep-monitor", "cancelled")
        check_quiet(place)


ALL = """
from pathlib import Path

from symbio_lab.widgets import FailureExplorer, HealingBench, MarketplaceBrowser, StrategyComparison, SweepMonitor
from symbio_lab.widgets import TrustManager
from symbio_lab.widgets.explorer_rows import PATTERN_COLUMNS
from tests.fixtures_results import write_results
"""
CHECKED = ("explorer", "browser", "bench", "trust", "monitor", "arms")


def test_no_widget_has_a_serious_violation_of_accessibility(browser: Any, lab: Server) -> None:
    from axe_playwright_python.sync_playwright import Axe

    cells = (
        ALL + TRAFFIC + FOLDER_MARKET.replace('"market"', '"axe-market"').rsplit("browser\n", 1)[0],
        SWEEP.replace("monitor\n", "").replace('"sweep"', '"axe-sweep"') + "\nmonitor = SweepMonitor('axe-sweep')",
        "explorer = FailureExplorer.of_records(list(traffic(300)))\n"
        "explorer._draw_map(__import__('numpy').random.default_rng(0).random((300, 2)))\n"
        "bench, trust = HealingBench('helpdesk'), TrustManager(markets=['axe-market'])\n"
        "arms = StrategyComparison(write_results(Path('axe-comparison')))\n"
        "browser.table.chosen = [browser.table.entries[0].row_id]",
        *CHECKED,
    )
    name = write(lab, "axe.ipynb", *cells)
    with opened(browser, lab, name) as place:
        place.run_all()
        place.page.locator(".sl-strategy-comparison .sl-picture img").wait_for()
        for fold in place.page.locator(".sl-code summary").all():
            fold.click()
        for theme in ("light", "dark"):
            if theme == "dark":
                place.dark()
            for panel in place.page.locator(".sl-panel").all():
                panel.scroll_into_view_if_needed()
            found = Axe().run(place.page, context={"include": [[".sl-panel"]]})
            serious = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
            told = [
                f"{theme} {v['id']}: {v['help']}: {node['html'][:300]} {node.get('failureSummary', '')[:300]}"
                for v in serious
                for node in v["nodes"][:4]
            ]
            assert not serious, "\n".join(told)
            assert found.response["passes"]
