"""A loopback Hub for a test, and the client library told to ask it: no offline mode, no Xet, no waits between tries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from symbio_lab.testing.loopback_hub import LoopbackHub

HUB_TOKENS = {"alice": "hf_alice", "bob": "hf_bob"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub with the users alice and bob, and the organisation lab, to which alice belongs."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with LoopbackHub(tmp_path / "hub", users=HUB_TOKENS, orgs={"lab": ["alice"]}) as running:
        yield running
