"""Heal one incident: the table of contents of the lab.

Search, verify, screen, gate, else operate, gate again, deploy, contribute back. Notebook, sweep, command line and
service all call ``heal``; none has healing logic of its own. Every step emits typed events.

Flow: records.py -> pipeline.py -> monitor/patterns.py
Next: symbio_lab/monitor/patterns.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.deployment.deploy import deploy
from symbio_lab.deployment.gate import GATE_POLICIES, GatePolicy, Verdict
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import (
    BudgetExceededError,
    ConfigError,
    EmptySliceError,
    HealingTimeoutError,
    TrustError,
    WrongTaskError,
)
from symbio_lab.evaluation.evaluate import BasePredictions
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.evaluation.suites import check_labels
from symbio_lab.events import Contributed, Listener, emit
from symbio_lab.healing.catalogue import healing_strategy
from symbio_lab.healing.context import FAR_FUTURE, NO_CLOCK, HealingContext, Proposal
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.contribution.contributing import licences_of
from symbio_lab.marketplace.contribution.licence_terms import check_licence
from symbio_lab.marketplace.contribution.privacy_screen import refuse_private
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.marketplace.transport import Transport
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Attempt, ClaimedMetric, Deployment, HealingOutcome, Patch
from symbio_lab.store.ledger import Ledger
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.trust.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Deploying:
    """Where an accepted patch goes live."""

    registry: ModelRegistry
    ledger: Ledger
    tenant: str
    model_id: str
    now: str
    note: str = ""
    """Shown in the ledger before the route and the gate's name."""
    stage: str = "live"
    """Stage of an accepted patch: ``shadow`` where somebody has to approve it first."""


@dataclass(frozen=True, slots=True)
class Contributing:
    """Where accepted surgery is published back, and under whose name."""

    transport: Transport
    key: SigningKey
    namespace: str
    name: str
    licence: str = "Apache-2.0"
    base_licence: str | None = None
    """SPDX expression of the base; None: not known, so that nothing is published where ``screened`` asks for it."""
    screened: bool = True
    """Whether licences are checked, and what would be said of the patch is compared with every text of the incident
    first; False only where the market is a folder that nobody else reads, such as a cell of a comparison."""


@dataclass(frozen=True, slots=True)
class Healed:
    """What one call of ``heal`` did."""

    outcome: HealingOutcome
    verdict: Verdict | None
    """The gate's last verdict; None when nothing was proposed."""
    deployment: Deployment | None
    """The ledger's line; None when nothing went live or no registry was given."""


def heal(
    model: PatchableModel,
    task: RepairTask,
    *,
    store: Path,
    strategy: str = "marketplace_first",
    market: MarketplaceClient | None = None,
    budget: Budget | None = None,
    gate: GatePolicy = GATE_POLICIES["lab"],
    seed: int = 0,
    max_marketplace_patches: int = 20,
    lora: LoraSettings | None = None,
    deploying: Deploying | None = None,
    contributing: Contributing | None = None,
    listener: Listener | None = None,
    key: SigningKey | None = None,
    issued: str = NO_CLOCK,
    expires: str = FAR_FUTURE,
    should_stop: Callable[[], bool] | None = None,
) -> Healed:
    """Heal one incident and return what was tried, decided, deployed and spent.

    Args:
        model: the base; its weights never change.
        task: the incident as the healer may see it.
        store: folder for verified and sealed patches.
        strategy: a name of ``healing.catalogue``.
        market: the tenant's view of the marketplace; None means there is none.
        budget: forwards-equivalent and wall limit; the same for every arm of a comparison.
        gate: the tenant's limits.
        seed: every random choice.
        max_marketplace_patches: candidates evaluated at most.
        lora: hyper-parameters of LoRA surgery.
        deploying: where an accepted patch goes live; None deploys nothing.
        contributing: where accepted surgery is published back; None publishes nothing.
        listener: told about every step.
        key: signs our own patches; None uses a key that lives with the process.
        issued: UTC time stamped on our own patches.
        expires: UTC time at which they expire.
        should_stop: asked at every charge; True ends the run, and nothing is deployed.

    Raises:
        ConfigError: unknown strategy.
        HealingCancelledError: ``should_stop`` said so.
        EmptySliceError: no failures.
        UnknownLabelsError: the failures carry labels that the model lacks, and ``label_shift`` is ``known``.
        WrongTaskError: the model serves another task type.
        StorageError: the store, ledger or market cannot be written; nothing is half-written.
    """
    chosen = healing_strategy(strategy)
    if task.task_type != model.task_type:
        raise WrongTaskError(f"the failures are {task.task_type}, the model is for {model.task_type}")
    if not task.repair or not task.selection:
        raise EmptySliceError("healing needs failures to repair and failures to decide on (n_repair of at least 2)")
    check_labels(model, (*task.repair, *task.selection, *task.replay, *task.control_selection), task.label_shift)
    meter = CostMeter(budget or Budget(), listener, num_parameters=model.num_parameters, should_stop=should_stop)
    context = HealingContext(
        model=model,
        task=task,
        meter=meter,
        gate=gate,
        store=store,
        base=BasePredictions(model),
        seed=seed,
        market=market,
        max_marketplace_patches=max_marketplace_patches,
        lora=lora or LoraSettings(),
        listener=listener,
        key=key,
        issued=issued,
        expires=expires,
    )
    stopped: Attempt | None = None
    try:
        proposal = chosen.heal(context)
    except (BudgetExceededError, HealingTimeoutError) as error:
        stopped = Attempt("control", strategy, "skipped", error.code, str(error))
        proposal = Proposal(None, "none", None, (*context.tried, stopped))
    accepted = proposal.verdict is not None and proposal.verdict.decision == "accept"
    deployed = proposal.patch if accepted else None
    deployment = _deploy(deployed, proposal, deploying, gate, listener, meter)
    contributed = None
    attempts = proposal.attempts
    if deployed is not None and contributing is not None and proposal.route == "surgery":
        refused = _refusal_to_leave(deployed, contributing, context) if contributing.screened else None
        if refused is None:
            contributed = _contribute(deployed, proposal, contributing, context)
        else:
            # The model is healed all the same; what may not leave stays here, and the outcome says why.
            attempts = (*attempts, refused)
    outcome = HealingOutcome(
        strategy=strategy,
        family=chosen.family,
        status=stopped.code if stopped else _status(strategy, proposal),
        proposed=proposal.patch,
        deployed=deployed,
        route=proposal.route if accepted else "none",
        attempts=attempts,
        cost=meter.cost(),
        num_labels_seen=dict(sorted(context.labels_seen.items())),
        contributed=contributed,
    )
    return Healed(outcome, proposal.verdict, deployment)


