"""What a replay found, as bundles for a notebook: health, patterns, samples, advice, recovery."""

from __future__ import annotations

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import plural
from symbio_lab.display.prose import code, esc, prose, strong
from symbio_lab.display.table import Cell, Column, TableRow, table
from symbio_lab.monitor.detectors.alarm import Alarm
from symbio_lab.monitor.naming import excess_failures
from symbio_lab.records import Interval
from symbio_lab.replay.recovery import stretches
from symbio_lab.replay.story import ReplayResult

MOST_ADVICE = 5
"""Pieces of advice shown."""


def alarm_words(result: ReplayResult) -> Bundle:
    """Return when the alarm came and what raised it."""
    if result.alarm_at is None:
        return prose("Nothing raised an alarm.", tone="headline")
    first = result.alarms[0]
    before = (
        f"Before the shift there were {plural(result.num_alarms_before_shift, 'alarm')} in {result.shift_at} requests."
    )
    if result.alarm_at > result.shift_at:
        return prose(f"The alarm {_came(first, result.shift_at)}. {before}", tone="headline")
    after = next((alarm for alarm in result.alarms if alarm.at_event > result.shift_at), None)
    words = (
        "After the shift there was none." if after is None else f"The first after it {_came(after, result.shift_at)}."
    )
    return prose(
        f"The first alarm came at request {strong(result.alarm_at)}, before the shift. {words} {before}",
        tone="headline",
    )


def health_words(result: ReplayResult) -> Bundle:
    """Return the model's state and its evidence."""
    if result.health is None:
        return prose(_not_looked_for(result))
    return prose(f"The model is {strong(result.health.state)}.", *(esc(text) for text in result.health.evidence))


def patterns_table(result: ReplayResult) -> Bundle:
    """Return all patterns of the latest look, with failure rates on the half that was not searched."""
    if result.search is None:
        return prose(_not_looked_for(result))
    rows: list[TableRow] = [
        [
            Cell(one.description, is_strong=one.confirmed),
            _rate(one.inside),
            _rate(one.outside),
            str(one.support),
            f"{max(excess_failures(one), 0):.0f}",
            f"{one.p_value:.1e}",
            "yes" if one.confirmed else "no",
        ]
        for one in (*result.search.confirmed, *result.search.unconfirmed)
    ]
    columns = [
        Column("slice"),
        Column("wrong inside", number=True),
        Column("wrong outside", number=True),
        Column("failures", number=True),
        Column("explained", number=True),
        Column("p", number=True),
        Column("confirmed"),
    ]
    return table(columns, rows)


def samples_table(result: ReplayResult) -> Bundle:
    """Return the splits that were drawn from the traffic, and what the gate still lacks."""
    if result.extraction is None:
        why = "no pattern was confirmed" if result.pattern is None else "the pattern has too few samples"
        return prose(f"No incident was drawn: {why}.")
    task, judge = result.extraction.suite.task, result.extraction.suite.judge
    rows: list[TableRow] = [
        ["repair", str(len(task.repair)), "failures of the slice, chosen to stand for all of them"],
        ["selection", str(len(task.selection)), "failures of the slice, drawn at random: for the gate"],
        ["replay", str(len(task.replay)), "other traffic that may be trained on"],
        ["control_selection", str(len(task.control_selection)), "other traffic, unfiltered: for the gate"],
        ["slice_holdout", str(len(judge.slice_holdout)), "the slice, unfiltered: for the judge"],
        ["control_holdout", str(len(judge.control_holdout)), "other traffic, unfiltered: for the judge"],
        ["matched", str(len(result.extraction.matched)), "of these, the closest to the failures"],
        [Cell("gate", is_strong=True), "", result.extraction.shortfall.describe()],
    ]
    return table([Column("split"), Column("samples", number=True), Column("what they are")], rows)


def advice_table(result: ReplayResult) -> Bundle:
    """Return the ranked advice with its reasons, and what the policy made of it."""
    rows: list[TableRow] = [
        [
            Cell(advice.action, is_strong=place == 0),
            Cell(advice.ref, is_code=True) if advice.ref else "",
            "not known" if advice.expected_gain_pp is None else _gain(advice.expected_gain_pp),
            "not known" if advice.expected_forwards is None else f"{advice.expected_forwards:,.0f}",
            "; ".join(advice.reasons),
        ]
        for place, advice in enumerate(result.advice[:MOST_ADVICE])
    ]
    columns = [
        Column("action"),
        Column("patch"),
        Column("expected gain", number=True),
        Column("forwards", number=True),
        Column("reasons"),
    ]
    return table(columns, rows)


def recovery_table(result: ReplayResult) -> Bundle:
    """Return the error rates before the shift, between, and after healing."""
    rows: list[TableRow] = [
        [s.name, *(_rate(rate) for rate in (s.overall, s.shifted, s.usual))] for s in stretches(result)
    ]
    columns = [
        Column("wrong answers"),
        Column("all", number=True),
        Column("of the kind that set in", number=True),
        Column("of the others", number=True),
    ]
    return table(columns, rows)


def outcome_words(result: ReplayResult) -> Bundle:
    """Return what healing did, in a sentence."""
    if result.healed is None:
        return prose(f"Nothing was healed: {code(result.status)}.", tone="headline")
    outcome, at = result.healed.outcome, result.attempts[-1][0]
    earlier = [f"after request {when}: {status}" for when, status in result.attempts[:-1]]
    return prose(
        f"Healing run {len(result.attempts)}, after request {strong(at)}: {code(outcome.status)}, route "
        f"{code(outcome.route)}.",
        esc("Earlier runs: " + "; ".join(earlier) + ".") if earlier else "",
        tone="headline",
    )


def _not_looked_for(result: ReplayResult) -> str:
    why = "nothing had raised an alarm" if result.alarm_at is None else "no wrong answer was known after the alarm"
    return f"No pattern was looked for: {why}."


def _came(alarm: Alarm, shift_at: int) -> str:
    name = f"{alarm.stream.kind} {alarm.stream.value}".strip()
    return (
        f"came at request {strong(alarm.at_event)}, {plural(alarm.at_event - shift_at, 'request')} after the shift: of "
        f"the latest {alarm.recent_n} answers of stream {code(name)}, {_percent(alarm.recent_rate)} were wrong, where "
        f"{_percent(alarm.reference_rate)} had been normal"
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _rate(rate: Interval) -> Cell | str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "-"
    return Cell(_percent(rate.value), f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %, n = {rate.n}")


def _gain(gain: Interval) -> str:
    if gain.value is None or gain.low is None or gain.high is None:
        return "not known"
    return f"{gain.value:+.2f} pp ({gain.low:+.2f} to {gain.high:+.2f})"
