"""What the loopback Hub does with requests that no honest client sends."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from symbio_lab.testing.loopback_hub import HubLimits, LoopbackHub

REPO = "alice/travel"
INFO = f"/api/models/{REPO}"
ODD_PATHS = (
    *("../up", "a/../../up", "/etc/passwd", "a//b", "./a", "a/.", "..", "", ".git/config", ".GIT/hooks/x", "C:\\x"),
    *("a\\..\\b", "C:x", "nul\0l", "line\nbreak", "x" * 401, "\ud800"),
)
ODD_NAMES = ("..", ".", "../x", "a/b", "-x", ".x", "x.", "a--b", "a..b", "x.git", "", "a\0b", "x" * 97, "ü")


class Wire:
    """Requests as they are, with nothing made nice on the way."""

    def __init__(self, hub: LoopbackHub) -> None:
        self.hub = hub

    def send(
        self, method: str, path: str, body: Any = None, token: str | None = "hf_alice", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.hub.endpoint.removeprefix("http://"), timeout=5)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes | Iterator) else body
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def status(self, *arguments: Any, **options: Any) -> int:
        return self.send(*arguments, **options)[0]

    def commit(self, path: str, revision: str = "main", **value: Any) -> int:
        value = {"content": base64.b64encode(b"x").decode(), "encoding": "base64", **value}
        lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "file", "value": {"path": path, **value}}]
        return self.raw_commit("\n".join(map(json.dumps, lines)).encode(), revision)

    def raw_commit(self, body: bytes, revision: str = "main") -> int:
        return self.status("POST", f"{INFO}/commit/{quote(revision, safe='')}", body)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp("wire")
    limits = HubLimits(body_bytes=200_000, file_bytes=1000, large_file_bytes=300_000)
    with LoopbackHub(folder / "hub", users={"alice": "hf_alice", "bob": "hf_bob"}, limits=limits) as hub:
        wire = Wire(hub)
        assert wire.status("POST", "/api/repos/create", {"name": "travel"}) == 200
        assert wire.commit("README.md") == 200
        before = below(folder)
        yield wire
        assert below(folder) == before, "something was written outside the Hub's folder"


def below(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} | {path.name for path in folder.parent.iterdir()}


@pytest.mark.parametrize("path", ODD_PATHS)
def test_no_file_path_leaves_a_repository(wire: Wire, path: str) -> None:
    assert wire.commit(path) == 400
    asked = {"files": [{"path": path, "size": 1}]}
    assert wire.status("POST", f"{INFO}/preupload/main", asked) == 400
    encoded = quote(path.encode("utf-8", "surrogatepass"), safe="")
    assert wire.status("GET", f"/{REPO}/resolve/main/{encoded}") in (400, 404)
    assert wire.status("GET", f"{INFO}/tree/main/{encoded}") in (200, 400, 404)


@pytest.mark.parametrize("path", ["../../../../etc/passwd", "../hub.json", "..%2f..%2fhub.json", "%2e%2e/hub.json"])
def test_no_address_leaves_the_folder(wire: Wire, path: str) -> None:
    for address in (f"/{path}", f"/{REPO}/resolve/main/{path}", f"/_lfs/get/{path}", f"{INFO}/tree/main/{path}"):
        status, _, body = wire.send("GET", address)
        assert status in (400, 403, 404)
        assert not [text for text in (b"layout", b"root:") if text in body]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_no_name_of_a_repository_is_a_path(wire: Wire, name: str) -> None:
    assert wire.status("POST", "/api/repos/create", {"name": name}) == 400
    assert wire.status("POST", "/api/repos/create", {"name": "x", "organization": name}) in (400, 403, 409) or not name
    assert wire.status("POST", "/api/repos/move", {"fromRepo": REPO, "toRepo": f"alice/{name}"}) == 400


@pytest.mark.parametrize("ref", ["..", "-x", "a..b", "a b", "x.lock", "x/", "a//b", "~x", "a*"])
def test_no_branch_or_tag_is_odd(wire: Wire, ref: str) -> None:
    assert wire.status("POST", f"{INFO}/branch/{quote(ref, safe='')}", {}) == 400
    assert wire.status("POST", f"{INFO}/tag/main", {"tag": ref}) == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"key": "header", "value": {}}',
        b"[]\n[]",
        b'{"key": "header", "value": {}}\n{"key": "link", "value": {"path": "x"}}',
        b'{"key": "file", "value": {"path": "x"}}\n{"key": "header", "value": {}}',
        b'{"key": "header", "value": {"summary": 1}}\n{"key": "deletedFile", "value": {"path": "README.md"}}',
        b'{"key": "header", "value": {"summary": "a", "summary": "b"}}\n{"key": "deletedFile", "value": {"path": "n"}}',
    ],
)
def test_a_commit_that_is_none_changes_nothing(wire: Wire, body: bytes) -> None:
    before = wire.send("GET", INFO)[2]
    assert wire.raw_commit(body) == 400
    assert wire.send("GET", INFO)[2] == before


def test_all_of_a_commit_happens_or_nothing(wire: Wire) -> None:
    before = wire.send("GET", INFO)[2]
    for content in ({"content": "***"}, {"content": None}, {"encoding": "utf-8"}):
        assert wire.commit("new", **content) == 400
    assert wire.commit("README.md/below") == 400  # a file cannot be a folder
    assert wire.commit("big", content=base64.b64encode(b"x" * 1001).decode()) == 400
    assert wire.commit("new", revision="nothing") == 404
    assert wire.send("GET", INFO)[2] == before


def test_a_digest_opens_nobody_elses_file(wire: Wire) -> None:
    secret = b"secret" * 100
    oid = hashlib.sha256(secret).hexdigest()
    assert wire.status("POST", "/api/repos/create", {"name": "hidden", "private": True}) == 200
    wire.hub.tamper("alice/hidden", "x.bin", secret)
    line = {"key": "lfsFile", "value": {"path": "x.bin", "algo": "sha256", "oid": oid, "size": len(secret)}}
    body = b'{"key": "header", "value": {"summary": "s"}}\n' + json.dumps(line).encode()
    assert wire.raw_commit(body) == 400
    asked = {"operation": "upload", "objects": [{"oid": oid, "size": len(secret)}]}
    status, _, answer = wire.send("POST", f"/{REPO}.git/info/lfs/objects/batch", asked)
    (offered,) = json.loads(answer)["objects"]
    assert (status, "actions" in offered) == (200, True)  # it must be sent, although the Hub has it
    upload = offered["actions"]["upload"]["href"].removeprefix(wire.hub.endpoint)
    assert wire.status("PUT", upload, b"other bytes") == 400
    assert wire.status("PUT", upload.replace(oid, "0" * 64), secret) == 403
    assert wire.status("PUT", upload.split("?")[0], secret) == 403
    assert wire.status("GET", upload.replace("/put/", "/get/"), secret) == 403
    verify = offered["actions"]["verify"]["href"].removeprefix(wire.hub.endpoint)
    assert wire.status("POST", verify, {}) == 404
    assert wire.status("PUT", upload, secret, token=None) == 200
    assert wire.status("POST", verify, {}) == 200
    assert wire.raw_commit(body) == 200


def test_bodies_have_a_limit(wire: Wire) -> None:
    assert wire.status("POST", "/api/repos/create", b"x" * 200_001) == 413
    assert wire.status("POST", "/api/repos/create", b"{}", **{"Content-Length": "9" * 15}) == 413
    chunks = iter([b"x" * 100_000] * 3)
    assert wire.status("POST", "/api/repos/create", chunks) == 413
    asked = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 300_001}, {"oid": "1" * 64, "size": 5}]}
    answers = json.loads(wire.send("POST", f"/{REPO}.git/info/lfs/objects/batch", asked)[2])["objects"]
    assert answers[0]["error"]["code"] == 413
    upload = answers[1]["actions"]["upload"]["href"].removeprefix(wire.hub.endpoint)
    assert wire.status("PUT", upload, b"x" * 300_001) == 413
    assert not list((wire.hub.folder / "incoming").iterdir())


def test_stretches_of_a_file(wire: Wire) -> None:
    wire.hub.tamper(REPO, "digits", b"0123456789")
    address = f"/{REPO}/resolve/main/digits"

    def stretch(asked: str) -> tuple[int, bytes, str | None]:
        status, headers, body = wire.send("GET", address, Range=asked)
        return status, body, headers.get("content-range")

    assert stretch("bytes=2-4") == (206, b"234", "bytes 2-4/10")
    assert stretch("bytes=7-") == (206, b"789", "bytes 7-9/10")
    assert stretch("bytes=-2") == (206, b"89", "bytes 8-9/10")
    assert stretch("bytes=5-99") == (206, b"56789", "bytes 5-9/10")
    assert stretch("bytes=10-")[0::2] == (416, "bytes */10")
    assert stretch("bytes=4-2")[0] == 416
    for odd in ("bytes=-", "lines=1-2", "bytes=1-2,4-5", "bytes=a-b"):
        assert stretch(odd) == (200, b"0123456789", None)
    status, headers, body = wire.send("HEAD", address)
    assert (status, headers["content-length"], body) == (200, "10", b"")


def test_only_loopback_hosts_are_answered(wire: Wire) -> None:
    assert wire.status("GET", INFO, Host="localhost:1") == 200
    for host in ("example.org", "127.0.0.1.example.org", "[", ""):
        assert wire.status("GET", INFO, Host=host) == 421


def test_what_is_not_there_is_said_plainly(wire: Wire) -> None:
    for path, code in ((f"{INFO}x", "RepoNotFound"), (f"{INFO}/revision/x", "RevisionNotFound")):
        status, headers, body = wire.send("GET", path)
        assert (status, headers["x-error-code"]) == (404, code)
        assert json.loads(body)["error"] == headers["x-error-message"]
    assert wire.send("GET", f"{INFO}x", token=None)[1]["x-error-code"] == "RepoNotFound"
    assert wire.status("GET", f"{INFO}x", token=None) == 401
    assert wire.status("GET", INFO, token="hf_wrong") == 401
    assert wire.status("GET", "/api/agent-harnesses") == 404
    assert wire.status("GET", "/api/spaces") == 404
    assert wire.status("PUT", "/api/whoami-v2") == 405
    assert wire.status("GET", "/api/models?limit=x") == 400
    assert wire.status("GET", "/api/models?sort=x") == 400
    assert wire.status("GET", "/api/models?" + "&".join(f"a{n}=1" for n in range(1001))) == 400
    assert wire.status("GET", "/api/models/%ff/x") == 400
    assert wire.status("POST", "/api/repos/create", b"[1]") == 400
    assert wire.status("POST", "/api/repos/create", {"name": "x", "type": "space"}) == 400
