"""Deployments: what answers for the tenant, what stands beside it, the way back, and the approval of what waits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from symbio_lab.deployment.deploy import deploy, roll_back, withdraw
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import NotFoundError
from symbio_lab.records import Deployment, Patch
from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.candidates import CANDIDATE_STAGES, WHOLE_PPM, candidate_stage, find_standing, share_of
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.schemas.work import (
    DeployIn,
    DeploymentOut,
    DeploymentsOut,
    RateOut,
    RollbackIn,
    StageIn,
    TrafficOut,
)
from symbio_lab.service.state import ServiceState, state_of
from symbio_lab.stats.intervals import wilson
from symbio_lab.trust.stored import open_stored

router = APIRouter(
    prefix="/deployments", tags=["deployments"], responses=problem_responses(401, 403, 409, 422, 429, 503)
)
Reader = Annotated[Caller, Depends(needs("read"))]
Deployer = Annotated[Caller, Depends(needs("deploy:write"))]
DeploymentId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
DEFAULT_CANARY_SHARE = 0.1


@router.get("")
def list_deployments(
    caller: Reader, request: Request, model_id: Annotated[str | None, Query(max_length=512)] = None
) -> DeploymentsOut:
    """List the tenant's lines of the ledger, oldest first."""
    lines = state_of(request).ledger.lines(tenant=caller.tenant, model_id=model_id)
    return DeploymentsOut(deployments=[_line(line) for line in lines])


@router.post("", status_code=201, responses=problem_responses(404))
def stage_patch(body: StageIn, caller: Deployer, request: Request, response: Response) -> DeploymentOut:
    """Give a patch that the tenant's gate accepted before a stage: shadow, canary or live.

    A new shadow or canary takes the place of the one before.
    """
    state = state_of(request)
    if (body.deployment_id is None) == (body.patch_digest is None):
        raise ProblemError(422, "bad_request", "name deployment_id or patch_digest", hint="one of both")
    if body.stage == "live" and body.share is not None:
        raise ProblemError(422, "bad_request", "what is live answers everything", hint="leave share out")
    digest = _accepted(state, caller, body)
    share = {"shadow": 1.0, "canary": DEFAULT_CANARY_SHARE}.get(body.stage) if body.share is None else body.share
    line = deploy(
        _registry(state, caller, body.model_id),
        state.ledger,
        _reopen(state, digest),
        tenant=caller.tenant,
        model_id=body.model_id,
        now=state.now(),
        stage=body.stage,
        note=f"staged by {caller.actor}",
        share_ppm=None if share is None else round(share * WHOLE_PPM),
    )
    _audit(state, caller, "deployment.stage", line)
    response.headers["Location"] = "/deployments"
    return _line(line)


@router.get("/{deployment_id}/traffic", responses=problem_responses(404))
def show_traffic(deployment_id: DeploymentId, caller: Reader, request: Request) -> TrafficOut:
    """Show how a shadow or canary did beside the live patch: agreement, and who was right where a label is known."""
    state = state_of(request)
    line = _own(state, caller, deployment_id)
    if line.stage not in CANDIDATE_STAGES:
        raise ProblemError(
            409, "not_a_candidate", f"this deployment is {line.stage}", hint="ask for a shadow or canary"
        )
    found = state.candidates.figures(deployment_id)
    standing = find_standing(state.ledger, caller.tenant, line.model_id).candidate
    return TrafficOut(
        deployment_id=deployment_id,
        model_id=line.model_id,
        stage=candidate_stage(line),
        share=share_of(line) / WHOLE_PPM,
        is_standing=standing is not None and standing.deployment_id == deployment_id,
        num_seen=found.num_seen,
        num_answered=found.num_answered,
        num_compared=found.num_compared,
        num_flips=found.num_compared - found.num_agreed,
        num_errors=found.num_errors,
        agreement=_rate(found.num_agreed, found.num_compared),
        num_labelled=found.num_labelled,
        live_accuracy=_rate(found.both_right + found.only_live_right, found.num_labelled),
        candidate_accuracy=_rate(found.both_right + found.only_candidate_right, found.num_labelled),
        fix_rate=_rate(found.only_candidate_right, found.only_candidate_right + found.both_wrong),
        negative_flip_rate=_rate(found.only_live_right, found.only_live_right + found.both_right),
    )


