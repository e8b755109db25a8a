"""The loopback Hub, and a client library that is allowed to reach it: import ``hub`` into a test module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from symbio_lab.testing.loopback_hub import LoopbackHub

TOKENS = {"alice": "hf_alice", "bob": "hf_bob"}


def open_client(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the client library send requests, without a token or an endpoint of this machine's user."""
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        patch.delenv(name, raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """Return a running Hub with alice, bob and alice's organisation ``lab``."""
    open_client(monkeypatch, tmp_path)
    with LoopbackHub(tmp_path / "hub", users=TOKENS, orgs={"lab": ["alice"]}) as running:
        yield running
