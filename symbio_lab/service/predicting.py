"""One ``POST /predict``: what answers, beside what, how both compare.

Flow: ledger -> live patch and candidate -> one request in the base's queue -> answers; the candidate's are compared
with the live ones and counted after the answer is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from starlette.concurrency import run_in_threadpool

from symbio_lab.errors import ModelUnresolvedError, StorageError, SymbioError
from symbio_lab.models.protocol import Predictions
from symbio_lab.records import Deployment
from symbio_lab.service.answering import Part
from symbio_lab.service.candidates import Standing, find_standing, takes_part
from symbio_lab.service.problems import ProblemError
from symbio_lab.service.redacting import redaction_of
from symbio_lab.service.state import ServiceState
from symbio_lab.store.candidate_traffic import Compared
from symbio_lab.store.registered_models import RegisteredModel

logger = logging.getLogger(__name__)
AnsweredBy = Literal["base", "live", "canary"]


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers to one request, in order, and what gave them."""

    outputs: tuple[str, ...]
    confidences: tuple[float, ...]
    answered_by: tuple[AnsweredBy, ...]
    registered: RegisteredModel
    live: Deployment | None
    """The ledger's line; None: the base as it was registered."""
    candidate: Deployment | None
    """The shadow or canary that stood beside it."""


@dataclass(slots=True)
class _Asked:
    registered: RegisteredModel
    standing: Standing
    live: Part
    beside: Part | None
    chosen: list[int] = field(default_factory=list)
    """Texts that the candidate takes part in."""


async def answer(
    state: ServiceState, tenant: str, model_id: str, texts: Sequence[str], ids: Sequence[str] | None
) -> Answered:
    """Answer texts with what is live for a tenant, beside its candidate.

    Args:
        state: of the service.
        tenant: who asks.
        model_id: a registered model.
        texts: (N,).
        ids: the caller's ids of the answers, (N,), by which labels find them.

    Raises:
        ProblemError: the model is not registered, or there is no room.
        ModelUnresolvedError: the base cannot be loaded.
        TrustError: the live patch's files changed on disk; nothing is answered with other bytes.
        StorageError: the store cannot be read.
    """
    asked = await run_in_threadpool(_ask, state, tenant, model_id, texts, ids)
    live = await asyncio.wrap_future(asked.live.answer)
    beside = None if asked.beside is None else await _beside(asked.beside)
    outputs, confidences = list(live.outputs), list(live.confidences)
    candidate = asked.standing.candidate
    line = asked.standing.live
    answered_by: list[AnsweredBy] = ["live" if line and line.patch_digest else "base"] * len(texts)
    if candidate is not None:
        if beside is not None and candidate.stage == "canary":
            for place, i in enumerate(asked.chosen):
                outputs[i], confidences[i] = beside.outputs[place], beside.confidences[place]
                answered_by[i] = "canary"
        await run_in_threadpool(_count, state, tenant, asked, live, beside, ids)
    return Answered(tuple(outputs), tuple(confidences), tuple(answered_by), asked.registered, line, candidate)


def _ask(state: ServiceState, tenant: str, model_id: str, texts: Sequence[str], ids: Sequence[str] | None) -> _Asked:
    try:
        registered = state.models.find(tenant, model_id)
    except ModelUnresolvedError as error:
        raise ProblemError(409, "model_not_registered", str(error), hint=error.hint) from error
    residents = state.residents
    resident = residents.get(registered)
    standing = find_standing(state.ledger, tenant, model_id)
    parts = [(texts, residents.slot(resident, standing.live))]
    chosen: list[int] = []
    if standing.candidate is not None:
        units = texts if ids is None else ids
        chosen = [i for i, unit in enumerate(units) if takes_part(standing.candidate, unit)]
        try:
            beside = residents.slot(resident, standing.candidate) if chosen else None
        except SymbioError as error:
            logger.warning("candidate %s cannot answer: %s", standing.candidate.deployment_id[:12], error)
            beside = None
        if beside is not None:
            parts.append(([texts[i] for i in chosen], beside))
    made = resident.answering.ask(tenant, parts)
    return _Asked(registered, standing, made[0], made[1] if len(made) > 1 else None, chosen)


async def _beside(part: Part) -> Predictions | None:
    try:
        return await asyncio.wrap_future(part.answer)
    except Exception:
        logger.exception("a candidate failed, the live answers stand")
        return None


def _count(
    state: ServiceState,
    tenant: str,
    asked: _Asked,
    live: Predictions,
    beside: Predictions | None,
    ids: Sequence[str] | None,
) -> None:
    """Count what the candidate said; a store that cannot be written costs the figures, not the answer."""
    candidate = asked.standing.candidate
    assert candidate is not None
    try:
        compared = []
        redaction = redaction_of(state, state.policy(tenant))
        for place, i in enumerate(asked.chosen if beside is not None else []):
            assert beside is not None
            said, own, name = live.outputs[i], beside.outputs[place], "" if ids is None else ids[i]
            if redaction is not None:
                # Labels are stored under the same rules, and must find the same id and output.
                said, own = redaction.expected_output(said), redaction.expected_output(own)
                name = redaction.prediction_id(name) if name else name
            compared.append(Compared(said, own, name))
        state.candidates.add(
            tenant,
            candidate.model_id,
            candidate.deployment_id,
            compared,
            num_seen=len(live),
            num_answered=len(compared) if candidate.stage == "canary" else 0,
            num_errors=int(bool(asked.chosen) and beside is None),
        )
    except StorageError as error:
        logger.warning("figures of candidate %s are lost: %s", candidate.deployment_id[:12], error)
