"""Keys from the command line: made, handed out, enrolled, rotated and revoked; passphrases are never arguments."""

from __future__ import annotations

import getpass
import inspect
import json
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.cli import market as market_module
from symbio_lab.cli.market_keys import add_keys_commands
from symbio_lab.cli.passphrases import open_signing_key
from symbio_lab.config import Settings
from symbio_lab.errors import DataError
from symbio_lab.trust import key_storage
from symbio_lab.trust.enrolled import enrolled_policy
from symbio_lab.trust.key_ring import KeyRing
from symbio_lab.trust.key_storage import PASSPHRASE_VARIABLE, KdfCost
from symbio_lab.trust.keys import load_or_create_key
from symbio_lab.trust.succession import sign_revocation, sign_succession
from tests.attacks.market_simulator import ALICE, EVE, MALLORY, Market

PHRASE = "correct horse battery"
FOREVER = "2999-01-01T00:00:00Z"
ISSUED = "2026-01-31T12:00:00Z"


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the commands where they are not yet, encrypt cheaply, and let nobody type."""
    groups = list(market_module.market_app.registered_groups)
    monkeypatch.setattr(market_module.market_app, "registered_groups", groups)
    if "keys" not in [group.name for group in groups]:
        add_keys_commands(market_module.market_app)
    monkeypatch.setattr(key_storage, "DEFAULT_COST", KdfCost(ops=1, memory_bytes=8192))
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)


@pytest.fixture
def phrase(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PHRASE)
    return PHRASE


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is typed at the next prompts."""
    typed: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt, stream: typed.pop(0))
    return typed


def policy(home: Path) -> Any:
    return enrolled_policy(Settings(home))


def test_a_new_key_is_encrypted_under_the_typed_passphrase(symbio: Any, tmp_home: Path, typing: list[str]) -> None:
    typing += [PHRASE, PHRASE]
    ran = symbio("market", "keys", "new", "alice")
    assert (ran.code, "encrypted" in ran.out) == (0, True)
    path = tmp_home / "keys" / "alice.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    typing += [PHRASE]
    assert open_signing_key("alice", Settings(tmp_home)).public_hex == ran.out.splitlines()[-1]
    typing += ["wrong passphrase", PHRASE, "another one"]
    assert symbio("market", "keys", "protect", "alice", "--json").json["error"] == "bad_key"
    ran = symbio("market", "keys", "new", "bob", "--json")
    assert (ran.code, ran.json["error"]) == (2, "bad_data")
    assert "differ" in ran.json["message"]
    assert not (tmp_home / "keys" / "bob.json").exists()


def test_without_a_terminal_the_environment_is_asked(symbio: Any, tmp_home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    ran = symbio("market", "keys", "new", "alice")
    assert ran.code == 2
    assert PASSPHRASE_VARIABLE in ran.err
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "short")
    assert "at least 8" in symbio("market", "keys", "new", "alice").err
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PHRASE)
    assert symbio("market", "keys", "new", "alice").code == 0
    assert open_signing_key("alice", Settings(tmp_home)).keyid


def test_no_command_takes_a_passphrase_as_an_argument(symbio: Any) -> None:
    commands = next(g for g in market_module.market_app.registered_groups if g.name == "keys").typer_instance
    assert commands is not None
    taken = {
        name for command in commands.registered_commands for name in inspect.signature(command.callback).parameters
    }
    assert {name for name in taken if "phrase" in name} == {"no_passphrase"}
    assert symbio("market", "keys", "new", "alice", "--passphrase", PHRASE).code == 2


def test_the_list_says_which_keys_are_not_encrypted(symbio: Any, tmp_home: Path, phrase: str) -> None:
    own = load_or_create_key(tmp_home / "keys" / "own.json")
    symbio("market", "keys", "new", "alice")
    symbio("market", "keys", "enrol", EVE.public_hex, "--name", "Eve", "--known", "--namespace", "eve")
    ran = symbio("market", "keys", "list")
    assert re.search(r"^own +[0-9a-f]{64} +NOT ENCRYPTED +in use$", ran.out, re.MULTILINE)
    assert re.search(r"^alice +[0-9a-f]{64} +encrypted +in use$", ran.out, re.MULTILINE)
    assert "not encrypted: own;" in ran.err
    listed = symbio("market", "keys", "list", "--json").json
    assert {key["name"]: key["protection"] for key in listed["own"]} == {"own": "none", "alice": "passphrase"}
    eve = next(key for key in listed["counted"] if key["keyid"] == EVE.keyid)
    assert (eve["known"], eve["namespaces"], eve["revoked"], eve["trusted"]) == (True, ["eve"], False, False)
    assert own.seed.hex() not in ran.out
    symbio("market", "keys", "protect", "own")
    assert "not encrypted" not in symbio("market", "keys", "list").err
    assert own.seed.hex() not in (tmp_home / "keys" / "own.json").read_text()


