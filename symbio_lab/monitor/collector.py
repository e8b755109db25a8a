"""Watching a model: it answers as before, and its answers become the traffic that failures are found in.

Rules:
    1. A watched model is called just the same and answers just the same; what it raises passes through.
    2. No fault of recording reaches the caller unless ``strict``; it is logged and counted.
    3. Each recorded answer has an id, by which its ground truth can be told later, before or after it is stored.
    4. With a ``sample_rate`` each answer is recorded with that chance, from an explicit seed; the store keeps the
       rate, so that figures stay honest.
    5. Whoever shares the model between threads may share the watched one: ``last_ids`` is each thread's own.

Example:
    >>> import tempfile
    >>> from symbio_lab.store.database import Database
    >>> from symbio_lab.store.prediction_reading import PredictionReader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with watch(lambda text: "greet", store=Path(folder) / "store.db", model_id="support") as watched:
    ...         answer = watched("hi")
    ...         labelled = watched.label(watched.last_ids[0], "leave")
    ...     reader = PredictionReader(Database(Path(folder) / "store.db"), "default", "support")
    ...     answer, labelled, [row.record.failed for row in reader.rows()]
    ('greet', True, [True])
"""

from __future__ import annotations

import logging
import random
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from symbio_lab.config import load_settings
from symbio_lab.errors import ConfigError, DataError
from symbio_lab.monitor.answers import Answer, read_answers
from symbio_lab.monitor.recorder import Recorder
from symbio_lab.monitor.redaction import Redaction
from symbio_lab.monitor.validating import DEFAULT_LIMITS, Limits
from symbio_lab.records import TASK_TYPES, PredictionRecord, TaskType
from symbio_lab.seeding import derive_seed
from symbio_lab.store.observed_time import from_us
from symbio_lab.store.opening import open_store
from symbio_lab.store.predictions import PredictionStore

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 1.0
"""How long a call may wait for another process that writes: an answer is worth more than its record."""


def watch(
    model: Any,
    *,
    store: PredictionStore | Path | None = None,
    model_id: str = "",
    tenant: str = "default",
    task_type: TaskType | None = None,
    model_revision: str | None = None,
    domain: str | Callable[[str], str] = "",
    metadata: Mapping[str, str] | None = None,
    sample_rate: float = 1.0,
    seed: int = 0,
    redaction: Redaction | None = None,
    limits: Limits = DEFAULT_LIMITS,
    batch_rows: int = 256,
    strict: bool = False,
) -> Watched:
    """Return the model, watched: called just the same, its answers recorded.

    Args:
        model: a transformers pipeline, a model of the lab (watched at ``predict``), or any callable from a text to a
            label or from texts to labels (``monitor/answers.py`` says what is understood).
        store: where answers go: a store, a file, or None for the lab's own store.
        model_id: name in the store; by default the model's own.
        tenant: whose traffic it is.
        task_type: what the model does; by default the model's own, else classification.
        model_revision: digest of the model; by default the model's own.
        domain: of all answers, or a function of the text.
        metadata: stored with each answer.
        sample_rate: share of the answers that is recorded, in (0, 1].
        seed: draws which.
        redaction: what is removed before storage.
        limits: what is accepted.
        batch_rows: answers that are stored together; those that wait are lost by a kill.
        strict: let faults of recording reach the caller.

    Raises:
        ConfigError: no name can be found for the model, or a setting is wrong.
    """
    if not isinstance(store, PredictionStore):
        place = load_settings().settings.store if store is None else store
        store = PredictionStore(open_store(place, busy_timeout_s=BUSY_TIMEOUT_S))
    recorder = Recorder(
        store, redaction=redaction, limits=limits, sample_share=sample_rate, batch_rows=batch_rows, strict=strict
    )
    template = PredictionRecord(
        model_id=model_id or _model_id(model),
        task_type=task_type or _task_type(model),
        input_sample="",
        actual_output="",
        tenant=tenant,
        model_revision=str(getattr(model, "digest", "")) if model_revision is None else model_revision,
        metadata=dict(metadata or {}),
    )
    rng = random.Random(derive_seed(seed, "watch", tenant, template.model_id))
    return Watched(model, recorder, template, domain, store.clock, sample_rate, rng, strict)


