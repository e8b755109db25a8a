"""What every strategy is given, and the two things every strategy does with a candidate: seal it and gate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from symbio_lab.budget import CostMeter
from symbio_lab.deployment.gate import GatePolicy, Verdict, decide
from symbio_lab.errors import DataError
from symbio_lab.evaluation.evaluate import BasePredictions, run_outcomes
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.events import GateDecided, Listener, emit
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.models.operated import Operated
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Attempt, ClaimedMetric, Patch
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.trust import sealing
from symbio_lab.trust.keys import SigningKey

NO_CLOCK = "1970-01-01T00:00:00Z"
FAR_FUTURE = "2999-01-01T00:00:00Z"


@dataclass(slots=True)
class HealingContext:
    """One healing run."""

    model: PatchableModel
    task: RepairTask
    meter: CostMeter
    gate: GatePolicy
    store: Path
    """Content-addressed folder for patches."""
    base: BasePredictions
    seed: int = 0
    market: MarketplaceClient | None = None
    max_marketplace_patches: int = 20
    """Candidates evaluated at most."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    listener: Listener | None = None
    namespace: str = "local"
    """First part of the ids of our own patches."""
    key: SigningKey | None = None
    """Signs our own patches; None uses a key that lives and dies with the process."""
    issued: str = NO_CLOCK
    expires: str = FAR_FUTURE
    licence: str = "Apache-2.0"
    labels_seen: dict[str, int] = field(default_factory=dict)
    num_looks: int = 0
    """Looks at the gate taken so far."""
    tried: list[Attempt] = field(default_factory=list)
    """Every attempt as it is made: what is left to report when a limit stops the run in the middle."""

    def note(self, attempt: Attempt) -> Attempt:
        """Keep an attempt for the report and return it."""
        self.tried.append(attempt)
        return attempt

    def saw(self, split: str, num_samples: int) -> None:
        """Note that labels of a split were read."""
        self.labels_seen[split] = max(self.labels_seen.get(split, 0), num_samples)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a strategy ends with."""

    patch: Patch | None
    """The ungated candidate; None when there was none."""
    route: str
    """``marketplace``, ``surgery``, ``control`` or ``none``."""
    verdict: Verdict | None
    attempts: tuple[Attempt, ...]


def seal_operated(
    context: HealingContext,
    operated: Operated,
    *,
    claims: Sequence[ClaimedMetric] = (),
    lineage: Sequence[str] = (),
    training_data: str = "",
) -> Patch:
    """Return tensors as a sealed patch of level ``self``, stored by content."""
    rows = operated.rows
    return sealing.seal_patch(
        store=context.store,
        deltas=operated.deltas,
        rank=operated.rank,
        alpha=operated.alpha,
        head_rows=sealing.HeadRows(rows.labels, rows.weight, rows.bias) if rows else None,
        base_id=context.model.model_id,
        base_digest=context.model.digest,
        task_type=context.model.task_type,
        patch_id=f"{context.namespace}/{operated.method.replace('_', '-')}",
        title=f"{operated.method} for {context.task.domain}",
        scope=context.task.description,
        labels=context.task.repair_labels,
        domain=context.task.domain,
        licence=context.licence,
        training_data=training_data or f"{len(context.task.repair)} failures and replay of the healer",
        claims=tuple(claims),
        lineage=tuple(lineage),
        issued=context.issued,
        expires=context.expires,
        key=context.key,
    )


def ask_gate(context: HealingContext, patch: Patch, kind: str, *, looks: int) -> tuple[Verdict, Attempt]:
    """Run one look of the gate on a candidate and return its verdict and record.

    Raises:
        BudgetExceededError: the look does not fit the budget.
        DataError: more looks than declared; the bounds would not hold.
    """
    task = context.task
    if context.num_looks >= looks:
        raise DataError(f"the gate was asked {context.num_looks + 1} times, {looks} look(s) were declared")
    with context.meter.phase("gate"):
        context.saw("selection", len(task.selection))
        context.saw("control_selection", len(task.control_selection))
        on_selection = run_outcomes(context.model, patch, task.selection, context.base, context.meter)
        on_control = run_outcomes(context.model, patch, task.control_selection, context.base, context.meter)
        verdict = decide(on_selection, on_control, context.gate, looks=looks)
        context.num_looks += 1
    status = {"accept": "accepted", "reject": "rejected", "undecided": "undecided"}[verdict.decision]
    emit(
        context.listener,
        GateDecided(
            patch.patch_id,
            verdict.decision,
            verdict.fix_rate or 0.0,
            verdict.fix_rate_low,
            verdict.negative_flip_rate or 0.0,
            verdict.negative_flip_rate_high,
        ),
    )
    attempt = Attempt(
        kind=kind,  # type: ignore[arg-type]
        ref=patch.patch_id,
        status=status,  # type: ignore[arg-type]
        code=verdict.code,
        detail=f"gate look {context.num_looks} of {looks}" if looks > 1 else "gate",
        keyid=patch.manifest.keyid if kind == "marketplace" else "",
        metrics=verdict.figures(),
    )
    return verdict, context.note(attempt)