def test_a_card_goes_from_one_installation_to_another(symbio: Any, tmp_home: Path, tmp_path: Path) -> None:
    made = symbio("market", "keys", "new", "alice", "--no-passphrase", "--json").json
    ran = symbio("market", "keys", "export", "alice", "--out", tmp_path / "alice-card.json")
    assert ran.out.splitlines()[-1] == made["public_hex"]
    card = json.loads((tmp_path / "alice-card.json").read_text())
    assert card == symbio("market", "keys", "export", "alice", "--json").json
    assert set(card) == {"schema", "kind", "name", "keytype", "public_key", "keyid"}
    elsewhere = tmp_path / "elsewhere"
    where = ("--home", elsewhere, "market", "keys")
    told = symbio(*where, "enrol", tmp_path / "alice-card.json", "--name", "Alice", "--known", "--trusted", "--json")
    assert told.json["keyid"] == made["keyid"]
    assert policy(elsewhere).trusted == {made["keyid"]}
    assert policy(elsewhere).keys[made["keyid"]].known


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{}", "bad_data"),
        ("no JSON", "bad_data"),
        (json.dumps({"schema": 1, "kind": "symbio-key-card", "public_key": "00" * 32, "keyid": "0"}), "bad_key"),
        (
            json.dumps(
                {"schema": 1, "kind": "symbio-key-card", "public_key": ALICE.public_hex, "keyid": MALLORY.keyid}
            ),
            "bad_key",
        ),
    ],
)
def test_cards_that_are_none(symbio: Any, tmp_home: Path, tmp_path: Path, content: str, error: str) -> None:
    (tmp_path / "card.json").write_text(content)
    ran = symbio("market", "keys", "enrol", tmp_path / "card.json", "--name", "x", "--json")
    assert ran.json["error"] == error
    assert not (tmp_home / "keys").exists()


def test_what_cannot_be_enrolled(symbio: Any, tmp_home: Path) -> None:
    enrol = ("market", "keys", "enrol")
    assert symbio(*enrol, "absent.json", "--name", "x", "--json").json["error"] == "not_found"
    assert symbio(*enrol, "00" * 32, "--name", "x", "--json").json["error"] == "bad_key"
    assert symbio(*enrol, ALICE.public_hex.upper(), "--name", "x", "--json").json["error"] == "bad_key"
    unsafe = symbio(*enrol, ALICE.public_hex, "--name", "x", "--namespace", "../up", "--json")
    assert unsafe.json["error"] == "unsafe_name"
    nobody = symbio(*enrol, ALICE.public_hex, "--name", "x", "--successor-of", "f" * 64, "--json")
    assert nobody.json["error"] == "not_found"
    assert not (tmp_home / "keys").exists()


def test_a_rotation_is_handed_over_with_rights_and_names(
    symbio: Any, tmp_home: Path, tmp_path: Path, phrase: str
) -> None:
    elsewhere = ("--home", tmp_path / "elsewhere", "market", "keys")
    made = symbio("market", "keys", "new", "alice", "--json").json
    symbio(*elsewhere, "enrol", made["public_hex"], "--name", "Alice", "--namespace", "alice", "--known")
    done = symbio("market", "keys", "rotate", "alice", "--json")
    assert (done.code, done.json["old"]) == (0, made["keyid"])
    told = symbio(*elsewhere, "accept", done.json["statement"])
    assert (told.code, done.json["new"] in told.out) == (0, True)
    rules = policy(tmp_path / "elsewhere")
    assert rules.keys[done.json["new"]].namespaces == ("alice",)
    assert rules.descends(made["keyid"], done.json["new"])
    # Afterwards the old key can be revoked by itself, and the successor stays.
    gone = symbio("market", "keys", "revoke", made["keyid"], "--reason", "replaced", "--json")
    assert symbio(*elsewhere, "accept", gone.json["statement"]).code == 0
    rules = policy(tmp_path / "elsewhere")
    assert (rules.revoked, set(rules.evaluators)) == ({made["keyid"]}, {done.json["new"]})
    own = policy(tmp_home)
    assert own.revoked == {made["keyid"]}
    assert own.descends(made["keyid"], done.json["new"])


