"""Deployments: what answers for the tenant, the way back, and the approval of what waits in shadow."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from symbio_lab.deployment.deploy import deploy, roll_back
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import NotFoundError
from symbio_lab.records import Deployment, Patch
from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.schemas.work import DeployIn, DeploymentOut, DeploymentsOut, RollbackIn
from symbio_lab.service.state import ServiceState, state_of
from symbio_lab.trust.stored import open_stored

router = APIRouter(
    prefix="/deployments", tags=["deployments"], responses=problem_responses(401, 403, 409, 422, 429, 503)
)
Reader = Annotated[Caller, Depends(needs("read"))]
Deployer = Annotated[Caller, Depends(needs("deploy:write"))]


@router.get("")
def list_deployments(
    caller: Reader, request: Request, model_id: Annotated[str | None, Query(max_length=512)] = None
) -> DeploymentsOut:
    """List the tenant's lines of the ledger, oldest first."""
    lines = state_of(request).ledger.lines(tenant=caller.tenant, model_id=model_id)
    return DeploymentsOut(deployments=[_line(line) for line in lines])


@router.post("/promote", status_code=201, responses=problem_responses(404))
def promote(body: DeployIn, caller: Deployer, request: Request, response: Response) -> DeploymentOut:
    """Make a patch live that waits in shadow or canary: the approval that a policy may ask for."""
    state = state_of(request)
    waiting = _own(state, caller, body.deployment_id)
    if waiting.stage not in ("shadow", "canary") or waiting.patch_digest is None:
        raise ProblemError(409, "not_waiting", f"this deployment is {waiting.stage}", hint="promote a shadow or canary")
    registry = _registry(state, caller, waiting.model_id)
    line = deploy(
        registry,
        state.ledger,
        open_stored(state.settings.patches, waiting.patch_digest),
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
    """Undo the live deployment: what answered before it answers again, bit for bit."""
    state = state_of(request)
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
    line = state.ledger.get(deployment_id)
    if line.tenant != caller.tenant:
        raise NotFoundError(f"no deployment {deployment_id[:64]!r}")
    return line


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
    )
