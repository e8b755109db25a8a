"""What a tenant lets the service do for it: whose patches, how large, whether to operate, to contribute, to ask first.

A policy can only narrow: whose keys count at all is the operator's trust policy (``trust-policy.yaml``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from symbio_lab.trust.policy import LEVELS, TrustPolicy

_NO_LICENCE = "LicenseRef-none-allowed"


class Budgets(BaseModel):
    """Limits that a tenant sets itself below the operator's; null leaves the operator's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_records: int | None = Field(None, ge=1, le=1 << 53, description="Predictions and failure reports stored.")
    max_patch_bytes: int | None = Field(None, ge=1, le=1 << 53, description="Files of deployed patches, in bytes.")
    max_forwards_per_day: float | None = Field(
        None, gt=0, le=1e12, description="Forwards-equivalent that healing may spend in a day (UTC)."
    )


_OPERATORS = Budgets.model_validate({})


class TenantPolicy(BaseModel):
    """The policy of one tenant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_level: Literal["signed", "known_publisher", "evaluated", "trusted"] = Field(
        "signed", description="Lowest trust level of a patch that may be adopted."
    )
    licences: list[str] | None = Field(
        None, description="SPDX ids that may be adopted; null allows all.", max_length=64
    )
    max_patch_bytes: int = Field(256 << 20, ge=1, le=1 << 32, description="Largest patch, in bytes.")
    allow_adoption: bool = Field(True, description="Whether patches of others may be adopted.")
    allow_surgery: bool = Field(True, description="Whether the service may train on the tenant's failures.")
    allow_contribution: bool = Field(False, description="Whether what healed may be published.")
    require_approval: bool = Field(
        False, description="Whether an accepted patch waits in stage shadow until somebody approves it."
    )
    redact: bool = Field(False, description="Whether numbers, addresses and names are removed before storage.")
    gate: Literal["lab", "strict"] = Field("lab", description="Bounds that a patch must keep.")
    max_forwards_per_job: float = Field(60_000.0, gt=0, le=10_000_000, description="Budget of one healing job.")
    budgets: Budgets = Field(_OPERATORS, description="Limits of storage, and of healing in a day.")

    def narrowed(self, policy: TrustPolicy) -> TrustPolicy:
        """Return the operator's trust policy with what this tenant asks beyond it."""
        level = max(policy.min_level, self.min_level, key=LEVELS.index)
        licences = policy.licences
        if self.licences is not None:
            mine = frozenset(self.licences)
            # An empty set allows all: where nothing is left, a name that no licence has stands for "none".
            licences = (mine if not policy.licences else mine & policy.licences) or frozenset({_NO_LICENCE})
        return replace(
            policy,
            min_level=level,
            licences=licences,
            max_total_bytes=min(policy.max_total_bytes, self.max_patch_bytes),
        )
