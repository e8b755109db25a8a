"""``symbio market sync`` and ``symbio market catalogue``, run in this process on a market of the test's own."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from symbio_lab.cli import catalogue_access
from tests.attacks.market_simulator import ALICE, BASE, EVE, Market
from tests.unit.cli.conftest import Symbio
from tests.unit.marketplace.catalogue_market import letters

LASTING = {"issued": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z"}


class Letters:
    digest = "letters"

    def __call__(self, texts: list[str]) -> np.ndarray:
        return letters(list(texts))


@pytest.fixture
def market(tmp_path: Path, symbio: Symbio, monkeypatch: pytest.MonkeyPatch) -> Market:
    monkeypatch.setattr(catalogue_access, "_embedder", Letters)
    market = Market(tmp_path / "away")
    market.publish(**LASTING)
    market.publish(patch_id="alice/pizza", scope="order pizza", labels=("order_pizza",), domain="food", **LASTING)
    market.publish(patch_id="eve/stranger", key=EVE, **LASTING)
    assert symbio("market", "enrol", ALICE.public_hex, "--name", "alice").code == 0
    return market


def test_sync_search_status_and_verify(symbio: Symbio, market: Market) -> None:
    uri = market.transport.uri
    (report,) = symbio("market", "sync", "--market", uri, "--json").json["markets"]
    assert (report["num_read"], report["num_accepted"], report["num_refused"]) == (3, 2, 1)
    # From now on the catalogue knows the market.
    (report,) = symbio("market", "sync", "--json").json["markets"]
    assert (report["market"], report["num_read"]) == (uri, 0)
    shutil.rmtree(market.transport.path)
    rows = symbio("market", "catalogue", "search", "order a pizza", "--base", BASE, "--json").json
    assert [(row["id"], row["problem"]) for row in rows] == [
        ("alice/pizza", None),
        ("alice/travel", None),
        ("eve/stranger", "unknown_key"),
    ]
    assert "by meaning" in rows[0]["reason"]
    arguments = ("--label", "order_pizza", "--require-labels", "--market", uri, "--json")
    assert [r["id"] for r in symbio("market", "catalogue", "search", "food", *arguments).json] == ["alice/pizza"]
    status = symbio("market", "catalogue", "status", "--json").json
    assert status["markets"][0]["problems"] == {"unknown_key": 1}
    assert status["vectors"] == [{"embedder": "letters", "num_dims": 64, "held": 2, "accepted": 2}]
    assert symbio("market", "catalogue", "verify", "--json").json == {"num_checked": 2, "damaged": []}


def test_people_read_tables(symbio: Symbio, market: Market) -> None:
    ran = symbio("market", "sync", "--market", market.transport.uri)
    assert ran.out.splitlines()[0].split() == [
        "market",
        "offered",
        "read",
        "removed",
        "judged",
        "again",
        "accepted",
        "refused",
    ]
    assert "alice/pizza" in symbio("market", "catalogue", "search", "pizza").out
    assert "unknown_key 1" in symbio("market", "catalogue", "status").out
    assert symbio("market", "catalogue", "verify").out == "2 checked, 0 do not hold\n"
    nothing = symbio("market", "catalogue", "search", "pizza", "--base", "f" * 64)
    assert (nothing.code, "nothing found" in nothing.out) == (0, True)


def test_a_revoked_key_is_refused_at_once(symbio: Symbio, market: Market) -> None:
    symbio("market", "sync", "--market", market.transport.uri)
    keyid = ALICE.keyid
    assert symbio("market", "keys", "revoke", keyid, "--reason", "lost", "--json").code == 0
    rows = symbio("market", "catalogue", "search", "pizza", "--json").json
    assert {row["problem"] for row in rows} == {"revoked_key", "unknown_key"}


def test_a_damaged_row_is_reported_and_mended(symbio: Symbio, market: Market, tmp_home: Path) -> None:
    symbio("market", "sync", "--market", market.transport.uri)
    with sqlite3.connect(tmp_home / "catalogue.db") as connection:
        connection.execute("UPDATE cards SET words = 'heals everything' WHERE words LIKE '%pizza%'")
    connection.close()
    ran = symbio("market", "catalogue", "verify")
    assert (ran.code, "damaged  alice/pizza" in ran.out) == (3, True)
    assert symbio("market", "sync").code == 0
    assert symbio("market", "catalogue", "verify").code == 0
    assert symbio("market", "catalogue", "search", "pizza", "--json").json[0]["id"] == "alice/pizza"


def test_without_an_encoder_a_note_says_so(symbio: Symbio, market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_access, "_embedder", lambda: None)
    ran = symbio("market", "sync", "--market", market.transport.uri)
    assert "words only" in ran.err
    assert "no embedder" in symbio("market", "catalogue", "search", "pizza", "--json").json[0]["reason"]


def test_wrong_arguments_are_named_together(symbio: Symbio, market: Market) -> None:
    assert symbio("market", "catalogue", "status").code != 0
    ran = symbio(
        "market",
        "catalogue",
        "search",
        "x",
        "--base",
        "abc",
        "--task",
        "t",
        "--max-results",
        "0",
        "--min-score",
        "2",
        "--require-labels",
    )
    for option in ("--base", "--task", "--max-results", "--min-score", "--require-labels"):
        assert option in ran.err
    assert symbio("market", "sync", "--readers", "0").code != 0
    symbio("market", "sync", "--market", market.transport.uri)
    other = symbio("market", "catalogue", "search", "x", "--market", "elsewhere")
    assert (other.code != 0, "was not synced" in other.err) == (True, True)