@router.post("/promote", status_code=201, responses=problem_responses(404))
def promote(body: DeployIn, caller: Deployer, request: Request, response: Response) -> DeploymentOut:
    """Make a patch live that waits in shadow or canary: the approval that a policy may ask for."""
    state = state_of(request)
    waiting = _own(state, caller, body.deployment_id)
    if waiting.stage not in CANDIDATE_STAGES or waiting.patch_digest is None:
        raise ProblemError(409, "not_waiting", f"this deployment is {waiting.stage}", hint="promote a shadow or canary")
    registry = _registry(state, caller, waiting.model_id)
    line = deploy(
        registry,
        state.ledger,
        _reopen(state, waiting.patch_digest),
        tenant=caller.tenant,
        model_id=waiting.model_id,
        now=state.now(),
        note=f"approved by {caller.actor}: {waiting.deployment_id[:12]}",
    )
    _audit(state, caller, "deployment.promote", line)
    response.headers["Location"] = "/deployments"
    return _line(line)


@router.post("/rollback", status_code=201, responses=problem_responses(404))
def rollback(body: RollbackIn, caller: Deployer, request: Request) -> DeploymentOut:
    """Undo the live deployment: what answered before it answers again, bit for bit.

    With the ``deployment_id`` of the standing shadow or canary, that one ends, and what is live goes on.
    """
    state = state_of(request)
    if body.deployment_id is not None:
        candidate = _own(state, caller, body.deployment_id)
        standing = find_standing(state.ledger, caller.tenant, body.model_id).candidate
        if standing is None or standing.deployment_id != candidate.deployment_id:
            raise ProblemError(
                409, "not_standing", "this deployment is no shadow or canary that stands", hint="GET /deployments"
            )
        line = withdraw(state.ledger, candidate, now=state.now())
        _audit(state, caller, "deployment.withdraw", line)
        return _line(line)
    line = roll_back(
        _registry(state, caller, body.model_id),
        state.ledger,
        tenant=caller.tenant,
        model_id=body.model_id,
        now=state.now(),
        reopen=lambda digest: _reopen(state, digest),
    )
    _audit(state, caller, "deployment.rollback", line)
    return _line(line)


def _registry(state: ServiceState, caller: Caller, model_id: str) -> ModelRegistry:
    registered = state.models.find(caller.tenant, model_id)
    registry = ModelRegistry()
    registry.register(model_id, state.residents.get(registered).model)
    return registry


def _own(state: ServiceState, caller: Caller, deployment_id: str) -> Deployment:
    return state.ledger.get(deployment_id, tenant=caller.tenant)


def _reopen(state: ServiceState, digest: str) -> Patch:
    return open_stored(state.settings.patches, digest)


def _audit(state: ServiceState, caller: Caller, action: str, line: Deployment) -> None:
    state.audit.append(
        caller.tenant,
        at=state.now(),
        actor=caller.actor,
        action=action,
        subject=line.deployment_id,
        detail={"model_id": line.model_id, "patch_digest": line.patch_digest, "stage": line.stage},
    )


def _line(line: Deployment) -> DeploymentOut:
    return DeploymentOut(
        deployment_id=line.deployment_id,
        model_id=line.model_id,
        base_digest=line.base_digest,
        patch_digest=line.patch_digest,
        patch_id=line.patch_id,
        stage=line.stage,
        previous=line.previous,
        created_at=line.created_at,
        note=line.note,
        share=None if line.share_ppm is None else line.share_ppm / WHOLE_PPM,
    )


def _accepted(state: ServiceState, caller: Caller, body: StageIn) -> str:
    """Return the digest of the patch that is meant: one of the tenant's own ledger, for this model."""
    for line in state.ledger.history(caller.tenant, body.model_id):
        is_meant = body.deployment_id in (None, line.deployment_id) and body.patch_digest in (None, line.patch_digest)
        if line.patch_digest is not None and is_meant:
            return line.patch_digest
    raise NotFoundError(
        "this tenant never accepted such a patch for this model",
        hint="heal first; GET /deployments lists what there is",
    )


def _rate(hits: int, num: int) -> RateOut:
    low, high = wilson(hits, num)
    return RateOut(value=hits / num if num else None, low=low, high=high, num=num)
