"""Modules of ``evaluate``: the lab's own figures, equal to scikit-learn's where it has them, loadable offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from symbio_lab.errors import ConfigError, DataError
from symbio_lab.evaluation import metrics
from symbio_lab.evaluation.modules import METRIC_NAMES, export_metric, load_metric
from symbio_lab.evaluation.modules.paired import paired_outcomes
from symbio_lab.records import Interval

PAIRED = ("fix_rate", "negative_flip_rate", "positive_flip_rate", "delta_accuracy", "locality")


def answers(seed: int, n: int = 200) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    names = ("predictions", "references", "before")
    return {name: [str(v) for v in rng.integers(0, 3, size=n)] for name in names}


def inputs_of(name: str, n: int = 60) -> dict[str, Any]:
    given: dict[str, Any] = answers(1, n)
    rng = np.random.default_rng(2)
    extra = {"in_slice": rng.random(n) < 0.3, "confidences": rng.random(n)}
    wanted = {
        "net_gain_pp": ("predictions", "references", "before", "in_slice"),
        "expected_calibration_error": ("predictions", "references", "confidences"),
        "exact_match": ("predictions", "references"),
        "slot_accuracy": ("predictions", "references"),
    }.get(name, ("predictions", "references", "before"))
    return {key: list({**given, **extra}[key]) for key in wanted}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PAIRED)
def test_a_module_gives_the_lab_s_figure(name: str, seed: int) -> None:
    given = answers(seed)
    found = load_metric(name).compute(**given)
    figure = getattr(metrics, name)(paired_outcomes(**given))
    assert isinstance(figure, Interval)
    assert found == {
        name: figure.value,
        f"{name}_low": figure.low,
        f"{name}_high": figure.high,
        f"{name}_n": figure.n,
    }


def test_figures_are_those_of_scikit_learn() -> None:
    given = answers(4)
    right = accuracy_score(given["references"], given["predictions"])
    before = accuracy_score(given["references"], given["before"])
    assert load_metric("delta_accuracy").compute(**given)["delta_accuracy"] == pytest.approx(right - before)
    wrong = [i for i, (b, r) in enumerate(zip(given["before"], given["references"], strict=True)) if b != r]
    fixed = accuracy_score([given["references"][i] for i in wrong], [given["predictions"][i] for i in wrong])
    assert load_metric("fix_rate").compute(**given)["fix_rate"] == pytest.approx(fixed)
    pair = {k: given[k] for k in ("predictions", "references")}
    assert load_metric("exact_match").compute(**pair)["exact_match"] == pytest.approx(right)


def test_net_gain_weighs_slice_and_the_rest() -> None:
    given = inputs_of("net_gain_pp", 400)
    found = load_metric("net_gain_pp").compute(**given, slice_share=0.25)
    inside = np.array(given["in_slice"])
    right, before = (
        np.array([a == r for a, r in zip(given[name], given["references"], strict=True)])
        for name in ("predictions", "before")
    )
    gains = [right[part].mean() - before[part].mean() for part in (inside, ~inside)]
    assert found["net_gain_pp"] == pytest.approx(100 * (0.25 * gains[0] + 0.75 * gains[1]))
    assert found["net_gain_pp_low"] < found["net_gain_pp"] < found["net_gain_pp_high"]
    with pytest.raises(DataError, match="inside and outside"):
        load_metric("net_gain_pp").compute(**{**given, "in_slice": [True] * 400})


def test_modules_combine() -> None:
    both = evaluate.combine([load_metric("fix_rate"), load_metric("negative_flip_rate"), load_metric("exact_match")])
    given = answers(5)
    found = both.compute(**given)
    alone = {**load_metric("fix_rate").compute(**given), **load_metric("negative_flip_rate").compute(**given)}
    assert alone.items() <= found.items()
    assert "exact_match" in found


def test_alpha_widens() -> None:
    given = answers(6)
    wide, narrow = (load_metric("fix_rate").compute(**given, alpha=a) for a in (0.01, 0.2))
    assert wide["fix_rate_low"] < narrow["fix_rate_low"] < narrow["fix_rate_high"] < wide["fix_rate_high"]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_an_exported_module_loads_offline_and_gives_the_same(name: str, tmp_path: Path) -> None:
    folder = export_metric(name, tmp_path)
    given = inputs_of(name)
    given = {k: [v.item() if hasattr(v, "item") else v for v in values] for k, values in given.items()}
    code = (
        "import json, sys, evaluate; given = json.loads(sys.argv[2]);"
        "print(json.dumps(evaluate.load(sys.argv[1], keep_in_memory=True).compute(**given)))"
    )
    import os

    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), json.dumps(given)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == load_metric(name).compute(**given)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n")
    assert f"title: {name}" in card


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown metric"):
        load_metric("accuracy")
    with pytest.raises(ConfigError, match="unknown metric"):
        export_metric("accuracy", tmp_path)
