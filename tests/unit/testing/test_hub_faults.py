"""Each way in which the loopback Hub misbehaves, as a client meets it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from symbio_lab.errors import ConfigError
from symbio_lab.testing.loopback_hub import Fault, LoopbackHub
from symbio_lab.testing.loopback_hub.faults import FaultList
from tests.fixtures_hub import hub as hub

REPO = "alice/travel"
DATA = bytes(range(256)) * 40
FILE = f"/{REPO}/resolve/main/adapter_model.safetensors"
INFO = f"/api/models/{REPO}"


@pytest.fixture
def commits(hub: LoopbackHub) -> list[str]:
    """The commits of a repository with one large file, newest first."""
    api = HfApi(endpoint=hub.endpoint, token="hf_alice")
    api.create_repo(REPO)
    for number in range(2):
        operations = [CommitOperationAdd("adapter_model.safetensors", DATA), CommitOperationAdd("n", b"%d" % number)]
        api.create_commit(REPO, operations, commit_message=str(number))
    hub.requests.clear()
    return [commit.commit_id for commit in api.list_repo_commits(REPO)]


def get(hub: LoopbackHub, path: str, method: str = "GET", **options: Any) -> httpx2.Response:
    return httpx2.request(method, hub.endpoint + path, trust_env=False, **options)


def test_a_status_with_its_headers_so_often_as_asked(hub: LoopbackHub, commits: list[str]) -> None:
    hub.requests.clear()
    hub.faults.add(
        Fault(method="GET", path="/api/models", status=503, headers={"X-Why": "test"}, retry_after=7, times=2)
    )
    first, second, third = (get(hub, INFO) for _ in range(3))
    assert (first.status_code, first.headers["retry-after"], first.headers["x-why"]) == (503, "7", "test")
    assert (second.status_code, third.status_code) == (503, 200)
    assert hub.requests == [("GET", INFO, 503), ("GET", INFO, 503), ("GET", INFO, 200)]


def test_a_fault_fits_method_and_raw_path(hub: LoopbackHub, commits: list[str]) -> None:
    hub.faults.add(Fault(method="POST|HEAD", path="refs%2Fpr%2F1$", status=500, times=9))
    assert get(hub, f"{INFO}/revision/refs%2Fpr%2F1").status_code == 404
    assert get(hub, f"{INFO}/revision/refs%2Fpr%2F1", "HEAD").status_code == 500
    assert get(hub, f"{INFO}/revision/main", "HEAD").status_code == 200
    hub.faults.clear()
    assert get(hub, f"{INFO}/revision/refs%2Fpr%2F1", "HEAD").status_code == 404


def test_a_stall_is_an_answer_that_comes_late(hub: LoopbackHub, commits: list[str]) -> None:
    hub.faults.add(Fault(kind="stall", delay_s=0.2, times=2))
    started = time.monotonic()
    assert get(hub, INFO).status_code == 200
    assert time.monotonic() - started >= 0.2
    with pytest.raises(httpx2.ReadTimeout):
        get(hub, INFO, timeout=0.05)
    assert get(hub, INFO).status_code == 200


def test_a_truncated_body_is_announced_whole(hub: LoopbackHub, commits: list[str]) -> None:
    hub.faults.add(Fault(path="/resolve/", kind="truncate"))
    got: list[bytes] = []
    with httpx2.stream("GET", hub.endpoint + FILE, trust_env=False) as answer:
        assert answer.headers["content-length"] == str(len(DATA))
        with pytest.raises(httpx2.RemoteProtocolError):
            got.extend(answer.iter_bytes())
    assert b"".join(got) == DATA[: len(DATA) // 2]
    assert get(hub, FILE).content == DATA


@pytest.mark.parametrize("path", [FILE, INFO])
def test_one_bit_is_flipped(hub: LoopbackHub, commits: list[str], path: str) -> None:
    honest = get(hub, path).content
    hub.faults.add(Fault(path=path, kind="bit_flip"))
    changed = get(hub, path).content
    different = [a ^ b for a, b in zip(honest, changed, strict=True) if a != b]
    assert different == [1]


def test_main_is_shown_as_it_was(hub: LoopbackHub, commits: list[str]) -> None:
    newest, older, oldest = commits
    hub.faults.add(Fault(kind="stale_main", times=4))
    assert get(hub, INFO).json()["sha"] == older
    assert get(hub, f"/{REPO}/resolve/main/n", "HEAD").headers["x-repo-commit"] == older
    assert get(hub, f"{INFO}/refs").json()["branches"][0]["targetCommit"] == older
    assert get(hub, f"{INFO}/revision/{newest}").json()["sha"] == newest  # a pinned commit is what it is
    hub.faults.add(Fault(kind="stale_main", commit=oldest))
    assert get(hub, INFO).json()["sha"] == oldest
    assert get(hub, INFO).json()["sha"] == newest


def test_headers_are_replaced(hub: LoopbackHub, commits: list[str]) -> None:
    honest = get(hub, FILE, "HEAD").headers
    hub.faults.add(Fault(path="/resolve/", kind="header", headers={"ETAG": '"odd"', "X-New": "1"}))
    changed = get(hub, FILE, "HEAD").headers
    assert (changed["etag"], changed["x-new"], changed.get_list("etag")) == ('"odd"', "1", ['"odd"'])
    assert changed["x-repo-commit"] == honest["x-repo-commit"]


def test_a_redirect_leads_away(hub: LoopbackHub, commits: list[str]) -> None:
    headers = {"Location": "http://127.0.0.1:9/x"}
    hub.faults.add(Fault(path="/resolve/", kind="redirect", headers=headers))
    hub.faults.add(Fault(path="/resolve/", kind="redirect", headers=headers, status=307))
    assert [get(hub, FILE).status_code for _ in range(2)] == [302, 307]
    assert get(hub, FILE).status_code == 200


def test_all_that_is_wrong_with_a_fault_is_said_at_once() -> None:
    odd = Fault(method="(", path="[", kind="explode", status=99, delay_s=-1, times=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        FaultList().add(odd)
    assert all(word in str(caught.value) for word in ("kind", "times", "delay_s", "status", "method", "path"))
    with pytest.raises(ConfigError, match="Location"):
        FaultList().add(Fault(kind="redirect"))


def test_the_client_survives_a_truncated_download(hub: LoopbackHub, commits: list[str], tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    hub.faults.add(Fault(method="GET", path="/resolve/", kind="truncate"))
    path = hf_hub_download(REPO, "adapter_model.safetensors", cache_dir=tmp_path, endpoint=hub.endpoint, token=False)
    assert Path(path).read_bytes() == DATA
