"""Addresses on a Hub are told apart by their form; endpoints are https or loopback."""

from __future__ import annotations

import pytest

from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.hub_address import (
    PUBLIC_ENDPOINT,
    HubAddress,
    choose_endpoint,
    is_hub_repo,
    parse_hub_address,
)

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("hf://", HubAddress("all")),
        ("hf://alice", HubAddress("owner", "alice")),
        ("HF://alice/", HubAddress("owner", "alice")),
        ("hf://alice/travel-rows.v2", HubAddress("repo", "alice", "travel-rows.v2")),
        (f"hf://alice/travel@{SHA}", HubAddress("repo", "alice", "travel", SHA)),
        ("hf://collections/alice/best-of-0123456789ab", HubAddress("collection", "alice", "best-of-0123456789ab")),
    ],
)
def test_the_five_forms(uri: str, address: HubAddress) -> None:
    assert parse_hub_address(uri) == address
    assert parse_hub_address(address.uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        "hf:///",
        "hf://a/b/c",
        "hf://alice/travel@main",
        "hf://alice/travel@",
        f"hf://alice@{SHA}",
        f"hf://alice/travel@{SHA.upper()}",
        f"hf://alice/travel@{SHA}0",
        "hf://collections",
        "hf://collections/alice",
        "hf://alice/../bob",
        "hf://alice/a--b",
        "hf://alice/x.git",
        "hf://.alice",
        "hf://alice/b c",
        "hf://alice/b?x=1",
        "hf://user:secret@host/x",
        "hf:alice",
        "https://huggingface.co/alice",
    ],
)
def test_what_is_no_address(uri: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_hub_address(uri)
    assert "hf://" in refused.value.hint


def test_what_an_address_covers() -> None:
    assert HubAddress("all").covers("a/b") is True
    assert HubAddress("owner", "alice").covers("alice/b") is True
    assert HubAddress("owner", "alice").covers("alice2/b") is False
    assert HubAddress("repo", "alice", "b").covers("alice/c") is False
    assert HubAddress("collection", "alice", "x").covers("bob/c") is None


def test_the_endpoint_is_given_or_set_or_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert choose_endpoint() == PUBLIC_ENDPOINT
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/")
    assert choose_endpoint() == "https://hub.example.org"
    assert choose_endpoint("http://localhost:8765") == "http://localhost:8765"
    monkeypatch.setenv("HF_ENDPOINT", "")
    assert choose_endpoint() == PUBLIC_ENDPOINT


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://hub.example.org",
        "http://10.0.0.1",
        "http://127.0.0.1.example.org",
        "ftp://127.0.0.1",
        "huggingface.co",
        "https://",
        "https://hub.example.org?x=1",
        "https://hub.example.org:port",
    ],
)
def test_endpoints_that_are_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        choose_endpoint(endpoint)


def test_a_password_in_an_endpoint_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        choose_endpoint("https://me:s3cret@hub.example.org")
    assert "s3cret" not in str(refused.value)


def test_which_names_a_hub_takes() -> None:
    assert is_hub_repo("alice/travel_rows")
    assert not is_hub_repo("alice/travel-")
    assert not is_hub_repo("alice/" + "x" * 95)
