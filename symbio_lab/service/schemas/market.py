"""Searches and what they find."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from symbio_lab.service.schemas.records import Name, ShortText, TaskTypeName

EXAMPLE_SEARCH: dict[str, JsonValue] = {
    "query": "customers ask to change a flight",
    "model_id": "production-model-v1",
    "task_type": "text_classification",
    "domain": "travel",
    "max_results": 5,
    "min_score": 0.2,
}


class SearchIn(BaseModel):
    """What should be healed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_SEARCH]})

    query: Annotated[str, Field(min_length=1, max_length=4_096)]
    model_id: Name
    task_type: TaskTypeName
    domain: ShortText = ""
    max_results: int = Field(10, ge=1, le=100)
    min_score: float = Field(0.0, ge=0, le=1, description="Lowest cosine of query and card.")


class HitOut(BaseModel):
    """One patch."""

    id: str
    version: int | None
    digest: str | None
    score: float = Field(description="Cosine of query and card, in [0, 1].", ge=0, le=1)
    verified: bool = Field(description="Signature and manifest pass the policy; files are checked when fetched.")
    problem: str | None = Field(description="Code of the rule that refuses it.")
    reason: str
    title: str | None
    domain: str | None
    labels: list[str]
    licence: str | None
    publisher: str | None
    keyid: str | None
    market: str


class SearchOut(BaseModel):
    """What was found, best first; refused patches follow."""

    results: list[HitOut]
    num_refused: int
    reason: str = Field(description="Why nothing usable was found; empty when something was.")
    base_digest: str | None = Field(description="Digest of the base that was searched for; null: not registered.")
