"""What was last seen on a Hub: remembered with its age, and never more than a memory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from symbio_lab.marketplace.hub_memory import HubMemory

OLD, NEW = "a" * 40, "b" * 40


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(tmp_path: Path, clock: Clock) -> HubMemory:
    return HubMemory(tmp_path / "hub", clock)


def test_nothing_is_made_before_something_is_remembered(memory: HubMemory) -> None:
    assert memory.last_commit("alice/travel") is None
    assert memory.last_listing("hf://alice") is None
    assert memory.last_tree("alice/travel", OLD) is None
    assert not memory.folder.exists()


def test_the_newest_commit_counts_wherever_it_was_seen(
    memory: HubMemory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    memory.remember_commit("alice/travel", OLD)
    clock.now += 10
    memory.remember_listing("hf://alice", {"alice/travel": NEW, "alice/other": ""})
    clock.now += 3 * 3600
    assert memory.last_commit("alice/travel") == NEW
    assert "alice/travel as it was 3 hours ago" in caplog.text
    assert memory.last_commit("alice/other") is None
    memory.remember_commit("alice/travel", OLD)
    assert memory.last_commit("alice/travel") == OLD


def test_listings_are_kept_by_address(memory: HubMemory, caplog: pytest.LogCaptureFixture) -> None:
    memory.remember_listing("hf://alice", {"alice/travel": NEW})
    memory.remember_listing("hf://", {"alice/travel": NEW, "bob/banking": OLD})
    assert dict(memory.last_listing("hf://alice") or {}) == {"alice/travel": NEW}
    assert len(memory.last_listing("hf://") or {}) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_a_damaged_memory_is_none(memory: HubMemory) -> None:
    memory.remember_commit("alice/travel", OLD)
    memory.remember_listing("hf://alice", {"alice/travel": NEW})
    memory.remember_tree("alice/travel", OLD, [])
    for path in memory.folder.rglob("*.json"):
        path.write_bytes(b'{"a": 1, "a": 2}')
    assert memory.last_commit("alice/travel") is None
    assert memory.last_listing("hf://alice") is None
    assert memory.last_tree("alice/travel", OLD) is None
