"""Jobs, leases, keys and counts on both stores: one owner at a time, whatever clocks and workers do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from symbio_lab.errors import ConfigError, HealingCancelledError, NotFoundError
from symbio_lab.records import Deployment, FailureRecord, PredictionRecord
from symbio_lab.service.fencing import FencedLedger
from symbio_lab.store import Ledger
from symbio_lab.store.api_keys import ApiKeys
from symbio_lab.store.audit import AuditLog, add_line
from symbio_lab.store.connection import Connection, Store
from symbio_lab.store.failure_reports import FailureReports
from symbio_lab.store.idempotency import ABANDONED_S, KEPT_S, IdempotencyKeys
from symbio_lab.store.job_rows import MAX_ATTEMPTS, condition_of, count_open
from symbio_lab.store.jobs import Jobs
from symbio_lab.store.leases import STALE_S, Leases
from symbio_lab.store.observed_time import DAY_US, to_us
from symbio_lab.store.predictions import PredictionStore
from symbio_lab.store.registered_models import RegisteredModel, RegisteredModels
from symbio_lab.store.retention import prune
from symbio_lab.store.tenants import Tenants
from symbio_lab.store.usage import add_usage, read_usage

NOW, LATER = "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"
REQUEST = {"model_id": "m", "domain": "d"}


class Clock:
    """A wall clock that tests step."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(either_store: Store, clock: Clock) -> Jobs:
    return Jobs(either_store, Leases(either_store, clock=clock))


def ids(jobs: Jobs, tenant: str, number: int) -> list[str]:
    """Return the ids of new jobs, in the order of arrival."""
    return [jobs.submit(tenant, "healing", REQUEST, now=f"2026-03-01T12:00:{i:02d}Z").job_id for i in range(number)]


def claimed(jobs: Jobs, owner: str) -> str:
    job = jobs.claim(owner, now=NOW)
    assert job is not None
    return job.job_id


def test_a_job_goes_from_queued_to_its_outcome_once(jobs: Jobs) -> None:
    (job_id,) = ids(jobs, "acme", 1)
    job = jobs.claim("a", now=NOW)
    assert job is not None
    assert (job.state, job.num_attempts, job.started_at) == ("running", 1, NOW)
    assert jobs.claim("b", now=NOW) is None
    assert jobs.note(job_id, "a", {"event": "X"}, stage="search")
    assert not jobs.note(job_id, "b", {"event": "Y"})
    assert jobs.get("acme", job_id).stage == "search"
    assert not jobs.finish(job_id, "b", "failed", now=LATER)
    assert jobs.finish(job_id, "a", "succeeded", now=LATER, result={"n": 1})
    assert not jobs.finish(job_id, "a", "failed", now=LATER)
    done = jobs.get("acme", job_id)
    assert (done.state, done.stage, done.result, done.finished_at) == ("succeeded", "", {"n": 1}, LATER)
    assert [event.event["event"] for event in jobs.events("acme", job_id)] == ["X", "JobEnded"]
    assert [event.seq for event in jobs.events("acme", job_id, after=1)] == [2]
    with pytest.raises(NotFoundError):
        jobs.get("other", job_id)
    assert jobs.num_open() == 0


def test_what_is_written_with_a_job_is_there_with_it_or_not_at_all(jobs: Jobs, either_store: Store) -> None:
    audit = AuditLog(either_store)

    def tell(connection: Connection, job_id: str) -> None:
        add_line(connection, "acme", at=NOW, actor="x", action="job", subject=job_id)

    def fail(connection: Connection, job_id: str) -> None:
        tell(connection, job_id)
        raise KeyError

    job = jobs.submit("acme", "healing", REQUEST, now=NOW, also=tell)
    with pytest.raises(KeyError):
        jobs.submit("acme", "healing", REQUEST, now=NOW, also=fail)
    assert [line.subject for line in audit.lines("acme")] == [job.job_id]
    jobs.claim("a", now=NOW)

    def fail_at_the_end(connection: Connection) -> None:
        tell(connection, job.job_id)
        raise KeyError

    with pytest.raises(KeyError):
        jobs.finish(job.job_id, "a", "succeeded", now=NOW, also=fail_at_the_end)
    assert jobs.get("acme", job.job_id).state == "running"
    assert audit.verify_chain()[0] == 1


