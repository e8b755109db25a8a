"""What every detector on outcomes promises, the calibration detector (at one confidence) among them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import ConfigError, DataError
from symbio_lab.monitor.detectors.calibration import CalibrationDetector
from symbio_lab.monitor.detectors.catalogue import DEFAULT_DETECTOR, DETECTORS, make_detector
from symbio_lab.monitor.detectors.e_detector import EDetector
from symbio_lab.monitor.detectors.protocol import Detector, Outcome, Restorable, find_alarms
from symbio_lab.monitor.detectors.rise_evidence import MAX_REFERENCE_EVENTS, NUM_REFERENCE_EVENTS
from symbio_lab.seeding import numpy_generator

CHANGE = 1500


class AtNinety(CalibrationDetector):
    """Reads every outcome as that of an answer given with confidence .9."""

    def update(self, failed: Outcome) -> bool:  # type: ignore[override]
        return super().update(0.9, failed)


FACTORIES: dict[str, Callable[[], Any]] = {**DETECTORS, "calibration": AtNinety}
EVERY = pytest.mark.parametrize("name", FACTORIES)
RESTORABLE = pytest.mark.parametrize("name", ["e_detector", "calibration"])


def stream(seed: int, *parts: tuple[int, float]) -> list[bool]:
    """Outcomes that fail at each part's rate for its number of events."""
    generator = numpy_generator(seed, "detector contract")
    return [bool(x) for count, rate in parts for x in generator.random(count) < rate]


@EVERY
def test_a_detector_follows_the_protocol(name: str) -> None:
    detector = FACTORIES[name]()
    assert isinstance(detector, Detector)
    assert detector.name == name
    assert detector.num_events == 0
    assert (detector.statistic is None) == (detector.threshold is None)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_a_large_rise_is_found_soon_and_the_detector_starts_again(name: str, seed: int) -> None:
    outcomes = stream(seed, (CHANGE, 0.10), (1500, 0.60))
    detector = FACTORIES[name]()
    alarms = find_alarms(detector, outcomes)
    after = [event for event in alarms if event > CHANGE]
    assert after, "the rise was missed"
    assert after[0] <= CHANGE + 500
    assert detector.num_events == len(outcomes)
    assert len(set(alarms)) == len(alarms)


@EVERY
@pytest.mark.parametrize("seed", range(2))
def test_a_stationary_stream_is_silent(name: str, seed: int) -> None:
    found = find_alarms(FACTORIES[name](), stream(seed, (5000, 0.10)))
    # DDM does not control false alarms: its documentation says so, and the benchmark measures how many.
    assert len(found) <= (5 if name == "ddm" else 0)


@EVERY
def test_the_same_stream_gives_the_same_alarms(name: str) -> None:
    outcomes = stream(7, (CHANGE, 0.10), (1000, 0.40))
    first, second = (find_alarms(FACTORIES[name](), outcomes) for _ in range(2))
    assert first == second != ()


@EVERY
def test_outcomes_of_numpy_are_outcomes(name: str) -> None:
    outcomes = stream(3, (CHANGE, 0.10), (500, 0.60))
    expected = find_alarms(FACTORIES[name](), outcomes)
    assert find_alarms(FACTORIES[name](), np.array(outcomes)) == expected


@EVERY
@pytest.mark.parametrize("bad", [None, 0, 1, 0.5, math.nan, "failed", [True]])
def test_what_is_no_outcome_is_refused_and_not_counted(name: str, bad: Any) -> None:
    detector = FACTORIES[name]()
    with pytest.raises(DataError):
        detector.update(bad)
    assert detector.num_events == 0


@RESTORABLE  # The others publish no statistic.
def test_a_statistic_falls_back_after_an_alarm(name: str) -> None:
    detector = FACTORIES[name]()
    for failed in stream(1, (CHANGE, 0.10), (1500, 0.60)):
        if detector.update(failed):
            assert detector.statistic == 0.0
        assert 0.0 <= detector.statistic < detector.threshold


@RESTORABLE
@pytest.mark.parametrize("cut", [0, 57, NUM_REFERENCE_EVENTS, 1000, CHANGE + 20, CHANGE + 300])
def test_a_state_goes_through_json_and_on(name: str, cut: int) -> None:
    outcomes = stream(5, (CHANGE, 0.10), (1500, 0.35))
    whole, before, after = FACTORIES[name](), FACTORIES[name](), FACTORIES[name]()
    assert isinstance(before, Restorable)
    alarms = [event for event in find_alarms(whole, outcomes) if event > cut]
    find_alarms(before, outcomes[:cut])
    after.restore(json.loads(json.dumps(before.state(), allow_nan=False)))
    assert [cut + event for event in find_alarms(after, outcomes[cut:])] == alarms != []
    assert after.state() == whole.state()


@RESTORABLE
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(name: str) -> None:
    detector = FACTORIES[name]()
    find_alarms(detector, stream(2, (700, 0.10)))
    state = detector.state()
    other = type(detector)(false_alarms_per_10k=2.0)
    with pytest.raises(DataError):
        other.restore(state)
    for damage in ({}, {"version": 99}, {**state, "sums": "x"}, {**state, "evidence": {**state, "sums": [-1.0]}}):
        broken = {key: value for key, value in damage.items() if key not in ("num_events", "level")}
        with pytest.raises(DataError):
            detector.restore(broken)
        assert detector.state() == state


