"""From what a tenant reported to an incident that can be healed, and from there to a healed model.

Flow: stored answers and reports of one domain -> ``extract_suite`` -> ``pipeline.heal`` -> the ledger.

Rules:
    1. The failures are those of the domain: answers with a ground truth, and reports. Controls are answers outside it.
    2. The gate decides on samples that nothing else read; without enough of them it accepts nothing, and the result
       says how many more are needed.
    3. The tenant's policy holds: whose patches, how large, whether to operate, to contribute, to ask first.
    4. A job that is begun again looks into the ledger first: what it deployed, it does not deploy twice. A worker whose
       job was taken over cannot deploy any more (``fencing.py``).
    5. A market that does not answer is left out, and the result names it. Where operating is allowed the job goes on to
       that; where it is not, and nothing was found elsewhere, the job fails with ``no_network``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbio_lab.budget import Budget
from symbio_lab.codec import to_plain
from symbio_lab.deployment.gate import GatePolicy, gate_policy
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import EmptySliceError
from symbio_lab.events import Listener, PhaseFinished, PhaseStarted, emit
from symbio_lab.healing.catalogue import healing_strategy
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.monitor.extraction import Extraction, ExtractionSettings, GateNeeds, extract_suite
from symbio_lab.monitor.patterns import find_patterns
from symbio_lab.monitor.stored_traffic import recent_traffic
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.pipeline import Contributing, Deploying, Healed, heal
from symbio_lab.records import Deployment, FailureRecord, PredictionRecord
from symbio_lab.service.markets import Markets
from symbio_lab.service.quotas import limits_of
from symbio_lab.service.state import ServiceState
from symbio_lab.service.tenant_policy import TenantPolicy
from symbio_lab.store.job_rows import Job
from symbio_lab.store.ledger import Ledger
from symbio_lab.store.observed_time import expiry_after
from symbio_lab.store.prediction_reading import PredictionReader

TRAFFIC_ROWS = 50_000
REPORT_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class HealingPlan:
    """What a request leaves under the tenant's policy."""

    strategy: str
    gate: GatePolicy
    budget: Budget
    max_patches: int
    contribute: bool


def plan_healing(
    request: Mapping[str, Any], policy: TenantPolicy, *, most_forwards: float | None = None
) -> HealingPlan:
    """Return what is carried out for a request under a policy.

    Args:
        request: fields of ``HealingIn``.
        policy: the tenant's.
        most_forwards: budget of one job; None takes the policy's.

    Raises:
        EmptySliceError: neither adopting nor operating is left.
    """
    adopts = policy.allow_adoption and request["max_marketplace_patches"] > 0
    operates = policy.allow_surgery and request["enable_auto_surgery"]
    if not adopts and not operates:
        raise EmptySliceError("neither adopting nor operating is allowed", hint="change the request or the policy")
    strategy = "marketplace_first" if adopts and operates else "best_single" if adopts else "surgery_only"
    gate = gate_policy(policy.gate)
    gate = replace(gate, min_fix_rate=max(gate.min_fix_rate, request["min_accuracy_improvement"]))
    return HealingPlan(
        strategy,
        replace(gate, when_undecided="hold"),
        Budget(forwards_equivalent=policy.max_forwards_per_job if most_forwards is None else most_forwards),
        request["max_marketplace_patches"],
        bool(request["contribute_to_marketplace"]) and policy.allow_contribution,
    )


def collect_traffic(state: ServiceState, tenant: str, model_id: str) -> Traffic:
    """Return the tenant's labelled answers of a model, reports among them as answers that were wrong.

    Raises:
        StorageError: the store cannot be read.
    """
    reader = PredictionReader(state.database, tenant, model_id)
    answers, _ = recent_traffic(reader, num_rows=TRAFFIC_ROWS, labelled=True)
    reports = [record for _, record in state.reports.rows(tenant, model_id)][-REPORT_ROWS:]
    known = set(answers.texts)
    rows = [_as_prediction(report) for report in reports if report.input_sample not in known]
    return _joined(answers, traffic_of(rows)) if rows else answers