def test_a_named_job_is_made_once_and_the_condition_is_asked_only_then(jobs: Jobs) -> None:
    def never(connection: Connection) -> None:
        raise ConfigError(["no"])

    first = jobs.submit("acme", "healing", REQUEST, now=NOW, job_id="a" * 32)
    again = jobs.submit("acme", "healing", REQUEST, now=LATER, job_id="a" * 32, condition=never)
    assert again == first
    with pytest.raises(ConfigError):
        jobs.submit("acme", "healing", REQUEST, now=NOW, condition=never)
    assert jobs.num_open("acme") == 1
    with pytest.raises(NotFoundError):
        jobs.submit("other", "healing", REQUEST, now=NOW, job_id="a" * 32)


def test_a_worker_that_stops_beating_is_taken_over_and_changes_nothing_more(
    jobs: Jobs, either_store: Store, clock: Clock
) -> None:
    (job_id,) = ids(jobs, "acme", 1)
    assert claimed(jobs, "paused") == job_id
    clock.now += STALE_S + 1
    assert claimed(jobs, "second") == job_id
    assert jobs.get("acme", job_id).num_attempts == 2
    paused = FencedLedger(either_store, condition_of(job_id, "paused"))
    second = FencedLedger(either_store, condition_of(job_id, "second"))
    line = Deployment("acme", "m", "b" * 64, "p" * 64, "x/y", "live", None, NOW, f"job {job_id}")
    assert not jobs.beat(job_id, "paused")
    assert second.append(line).num_lines == 1
    other = Deployment("acme", "m", "b" * 64, "q" * 64, "x/y", "live", line.deployment_id, NOW, f"job {job_id}")
    with pytest.raises(HealingCancelledError):
        paused.append(other)
    assert jobs.finish(job_id, "second", "succeeded", now=NOW)
    # The lease is gone: whoever wakes after the end is as late.
    with pytest.raises(HealingCancelledError):
        paused.append(other)
    with pytest.raises(HealingCancelledError):
        second.append(other)
    jobs.give_back(job_id, "paused")
    assert not jobs.note(job_id, "paused", {"event": "late"}, spent=5.0, day="2026-03-01")
    assert jobs.get("acme", job_id).state == "succeeded"
    assert [one.patch_digest for one in Ledger(either_store).lines()] == ["p" * 64]


def test_a_cancelled_job_deploys_nothing(jobs: Jobs, either_store: Store) -> None:
    queued, running = ids(jobs, "acme", 2)
    assert claimed(jobs, "a") == queued
    assert jobs.cancel("acme", running, now=NOW).state == "cancelled"
    assert jobs.cancel("acme", queued, now=NOW).state == "running"
    line = Deployment("acme", "m", "b" * 64, "p" * 64, "x/y", "live", None, NOW, "")
    with pytest.raises(HealingCancelledError, match="cancelled"):
        FencedLedger(either_store, condition_of(queued, "a")).append(line)
    jobs.give_back(queued, "a")
    assert jobs.claim("b", now=NOW) is None
    assert jobs.get("acme", queued).state == "cancelled"
    assert Ledger(either_store).lines() == ()


@pytest.mark.parametrize("step_s", [STALE_S + 1, -STALE_S - 1, 10 * 365 * 86400.0, -10 * 365 * 86400.0])
def test_no_step_of_the_clock_keeps_a_job_for_ever_or_gives_it_to_two(
    jobs: Jobs, either_store: Store, clock: Clock, step_s: float
) -> None:
    (job_id,) = ids(jobs, "acme", 1)
    claimed(jobs, "a")
    clock.now += step_s
    # Whatever the clock says: either the beat comes first and the lease is as good as new ...
    assert jobs.beat(job_id, "a")
    assert jobs.claim("b", now=NOW) is None
    clock.now += step_s
    # ... or another takes over at once, and the first has lost it.
    assert claimed(jobs, "b") == job_id
    assert not jobs.beat(job_id, "a")
    assert not jobs.finish(job_id, "a", "succeeded", now=NOW)
    assert jobs.finish(job_id, "b", "succeeded", now=NOW)


def test_small_steps_of_the_clock_cost_nobody_a_lease(jobs: Jobs, clock: Clock) -> None:
    (job_id,) = ids(jobs, "acme", 1)
    claimed(jobs, "a")
    for step_s in (STALE_S / 2, -STALE_S / 2, -STALE_S / 2):
        clock.now += step_s
        assert jobs.claim("b", now=NOW) is None
    assert jobs.beat(job_id, "a")


def test_a_job_that_ends_its_workers_ends_itself(jobs: Jobs, clock: Clock) -> None:
    (job_id,) = ids(jobs, "acme", 1)
    for attempt in range(MAX_ATTEMPTS):
        assert claimed(jobs, f"w{attempt}") == job_id
        clock.now += STALE_S + 1
    assert jobs.claim("last", now=LATER) is None
    ended = jobs.get("acme", job_id)
    assert ended.error is not None
    assert (ended.state, ended.error["code"]) == ("failed", "worker_lost")


