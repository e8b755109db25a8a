"""Static files from a folder and from a web server: what is read, what is refused, and what is tried again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from symbio_lab.errors import ConfigError, NetworkUnavailableError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.registry import static_files
from symbio_lab.marketplace.registry.opening import registry_files
from symbio_lab.marketplace.registry.static_files import FolderFiles, HttpFiles, StaticFiles, below, read_static
from symbio_lab.trust.locking import locked
from tests.fixtures_static import Answer, StaticServer, serving

DATA = b"what is served"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files" / "a").mkdir(parents=True)
    (tmp_path / "files" / "a" / "b.json").write_bytes(DATA)
    return tmp_path / "files"


@pytest.fixture
def server(folder: Path) -> Iterator[StaticServer]:
    with serving(folder) as server:
        yield server


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(static_files.time, "sleep", waited.append)
    return waited


def refusal(files: StaticFiles, name: str = "a/b.json", max_bytes: int = 1000) -> str:
    with pytest.raises(TrustError) as refused:
        read_static(files, name, max_bytes)
    return refused.value.code


# ---------------------------------------------------------------------------------------------------- both kinds


@pytest.mark.parametrize("kind", ["folder", "web"])
def test_a_file_is_read(folder: Path, server: StaticServer, kind: str) -> None:
    files: StaticFiles = FolderFiles(folder) if kind == "folder" else HttpFiles(server.url)
    assert isinstance(files, StaticFiles)
    assert read_static(files, "a/b.json", len(DATA)) == DATA
    assert read_static(below(files, "a"), "b.json", 100) == DATA
    assert below(files, "a").uri == f"{files.uri}/a"
    assert refusal(files, max_bytes=len(DATA) - 1) == "bad_response"
    for name in ("a/none.json", "none/b.json", "a/b.json/c"):
        with pytest.raises(NotFoundError):
            read_static(files, name, 100)
    for name in ("../secret", "/a/b.json", "a/../a/b.json", "", "a//b.json", "a/.hidden", "a\\b.json"):
        assert refusal(files, name) == "unsafe_name"


def test_links_in_a_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path / "secret", folder / "link.json")
    assert refusal(FolderFiles(folder), "link.json") == "unsafe_name"


# ------------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "ftp://127.0.0.1/x", "file:///x", "127.0.0.1", "", "https://", "http://127.0.0.1.evil"],
)
def test_addresses_that_are_neither_https_nor_loopback(url: str) -> None:
    with pytest.raises(ConfigError):
        HttpFiles(url)


@pytest.mark.parametrize(
    ("market", "uri"),
    [
        ("pools/demo", "file://pools/demo/registry"),
        ("file:///x/y%20z", "file:///x/y z/registry"),
        ("hf://alice", "https://hub.example/alice/symbio-registry/resolve/main"),
        ("hf://alice/travel", "https://hub.example/alice/symbio-registry/resolve/main"),
        ("hf://collections/alice/best-01", "https://hub.example/alice/symbio-registry/resolve/main"),
        ("https://example.org/reg/", "https://example.org/reg"),
        ("http://127.0.0.1:1/reg", "http://127.0.0.1:1/reg"),
    ],
)
def test_where_a_registry_lies(market: str, uri: str) -> None:
    assert registry_files(market, endpoint="https://hub.example").uri == uri


@pytest.mark.parametrize("market", ["hf://", "", "  ", "s3://bucket/x", "overlay+file://x", "http://example.org/x"])
def test_markets_without_a_registry(market: str) -> None:
    with pytest.raises(ConfigError):
        registry_files(market)


# ----------------------------------------------------------------------------------------------------- the server


def test_redirects_on_loopback_are_followed_without_the_token(server: StaticServer, folder: Path) -> None:
    with serving(folder) as other:
        server.answers["/a/b.json"] = Answer(302, {"Location": f"{other.url}/a/b.json", "Content-Length": "0"})
        assert read_static(HttpFiles(server.url, "hf_secret"), "a/b.json", 100) == DATA
        assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer hf_secret"]
        assert [headers.get("Authorization") for _, headers in other.requests] == [None]


def test_relative_redirects_keep_the_token(server: StaticServer) -> None:
    server.answers["/x.json"] = Answer(307, {"Location": "/a/b.json", "Content-Length": "0"})
    assert read_static(HttpFiles(server.url, "hf_secret"), "x.json", 100) == DATA
    assert {headers.get("Authorization") for _, headers in server.requests} == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    "target", ["http://example.org/a", "ftp://127.0.0.1/a", "//example.org/a", "file:///etc/passwd"]
)
def test_redirects_to_unsafe_addresses(server: StaticServer, target: str) -> None:
    server.answers["/a/b.json"] = Answer(302, {"Location": target, "Content-Length": "0"})
    assert refusal(HttpFiles(server.url)) == "bad_response"


def test_redirects_without_end(server: StaticServer) -> None:
    server.answers["/a/b.json"] = Answer(302, {"Location": "/a/b.json", "Content-Length": "0"})
    assert refusal(HttpFiles(server.url)) == "bad_response"
    assert len(server.requests) == 6


@pytest.mark.parametrize("status", [403, 404, 410])
def test_absent(server: StaticServer, status: int) -> None:
    server.answers["/a/b.json"] = Answer(status, {"Content-Length": "0"})
    with pytest.raises(NotFoundError):
        read_static(HttpFiles(server.url), "a/b.json", 100)


def test_private(server: StaticServer) -> None:
    server.answers["/a/b.json"] = Answer(401, {"Content-Length": "0"})
    with pytest.raises(ConfigError) as refused:
        read_static(HttpFiles(server.url, "hf_secret"), "a/b.json", 100)
    assert "HF_TOKEN" in refused.value.hint
    assert "hf_secret" not in str(refused.value) + repr(HttpFiles(server.url, "hf_secret"))


@pytest.mark.parametrize("status", [204, 206, 400, 418, 501])
def test_other_answers(server: StaticServer, status: int) -> None:
    server.answers["/a/b.json"] = Answer(status, {"Content-Length": "0"})
    assert refusal(HttpFiles(server.url)) == "bad_response"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(server: StaticServer, status: int, no_waiting: list[float]) -> None:
    server.answers["/a/b.json"] = Answer(status, {"Content-Length": "0", "Retry-After": "1"}, times=2)
    assert read_static(HttpFiles(server.url), "a/b.json", 100) == DATA
    assert no_waiting == [1.0, 1.0]


def test_trying_again_has_an_end(server: StaticServer, no_waiting: list[float]) -> None:
    server.answers["/a/b.json"] = Answer(503, {"Content-Length": "0"})
    with pytest.raises(NetworkUnavailableError):
        read_static(HttpFiles(server.url), "a/b.json", 100)
    assert len(server.requests) == static_files.MAX_TRIES
    assert no_waiting == pytest.approx([0.2, 0.4, 0.8])


def test_nobody_waits_for_an_hour(server: StaticServer, no_waiting: list[float]) -> None:
    server.answers["/a/b.json"] = Answer(429, {"Content-Length": "0", "Retry-After": "3600"})
    with pytest.raises(NetworkUnavailableError):
        read_static(HttpFiles(server.url), "a/b.json", 100)
    assert no_waiting == []


def test_nobody_there(folder: Path, no_waiting: list[float]) -> None:
    with serving(folder) as server:
        url = server.url
    with pytest.raises(NetworkUnavailableError):
        read_static(HttpFiles(url), "a/b.json", 100)


def test_a_stalling_server(server: StaticServer, no_waiting: list[float]) -> None:
    server.answers["/a/b.json"] = Answer(pause_s=30)
    start = time.monotonic()
    with pytest.raises(NetworkUnavailableError):
        read_static(HttpFiles(server.url, timeout_s=0.1, deadline_s=0.3), "a/b.json", 100)
    assert time.monotonic() - start < 3


def test_a_dripping_server(server: StaticServer) -> None:
    # Every piece comes in time, the whole does not.
    server.answers["/a/b.json"] = Answer(pieces=(b"x" * static_files._CHUNK_BYTES,) * 100, pause_s=0.05)
    start = time.monotonic()
    with pytest.raises(NetworkUnavailableError, match="too long"):
        read_static(HttpFiles(server.url, timeout_s=2, deadline_s=0.3), "a/b.json", 1 << 30)
    assert time.monotonic() - start < 3


def test_a_truncated_answer(server: StaticServer) -> None:
    server.answers["/a/b.json"] = Answer(headers={"Content-Length": "100"}, pieces=(b"x",))
    with pytest.raises(NetworkUnavailableError, match="broke off"):
        read_static(HttpFiles(server.url), "a/b.json", 1000)


def test_declared_sizes_over_the_cap(server: StaticServer) -> None:
    server.answers["/a/b.json"] = Answer(headers={"Content-Length": str(1 << 40)})
    assert refusal(HttpFiles(server.url)) == "too_large"


def test_answers_that_are_packed_unasked(server: StaticServer) -> None:
    server.answers["/a/b.json"] = Answer(headers={"Content-Encoding": "gzip", "Content-Length": "1"}, pieces=(b"x",))
    assert refusal(HttpFiles(server.url)) == "bad_response"


def test_connections_are_used_again(server: StaticServer) -> None:
    files = HttpFiles(server.url)
    for _ in range(3):
        read_static(files, "a/b.json", 100)
    pool = files._pools[""].connection_from_url(server.url)
    assert pool.num_connections == 1


# -------------------------------------------------------------------------------------------------------- the lock


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with locked(path), pytest.raises(StorageError), locked(path, wait_s=0.05):
        pytest.fail("two held the lock")
    with locked(path, wait_s=0.05):
        pass
