"""Starting, ending and storing: one process a folder, whole files after a kill, loopback addresses only."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import pytest

from symbio_lab.errors import ConfigError, DataError, NotFoundError, StorageError
from symbio_lab.testing.loopback_hub import LoopbackHub
from symbio_lab.testing.loopback_hub.accounts import Accounts
from symbio_lab.testing.loopback_hub.blobs import BlobStore
from symbio_lab.testing.loopback_hub.repositories import Repository, RepositoryStore, make_commit, new_key

NOW = "2026-01-31T12:00:00.000Z"


def stored(folder: Path, name: str = "alice/travel") -> tuple[RepositoryStore, Repository]:
    store = RepositoryStore(folder)
    repository = Repository(new_key(), "model", name, "alice", NOW)
    return store, store.create(repository, make_commit((), "first", "", NOW, "alice", {}))


def test_a_hub_without_a_folder_leaves_nothing_behind() -> None:
    with LoopbackHub(users={"alice": "hf_alice"}) as hub:
        folder, endpoint = hub.folder, hub.endpoint
        assert httpx2.get(f"{endpoint}/api/models", trust_env=False).json() == []
        assert hub.app.routes
    assert not folder.exists()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{endpoint}/api/models", trust_env=False)
    for name in ("endpoint", "folder", "app", "state"):
        with pytest.raises(ConfigError, match="does not run"):
            getattr(hub, name)


def test_an_answer_does_not_wait_for_the_network_to_fill_a_packet(tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub") as hub, httpx2.Client(base_url=hub.endpoint, trust_env=False) as client:
        took = []
        for _ in range(20):
            started = time.monotonic()
            client.get("/api/models")
            took.append(time.monotonic() - started)
    assert min(took[5:]) < 0.02  # a delayed acknowledgement alone takes 0.04 s, every time


def test_one_process_serves_a_folder(tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub"):
        with pytest.raises(StorageError) as caught, LoopbackHub(tmp_path / "hub"):
            pass
        assert "another folder" in caught.value.hint
    with LoopbackHub(tmp_path / "hub"):
        pass


def test_only_loopback_addresses_and_free_ports(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "example.org", "::"):
        with pytest.raises(ConfigError, match="not a loopback address"), LoopbackHub(tmp_path / "hub", host=host):
            pass
    with pytest.raises(ConfigError, match="65535"), LoopbackHub(tmp_path / "hub", port=70_000):
        pass
    with LoopbackHub(tmp_path / "hub") as hub:
        port = int(hub.endpoint.rsplit(":", 1)[1])
        with pytest.raises(ConfigError) as caught, LoopbackHub(tmp_path / "other", port=port):
            pass
        assert "--port" in caught.value.hint


def test_a_folder_of_something_else_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "hub.json").write_text('{"layout": 99}')
    with pytest.raises(DataError, match="layout"), LoopbackHub(tmp_path):
        pass
    (tmp_path / "hub.json").write_text("{")
    with pytest.raises(DataError), LoopbackHub(tmp_path):
        pass


def test_what_a_kill_leaves_half_made_is_not_there(tmp_path: Path) -> None:
    _, repository = stored(tmp_path)
    half = tmp_path / "repositories" / new_key()
    (half / "commits").mkdir(parents=True)
    again = RepositoryStore(tmp_path)
    again.load()
    assert list(again) == [repository]
    assert not half.exists()
    (tmp_path / "repositories" / repository.key / "repository.json").write_text("{}")
    with pytest.raises(DataError):
        RepositoryStore(tmp_path).load()


def test_names_are_unique_without_regard_to_case(tmp_path: Path) -> None:
    store, repository = stored(tmp_path)
    assert store.find("model", "ALICE/Travel") == repository
    assert store.find("dataset", "alice/travel") is None
    store.delete(repository)
    assert store.find("model", "alice/travel") is None
    assert list(store) == []


@pytest.mark.parametrize("commit", ["", "..", "../../hub", "f" * 40, "F" * 40, "f" * 39])
def test_a_commit_id_is_never_a_path(tmp_path: Path, commit: str) -> None:
    store, repository = stored(tmp_path)
    assert store.commit(repository.key, commit) is None
    assert not store.has_object(repository.key, commit)


def test_blobs_are_found_by_digest_alone(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = blobs.put(b"data")
    assert (blobs.put(b"data"), blobs.read(digest), blobs.size(digest)) == (digest, b"data", 4)
    for odd in ("", "../hub.json", digest[:-1], digest.upper()):
        with pytest.raises(NotFoundError):
            blobs.path(odd)
    with pytest.raises(StorageError):
        blobs.read("0" * 64)


def test_bad_accounts_are_named_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Accounts({"alice": "same", "bob": "same", "..": "a b", "lab": "x"}, {"lab": ["carol"]})
    said = str(caught.value)
    assert all(word in said for word in ("shared", "'..'", "printable", "a user and an organisation", "'carol'"))
    accounts = Accounts({"alice": "hf_alice"}, {"lab": ["alice"]})
    with pytest.raises(ConfigError, match="taken"):
        accounts.add("lab", "hf_x")
    with pytest.raises(ConfigError, match="shared"):
        accounts.add("bob", "hf_alice")
    assert accounts.user_of("hf_alice") == "alice"
    accounts.remove("alice")
    assert (accounts.user_of("hf_alice"), accounts.orgs_of("alice")) == (None, [])


def test_the_server_changes_only_what_is_there(tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub", users={"alice": "hf_alice"}) as hub:
        with pytest.raises(NotFoundError, match="no model"):
            hub.tamper("alice/nothing", "x", b"1")
        stored_at = Repository(new_key(), "model", "alice/travel", "alice", NOW)
        hub.state.repositories.create(stored_at, make_commit((), "first", "", NOW, "alice", {}))
        with pytest.raises(NotFoundError, match="no commit"):
            hub.set_branch("alice/travel", "main", "f" * 40)
