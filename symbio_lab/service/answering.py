"""Requests that wait for one base are answered together, tenants and patches mixed.

Rules:
    1. What waits when the base becomes free is one batch, up to a number of tokens; nobody waits for company.
    2. Tenants take turns: the oldest request of each comes before the second of any.
    3. A request is whole: it carries the patches that were live when it came, and a deployment that comes while it
       waits changes nothing of it and drops nothing.
    4. One request's error never fails another: after an error of a batch each part is run again by itself.
    5. The room is bounded. A tenant that fills its half is told to wait (429), everybody else when all of it is full
       (503), each with the seconds after which there should be room.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from symbio_lab.models.classifier import MAX_LENGTH
from symbio_lab.models.mixed_batch import Slot, predict_slots
from symbio_lab.models.protocol import PatchableModel, Predictions
from symbio_lab.service.problems import ProblemError

logger = logging.getLogger(__name__)
CHARS_A_TOKEN = 4
_SMOOTHING = 0.2


@dataclass(frozen=True, slots=True)
class Part:
    """Texts of one request that one patch, or the base, answers."""

    texts: tuple[str, ...]
    slot: Slot
    owner: int
    """Number of the request: its parts share work, requests do not."""
    answer: Future[Predictions] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class AnsweringFigures:
    """What one base did so far."""

    num_batches: int
    """Begun so far, like texts and requests."""
    num_texts: int
    num_requests: int
    num_waiting: int
    """Texts that wait now."""
    num_refused: int
    """Requests that found no room."""
    busy_s: float
    """Seconds in which the base was in use."""


@dataclass(frozen=True, slots=True)
class _Request:
    parts: tuple[Part, ...]
    num_texts: int
    num_tokens: int


class Answering:
    """The queue of one base; safe for several threads. Its one thread lives while something waits."""

    def __init__(self, model: PatchableModel, *, max_texts: int, max_tokens: int) -> None:
        """Start empty.

        Args:
            model: the base; nobody else may apply patches to it.
            max_texts: texts that may wait; half of them may be one tenant's.
            max_tokens: tokens, estimated, of one batch.
        """
        self._model, self._max_texts, self._max_tokens = model, max_texts, max_tokens
        self._waiting: OrderedDict[str, deque[_Request]] = OrderedDict()
        self._num_waiting: dict[str, int] = {}
        self._guard = threading.Lock()
        self._is_draining = False
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answering")
        self._texts_a_second = 0.0
        self._batches = self._texts = self._requests = self._refused = 0
        self._busy_s = 0.0

    def figures(self) -> AnsweringFigures:
        """Return what was done so far."""
        with self._guard:
            waiting = sum(self._num_waiting.values())
            return AnsweringFigures(self._batches, self._texts, self._requests, waiting, self._refused, self._busy_s)

    def ask(self, tenant: str, parts: Sequence[tuple[Sequence[str], Slot]]) -> tuple[Part, ...]:
        """Queue one request; the answers come as futures of its parts.

        Args:
            tenant: whose turn it is.
            parts: texts, and the patch that answers them.

        Raises:
            ProblemError: 429 ``too_many_waiting``, 503 ``overloaded``.
        """
        owner = next(self._numbers)
        made = tuple(Part(tuple(texts), slot, owner) for texts, slot in parts)
        texts = [text for part in made for text in part.texts]
        request = _Request(made, len(texts), sum(min(len(t) // CHARS_A_TOKEN + 2, MAX_LENGTH) for t in texts))
        with self._guard:
            self._check_room(tenant, len(texts))
            self._waiting.setdefault(tenant, deque()).append(request)
            self._num_waiting[tenant] = self._num_waiting.get(tenant, 0) + len(texts)
            if not self._is_draining:
                self._is_draining = True
                self._thread.submit(self._drain)
        return made

    def _check_room(self, tenant: str, num_texts: int) -> None:
        mine, everybody = self._num_waiting.get(tenant, 0), sum(self._num_waiting.values())
        # An empty room takes a request of any size: it could never come in otherwise.
        if mine and mine + num_texts > self._max_texts // 2:
            self._refused += 1
            raise ProblemError(
                429,
                "too_many_waiting",
                f"{mine} of this tenant's texts wait for this model already",
                hint="wait for answers before sending more, or send fewer at once",
                headers={"Retry-After": self._retry_after(mine)},
            )
        if everybody and everybody + num_texts > self._max_texts:
            self._refused += 1
            raise ProblemError(
                503,
                "overloaded",
                f"{everybody} texts wait for this model",
                hint="ask again later",
                headers={"Retry-After": self._retry_after(everybody)},
            )

    def _retry_after(self, num_texts: int) -> str:
        return str(min(60, max(1, math.ceil(num_texts / self._texts_a_second)))) if self._texts_a_second else "1"

    def _drain(self) -> None:
        while True:
            with self._guard:
                batch = self._take()
                if not batch:
                    self._is_draining = False
                    return
                num_texts = sum(request.num_texts for request in batch)
                # Before anybody gets an answer: who has one is counted.
                self._batches, self._texts = self._batches + 1, self._texts + num_texts
                self._requests += len(batch)
            begun = time.perf_counter()
            self._answer([part for request in batch for part in request.parts])
            spent_s = time.perf_counter() - begun
            with self._guard:
                self._busy_s += spent_s
                rate = num_texts / max(spent_s, 1e-6)
                self._texts_a_second += (rate - self._texts_a_second) * (_SMOOTHING if self._texts_a_second else 1.0)

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        num_tokens = 0
        while self._waiting:
            tenant, queue = next(iter(self._waiting.items()))
            if batch and num_tokens + queue[0].num_tokens > self._max_tokens:
                break
            request = queue.popleft()
            batch.append(request)
            num_tokens += request.num_tokens
            self._num_waiting[tenant] -= request.num_texts
            if queue:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant], self._num_waiting[tenant]
        return batch

    def _answer(self, parts: Sequence[Part]) -> None:
        # A part whose caller went away is not computed.
        wanted = [part for part in parts if part.answer.set_running_or_notify_cancel()]
        try:
            answers = _answers_to(self._model, wanted)
        except Exception:
            logger.exception("a batch of %d parts failed, each is run by itself", len(wanted))
            for part in wanted:
                self._answer_alone(part)
            return
        for part, found in zip(wanted, answers, strict=True):
            part.answer.set_result(found)

    def _answer_alone(self, part: Part) -> None:
        try:
            (found,) = _answers_to(self._model, [part])
        except Exception as error:
            logger.exception("%d texts cannot be answered by %s", len(part.texts), part.slot.name)
            part.answer.set_exception(error)
        else:
            part.answer.set_result(found)


def _answers_to(model: PatchableModel, parts: Sequence[Part]) -> list[Predictions]:
    slots: list[Slot] = []
    numbers: dict[int, int] = {}
    slot_of: list[int] = []
    for part in parts:
        # One adapter is one group, whoever it answers for.
        key = id(part.slot.adapter)
        if key not in numbers:
            numbers[key] = len(slots)
            slots.append(part.slot)
        slot_of += [numbers[key]] * len(part.texts)
    owners = [part.owner for part in parts for _ in part.texts]
    whole = predict_slots(model, [text for part in parts for text in part.texts], slots, slot_of, owners)
    answers, start = [], 0
    for part in parts:
        stop = start + len(part.texts)
        answers.append(Predictions(whole.outputs[start:stop], whole.confidences[start:stop], 0))
        start = stop
    return answers
