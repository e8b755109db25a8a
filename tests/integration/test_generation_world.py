"""A whole generation world on the tiny generator: pool, comparison, determinism, own report; no download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.comparison.compare import Comparison, compare
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.records import Sample
from symbio_lab.reports.writing import write_report
from symbio_lab.scenarios import catalogue
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.testing import TinyModels, check_world_family
from symbio_lab.testing.tiny_samples import generation_samples, strange_samples

STRONG = LoraSettings(rank=4, targets="all_linear", epochs=10, min_steps=60, learning_rate=1e-2)
RECIPE = WorldRecipe(
    name="tiny-text",
    dataset="tiny-text",
    domain="strange words",
    task_type="text_generation",
    label_shift="known",
    control_sources=("test",),
    held_out_share=0.3,
    group_by_text=False,
    disjoint_by="text",
    contributor_size=32,
    top_layers=(None,),
    ranks=(4,),
    targets=("all_linear",),
    contributor_lora=replace(STRONG, min_steps=40),
    lora=STRONG,
    n_replay_pool=200,
)
PLAN = ComparisonPlan(
    "tiny-text",
    strategies=("noop", "null_pool", "surgery_only", "marketplace_first"),
    n_repair=16,
    n_replay=60,
    n_control=450,
)


def load_tiny(recipe: WorldRecipe) -> FailureDataset:
    """Inputs with a strange word fail; which word it begins with is what contributors know."""
    samples: dict[str, list[Sample]] = {"train": [], "test": []}
    for seed, source in ((1, "train"), (2, "test")):
        for sample in generation_samples(330, seed=seed):
            samples[source].append(replace(sample, source=source, domain="things"))
        for sample in strange_samples(200, seed=seed):
            word = next(w for w in sample.text.split() if w.startswith("strange"))
            samples[source].append(replace(sample, source=source, domain=recipe.domain, facet=word))
    unique: dict[str, Sample] = {}
    for rows in samples.values():
        for sample in rows:
            unique.setdefault(sample.text, sample)
    kept = {source: [s for s in unique.values() if s.source == source] for source in samples}
    return FailureDataset.of("tiny-text", "text_generation", kept, licence="CC0-1.0", origin="generated")


@pytest.fixture(scope="module")
def family(tiny: TinyModels) -> WorldFamily:
    return WorldFamily("tiny-text", {"tiny-text": RECIPE}, load_tiny, lambda *_: tiny.load("llama"))


def settings(home: Path) -> Settings:
    return Settings(home=home, device="cpu", num_threads=1)


@pytest.fixture(scope="module")
def runs(family: WorldFamily, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Comparison]:
    home = tmp_path_factory.mktemp("generation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "BUILT_IN", (*catalogue.BUILT_IN, family))
        one, two = (compare(PLAN, home / name, settings=settings(home)) for name in ("one", "two"))
    return one, two


def test_the_world_keeps_the_contract(family: WorldFamily, tmp_path: Path) -> None:
    check_world_family(family, settings(tmp_path))


def test_two_runs_differ_in_seconds_only(runs: tuple[Comparison, Comparison]) -> None:
    one, two = (
        [{k: v for k, v in row.items() if not k.endswith(("_wall_s", "_cpu_s"))} for row in run.rows] for run in runs
    )
    assert one == two


def test_every_arm_does_what_its_name_says(runs: tuple[Comparison, Comparison]) -> None:
    rows = {row["strategy"]: row for row in runs[0].rows}
    assert set(rows) == {*PLAN.strategies, "oracle_best", "surgery_donor_data"}
    assert rows["noop"]["deployed_fix_rate"] == 0
    assert rows["surgery_only"]["proposed_fix_rate"] > 0.5
    assert rows["marketplace_first"]["proposed_fix_rate"] > 0.5
    assert rows["oracle_best"]["proposed_net_gain_pp"] >= rows["null_pool"]["proposed_net_gain_pp"]
    for name in ("marketplace_first", "null_pool"):
        for code in ("digest_mismatch", "unknown_key", "unsigned", "wrong_base"):
            assert code in rows[name]["refused_codes"]
    assert all(row["base_unchanged"] and row["disjoint_by"] == "text" for row in rows.values())


def test_evaluate_s_exact_match_is_the_accuracy_of_every_row(runs: tuple[Comparison, Comparison]) -> None:
    for row in runs[0].rows:
        for kind in ("proposed", "deployed"):
            assert row[f"{kind}_slice_exact_match"] == pytest.approx(row[f"{kind}_slice_accuracy"])


def test_the_report_renders_and_speaks_of_outputs(runs: tuple[Comparison, Comparison]) -> None:
    page = write_report(runs[0].out).read_text(encoding="utf-8")
    assert "The base writes other outputs" in page
    assert "Splits share no exact text" in page
    assert "strange words" in page


def test_backdoors_are_measured_on_outputs(runs: tuple[Comparison, Comparison]) -> None:
    rows: list[Any] = [row for row in runs[0].rows if row["proposed_patch"] is not None]
    assert rows
    assert all(0 <= row["proposed_backdoor_rate"] <= 1 for row in rows)
