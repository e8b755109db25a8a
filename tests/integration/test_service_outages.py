"""A Hub that is down, slow or refuses: searches say so, jobs go on without it or end with a reason, none is stuck."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from symbio_lab.service import healing_request, markets
from symbio_lab.service.app import create_app
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.worker import Worker
from symbio_lab.testing.loopback_hub import Fault, LoopbackHub
from tests.fixtures_hub import hub as hub
from tests.fixtures_models import TinyModels
from tests.fixtures_places import HEALING, MODEL, Place, free_port, make_place

SEARCH = {"query": "shades", "model_id": MODEL, "task_type": "text_classification"}
LIMITS: dict[str, Any] = {"market_timeout_s": 0.3, "market_deadline_s": 0.6}


@pytest.fixture
def place(
    built: Path, installed: None, tiny: TinyModels, tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> Place:
    from symbio_lab.models.embedding import SentenceEmbedder

    encoder = tiny.folder("encoder")
    monkeypatch.setattr(healing_request, "SentenceEmbedder", lambda: SentenceEmbedder(encoder))
    monkeypatch.setattr(markets, "find_embedder", lambda: None)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    return make_place(built, tmp_path / "home", tmp_path / "home" / "store.db", encoder)


class Service:
    """An app on a place whose markets a test chooses."""

    def __init__(self, place: Place, *uris: str) -> None:
        self.place, self.service = place, ServiceSettings(markets=uris, **LIMITS)
        self.app = create_app(place.settings, self.service)
        self.client = TestClient(self.app, headers=place.headers, raise_server_exceptions=False)

    def heal(self, **changes: Any) -> Any:
        """Carry out one job and return it."""
        asked = self.client.post("/healing/marketplace-integrated", json={**HEALING, **changes})
        assert asked.status_code == 202, asked.text
        assert Worker(self.place.settings, self.service).run_one()
        return self.client.get(asked.headers["Location"]).json()


def break_it(hub: LoopbackHub, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "refused":
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    elif how == "503":
        hub.faults.add(Fault(kind="status", status=503, times=10_000))
    else:
        hub.faults.add(Fault(kind="stall", delay_s=1.0, times=10_000))


@pytest.mark.parametrize("how", ["refused", "503", "stall"])
def test_a_hub_that_is_down_costs_its_own_patches_only(
    place: Place, hub: LoopbackHub, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(hub, how, monkeypatch)
    alone, both = Service(place, "hf://alice"), Service(place, "hf://alice", place.market)
    started = time.monotonic()
    refused = alone.client.post("/marketplace/search", json=SEARCH)
    assert (refused.status_code, refused.json()["code"]) == (503, "no_network")
    assert refused.headers["Retry-After"]
    assert "hf://alice" in refused.json()["detail"]
    assert time.monotonic() - started < 5, "given up soon"
    found = both.client.post("/marketplace/search", json=SEARCH).json()
    assert [hit for hit in found["results"] if hit["verified"]]
    assert "hf://alice cannot be reached" in found["reason"]
    listed = both.client.get("/marketplace/patches").json()
    assert listed["unreachable"] == ["hf://alice"]
    assert listed["patches"]
    gone = both.client.get("/marketplace/patches/alice/nothing")
    assert (gone.status_code, gone.json()["code"]) == (503, "no_network"), "silence is no absence"

    # Adopting and operating: the market that answers is enough, and without any the job operates.
    healed = both.heal()
    assert (healed["state"], healed["result"]["status"]) == ("succeeded", "healed")
    assert healed["result"]["unreachable_markets"] == ["hf://alice"]


def test_without_any_market_a_job_operates_where_it_may_and_says_why_where_not(
    place: Place, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(hub, "503", monkeypatch)
    service = Service(place, "hf://alice")
    operated = service.heal()
    assert operated["state"] == "succeeded", operated
    assert operated["result"]["unreachable_markets"] == ["hf://alice"]
    assert any(attempt["kind"] == "surgery" for attempt in operated["result"]["attempts"])

    refused = service.heal(enable_auto_surgery=False)
    assert (refused["state"], refused["error"]["code"]) == ("failed", "no_network")
    assert "hf://alice" in refused["error"]["message"]
    assert refused["error"]["hint"]
    # The Hub comes back, and so does the answer: it offers nothing, which is another thing than silence.
    hub.faults.clear()
    empty = service.heal(enable_auto_surgery=False)
    assert (empty["state"], empty["result"]["status"]) == ("succeeded", "no_patch_found")
    place.state.ledger.verify_chain()
    place.state.audit.verify_chain()
    assert not place.state.jobs.num_open()


def test_a_hub_that_goes_away_between_search_and_fetch_is_skipped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from symbio_lab.errors import NetworkUnavailableError
    from symbio_lab.marketplace.directory import DirectoryTransport

    service, fetch, num_fetched = Service(place, place.market), DirectoryTransport.fetch, 0

    def goes_away(self: DirectoryTransport, ref: str, *rest: Any, **more: Any) -> Any:
        nonlocal num_fetched
        num_fetched += 1
        if num_fetched > 1:
            raise NetworkUnavailableError("the connection was reset")
        return fetch(self, ref, *rest, **more)

    monkeypatch.setattr(DirectoryTransport, "fetch", goes_away)
    job = service.heal()
    assert job["state"] == "succeeded", job
    skipped = [a for a in job["result"]["attempts"] if (a["status"], a["code"]) == ("skipped", "no_network")]
    assert skipped
    assert job["result"]["unreachable_markets"] == [place.market]


def test_a_contribution_that_finds_no_room_costs_nothing_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own market cannot be written: the patch is live, the job's end says why nothing was published."""
    service = Service(place)
    policy = service.client.get("/policies").json()["policy"]
    service.client.put("/policies", json={**policy, "allow_contribution": True})
    place.state.market_folder.parent.mkdir(exist_ok=True)
    place.state.market_folder.write_text("a file where the folder should be")
    job = service.heal(max_marketplace_patches=0, contribute_to_marketplace=True)
    assert job["state"] in ("succeeded", "queued", "failed"), job
    # Whatever became of the publication: the job can end, and deployed at most once.
    for _ in range(6):
        Worker(place.settings, service.service).run_one()
    assert not place.state.jobs.num_open()
    deployed = [
        line for line in place.state.ledger.lines(tenant="acme") if line.note.startswith(f"job {job['job_id']}")
    ]
    assert len(deployed) <= 1