def test_giving_back_does_not_count_as_an_attempt(jobs: Jobs) -> None:
    (job_id,) = ids(jobs, "acme", 1)
    for _ in range(2 * MAX_ATTEMPTS):
        assert claimed(jobs, "a") == job_id
        jobs.give_back(job_id, "a")
    assert jobs.get("acme", job_id).num_attempts == 0


def test_a_long_queue_of_one_tenant_keeps_nobody_waiting(jobs: Jobs) -> None:
    ids(jobs, "big", 20)
    (small,) = ids(jobs, "small", 1)
    late = ids(jobs, "late", 2)
    order = []
    for _ in range(6):
        job = jobs.claim("one worker", now=NOW)
        assert job is not None
        order.append(job.tenant)
        jobs.finish(job.job_id, "one worker", "succeeded", now=NOW)
    assert sorted(order[:3]) == ["big", "late", "small"]
    assert (sorted(order[3:5]), order[5]) == (["big", "late"], "big"), order
    assert not jobs.get("small", small).is_open
    assert not any(jobs.get("late", one).is_open for one in late)


def test_with_several_workers_each_tenant_gets_one_before_any_gets_two(jobs: Jobs) -> None:
    ids(jobs, "big", 10)
    ids(jobs, "small", 2)
    running = [job.tenant for i in range(5) if (job := jobs.claim(f"w{i}", now=NOW)) is not None]
    assert [sorted(running[:2]), sorted(running[2:4]), running[4]] == [["big", "small"], ["big", "small"], "big"]


def test_jobs_of_one_tenant_keep_their_order(jobs: Jobs) -> None:
    asked = ids(jobs, "acme", 5)
    got = []
    for _ in asked:
        got.append(claimed(jobs, "a"))
        jobs.finish(got[-1], "a", "succeeded", now=NOW)
    assert got == asked


def test_many_workers_at_once_get_different_jobs(jobs: Jobs) -> None:
    asked = ids(jobs, "acme", 12)
    got: list[str] = []

    def work(owner: str) -> None:
        for _ in range(3):
            job = jobs.claim(owner, now=NOW)
            if job is not None:
                got.append(job.job_id)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(asked)


def test_what_jobs_spend_is_counted_by_day(jobs: Jobs, either_store: Store) -> None:
    (job_id,) = ids(jobs, "acme", 1)
    claimed(jobs, "a")
    for spent, day in ((10.0, "2026-03-01"), (2.5, "2026-03-01"), (4.0, "2026-03-02")):
        assert jobs.note(job_id, "a", {"event": "PhaseFinished"}, spent=spent, day=day)
    with either_store.read() as connection:
        assert read_usage(connection, "acme", "forwards", period="2026-03-01") == 12.5
        assert read_usage(connection, "acme", "forwards", period="2026-03-02") == 4.0
        assert read_usage(connection, "other", "forwards", period="2026-03-01") == 0.0
        assert count_open(connection, "acme") == 1


def test_stored_records_are_counted_and_given_back(either_store: Store) -> None:
    now_us = to_us(NOW)
    store = PredictionStore(either_store, clock=lambda: now_us)
    reports = FailureReports(either_store, clock=lambda: now_us)

    def used(tenant: str) -> float:
        with either_store.read() as connection:
            return read_usage(connection, tenant, "records")

    rows = [PredictionRecord("m", "text_classification", f"t{i}", "y", tenant="ab"[i % 2]) for i in range(6)]
    store.append(rows)
    store.append(rows)
    failures = [FailureRecord("m", "text_classification", "d", "e", f"t{i}", "x", "y", tenant="a") for i in range(2)]
    reports.append([*failures, failures[0], FailureRecord("m", "x", "d", "e", "t", "x", "y", tenant="b")])
    assert (used("a"), used("b")) == (5, 4)
    prune(either_store, "a", "m", now_us=now_us + 9 * DAY_US, older_than_days=1)
    assert (used("a"), used("b")) == (0, 4)


def test_counting_survives_an_undone_write(either_store: Store) -> None:
    def add_and_fail() -> None:
        with either_store.write() as connection:
            add_usage(connection, "acme", "records", 3)
            raise KeyError

    with pytest.raises(KeyError):
        add_and_fail()
    with either_store.read() as connection:
        assert read_usage(connection, "acme", "records") == 0


