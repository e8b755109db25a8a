"""What a tenant may use, what a full store does to a request, and a worker that wakes too late: no model is needed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from symbio_lab.config import Settings
from symbio_lab.errors import StorageError
from symbio_lab.records import Deployment
from symbio_lab.service import worker as working
from symbio_lab.service.app import create_app
from symbio_lab.service.quotas import day_of
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.worker import Worker
from symbio_lab.store.leases import STALE_S, Leases
from symbio_lab.store.observed_time import DAY_US, now_us
from symbio_lab.store.registered_models import RegisteredModel
from symbio_lab.store.retention import prune
from symbio_lab.store.usage import add_usage

MODEL = "support"
FAILURE = {
    "model_id": MODEL,
    "task_type": "text_classification",
    "domain": "travel",
    "error_type": "wrong_label",
    "input_sample": "text",
    "expected_output": "x",
    "actual_output": "y",
}
PREDICTION = {"model_id": MODEL, "task_type": "text_classification", "input_sample": "t", "actual_output": "y"}
HEALING = {"model_id": MODEL, "task_type": "text_classification", "domain": "travel"}


class Small:
    """An app on an empty store: tenants ``a`` and ``b``, a registered model that nobody loads."""

    def __init__(self, home: Path, **limits: Any) -> None:
        self.settings, self.service = Settings(home=home, num_threads=1), ServiceSettings(**limits)
        self.app = create_app(self.settings, self.service)
        self.state = self.app.state.service
        self.client = TestClient(self.app, raise_server_exceptions=False)
        self.tokens = {}
        now = self.state.now()
        for name in ("a", "b"):
            self.state.tenants.create(name, now=now)
            self.tokens[name], _ = self.state.keys.create(name, ["admin"], now=now)
        self.state.models.register(RegisteredModel("*", MODEL, "nowhere", None, "text_classification", "d" * 64, now))

    def call(self, method: str, path: str, tenant: str = "a", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[tenant]}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def failures(self, number: int, first: int = 0) -> dict[str, Any]:
        return {"failures": [{**FAILURE, "input_sample": f"text {first + i}"} for i in range(number)]}

    def heal(self, tenant: str = "a", **more: Any) -> Any:
        return self.call("POST", "/healing/marketplace-integrated", tenant, json=HEALING, **more)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def test_stored_records_have_a_limit_that_retention_gives_back(tmp_path: Path) -> None:
    small = Small(tmp_path, max_records=10)
    assert small.call("POST", "/failures/report/batch", json=small.failures(8)).status_code == 201
    assert code(small.call("POST", "/failures/report/batch", json=small.failures(3, 8))) == (403, "quota_exceeded")
    assert small.call("POST", "/predictions", json={"predictions": [PREDICTION]}).status_code == 201
    assert small.call("POST", "/failures/report", json={**FAILURE, "input_sample": "the tenth"}).status_code == 201
    for path, body in (("/failures/report", FAILURE), ("/predictions", {"predictions": [PREDICTION]})):
        refused = small.call("POST", path, json=body)
        assert code(refused) == (403, "quota_exceeded")
        assert "limit of 10" in refused.json()["detail"]
    assert small.call("POST", "/failures/report", "b", json=FAILURE).status_code == 201, "another's limit is another's"
    shown = small.call("GET", "/quotas").json()
    assert (shown["num_records"], shown["max_records"]) == (10, 10)
    prune(small.state.database, "a", MODEL, now_us=now_us() + 3 * DAY_US, older_than_days=1)
    assert small.call("GET", "/quotas").json()["num_records"] == 0
    assert small.call("POST", "/failures/report/batch", json=small.failures(10, 100)).status_code == 201


def test_labels_that_wait_have_the_same_limit(tmp_path: Path) -> None:
    small = Small(tmp_path, max_records=5)

    def labels(first: int, number: int) -> Any:
        wanted = [{"prediction_id": f"p{first + i}", "expected_output": "x"} for i in range(number)]
        return small.call("POST", "/predictions/labels", json={"model_id": MODEL, "labels": wanted})

    assert labels(0, 4).json()["num_early_labels"] == 4
    assert code(labels(4, 2)) == (403, "quota_exceeded")
    assert labels(4, 1).status_code == 201


def test_a_tenant_narrows_its_limits_and_never_widens_them(tmp_path: Path) -> None:
    small = Small(tmp_path, max_records=10)
    policy = small.call("GET", "/policies").json()["policy"]
    for asked, holds in ((3, 3), (1000, 10)):
        changed = {**policy, "budgets": {**policy["budgets"], "max_records": asked}}
        assert small.call("PUT", "/policies", json=changed).status_code == 200
        assert small.call("GET", "/quotas").json()["max_records"] == holds
    for bad in ({"max_records": 0}, {"max_forwards_per_day": -1}, {"max_jobs": 1}):
        assert code(small.call("PUT", "/policies", json={**policy, "budgets": bad})) == (422, "bad_request")


def test_healing_has_a_budget_for_a_day_that_open_jobs_reserve(tmp_path: Path) -> None:
    small = Small(tmp_path, max_forwards_per_day=150_000.0)
    first, second = small.heal(), small.heal()
    assert (first.status_code, second.status_code) == (202, 202)
    refused = small.heal()
    assert code(refused) == (429, "budget_spent")
    assert int(refused.headers["Retry-After"]) > 0
    assert small.heal("b").status_code == 202
    # One ends without having spent anything: its share is free again.
    small.call("POST", f"/jobs/{first.json()['job_id']}/cancel")
    assert small.heal().status_code == 202
    for job in small.state.jobs.newest("a"):
        small.state.jobs.cancel("a", job.job_id, now=small.state.now())
    with small.state.database.write() as connection:
        add_usage(connection, "a", "forwards", 100_000, period=day_of(small.state.now()))
    assert code(small.heal()) == (429, "budget_spent")
    assert small.call("GET", "/quotas").json()["forwards_today"] == 100_000
    policy = small.call("GET", "/policies").json()["policy"]
    small.call("PUT", "/policies", json={**policy, "max_forwards_per_job": 20_000})
    assert small.heal().status_code == 202, "a smaller job fits"


def test_patches_have_a_limit_of_bytes(tmp_path: Path) -> None:
    small = Small(tmp_path, max_patch_bytes=1_000)
    digest = "e" * 64
    folder = small.settings.patches / digest
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"x" * 600)
    now = small.state.now()
    small.state.ledger.append(Deployment("a", MODEL, "d" * 64, digest, "x/y", "live", None, now, "one"))
    assert small.call("GET", "/quotas").json()["patch_bytes"] == 600
    assert small.heal().status_code == 202
    # The same patch twice is one folder.
    small.state.ledger.append(Deployment("a", MODEL, "d" * 64, digest, "x/y", "live", None, now, "two"))
    assert small.heal().status_code == 202
    other = small.settings.patches / ("f" * 64)
    other.mkdir()
    (other / "adapter_model.safetensors").write_bytes(b"x" * 400)
    small.state.ledger.append(Deployment("a", MODEL, "d" * 64, "f" * 64, "x/z", "live", None, now, "three"))
    assert code(small.heal()) == (403, "quota_exceeded")
    assert small.heal("b").status_code == 202


def test_a_request_that_was_killed_before_its_answer_was_kept_makes_one_job(tmp_path: Path) -> None:
    small = Small(tmp_path)
    key = {"Idempotency-Key": "k"}
    first = small.heal(headers=key).json()["job_id"]
    # As after a kill between the job and the answer, a minute later.
    with small.state.database.write() as connection:
        connection.execute("DELETE FROM idempotency_keys")
    assert small.heal(headers=key).json()["job_id"] == first
    assert len(small.call("GET", "/jobs").json()["jobs"]) == 1
    assert small.heal("b", headers=key).json()["job_id"] != first
    assert [line["action"] for line in small.call("GET", "/audit").json()["lines"]] == ["job.healing"]


class FullStore:
    """Connections whose n-th write finds no space, as SQLite says it: nothing of the transaction stays."""

    def __init__(self, database: Any, fail_at: int) -> None:
        self.left, connect = fail_at, database._connect
        database._connect = lambda: _Connection(connect(), self)
        self.restore = lambda: setattr(database, "_connect", connect)

    def spend(self) -> None:
        self.left -= 1
        if self.left == 0:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error


class _Connection:
    def __init__(self, connection: sqlite3.Connection, full: FullStore) -> None:
        self._connection, self._full, self._wrote = connection, full, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *rest: Any) -> Any:
        self._look(sql)
        return self._connection.execute(sql, *rest)

    def executemany(self, sql: str, *rest: Any) -> Any:
        self._look(sql)
        return self._connection.executemany(sql, *rest)

    def _look(self, sql: str) -> None:
        word = sql.split(maxsplit=1)[0].upper()
        # Only a commit of something needs room.
        if word in ("INSERT", "UPDATE", "DELETE") or (word == "COMMIT" and self._wrote):
            self._wrote = True
            self._full.spend()


def everything(small: Small) -> dict[str, list[Any]]:
    """Return all rows of the store but the numbers that were drawn."""
    with small.state.database.read() as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [tuple(row) for row in connection.execute(f"SELECT * FROM {name}")]
            for name in names
            if name not in ("sqlite_sequence", "idempotency_keys")
        }


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/failures/report", FAILURE),
        ("POST", "/failures/report/batch", {"failures": [FAILURE, {**FAILURE, "input_sample": "2"}]}),
        ("POST", "/predictions", {"predictions": [{**PREDICTION, "expected_output": "x"}]}),
        (
            "POST",
            "/predictions/labels",
            {"model_id": MODEL, "labels": [{"prediction_id": "p", "expected_output": "x"}]},
        ),
        ("POST", "/healing/marketplace-integrated", HEALING),
    ],
)
def test_a_store_that_is_full_at_any_write_says_so_and_keeps_nothing_half_written(
    tmp_path: Path, method: str, path: str, body: dict[str, Any]
) -> None:
    small = Small(tmp_path)
    before, fail_at = everything(small), 0
    while True:
        fail_at += 1
        full = FullStore(small.state.database, fail_at)
        answer = small.call(method, path, json=body)
        full.restore()
        if full.left > 0:  # there were fewer writes than that
            break
        assert code(answer) == (503, "storage"), fail_at
        assert answer.headers["Retry-After"]
        assert everything(small) == before, fail_at
    assert answer.status_code in (201, 202), answer.text
    assert fail_at > 2
    small.state.audit.verify_chain()


def finds_no_room(worker: Worker) -> bool:
    try:
        worker.run_one()
    except StorageError:
        return True
    return False


def test_a_store_that_is_full_at_any_write_of_a_worker_leaves_the_job_to_be_ended(tmp_path: Path) -> None:
    for fail_at in range(1, 40):
        small = Small(tmp_path / str(fail_at))
        job_id = small.heal().json()["job_id"]
        worker = Worker(small.settings, small.service, beat_s=60)
        full = FullStore(worker.state.database, fail_at)
        raised = finds_no_room(worker)
        reached = full.left <= 0
        full.restore()
        assert raised == reached or small.state.jobs.get("a", job_id).state == "failed"
        # The lease of a worker that could not give back ends by itself; the next one is another process.
        with small.state.database.write() as connection:
            connection.execute("UPDATE leases SET beat_at = beat_at - ?", (2 * STALE_S,))
        Worker(small.settings, small.service).run_one()
        job = small.state.jobs.get("a", job_id)
        assert (job.state, job.error["code"]) == ("failed", "model_unresolved"), (fail_at, job)
        told = [line.action for line in small.state.audit.lines("a") if line.subject == job_id]
        assert told == ["job.healing", "job.failed"], fail_at
        small.state.audit.verify_chain()
        if not reached:
            assert fail_at > 4
            return
    raise AssertionError("a job that fails at once writes less than that")


def test_a_worker_that_slept_longer_than_its_lease_deploys_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(tmp_path)
    job_id = small.heal().json()["job_id"]
    now = small.state.now()

    def line(name: str) -> Deployment:
        return Deployment("a", MODEL, "d" * 64, name * 64, "x/y", "live", None, now, f"job {job_id}: {name}")

    def healed_by_the_second(state: Any, markets: Any, job: Any, tell: Any, stop: Any, ledger: Any) -> dict[str, Any]:
        ledger.append(line("b"))
        return {"status": "healed", "deployment_id": line("b").deployment_id}

    def sleeps(state: Any, markets: Any, job: Any, tell: Any, stop: Any, ledger: Any) -> dict[str, Any]:
        # While this one sleeps, its lease ends and another worker does the whole job.
        with state.database.write() as connection:
            connection.execute("UPDATE leases SET beat_at = beat_at - ?", (2 * STALE_S,))
        monkeypatch.setattr(working, "carry_out", healed_by_the_second)
        assert Worker(small.settings, small.service).run_one()
        ledger.append(line("a"))
        raise AssertionError("it deployed after all")

    monkeypatch.setattr(working, "carry_out", sleeps)
    assert Worker(small.settings, small.service, beat_s=60).run_one()
    assert [one.note for one in small.state.ledger.lines()] == [f"job {job_id}: b"]
    job = small.state.jobs.get("a", job_id)
    assert (job.state, job.num_attempts, job.result["status"]) == ("succeeded", 2, "healed")
    assert [one.action for one in small.state.audit.lines("a")] == ["job.healing", "job.succeeded"]
    assert not Leases(small.state.database).held()


def test_jobs_of_a_quiet_tenant_do_not_wait_for_a_busy_one(tmp_path: Path) -> None:
    small = Small(tmp_path)
    for _ in range(8):
        small.heal("a")
    small.heal("b")
    worker = Worker(small.settings, small.service)
    for _ in range(2):
        worker.run_one()
    assert [job.state for job in small.state.jobs.newest("b")] == ["failed"], "its turn came second at the latest"
