"""From traffic to a healed model in one run: answer, record, watch, alarm, find the pattern, advise, heal, go on.

Nothing is carried by hand: what the model answers goes to the prediction store, the ground truth follows after
``label_delay`` requests, the monitor sees outcomes as they become known, patterns are found in what the store returns,
and the healed model answers the rest of the stream. Whether an answer is right, the model's own rule says, everywhere.

Flow: replay/stream.py -> monitor/streams.py -> monitor/slices.py -> monitor/extraction.py -> advice -> pipeline.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from symbio_lab.advice.evaluations import signed_evidence
from symbio_lab.advice.recommending import Advice, recommend
from symbio_lab.advice.triggers import PastAction, Trigger, decide_trigger
from symbio_lab.budget import Budget
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import EmptySliceError
from symbio_lab.events import BuildProgress, Listener, emit
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.monitor.detectors.alarm import Alarm, Stream
from symbio_lab.monitor.detectors.calibration import CalibrationDetector
from symbio_lab.monitor.extraction import Extraction, ExtractionSettings, extract_suite
from symbio_lab.monitor.health import assess_health
from symbio_lab.monitor.naming import described, main_slice, pattern_of
from symbio_lab.monitor.predicates import Predicate
from symbio_lab.monitor.slices import SliceSettings, find_slices
from symbio_lab.monitor.stored_traffic import WINDOW_ROWS, recent_traffic
from symbio_lab.monitor.streams import StreamMonitor
from symbio_lab.monitor.traffic import Traffic
from symbio_lab.pipeline import Deploying, Healed, heal
from symbio_lab.records import FailurePattern, PredictionRecord, SearchQuery
from symbio_lab.replay.acting import ACTIONS, allowed_strategy, gate_needs, gate_of_one_run, route_of, surgery_evidence
from symbio_lab.replay.looking import NUM_REFERENCE, InputShift, LookSchedule
from symbio_lab.replay.story import ReplayResult, ReplaySettings
from symbio_lab.replay.stream import Request
from symbio_lab.scenarios.world import World
from symbio_lab.store import Database, Ledger
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.predictions import PredictionStore

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first request comes in."""
STEP_S = 12
"""Seconds from one request to the next: by this clock triggers cool down."""
MIN_FAILURES = 8
"""Failures of a pattern below which no incident is drawn from it."""
Embed = Callable[[Sequence[str]], NDArray[np.floating]]


def replay(
    world: World,
    stream: Sequence[Request],
    *,
    settings: ReplaySettings,
    market: MarketplaceClient,
    embed: Embed,
    database: Database,
    patches: Path,
    listener: Listener | None = None,
) -> ReplayResult:
    """Play a stream to the monitor and return what happened.

    Args:
        world: the base that answers.
        stream: requests in order.
        settings: how it is watched and what may be done.
        market: the tenant's view of the marketplace.
        embed: N texts -> unit vectors (N, D).
        database: takes predictions, ground truth and the ledger; a new one for each run.
        patches: folder for verified and sealed patches.
        listener: told about every step.

    Raises:
        StorageError: the store cannot be written.
    """
    return _Replay(world, stream, settings, market, embed, database, patches, listener).run()


