"""Models: registering, listing, answering with the tenant's live patch, and how each one does."""

from __future__ import annotations

import re
import time
from pathlib import Path as FilePath
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Path, Request, Response

from symbio_lab.errors import ModelUnresolvedError, NetworkUnavailableError
from symbio_lab.monitor.health import assess_health
from symbio_lab.monitor.stored_traffic import recent_traffic
from symbio_lab.records import Deployment
from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.candidates import candidate_stage
from symbio_lab.service.predicting import answer
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.registering import register_model
from symbio_lab.service.schemas.work import CandidateOut, HealthOut, ModelIn, ModelOut, ModelsOut, PredictIn, PredictOut
from symbio_lab.service.state import state_of
from symbio_lab.store.api_keys import OPERATOR
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.registered_models import RegisteredModel

router = APIRouter(tags=["models"], responses=problem_responses(401, 403, 409, 422, 429, 503))
Reader = Annotated[Caller, Depends(needs("read"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
Predictor = Annotated[Caller, Depends(needs("predict"))]
ModelId = Annotated[str, Path(min_length=1, max_length=512)]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
HEALTH_ROWS = 20_000
"""Newest answers that are looked at; the newest quarter of them is compared with the rest."""
MIN_RECENT = 100


@router.get("/models")
def list_models(caller: Reader, request: Request) -> ModelsOut:
    """List the bases that the tenant can name."""
    found = state_of(request).models.list(caller.tenant)
    return ModelsOut(models=[_model(model) for model in found])


@router.post("/models", status_code=201)
def register(body: ModelIn, caller: Admin, request: Request, response: Response) -> ModelOut:
    """Register a base of the Hub for this tenant; folders are for operators (symbio serve --model ID=SOURCE)."""
    state = state_of(request)
    if not state.service.local and not _HUB_ID.fullmatch(body.source):
        raise ProblemError(
            403,
            "forbidden",
            "a tenant registers models of the Hub",
            hint="give a Hub id (org/name), or ask the operator: symbio serve --model ID=FOLDER",
        )
    owner = OPERATOR if state.service.local else caller.tenant
    try:
        # A folder of the server that is called like a Hub id is no model of the Hub.
        if not state.service.local and FilePath(body.source).exists():
            raise ModelUnresolvedError(body.source)
        model = register_model(
            state,
            body.model_id,
            body.source,
            owner=owner,
            revision=body.revision,
            task_type=body.task_type,
            licence=body.licence,
        )
    except (ModelUnresolvedError, NetworkUnavailableError) as error:
        if state.service.local:
            raise
        # One answer, whatever there is on the server's disk.
        detail = "the Hub gives no such model that can be loaded here"
        hint = "check its id and revision, and try again later"
        raise ProblemError(409, "model_unresolved", detail, hint=hint) from error
    state.audit.append(
        caller.tenant,
        at=state.now(),
        actor=caller.actor,
        action="model.register",
        subject=model.digest,
        detail={"model_id": model.model_id},
    )
    response.headers["Location"] = "/models"
    return _model(model)


@router.post("/predict", responses=problem_responses(404))
async def predict(body: PredictIn, caller: Predictor, request: Request) -> PredictOut:
    """Answer texts with the tenant's live patch, or the base where none is live; a canary answers its share.

    Requests of all tenants that wait for the same base are answered together. Without room: 429 (this tenant's part
    is full) or 503 (everybody's), with Retry-After.
    """
    if body.prediction_ids is not None and len(body.prediction_ids) != len(body.inputs):
        raise ProblemError(422, "bad_request", "not one prediction id for each input", hint="send N inputs and N ids")
    started = time.perf_counter()
    found = await answer(state_of(request), caller.tenant, body.model_id, body.inputs, body.prediction_ids)
    request.app.state.measures.predicted(len(body.inputs), time.perf_counter() - started)
    line, candidate = found.live, found.candidate
    return PredictOut(
        outputs=list(found.outputs),
        confidences=[min(max(value, 0.0), 1.0) for value in found.confidences],
        model_revision=found.registered.digest,
        patch_digest=line.patch_digest if line else None,
        deployment_id=line.deployment_id if line else None,
        answered_by=list(found.answered_by),
        candidate=None if candidate is None else _candidate(candidate),
    )


@router.get("/models/{model_id:path}/health", responses=problem_responses(404))
def health(model_id: ModelId, caller: Reader, request: Request) -> HealthOut:
    """Say how a model does for this tenant, and by what evidence: its newest answers against those before them."""
    state = state_of(request)
    reader = PredictionReader(state.database, caller.tenant, model_id)
    traffic, _ = recent_traffic(reader, num_rows=HEALTH_ROWS)
    num_recent = max(MIN_RECENT, len(traffic) // 4)
    rows = np.arange(len(traffic))
    earlier, recent = traffic.take(rows[:-num_recent]), traffic.take(rows[-num_recent:])
    is_known = int(earlier.labelled.sum()) >= MIN_RECENT
    found = assess_health(recent, reference_rate=earlier.error_rate if is_known else None)
    return HealthOut(
        model_id=model_id,
        state=found.state,
        evidence=list(found.evidence),
        error_rate=found.error_rate.value,
        error_rate_low=found.error_rate.low,
        error_rate_high=found.error_rate.high,
        num_labelled=int(recent.labelled.sum()),
        num_unlabelled=found.num_unlabelled,
        num_failure_reports=reader.state().num_failure_reports,
    )


def _candidate(line: Deployment) -> CandidateOut:
    return CandidateOut(deployment_id=line.deployment_id, stage=candidate_stage(line), patch_digest=line.patch_digest)


def _model(model: RegisteredModel) -> ModelOut:
    return ModelOut(
        model_id=model.model_id,
        source=model.source if model.owner != OPERATOR else FilePath(model.source).name,
        revision=model.revision,
        task_type=model.task_type,
        digest=model.digest,
        created_at=model.created_at,
        licence=model.licence,
        own=model.owner != OPERATOR,
    )
