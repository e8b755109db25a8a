"""What is streamed, and what is said of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from symbio_lab.advice.triggers import TriggerPolicy
from symbio_lab.deployment.gate import GATE_POLICIES, Verdict
from symbio_lab.display.charts import MIME
from symbio_lab.display.stream import rolling_rates, stream_chart
from symbio_lab.errors import ConfigError, UnknownDatasetError
from symbio_lab.monitor.detectors.alarm import Alarm, Stream
from symbio_lab.pipeline import Healed
from symbio_lab.records import Attempt, Cost, HealingOutcome, Patch, PhaseCost
from symbio_lab.replay.acting import allowed_strategy, gate_needs, route_of, surgery_evidence
from symbio_lab.replay.looking import MOST_FRUITLESS, MOST_TESTS, InputShift, LookSchedule
from symbio_lab.replay.recovery import stretches
from symbio_lab.replay.showing import alarm_words, patterns_table
from symbio_lab.replay.story import ReplayResult, ReplaySettings
from symbio_lab.replay.stream import StreamPlan


def test_a_plan_names_the_world_whose_base_lacks_what_sets_in() -> None:
    assert StreamPlan().scenario() == "clinc150/travel"
    assert StreamPlan("clinc150", "domain:small_talk").scenario() == "clinc150/small_talk"


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (StreamPlan(shift="typos"), "domain:NAME"),
        (StreamPlan(shift="domain:"), "domain:NAME"),
        (StreamPlan(at=0), "at least one"),
        (StreamPlan(share=0.0), "share"),
        (StreamPlan(share=1.5), "share"),
    ],
)
def test_a_wrong_plan_is_refused(plan: StreamPlan, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan.scenario()


def test_everything_wrong_is_said_at_once_and_unknown_worlds_list_the_known() -> None:
    with pytest.raises(ConfigError) as caught:
        StreamPlan(shift="typos", at=0, share=2.0).scenario()
    assert len(caught.value.problems) == 3
    with pytest.raises(UnknownDatasetError) as unknown:
        StreamPlan(shift="domain:astrology").scenario()
    assert "clinc150 domain:travel" in unknown.value.hint


def test_rolling_rates_are_of_the_latest_requests() -> None:
    points = rolling_rates([False] * 100 + [True] * 100, window=100, step=50)
    assert [(p["request"], p["rate"]) for p in points] == [(100, 0.0), (150, 0.5), (200, 1.0)]
    assert all(p["low"] <= p["rate"] <= p["high"] for p in points)
    assert rolling_rates([True] * 99) == []


def test_the_chart_shows_the_curve_and_what_happened_and_says_it_in_words() -> None:
    failed = [i % 20 == 0 for i in range(400)] + [i % 2 == 0 for i in range(200)]
    bundle = stream_chart(failed, {"shift": 400, "alarm": 430, "healed": None}, "title")
    text = bundle.data["text/plain"]
    assert "Shift: request 400." in text
    assert "Alarm: request 430." in text
    assert "Healed" not in text
    assert "5 % at first, at most 50 %" in text
    assert bundle.png.startswith(b"\x89PNG")
    assert bundle.data[MIME]["title"] == "title"
    assert base64.b64decode(bundle.data["image/png"]) == bundle.png
    assert "no rate is shown" in str(stream_chart([True] * 5, {}))


def test_recovery_leaves_out_what_the_healer_was_given() -> None:
    result = ReplayResult(
        300,
        100,
        failed=[False] * 100 + [True] * 100 + [i < 20 for i in range(100)],
        shifted=[False] * 100 + [True] * 200,
        seen_in_healing=[False] * 200 + [i >= 60 for i in range(100)],
        healed_at=200,
        alarm_at=110,
    )
    before, between, after = stretches(result)
    assert (before.overall.value, before.shifted.n) == (0.0, 0)
    assert between.shifted.value == 1.0
    assert (after.overall.n, after.overall.value) == (60, pytest.approx(1 / 3))
    assert result.status == "no_pattern"
    assert len(stretches(ReplayResult(200, 100, [False] * 200, [False] * 200, [False] * 200))) == 2
    assert ReplayResult(0, 0).status == "no_alarm"


def alarm(at: int) -> Alarm:
    return Alarm(Stream("overall"), at, at, 9.0, 8.0, 0.05, 0.4, 30, at - 10)


def test_alarms_are_told_as_they_came() -> None:
    late = ReplayResult(300, 100, alarms=[alarm(140)], alarm_at=140)
    assert "40 requests after the shift" in str(alarm_words(late))
    early = replace(late, alarms=[alarm(60), alarm(130)], alarm_at=60, num_alarms_before_shift=1)
    text = str(alarm_words(early))
    assert "before the shift" in text
    assert "The first after it came at request" in text
    assert "30 requests after the shift" in text
    assert "-40" not in text
    assert "there was none" in str(alarm_words(replace(early, alarms=[alarm(60)])))
    assert "Nothing raised an alarm" in str(alarm_words(ReplayResult(300, 100)))
    assert "nothing had raised an alarm" in str(patterns_table(ReplayResult(300, 100)))
    assert "after the alarm" in str(patterns_table(late))


def test_settings_out_of_range_are_refused_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ReplaySettings(batch=0, label_delay=-1, window=0, max_attempts=0)
    assert len(caught.value.problems) == 4


def looks(batches: int, alarms: Sequence[int], *, found: bool = True, awaiting: bool = False) -> list[int]:
    schedule, looked = LookSchedule(), []
    for batch in range(batches):
        if batch in alarms:
            schedule.alarm()
        if schedule.due():
            looked.append(batch)
            schedule.looked(found=found, awaiting=awaiting)
    return looked


def test_looks_follow_alarms_at_doubling_intervals() -> None:
    assert looks(20, []) == []
    assert looks(20, [2]) == [2, 3, 5, 9, 17]
    assert looks(20, [2, 6]) == [2, 3, 5, 6, 7, 9, 13]
    assert looks(8, range(8)) == list(range(8))
    assert looks(8, [2], awaiting=True) == [2, 3, 4, 5, 6, 7]
    assert len(looks(2000, [0], found=False)) == MOST_FRUITLESS
    assert len(looks(20, range(20), found=False)) == 20, "the next alarm begins anew"


def test_a_shift_of_the_inputs_is_tested_as_often_as_declared() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)) + 2.0
    tested = InputShift(seed=0)
    assert tested.compare(first[:5], other) == []
    assert tested.compare(first, rng.normal(size=(60, 4))) == []
    (sentence,) = tested.compare(first, other)
    assert "the inputs have shifted: mmd p = 0.0004" in sentence
    assert tested.compare(first, first) == [sentence], "it stands"
    used_up = InputShift(seed=0)
    for _ in range(MOST_TESTS):
        assert used_up.compare(first[:30], first[30:]) == []
    assert used_up.compare(first, other) == []


def test_what_the_policy_forbids_is_not_carried_out() -> None:
    def strategy(*allowed: str) -> str:
        return allowed_strategy(TriggerPolicy(allowed=allowed), "marketplace_first")

    assert [strategy("adopt"), strategy("operate"), strategy("adopt", "operate")] == [
        "best_single",
        "surgery_only",
        "marketplace_first",
    ]


@pytest.mark.parametrize("name", sorted(GATE_POLICIES))
def test_the_gates_alpha_is_shared_among_runs_and_looks(name: str) -> None:
    settings = ReplaySettings(gate=GATE_POLICIES[name])
    needs = gate_needs(settings)
    assert (needs.alpha, needs.looks) == (0.05 / 2, 2)
    assert needs.num_failures is not None
    assert needs.num_controls is not None
    assert gate_needs(replace(settings, strategy="best_single")).looks == 1
    assert gate_needs(replace(settings, strategy="noop")).looks == 1
    assert gate_needs(replace(settings, trigger=TriggerPolicy(allowed=("operate",)))).looks == 1


def healing(kind: str, status: str = "undecided") -> Healed:
    figures = (0.5, 0.3, 0.7, 40, 0.01, 0.0, 0.03, 400)
    verdict = Verdict("undecided", "undecided", *figures, 2, None, None)
    attempts = (Attempt("marketplace", "m/p", "rejected"), Attempt(kind, "local/lora", status))  # type: ignore[arg-type]
    proposed = cast(Patch, SimpleNamespace(patch_id="local/lora"))
    cost = Cost((("surgery", PhaseCost(forwards_equivalent=5000.0)),))
    return Healed(HealingOutcome("s", "hybrid", status, proposed, None, "none", attempts, cost, {}), verdict, None)


def test_surgery_of_earlier_runs_is_evidence() -> None:
    (evidence,) = surgery_evidence([healing("surgery"), healing("marketplace")], by="me")
    assert (evidence.num_fixed, evidence.num_failures) == (20, 40)
    assert (evidence.num_broken, evidence.num_controls) == (4, 400)
    assert (evidence.ref, evidence.by, evidence.forwards_equivalent) == ("local/lora", "me", 5000.0)
    assert route_of(healing("surgery")) == "surgery"
    assert route_of(healing("surgery", "proposed")) == "marketplace"
