"""From a slice of traffic to an incident: leak-free, representative, and honest about what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from symbio_lab.deployment.gate import GATE_POLICIES
from symbio_lab.errors import DataError, EmptySliceError, LeakageError
from symbio_lab.failures.grouping import near_duplicate_groups
from symbio_lab.failures.splitting import check_disjoint
from symbio_lab.monitor.extraction import FLIP_SHARE, Extraction, ExtractionSettings, GateNeeds, extract_suite
from symbio_lab.monitor.naming import described, main_slice
from symbio_lab.monitor.representative import representatives
from symbio_lab.monitor.slices import SliceSettings, find_slices
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.records import PredictionRecord, Sample

WORDS = np.array(["alpha", "cedar", "delta", "ember", "frost", "grove", "haven", "inlet", "jolly", "karma", "lemon"])
DEFAULTS = ExtractionSettings()


def world(num_inside: int = 200, num_outside: int = 1500, fails: float = 0.8) -> tuple[Traffic, np.ndarray, np.ndarray]:
    """Traffic of random words; the slice says ``travel``; every tenth row is a near duplicate of the one before."""
    rng = np.random.default_rng(0)
    records, inside = [], []
    for i in range(num_inside + num_outside):
        within = i < num_inside
        text = " ".join([*rng.choice(WORDS, 6), f"n{i}", "travel" if within else "bank"])
        if i % 10 == 9:
            text = records[-1].input_sample + " please"
        wrong = rng.random() < (fails if within else 0.05)
        gold = "book" if within else "pay"
        answer = "other" if wrong else gold
        records.append(PredictionRecord("m", "text_classification", text, answer, gold, event_id=str(i)))
        inside.append(within)
    vectors = rng.normal(size=(len(records), 8))
    return traffic_of(records), np.array(inside), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def extract(settings: ExtractionSettings = DEFAULTS, **changes: object) -> Extraction:
    traffic, inside, vectors = world()
    given = {"labels": ["pay", "other"], "domain": "travel", "description": "travel fails", **changes}
    return extract_suite(traffic, inside, vectors, task_type="text_classification", settings=settings, **given)  # type: ignore[arg-type]


def test_every_split_has_its_kind_of_samples() -> None:
    found = extract()
    task, judge = found.suite.task, found.suite.judge
    traffic, inside, _ = world()
    failed = {text for text, wrong in zip(traffic.texts, traffic.failed, strict=True) if wrong}
    within = {text for text, i in zip(traffic.texts, inside, strict=True) if i}
    for part in (task.repair, task.selection, judge.holdout):
        assert part
        assert {s.text for s in part} <= failed & within
    for part in (task.replay, task.control_selection, judge.control_holdout):
        assert part
        assert not {s.text for s in part} & within
    assert {s.text for s in judge.slice_holdout} <= within
    assert {s.text for s in judge.slice_holdout} - failed, "the slice is judged unfiltered"
    assert {s.text for s in task.control_selection} & failed, "controls are unfiltered"
    assert (task.domain, task.description, task.label_shift) == ("travel", "travel fails", "new")


def test_nothing_leaks() -> None:
    task, judge = extract().suite.task, extract().suite.judge
    check_disjoint(
        {
            "repair": task.repair,
            "selection": task.selection,
            "replay": task.replay,
            "gate": task.control_selection,
            "slice": judge.slice_holdout,
            "control": judge.control_holdout,
        }
    )


def test_a_near_duplicate_of_the_slice_is_no_control() -> None:
    traffic, inside, vectors = world()
    inside = inside.copy()
    inside[9] = False  # "... please", a near duplicate of row 8, which lies inside
    found = extract_suite(
        traffic, inside, vectors, task_type="text_classification", labels=["pay"], domain="t", description="d"
    )
    task, judge = found.suite.task, found.suite.judge
    everywhere = [*task.repair, *task.selection, *task.replay, *task.control_selection, *judge.slice_holdout]
    assert traffic.texts[9] not in {s.text for s in (*everywhere, *judge.control_holdout)}


def test_a_text_that_lies_inside_once_belongs_to_the_slice() -> None:
    traffic, inside, vectors = world()
    again = 1000  # The text of a row outside comes again, this time inside (another channel, say).
    twice = traffic.take(np.array([*range(len(traffic)), again]))
    found = extract_suite(
        twice,
        np.array([*inside, True]),
        np.concatenate([vectors, vectors[again : again + 1]]),
        task_type="text_classification",
        labels=["pay"],
        domain="t",
        description="d",
    )
    task, judge = found.suite.task, found.suite.judge
    controls = {s.text for s in (*task.replay, *task.control_selection, *judge.control_holdout)}
    assert traffic.texts[again] not in controls
    group = near_duplicate_groups(traffic.texts)
    assert not {text for text, g in zip(traffic.texts, group, strict=True) if g == group[again]} & controls


def test_labels_decide_the_shift() -> None:
    assert extract(labels=["pay", "other", "book"]).suite.task.label_shift == "known"


def test_matched_controls_are_the_judges_and_close_to_the_failures() -> None:
    found = extract()
    texts = {s.text for s in found.suite.judge.control_holdout}
    assert 0 < len(found.matched) <= len(found.suite.judge.holdout)
    assert {s.text for s in found.matched} <= texts
    traffic, _, vectors = world()
    place = {text: i for i, text in enumerate(traffic.texts)}
    failure = vectors[place[found.suite.judge.holdout[0].text]]
    controls = vectors[[place[s.text] for s in found.suite.judge.control_holdout]]
    assert vectors[place[found.matched[0].text]] @ failure == pytest.approx((controls @ failure).max())


def test_the_gates_failures_do_not_depend_on_how_repair_is_chosen() -> None:
    gates = [extract(ExtractionSettings(n_repair=16, rule=rule)).suite.task for rule in ("facility_location", "first")]
    assert gates[0].selection == gates[1].selection
    assert gates[0].repair != gates[1].repair


def test_the_same_seed_draws_the_same_incident_and_another_draws_another() -> None:
    assert extract() == extract()
    assert extract(ExtractionSettings(seed=1)).suite != extract().suite


def test_what_is_missing_is_said() -> None:
    assert extract().shortfall.enough
    traffic, inside, vectors = world(num_inside=8, num_outside=120)
    few = extract_suite(
        traffic, inside, vectors, task_type="text_classification", labels=["pay"], domain="t", description="d"
    ).shortfall
    assert few.num_failures > 0
    assert few.num_controls > 0
    missing = f"{few.num_failures} more labelled failures of the slice and {few.num_controls} more labelled controls"
    assert few.describe() == f"{missing} are needed"
    hopeless = extract(ExtractionSettings(needs=GateNeeds(assumed_fix_rate=0.05))).shortfall
    assert not hopeless.possible
    assert not hopeless.enough


@pytest.mark.parametrize("name", sorted(GATE_POLICIES))
def test_every_gate_policy_can_accept_what_is_assumed(name: str) -> None:
    gate = GATE_POLICIES[name]
    needs = GateNeeds(gate.min_fix_rate, gate.max_negative_flip_rate, gate.alpha / 4, min_controls=gate.min_controls)
    assert needs.num_failures is not None
    assert needs.num_controls is not None
    traffic, inside, vectors = world(num_inside=300, num_outside=6000)
    found = extract_suite(
        traffic,
        inside,
        vectors,
        task_type="text_classification",
        labels=["pay"],
        domain="t",
        description="d",
        settings=ExtractionSettings(needs=needs, n_selection=4),
    )
    assert found.shortfall.possible
    assert found.shortfall.enough, "sizes grow with the gate's needs"
    assert not extract(ExtractionSettings(needs=GateNeeds(assumed_flip_rate=0.05))).shortfall.possible


def test_the_flip_bound_needs_controls_that_the_base_answers_rightly() -> None:
    traffic, inside, vectors = world(num_outside=1500)
    given = {"task_type": "text_classification", "labels": ["pay"], "domain": "t", "description": "d"}
    usual = extract_suite(traffic, inside, vectors, **given).shortfall  # type: ignore[arg-type]
    wrong = traffic.failed | (np.arange(len(traffic)) % 3 > 0)
    often_wrong = extract_suite(replace(traffic, failed=wrong), inside, vectors, **given).shortfall  # type: ignore[arg-type]
    assert usual.num_controls == 0
    assert often_wrong.num_controls > 0, "two in three controls say nothing of flips"
    many = ExtractionSettings(needs=GateNeeds(min_controls=5000))
    assert extract(many).shortfall.num_controls > 4000, "the least number counts all controls"


def test_with_the_needed_samples_the_gate_accepts_as_often_as_promised() -> None:
    needs = GateNeeds()
    assert needs.num_failures is not None
    assert needs.num_controls is not None
    from scipy.stats import binom

    from symbio_lab.stats import clopper_pearson_lower, clopper_pearson_upper

    level, n, m = needs.alpha / needs.looks, needs.num_failures, needs.num_controls
    fixes = sum(
        binom.pmf(k, n, needs.assumed_fix_rate)
        for k in range(n + 1)
        if clopper_pearson_lower(k, n, level) >= needs.min_fix_rate
    )
    flips = sum(
        binom.pmf(k, m, FLIP_SHARE * needs.max_negative_flip_rate)
        for k in range(m + 1)
        if clopper_pearson_upper(k, m, level) <= needs.max_negative_flip_rate
    )
    assert fixes >= needs.power
    assert flips >= needs.power


def test_rows_without_ground_truth_and_repeated_texts_are_left_out() -> None:
    traffic, inside, vectors = world()
    labelled = np.arange(len(traffic)) % 2 == 0
    half = replace(traffic, labelled=labelled, failed=traffic.failed & labelled)
    found = extract_suite(
        half, inside, vectors, task_type="text_classification", labels=["pay"], domain="t", description="d"
    )
    known = {text for text, keep in zip(traffic.texts, labelled, strict=True) if keep}
    task, judge = found.suite.task, found.suite.judge
    assert {s.text for s in (*task.repair, *task.control_selection, *judge.slice_holdout)} <= known
    twice = traffic.take(np.concatenate([np.arange(len(traffic)), np.arange(len(traffic))]))
    doubled = extract_suite(
        twice,
        np.concatenate([inside, inside]),
        np.concatenate([vectors, vectors]),
        task_type="text_classification",
        labels=["pay"],
        domain="t",
        description="d",
    )
    assert len({s.text for s in doubled.suite.judge.slice_holdout}) == len(doubled.suite.judge.slice_holdout)


def test_bad_input() -> None:
    traffic, inside, vectors = world()
    given = {"task_type": "text_classification", "labels": ["pay"], "domain": "t", "description": "d"}
    with pytest.raises(DataError, match="memberships"):
        extract_suite(traffic, inside[:5], vectors, **given)  # type: ignore[arg-type]
    with pytest.raises(EmptySliceError, match="rows outside"):
        extract_suite(traffic, np.ones_like(inside), vectors, **given)  # type: ignore[arg-type]
    with pytest.raises(EmptySliceError, match="0 labelled failures"):
        extract_suite(traffic, np.zeros_like(inside), vectors, **given)  # type: ignore[arg-type]
    leaking = extract().suite.task.repair[0]
    with pytest.raises(LeakageError):
        extract(paraphrase=[Sample("another wording", "book", leaking.group)])


@pytest.mark.parametrize("rule", ["facility_location", "k_center"])
def test_representatives_reach_every_cluster(rule: str) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 20))
    cluster = np.repeat(np.arange(8), [90, 40, 30, 20, 10, 10, 5, 5])
    points = centres[cluster] + 0.05 * rng.normal(size=(len(cluster), 20))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    chosen = representatives(points, 8, rule=rule)  # type: ignore[arg-type]
    assert {int(cluster[i]) for i in chosen} == set(range(8))
    assert representatives(points, 8, rule=rule) == chosen  # type: ignore[arg-type]
    assert len(set(representatives(points, 1000, rule=rule))) == len(points)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_lazy_choice_is_the_greedy_choice(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(120, 6)).astype(np.float32)
    points[60:90] = points[:30]  # Ties.
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    similarity = np.maximum(points @ points.T, 0.0)
    served = np.zeros(len(points), dtype=np.float32)
    chosen: list[int] = []
    for _ in range(120):
        gain = np.array([np.maximum(row - served, 0.0).sum(dtype=np.float64) for row in similarity])
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
        served = np.maximum(served, similarity[chosen[-1]])
    assert representatives(points, 120) == tuple(chosen)


def test_the_first_come_first_and_wrong_questions_are_refused() -> None:
    points = np.eye(4)
    assert representatives(points, 3, rule="first") == (0, 1, 2)
    assert representatives(points, 0) == ()
    with pytest.raises(DataError, match="rule"):
        representatives(points, 2, rule="best")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="-1"):
        representatives(points, -1)


def test_the_search_text_of_an_incident_comes_from_repair_alone() -> None:
    traffic, inside, vectors = world()
    one = main_slice(find_slices(traffic, settings=SliceSettings(labels=False)))
    assert one is not None
    given = {"task_type": "text_classification", "labels": ["pay"], "domain": "t", "description": "d"}
    drawn = extract_suite(traffic, inside, vectors, **given)  # type: ignore[arg-type]
    text = described(drawn, one).suite.task.description
    assert "travel" in text
    assert "labels: book" in text
    # Whatever the gate and the judge hold, the words stay; they change with what is repaired on.
    others = tuple(Sample("zeppelin zeppelin", "other label", f"z{i}") for i in range(40))

    def text_of(**changes: object) -> str:
        task = replace(drawn.suite.task, **changes)  # type: ignore[arg-type]
        return described(replace(drawn, suite=replace(drawn.suite, task=task)), one).suite.task.description

    assert text_of(selection=others, control_selection=others) == text
    assert "zeppelin" in text_of(repair=others)
