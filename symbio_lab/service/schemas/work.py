"""Healing, surgery, jobs, deployments, models, predictions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from symbio_lab.service.schemas.records import LongText, Name, ShortText, TaskTypeName

EXAMPLE_HEALING: dict[str, JsonValue] = {
    "model_id": "production-model-v1",
    "task_type": "text_classification",
    "domain": "travel",
    "max_marketplace_patches": 10,
    "min_accuracy_improvement": 0.05,
    "enable_auto_surgery": True,
    "contribute_to_marketplace": False,
}
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class HealingIn(BaseModel):
    """Heal the failures of one domain: adopt a patch, else operate."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_HEALING]})

    model_id: Name
    task_type: TaskTypeName
    domain: ShortText = Field("", description="Which failures; empty: all of them.")
    max_marketplace_patches: int = Field(20, ge=0, le=100, description="Candidates evaluated, at most; 0: none.")
    min_accuracy_improvement: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Least gain in accuracy on the failures that decide; the gate's bounds hold beside it.",
    )
    enable_auto_surgery: bool = Field(True, description="Whether to operate when no patch is accepted.")
    contribute_to_marketplace: bool = Field(False, description="Whether accepted surgery is published.")


class SurgeryIn(BaseModel):
    """Operate on the failures of one domain, without looking at the market."""

    model_config = ConfigDict(extra="forbid")

    model_id: Name
    task_type: TaskTypeName
    domain: ShortText = ""
    min_accuracy_improvement: float = Field(0.0, ge=0, le=1)
    contribute_to_marketplace: bool = False


class JobError(BaseModel):
    """What ended a job."""

    code: str
    message: str
    hint: str


class JobOut(BaseModel):
    """A job."""

    job_id: str
    kind: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    stage: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    num_attempts: int
    cancel_requested: bool
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: JobError | None


class JobsOut(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobOut]


class ModelIn(BaseModel):
    """A base to register."""

    model_config = ConfigDict(extra="forbid")

    model_id: Name
    source: Annotated[str, Field(min_length=1, max_length=1_024, description="Hub id, or a folder of the server.")]
    revision: ShortText | None = None
    task_type: TaskTypeName | None = None
    licence: ShortText | None = Field(
        default=None, description="SPDX expression of the base; without it what its card states. Needed to contribute."
    )


class ModelOut(BaseModel):
    """A registered base."""

    model_id: str
    source: str
    revision: str | None
    task_type: str
    digest: str
    created_at: str
    licence: str | None = Field(description="SPDX expression; null: not known, nothing made from it is contributed.")
    own: bool = Field(description="Registered by this tenant; false: by the operator, for everybody.")


class ModelsOut(BaseModel):
    """Registered bases, by id."""

    models: list[ModelOut]


class PredictIn(BaseModel):
    """Texts to answer."""

    model_config = ConfigDict(extra="forbid")

    model_id: Name
    inputs: list[LongText] = Field(min_length=1, max_length=1_000)
    prediction_ids: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=1_000,
        description="Your own ids of the answers, one for each input: by them a label finds what a shadow or canary "
        "said, and a canary's share is drawn; without them it is drawn by the text.",
    )


class CandidateOut(BaseModel):
    """What stood beside the live patch."""

    deployment_id: str
    stage: Literal["shadow", "canary"]
    patch_digest: str | None


class PredictOut(BaseModel):
    """Answers, in order."""

    outputs: list[str]
    confidences: list[float]
    model_revision: str = Field(description="Digest of the base.")
    patch_digest: str | None = Field(description="Of what is live; null: the base.")
    deployment_id: str | None = Field(description="Of what is live.")
    answered_by: list[Literal["base", "live", "canary"]] = Field(description="Which stage gave each answer.")
    candidate: CandidateOut | None = Field(description="The tenant's shadow or canary, if there is one.")


class DeploymentOut(BaseModel):
    """One line of the ledger."""

    deployment_id: str
    model_id: str
    base_digest: str
    patch_digest: str | None
    patch_id: str | None
    stage: Literal["shadow", "canary", "live", "rolled_back"]
    previous: str | None
    created_at: str
    note: str
    share: float | None = Field(None, description="Of the traffic that a shadow or canary takes part in, in [0, 1].")


class DeploymentsOut(BaseModel):
    """Lines of the ledger, oldest first."""

    deployments: list[DeploymentOut]


class DeployIn(BaseModel):
    """A patch of the tenant to make live, e.g. one that waits in shadow for approval."""

    model_config = ConfigDict(extra="forbid")

    deployment_id: Digest = Field(description="A shadow or canary deployment to promote.")


class StageIn(BaseModel):
    """A patch that the tenant's gate accepted before, and the stage that it gets now."""

    model_config = ConfigDict(extra="forbid")

    model_id: Name
    deployment_id: Digest | None = Field(None, description="A deployment of the tenant's whose patch is meant.")
    patch_digest: Digest | None = Field(None, description="Or the digest of such a patch; one of both.")
    stage: Literal["shadow", "canary", "live"]
    share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of this tenant's traffic: a canary answers it (default 0.1), a shadow is compared on it "
        "(default 1).",
    )


class RollbackIn(BaseModel):
    """A model to roll back by one deployment, or a shadow or canary of it to withdraw."""

    model_config = ConfigDict(extra="forbid")

    model_id: Name
    deployment_id: Digest | None = Field(None, description="The standing shadow or canary; null: what is live.")


class RateOut(BaseModel):
    """A rate with its Wilson interval (95 %)."""

    value: float | None = Field(description="Null: nothing was observed.")
    low: float
    high: float
    num: int = Field(description="Texts that it is a rate of.")


class TrafficOut(BaseModel):
    """How a shadow or canary did beside the live patch."""

    deployment_id: str
    model_id: str
    stage: Literal["shadow", "canary"]
    share: float
    is_standing: bool = Field(description="Whether it takes part in traffic now.")
    num_seen: int = Field(description="Texts that the tenant asked about while it stood.")
    num_answered: int = Field(description="Texts whose answer was the candidate's.")
    num_compared: int = Field(description="Texts that both answered.")
    num_flips: int = Field(description="Compared texts on which the outputs differ.")
    num_errors: int = Field(description="Requests that the candidate could not answer; the live patch did.")
    agreement: RateOut
    num_labelled: int = Field(description="Compared texts with a prediction id whose ground truth is known.")
    live_accuracy: RateOut
    candidate_accuracy: RateOut
    fix_rate: RateOut = Field(description="Of labelled texts that the live answer had wrong: right by the candidate.")
    negative_flip_rate: RateOut = Field(
        description="Of labelled texts that the live answer had right: wrong by the candidate."
    )


class HealthOut(BaseModel):
    """How a model does for this tenant."""

    model_id: str
    state: Literal["healthy", "watch", "degraded", "failing"]
    evidence: list[str]
    error_rate: float | None
    error_rate_low: float | None
    error_rate_high: float | None
    num_labelled: int
    num_unlabelled: int
    num_failure_reports: int
