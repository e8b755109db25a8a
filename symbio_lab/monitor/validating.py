"""What a usable record is: rows that nothing can be concluded from are refused with a code, never repaired.

Rules:
    1. A refusal names the row, a stable code and the reason; the other rows are stored all the same.
    2. A time must be UTC; a time in the future beyond the tolerance is a wrong clock, and is refused, not clamped:
       a clamped time would put the row into a day in which it did not happen.
    3. Sizes are bounded: a text of many megabytes is refused before anything is stored.

Example:
    >>> record = PredictionRecord("m", "text_classification", "", "greet")
    >>> problem_of(record, now_us=0)
    ('empty_text', 'the input text is empty')
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from symbio_lab.errors import DataError
from symbio_lab.records import TASK_TYPES, FailureRecord, PredictionRecord
from symbio_lab.store.observed_time import to_us

REFUSAL_CODES: dict[str, str] = {
    "empty_text": "send the text that the model was asked",
    "empty_answer": "send the label that the model gave",
    "text_too_long": "cut or summarise the text, or raise the limit",
    "name_too_long": "names, domains and ids are short; put long texts elsewhere",
    "metadata_too_large": "keep only the metadata that failures could depend on",
    "bad_text": "the text holds half a character (a lone surrogate); encode it as UTF-8 at its source",
    "not_utf8": "save the file as UTF-8",
    "bad_type": "send text as text and numbers as numbers",
    "bad_task_type": "use one of: " + ", ".join(TASK_TYPES),
    "bad_confidence": "a confidence is a number from 0 to 1; leave it out where there is none",
    "bad_time": "write UTC times as 2026-01-31T12:00:00Z, or leave the time out to use the time of receipt",
    "future_time": "set the clock of the machine that observed it (NTP), or raise the tolerance",
    "missing_field": "name the right column, or fill it",
    "bad_row": "one record a row: JSON objects, or CSV rows with as many cells as the header",
    "row_too_long": "split the file, one record a line",
    "conflict": "the id is stored with other content: give each answer its own id",
    "label_conflict": "another ground truth is stored for this id; the first stays",
    "expired": "retention removed these days; their rows were counted once",
}
"""Stable refusal codes -> what to do next."""
MAX_NAME_CHARS = 512
MAX_METADATA_CHARS = 16_384


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted."""

    max_text_bytes: int = 64 << 10
    """Longest input or output, in bytes of UTF-8."""
    future_tolerance_s: float = 300.0
    """How far a time may lie ahead of the receiver's clock, in seconds."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row that was kept out."""

    row: str
    """Where it stands, e.g. ``traffic.csv line 7`` or ``row 3``."""
    code: str
    """One of ``REFUSAL_CODES``."""
    reason: str

    @property
    def hint(self) -> str:
        """What to do next."""
        return REFUSAL_CODES[self.code]


DEFAULT_LIMITS = Limits()


def problem_of(
    record: PredictionRecord | FailureRecord, *, now_us: int, limits: Limits = DEFAULT_LIMITS
) -> tuple[str, str] | None:
    """Return code and reason why a record cannot be used, or None when it can.

    Args:
        record: as the caller gave it; fields may have any type.
        now_us: the receiver's clock, microseconds since 1970.
        limits: what is accepted.
    """
    expected = record.expected_output
    texts = (record.input_sample, record.actual_output, "" if expected is None else expected)
    names = (record.tenant, record.model_id, record.domain, record.model_revision, _own_id(record))
    try:
        whole = "".join((*texts, *names, record.observed_at))
    except TypeError:
        values: tuple[object, ...] = (*texts, *names, record.observed_at)
        odd = next(value for value in values if not isinstance(value, str))
        return "bad_type", f"a {type(odd).__name__} stands where a text is needed"
    if record.task_type not in TASK_TYPES:
        return "bad_task_type", f"task type {record.task_type!r:.60} is not known"
    if not record.input_sample or record.input_sample.isspace():
        return "empty_text", "the input text is empty"
    if not record.actual_output and record.task_type == "text_classification":
        return "empty_answer", "the answer is empty"
    if not record.tenant or not record.model_id:
        return "missing_field", "tenant and model_id need a name"
    # Most records are short and ASCII as a whole: then each of their texts is.
    is_plain = whole.isascii() and len(whole) <= min(MAX_NAME_CHARS, limits.max_text_bytes)
    return (
        (None if is_plain else _problem_of_texts(texts, names, limits.max_text_bytes))
        or _problem_of_confidence(record.confidence)
        or _problem_of_time(record.observed_at, now_us, limits.future_tolerance_s)
        or (_problem_of_metadata(record) if isinstance(record, PredictionRecord) and record.metadata else None)
    )


