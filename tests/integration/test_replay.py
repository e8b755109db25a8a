"""A whole replay on the tiny world: alarm, pattern, deployed patch and recovery, without anything carried by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from symbio_lab.advice.triggers import TriggerPolicy
from symbio_lab.comparison.market import NO_MARKET, Market, market_of_pool
from symbio_lab.deployment.gate import GATE_POLICIES, GatePolicy
from symbio_lab.errors import DataError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.replay.recovery import stretches
from symbio_lab.replay.replaying import replay
from symbio_lab.replay.story import ReplayResult, ReplaySettings
from symbio_lab.replay.stream import StreamPlan, build_stream
from symbio_lab.scenarios.world import World, build_world
from symbio_lab.store import Database, Ledger
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.trust.policy import TrustPolicy
from tests.integration import tiny_world

pytestmark = pytest.mark.usefixtures("installed")
PLAN = StreamPlan("tiny", "domain:shades", at=300, share=0.5)
# 260 test samples of each colour: fewer controls than the lab's gate asks for.
GATE = GatePolicy(min_controls=60, max_negative_flip_rate=0.2)


@pytest.fixture
def world(built: Path) -> World:
    return build_world("tiny", settings=tiny_world.settings(built / "home"))


def play(
    world: World, folder: Path, *, heal: bool = True, market: Market | None = None, **changes: object
) -> ReplayResult:
    settings = replace(ReplaySettings(plan=PLAN, heal=heal, batch=20, gate=GATE), **changes)  # type: ignore[arg-type]
    embed = SentenceEmbedder()
    client, _ = (market or market_of_pool(world.pool("high"))).view(folder / "overlay", folder / "patches", embed)
    if client is None:
        client = MarketplaceClient([], TrustPolicy(), folder / "patches", "2026-01-01T00:00:00Z", embed)
    stream = build_stream(world, settings.plan)
    return replay(
        world,
        stream,
        settings=settings,
        market=client,
        embed=embed,
        database=Database(folder / "store.db"),
        patches=folder / "patches",
    )


def test_from_the_alarm_to_a_deployed_patch_and_recovery(world: World, tmp_path: Path) -> None:
    result = play(world, tmp_path)
    assert result.num_alarms_before_shift == 0
    assert result.alarm_at is not None
    assert PLAN.at < result.alarm_at < PLAN.at + 100
    assert result.pattern is not None
    assert result.pattern.description == "the domain is shades"
    assert result.status == "healed"
    assert result.healed is not None
    assert result.healed.deployment is not None
    line = Ledger(Database(tmp_path / "store.db")).get(result.healed.deployment.deployment_id)
    assert line.stage == "live"
    before, between, after = stretches(result)
    assert between.shifted.value == 1.0
    assert after.shifted.n > 20
    assert after.shifted.high is not None
    assert after.shifted.high < 0.5
    assert before.overall.value is not None
    assert before.overall.value < 0.05


def test_every_answer_is_in_the_store_with_its_ground_truth(world: World, tmp_path: Path) -> None:
    result = play(world, tmp_path)
    state = PredictionReader(Database(tmp_path / "store.db"), "replay", "tiny").state()
    assert state.num_stored == result.num_requests == len(result.failed)
    assert state.num_labelled == result.num_requests
    assert state.num_failed == sum(result.failed)


def test_without_heal_it_stops_at_the_proposal(world: World, tmp_path: Path) -> None:
    result = play(world, tmp_path, heal=False)
    assert result.status == "proposed"
    assert result.healed is None
    assert result.advice
    assert result.health is not None
    assert result.health.state in ("degraded", "failing")


def test_labels_that_come_later_delay_the_alarm_and_nothing_else(world: World, tmp_path: Path) -> None:
    now, later = play(world, tmp_path / "now"), play(world, tmp_path / "later", label_delay=60)
    assert now.alarm_at == later.alarm_at, "the alarm is named by the request that raised it"
    assert now.alarm_known_at is not None
    assert later.alarm_known_at == now.alarm_known_at + 60
    assert later.pattern_at is not None
    assert now.pattern_at is not None
    assert later.pattern_at > now.pattern_at


def test_the_same_seed_gives_the_same_run(world: World, tmp_path: Path) -> None:
    first, again = play(world, tmp_path / "a"), play(world, tmp_path / "b")
    assert (first.failed, first.alarm_at, first.healed_at) == (again.failed, again.alarm_at, again.healed_at)
    assert first.pattern == again.pattern


def test_without_a_market_the_model_is_operated_on(world: World, tmp_path: Path) -> None:
    result = play(world, tmp_path, market=NO_MARKET)
    assert [advice.action for advice in result.advice][-1] == "operate"
    assert result.status in ("healed", "undecided", "rejected")
    assert "adopt" not in {advice.action for advice in result.advice}
    assert result.healed is not None
    assert result.healed.outcome.route in ("surgery", "none")


def test_a_gate_that_cannot_decide_asks_for_more_samples(world: World, tmp_path: Path) -> None:
    # The strict gate asks for more controls than there are; a patch could pass it all the same.
    result = play(world, tmp_path, gate=GATE_POLICIES["strict"])
    assert result.healed is None
    assert result.advice[0].action == "collect"
    assert result.trigger is not None
    assert result.trigger.decision == "hold"
    assert result.extraction is not None
    assert result.extraction.shortfall.possible
    assert result.extraction.shortfall.num_controls > 0


def test_ground_truth_that_comes_later_than_the_window_is_long_still_shows_the_pattern(
    world: World, tmp_path: Path
) -> None:
    result = play(world, tmp_path, heal=False, window=150, label_delay=200)
    assert result.pattern is not None
    assert result.pattern.description == "the domain is shades"


def test_a_shift_right_at_the_beginning_is_no_error(world: World, tmp_path: Path) -> None:
    result = play(world, tmp_path, heal=False, plan=replace(PLAN, at=5))
    assert result.shift_at == 5
    assert len(result.failed) == result.num_requests


def test_what_is_carried_out_is_what_the_policy_allows(world: World, tmp_path: Path) -> None:
    adopting = TriggerPolicy(approval="automatic", allowed=("adopt",))
    result = play(world, tmp_path, trigger=adopting, max_attempts=1, gate=replace(GATE, max_negative_flip_rate=0.1))
    assert result.healed is not None
    assert result.healed.outcome.strategy == "best_single"
    assert not any(attempt.kind == "surgery" for attempt in result.healed.outcome.attempts)
    assert len(result.attempts) == 1


def test_after_healing_answers_name_the_patch(world: World, tmp_path: Path) -> None:
    result = play(world, tmp_path)
    assert result.healed_at is not None
    assert result.healed is not None
    assert result.healed.outcome.deployed is not None
    rows = list(PredictionReader(Database(tmp_path / "store.db"), "replay", "tiny").rows())
    digest = world.model.digest
    assert {row.record.model_revision for row in rows[: result.healed_at]} == {digest}
    patched = f"{digest}+{result.healed.outcome.deployed.digest}"
    assert {row.record.model_revision for row in rows[result.healed_at :]} == {patched}


def test_a_generation_world_is_judged_by_its_own_rule(built_generation: Path, tmp_path: Path) -> None:
    world = build_world("tiny-generation", settings=tiny_world.settings(built_generation / "home"))
    plan = StreamPlan("tiny-generation", "domain:moving", at=300, share=0.5)
    result = play(world, tmp_path, heal=False, plan=plan, market=NO_MARKET)
    assert result.num_requests == len(result.failed) > plan.at
    assert result.alarm_at is not None
    assert result.pattern is not None
    assert not result.pattern.labels


def test_too_little_traffic_for_the_plan_is_a_typed_error(world: World) -> None:
    with pytest.raises(DataError, match="held-out requests"):
        build_stream(world, replace(PLAN, at=100_000))
