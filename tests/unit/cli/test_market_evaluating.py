"""Evaluating, rating and vouching from the command line: what is asked is checked before anything is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.cli.evaluation_data import SuiteRequest, known_suites, remember_suite
from symbio_lab.cli.evaluation_runs import offer_statement
from symbio_lab.cli.market_access import Market as Opened
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, DataError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.transport import CommitTransport, Offered
from symbio_lab.records import PatchManifest, Sample
from symbio_lab.trust.evaluation_statement import EvaluationStatement, sign_evaluation
from symbio_lab.trust.keys import PublicKey
from tests.attacks.market_simulator import ALICE, BASE, EVE, Market

FOREVER = "2999-01-01T00:00:00Z"


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """A market with one good patch by ALICE."""
    made = Market(tmp_path / "stranger")
    made.publish(expires=FOREVER)
    return made


def where(market: Market) -> tuple[object, ...]:
    return ("--market", market.transport.path, "--accept-key", ALICE.public_hex)


def said(digest: str, **changes: Any) -> bytes:
    honest = EvaluationStatement(
        "alice/travel", digest, EVE.keyid, BASE, "a" * 64, 100, 1, 2, "2026-03-01T00:00:00Z", {"slice": "e" * 64}
    )
    return sign_evaluation(replace(honest, **changes), EVE)


@pytest.mark.parametrize(
    ("arguments", "num_problems"),
    [
        (["--suite", "helpdesk", "--model", "m", "--slice", "a=b", "--task", "text_classification"], 3),
        (["--suite", "helpdesk", "--seed", "-1", "--world-seed", "-1"], 2),
        (["--suite", "data.csv", "--model", "m", "--slice", "nonsense", "--world-seed", "3"], 2),
    ],
)
def test_what_contradicts_itself_is_told_at_once(
    symbio: Any, market: Market, arguments: list[str], num_problems: int
) -> None:
    ran = symbio("market", "evaluate", "alice/travel", *where(market), *arguments, "--json")
    assert (ran.code, ran.json["error"], len(ran.json["problems"])) == (2, "bad_config", num_problems)


def test_a_suite_that_is_nothing_is_named_with_what_there_is(symbio: Any, market: Market, tmp_path: Path) -> None:
    ran = symbio("market", "evaluate", "alice/travel", *where(market), "--suite", "helpdsk", "--json")
    assert (ran.code, ran.json["error"]) == (2, "unknown_dataset")
    assert "helpdesk" in ran.json["hint"]
    table = tmp_path / "data.csv"
    table.write_text("text,label\n")
    ran = symbio("market", "evaluate", "alice/travel", *where(market), "--suite", table, "--json")
    assert "needs --model" in ran.json["problems"][0]


def test_only_what_passes_the_policy_is_run(symbio: Any, market: Market) -> None:
    asked = ("market", "evaluate", "alice/travel", "--suite", "helpdesk", "--market", market.transport.path, "--json")
    assert (symbio(*asked).code, symbio(*asked).json["error"]) == (3, "unknown_key")
    missing = symbio("market", "evaluate", "no/body", *where(market), "--suite", "helpdesk", "--json")
    assert (missing.code, missing.json["error"]) == (2, "not_found")
    no_key = symbio(*asked[:-1], "--accept-key", ALICE.public_hex, "--key", "missing", "--json")
    assert (no_key.code, no_key.json["error"]) == (2, "not_found")


def test_ratings_of_what_nobody_rated(symbio: Any, market: Market) -> None:
    (row,) = symbio("market", "ratings", *where(market), "--json").json
    assert (row["ref"], row["lower"], row["share"], row["n"]) == ("alice/travel@1", 0.0, None, 0)
    table = symbio("market", "ratings", *where(market))
    assert table.out.split()[:8] == ["id", "rating", "share", "weight", "n", "vouchers", "confirmed", "disputed"]
    assert symbio("market", "ratings", "alice/travel", *where(market), "--json").json == [row]
    # What the policy refuses is not rated.
    assert symbio("market", "ratings", "--market", market.transport.path, "--json").json == []
    assert symbio("market", "rate", "alice/travel", "--market", market.transport.path, "--json").code == 3
    unknown = symbio("market", "ratings", *where(market), "--suite", "nowhere", "--json")
    assert (unknown.code, unknown.json["error"]) == (2, "unknown_dataset")


def test_a_vote_is_shown_with_why_it_does_not_count(symbio: Any, market: Market) -> None:
    digest = market.client().indices[0].entries[0].digest
    market.transport.publish_evaluation(digest, said(digest))
    ran = symbio("market", "rate", "alice/travel", *where(market))
    assert (ran.code, "not read as votes: unknown_key" in ran.err) == (0, True)
    symbio("market", "voucher", "new", EVE.public_hex, "--name", "Eve", "--market", market.transport.path)
    ran = symbio("market", "rate", "alice/travel", *where(market))
    assert "text only: its suite is not known here" in ran.out


def test_vouching_and_listing(symbio: Any, tmp_path: Path, tmp_home: Path) -> None:
    market = tmp_path / "new-market"
    made = symbio(
        "market", "voucher", "new", EVE.public_hex, "--name", "Eve", "--depth", "1", "--market", market, "--json"
    )
    assert made.code == 0
    assert (made.json["rater"], made.json["depth"], made.json["pull_request"]) == (EVE.keyid, 1, None)
    assert len(DirectoryTransport(market).read_evaluations(EVE.keyid)) == 1
    for who in (EVE.keyid, EVE.public_hex):
        (row,) = symbio("market", "voucher", "list", who, "--market", market, "--json").json
        assert (row["name"], row["issuer_name"], row["counts"]) == ("Eve", "this installation", True)
    text = symbio("market", "voucher", "list", EVE.keyid, "--market", market).out
    assert "yes" in text
    assert symbio("market", "voucher", "list", "nobody-here", "--market", market).code == 2


def test_a_named_key_vouches(symbio: Any, tmp_path: Path) -> None:
    symbio("market", "keys", "new", "lab", "--no-passphrase")
    market = tmp_path / "m"
    asked = ("market", "voucher", "new", EVE.public_hex, "--name", "Eve", "--market", market, "--key", "lab", "--json")
    made = symbio(*asked).json
    keyid = symbio("market", "keys", "export", "lab", "--json").json["keyid"]
    assert made["issuer"] == keyid


@pytest.mark.parametrize("flags", [("--depth", "3"), ("--days", "-1"), ("--days", "100000")])
def test_impossible_vouchers(symbio: Any, tmp_path: Path, flags: tuple[str, str]) -> None:
    asked = ("market", "voucher", "new", EVE.public_hex, "--name", "Eve", "--market", tmp_path / "m")
    ran = symbio(*asked, *flags, "--json")
    assert (ran.code, ran.json["error"]) == (2, "bad_config")
    assert not (tmp_path / "m").exists()


def test_nobody_vouches_for_himself(symbio: Any, tmp_path: Path, tmp_home: Path) -> None:
    symbio("market", "voucher", "new", EVE.public_hex, "--name", "Eve", "--market", tmp_path / "m")
    own = symbio("market", "keys", "export", "own", "--json").json["public_key"]
    ran = symbio("market", "voucher", "new", own, "--name", "me", "--market", tmp_path / "m", "--json")
    assert (ran.code, ran.json["error"]) == (3, "bad_manifest")


class Proposing(DirectoryTransport):
    """A market in which we may not write, only propose."""

    def offer(self, folder: Path, ref: str, *, pull_request: bool = False) -> Offered:
        raise NotImplementedError

    def front_matter(self, manifest: PatchManifest) -> str:
        raise NotImplementedError

    def page(self, ref: str) -> str:
        raise NotImplementedError

    def offer_evaluation(self, digest: str, data: bytes) -> Offered:
        return Offered(pull_request=f"https://hub/{digest[:4]}/discussions/1")


def test_where_we_may_not_write_a_statement_is_proposed(market: Market, tmp_path: Path) -> None:
    transport = Proposing(tmp_path / "hub")
    assert isinstance(transport, CommitTransport)
    opened = Opened(transport, market.policy, tmp_path / "seen", None)
    assert offer_statement(opened, EVE.keyid, b"{}") == f"https://hub/{EVE.keyid[:4]}/discussions/1"
    assert transport.read_evaluations(EVE.keyid) == []
    assert offer_statement(replace(opened, transport=market.transport), PublicKey(EVE.public_hex).keyid, b"{}") == ""
    assert market.transport.read_evaluations(EVE.keyid) == [b"{}"]


def test_suites_are_remembered_and_a_damaged_note_is_named(tmp_path: Path) -> None:
    from symbio_lab.advice.claims import EvaluationSuite

    settings = Settings(home=tmp_path)
    suite = EvaluationSuite("mine", (Sample("a", "x", "g"),), ())
    assert known_suites(settings) == {}
    remember_suite(settings, suite, {"suite": "mine"})
    remember_suite(settings, suite, {"suite": "mine"})
    assert known_suites(settings) == {suite.digest: "mine"}
    (tmp_path / "suites" / f"{suite.digest}.json").write_text("[]")
    with pytest.raises(DataError, match="not the note of a suite"):
        known_suites(settings)


def test_a_request_alone() -> None:
    SuiteRequest("helpdesk").check()
    with pytest.raises(ConfigError):
        SuiteRequest("helpdesk", group_field="x").check()
