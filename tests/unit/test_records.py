"""Records are frozen, and their ids depend on content alone."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab import records
from symbio_lab.errors import DataError
from symbio_lab.records import Cost, Deployment, FailurePattern, PhaseCost, Sample, canonical_json, content_id

RECORDS = [c for _, c in inspect.getmembers(records, inspect.isclass) if dataclasses.is_dataclass(c)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
).filter(lambda value: _encodable(value))


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@given(JSON)
def test_canonical_json_round_trips(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(alphabet="abcdef"), st.integers(), max_size=6))
def test_content_id_ignores_the_order_of_keys(value: dict[str, int]) -> None:
    assert content_id(value) == content_id(dict(reversed(list(value.items()))))


def test_content_id_is_the_sha256_of_the_canonical_bytes() -> None:
    assert content_id({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", object()])
def test_what_json_cannot_carry_exactly_is_refused(value: object) -> None:
    with pytest.raises(DataError):
        canonical_json({"value": value})


def test_paths_and_tuples_have_one_spelling() -> None:
    assert canonical_json({"p": Path("a") / "b", "t": (1,)}) == b'{"p":"a/b","t":[1]}'


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_records_are_frozen_and_slotted(kind: type) -> None:
    assert vars(kind)["__dataclass_params__"].frozen
    assert "__slots__" in vars(kind)


def test_ids_change_with_content_and_not_between_processes() -> None:
    sample = Sample("my card is lost", "lost_card", group="t1", domain="banking")
    assert sample.sample_id == dataclasses.replace(sample, group="t2", source="test").sample_id
    assert sample.sample_id != dataclasses.replace(sample, expected="other").sample_id
    code = (
        "from symbio_lab.records import Sample;"
        "print(Sample('my card is lost', 'lost_card', group='t1', domain='banking').sample_id)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == sample.sample_id


def test_a_deployment_id_covers_every_field() -> None:
    deployment = Deployment("t", "m", "b", None, None, "live", None, "2026-01-01T00:00:00Z")
    changes: dict[str, Any] = {field.name: "shadow" for field in dataclasses.fields(Deployment)}
    for name, value in changes.items():
        assert dataclasses.replace(deployment, **{name: value}).deployment_id != deployment.deployment_id


def test_a_deployment_without_a_share_has_the_id_that_it_had_before_there_were_shares() -> None:
    line = Deployment("acme", "support", "b" * 64, "1" * 64, "alice/patch", "shadow", None, "2026-01-01T00:00:00Z", "n")
    assert line.deployment_id == "50833371002d597e9aae2983e549593d9facfbe4d50279c080cf9b1e3fad7988"
    assert "share_ppm" not in line.plain()


def test_a_pattern_id_does_not_depend_on_statistics() -> None:
    pattern = FailurePattern("domain = travel", ("a", "b"), ("x",), ("text",), 2)
    assert pattern.pattern_id == dataclasses.replace(pattern, failure_rate=0.5).pattern_id
    assert pattern.pattern_id != dataclasses.replace(pattern, members=("a",)).pattern_id


def test_cost_sums_one_field_over_phases() -> None:
    cost = Cost((("a", PhaseCost(wall_s=1.0, num_bytes=3)), ("b", PhaseCost(wall_s=0.5, num_bytes=4))))
    assert cost.total("wall_s") == 1.5
    assert cost.total("num_bytes") == 7