def problem_of_label(
    prediction_id: object, expected: object, limits: Limits = DEFAULT_LIMITS
) -> tuple[str, str] | None:
    """Return code and reason why a ground truth cannot be used, or None when it can.

    >>> problem_of_label("", "greet")
    ('missing_field', 'the prediction_id is empty')
    """
    if not isinstance(prediction_id, str) or not isinstance(expected, str):
        return "bad_type", "prediction_id and expected output are texts"
    if not prediction_id:
        return "missing_field", "the prediction_id is empty"
    return _problem_of_texts((expected,), (prediction_id,), limits.max_text_bytes)


def with_plain_time(record: PredictionRecord) -> PredictionRecord:
    """Return the record with its time ending in ``Z``, so that both ways to write UTC give one content digest."""
    if not record.observed_at or record.observed_at.endswith("Z"):
        return record
    return replace(record, observed_at=record.observed_at.removesuffix("+00:00") + "Z")


def _own_id(record: PredictionRecord | FailureRecord) -> str:
    return record.event_id if isinstance(record, PredictionRecord) else ""


def _problem_of_texts(texts: tuple[str, ...], names: tuple[str, ...], max_bytes: int) -> tuple[str, str] | None:
    for text in texts:
        # Most texts are short and ASCII: no copy is made of them.
        if text.isascii() and len(text) <= max_bytes:
            continue
        # A character has at most 4 bytes and at least one: a huge text is refused without encoding it.
        if len(text) > max_bytes or ((size := _num_bytes(text)) is not None and size > max_bytes):
            return "text_too_long", f"a text has {len(text)} characters; the limit is {max_bytes} bytes"
        if size is None:
            return "bad_text", "a text holds a lone surrogate"
    for name in names:
        if len(name) > MAX_NAME_CHARS:
            return "name_too_long", f"a name or id has {len(name)} characters; the limit is {MAX_NAME_CHARS}"
        if not name.isascii() and _num_bytes(name) is None:
            return "bad_text", "a name or id holds a lone surrogate"
    return None


def _num_bytes(text: str) -> int | None:
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return None


def _problem_of_confidence(confidence: object) -> tuple[str, str] | None:
    if confidence is None:
        return None
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        return "bad_type", f"a confidence is a number, not a {type(confidence).__name__}"
    if math.isnan(confidence) or not 0.0 <= confidence <= 1.0:
        return "bad_confidence", f"confidence {confidence} does not lie in [0, 1]"
    return None


def _problem_of_time(observed_at: str, now_us: int, tolerance_s: float) -> tuple[str, str] | None:
    if not observed_at:
        return None
    try:
        ahead_s = (to_us(observed_at) - now_us) / 1e6
    except DataError as error:
        return "bad_time", str(error)
    if ahead_s > tolerance_s:
        return "future_time", f"observed {ahead_s:.0f} s in the future; the tolerance is {tolerance_s:.0f} s"
    return None


def _problem_of_metadata(record: PredictionRecord) -> tuple[str, str] | None:
    num_chars = 0
    metadata: Mapping[Any, Any] = record.metadata
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            return "bad_type", "metadata maps texts to texts"
        if _num_bytes(name) is None or _num_bytes(value) is None:
            return "bad_text", "metadata holds a lone surrogate"
        num_chars += len(name) + len(value)
    if num_chars > MAX_METADATA_CHARS:
        return "metadata_too_large", f"metadata of {num_chars} characters; the limit is {MAX_METADATA_CHARS}"
    return None
