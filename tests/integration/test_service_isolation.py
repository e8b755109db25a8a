"""Tenants apart, by every route and kind of id: the answer to another's id is that to one that never was, at any price.

That it also takes the same time holds by construction: the same SQL statements run, in the same order. What was left to
measure is measured (``slow``): a rank test over interleaved requests.
"""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.integration.test_service_tenants import CALLS, MARK, Two

HEX = "0123456789abcdef"
NEVER = {
    "job": st.text(HEX, min_size=32, max_size=32),
    "key": st.text(HEX, min_size=16, max_size=16),
    "deployment": st.text(HEX, min_size=64, max_size=64),
    "model": st.from_regex(r"[a-z]{3,12}-model", fullmatch=True),
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    return Two(tmp_path_factory.mktemp("two"))


def ask(two: Two, call: tuple[str, str], ids: dict[str, str]) -> Any:
    """Ask as ``b`` for something by ids."""
    method, path = call
    inside = {
        "job_id": ids["job"],
        "key_id": ids["key"],
        "deployment_id": ids["deployment"],
        "model_id": ids["model"],
        "namespace": ids["model"],
        "name": "patch",
    }
    body: dict[str, Any] = {
        "/deployments/promote": {"deployment_id": ids["deployment"]},
        "/deployments/rollback": {"model_id": ids["model"]},
        "/predict": {"model_id": ids["model"], "inputs": ["x"]},
        "/healing/marketplace-integrated": {"model_id": ids["model"], "task_type": "text_classification"},
        "/surgery": {"model_id": ids["model"], "task_type": "text_classification"},
        "/marketplace/search": {"query": "x", "model_id": ids["model"], "task_type": "text_classification"},
    }.get(path, {})
    filled = re.sub(r"\{(\w+)(?::path)?\}", lambda match: inside[match[1]], path)
    query = f"?model_id={ids['model']}" if path == "/deployments" else ""
    return two.call("b", method, filled + query, body if method in ("POST", "PUT") else None)


def seen(answer: Any, ids: dict[str, str]) -> tuple[int, str]:
    """Return what an answer shows beside the ids that were asked for, and what is new in each answer."""
    text = re.sub(r'"request_id":"\w*"', "", answer.text)
    # The longest first: an id may hold another.
    for kind, value in sorted(ids.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, kind).replace(value[:12], kind)
    return answer.status_code, text


NAMED = [
    (method, path)
    for method, path in CALLS
    if "{" in path
    or path
    in (
        "/deployments",
        "/deployments/promote",
        "/deployments/rollback",
        "/predict",
        "/healing/marketplace-integrated",
        "/surgery",
        "/marketplace/search",
    )
]


@pytest.mark.parametrize("call", NAMED, ids=" ".join)
def test_another_s_id_is_answered_as_one_that_never_was(two: Two, call: tuple[str, str]) -> None:
    theirs = {
        "job": two.ids["job"],
        "key": two.ids["key-a"],
        "deployment": two.ids["deployment"],
        "model": f"{MARK}-model",
    }
    before = two.snapshot()
    shown = seen(ask(two, call, theirs), theirs)

    @settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=(Phase.generate,))
    @given(never=st.fixed_dictionaries(NEVER))
    def looks_alike(never: dict[str, str]) -> None:
        assert seen(ask(two, call, never), never) == shown

    looks_alike()
    assert two.snapshot() == before


def statements(two: Two, monkeypatch: pytest.MonkeyPatch, call: tuple[str, str], ids: dict[str, str]) -> list[str]:
    """Return the SQL that a request ran, without its values."""
    found: list[str] = []
    database = two.state.database
    connect = type(database).connect

    def traced(self: Any) -> Any:
        connection = connect(self)
        connection.set_trace_callback(found.append)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(type(database), "connect", traced)
        ask(two, call, ids)
    return [re.sub(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b|X'[0-9A-Fa-f]*'", "?", text) for text in found]


@pytest.mark.parametrize("call", NAMED, ids=" ".join)
def test_another_s_id_costs_the_same_statements(
    two: Two, monkeypatch: pytest.MonkeyPatch, call: tuple[str, str]
) -> None:
    theirs = {
        "job": two.ids["job"],
        "key": two.ids["key-a"],
        "deployment": two.ids["deployment"],
        "model": f"{MARK}-model",
    }
    never = {"job": "0" * 32, "key": "0" * 16, "deployment": "0" * 64, "model": "never-was-model"}
    ran = statements(two, monkeypatch, call, theirs)
    assert ran, "something was asked of the store"
    assert ran == statements(two, monkeypatch, call, never)


@pytest.mark.slow
def test_another_s_id_takes_as_long(two: Two) -> None:
    """1,000 pairs in random order; a difference of 5 % of a standard deviation's ranks would be seen."""
    import random

    from scipy.stats import mannwhitneyu

    rng, times = random.Random(0), {"theirs": [], "never": []}  # type: ignore[var-annotated]
    paths = {"theirs": f"/jobs/{two.ids['job']}", "never": "/jobs/" + "0" * 32}
    for number in range(1100):
        for which in rng.sample(sorted(paths), 2):
            started = time.perf_counter()
            two.call("b", "GET", paths[which])
            if number >= 100:
                times[which].append(time.perf_counter() - started)
    found = mannwhitneyu(times["theirs"], times["never"])
    effect = found.statistic / (len(times["theirs"]) * len(times["never"]))
    assert found.pvalue > 0.001 or abs(effect - 0.5) < 0.03, (found.pvalue, effect)