def _status(strategy: str, proposal: Proposal) -> str:
    if strategy == "noop":
        return "no_op"
    if proposal.patch is None or proposal.verdict is None:
        return "no_patch_found"
    return {"accept": "healed", "reject": "rejected", "undecided": "undecided"}[proposal.verdict.decision]


def _deploy(
    deployed: Patch | None,
    proposal: Proposal,
    deploying: Deploying | None,
    gate: GatePolicy,
    listener: Listener | None,
    meter: CostMeter,
) -> Deployment | None:
    """Deploy what was accepted; an undecided patch only as far as the policy says (shadow or canary)."""
    patch, stage = deployed, "live" if deploying is None else deploying.stage
    if patch is None and proposal.verdict is not None and proposal.verdict.decision == "undecided":
        patch, stage = proposal.patch, gate.when_undecided
    if patch is None or deploying is None or stage == "hold":
        return None
    with meter.phase("deploy"):
        return deploy(
            deploying.registry,
            deploying.ledger,
            patch,
            tenant=deploying.tenant,
            model_id=deploying.model_id,
            now=deploying.now,
            stage=stage,
            note=": ".join(part for part in (deploying.note, f"{proposal.route}, gate {gate.name}") if part),
            listener=listener,
        )


def _refusal_to_leave(patch: Patch, contributing: Contributing, context: HealingContext) -> Attempt | None:
    """Return why a patch may not be published: its licences, or private data in what is said of it."""
    said, task = patch.manifest, context.task
    names = ("title", "scope", "domain", "training_data", "base_id")
    texts = {name: getattr(said, name) for name in names}
    texts |= {f"labels[{i}]": label for i, label in enumerate(said.labels)}
    samples = (*task.repair, *task.selection, *task.replay, *task.control_selection)
    private = [sample.text for sample in samples]
    if task.task_type == "text_generation":  # elsewhere what is expected is the name of a class
        private += [sample.expected for sample in samples]
    sources = {f"the base {said.base_id}": contributing.base_licence, **licences_of(said.lineage, context.store)}
    try:
        check_licence(contributing.licence, sources)
        refuse_private(texts, private)
    except (ConfigError, TrustError) as error:
        return Attempt("control", "contribute", "refused", error.code, str(error))
    return None


def _contribute(patch: Patch, proposal: Proposal, contributing: Contributing, context: HealingContext) -> str:
    """Publish accepted surgery under the contributor's key, claiming what the gate measured."""
    verdict = proposal.verdict
    claims = []
    if verdict is not None:
        claims = [
            ClaimedMetric("fix_rate", verdict.fix_rate or 0.0, verdict.num_failures),
            ClaimedMetric("negative_flip_rate", verdict.negative_flip_rate or 0.0, verdict.num_controls),
        ]
    with context.meter.phase("contribute"):
        published = publish_patch(
            patch,
            contributing.transport,
            contributing.key,
            store=context.store,
            issued=context.issued,
            expires=context.expires,
            patch_id=f"{contributing.namespace}/{contributing.name}",
            licence=contributing.licence,
            claims=claims,
        )
        context.meter.charge_bytes(patch.size_bytes)
    emit(context.listener, Contributed(published.ref, published.digest))
    return published.digest
