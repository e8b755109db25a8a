"""What the tenant may use, and what it uses."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.problems import problem_responses
from symbio_lab.service.quotas import limits_of, used_by
from symbio_lab.service.state import state_of

router = APIRouter(tags=["administration"], responses=problem_responses(401, 403, 429, 503))
Reader = Annotated[Caller, Depends(needs("read"))]


class QuotasOut(BaseModel):
    """Use and limits of one tenant."""

    num_records: int = Field(description="Predictions and failure reports stored.")
    max_records: int
    patch_bytes: int = Field(description="Files of the patches deployed for the tenant, in bytes.")
    max_patch_bytes: int
    forwards_today: float = Field(description="Forwards-equivalent that healing spent today (UTC).")
    max_forwards_per_day: float
    max_forwards_per_job: float


@router.get("/quotas")
def show_quotas(caller: Reader, request: Request) -> QuotasOut:
    """Show what the tenant uses, and its limits: the operator's, narrowed by its own policy."""
    state = state_of(request)
    used, limits = used_by(state, caller.tenant), limits_of(state.service, state.policy(caller.tenant))
    return QuotasOut(
        num_records=used.num_records,
        max_records=limits.max_records,
        patch_bytes=used.patch_bytes,
        max_patch_bytes=limits.max_patch_bytes,
        forwards_today=used.forwards_today,
        max_forwards_per_day=limits.max_forwards_per_day,
        max_forwards_per_job=limits.max_forwards_per_job,
    )
