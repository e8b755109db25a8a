"""The test suite itself: nothing leaves this machine, nothing touches the user's state folder."""

from __future__ import annotations

import os
import socket
import urllib.request
from pathlib import Path

import pytest


@pytest.mark.parametrize("host", ["example.org", "192.0.2.1", "2001:db8::1"])
def test_the_network_is_out_of_reach(host: str) -> None:
    with pytest.raises(RuntimeError, match="a test tried to reach"):
        socket.create_connection((host, 80), timeout=1)
    with pytest.raises(RuntimeError, match="a test tried to reach"), socket.socket() as plain:
        plain.connect_ex((host, 80))


def test_a_client_library_is_stopped_too() -> None:
    with pytest.raises(RuntimeError, match="huggingface"):
        urllib.request.urlopen("https://huggingface.co", timeout=1)


def test_loopback_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            client.sendall(b"x")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"x"


def test_libraries_are_told_that_they_are_offline() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_the_state_folder_is_never_the_user_s(tmp_home: Path) -> None:
    assert os.environ["SYMBIO_LAB_HOME"] == str(tmp_home)
    assert list(tmp_home.iterdir()) == []
