"""Files of a stranger's folder are read whole, bounded by what they hold and by what the reader allows."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import TrustError
from symbio_lab.trust.folder_reading import read_file


def code(folder: Path, name: str, max_bytes: int) -> str:
    with pytest.raises(TrustError) as refused:
        read_file(folder, name, max_bytes)
    return refused.value.code


def test_a_file_up_to_the_bound_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"12345")
    assert read_file(tmp_path, "x.bin", 5) == b"12345"
    assert code(tmp_path, "x.bin", 4) == "too_large"
    assert code(tmp_path, "y.bin", 5) == "missing_file"
    (tmp_path / "empty").touch()
    assert read_file(tmp_path, "empty", 0) == b""


def test_a_generous_bound_costs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"12345")
    tracemalloc.start()
    try:
        read_file(tmp_path, "x.bin", 1 << 30)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"12345")
    look = os.fstat

    def grow(number: int) -> Any:
        status = look(number)
        path.write_bytes(b"12345678")
        return status

    monkeypatch.setattr(os, "fstat", grow)
    assert code(tmp_path, "x.bin", 1 << 20) == "too_large"
