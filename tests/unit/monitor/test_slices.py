"""Patterns of labelled traffic: found on one half, confirmed on the other, by meaning and by form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from symbio_lab.errors import DataError, EmptySliceError
from symbio_lab.failures import apply_shift, generate_helpdesk
from symbio_lab.failures.grouping import near_duplicate_groups
from symbio_lab.monitor.slices import SliceSettings, _halves, find_slices
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.records import PredictionRecord
from symbio_lab.seeding import shuffled


def helpdesk(fails: str = "order_cancel", inside: float = 0.7, outside: float = 0.05, seed: int = 0) -> Traffic:
    """Help-desk requests of which one intent, or those with typing errors, fail."""
    data = generate_helpdesk(seed=0)
    samples = shuffled([s for part in ("train", "test") for s in data.samples[part]], 0, "slices")[:1200]
    samples[:150] = apply_shift(samples[:150], "typos", 0)
    rng = np.random.default_rng(seed)
    labels = sorted({sample.expected for sample in samples})
    records = []
    for i, sample in enumerate(samples):
        hit = sample.source == "typos" if fails == "typos" else sample.expected == fails
        wrong = rng.random() < (inside if hit else outside)
        others = [name for name in labels if name != sample.expected]
        answer = others[int(rng.integers(len(others)))] if wrong else sample.expected
        records.append(
            PredictionRecord("m", "text_classification", sample.text, answer, sample.expected, event_id=str(i))
        )
    return traffic_of(records)


def test_a_failing_intent_is_found_confirmed_and_described() -> None:
    traffic = helpdesk()
    (first, *_) = find_slices(traffic).confirmed
    assert first.description == "the answer should be order_cancel"
    inside = np.array([e == "order_cancel" for e in traffic.expected])
    assert (first.contains(traffic) == inside).all()
    assert sorted(first.members) == np.flatnonzero(inside).tolist()
    assert first.support == int((inside & traffic.failed).sum())
    assert first.inside.low is not None
    assert first.outside.high is not None
    assert first.inside.low > first.outside.high
    assert first.p_value < 1e-6


def test_failing_typing_errors_are_found_by_their_form() -> None:
    found = find_slices(helpdesk("typos")).confirmed
    assert "the text has a misspelt word" in [one.description for one in found]


def test_symptoms_hide_nothing() -> None:
    traffic = helpdesk()
    wrong = [i for i in range(len(traffic)) if traffic.failed[i]]
    answers = list(traffic.actual)
    for i in wrong:
        answers[i] = "never_right"
    described = [one.description for one in find_slices(replace(traffic, actual=tuple(answers))).confirmed]
    assert {"the model answers never_right", "the answer should be order_cancel"} <= set(described)


def test_members_that_failed_come_first() -> None:
    traffic = helpdesk()
    one = find_slices(traffic).confirmed[0]
    outcomes = [bool(traffic.failed[i]) for i in one.members]
    assert outcomes == sorted(outcomes, reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_traffic_that_fails_at_random_has_no_confirmed_pattern(seed: int) -> None:
    found = find_slices(helpdesk(inside=0.2, outside=0.2, seed=seed), settings=SliceSettings(seed=seed))
    assert found.confirmed == ()


def test_rates_are_of_the_confirming_half_alone() -> None:
    traffic, settings = helpdesk(), SliceSettings()
    search = find_slices(traffic, settings=settings)
    one = search.confirmed[0]
    assert search.num_searched + search.num_confirming == len(set(near_duplicate_groups(traffic.texts)))
    searched, distinct = _halves(traffic.texts, settings)
    confirming = ~searched & distinct
    inside = one.contains(traffic) & confirming
    assert one.inside.n == int(inside.sum())
    assert one.inside.value == pytest.approx(traffic.failed[inside].mean())
    assert one.outside.n == int(confirming.sum() - inside.sum())


def test_near_duplicates_stay_on_one_side() -> None:
    traffic = helpdesk()
    searched, distinct = _halves(traffic.texts, SliceSettings())
    groups = near_duplicate_groups(traffic.texts)
    assert sorted(groups[i] for i in np.flatnonzero(distinct)) == sorted(set(groups))
    sides: dict[str, set[bool]] = {}
    for group, side in zip(groups, searched.tolist(), strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(both) == 1 for both in sides.values())


def test_copies_of_a_request_confirm_nothing() -> None:
    false = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        words = [f"{a}{b}" for a in "bcdfghklm" for b in ("ak", "el", "it", "on", "up")]
        texts = [" ".join(rng.choice(words, 6)) for _ in range(150)]
        wrong = rng.random(150) < 0.2
        records = [
            PredictionRecord("m", "text_generation", text, "x", "y" if bad else "x", event_id=f"{i} {copy}")
            for i, (text, bad) in enumerate(zip(texts, wrong, strict=True))
            for copy in range(8)
        ]
        false += bool(find_slices(traffic_of(records), settings=SliceSettings(labels=False, seed=seed)).confirmed)
    assert false <= 2


def test_a_slice_of_two_fifths_of_the_traffic_is_found() -> None:
    rng = np.random.default_rng(0)
    names = [f"{a}{b}{c}" for a in "bdfgk" for b in ("ar", "el", "in", "os") for c in ("ta", "mo", "ri")]
    records = []
    for i in range(1500):
        inside = i % 5 < 2
        text = " ".join([*rng.choice(names, 7), "travel" if inside else "bank"])
        bad = rng.random() < (0.9 if inside else 0.05)
        records.append(PredictionRecord("m", "text_generation", text, "x", "y" if bad else "x", event_id=str(i)))
    first = find_slices(traffic_of(records), settings=SliceSettings(labels=False)).confirmed[0]
    assert first.description == 'the text says "travel"'


def test_one_request_again_and_again_is_no_traffic_to_search() -> None:
    rows = [PredictionRecord("m", "text_generation", "the same", "x", "y", event_id=str(i)) for i in range(40)]
    found = find_slices(traffic_of(rows))
    assert found.confirmed == found.unconfirmed == ()
    assert found.notes


def test_groups_by_meaning_need_embeddings_and_are_described_by_their_words() -> None:
    rng = np.random.default_rng(0)
    base = helpdesk(inside=0.1, outside=0.1)
    topic = rng.integers(6, size=len(base))
    vectors = rng.normal(size=(6, 16))[topic] + 0.4 * rng.normal(size=(len(base), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = topic == 2
    failed = np.where(near, rng.random(len(base)) < 0.8, base.failed)
    traffic = replace(base, failed=failed)
    found = find_slices(traffic, vectors, settings=SliceSettings(labels=False))
    (group,) = [one for one in found.confirmed if one.description.startswith("texts like: ")]
    assert near[list(group.members)].mean() > 0.95
    assert len(group.centroid) == 16
    with pytest.raises(DataError, match="embeddings"):
        group.contains(traffic)
    assert find_slices(traffic).notes == ("without embeddings no groups by meaning were looked for",)


def test_low_confidence_is_reported_and_hides_nothing() -> None:
    traffic = helpdesk()
    unsure = replace(traffic, confidence=np.where(traffic.failed, 0.3, 0.95))
    described = [one.description for one in find_slices(unsure).confirmed]
    assert "the answer should be order_cancel" in described
    assert "the confidence is from 0 to 0.5" in described


def test_the_same_seed_finds_the_same_and_the_input_stays() -> None:
    traffic = helpdesk()
    failed = traffic.failed.copy()
    assert find_slices(traffic) == find_slices(traffic)
    assert (traffic.failed == failed).all()
    halves = [_halves(traffic.texts, SliceSettings(seed=seed))[0] for seed in (0, 1)]
    assert (halves[0] != halves[1]).any()


def test_rows_without_ground_truth_are_left_out() -> None:
    traffic = helpdesk()
    labelled = np.arange(len(traffic)) % 3 > 0
    known = replace(traffic, labelled=labelled, failed=traffic.failed & labelled)
    found = find_slices(known)
    assert 0 < found.num_searched + found.num_confirming <= labelled.sum()
    assert all(labelled[i] for one in found.confirmed for i in one.members)


def test_nothing_to_look_at_is_a_typed_error() -> None:
    traffic = helpdesk()
    with pytest.raises(EmptySliceError, match="no labelled failure"):
        find_slices(replace(traffic, failed=np.zeros(len(traffic), dtype=bool)))
    with pytest.raises(EmptySliceError):
        find_slices(traffic.take(np.zeros(len(traffic), dtype=bool)))
    with pytest.raises(DataError, match="embeddings for"):
        find_slices(traffic, np.zeros((3, 2)))
