"""Groups of failures count only where the traffic around them fails more often; and the mixture to compare with."""

from __future__ import annotations

import numpy as np
import pytest

from symbio_lab.errors import DataError
from symbio_lab.monitor.clusters import failure_clusters, neighbourhood
from symbio_lab.monitor.mixture import mixture_slices


def points(seed: int = 0, topics: int = 6, each: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(topics, 24))
    topic = np.repeat(np.arange(topics), each)
    vectors = centres[topic] + 0.4 * rng.normal(size=(len(topic), 24))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), topic


def test_the_topic_that_fails_is_found_and_the_others_are_not() -> None:
    vectors, topic = points()
    failed = np.random.default_rng(1).random(len(topic)) < np.where(topic == 2, 0.6, 0.15)
    groups = failure_clusters(vectors, failed)
    assert all((topic[group.contains(vectors)] == 2).mean() > 0.95 for group in groups)
    assert groups[0].contains(vectors)[topic == 2].mean() > 0.6


def test_without_the_gate_every_topic_is_a_group() -> None:
    vectors, topic = points()
    failed = np.random.default_rng(1).random(len(topic)) < 0.3
    assert failure_clusters(vectors, failed) == ()
    assert len(failure_clusters(vectors, failed, gate=False)) >= 5


def test_the_same_failures_give_the_same_groups_and_the_input_stays() -> None:
    vectors, topic = points()
    failed = topic == 1
    kept = vectors.copy()
    assert failure_clusters(vectors, failed) == failure_clusters(vectors, failed)
    assert (vectors == kept).all()


def test_too_few_failures_give_no_group() -> None:
    vectors, topic = points()
    assert failure_clusters(vectors, np.arange(len(topic)) < 10) == ()


def test_a_neighbourhood_holds_most_of_its_members() -> None:
    vectors, topic = points()
    near = neighbourhood(vectors[topic == 0])
    assert near.contains(vectors[topic == 0]).mean() == pytest.approx(0.8, abs=0.01)
    assert np.linalg.norm(near.centroid) == pytest.approx(1.0)


def test_bad_input() -> None:
    with pytest.raises(DataError, match="at least one"):
        neighbourhood(np.zeros((0, 3)))
    with pytest.raises(DataError, match="5 outcomes"):
        failure_clusters(np.zeros((4, 3)), np.zeros(5, dtype=bool))
    with pytest.raises(DataError, match="too few"):
        mixture_slices(np.zeros((4, 3)), ["a"] * 4, ["a"] * 4, seed=0)
    with pytest.raises(DataError, match="3 gold"):
        mixture_slices(np.zeros((40, 3)), ["a"] * 3, ["a"] * 40, seed=0)


def test_the_mixture_ranks_the_topic_that_fails_first_and_depends_on_the_seed_alone() -> None:
    vectors, topic = points()
    failed = np.random.default_rng(1).random(len(topic)) < np.where(topic == 2, 0.9, 0.05)
    gold = ["a"] * len(topic)
    answers = ["b" if wrong else "a" for wrong in failed]
    first = mixture_slices(vectors, gold, answers, seed=0, num_components=8, num_slices=3)
    again = mixture_slices(vectors, gold, answers, seed=0, num_components=8, num_slices=3)
    assert all((x == y).all() for x, y in zip(first, again, strict=True))
    assert (topic[np.argsort(-first[0])[:20]] == 2).mean() > 0.8
    assert all(share.min() >= 0 and share.max() <= 1 + 1e-9 for share in first)