class _Replay:
    def __init__(
        self,
        world: World,
        stream: Sequence[Request],
        settings: ReplaySettings,
        market: MarketplaceClient,
        embed: Embed,
        database: Database,
        patches: Path,
        listener: Listener | None,
    ) -> None:
        self.world, self.stream, self.settings, self.market = world, stream, settings, market
        self.patches, self.listener = patches, listener
        self.model_id = world.name
        self.registry = ModelRegistry()
        self.registry.register(self.model_id, world.model)
        self.ledger = Ledger(database)
        # The clock of the stream, not of the wall: replaying twice gives the same rows.
        self.position = 0
        self.predictions = PredictionStore(database, clock=self._now_us)
        self.labels = LabelStore(database, clock=self._now_us)
        self.reader = PredictionReader(database, settings.tenant, self.model_id)
        self.monitor = StreamMonitor(("domain",), false_alarms_per_10k=settings.false_alarms_per_10k)
        self.calibration = CalibrationDetector(false_alarms_per_10k=settings.false_alarms_per_10k)
        self.calibration_at: int | None = None
        self.confidences: list[float] = []
        self.vectors: dict[str, NDArray[np.floating]] = {}
        self.embed = embed
        self.past: list[PastAction] = []
        self.runs: list[Healed] = []
        self.schedule = LookSchedule()
        self.input_shift = InputShift(seed=settings.plan.seed)
        # The latest alarm of each stream that nobody dealt with.
        self.open_alarms: dict[Stream, Alarm] = {}
        self.result = ReplayResult(len(stream), settings.plan.at, seen_in_healing=[False] * len(stream))
        self.num_known = 0

    def run(self) -> ReplayResult:
        size = self.settings.batch
        for start in range(0, len(self.stream), size):
            self._answer(self.stream[start : start + size])
            self._learn(self.position - self.settings.label_delay)
            if self.schedule.due():
                self._look()
            if self.position * 10 // len(self.stream) > start * 10 // len(self.stream):
                emit(self.listener, BuildProgress("stream", self.position, len(self.stream)))
        num_known = self.num_known
        self._learn(len(self.stream))
        if self.schedule.is_open and self.num_known > num_known:
            self._look()
        return self.result

    def _now(self) -> datetime:
        return BEGUN + timedelta(seconds=STEP_S * self.position)

    def _now_us(self) -> int:
        return int(self._now().timestamp()) * 1_000_000

    def _answer(self, requests: Sequence[Request]) -> None:
        """Let the deployed model answer and record what it said."""
        found = self.registry.predict(self.settings.tenant, self.model_id, [r.sample.text for r in requests])
        records, revision = [], self._revision()
        for place, (request, output) in enumerate(zip(requests, found.outputs, strict=True)):
            records.append(
                PredictionRecord(
                    model_id=self.model_id,
                    task_type=self.world.model.task_type,
                    input_sample=request.sample.text,
                    actual_output=output,
                    domain=request.sample.domain,
                    tenant=self.settings.tenant,
                    model_revision=revision,
                    confidence=float(found.confidences[place]),
                    observed_at=(BEGUN + timedelta(seconds=STEP_S * (self.position + place))).strftime(
                        "%Y-%m-%dT%H:%M:%SZ"
                    ),
                    event_id=str(self.position + place),
                )
            )
            self.result.failed.append(not self.world.model.is_correct(output, request.sample.expected))
            self.result.shifted.append(request.shifted)
            self.confidences.append(float(found.confidences[place]))
        self.position += len(requests)
        self.predictions.append(records)

    def _revision(self) -> str:
        """Return which model answers: the base's digest, and the live patch's."""
        patch = self.registry.live_patch(self.settings.tenant, self.model_id)
        return self.world.model.digest + (f"+{patch.digest}" if patch is not None else "")

    def _learn(self, upto: int) -> None:
        """Take in the ground truth of requests up to a position, and show the outcomes to the monitor."""
        due = range(self.num_known, max(upto, self.num_known))
        if not due:
            return
        golds = [(str(i), self.stream[i].sample.expected) for i in due]
        self.labels.add(self.settings.tenant, self.model_id, golds)
        for i in due:
            alarms = self.monitor.update(self.result.failed[i], {"domain": self.stream[i].sample.domain})
            if self.calibration.update(self.confidences[i], self.result.failed[i]) and self.calibration_at is None:
                self.calibration_at = i + 1
            if alarms:
                self.result.alarms += alarms
                self.result.num_alarms_before_shift += i < self.result.shift_at
                if self.result.alarm_at is None:
                    self.result.alarm_at, self.result.alarm_known_at = i + 1, self.position
                if self.result.healed_at is None:
                    self.open_alarms.update({alarm.stream: alarm for alarm in alarms})
                    self.schedule.alarm()
        self.num_known = due.stop

    def _look(self) -> None:
        """Look for a pattern in the latest traffic, and do what the policy lets happen."""
        result = self.result
        result.num_looks += 1
        # The newest requests have no ground truth yet: as many more are read.
        traffic = self._traffic(self.settings.window + self.settings.label_delay)
        found = self._search(traffic) if traffic.failed.any() else False
        advised = result.trigger.advice if result.trigger is not None else None
        if result.healed_at is None:
            self.schedule.looked(found=found, awaiting=advised is not None and advised.action == "collect")
        if not self.schedule.is_open:
            self.open_alarms.clear()

    def _traffic(self, num_rows: int = WINDOW_ROWS) -> Traffic:
        """Return those of the newest answers whose ground truth is known."""
        traffic, _ = recent_traffic(self.reader, num_rows=num_rows, labelled=True)
        # The store compares texts; the model may take more than one text for right. Ids are positions.
        failed = np.array([self.result.failed[int(place)] for place in traffic.ids], dtype=np.bool_)
        return replace(traffic, failed=failed & traffic.labelled)

    def _search(self, traffic: Traffic) -> bool:
        """Search the latest traffic, act on what is found, and return whether a pattern is confirmed."""
        model = self.world.model
        vectors = self._embedded(traffic.texts)
        by_label = model.task_type == "text_classification"
        search = find_slices(traffic, vectors, settings=SliceSettings(seed=self.settings.plan.seed, labels=by_label))
        reference, result = self.monitor.reference_rate(Stream("overall")), self.result
        result.search = search
        result.health = assess_health(
            traffic,
            reference_rate=reference,
            alarms=list(self.open_alarms.values()),
            search=search,
            shifts=self._shifts(vectors),
        )
        worst = main_slice(search)
        if worst is None or worst.support < MIN_FAILURES:
            return worst is not None
        pattern = pattern_of(worst, traffic, model.task_type)
        if result.pattern is None or result.pattern.description != pattern.description:
            result.pattern_at = self.position
        result.pattern = pattern
        # Controls need more traffic than the pattern: everything that is stored.
        everything = self._traffic()
        every_vector = self._embedded(everything.texts)
        rule = worst.rule
        domain = rule.value if isinstance(rule, Predicate) and rule.kind == "domain" else "traffic"
        try:
            extraction = extract_suite(
                everything,
                worst.contains(everything, every_vector),
                every_vector,
                task_type=model.task_type,
                labels=model.labels,
                domain=domain,
                description=pattern.description,
                settings=ExtractionSettings(needs=gate_needs(self.settings), seed=self.settings.plan.seed),
            )
        except EmptySliceError:
            # Too few rows for an incident of this pattern: they come with later requests.
            result.extraction, result.advice, result.trigger = None, (), None
            return True
        result.extraction = described(extraction, worst)
        task = result.extraction.suite.task
        # The words that the healer searches with, without the exemplars that it adds.
        candidates = self.market.search(
            SearchQuery(model.task_type, task.description, base_digest=model.digest, labels=task.repair_labels)
        )
        result.advice = recommend(
            result.health,
            pattern,
            candidates=candidates,
            evaluations=signed_evidence(self.market, candidates),
            earlier=surgery_evidence(self.runs, by=self.settings.tenant),
            shortfall=result.extraction.shortfall,
            gate_forwards=float(len(task.selection) + len(task.control_selection)),
        )
        result.trigger = decide_trigger(
            result.health, result.advice, policy=self.settings.trigger, now=self._now(), past=self.past
        )
        if result.trigger.decision == "start" and len(result.attempts) >= self.settings.max_attempts:
            reason = f"{self.settings.max_attempts} healing runs were declared beforehand, and there have been so many"
            result.trigger = Trigger("hold", result.trigger.advice, reason)
        if self.settings.heal and result.trigger.decision == "start" and result.trigger.advice is not None:
            self._heal(result.extraction, pattern, result.trigger.advice)
        return True

    def _shifts(self, latest: NDArray[np.floating]) -> list[str]:
        """Return what else has moved: confidences, and the inputs against the first ones."""
        found = []
        if self.calibration_at is not None:
            found.append(f"confidences are too high for what is right since request {self.calibration_at}")
        # At first there are fewer than twice as many: then half of them on either side, so that none stands on both.
        num_rows = min(NUM_REFERENCE, self.num_known // 2)
        first = [request.sample.text for request in self.stream[:num_rows]]
        return found + self.input_shift.compare(self._embedded(first), latest[-num_rows:]) if num_rows else found

    def _heal(self, extraction: Extraction, pattern: FailurePattern, advice: Advice) -> None:
        result, task, now = self.result, extraction.suite.task, self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        healed = heal(
            self.world.model,
            task,
            store=self.patches,
            strategy=allowed_strategy(self.settings.trigger, self.settings.strategy),
            market=self.market,
            budget=Budget(forwards_equivalent=self.world.recipe.budget_forwards),
            gate=gate_of_one_run(self.settings),
            seed=self.settings.plan.seed,
            lora=self.world.recipe.lora,
            deploying=Deploying(self.registry, self.ledger, self.settings.tenant, self.model_id, now),
            listener=self.listener,
            issued=now,
        )
        spent = healed.outcome.cost.total("forwards_equivalent")
        action = ACTIONS.get(route_of(healed), advice.action)
        self.past.append(PastAction(action, self._now(), spent, pattern.pattern_id))
        self.runs.append(healed)
        result.healed = healed
        result.attempts.append((self.position, healed.outcome.status))
        if healed.deployment is None or healed.deployment.stage != "live":
            return
        result.healed_at = self.position
        self.schedule.close()
        given = (*task.repair, *task.selection, *task.replay, *task.control_selection)
        self._mark({sample.text for sample in given})

    def _mark(self, texts: set[str]) -> None:
        """Remember which requests are what the healer was given, or near duplicates of it."""
        groups = {request.sample.group for request in self.stream if request.sample.text in texts}
        self.result.seen_in_healing = [request.sample.group in groups for request in self.stream]

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.floating]:
        new = sorted({text for text in texts if text not in self.vectors})
        if new:
            self.vectors.update(zip(new, self.embed(new), strict=True))
        return np.stack([self.vectors[text] for text in texts])
