"""``symbio monitor replay``: real test traffic with a shift in the middle, from the alarm to a deployed patch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.printing import interval_text, print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag, session_of
from symbio_lab.errors import ConfigError

if TYPE_CHECKING:
    from symbio_lab.records import Interval
    from symbio_lab.replay.story import ReplayResult

MOST_ADVICE = 4
"""Pieces of advice that are printed; --json has all."""


def replay(
    context: typer.Context,
    dataset: Annotated[str, typer.Option(help="Failure dataset, e.g. clinc150.")] = "clinc150",
    shift: Annotated[str, typer.Option(help="What sets in: domain:NAME.")] = "domain:travel",
    at: Annotated[int, typer.Option(help="Requests before the shift.")] = 3000,
    share: Annotated[float, typer.Option(help="Share of shifted requests after it.")] = 0.3,
    heal: Annotated[bool, typer.Option("--heal", help="Carry the advice out; otherwise stop at the proposal.")] = False,
    pool: Annotated[str, typer.Option(help="Relevance of the pool: null, low, medium, high; or none.")] = "high",
    strategy: Annotated[str, typer.Option(help="Healing strategy.")] = "marketplace_first",
    gate: Annotated[str, typer.Option(help="lab or strict.")] = "lab",
    label_delay: Annotated[int, typer.Option(help="Requests after which a ground truth is known.")] = 0,
    false_alarms: Annotated[float, typer.Option(help="False alarms allowed in 10,000 requests.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Order of the requests and every random choice.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: replays/ in the state folder.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Play held-out traffic to the monitor: alarm, pattern, proposal, and with --heal a deployed patch and recovery.

    The run has a store of its own in its folder, begun anew each time. Exit 0 whatever comes out: no alarm, no pattern
    and a rejected patch are results.
    """
    from symbio_lab.deployment.gate import gate_policy
    from symbio_lab.healing.catalogue import healing_strategy
    from symbio_lab.replay.running import CHART, run_replay
    from symbio_lab.replay.story import ReplaySettings
    from symbio_lab.replay.stream import StreamPlan
    from symbio_lab.scenarios.recipe import check_pool

    plan = StreamPlan(dataset, shift, at, share, seed)
    scenario = plan.scenario()
    if pool != "none":
        check_pool(pool, 128)
    healing_strategy(strategy)
    if label_delay < 0:
        raise ConfigError(["--label-delay must not be negative"])
    watched = ReplaySettings(
        plan=plan,
        heal=heal,
        strategy=strategy,
        label_delay=label_delay,
        false_alarms_per_10k=false_alarms,
        gate=gate_policy(gate),
    )
    session = session_of(context)
    with progress() as listener:
        result, folder = run_replay(watched, pool=pool, settings=session.settings, out=out, listener=listener)
    summary = _summary(result, scenario, folder / CHART)
    if as_json:
        print_json(summary)
    else:
        _print(result, summary)
    return 0


def _summary(result: ReplayResult, scenario: str, chart: Path) -> dict[str, Any]:
    from symbio_lab.replay.recovery import stretches

    healed, pattern = result.healed, result.pattern
    deployment = healed.deployment if healed is not None else None
    return {
        "status": result.status,
        "deployment_id": deployment.deployment_id if deployment is not None else None,
        "stage": deployment.stage if deployment is not None else None,
        "scenario": scenario,
        "num_requests": result.num_requests,
        "shift_at": result.shift_at,
        "alarm_at": result.alarm_at,
        "alarm_known_at": result.alarm_known_at,
        "num_alarms_before_shift": result.num_alarms_before_shift,
        "alarms": result.alarms,
        "pattern_at": result.pattern_at,
        "pattern": pattern.description if pattern is not None else None,
        "pattern_record": pattern,
        "search": _searched(result),
        "health": result.health,
        "advice": result.advice,
        "trigger": result.trigger,
        "healed_at": result.healed_at,
        "patch": deployment.patch_id if deployment is not None else None,
        "route": healed.outcome.route if healed is not None else None,
        "healing_runs": result.attempts,
        "attempts": healed.outcome.attempts if healed is not None else (),
        "error_rates": stretches(result),
        "plot": str(chart),
    }


def _searched(result: ReplayResult) -> str | None:
    """Return the words that the market was searched with; before an incident was drawn, those that it would be."""
    if result.extraction is not None:
        return result.extraction.suite.task.description
    return result.pattern.search_text if result.pattern is not None else None


def _print(result: ReplayResult, summary: dict[str, Any]) -> None:
    from symbio_lab.replay.recovery import stretches

    print(f"{summary['num_requests']} requests of {summary['scenario']}; the shift is at {summary['shift_at']}")
    if result.alarm_at is None:
        print("alarm: none")
    else:
        first = result.alarms[0]
        name = f"{first.stream.kind} {first.stream.value}".strip()
        known = f"known after request {result.alarm_known_at}"
        before = f"before the shift: {result.num_alarms_before_shift}"
        print(f"alarm: request {result.alarm_at}, stream {name} ({known}; {before})")
    if result.health is not None:
        print(f"health: {result.health.state}")
        for sentence in result.health.evidence:
            print(f"  {sentence}")
    if result.pattern is not None:
        print(f"pattern: {result.pattern.description} (request {result.pattern_at}, {result.pattern.support} failures)")
        print(f"search: {summary['search']}")
    for advice in result.advice[:MOST_ADVICE]:
        print(f"advice: {advice.action} {advice.ref}".rstrip() + f": {'; '.join(advice.reasons)}")
    if result.trigger is not None:
        print(f"trigger: {result.trigger.decision} ({result.trigger.reason})")
    for at, status in result.attempts[:-1]:
        print(f"healing: {status}, after request {at}")
    if result.healed is not None:
        outcome = result.healed.outcome
        print(f"healing: {outcome.status}, route {outcome.route}, after request {result.attempts[-1][0]}")
    print_table(
        ["wrong answers", "all", "of the shifted kind", "of the others"],
        [[s.name, *(_rate(rate) for rate in (s.overall, s.shifted, s.usual))] for s in stretches(result)],
    )
    print(f"deployment: {summary['deployment_id'] or 'none'}")
    print(f"status: {result.status}")
    print(f"plot: {summary['plot']}")


def _rate(rate: Interval) -> str:
    return f"{interval_text(rate.value, rate.low, rate.high, digits=3)} (n = {rate.n})" if rate.n else "-"
