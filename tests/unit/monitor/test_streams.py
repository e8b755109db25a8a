"""Many streams: who alarms, what it costs, and what is guaranteed."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import ConfigError, DataError, NotFoundError
from symbio_lab.monitor.detectors.alarm import Alarm, Stream
from symbio_lab.monitor.detectors.rise_evidence import RiseEvidence
from symbio_lab.monitor.streams import KINDS, OVERALL, StreamMonitor
from symbio_lab.seeding import numpy_generator

NUM_DOMAINS, NUM_LABELS = 6, 3
"""Labels of each domain."""


def events(
    seed: int, num_events: int, *, normal: float = 0.1, raised: dict[str, float] | None = None, after: int = 0
) -> Iterator[tuple[bool, dict[str, str]]]:
    """Outcomes of two tenants and six domains with three labels each; domains in ``raised`` change after an event."""
    generator = numpy_generator(seed, "streams")
    for event in range(num_events):
        domain = f"d{generator.integers(NUM_DOMAINS)}"
        rate = (raised or {}).get(domain, normal) if event >= after else normal
        names = {
            "tenant": f"t{generator.integers(2)}",
            "domain": domain,
            "label": f"{domain}-{generator.integers(NUM_LABELS)}",
        }
        yield bool(generator.random() < rate), names


def references(rate: float = 0.1) -> dict[Stream, float]:
    domains = [f"d{i}" for i in range(NUM_DOMAINS)]
    streams = [Stream("tenant", f"t{i}") for i in range(2)] + [Stream("domain", d) for d in domains]
    streams += [Stream("label", f"{d}-{i}") for d in domains for i in range(NUM_LABELS)]
    return dict.fromkeys([OVERALL, *streams], rate)


def rounds(monitor: StreamMonitor, traffic: Any) -> list[tuple[Alarm, ...]]:
    return [alarms for failed, names in traffic if (alarms := monitor.update(failed, names))]


def test_the_domain_that_fails_is_named() -> None:
    monitor = StreamMonitor(references=references())
    found = rounds(monitor, events(1, 16_000, raised={"d3": 0.5}, after=10_000))
    first = {alarm.stream: alarm for alarm in reversed(list(itertools.chain(*found)))}
    assert Stream("domain", "d3") in first
    assert all(alarm.at_event > 10_000 for alarm in first.values())
    assert {s.value for s in first if s.kind == "domain"} == {"d3"}
    assert {s.value.split("-")[0] for s in first if s.kind == "label"} <= {"d3"}
    alarm = first[Stream("domain", "d3")]
    assert alarm.at_event < 10_600
    assert alarm.statistic >= alarm.threshold >= 10_000
    assert alarm.reference_rate == 0.1
    assert alarm.recent_rate == pytest.approx(0.5, abs=0.2)
    assert alarm.started_at_estimate + alarm.recent_n - 1 == alarm.at_stream_event
    assert alarm.started_at_estimate == pytest.approx(10_000 / NUM_DOMAINS, abs=120)


def test_references_are_learnt_stream_by_stream() -> None:
    monitor = StreamMonitor(num_reference_events=100)
    found = rounds(monitor, events(1, 9_000, raised={"d3": 0.5}, after=6_000))
    assert monitor.reference_rate(OVERALL) == pytest.approx(0.1, abs=0.02)
    assert {alarm.stream for alarms in found for alarm in alarms} >= {OVERALL, Stream("domain", "d3")}
    assert StreamMonitor().reference_rate(OVERALL) is None


def test_one_stream_alone_needs_more_than_several_together() -> None:
    alone = StreamMonitor(references={Stream("domain", "a"): 0.1, OVERALL: 0.5})
    (alarm,) = next(filter(None, (alone.update(True, {"domain": "a"}) for _ in range(20))))
    assert alarm.threshold == (1 + len(KINDS)) * 10_000
    names = {"tenant": "t", "domain": "a", "label": "x"}
    every = {OVERALL: 0.1, **{Stream(kind, value): 0.1 for kind, value in names.items()}}
    together = StreamMonitor(references=every)
    alarms = next(filter(None, (together.update(True, names) for _ in range(20))))
    assert {alarm.stream for alarm in alarms} == set(every)
    assert {alarm.threshold for alarm in alarms} == {10_000}
    assert alarms[0].at_event < alarm.at_event or alarms[0].statistic < alarm.threshold
    assert all(together.statistic(stream) == 0.0 for stream in every)


def test_only_the_streams_of_an_event_change() -> None:
    monitor = StreamMonitor(references=references())
    for failed, names in events(0, 500):
        monitor.update(failed, names)
    before = {stream: monitor.statistic(stream) for stream in monitor.streams}
    monitor.update(True, {"domain": "d1", "tenant": ""})
    changed = {stream for stream in monitor.streams if monitor.statistic(stream) != before[stream]}
    assert changed == {OVERALL, Stream("domain", "d1")}


def test_each_stream_is_its_own_detector() -> None:
    monitor = StreamMonitor(references=references())
    alone = RiseEvidence(0.1)
    for failed, names in events(2, 1000):
        monitor.update(failed, names)
        if names["domain"] == "d2":
            assert monitor.statistic(Stream("domain", "d2")) == alone.add(failed)


def test_restarts_and_rebase() -> None:
    monitor = StreamMonitor(kinds=(), references={OVERALL: 0.1})
    assert len(rounds(monitor, ((True, {}) for _ in range(50)))) > 3
    monitor.rebase(OVERALL, 0.99)
    assert monitor.reference_rate(OVERALL) == 0.99
    assert rounds(monitor, ((True, {}) for _ in range(500))) == []
    monitor.rebase(OVERALL)
    assert monitor.reference_rate(OVERALL) is None
    with pytest.raises(NotFoundError):
        monitor.rebase(Stream("domain", "nowhere"))
    with pytest.raises(ConfigError):
        monitor.rebase(OVERALL, 0.0)


def test_streams_appear_at_any_time_up_to_the_most() -> None:
    monitor = StreamMonitor(max_streams=3)
    for value in ("a", "b", "c", "c"):
        monitor.update(False, {"domain": value})
    assert monitor.streams == (OVERALL, Stream("domain", "a"), Stream("domain", "b"))
    assert monitor.num_not_watched == 2
    assert monitor.num_events == 4


@pytest.mark.parametrize("cut", [1, 700, 3050])
def test_a_state_goes_through_json_and_on(cut: int) -> None:
    traffic = list(events(4, 6000, raised={"d0": 0.6, "d1": 0.3}, after=3000))
    whole, before, after = StreamMonitor(), StreamMonitor(), StreamMonitor()
    expected = [alarms for alarms in rounds(whole, traffic) if alarms[0].at_event > cut]
    rounds(before, traffic[:cut])
    after.restore(json.loads(json.dumps(before.state(), allow_nan=False)))
    assert rounds(after, traffic[cut:]) == expected != []
    assert after.state() == whole.state()


def test_a_state_that_does_not_fit_is_refused_and_nothing_changes() -> None:
    monitor = StreamMonitor()
    rounds(monitor, events(0, 300))
    state = monitor.state()
    with pytest.raises(DataError):
        StreamMonitor(false_alarms_per_10k=2.0).restore(state)
    with pytest.raises(DataError):
        StreamMonitor(("domain",)).restore(state)
    for damage in ({"streams": [["overall", "", {}]]}, {"streams": [1]}, {"streams": None}, {"num_events": "x"}):
        with pytest.raises(DataError):
            monitor.restore({**state, **damage})
        assert monitor.state() == state


@pytest.mark.parametrize("names", [{"region": "x"}, {"domain": 3}, {"overall": "x"}, {"domain": None}])
def test_names_that_are_none_are_refused_and_nothing_is_counted(names: Any) -> None:
    monitor = StreamMonitor()
    with pytest.raises(DataError):
        monitor.update(True, {"tenant": "t", **names})
    with pytest.raises(DataError):
        monitor.update(None, {})  # type: ignore[arg-type]
    assert (monitor.num_events, monitor.streams) == (0, (OVERALL,))


@pytest.mark.parametrize(
    "settings",
    [
        {"kinds": ("domain", "domain")},
        {"kinds": ("overall",)},
        {"references": {Stream("region", "x"): 0.1}},
        {"references": {OVERALL: 1.0}},
        {"max_streams": 0},
        {"lifts": ()},
        {"false_alarms_per_10k": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        StreamMonitor(**settings)


def test_alarms_are_frozen() -> None:
    monitor = StreamMonitor(kinds=(), references={OVERALL: 0.1})
    ((alarm,), *_) = rounds(monitor, ((True, {}) for _ in range(20)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        alarm.at_event = 3  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------- the guarantee


def false_proportions(monitor: StreamMonitor, traffic: Any, risen: set[str]) -> list[tuple[int, float]]:
    """Event and false-discovery proportion of each round; a stream of a risen domain, or above domains, is true."""
    found = []
    for alarms in rounds(monitor, traffic):
        false = [
            a
            for a in alarms
            if not risen or (a.stream.kind in ("domain", "label") and a.stream.value.split("-")[0] not in risen)
        ]
        found.append((alarms[0].at_event, len(false) / len(alarms)))
    return found


def check_guarantee(num_runs: int, num_events: int, budget: float, raised: dict[str, float]) -> float:
    """Compare both statements with simulation; return the share of the bound that was used."""
    level = 10_000 / budget
    sums, firsts = [], []
    for run in range(num_runs):
        monitor = StreamMonitor(references=references(), false_alarms_per_10k=budget)
        found = false_proportions(monitor, events(1000 + run, num_events, raised=raised), set(raised))
        sums.append(sum(share for _, share in found))
        firsts.append(found[0] if found else (num_events, 0.0))
    used = float(np.mean(sums)) / (num_events / level)
    assert used <= 1.0
    stopped_at, share = np.array(firsts, dtype=float).T
    assert share.mean() <= stopped_at.mean() / level
    return used


@pytest.mark.parametrize("raised", [{}, {"d0": 0.5}, {"d0": 0.3, "d1": 0.2}], ids=["null", "one", "two"])
def test_false_discoveries_stay_within_the_bound(raised: dict[str, float]) -> None:
    used = check_guarantee(30, 2000, budget=100.0, raised=raised)
    # Far below would mean that the test could not notice a mistake.
    assert used > 0.05


def test_the_bound_holds_for_outcomes_that_depend_on_the_past() -> None:
    level = 100.0
    counts = []
    for run in range(40):
        generator = numpy_generator(run, "dependent")
        monitor = StreamMonitor(references=references(), false_alarms_per_10k=10_000 / level)
        failed, count = False, 0
        for _ in range(1500):
            # Never above .1 given the past; where the next event goes depends on the last outcome.
            domain = "d0" if failed else f"d{generator.integers(NUM_DOMAINS)}"
            failed = bool(generator.random() < (0.02 if failed else 0.1))
            names = {"tenant": "t0", "label": "d0-0"} if domain == "d0" else {"tenant": "t1"}
            count += bool(monitor.update(failed, names))
        counts.append(count)
    assert np.mean(counts) <= 1500 / level


@pytest.mark.slow
@pytest.mark.parametrize("raised", [{}, {"d0": 0.5}, {f"d{i}": 0.25 for i in range(4)}], ids=["null", "one", "four"])
@pytest.mark.parametrize("budget", [20.0, 200.0])
def test_false_discoveries_stay_within_the_bound_in_long_runs(budget: float, raised: dict[str, float]) -> None:
    check_guarantee(200, 6000, budget=budget, raised=raised)