def test_a_rotation_after_the_revocation_is_a_decision_for_everybody(
    symbio: Any, tmp_home: Path, tmp_path: Path, phrase: str
) -> None:
    elsewhere = ("--home", tmp_path / "elsewhere", "market", "keys")
    made = symbio("market", "keys", "new", "alice", "--json").json
    symbio(*elsewhere, "enrol", made["public_hex"], "--name", "Alice", "--namespace", "alice")
    gone = symbio("market", "keys", "revoke", "alice", "--reason", "stolen", "--json").json
    assert symbio(*elsewhere, "accept", gone["statement"], "--json").json["keyid"] == made["keyid"]
    done = symbio("market", "keys", "rotate", "alice", "--json")
    assert "--successor-of" in done.err
    assert policy(tmp_home).descends(made["keyid"], done.json["new"])
    refused = symbio(*elsewhere, "accept", done.json["statement"], "--json")
    assert (refused.code, refused.json["error"]) == (3, "revoked_key")
    new_hex = KeyRing(tmp_home / "keys").find("alice").public_hex
    by_hand = ("enrol", new_hex, "--name", "Alice, new", "--successor-of", made["keyid"])
    assert symbio(*elsewhere, *by_hand, "--json").json["succeeds"] == made["keyid"]
    assert policy(tmp_path / "elsewhere").keys[done.json["new"]].namespaces == ("alice",)
    twice = ("enrol", EVE.public_hex, "--name", "Thief", "--successor-of", made["keyid"], "--json")
    assert symbio(*elsewhere, *twice).json["error"] == "name_taken"


def test_revoking_a_key_of_others_takes_its_patches_off(symbio: Any, tmp_home: Path, tmp_path: Path) -> None:
    market = Market(tmp_path / "stranger")
    market.publish(expires=FOREVER)
    symbio("market", "keys", "enrol", ALICE.public_hex, "--name", "Alice")
    gone = symbio("market", "keys", "revoke", "Alice", "--reason", "heard of it")
    assert (gone.code, gone.out) == (0, f"revoked {ALICE.keyid}\n")
    assert policy(tmp_home).revoked == {ALICE.keyid}
    later = symbio("market", "keys", "revoke", EVE.keyid, "--reason", "never enrolled", "--json")
    assert (later.json["keyid"], later.json["statement"]) == (EVE.keyid, None)
    assert symbio("market", "keys", "revoke", "Nobody", "--reason", "x", "--json").json["error"] == "not_found"


def test_a_trusted_key_revokes_for_others(symbio: Any, tmp_home: Path, tmp_path: Path, phrase: str) -> None:
    elsewhere = ("--home", tmp_path / "elsewhere", "market", "keys")
    boss = symbio("market", "keys", "new", "boss", "--json").json
    gone = symbio("market", "keys", "revoke", ALICE.keyid, "--reason", "stolen", "--signed-by", "boss", "--json").json
    assert symbio(*elsewhere, "accept", gone["statement"], "--json").json["error"] == "unknown_key"
    symbio(*elsewhere, "enrol", boss["public_hex"], "--name", "Boss", "--trusted")
    assert symbio(*elsewhere, "accept", gone["statement"]).code == 0
    assert policy(tmp_path / "elsewhere").revoked == {ALICE.keyid}


def test_a_stolen_key_stops_counting_even_if_its_passphrase_is_forgotten(
    symbio: Any, tmp_home: Path, phrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = symbio("market", "keys", "new", "alice", "--json").json
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "not the passphrase")
    ran = symbio("market", "keys", "revoke", "alice", "--reason", "stolen", "--json")
    assert (ran.code, ran.json["error"]) == (3, "bad_key")
    assert policy(tmp_home).revoked == {made["keyid"]}


def test_statements_that_are_none(symbio: Any, tmp_home: Path, tmp_path: Path) -> None:
    accept = ("market", "keys", "accept")
    assert symbio(*accept, "absent.json", "--json").json["error"] == "not_found"
    (tmp_path / "x.json").write_bytes(b"x" * (1 << 20))
    assert symbio(*accept, tmp_path / "x.json", "--json").json["error"] == "bad_envelope"
    (tmp_path / "y.json").write_bytes(sign_succession(ALICE, EVE, issued=ISSUED))
    assert symbio(*accept, tmp_path / "y.json", "--json").json["error"] == "unknown_key"
    (tmp_path / "z.json").write_bytes(sign_revocation(ALICE.keyid, ALICE, reason="mine", issued=ISSUED))
    assert "mine" in symbio(*accept, tmp_path / "z.json").out


def test_names_and_options_that_exclude_each_other(symbio: Any, tmp_home: Path, phrase: str) -> None:
    both = symbio("market", "keys", "new", "alice", "--keyring", "--no-passphrase", "--json")
    assert (both.code, both.json["error"]) == (2, "bad_config")
    assert symbio("market", "keys", "new", "../x", "--json").json["error"] == "bad_data"
    symbio("market", "keys", "new", "alice")
    assert symbio("market", "keys", "new", "alice", "--json").json["error"] == "bad_data"
    for command in ("export", "rotate", "protect"):
        assert symbio("market", "keys", command, "absent", "--json").json["error"] == "not_found"
    with pytest.raises(DataError):
        open_signing_key("A", Settings(tmp_home))
