"""Claims run again on tiny real models: the counts are the models' own, and each claimant gets his verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.advice.claims import (
    EvaluationSuite,
    Rerun,
    check_evaluators,
    check_publisher,
    judge_of,
    rerun,
    split_digest,
    state_evaluation,
)
from symbio_lab.advice.environment import environment_digest, environment_of
from symbio_lab.advice.evaluations import evidence_of
from symbio_lab.budget import Budget, CostMeter
from symbio_lab.errors import BaseMismatchError, EmptySliceError
from symbio_lab.records import ClaimedMetric, Patch
from symbio_lab.surgery.head_retrain import HeadRetrain
from symbio_lab.trust.evaluation_statement import EvaluationStatement, open_evaluation, sign_evaluation
from symbio_lab.trust.keys import SigningKey
from tests.fixtures_models import (  # noqa: F401
    NEW,
    NOW,
    PUBLISHER,
    TinyModels,
    generation_samples,
    known_samples,
    new_samples,
    query_modules,
    random_deltas,
    seal,
    seal_operated,
    strange_samples,
    tiny,
)

BOB, CAROL = (SigningKey.from_seed(bytes([n]) * 32) for n in (81, 82))
SUITE = EvaluationSuite("shades", new_samples(20, seed=9), known_samples(40, seed=9))


@pytest.fixture(scope="module")
def model(tiny: TinyModels) -> Any:  # noqa: F811
    return tiny.load("pooled")


@pytest.fixture(scope="module")
def good(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Patch:
    meter = CostMeter(Budget(forwards_equivalent=1e9))
    operated = HeadRetrain().operate(model, new_samples(10), known_samples(40), seed=0, meter=meter)
    return seal_operated(model, tmp_path_factory.mktemp("good"), operated, patch_id="alice/good")


@pytest.fixture(scope="module")
def run(model: Any, good: Patch) -> Rerun:
    return rerun(model, good, SUITE)


def stated(run: Rerun, patch: Patch, key: SigningKey = BOB) -> EvaluationStatement:
    return state_evaluation(run, patch, keyid=key.keyid, issued=NOW, environment="e" * 64)


def claiming(patch: Patch, *claims: ClaimedMetric) -> Patch:
    return replace(patch, manifest=replace(patch.manifest, claims=claims))


def test_the_statement_counts_what_the_models_answer(model: Any, good: Patch, run: Rerun) -> None:
    said = stated(run, good)
    samples = (*SUITE.slice, *SUITE.control)
    before = model.predict([s.text for s in samples]).outputs
    with model.applied(good):
        after = model.predict([s.text for s in samples]).outputs
    right_before, right_after = (
        [o == s.expected for o, s in zip(out, samples, strict=True)] for out in (before, after)
    )
    assert (said.n, said.passed_before, said.passed_after) == (len(samples), sum(right_before), sum(right_after))
    assert said.after_ppm > said.before_ppm
    of_slice = len(SUITE.slice)
    rates = {rate.name: (rate.hits, rate.n) for rate in said.measures}
    assert rates["fix_rate"] == (sum(right_after[:of_slice]), of_slice)  # the base knows none of the new labels
    kept = [a for b, a in zip(right_before[of_slice:], right_after[of_slice:], strict=True) if b]
    assert rates["negative_flip_rate"] == (len(kept) - sum(kept), len(kept))
    assert (said.judge, said.runs, said.seeds) == ("label", 1, ())
    assert said.splits == SUITE.splits
    assert open_evaluation(sign_evaluation(said, BOB), {BOB.keyid: BOB.public_key}) == said


def test_running_it_again_gives_the_same_statement(model: Any, good: Patch, run: Rerun) -> None:
    assert stated(rerun(model, good, SUITE), good) == stated(run, good)
    assert environment_of(model, 1) == environment_of(model, 1)
    assert environment_digest(environment_of(model, 1)) != environment_digest(environment_of(model, 2))


def test_a_suite_is_named_by_its_data(run: Rerun) -> None:
    turned = EvaluationSuite("other name", SUITE.slice[::-1], SUITE.control[::-1])
    assert (turned.digest, turned.splits) == (SUITE.digest, SUITE.splits)
    assert replace(SUITE, slice=SUITE.slice[1:]).digest != SUITE.digest
    assert EvaluationSuite("swapped", SUITE.control, SUITE.slice).digest != SUITE.digest
    assert list(EvaluationSuite("harm only", (), SUITE.control).splits) == ["control"]
    assert SUITE.splits["slice"] == split_digest(SUITE.slice)
    assert len(run) == len(SUITE.slice) + len(SUITE.control)


def test_what_the_patch_is_not_for_gives_no_fix_rate(model: Any, good: Patch) -> None:
    other = replace(good, manifest=replace(good.manifest, labels=("elsewhere",)))
    found = rerun(model, other, SUITE)
    assert [rate.name for rate in found.measures] == ["negative_flip_rate"]
    assert found.num_meant == 0
    some = replace(good, manifest=replace(good.manifest, labels=NEW[:1]))
    (fixed,) = [rate for rate in rerun(model, some, SUITE).measures if rate.name == "fix_rate"]
    assert fixed.n == sum(s.expected == NEW[0] for s in SUITE.slice)


def test_what_cannot_be_run(model: Any, good: Patch, tmp_path: Path) -> None:
    with pytest.raises(EmptySliceError):
        rerun(model, good, EvaluationSuite("empty", (), ()))
    foreign = seal(model, tmp_path, random_deltas(model, query_modules(model)), base_digest="e" * 64)
    with pytest.raises(BaseMismatchError):
        rerun(model, foreign, SUITE)


def test_generation_names_its_judge(tiny: TinyModels, tmp_path: Path) -> None:  # noqa: F811
    model = tiny.load("llama")
    patch = seal(model, tmp_path, random_deltas(model, query_modules(model), scale=0.01), domain="strange")
    suite = EvaluationSuite("strange", strange_samples(12), generation_samples(20))
    found = rerun(model, patch, suite)
    assert found.judge == judge_of(model) == "exact_match"
    assert found.num_meant == len(suite.slice)
    assert {rate.name for rate in found.measures} == {"fix_rate", "negative_flip_rate"}


def test_the_publisher_is_borne_out_or_not(run: Rerun, good: Patch) -> None:
    said = stated(run, good)
    (fixed,) = [rate for rate in said.measures if rate.name == "fix_rate"]
    true = fixed.hits / fixed.n
    honest = claiming(good, ClaimedMetric("fix_rate", true, 50), ClaimedMetric("speed", 2.0, 1))
    report = check_publisher(said, honest.manifest)
    assert (report.by, report.verdict, len(report.checks)) == (PUBLISHER.keyid, "confirmed", 1)
    assert report.incomparable == ("speed: not a rate that is compared by name",)
    weak = replace(said, measures=(replace(fixed, hits=fixed.n // 4),))
    assert check_publisher(weak, honest.manifest).verdict == "disputed"
    few = replace(said, measures=(replace(fixed, hits=2, n=2),))
    assert check_publisher(few, honest.manifest).verdict == "undecided"
    own = replace(said, keyid=PUBLISHER.keyid, after_ppm=1_000_000, before_ppm=0, measures=())
    assert check_publisher(replace(said, after_ppm=500_000), good.manifest, own).verdict == "disputed"


def test_other_evaluators_are_checked_one_by_one(run: Rerun, good: Patch) -> None:
    said = stated(run, good)
    same = stated(run, good, CAROL)
    lying = replace(same, after_ppm=1_000_000, before_ppm=0, measures=())
    elsewhere = replace(same, suite_digest="f" * 64, measures=())
    other_patch = replace(same, patch_digest="0" * 64)
    verdicts = [check_evaluators(said, [other]) for other in (same, lying, elsewhere, other_patch, said)]
    assert [[report.verdict for report in found] for found in verdicts] == [
        ["confirmed"],
        ["disputed"],
        ["undecided"],
        [],
        [],
    ]
    assert verdicts[2][0].incomparable == ("another suite, and it names no rates",)
    assert check_evaluators(said, [same, lying]) == check_evaluators(said, [lying, same])


def test_schema_2_is_evidence_by_its_own_counts(run: Rerun, good: Patch) -> None:
    said = stated(run, good)
    rates = {rate.name: rate for rate in said.measures}
    evidence = evidence_of("alice/good", said)
    assert (evidence.num_fixed, evidence.num_failures) == (rates["fix_rate"].hits, rates["fix_rate"].n)
    assert (evidence.num_broken, evidence.num_controls) == (
        rates["negative_flip_rate"].hits,
        rates["negative_flip_rate"].n,
    )
