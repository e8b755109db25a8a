"""Advice from evidence alone, and triggers that say why they hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from symbio_lab.advice.evaluations import evidence_of
from symbio_lab.advice.recommending import Advice, FixEvidence, gain_pp, recommend
from symbio_lab.advice.triggers import PastAction, TriggerPolicy, decide_trigger
from symbio_lab.errors import ConfigError
from symbio_lab.monitor.extraction import Shortfall
from symbio_lab.monitor.health import Health, State
from symbio_lab.records import Candidate, FailurePattern, Interval
from symbio_lab.trust.evaluation_statement import EvaluationStatement

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
PATTERN = FailurePattern("travel", ("a",), (), (), 80, 0.8, 0.7, 0.9, outside_rate=0.05, traffic_share=0.2)


def health(state: State = "degraded") -> Health:
    return Health(state, ("evidence",), Interval(0.2, 0.1, 0.3, 100), 0)


def candidate(ref: str, problem: str | None = None) -> Candidate:
    return Candidate(ref, "market", None, 0.5, "close", problem)


def test_gain_is_reach_times_fix_rate_less_what_is_broken() -> None:
    gain = gain_pp(PATTERN, [FixEvidence("p", 50, 100, 10, 1000)])
    assert gain is not None
    assert gain.value == pytest.approx(100 * (0.2 * 0.8 * 0.5 - 0.8 * 0.95 * 0.01))
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < gain.value < gain.high


def test_only_what_was_right_outside_can_be_broken() -> None:
    wrong_anyway = replace(PATTERN, outside_rate=1.0)
    gain = gain_pp(wrong_anyway, [FixEvidence("p", 0, 100, 1000, 1000)])
    assert gain is not None
    assert (gain.value, gain.low) == (0.0, 0.0)
    unknown = gain_pp(replace(PATTERN, outside_rate=None), [FixEvidence("p", 0, 100, 1000, 1000)])
    assert unknown is not None
    assert unknown.value == pytest.approx(-80.0)


def test_an_evaluation_that_shows_harm_counts_as_harm() -> None:
    said = EvaluationStatement("a/b", "0" * 64, "1" * 64, "2" * 64, "3" * 64, 200, 900_000, 400_000, "")
    evidence = evidence_of("a/b", said)
    assert (evidence.num_fixed, evidence.num_failures) == (0, 20)
    assert (evidence.num_broken, evidence.num_controls) == (100, 180)
    gain = gain_pp(PATTERN, [evidence])
    assert gain is not None
    assert gain.value is not None
    assert gain.value < 0
    advice = recommend(health(), PATTERN, candidates=[candidate("a/b")], evaluations=[evidence])[-1]
    assert (advice.action, advice.ref) == ("adopt", "a/b"), "it comes last"
    assert "what they evaluated need not be this pattern" in advice.reasons


def test_evaluations_are_pooled_and_none_gives_no_gain() -> None:
    both = gain_pp(PATTERN, [FixEvidence("p", 20, 40), FixEvidence("p", 30, 60)])
    assert both == gain_pp(PATTERN, [FixEvidence("p", 50, 100)])
    assert gain_pp(PATTERN, []) is None
    assert gain_pp(FailurePattern("x", (), (), (), 3), [FixEvidence("p", 1, 2)]) is None


def test_what_was_measured_to_help_comes_first_then_the_markets_order() -> None:
    found = recommend(
        health(),
        PATTERN,
        candidates=[candidate("best-match"), candidate("measured"), candidate("harmful"), candidate("bad", "revoked")],
        evaluations=[FixEvidence("measured", 90, 100, 0, 1000), FixEvidence("harmful", 0, 100, 500, 1000)],
    )
    assert [(a.action, a.ref) for a in found] == [
        ("adopt", "measured"),
        ("adopt", "best-match"),
        ("operate", ""),
        ("adopt", "harmful"),
    ]
    assert found[1].expected_gain_pp is None
    assert "not known before it is tried" in " ".join(found[1].reasons)


def test_operating_has_a_gain_and_a_cost_once_it_was_done() -> None:
    (unknown,) = [a for a in recommend(health(), PATTERN) if a.action == "operate"]
    assert (unknown.expected_gain_pp, unknown.expected_forwards) == (None, None)
    earlier = [FixEvidence("lora", 30, 60, 4, 900, forwards_equivalent=20_000.0)]
    (known,) = [a for a in recommend(health(), PATTERN, earlier=earlier, gate_forwards=1000.0) if a.action == "operate"]
    assert known.expected_forwards == 21_000.0
    assert known.expected_gain_pp is not None


def test_collecting_comes_first_when_the_gate_could_not_decide() -> None:
    (first, *others) = recommend(health(), PATTERN, shortfall=Shortfall(6, 0, possible=True))
    assert (first.action, first.reasons) == ("collect", ("6 more labelled failures of the slice are needed",))
    assert others
    assert recommend(health(), PATTERN, shortfall=Shortfall(0, 0, possible=False))[0].action == "wait"
    assert recommend(health(), PATTERN, shortfall=Shortfall(0, 0, possible=True))[0].action == "operate"


def test_without_a_pattern_or_a_problem_the_advice_is_to_wait() -> None:
    assert [a.action for a in recommend(health(), None)] == ["wait"]
    assert [a.action for a in recommend(health("healthy"), PATTERN)] == ["wait"]


ADOPT = Advice("adopt", "p", Interval(3.0, 1.0, 5.0, 50), 2000.0, ("why",))
OPERATE = Advice("operate", "", None, 30_000.0, ("why",))
AUTOMATIC = TriggerPolicy(approval="automatic")


def test_the_best_allowed_advice_starts() -> None:
    trigger = decide_trigger(health(), [ADOPT, OPERATE], policy=AUTOMATIC, now=NOW)
    assert (trigger.decision, trigger.advice) == ("start", ADOPT)
    only = TriggerPolicy(approval="automatic", allowed=("operate",))
    assert decide_trigger(health(), [ADOPT, OPERATE], policy=only, now=NOW).advice == OPERATE
    assert decide_trigger(health(), [ADOPT], policy=TriggerPolicy(), now=NOW).decision == "ask"


def test_what_was_measured_to_bring_nothing_is_not_started() -> None:
    harmful = Advice("adopt", "bad", Interval(-3.0, -5.0, 0.0, 50), 2000.0, ("why",))
    assert decide_trigger(health(), [harmful, OPERATE], policy=AUTOMATIC, now=NOW).advice == OPERATE
    none_left = decide_trigger(health(), [harmful], policy=AUTOMATIC, now=NOW)
    assert (none_left.decision, none_left.advice) == ("hold", harmful)
    assert "no gain" in none_left.reason
    unsure = Advice("adopt", "p", Interval(-1.0, -5.0, 0.5, 50), 2000.0, ("why",))
    assert decide_trigger(health(), [unsure], policy=AUTOMATIC, now=NOW).decision == "start"


@pytest.mark.parametrize(
    ("state", "past", "policy", "reason"),
    [
        ("watch", [], AUTOMATIC, "actions start at degraded"),
        ("failing", [PastAction("adopt", NOW - timedelta(minutes=5), 0.0)], AUTOMATIC, "cooling down: 3300 s"),
        ("failing", [PastAction("adopt", NOW - timedelta(hours=h), 0.0) for h in (2, 4, 6, 8)], AUTOMATIC, "4 actions"),
        ("failing", [PastAction("operate", NOW - timedelta(hours=2), 499_000.0)], AUTOMATIC, "budget"),
        ("failing", [], TriggerPolicy(approval="automatic", allowed=()), "starts none of: adopt"),
    ],
)
def test_why_an_action_is_held(state: State, past: list[PastAction], policy: TriggerPolicy, reason: str) -> None:
    trigger = decide_trigger(health(state), [ADOPT], policy=policy, now=NOW, past=past)
    assert trigger.decision == "hold"
    assert reason in trigger.reason


def test_what_was_done_longer_ago_does_not_count() -> None:
    past = [PastAction("operate", NOW - timedelta(days=2), 499_000.0)] * 9
    assert decide_trigger(health(), [ADOPT], policy=AUTOMATIC, now=NOW, past=past).decision == "start"


def test_collect_and_wait_are_never_started() -> None:
    collect = Advice("collect", "", None, None, ("6 more are needed",))
    trigger = decide_trigger(health(), [collect, ADOPT], policy=AUTOMATIC, now=NOW)
    assert (trigger.decision, trigger.reason) == ("hold", "6 more are needed")
    assert decide_trigger(health(), [], policy=AUTOMATIC, now=NOW).decision == "hold"


def test_wrong_policies_and_clocks_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        TriggerPolicy(min_state="ill", allowed=("wait",), cool_down_s=-1.0)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match="time zone"):
        decide_trigger(health(), [ADOPT], policy=AUTOMATIC, now=datetime(2026, 1, 1))
