"""From a failure pattern to a query: its words, its labels, and its centroid where that means something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import DataError
from symbio_lab.marketplace.pattern_query import MAX_EXEMPLARS, PatternQuery, build_pattern_query
from symbio_lab.records import FailurePattern

PATTERN = FailurePattern(
    "domain = travel",
    ("a", "b"),
    ("book_flight", "book_hotel"),
    tuple(f"take me to city {n}" for n in range(12)),
    2,
    centroid=(3.0, 0.0, 4.0),
)


def build(pattern: FailurePattern = PATTERN, **settings: Any) -> PatternQuery:
    return build_pattern_query(pattern, **{"task_type": "text_classification", **settings})


def test_words_are_description_and_exemplars() -> None:
    parts = build().query.text.split(" | ")
    assert parts == ["domain = travel", *PATTERN.exemplars[:MAX_EXEMPLARS]]
    assert build(replace(PATTERN, search_text="flights")).query.text.split(" | ")[0] == "flights"
    assert build(max_exemplars=0).query.text == "domain = travel"
    assert build(max_exemplars=-1).query.text == "domain = travel"
    assert build(replace(PATTERN, exemplars=(" ", "x"))).query.text == "domain = travel | x"


def test_filters_are_handed_on() -> None:
    query = build(base_digest="b" * 64, licences=["MIT"], max_bytes=9, min_score=0.2, max_results=3, domain="d").query
    assert (query.base_digest, query.licences, query.max_bytes) == ("b" * 64, ("MIT",), 9)
    assert (query.min_score, query.max_results, query.domain) == (0.2, 3, "d")
    assert query.labels == PATTERN.labels
    # Gold answers of a generator are no labels.
    assert build(task_type="text_generation").query.labels == ()


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({"centroid_embedder": "m", "embedder": "m"}, True),
        ({"centroid_embedder": "m", "embedder": "m", "num_dims": 3}, True),
        ({"centroid_embedder": "m", "embedder": "m", "num_dims": 4}, False),
        ({"centroid_embedder": "m", "embedder": "n"}, False),
        ({"centroid_embedder": "", "embedder": ""}, False),
        ({"embedder": "m"}, False),
    ],
)
def test_the_centroid_counts_only_for_its_own_embedder(settings: dict[str, Any], fits: bool) -> None:
    vector = build(**settings).vector
    assert (vector is not None) == fits
    if vector is not None:
        assert vector.tolist() == [0.6, 0.0, 0.8]


def test_a_centroid_without_direction_or_with_holes() -> None:
    same = {"centroid_embedder": "m", "embedder": "m"}
    assert build(replace(PATTERN, centroid=(0.0, 0.0)), **same).vector is None
    assert build(replace(PATTERN, centroid=()), **same).vector is None
    with pytest.raises(DataError, match="finite"):
        build(replace(PATTERN, centroid=(1.0, np.nan)), **same)