def extract_incident(
    state: ServiceState, job: Job, labels: tuple[str, ...], plan: HealingPlan, listener: Listener | None = None
) -> Extraction:
    """Return the incident of a job's domain.

    Raises:
        EmptySliceError: fewer than four failures, or no answers outside the domain.
        StorageError: the store cannot be read.
    """
    request = job.request
    with _phase(listener, "collect"):
        traffic = collect_traffic(state, job.tenant, request["model_id"])
    domain = request["domain"]
    in_domain = np.array([not domain or name == domain for name in traffic.domains], dtype=np.bool_)
    # Without a domain the failures themselves are the slice: everything that is right is outside.
    inside = in_domain if domain else in_domain & traffic.failed
    failed = np.flatnonzero(inside & traffic.failed)
    if len(failed) < 4 or inside.all():
        raise EmptySliceError(
            f"{len(failed)} labelled failures in {domain or 'all domains'!r}, "
            f"{int((~inside).sum())} labelled answers outside",
            hint="report at least 4 failures, and answers with their ground truth (POST /predictions) as controls",
        )
    failures = [_as_failure(traffic, int(i), request) for i in failed]
    with _phase(listener, "pattern"):
        pattern = find_patterns(failures, background=[traffic.texts[int(i)] for i in np.flatnonzero(~inside)])[0]
    gate = plan.gate
    looks = max(healing_strategy(plan.strategy).looks, 1)
    needs = GateNeeds(gate.min_fix_rate, gate.max_negative_flip_rate, gate.alpha, looks, min_controls=gate.min_controls)
    return extract_suite(
        traffic,
        inside,
        np.asarray(SentenceEmbedder()(list(traffic.texts))),
        task_type=request["task_type"],
        labels=labels,
        domain=domain or "reported failures",
        description=pattern.description,
        # The gate's controls come first: without enough of them it accepts nothing, whatever was trained on.
        settings=ExtractionSettings(needs=needs, judge_share=0.1, n_replay=min(512, max(64, len(traffic) // 8))),
    )


def carry_out(
    state: ServiceState,
    markets: Markets,
    job: Job,
    listener: Listener,
    should_stop: Callable[[], bool],
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """Heal what a job asks for and return its result.

    Args:
        state: of the service.
        markets: the tenants' markets.
        job: a running healing or surgery job.
        listener: told about every step.
        should_stop: asked at checkpoints; True ends the run with ``HealingCancelledError``.
        ledger: takes the deployment; None takes the state's own, without a condition.

    Raises:
        SymbioError: what ended it; nothing is half-deployed.
    """
    done = deployed_by(state, job)
    if done is not None:
        return {
            "status": "healed",
            "deployment_id": done.deployment_id,
            "patch_digest": done.patch_digest,
            "stage": done.stage,
            "repeated": True,
        }
    policy = state.policy(job.tenant)
    plan = plan_healing(job.request, policy, most_forwards=limits_of(state.service, policy).max_forwards_per_job)
    registered = state.models.find(job.tenant, job.request["model_id"])
    model = state.residents.get(registered).model
    incident = extract_incident(state, job, tuple(model.labels), plan, listener)
    registry = ModelRegistry()
    registry.register(registered.model_id, model)
    from symbio_lab.trust.keys import load_or_create_key

    key = load_or_create_key(state.settings.keys / "own.json")
    contributing = None
    if plan.contribute:
        from symbio_lab.marketplace.directory import DirectoryTransport

        contributing = Contributing(
            DirectoryTransport(state.market_folder),
            key,
            f"lab-{key.keyid[:12]}",
            f"job-{job.job_id[:12]}",
            base_licence=registered.licence,
        )
    market = markets.open(job.tenant, policy) if plan.strategy != "surgery_only" else None
    healed = heal(
        model,
        incident.suite.task,
        store=state.settings.patches,
        strategy=plan.strategy,
        market=market,
        budget=plan.budget,
        gate=plan.gate,
        max_marketplace_patches=max(plan.max_patches, 1),
        deploying=Deploying(
            registry,
            ledger or state.ledger,
            job.tenant,
            registered.model_id,
            job.created_at,
            note=f"job {job.job_id}",
            stage="shadow" if policy.require_approval else "live",
        ),
        contributing=contributing,
        listener=listener,
        key=key,
        issued=job.created_at,
        expires=expiry_after(job.created_at),
        should_stop=should_stop,
    )
    if market is not None and market.unreachable and healed.deployment is None and plan.strategy == "best_single":
        market.refuse("nothing was found where a market answers, and operating is not allowed")
    withheld = [
        what
        for what, is_withheld in (
            ("adoption", job.request["max_marketplace_patches"] > 0 and not policy.allow_adoption),
            ("surgery", job.request["enable_auto_surgery"] and not policy.allow_surgery),
            ("contribution", job.request["contribute_to_marketplace"] and not policy.allow_contribution),
        )
        if is_withheld
    ]
    return {
        **_result(healed, incident),
        "withheld_by_policy": withheld,
        "unreachable_markets": sorted(market.unreachable) if market is not None else [],
    }


def deployed_by(state: ServiceState, job: Job) -> Deployment | None:
    """Return the line of the ledger that an earlier attempt of this job added, if there is one.

    Raises:
        StorageError: the ledger cannot be read.
    """
    for line in state.ledger.history(job.tenant, job.request["model_id"]):
        if line.note.startswith(f"job {job.job_id}"):
            return line
    return None


def _result(healed: Healed, incident: Extraction) -> dict[str, Any]:
    outcome, verdict, deployment = healed.outcome, healed.verdict, healed.deployment
    chosen = outcome.deployed or outcome.proposed
    return {
        "status": outcome.status,
        "route": outcome.route,
        "strategy": outcome.strategy,
        "patch_id": chosen.patch_id if chosen else None,
        "patch_digest": chosen.digest if chosen else None,
        "deployment_id": deployment.deployment_id if deployment else None,
        "stage": deployment.stage if deployment else None,
        "contributed": outcome.contributed,
        "verdict": None if verdict is None else to_plain(verdict),
        "attempts": [to_plain(attempt) for attempt in outcome.attempts],
        "num_failures": incident.num_failures,
        "shortfall": incident.shortfall.describe(),
        "forwards_equivalent": outcome.cost.total("forwards_equivalent"),
    }


@contextmanager
def _phase(listener: Listener | None, name: str) -> Iterator[None]:
    """Tell a listener about work that comes before anything is charged."""
    started = time.perf_counter()
    emit(listener, PhaseStarted(name))
    try:
        yield
    finally:
        emit(listener, PhaseFinished(name, time.perf_counter() - started, 0.0))


def _as_prediction(report: FailureRecord) -> PredictionRecord:
    return PredictionRecord(
        report.model_id,
        report.task_type,
        report.input_sample,
        report.actual_output,
        report.expected_output,
        report.domain,
        report.tenant,
        report.model_revision,
        report.confidence,
        report.observed_at,
        event_id=report.failure_id,
    )


def _as_failure(traffic: Traffic, i: int, request: Mapping[str, Any]) -> FailureRecord:
    return FailureRecord(
        request["model_id"],
        request["task_type"],
        traffic.domains[i],
        "wrong_output",
        traffic.texts[i],
        str(traffic.expected[i]),
        traffic.actual[i],
    )


def _joined(first: Traffic, second: Traffic) -> Traffic:
    if not len(first):
        return second
    return Traffic(
        ids=first.ids + second.ids,
        texts=first.texts + second.texts,
        actual=first.actual + second.actual,
        expected=first.expected + second.expected,
        domains=first.domains + second.domains,
        confidence=np.concatenate([first.confidence, second.confidence]),
        failed=np.concatenate([first.failed, second.failed]),
        labelled=np.concatenate([first.labelled, second.labelled]),
    )
