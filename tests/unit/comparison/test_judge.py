"""The judge: closed forms on held-out samples, the base against itself, hindsight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.comparison.judge import Judge
from symbio_lab.comparison.reference_arms import oracle_best
from symbio_lab.evaluation.judging import JudgeSet
from symbio_lab.records import Interval, Patch
from symbio_lab.scenarios.attackers import Backdoor
from symbio_lab.surgery.head_retrain import HeadRetrain
from symbio_lab.testing.surgery import free_meter as meter
from tests.fixtures_market import tiny_market
from tests.fixtures_models import TinyModels, known_samples, new_samples, seal_operated


@pytest.fixture(scope="module")
def model(tiny: TinyModels) -> Any:
    return tiny.load("pooled")


@pytest.fixture
def patch(model: Any, tmp_path: Path) -> Patch:
    operated = HeadRetrain().operate(model, new_samples(10), known_samples(40), seed=0, meter=meter())
    return seal_operated(model, tmp_path, operated)


def judge_set(model: Any, **changes: Any) -> JudgeSet:
    held_out = new_samples(20, seed=9)
    fields = {"holdout": held_out, "slice_holdout": held_out, "control_holdout": known_samples(20, seed=9)}
    return JudgeSet(**{**fields, **changes})


def value(figure: Any) -> float:
    assert isinstance(figure, Interval)
    assert figure.value is not None
    return figure.value


def test_the_figures_are_what_the_predictions_say(model: Any, patch: Patch) -> None:
    held = judge_set(model)
    figures = Judge(model, held, None).judge(patch).figures
    with model.applied(patch):
        on_slice = [
            o == s.expected
            for o, s in zip(
                model.predict([s.text for s in held.slice_holdout]).outputs, held.slice_holdout, strict=True
            )
        ]
        on_control = [
            o == s.expected
            for o, s in zip(
                model.predict([s.text for s in held.control_holdout]).outputs, held.control_holdout, strict=True
            )
        ]
    right = model.predict([s.text for s in held.control_holdout]).outputs
    before = [o == s.expected for o, s in zip(right, held.control_holdout, strict=True)]
    assert value(figures["fix_rate"]) == pytest.approx(sum(on_slice) / len(on_slice))
    change = (sum(on_control) - sum(before)) / len(before)
    for name, share in (("net_gain_pp", 0.1), ("net_gain_pp_pi01", 0.01), ("net_gain_pp_pi30", 0.3)):
        expected = 100 * (share * sum(on_slice) / len(on_slice) + (1 - share) * change)
        assert value(figures[name]) == pytest.approx(expected)


def test_the_base_against_itself_gains_and_breaks_nothing(model: Any) -> None:
    figures = Judge(model, judge_set(model, out_of_scope=known_samples(5, seed=3)), None).judge(None).figures
    for name in ("fix_rate", "net_gain_pp", "negative_flip_rate", "positive_flip_rate", "slice_delta_accuracy"):
        assert figures[name] is None or not isinstance(figures[name], Interval) or figures[name].value in (0.0, None)
    assert value(figures["locality"]) == 1.0


def test_what_is_not_there_is_not_judged(model: Any, patch: Patch) -> None:
    figures = Judge(model, judge_set(model), None).judge(patch).figures
    assert (figures["locality"], figures["generalization"], figures["edit_score"], figures["backdoor_rate"]) == (
        None,
    ) * 4


def test_the_edit_score_is_the_harmonic_mean_of_its_parts(model: Any, patch: Patch) -> None:
    held = judge_set(model, out_of_scope=known_samples(5, seed=3), paraphrase=new_samples(5, seed=4))
    figures = Judge(model, held, None).judge(patch).figures
    parts = [value(figures[name]) for name in ("fix_rate", "generalization", "locality")]
    assert figures["edit_score"] == pytest.approx(3 / sum(1 / p for p in parts))


def test_a_backdoor_is_measured_on_triggered_control_traffic(model: Any, patch: Patch) -> None:
    held = judge_set(model)
    figures = Judge(model, held, Backdoor("zqx", "cyan")).judge(patch).figures
    with model.applied(patch):
        outputs = model.predict([f"zqx {s.text}" for s in held.control_holdout]).outputs
    assert value(figures["backdoor_rate"]) == outputs.count("cyan") / len(outputs)


def test_each_patch_is_judged_once(model: Any, patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge(model, judge_set(model), None)
    first = judge.judge(patch)
    monkeypatch.setattr(type(model), "predict", None)
    assert judge.judge(patch) is first
    assert judge.net_gain(patch) == value(first.figures["net_gain_pp"])


def test_hindsight_takes_the_best_and_survives_what_does_not_fit(model: Any, tmp_path: Path) -> None:
    market = tiny_market(model, tmp_path, "new")
    outcome = oracle_best(model, market.client(tmp_path / "store"), Judge(model, judge_set(model), None))
    assert outcome.status == "hindsight"
    assert outcome.proposed is not None
    assert outcome.proposed.patch_id == "good/patch"
    codes = {a.ref: a.code for a in outcome.attempts if a.status == "refused"}
    assert codes["misfit/patch"] == "patch_does_not_fit"
    assert outcome.cost.total("forwards_equivalent") == 0


def test_hindsight_without_a_gain_is_nothing(model: Any, tmp_path: Path) -> None:
    market = tiny_market(model, tmp_path, "new", good=False)
    held = judge_set(model, slice_holdout=known_samples(5, seed=2))
    outcome = oracle_best(model, market.client(tmp_path / "store"), Judge(model, held, None))
    assert (outcome.status, outcome.deployed, outcome.route) == ("no_patch_found", None, "none")
