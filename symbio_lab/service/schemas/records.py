"""Failures, predictions and labels as they are sent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from symbio_lab.monitor.validating import MAX_NAME_CHARS

TaskTypeName = Literal["text_classification", "text_generation"]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
ShortText = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
LongText = Annotated[str, Field(max_length=65_536)]
Time = Annotated[
    str,
    Field(
        max_length=40,
        pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z)?$",
        description="UTC, ISO-8601, ends in Z; empty: the time of receipt.",
    ),
]
EXAMPLE_FAILURE: dict[str, JsonValue] = {
    "model_id": "production-model-v1",
    "task_type": "text_classification",
    "domain": "travel",
    "error_type": "wrong_label",
    "input_sample": "can you get me on an earlier flight",
    "expected_output": "change_flight",
    "actual_output": "book_flight",
    "severity": "high",
}
EXAMPLE_PREDICTION: dict[str, JsonValue] = {
    "model_id": "production-model-v1",
    "task_type": "text_classification",
    "domain": "travel",
    "input_sample": "book me a seat to Lisbon",
    "actual_output": "book_flight",
    "expected_output": "book_flight",
    "confidence": 0.93,
}


class FailureIn(BaseModel):
    """One wrong answer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_FAILURE]})

    model_id: Name
    task_type: TaskTypeName
    domain: ShortText = ""
    error_type: ShortText = ""
    input_sample: Annotated[str, Field(min_length=1, max_length=65_536)]
    expected_output: LongText
    actual_output: LongText
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    model_revision: ShortText = ""
    confidence: Annotated[float | None, Field(ge=0, le=1)] = None
    observed_at: Time = ""


class FailuresIn(BaseModel):
    """Many wrong answers; each is stored or refused by itself."""

    model_config = ConfigDict(extra="forbid")

    failures: list[FailureIn] = Field(min_length=1, max_length=10_000)


class PredictionIn(BaseModel):
    """One answer of a model in use, right or wrong: the denominators of every rate."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_PREDICTION]})

    model_id: Name
    task_type: TaskTypeName
    input_sample: Annotated[str, Field(min_length=1, max_length=65_536)]
    actual_output: LongText
    expected_output: LongText | None = Field(None, description="Gold output; leave it out until it is known.")
    domain: ShortText = ""
    model_revision: ShortText = ""
    confidence: Annotated[float | None, Field(ge=0, le=1)] = None
    observed_at: Time = ""
    event_id: ShortText = Field("", description="Your own id of this answer, by which a late label finds it.")
    metadata: dict[str, ShortText] = Field(default_factory=dict, max_length=64)


class PredictionsIn(BaseModel):
    """Many answers; each is stored or refused by itself."""

    model_config = ConfigDict(extra="forbid")

    predictions: list[PredictionIn] = Field(min_length=1, max_length=10_000)


class LabelIn(BaseModel):
    """The ground truth of an answer."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: Name
    expected_output: LongText


class LabelsIn(BaseModel):
    """Ground truths of answers of one model; a label may come before its answer."""

    model_config = ConfigDict(extra="forbid")

    model_id: Name
    labels: list[LabelIn] = Field(min_length=1, max_length=10_000)


class RefusedOut(BaseModel):
    """One record that was kept out."""

    row: str
    code: str
    reason: str
    hint: str


class IngestedOut(BaseModel):
    """What became of the records."""

    num_read: int
    num_stored: int
    num_duplicates: int = Field(description="Stored before: sending again is harmless.")
    num_refused: int
    num_conflicts: int = 0
    num_labels: int = 0
    num_early_labels: int = 0
    num_label_conflicts: int = 0
    refused: list[RefusedOut] = Field(description="The first ones, at most 100.")


class FailureReportOut(BaseModel):
    """A stored report."""

    failure_id: str
    stored: bool = Field(description="False: this very report was there already.")
    model_registered: bool = Field(description="Healing needs a registered model; reports do not.")
