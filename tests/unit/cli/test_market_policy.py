"""Policies from the command line: said in words, all problems at once, and every ruling on a patch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.cli import market as market_module
from symbio_lab.cli.market_policy import add_policy_commands
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.policy_words import doubts_about, loosened
from tests.attacks.market_simulator import ALICE, EVE, MALLORY, Market, standard_policy

FOREVER = "2999-01-01T00:00:00Z"
EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "trust-policy.yaml"


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the commands where they are not yet."""
    groups = list(market_module.market_app.registered_groups)
    monkeypatch.setattr(market_module.market_app, "registered_groups", groups)
    if "policy" not in [group.name for group in groups]:
        add_policy_commands(market_module.market_app)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"version: 1\ndefault:\n  publishers: [{{name: Alice, key: {ALICE.public_hex}, known: true}}]\n"
        "  licences: [Apache-2.0]\ntenants:\n  strict: {min_level: trusted, max_rank: 1, licences: [MIT]}\n"
        "  loose: {check_expiry: false}\n"
    )
    return path


def test_the_example_is_said_in_words(symbio: Any) -> None:
    ran = symbio("market", "policy", "check", EXAMPLE)
    assert (ran.code, ran.err) == (0, "")
    for words in (
        "accepts patches from level 'known_publisher' on",
        "under licence CC-BY-NC-4.0 from level 'trusted' on",
        "allows the licences Apache-2.0, CC-BY-4.0, CC-BY-NC-4.0, MIT",
        "publisher Our own research group",
        "REVOKED, succeeded by",
        "issued more than 730 days ago",
        "lets nobody imitate our-group, partner-lab/travel-intents",
        "ranks above 64",
        "tenants with rules of their own: clinic, playground",
    ):
        assert words in ran.out
    told = symbio("market", "policy", "check", EXAMPLE, "--tenant", "playground", "--json").json
    assert "looser than the default: min_level" in told["doubts"]
    assert "looser than the default: check_lookalikes" in told["doubts"]


def test_all_problems_are_told(symbio: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\ndefault: {max_rank: 0}\ntenants: {acme: {min_level: high}}\n")
    ran = symbio("market", "policy", "check", tmp_path / "bad.yaml")
    assert ran.code == 2
    assert "default.max_rank: " in ran.err
    assert "tenants.acme.min_level: " in ran.err
    assert symbio("market", "policy", "check", tmp_path / "none.yaml", "--json").json["error"] == "storage"


def test_doubts_go_to_stderr(symbio: Any, file: Path) -> None:
    ran = symbio("market", "policy", "check", file, "--tenant", "strict")
    assert "note: level 'trusted' is asked for and no key is trusted" in ran.err
    assert "does not name the tenant 'x'" in symbio("market", "policy", "check", file, "--tenant", "x").err


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (TrustPolicy(), "no key is listed"),
        (standard_policy(min_signatures=3), "nothing is accepted"),
        (standard_policy(min_level="trusted", trusted=frozenset({ALICE.keyid}), revoked=frozenset({ALICE.keyid})),
         "no key is trusted"),
        (standard_policy(licence_levels={"MIT": "evaluated"}, min_evaluators=2), "1 of 2 evaluators"),
        (standard_policy(min_level="unverified"), "no more than 'signed'"),
        (standard_policy(max_file_bytes=2, max_total_bytes=1), "max_total_bytes"),
    ],
)  # fmt: skip
def test_what_may_be_meant_otherwise(policy: TrustPolicy, words: str) -> None:
    assert any(words in doubt for doubt in doubts_about(policy))
    assert not list(doubts_about(standard_policy()))


def test_what_is_looser() -> None:
    tight = TrustPolicy(
        min_level="evaluated",
        min_signatures=2,
        min_evaluators=2,
        licences=frozenset({"MIT"}),
        licence_levels={"MIT": "trusted"},
        max_age_days=10,
        max_rank=4,
        max_file_bytes=10,
        max_total_bytes=10,
        refuse_disputed=True,
        check_lookalikes=True,
    )
    assert list(loosened(tight, tight)) == []
    assert list(loosened(TrustPolicy(), tight)) == []
    assert sorted(loosened(tight, TrustPolicy(check_expiry=False))) == [
        "check_expiry", "check_lookalikes", "licence_rules", "licences", "max_age_days", "max_file_bytes", "max_rank",
        "max_total_bytes", "min_evaluators", "min_level", "min_signatures", "refuse_disputed",
    ]  # fmt: skip


def test_explaining_tells_every_rule_in_order(symbio: Any, tmp_path: Path, file: Path) -> None:
    market = Market(tmp_path / "market")
    folder = market.publish(expires=FOREVER)
    ran = symbio("market", "policy", "explain", folder, "--policy", file)
    assert (ran.code, "accepted, level known_publisher: alice/travel@1" in ran.out) == (0, True)
    told = symbio("market", "policy", "explain", folder, "--policy", file, "--tenant", "strict", "--json")
    assert (told.code, told.json["code"], told.json["level"]) == (3, "level_too_low", "known_publisher")
    rulings = {row["rule"]: row["code"] for row in told.json["rules"]}
    assert {rule: code for rule, code in rulings.items() if code} == {
        "level": "level_too_low",
        "licence": "licence",
        "sizes": "too_large",
    }
    assert list(rulings)[:2] == ["signature", "schema"]
    assert list(rulings)[-1] == "files"
    base = symbio("market", "policy", "explain", folder, "--policy", file, "--base", "c" * 64)
    assert "wrong_base" in base.out


def test_explaining_a_stranger_a_stored_patch_and_nothing(
    symbio: Any, tmp_home: Path, tmp_path: Path, file: Path
) -> None:
    market = Market(tmp_path / "market")
    stranger = market.publish(expires=FOREVER, key=EVE)
    explain = ("market", "policy", "explain")
    told = symbio(*explain, stranger, "--policy", file, "--json").json
    assert told["code"] == "unknown_key"
    assert [row["rule"] for row in told["rules"] if not row["judged"]][:3] == ["signer", "namespace", "name"]
    assert "not judged" in symbio(*explain, stranger, "--policy", file).out
    (stranger / ENVELOPE_NAME).unlink()
    assert symbio(*explain, stranger, "--policy", file, "--json").json["code"] == "unsigned"
    shutil.rmtree(stranger)
    market.store = tmp_home / "patches"
    patch = market.verify(market.publish(expires=FOREVER))
    assert symbio(*explain, patch.digest, "--policy", file).code == 0
    assert symbio(*explain, "nothing", "--policy", file, "--json").json["error"] == "not_found"


def test_evaluations_of_the_market_count(symbio: Any, tmp_path: Path) -> None:
    from tests.attacks.test_key_attacks import BOB, evaluate

    market = Market(tmp_path / "market")
    folder = market.publish(expires=FOREVER, key=MALLORY)
    evaluate(market, folder, BOB, 90)
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"version: 1\ndefault:\n  min_level: evaluated\n  publishers:\n    - {{name: M, key: {MALLORY.public_hex}}}\n"
        f"    - {{name: B, key: {BOB.public_hex}, known: true}}\n"
    )
    told = symbio("market", "policy", "explain", folder, "--policy", path, "--json").json
    assert (told["code"], told["level"]) == ("", "evaluated")
    alone = shutil.copytree(folder, tmp_path / "alone")
    assert symbio("market", "policy", "explain", alone, "--policy", path, "--json").json["code"] == "level_too_low"
