"""Failures, predictions and labels come in: validated, redacted where the tenant asks for it, stored at once.

An answer of 201 means that the record is on disk. Sending it again is harmless: its id is its content.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.monitor.ingesting import IngestReport, ingest, ingest_labels, ingest_reports
from symbio_lab.monitor.validating import REFUSAL_CODES
from symbio_lab.records import FailureRecord, PredictionRecord
from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.quotas import check_labels, check_records
from symbio_lab.service.redacting import redaction_of
from symbio_lab.service.schemas.records import (
    FailureIn,
    FailureReportOut,
    FailuresIn,
    IngestedOut,
    LabelsIn,
    PredictionsIn,
    RefusedOut,
)
from symbio_lab.service.state import ServiceState, state_of

router = APIRouter(tags=["records"], responses=problem_responses(401, 403, 413, 422, 429, 503))
Writer = Annotated[Caller, Depends(needs("failures:write"))]


@router.post("/failures/report", status_code=201, responses={200: {"model": FailureReportOut}})
def report_failure(body: FailureIn, caller: Writer, request: Request, response: Response) -> FailureReportOut:
    """Store one failure; 200 when this very report was there already. The model need not be registered."""
    state = state_of(request)
    policy = state.policy(caller.tenant)
    check_records(state, policy, caller.tenant, 1)
    record = _failure(body, caller)
    redaction = redaction_of(state, policy)
    report = ingest_reports(state.reports, [record], redaction=redaction)
    _raise_refused(report)
    if not report.num_stored:
        response.status_code = 200
    stored = record if redaction is None else redaction.apply_report(record)
    return FailureReportOut(
        failure_id=stored.failure_id,
        stored=bool(report.num_stored),
        model_registered=_is_registered(state, caller.tenant, body.model_id),
    )


@router.post("/failures/report/batch", status_code=201)
def report_failures(body: FailuresIn, caller: Writer, request: Request) -> IngestedOut:
    """Store many failures; a bad one costs the others nothing."""
    state = state_of(request)
    policy = state.policy(caller.tenant)
    check_records(state, policy, caller.tenant, len(body.failures))
    records = (_failure(failure, caller) for failure in body.failures)
    return _ingested(ingest_reports(state.reports, records, redaction=redaction_of(state, policy)))


@router.post("/predictions", status_code=201)
def store_predictions(body: PredictionsIn, caller: Writer, request: Request) -> IngestedOut:
    """Store answers, right and wrong ones: without them no rate can be stated."""
    state = state_of(request)
    policy = state.policy(caller.tenant)
    check_records(state, policy, caller.tenant, len(body.predictions))
    records = (PredictionRecord(**prediction.model_dump(), tenant=caller.tenant) for prediction in body.predictions)
    return _ingested(ingest(state.predictions, records, redaction=redaction_of(state, policy)))


@router.post("/predictions/labels", status_code=201)
def store_labels(body: LabelsIn, caller: Writer, request: Request) -> IngestedOut:
    """Store ground truths of answers; one that comes before its answer waits for it."""
    state = state_of(request)
    policy = state.policy(caller.tenant)
    check_labels(state, policy, caller.tenant, len(body.labels))
    labels = [(label.prediction_id, label.expected_output) for label in body.labels]
    redaction = redaction_of(state, policy)
    return _ingested(ingest_labels(state.labels, caller.tenant, body.model_id, labels, redaction=redaction))


def _failure(body: FailureIn, caller: Caller) -> FailureRecord:
    return FailureRecord(**body.model_dump(), tenant=caller.tenant)


def _raise_refused(report: IngestReport) -> None:
    if report.refused:
        first = report.refused[0]
        raise ProblemError(422, first.code, first.reason, hint=REFUSAL_CODES[first.code])


def _is_registered(state: ServiceState, tenant: str, model_id: str) -> bool:
    try:
        state.models.find(tenant, model_id)
    except ModelUnresolvedError:
        return False
    return True


def _ingested(report: IngestReport) -> IngestedOut:
    return IngestedOut(
        num_read=report.num_read,
        num_stored=report.num_stored,
        num_duplicates=report.num_duplicates,
        num_refused=report.num_refused,
        num_conflicts=report.num_conflicts,
        num_labels=report.num_labels,
        num_early_labels=report.num_early_labels,
        num_label_conflicts=report.num_label_conflicts,
        refused=[RefusedOut(row=one.row, code=one.code, reason=one.reason, hint=one.hint) for one in report.refused],
    )