def test_a_key_is_found_until_it_ends(either_store: Store) -> None:
    keys = ApiKeys(either_store)
    token, key = keys.create("acme", ["read", "predict"], now=NOW, expires_at=LATER, name="ci")
    assert keys.find(token, now=NOW) == key
    assert keys.find(token, now=LATER) is None
    assert keys.find(token[:-1] + ("A" if token[-1] != "A" else "B"), now=NOW) is None
    assert keys.list("acme") == (key,)
    assert keys.list("other") == ()
    with pytest.raises(NotFoundError):
        keys.revoke("other", key.key_id, at=NOW)
    assert keys.revoke("acme", key.key_id, at=LATER).revoked_at == LATER
    assert keys.revoke("acme", key.key_id, at=NOW).revoked_at == NOW
    assert keys.revoke("acme", key.key_id, at=LATER).revoked_at == NOW, "an earlier end stays"
    assert keys.find(token, now=NOW) is None


def test_tenants_and_models_are_kept(either_store: Store) -> None:
    tenants, models = Tenants(either_store), RegisteredModels(either_store)
    for name in ("zeta", "acme", "a-b", "a.b"):
        tenants.create(name, now=NOW)
    with pytest.raises(ConfigError):
        tenants.create("acme", now=NOW)
    assert [one.tenant for one in tenants.list()] == ["a-b", "a.b", "acme", "zeta"]
    assert tenants.set_policy("acme", {"redact": True}).policy == {"redact": True}
    with pytest.raises(NotFoundError):
        tenants.set_policy("nobody", {})
    everybody = RegisteredModel("*", "m", "src", None, "text_classification", "d" * 64, NOW)
    own = RegisteredModel("acme", "m", "own", "main", "text_classification", "e" * 64, NOW)
    for model in (everybody, own, everybody):
        models.register(model)
    assert (models.find("acme", "m"), models.find("zeta", "m")) == (own, everybody)
    assert (models.list("acme"), models.list("zeta")) == ((own,), (everybody,))
    with pytest.raises(ConfigError):
        models.register(RegisteredModel("acme", "m", "x", None, "text_classification", "f" * 64, NOW))


def test_a_licence_is_stated_later_and_never_lost(either_store: Store) -> None:
    models = RegisteredModels(either_store)
    silent = RegisteredModel("*", "m", "src", None, "text_classification", "d" * 64, NOW)
    assert models.register(silent).licence is None
    assert models.register(replace(silent, licence="MIT")).licence == "MIT"
    assert models.register(silent).licence == "MIT"
    with pytest.raises(ConfigError):
        models.register(replace(silent, digest="e" * 64, licence="Apache-2.0"))
    assert models.find("acme", "m") == replace(silent, licence="MIT")


def test_an_idempotency_key_has_one_answer(either_store: Store, clock: Clock) -> None:
    keys = IdempotencyKeys(either_store, clock=clock)

    def verdict(request: str = "r") -> Any:
        return keys.begin("acme", "k", request).verdict

    assert verdict() == "new"
    assert (verdict(), verdict("other")) == ("in_flight", "other_request")
    keys.end("acme", "k", 202, "{}")
    assert (keys.begin("acme", "k", "r").response, verdict("other")) == ("{}", "other_request")
    assert keys.begin("other", "k", "r").verdict == "new"
    clock.now += KEPT_S + 1
    assert verdict() == "new"
    clock.now += ABANDONED_S + 1
    assert verdict() == "new", "a request that was killed lets go"
    keys.forget("acme", "k")
    assert verdict("other") == "new"


def test_the_audit_log_is_one_chain_over_all_tenants(either_store: Store) -> None:
    log = AuditLog(either_store)
    for i in range(4):
        log.append("ab"[i % 2], at=NOW, actor="x", action=f"act-{i}", detail={"n": i, "text": "ü\x00"})
    assert [line.action for line in log.lines("a")] == ["act-0", "act-2"]
    assert [line.action for line in log.lines("b", after=2)] == ["act-3"]
    assert log.lines("a")[0].detail == {"n": 0, "text": "ü\x00"}
    assert log.verify_chain()[0] == 4


def test_leases_are_one_owners(either_store: Store, clock: Clock) -> None:
    leases = Leases(either_store, clock=clock)
    take: Callable[[str], bool] = lambda owner: leases.take("work", owner)  # noqa: E731
    assert (take("a"), take("a"), take("b"), leases.beat("work", "b")) == (True, True, False, False)
    assert set(leases.held()) == {"work"}
    leases.release("work", "b")
    assert not take("b")
    clock.now += STALE_S + 1
    assert leases.held() == {}
    assert take("b")
    assert not leases.beat("work", "a")
    leases.release("work", "b")
    assert take("a")