def test_the_catalogue_knows_its_members() -> None:
    assert DEFAULT_DETECTOR == "e_detector" == next(iter(DETECTORS))
    for name, kind in DETECTORS.items():
        assert type(make_detector(name)) is kind
    with pytest.raises(ConfigError) as caught:
        make_detector("kswin")
    assert all(name in caught.value.hint for name in DETECTORS)
    with pytest.raises(ConfigError, match="no setting 'treshold'") as caught:
        make_detector("page_hinkley", treshold=3)
    assert "threshold" in caught.value.hint
    assert make_detector("e_detector", lifts=(2.0,)).statistic == 0.0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("e_detector", {"reference_rate": 0.0}),
        ("e_detector", {"reference_rate": 1.0}),
        ("e_detector", {"reference_rate": math.nan}),
        ("e_detector", {"false_alarms_per_10k": 0.0}),
        ("e_detector", {"false_alarms_per_10k": math.nan}),
        ("e_detector", {"false_alarms_per_10k": "1"}),
        ("e_detector", {"lifts": (1.0,)}),
        ("e_detector", {"lifts": ()}),
        ("e_detector", {"margin_alpha": 0.0}),
        ("e_detector", {"num_reference_events": 0}),
        ("adwin", {"delta": 0.0}),
        ("adwin", {"clock": 0}),
        ("page_hinkley", {"threshold": -1.0}),
        ("page_hinkley", {"delta": math.nan}),
        ("ddm", {"drift_threshold": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_detector(name, **settings)


# -------------------------------------------------------------------------------------------- the default detector


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        EDetector(lifts=(0.5,), margin_alpha=2.0, num_reference_events=9, max_reference_events=8)
    assert len(caught.value.problems) == 3


def test_the_reference_is_learnt_until_the_first_alarm() -> None:
    detector = EDetector()
    rates = []
    for failed in stream(11, (2 * MAX_REFERENCE_EVENTS, 0.10)):
        assert not detector.update(failed)
        rates.append(detector.reference_rate)
    assert rates[NUM_REFERENCE_EVENTS - 2] is None
    looks = [i + 1 for i, (a, b) in enumerate(itertools.pairwise([None, *rates])) if a != b]
    assert looks == [200, 400, 800, 1600, 3200]

    detector = EDetector()
    outcomes = stream(11, (500, 0.10), (2000, 0.40))
    (first, *more) = find_alarms(detector, outcomes)
    assert 500 < first < 600
    assert more, "the model still fails, so the alarm is raised again"
    assert detector.reference_rate is not None
    assert detector.reference_rate < 0.2, "the failing regime was taken as normal"


def test_rebase_declares_a_new_normal() -> None:
    detector = EDetector(reference_rate=0.1)
    failing = stream(4, (4000, 0.40))
    assert len(find_alarms(detector, failing[:500])) > 5
    detector.rebase(0.45)
    assert detector.reference_rate == 0.45
    assert find_alarms(detector, failing[500:2000]) == ()
    detector.rebase()
    assert detector.reference_rate is None
    assert find_alarms(detector, failing[2000:]) == ()
    assert detector.reference_rate == pytest.approx(0.42, abs=0.04)
    with pytest.raises(ConfigError):
        detector.rebase(1.5)


def test_the_start_of_the_rise_is_estimated() -> None:
    starts = []
    for seed in range(20):
        detector = EDetector(reference_rate=0.1)
        for failed in stream(100 + seed, (CHANGE, 0.10), (1500, 0.40)):
            if detector.update(failed) and detector.num_events > CHANGE:
                break
        assert detector.last_rise is not None
        assert detector.last_rise.event + detector.last_rise.num_events - 1 == detector.num_events
        starts.append(detector.last_rise.event)
    assert abs(np.median(starts) - CHANGE) < 15


def test_a_model_that_never_failed_has_a_reference_above_zero() -> None:
    detector = EDetector()
    assert find_alarms(detector, [False] * 1000) == ()
    assert detector.reference_rate is not None
    assert 0.0 < detector.reference_rate < 0.01
    assert len(find_alarms(detector, [True] * 5)) == 1
    always = EDetector()
    assert find_alarms(always, [True] * 1000) == ()


# ----------------------------------------------------------------------------------------- the calibration detector


def test_confidence_that_is_right_is_no_drift_and_over_confidence_is() -> None:
    generator = numpy_generator(0, "calibration contract")
    confidence = generator.uniform(0.5, 1.0, 6000)
    calibrated = generator.random(6000) < 1.0 - confidence
    shy = generator.random(6000) < 0.5 * (1.0 - confidence)
    bold = generator.random(6000) < np.where(np.arange(6000) < 3000, 1.0, 1.6) * (1.0 - confidence)

    def alarms(failed: Any, tolerance: float | None) -> list[int]:
        detector = CalibrationDetector(tolerance)
        return [i for i in range(6000) if detector.update(confidence[i], failed[i])]

    for tolerance in (0.0, None):
        assert alarms(calibrated, tolerance) == []
        assert alarms(shy, tolerance) == []
        found = alarms(bold, tolerance)
        assert found
        assert 3000 < found[0] < 3500


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1, None, "high"])
def test_what_is_no_confidence_is_refused(bad: Any) -> None:
    detector = CalibrationDetector()
    with pytest.raises(DataError):
        detector.update(bad, True)
    assert detector.num_events == 0


def test_full_confidence_loses_a_bounded_share() -> None:
    detector = CalibrationDetector(tolerance=0.0)
    assert not any(detector.update(1.0, False) for _ in range(1000))
    assert not any(detector.update(0.0, True) for _ in range(1000))
    assert detector.statistic >= 0.0


@pytest.mark.parametrize("settings", [{"tolerance": 1.0}, {"tolerance": -0.1}, {"bets": (0.0,)}, {"margin_alpha": 0.9}])
def test_settings_of_the_calibration_detector(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CalibrationDetector(**settings)
