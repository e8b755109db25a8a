"""``symbio market serve`` as a program of its own: started, used, stopped, killed, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from symbio_lab.cli.market_serving import read_orgs, read_users
from symbio_lab.errors import ConfigError
from tests.fixtures_hub import open_client

PROGRAM = "import sys; from symbio_lab.cli.app import main; sys.argv[0] = 'symbio'; main()"
MARKET = ("market", "serve", "--port", "0", "--dir")


class Served:
    """One run of the program."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-c", PROGRAM, *MARKET, str(folder), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def variables(self, number: int) -> dict[str, str]:
        """What it says on standard output when it is ready."""
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline().strip() for _ in range(number)]
        assert all(lines), self.process.stderr.read() if self.process.stderr else ""
        return dict(line.split("=", 1) for line in lines)

    def end(self, sent: int) -> tuple[int, str, str]:
        self.process.send_signal(sent)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_what_was_published_outlives_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_client(monkeypatch, tmp_path)
    with Served(tmp_path / "hub", "--user", "alice=hf_alice", "--user", "bob", "--org", "lab=alice,bob") as served:
        said = served.variables(3)
        assert set(said) == {"HF_ENDPOINT", "HF_HUB_DISABLE_XET", "HF_TOKEN_bob"}
        assert said["HF_ENDPOINT"].startswith("http://127.0.0.1:")
        bob = HfApi(endpoint=said["HF_ENDPOINT"], token=said["HF_TOKEN_bob"])
        bob.create_repo("lab/travel")
        operations = [CommitOperationAdd("x.safetensors", b"weights" * 1000), CommitOperationAdd("a.json", b"{}")]
        commit = bob.create_commit("lab/travel", operations, commit_message="first").oid
        code, out, err = served.end(signal.SIGINT)
    assert (code, out) == (0, "")
    assert "not for the internet" in err
    assert "hf_" not in err
    assert "Traceback" not in err

    with Served(tmp_path / "hub", "--user", "alice") as served:
        said = served.variables(3)
        api = HfApi(endpoint=said["HF_ENDPOINT"], token=said["HF_TOKEN"])
        assert api.model_info("lab/travel").sha == commit
        path = api.hf_hub_download("lab/travel", "x.safetensors", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == b"weights" * 1000
        api.create_repo("alice/mine")
        served.end(signal.SIGKILL)

    from symbio_lab.testing.loopback_hub import LoopbackHub

    with LoopbackHub(tmp_path / "hub") as hub:
        found = HfApi(endpoint=hub.endpoint, token=False).list_models()
        assert [model.id for model in found] == ["alice/mine", "lab/travel"]


def test_what_cannot_be_served_is_said(symbio: Any, tmp_path: Path) -> None:
    def refused(*options: str) -> str:
        ran = symbio(*MARKET, tmp_path / "hub", *options)
        assert (ran.code, ran.out) == (2, "")
        return str(ran.err)

    assert "not a loopback address" in refused("--host", "0.0.0.0")
    assert "65535" in refused("--port", "70000")
    assert "is no user" in refused("--user", "alice", "--org", "lab=carol")
    assert "shared" in refused("--user", "alice=x", "--user", "bob=x")
    assert not list(tmp_path.glob("hub/*.json"))


def test_users_and_organisations_are_read() -> None:
    users, drawn = read_users(["alice=hf_alice", "bob"])
    assert (users["alice"], drawn) == ("hf_alice", ["bob"])
    assert len(users["bob"]) > 30
    assert read_users(["bob"])[0] != read_users(["bob"])[0]
    with pytest.raises(ConfigError) as caught:
        read_users(["=token", "alice=", "bob", "bob"])
    assert len(caught.value.problems) == 3
    assert "token" not in str(caught.value).lower().replace("name=token", "")
    assert read_orgs(["lab=alice,bob"]) == {"lab": ["alice", "bob"]}
    with pytest.raises(ConfigError):
        read_orgs(["lab="])
