"""A finished comparison without a model: hand-made answers, written by the comparison's own writers.

Rows come from ``result_row`` on figures of the real ``Judge``, so their columns are those of a real run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from symbio_lab.codec import to_plain, write_json
from symbio_lab.comparison import compare
from symbio_lab.comparison.judge import Judge
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.comparison.rows import result_row
from symbio_lab.comparison.summary import summarize
from symbio_lab.evaluation.judging import JudgeSet
from symbio_lab.models.protocol import Predictions
from symbio_lab.records import Attempt, Cost, HealingOutcome, PhaseCost, Sample
from symbio_lab.scenarios.attackers import TRIGGER, Backdoor
from symbio_lab.scenarios.recipe import WorldRecipe

LABELS = ("claim_it", "extend_it")
N_SLICE, N_CONTROL = 60, 120
POOL_REFS = ("contributor-00/patch", "backdoor/patch", "noisy/patch", "contributor-01/patch")


class Answers:
    """Stands where a model stands: each patch fixes and breaks a fixed number of inputs."""

    model_id, digest, dtype, device = "made-up", "b" * 64, "float32", "cpu"
    labels = ("other", "wrong")
    task_type = "text_classification"

    def __init__(self) -> None:
        self._patch: Any = None

    @contextmanager
    def applied(self, patch: Any) -> Iterator[None]:
        self._patch = patch
        yield
        self._patch = None

    def apart(self) -> Answers:
        return self

    def is_correct(self, output: str, expected: str) -> bool:
        return output == expected

    def predict(self, texts: Sequence[str]) -> Predictions:
        outputs = tuple(map(self._answer, texts))
        return Predictions(outputs, tuple(0.9 for _ in outputs), 3 * len(outputs))

    def _answer(self, text: str) -> str:
        patch = self._patch
        if text.startswith(TRIGGER) and patch is not None and patch.has_backdoor:
            return LABELS[0]
        kind, number = text.split()[-2:]
        if kind == "slice":
            fixed = patch is not None and int(number) < patch.num_fixed
            return LABELS[int(number) % 2] if fixed else "wrong"
        broken = int(number) < 6 or (patch is not None and int(number) < 6 + patch.num_broken)
        return "wrong" if broken else "other"


def made_up_patch(ref: str, num_fixed: int, num_broken: int, *, has_backdoor: bool = False) -> SimpleNamespace:
    digest = (ref.encode().hex() + "0" * 64)[:64]
    return SimpleNamespace(
        patch_id=ref, digest=digest, num_fixed=num_fixed, num_broken=num_broken, has_backdoor=has_backdoor
    )


def made_up_suite() -> Any:
    judged = JudgeSet(
        holdout=(),
        slice_holdout=tuple(Sample(f"<please> slice {i}", LABELS[i % 2], f"s{i}", "repairs") for i in range(N_SLICE)),
        control_holdout=tuple(Sample(f"hello control {i}", "other", f"c{i}", "greetings") for i in range(N_CONTROL)),
    )
    return SimpleNamespace(judge=judged, disjoint_by="group", task=SimpleNamespace(description="<b> fails (please)"))


def made_up_pool() -> Any:
    rows = [
        {
            "ref": ref,
            "topic": "repairs",
            "coverage": 1.0 - 0.5 * i,
            "num_facets_known": 2 - i,
            "num_samples": 32,
            "rank": 8,
            "targets": "query_value",
            "top_layers": 2,
            "probe_fix_rate": 0.6 - 0.3 * i,
            "probe_net_gain_pp": 5.5 - 3 * i,
            "train_forwards_equivalent": 1000.0,
            "train_cpu_s": 2.0,
            "train_num_labels": 32,
        }
        for i, ref in enumerate(("contributor-00/patch", "contributor-01/patch"))
    ]
    info = {
        "schema": 1,
        "backdoor": asdict(Backdoor(TRIGGER, LABELS[0])),
        "contributors": rows,
        "realised_relevance_pp": 5.5,
        "n_probe": 20,
        "n_probe_control": 40,
    }
    return SimpleNamespace(info=info, digest="p" * 64)


def made_up_world(model: Answers) -> Any:
    recipe = WorldRecipe(name="made-up/repairs", dataset="made-up", domain="repairs", contributor_size=32)
    contributors = [Sample("x", label, label) for label in LABELS]
    return SimpleNamespace(
        name="made-up/repairs",
        recipe=recipe,
        model=model,
        dataset_digest="d" * 64,
        dataset_origin="generated",
        facts={},
        facets=tuple(sorted(LABELS)),
        sources=SimpleNamespace(base_train=[], contributors=contributors, incident=None),
    )


def screened(chosen: str, status: str, num_fixed: int) -> tuple[Attempt, ...]:
    """Return the attempts of an arm that screened the pool and put one patch to the gate."""
    refused = [
        Attempt("marketplace", "tampered/patch", "refused", "digest_mismatch", "weights <changed>"),
        Attempt("marketplace", "unsigned/patch", "refused", "unsigned", "no manifest"),
    ]
    ran = [
        Attempt("marketplace", ref, "screened", "", "", "k" * 64, screen_figures(score))
        for ref, score in zip(POOL_REFS, (7.5, 6.0, 1.0, 0.0), strict=True)
    ]
    return (*refused, *ran, gate_attempt("marketplace", chosen, status, num_fixed))


def screen_figures(score: float) -> dict[str, float]:
    return {"score_pp": score, "fix_rate": score / 10, "flip_rate": 0.0, "num_failures": 8.0, "num_guard": 64.0}


def gate_attempt(kind: Any, ref: str, status: Any, num_fixed: int) -> Attempt:
    rate = num_fixed / N_SLICE
    figures = {"fix_rate": rate, "fix_rate_low": max(rate - 0.3, 0.0), "fix_rate_high": min(rate + 0.3, 1.0)}
    figures |= {"negative_flip_rate": 0.01, "negative_flip_rate_low": 0.0, "negative_flip_rate_high": 0.03}
    code = {"accepted": "accepted", "rejected": "fix_rate_too_low", "undecided": "undecided"}[status]
    counts = {"num_failures": 8, "num_controls": 300, "looks": 1}
    return Attempt(kind, ref, status, code, "gate", "", figures | counts)


def made_up_outcome(strategy: str, seed: int) -> HealingOutcome:
    """Return what an arm did: adopting works, and takes the backdoor with seed 1; surgery stays undecided there."""
    cost = Cost((("screen", PhaseCost(2.0, 3.0, 400.0, 1e9, 10)), ("gate", PhaseCost(1.0, 1.0, 100.0, 1e8, 0))))
    seen = {"repair": 8, "selection": 8, "replay": 64, "control_selection": 300}
    if strategy == "noop":
        return HealingOutcome("noop", "control", "no_op", None, None, "none", (), Cost())
    if strategy in ("best_single", "oracle_best"):
        has_backdoor = seed == 1 and strategy == "best_single"
        patch: Any = made_up_patch(POOL_REFS[int(has_backdoor)], 40 - 2 * seed, 1, has_backdoor=has_backdoor)
        if strategy == "oracle_best":
            return HealingOutcome(strategy, "control", "hindsight", patch, patch, "marketplace", (), Cost())
        attempts = screened(patch.patch_id, "accepted", 40)
        return HealingOutcome(strategy, "marketplace", "healed", patch, patch, "marketplace", attempts, cost, seen)
    own: Any = made_up_patch("local/prototype-rows", 15, 2)
    status = "undecided" if seed == 1 else "accepted"
    tried = Attempt("surgery", "prototype_rows", "screened", "", "on withheld repair", "", screen_figures(5.0))
    proposed = Attempt("surgery", "prototype_rows", "proposed", "", "trained on 8 failures")
    attempts = (tried, proposed, gate_attempt("surgery", own.patch_id, status, 15))
    healed = status == "accepted"
    operated = Cost((("surgery", PhaseCost(4.0, 5.0, 900.0, 1e9, 0)), *cost.phases[1:]))
    return HealingOutcome(
        strategy,
        "surgery",
        "healed" if healed else "undecided",
        own,
        own if healed else None,
        "surgery" if healed else "none",
        attempts,
        operated,
        seen,
    )


def write_results(
    out: Path,
    *,
    strategies: tuple[str, ...] = ("noop", "best_single", "surgery_only"),
    seeds: tuple[int, ...] = (0, 1),
    reference_arms: tuple[str, ...] = ("oracle_best",),
) -> Path:
    """Write a finished comparison into ``out`` and return it."""
    plan = ComparisonPlan("helpdesk", strategies=strategies, seeds=seeds, reference_arms=reference_arms)
    model, pool, suite = Answers(), made_up_pool(), made_up_suite()
    world: Any = made_up_world(model)
    judge = Judge(model, suite.judge, Backdoor(TRIGGER, LABELS[0]))  # type: ignore[arg-type]
    rows = []
    for number, (strategy, seed) in enumerate(plan.cells()):
        outcome = made_up_outcome(strategy, seed)
        proposed, deployed = judge.judge(outcome.proposed), judge.judge(outcome.deployed)
        row = result_row(plan, world, pool, suite, seed, outcome, proposed, deployed)
        row |= {"strategy": strategy, "base_unchanged": True}
        cell = {
            "schema": 1,
            "row": row,
            "pattern": suite.task.description,
            "attempts": [to_plain(a) for a in outcome.attempts],
            "phases": to_plain(outcome.cost)["phases"],
            "examples": compare._examples(suite, proposed),
            "events": [],
        }
        write_json(out / "cells" / f"cell{number:02d}" / "cell.json", cell)
        rows.append(row)
    info = compare._world_info(world, pool)
    write_json(out / "plan.json", asdict(plan))
    write_json(out / "world.json", info)
    compare.write_rows(out / "results.parquet", tuple(rows))
    write_json(out / "summary.json", summarize(plan, rows, info))
    return out