class Watched:
    """A model whose answers are recorded; made by ``watch``."""

    def __init__(
        self,
        model: Any,
        recorder: Recorder,
        template: PredictionRecord,
        domain: str | Callable[[str], str],
        clock: Callable[[], int],
        sample_rate: float,
        rng: random.Random,
        strict: bool,
    ) -> None:
        # Private: pipelines have a ``model`` of their own, which must be met under its name.
        self._model = model
        self.recorder = recorder
        """The queue before the store, with what was stored, dropped, refused and failed."""
        self.num_unreadable = 0
        """Calls whose inputs or answers could not be read; nothing of them is recorded."""
        self._template, self._domain, self._clock = template, domain, clock
        self._sample_rate, self._rng, self._strict = sample_rate, rng, strict
        self._drawing = threading.Lock()
        self._local = threading.local()
        # At the end of the interpreter, or when nobody holds the watched model, what waits is stored.
        self._finalizer = weakref.finalize(self, recorder.flush)

    @property
    def last_ids(self) -> tuple[str | None, ...]:
        """Ids of the answers of this thread's last call, in input order; None for one that was not recorded."""
        return getattr(self._local, "ids", ())

    def __call__(self, *arguments: Any, with_ids: bool = False, **keywords: Any) -> Any:
        """Return the model's answer; with ``with_ids``, a pair of it and the ids of its parts.

        Args:
            *arguments: for the model.
            with_ids: also return ``last_ids``.
            **keywords: for the model.

        Raises:
            StorageError: strict only; whatever the model raises passes through as well.
            DataError: strict only; inputs or answers cannot be read.
        """
        result = self._record(self._model(*arguments, **keywords), arguments, keywords)
        return (result, self.last_ids) if with_ids else result

    def label(self, prediction_id: str, expected: str) -> bool:
        """Tell the ground truth of an answer; return whether it is stored now.

        Args:
            prediction_id: from ``last_ids`` or ``with_ids``.
            expected: gold output.

        Raises:
            StorageError: strict only.
        """
        return self.recorder.label(prediction_id, self._template.tenant, self._template.model_id, expected)

    def flush(self) -> bool:
        """Store what waits; return whether nothing waits any more."""
        return self.recorder.flush()

    def close(self) -> None:
        """Store what waits; the model may still be called."""
        self.recorder.flush()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        # Only what this class lacks arrives here: everything else is the model's own.
        if name == "_model":  # while it is being copied
            raise AttributeError(name)
        found = getattr(self._model, name)
        if name != "predict":
            return found

        def predict(*arguments: Any, **keywords: Any) -> Any:
            return self._record(found(*arguments, **keywords), arguments, keywords)

        return predict

    def _record(self, result: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        self._local.ids = ()
        try:
            records = self._records(read_answers(arguments, keywords, result))
        except DataError as error:
            self._unreadable(error)
            return result
        except Exception as error:  # noqa: BLE001  a caller's domain function or an odd answer must not break a model
            self._unreadable(DataError(f"the answer could not be recorded: {type(error).__name__}: {error}"))
            return result
        self._local.ids = tuple(None if record is None else record.event_id for record in records)
        self.recorder.add([record for record in records if record is not None])
        return result

    def _records(self, answers: Sequence[Answer]) -> list[PredictionRecord | None]:
        base, moment = self._template, from_us(self._clock())
        with self._drawing:
            is_drawn = [self._sample_rate >= 1.0 or self._rng.random() < self._sample_rate for _ in answers]
        return [
            PredictionRecord(
                base.model_id,
                base.task_type,
                answer.text,
                answer.output,
                None,
                self._domain if isinstance(self._domain, str) else self._domain(answer.text),
                base.tenant,
                base.model_revision,
                answer.confidence,
                moment,
                # Unique, and not drawn from a seed: two runs of one program give different answers.
                uuid.uuid4().hex,
                base.metadata,
            )
            if drawn
            else None
            for answer, drawn in zip(answers, is_drawn, strict=True)
        ]

    def _unreadable(self, error: DataError) -> None:
        self.num_unreadable += 1
        if self._strict:
            raise error
        if self.num_unreadable == 1:
            logger.warning("answers are not recorded: %s; hint: %s", error, error.hint)


def _model_id(model: Any) -> str:
    inner = getattr(model, "model", None)
    for name in (getattr(model, "model_id", None), getattr(inner, "name_or_path", None)):
        if isinstance(name, str) and name:
            return name
    name = getattr(model, "__name__", "")
    if not name or name == "<lambda>":
        raise ConfigError(["the watched model has no name"], hint="pass model_id=")
    return str(name)


def _task_type(model: Any) -> TaskType:
    own = getattr(model, "task_type", None)
    for task_type in TASK_TYPES:
        if own == task_type:
            return task_type
    return "text_generation" if "generation" in str(getattr(model, "task", "")) else "text_classification"
