"""Suites: failures are actual errors, groups never straddle, overlap raises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from symbio_lab.errors import EmptySliceError, LeakageError, UnknownLabelsError
from symbio_lab.evaluation.repair_task import RepairTask, split_failures
from symbio_lab.evaluation.suites import SuiteSizes, SuiteSources, build_suite, check_labels, failures_of
from symbio_lab.records import Sample
from tests.fixtures_models import TinyModels, generation_samples, known_samples, new_samples, odd_samples

SIZES = SuiteSizes(n_repair=12, n_replay=20, n_control_selection=30, n_control_holdout=40, n_slice_holdout=20)


@pytest.fixture
def model(tiny: TinyModels) -> Any:
    return tiny.load("pooled")


def sources(**changes: Any) -> SuiteSources:
    fields = {
        "slice_repair": new_samples(15, seed=1),
        "slice_judge": new_samples(15, seed=2),
        "replay": known_samples(10, seed=3),
        "control": known_samples(40, seed=4),
    }
    return SuiteSources(**{**fields, **changes})


def build(model: Any, given: SuiteSources, **changes: Any) -> Any:
    options = {"label_shift": "new", "domain": "shades", "description": "shades fail", "seed": 0}
    return build_suite(model, given, changes.pop("sizes", SIZES), **{**options, **changes})


def every_part(suite: Any) -> dict[str, tuple[Sample, ...]]:
    task, judge = suite.task, suite.judge
    return {
        "repair": task.repair,
        "selection": task.selection,
        "replay": task.replay,
        "control_selection": task.control_selection,
        "slice_holdout": judge.slice_holdout,
        "control_holdout": judge.control_holdout,
    }


def test_the_parts_have_the_sizes_asked_for(model: Any) -> None:
    suite = build(model, sources())
    assert {name: len(part) for name, part in every_part(suite).items()} == {
        "repair": 6,
        "selection": 6,
        "replay": 20,
        "control_selection": 30,
        "slice_holdout": 20,
        "control_holdout": 40,
    }
    assert suite.task.num_failures == 12


def test_failures_are_the_model_s_actual_errors(model: Any) -> None:
    mixed = sources(slice_repair=(*new_samples(15, seed=1), *known_samples(15, seed=8)))
    suite = build(model, mixed)
    given = (*suite.task.repair, *suite.task.selection)
    outputs = model.predict([s.text for s in given]).outputs
    assert all(o != s.expected for o, s in zip(outputs, given, strict=True))
    holdout = set(suite.judge.holdout)
    assert holdout == set(failures_of(model, suite.judge.slice_holdout))


def test_no_text_is_in_two_parts(model: Any) -> None:
    parts = every_part(build(model, sources()))
    texts = [s.text for part in parts.values() for s in part]
    assert len(texts) == len(set(texts))


def test_the_seed_redraws_and_the_same_seed_repeats(model: Any) -> None:
    one, again, other = (build(model, sources(), seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.judge.digest() == again.judge.digest() != other.judge.digest()
    assert one.task.repair != other.task.repair


@pytest.mark.parametrize(
    ("part", "samples"),
    [
        ("slice_judge", new_samples(15, seed=1)),
        ("replay", known_samples(40, seed=4)),
        ("out_of_scope", known_samples(40, seed=4)),
        ("paraphrase", new_samples(15, seed=1)),
    ],
    ids=["slice_judge", "replay", "out_of_scope", "paraphrase"],
)
def test_overlap_raises(model: Any, part: str, samples: tuple[Sample, ...]) -> None:
    with pytest.raises(LeakageError, match="share"):
        build(model, sources(**{part: samples}))


def test_one_shared_group_is_enough(model: Any) -> None:
    given = sources()
    shared = given.slice_repair[0].group
    judge = tuple(replace(s, group=shared) for s in given.slice_judge)
    everything = replace(SIZES, n_repair=30)
    with pytest.raises(LeakageError):
        build(model, replace(given, slice_judge=judge), sizes=everything)


def test_by_text_ignores_groups_but_not_texts(model: Any) -> None:
    given = sources()
    judge = tuple(replace(s, group=given.slice_repair[0].group) for s in given.slice_judge)
    suite = build(model, replace(given, slice_judge=judge), disjoint_by="text")
    assert suite.disjoint_by == "text"
    with pytest.raises(LeakageError):
        build(model, replace(given, slice_judge=given.slice_repair), disjoint_by="text")


def test_whole_groups_of_control_go_to_one_side(model: Any) -> None:
    control = tuple(replace(s, group=f"group-{i // 7}") for i, s in enumerate(known_samples(40, seed=4)))
    suite = build(model, sources(control=control))
    gate, judge = suite.task.control_selection, suite.judge.control_holdout
    assert not {s.group for s in gate} & {s.group for s in judge}
    assert 0 < len(gate) <= 30


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({"slice_repair": known_samples(15)}, SIZES),
        ({}, replace(SIZES, n_repair=31)),
        ({}, replace(SIZES, n_repair=1)),
        ({"slice_judge": known_samples(5, seed=9)}, SIZES),
        ({"control": ()}, SIZES),
        ({"slice_repair": ()}, SIZES),
    ],
    ids=["no-errors", "too-few", "one", "nothing-to-judge", "no-control", "empty"],
)
def test_an_empty_slice_says_so(model: Any, changes: dict[str, Any], sizes: SuiteSizes) -> None:
    with pytest.raises(EmptySliceError) as caught:
        build(model, sources(**changes), sizes=sizes)
    assert caught.value.hint


def test_new_labels_need_the_label_shift_new(model: Any) -> None:
    with pytest.raises(UnknownLabelsError, match="cyan, plum"):
        build(model, sources(), label_shift="known")
    check_labels(model, odd_samples(2), "known")
    check_labels(model, new_samples(2), "new")


def test_generators_know_no_labels(tiny: TinyModels) -> None:
    check_labels(tiny.load("llama"), generation_samples(2), "known")


# ------------------------------------------------------------------------------------------ dividing failures


def failures(sizes: list[int]) -> tuple[Sample, ...]:
    return tuple(Sample(f"{g}-{i}", "a", group=str(g)) for g, size in enumerate(sizes) for i in range(size))


@pytest.mark.parametrize(
    ("sizes", "repair", "selection"),
    [
        ([1] * 16, 8, 8),
        ([1] * 3, 2, 1),
        ([4, 4, 4, 4], 8, 8),
        ([3, 3, 3], 6, 3),
        ([5, 1], 5, 1),
        ([9], 9, 0),
        ([1] * 300, 236, 64),
    ],
)
def test_failures_are_divided_by_whole_groups(sizes: list[int], repair: int, selection: int) -> None:
    parts = split_failures(failures(sizes))
    assert [len(part) for part in parts] == [repair, selection]
    assert not {s.group for s in parts[0]} & {s.group for s in parts[1]}
    assert sorted(s.text for part in parts for s in part) == sorted(s.text for s in failures(sizes))


def task(**changes: Any) -> RepairTask:
    part = (Sample("x", "red", "g1"),), (Sample("y", "blue", "g2"),)
    fields = {"task_type": "text_classification", "label_shift": "known", "domain": "d", "description": "words"}
    return RepairTask(
        **{**fields, "repair": part[0], "selection": part[1], "replay": (), "control_selection": (), **changes}
    )


def test_labels_of_a_task() -> None:
    assert task().labels == ("blue", "red")
    assert task().repair_labels == ("red",)
    assert task(task_type="text_generation").labels == task(task_type="text_generation").repair_labels == ()
