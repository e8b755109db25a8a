"""Tenants are answered together, swapped without a gap, refused when there is no room; candidates stand beside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from symbio_lab.config import Settings
from symbio_lab.models import mixed_batch
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.records import Deployment, Patch
from symbio_lab.service import answering
from symbio_lab.service.app import create_app
from symbio_lab.service.registering import register_model
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.state import ServiceState
from tests.fixtures_models import (
    TinyModels,
    all_words,
    head_rows,
    known_samples,
    new_samples,
    query_modules,
    random_deltas,
    seal,
)

MODEL = "support"
TEXTS = [s.text for s in (*known_samples(4), *new_samples(4))]


class Place:
    """A service with one base, tenants, and patches that they accepted."""

    def __init__(self, home: Path, tiny: TinyModels, **limits: int) -> None:
        self.settings = Settings(home=home, num_threads=1)
        app = create_app(self.settings, ServiceSettings(requests_per_minute=10**6, **limits))
        self.client = TestClient(app, raise_server_exceptions=False)
        self.state: ServiceState = app.state.service
        register_model(self.state, MODEL, str(tiny.folder("pooled")))
        found = tiny.load("pooled")
        assert isinstance(found, TextClassifier)
        self.model = found
        self.tokens: dict[str, str] = {}
        self._now = 0

    def tenant(self, name: str) -> str:
        self.state.tenants.create(name, now=self.state.now())
        self.tokens[name], _ = self.state.keys.create(name, ["admin"], now=self.state.now())
        return name

    def patch(self, seed: int, scale: float = 0.6) -> Patch:
        model = self.model
        rows = head_rows([f"new-{seed}"], seed=seed, scale=6.0) if seed % 2 else None
        deltas = random_deltas(model, query_modules(model), seed=seed, scale=scale)
        return seal(model, self.settings.patches, deltas, rows, patch_id=f"alice/p{seed}")

    def accept(self, tenant: str, patch: Patch, stage: str = "live") -> Deployment:
        """Add the line that healing adds for a patch that the gate accepted."""
        self._now += 1
        current = self.state.ledger.current(tenant, MODEL)
        line = Deployment(
            tenant,
            MODEL,
            self.model.digest,
            patch.digest,
            patch.patch_id,
            stage,  # type: ignore[arg-type]
            current.deployment_id if current else None,
            f"2026-01-01T00:{self._now // 60:02}:{self._now % 60:02}Z",
        )
        self.state.ledger.append(line)
        return line

    def call(self, tenant: str, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[tenant]}"}
        return self.client.request(method, path, headers=headers, **more)

    def predict(self, tenant: str, texts: list[str] = TEXTS, **more: Any) -> Any:
        answered = self.call(tenant, "POST", "/predict", json={"model_id": MODEL, "inputs": texts, **more})
        assert answered.status_code == 200, answered.text
        return answered.json()

    def stage(self, tenant: str, line: Deployment, stage: str, **more: Any) -> Any:
        body = {"model_id": MODEL, "deployment_id": line.deployment_id, "stage": stage, **more}
        return self.call(tenant, "POST", "/deployments", json=body)

    def expected(self, patch: Patch | None, texts: list[str] = TEXTS) -> tuple[list[str], list[float]]:
        with self.model.applied(patch):
            found = self.model.predict(texts)
        return list(found.outputs), list(found.confidences)


@pytest.fixture
def place(tiny: TinyModels, tmp_path: Path) -> Place:
    return Place(tmp_path, tiny)


class Gate:
    """Holds the base before each batch until it is opened, and notes what each batch was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[tuple[int, int]] = []
        """(texts, patches) of each batch."""

        def held(model: Any, texts: Any, slots: Any, slot_of: Any, owner_of: Any) -> Any:
            self.entered.set()
            assert self.open.wait(30)
            self.batches.append((len(texts), len(slots)))
            return mixed_batch.predict_slots(model, texts, slots, slot_of, owner_of)

        monkeypatch.setattr(answering, "predict_slots", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    found = Gate(monkeypatch)
    yield found
    found.open.set()


def wait_for(place: Place, num_texts: int) -> None:
    for _ in range(3000):
        if sum(f.num_waiting for f in place.state.residents.figures()) >= num_texts:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the requests never came to the queue")


def test_tenants_that_wait_are_answered_in_one_batch_each_by_its_own_patch(place: Place, gate: Gate) -> None:
    patches: dict[str, Patch | None] = {place.tenant(f"t{i}"): place.patch(i) for i in range(5)}
    for tenant, patch in patches.items():
        assert patch is not None
        place.accept(tenant, patch)
    patches[place.tenant("plain")] = None
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(place.predict, "plain", TEXTS[:1])
        assert gate.entered.wait(30)
        waiting = {tenant: pool.submit(place.predict, tenant) for tenant in patches}
        wait_for(place, 6 * len(TEXTS))
        gate.open.set()
        answers = {tenant: future.result() for tenant, future in waiting.items()}
        first.result()
    assert gate.batches == [(1, 1), (6 * len(TEXTS), 6)]
    for tenant, patch in patches.items():
        outputs, confidences = place.expected(patch)
        assert answers[tenant]["outputs"] == outputs
        np.testing.assert_allclose(answers[tenant]["confidences"], confidences, atol=mixed_batch.TOLERANCE)
        assert answers[tenant]["patch_digest"] == (patch.digest if patch else None)
        assert set(answers[tenant]["answered_by"]) == {"live" if patch else "base"}
        # Alone again: whoever else was there made no difference.
        np.testing.assert_allclose(
            place.predict(tenant)["confidences"], answers[tenant]["confidences"], atol=mixed_batch.TOLERANCE
        )


def test_deployments_while_requests_come_drop_none_and_mix_none(place: Place) -> None:
    place.tenant("a")
    lines = {}
    patches = [place.patch(seed) for seed in range(3)]
    expected = [place.expected(patch) for patch in patches]
    line = place.accept("a", patches[0])
    lines[line.deployment_id] = 0
    stop = threading.Event()

    def ask() -> list[Any]:
        seen = []
        while not stop.is_set():
            seen.append(place.predict("a"))
        return seen

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        for turn in range(1, 25):
            line = place.accept("a", patches[turn % 3])
            lines[line.deployment_id] = turn % 3
            threading.Event().wait(0.02)
        stop.set()
        seen = [answer for future in asking for answer in future.result()]
    assert len({answer["deployment_id"] for answer in seen}) > 3
    for answer in seen:
        outputs, confidences = expected[lines[answer["deployment_id"]]]
        assert answer["outputs"] == outputs, "the answers are of the deployment that is named"
        np.testing.assert_allclose(answer["confidences"], confidences, atol=mixed_batch.TOLERANCE)


def test_without_room_a_request_is_told_when_to_come_again(tiny: TinyModels, tmp_path: Path, gate: Gate) -> None:
    place = Place(tmp_path, tiny, max_waiting_texts=16)
    for name in ("a", "b", "c"):
        place.tenant(name)
    with ThreadPoolExecutor(8) as pool:
        held = pool.submit(place.predict, "a", TEXTS[:1])
        assert gate.entered.wait(30)
        waiting = [pool.submit(place.predict, name, TEXTS[:4]) for name in ("a", "a", "b", "b")]
        wait_for(place, 16)
        body = {"model_id": MODEL, "inputs": TEXTS[:1]}
        mine = place.call("a", "POST", "/predict", json=body)
        assert (mine.status_code, mine.json()["code"]) == (429, "too_many_waiting")
        others = place.call("c", "POST", "/predict", json=body)
        assert (others.status_code, others.json()["code"]) == (503, "overloaded")
        for refused in (mine, others):
            assert int(refused.headers["Retry-After"]) >= 1
        gate.open.set()
        assert [len(future.result()["outputs"]) for future in waiting] == [4] * 4
        held.result()
    assert place.predict("c", TEXTS[:1])["outputs"]
    (figures,) = place.state.residents.figures()
    assert (figures.num_refused, figures.num_waiting, figures.num_requests) == (2, 0, 6)


def test_a_request_larger_than_the_room_is_answered_when_nobody_waits(tiny: TinyModels, tmp_path: Path) -> None:
    place = Place(tmp_path, tiny, max_waiting_texts=2)
    place.tenant("a")
    assert len(place.predict("a", TEXTS * 3)["outputs"]) == 3 * len(TEXTS)


def test_one_tenant_s_damaged_patch_is_its_own_error(place: Place) -> None:
    for name in ("a", "b"):
        place.tenant(name)
    damaged, fine = place.patch(2), place.patch(4)
    place.accept("a", damaged)
    place.accept("b", fine)
    (damaged.root / "adapter_model.safetensors").write_bytes(b"other bytes")
    refused = place.call("a", "POST", "/predict", json={"model_id": MODEL, "inputs": TEXTS})
    assert (refused.status_code, refused.json()["code"]) == (409, "digest_mismatch")
    assert place.predict("b")["outputs"] == place.expected(fine)[0]


def test_a_shadow_is_compared_and_changes_no_answer(place: Place) -> None:
    for name in ("a", "b"):
        place.tenant(name)
    live, other = place.patch(2), place.patch(4)
    line = place.accept("a", other)
    place.accept("a", live)
    before = place.predict("a")
    staged = place.stage("a", line, "shadow")
    assert (staged.status_code, staged.json()["share"]) == (201, 1.0), staged.text
    during = place.predict("a")
    assert (during["outputs"], during["confidences"]) == (before["outputs"], before["confidences"])
    assert during["deployment_id"] == before["deployment_id"]
    assert during["candidate"]["patch_digest"] == other.digest
    shadow = staged.json()["deployment_id"]
    traffic = place.call("a", "GET", f"/deployments/{shadow}/traffic").json()
    agreed = sum(x == y for x, y in zip(place.expected(live)[0], place.expected(other)[0], strict=True))
    assert (traffic["num_seen"], traffic["num_compared"], traffic["num_answered"]) == (len(TEXTS), len(TEXTS), 0)
    assert traffic["num_flips"] == len(TEXTS) - agreed > 0
    assert traffic["agreement"]["low"] < traffic["agreement"]["value"] < traffic["agreement"]["high"]
    assert traffic["is_standing"]
    assert place.call("b", "GET", f"/deployments/{shadow}/traffic").status_code == 404
    back = place.call("a", "POST", "/deployments/rollback", json={"model_id": MODEL, "deployment_id": shadow})
    assert (back.status_code, back.json()["patch_digest"]) == (201, live.digest)
    after = place.predict("a")
    assert after["candidate"] is None
    assert (after["outputs"], after["confidences"]) == (before["outputs"], before["confidences"])
    assert not place.call("a", "GET", f"/deployments/{shadow}/traffic").json()["is_standing"]
    again = place.call("a", "POST", "/deployments/rollback", json={"model_id": MODEL, "deployment_id": shadow})
    assert (again.status_code, again.json()["code"]) == (409, "not_standing")
    # What was live before is still the way back.
    undone = place.call("a", "POST", "/deployments/rollback", json={"model_id": MODEL})
    assert undone.json()["patch_digest"] == other.digest
    place.state.ledger.verify_chain()


def test_a_canary_answers_its_share_the_same_texts_each_time(place: Place) -> None:
    place.tenant("a")
    live, other = place.patch(2), place.patch(5)
    line = place.accept("a", other)
    place.accept("a", live)
    texts = [f"{word} {other_word}" for word in all_words()[:20] for other_word in all_words()[:10]]
    staged = place.stage("a", line, "canary", share=0.25).json()
    first = place.predict("a", texts)
    mine = [i for i, stage in enumerate(first["answered_by"]) if stage == "canary"]
    assert 25 <= len(mine) <= 80, "a quarter of 200"
    assert set(first["answered_by"]) == {"live", "canary"}
    of_live, of_other = place.expected(live, texts)[0], place.expected(other, texts)[0]
    assert first["outputs"] == [of_other[i] if i in mine else of_live[i] for i in range(len(texts))]
    again = place.predict("a", texts[::-1])
    assert again["answered_by"] == first["answered_by"][::-1]
    traffic = place.call("a", "GET", f"/deployments/{staged['deployment_id']}/traffic").json()
    assert (traffic["num_seen"], traffic["num_answered"], traffic["num_compared"]) == (
        400,
        2 * len(mine),
        2 * len(mine),
    )
    assert traffic["num_flips"] == 2 * sum(of_live[i] != of_other[i] for i in mine)
    # A new line draws other texts; sharing nothing answers nothing.
    nothing = place.stage("a", line, "canary", share=0.0).json()
    assert set(place.predict("a", texts)["answered_by"]) == {"live"}
    promoted = place.call("a", "POST", "/deployments/promote", json={"deployment_id": nothing["deployment_id"]})
    assert (promoted.status_code, promoted.json()["patch_digest"]) == (201, other.digest)
    served = place.predict("a", texts)
    assert (served["outputs"], set(served["answered_by"]), served["candidate"]) == (of_other, {"live"}, None)
    place.call("a", "POST", "/deployments/rollback", json={"model_id": MODEL})
    assert place.predict("a", texts)["outputs"] == of_live


@pytest.mark.parametrize("redact", [False, True])
def test_labels_say_who_was_right_whenever_they_come(place: Place, redact: bool) -> None:
    place.tenant("a")
    policy = place.call("a", "GET", "/policies").json()["policy"]
    place.call("a", "PUT", "/policies", json={**policy, "redact": redact})
    live, other = place.patch(2), place.patch(5)
    line = place.accept("a", other)
    place.accept("a", live)
    texts = [f"{word} {next_word}" for word, next_word in pairwise(all_words())]
    of_live, of_other = place.expected(live, texts)[0], place.expected(other, texts)[0]
    differing = [i for i in range(len(texts)) if of_live[i] != of_other[i]]
    same = [i for i in range(len(texts)) if of_live[i] == of_other[i]]
    ids = [f"answer {i}" for i in range(len(texts))]
    gold = ["neither"] * len(texts)
    gold[differing[0]], gold[differing[1]], gold[same[0]] = (
        of_live[differing[0]],
        of_other[differing[1]],
        of_live[same[0]],
    )
    early = [{"prediction_id": ids[i], "expected_output": gold[i]} for i in (differing[0], same[0])]
    stored = place.call("a", "POST", "/predictions/labels", json={"model_id": MODEL, "labels": early})
    assert stored.json()["num_early_labels"] == 2, stored.text
    shadow = place.stage("a", line, "shadow").json()["deployment_id"]
    for _ in range(2):  # sent again, an id counts once
        place.predict("a", texts, prediction_ids=ids)
    late = {
        "model_id": MODEL,
        "task_type": "text_classification",
        "input_sample": texts[differing[1]],
        "actual_output": of_live[differing[1]],
        "expected_output": gold[differing[1]],
        "event_id": ids[differing[1]],
    }
    assert place.call("a", "POST", "/predictions", json={"predictions": [late]}).json()["num_stored"] == 1
    traffic = place.call("a", "GET", f"/deployments/{shadow}/traffic").json()
    assert (traffic["num_seen"], traffic["num_compared"], traffic["num_labelled"]) == (2 * len(texts), len(texts), 3)
    assert traffic["live_accuracy"]["value"] == pytest.approx(2 / 3)
    assert traffic["candidate_accuracy"]["value"] == pytest.approx(2 / 3)
    assert (traffic["fix_rate"]["value"], traffic["fix_rate"]["num"]) == (1.0, 1)
    assert (traffic["negative_flip_rate"]["value"], traffic["negative_flip_rate"]["num"]) == (0.5, 2)


def test_a_candidate_that_fails_costs_the_tenant_nothing(place: Place) -> None:
    place.tenant("a")
    live, damaged = place.patch(2), place.patch(4)
    line = place.accept("a", damaged)
    place.accept("a", live)
    staged = place.stage("a", line, "canary", share=1.0).json()
    (damaged.root / "adapter_model.safetensors").write_bytes(b"other bytes")
    found = place.predict("a")
    assert (found["outputs"], set(found["answered_by"])) == (place.expected(live)[0], {"live"})
    traffic = place.call("a", "GET", f"/deployments/{staged['deployment_id']}/traffic").json()
    assert (traffic["num_errors"], traffic["num_compared"]) == (1, 0)


def test_only_what_one_s_own_gate_accepted_is_staged(place: Place) -> None:
    for name in ("a", "b"):
        place.tenant(name)
    patch = place.patch(2)
    line = place.accept("a", patch)
    assert place.stage("b", line, "shadow").status_code == 404
    by_digest = {"model_id": MODEL, "patch_digest": patch.digest, "stage": "canary", "share": 0.5}
    assert place.call("b", "POST", "/deployments", json=by_digest).status_code == 404
    staged = place.call("a", "POST", "/deployments", json=by_digest)
    assert (staged.status_code, staged.json()["stage"], staged.json()["share"]) == (201, "canary", 0.5)
    both = {**by_digest, "deployment_id": line.deployment_id}
    assert place.call("a", "POST", "/deployments", json=both).status_code == 422
    assert place.stage("a", line, "live", share=0.5).status_code == 422
    refused = place.call("a", "GET", f"/deployments/{line.deployment_id}/traffic")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_a_candidate")
    unequal = place.call("a", "POST", "/predict", json={"model_id": MODEL, "inputs": TEXTS, "prediction_ids": ["x"]})
    assert unequal.status_code == 422


def test_a_base_that_leaves_answers_what_waits_for_it(tiny: TinyModels, tmp_path: Path, gate: Gate) -> None:
    place = Place(tmp_path, tiny, max_resident=1)
    place.tenant("a")
    register_model(place.state, "other", str(tiny.folder("bert")))
    with ThreadPoolExecutor(4) as pool:
        held = pool.submit(place.predict, "a", TEXTS[:2])
        assert gate.entered.wait(30)
        waits = pool.submit(place.predict, "a", TEXTS[2:4])
        wait_for(place, 2)
        place.state.residents.get(place.state.models.find("a", "other"))
        assert place.state.residents.num_loaded == 1
        gate.open.set()
        assert held.result()["outputs"] + waits.result()["outputs"] == place.expected(None, TEXTS[:4])[0]
