"""What is streamed, and what is said of it."""

from __future__ import annotations

import base64

import pytest

from symbio_lab.display.charts import MIME
from symbio_lab.display.stream import rolling_rates, stream_chart
from symbio_lab.errors import ConfigError, UnknownDatasetError
from symbio_lab.replay.recovery import stretches
from symbio_lab.replay.story import ReplayResult
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
