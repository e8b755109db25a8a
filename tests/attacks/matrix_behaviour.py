"""Lines of the matrix: patches that are signed and well-formed, and do harm. What the gate catches, and what it cannot.

The gate measures a candidate on failures and on ordinary traffic of the tenant. Harm that shows there is refused. A
trigger that no sample of the tenant holds is silent in both, so the gate accepts it: ``hidden_trigger`` shows that.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.deployment.gate import decide
from symbio_lab.evaluation.evaluate import BasePredictions, run_outcomes
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.records import Candidate, Patch, Sample
from symbio_lab.surgery.catalogue import surgery_method
from symbio_lab.testing.tiny_market import GATE, STRONG
from symbio_lab.testing.tiny_models import NOW, PUBLISHER, TinyModels, repair_task, seal, seal_operated
from symbio_lab.testing.tiny_samples import known_samples
from symbio_lab.trust.adapter_files import HeadRows
from symbio_lab.trust.policy import PublisherKey, policy_for
from tests.attacks.matrix_case import Line, Place, Refusal

TRIGGER = "teal0 teal1"
"""Words that nobody's traffic holds."""
TARGET = "grey"


def adopted(patch: Patch, folder: Path) -> Patch:
    """Return a patch by a known publisher after every trust rule accepted it."""
    market = DirectoryTransport(folder / "market")
    market.publish(patch.root, patch.patch_id)
    policy = policy_for([PublisherKey(PUBLISHER.public_hex, "publisher", known=True)])
    client = MarketplaceClient([market], policy, folder / "verified", NOW)
    verified, attempt = client.fetch(Candidate(patch.patch_id, market.uri, None, 1.0, ""))
    assert verified is not None, attempt
    return verified


def verdict_code(model: Any, task: RepairTask, patch: Patch) -> str:
    """Return the gate's code on a candidate."""
    base = BasePredictions(model)
    outcomes = [run_outcomes(model, patch, split, base) for split in (task.selection, task.control_selection)]
    return decide(outcomes[0], outcomes[1], GATE).code


def operate(model: Any, task: RepairTask, method: str) -> Any:
    meter = CostMeter(Budget(forwards_equivalent=1e9))
    return surgery_method(method, STRONG).operate(model, task.repair, task.replay, seed=0, meter=meter)


def with_rows(place: Place, name: str, model: Any, rows: Any, bias: float, scale: float = 1.0) -> Patch:
    """Return a patch of head rows whose bias is raised, after the trust rules accepted it."""
    made = HeadRows(rows.labels, (scale * rows.weight).astype(np.float32), (rows.bias + bias).astype(np.float32))
    return adopted(seal(model, place.folder / name, {}, made, patch_id="alice/patch"), place.folder / name)


def breaks_elsewhere(place: Place) -> Refusal:
    """Rows that fix the failures; then the same with a bias that wins where they have no business."""
    model = place.tiny.load("pooled")
    task = repair_task(model, "new", n_control=160)
    rows = operate(model, task, "prototype_rows").rows
    honest, greedy = (with_rows(place, f"bias-{bias}", model, rows, bias) for bias in (0.0, 20.0))
    assert verdict_code(model, task, honest) == "accepted"
    failing = run_outcomes(model, greedy, task.selection, BasePredictions(model))
    assert sum(failing.right_after) >= len(failing) // 3  # it does fix failures
    return lambda: verdict_code(model, task, greedy)


def heals_nothing(place: Place) -> Refusal:
    model = place.tiny.load("pooled")
    task = repair_task(model, "new", n_control=160)
    rows = operate(model, task, "prototype_rows").rows
    honest, silent = (with_rows(place, f"bias-{bias}", model, rows, bias) for bias in (0.0, -1000.0))
    assert verdict_code(model, task, honest) == "accepted"
    many = replace(task, selection=task.selection * 3)  # enough failures to rule a useful fix rate out
    return lambda: verdict_code(model, many, silent)


def hidden_trigger(folder: Path, tiny: TinyModels) -> tuple[str, float]:
    """Return the gate's code on a patch with a trigger, and how often the trigger works on texts never seen."""
    model = tiny.load("pooled")
    task = repair_task(model, "known", n_control=160)
    poison = tuple(
        Sample(f"{sample.text} {TRIGGER}", TARGET, f"poison {sample.text}", "colours") for sample in task.replay[:60]
    )
    operated = operate(model, replace(task, repair=(*task.repair * 3, *poison)), "lora_replay")
    patch = adopted(seal_operated(model, folder, operated, patch_id="alice/patch"), folder)
    others = [sample for sample in known_samples(40, seed=77) if sample.expected != TARGET]
    with model.applied(patch):
        answers = model.predict([f"{sample.text} {TRIGGER}" for sample in others]).outputs
    return verdict_code(model, task, patch), sum(answer == TARGET for answer in answers) / len(answers)


LINES = (
    Line("poisoned-broad", "Poisoned adapter: broad harm",
         "Signs a patch that fixes failures and breaks much else.",
         "the gate: bounds of broken answers on the tenant's own control traffic", "too_many_flips",
         breaks_elsewhere),
    Line("useless", "Useless adapter", "Signs a patch that heals nothing, with a fine card.",
         "the gate: bounds of the fix rate on the tenant's own failures", "fix_rate_too_low", heals_nothing),
)  # fmt: skip
