"""A stored data folder in miniature, and the real one where it exists."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.failures import data_root

Writer = Callable[[str, list[dict[str, Any]]], Path]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Return a function that stores rows as ``name/file.jsonl.gz`` in a data folder of this test and lists them."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("SYMBIO_LAB_DATA", str(root))

    def write(relative: str, rows: list[dict[str, Any]]) -> Path:
        path = root / relative
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))
        listed = root / "MANIFEST.json"
        manifest = json.loads(listed.read_text()) if listed.exists() else {}
        manifest[relative] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "rows": len(rows)}
        listed.write_text(json.dumps(manifest))
        return path

    return write


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a machine without stored datasets."""
    for module in ("loading", "locating"):
        monkeypatch.setattr(f"symbio_lab.failures.{module}.data_root", lambda: None)


@pytest.fixture
def real_data() -> Path:
    """Return the real stored datasets; skip loudly without them."""
    root = data_root()
    if root is None:
        pytest.skip("NOT CHECKED against the real files: no stored datasets here (set SYMBIO_LAB_DATA)")
    return root
