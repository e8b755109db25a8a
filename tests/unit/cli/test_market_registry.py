"""``symbio market registry`` and ``symbio market log``, run in this process on a market of the test's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

pytest.importorskip("tuf")

from symbio_lab.cli import market_access, market_search, market_writing, registry_state
from symbio_lab.cli.app import prepare
from symbio_lab.cli.failing import run_guarded
from symbio_lab.cli.market_registry import add_registry_commands
from symbio_lab.cli.session import utc_now
from symbio_lab.config import Settings
from symbio_lab.errors import TrustError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.registry.layout import hashed_name
from symbio_lab.marketplace.registry.transport import RegisteredTransport
from symbio_lab.trust.checkpoint import LogKey
from symbio_lab.trust.envelope import ENVELOPE_NAME
from tests.attacks.market_simulator import ALICE, MALLORY, Market, deltas
from tests.unit.cli.conftest import Ran

ISSUED = {"issued": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z"}
Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Run:
    app, market = typer.Typer(), typer.Typer()
    app.callback()(prepare)
    add_registry_commands(market)
    app.add_typer(market, name="market")
    monkeypatch.chdir(tmp_path)
    command = typer.main.get_command(app)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        texts = ["market", *map(str, arguments)]
        code = run_guarded(lambda: command.main(args=texts, standalone_mode=False), as_json="--json" in texts)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return call


@pytest.fixture
def market(tmp_path: Path) -> Market:
    market = Market(tmp_path / "here")
    market.publish(**ISSUED)
    return market


@pytest.fixture
def place(market: Market) -> Path:
    return market.transport.path


@pytest.fixture
def kept(run: Run, place: Path) -> Path:
    assert run("registry", "init", "--market", place).code == 0
    assert run("registry", "add", "--market", place, "--key", ALICE.public_hex).code == 0
    return place


def settings_of(home: Path) -> Settings:
    return Settings(home=home)


def other_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on somebody else calls, who has no keys and no memory."""
    monkeypatch.setenv("SYMBIO_LAB_HOME", str(tmp_path / "somebody"))


# ---------------------------------------------------------------------------------------------------- the registry


def test_init_makes_keys_and_a_root_for_clients(run: Run, place: Path, tmp_home: Path) -> None:
    made = run("registry", "init", "--market", place, "--root-keys", 2, "--root-threshold", 2, "--json")
    assert made.code == 0
    root = Path(made.json["root"])
    assert root == place / "registry" / "metadata" / "1.root.json"
    keys = sorted(path.name for path in Path(made.json["keys"]).glob("*.json"))
    assert keys == ["root-1.json", "root-2.json", "snapshot-1.json", "targets-1.json", "timestamp-1.json"]
    assert (Path(made.json["keys"]) / "root-1.json").stat().st_mode & 0o777 == 0o600
    assert json.loads(root.read_bytes())["signed"]["roles"]["root"]["threshold"] == 2
    again = run("registry", "init", "--market", place, "--json")
    assert (again.code, again.json["error"]) == (2, "bad_data")


def test_what_the_policy_refuses_is_not_registered(run: Run, market: Market, kept: Path) -> None:
    market.publish(patch_id="mallory/x", key=MALLORY, **ISSUED)
    market.publish(version=2, deltas=deltas(seed=1), **ISSUED)
    added = run("registry", "add", "--market", kept, "--key", ALICE.public_hex, "--json")
    assert added.code == 0
    assert (added.json["num_added"], added.json["added"]) == (1, ["patches/alice/travel/v2/" + ENVELOPE_NAME])
    assert [(row["ref"], row["code"]) for row in added.json["refused"]] == [("mallory/x@1", "unknown_key")]
    told = run("registry", "add", "--market", kept)
    assert told.out == "registered 0 versions, 1 refused; current is timestamp 3\n"
    assert "not registered, unknown_key: mallory/x@1" in told.err


def test_status(run: Run, kept: Path) -> None:
    shown = run("registry", "status", "--market", kept, "--json").json
    assert (shown["num_patches"], shown["num_versions"], shown["num_revoked"]) == (1, 1, 0)
    roles = {row["role"]: row for row in shown["roles"]}
    assert (roles["root"]["num_keys"], roles["root"]["threshold"]) == (3, 2)
    assert roles["timestamp"]["days_left"] in (6, 7)
    table = run("registry", "status", "--market", kept)
    assert table.out.splitlines()[0].split() == ["role", "version", "expires", "days_left", "num_keys", "threshold"]
    assert table.out.endswith("1 versions of 1 patches in 1 lists; 0 keys revoked\n")


def test_a_client_verifies_with_the_root_that_it_was_given(
    run: Run, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = kept / "registry" / "metadata" / "1.root.json"
    other_home(tmp_path, monkeypatch)
    first = run("registry", "verify", "--market", kept, "--json")
    assert (first.code, first.json["error"]) == (2, "not_found")
    assert "--root FILE" in first.json["hint"]
    verified = run("registry", "verify", "--market", kept, "--root", root, "--json")
    assert verified.code == 0
    assert verified.json["offers"] == [{"ref": "alice/travel@1", "code": "", "detail": ""}]
    again = run("registry", "verify", "--market", kept)
    assert (again.code, again.out) == (0, "ok  alice/travel@1\n")
    another = tmp_path / "another.json"
    another.write_text("{}")
    assert run("registry", "verify", "--market", kept, "--root", another).code == 2
    assert run("registry", "verify", "--market", kept, "--root", tmp_path / "none").code == 2


def test_verify_names_what_differs(run: Run, market: Market, kept: Path) -> None:
    market.publish(version=2, deltas=deltas(seed=1), **ISSUED)
    verified = run("registry", "verify", "--market", kept)
    assert verified.code == 3
    assert "refused unregistered  alice/travel@2" in verified.out
    for path in (kept / "registry" / "metadata").glob("*.targets.json"):
        path.write_text("{}")
    shutil.rmtree(next((Path(registry_state.state_of(str(kept), settings_of_env()).folder)).glob("cache")))
    refused = run("registry", "verify", "--market", kept, "--json")
    assert (refused.code, refused.json["error"]) == (3, "mix_and_match")


def settings_of_env() -> Settings:
    import os

    return Settings(home=Path(os.environ["SYMBIO_LAB_HOME"]))


def test_withdrawing_and_revoking(run: Run, market: Market, kept: Path) -> None:
    market.publish(version=2, deltas=deltas(seed=1), **ISSUED)
    run("registry", "add", "--market", kept, "--key", ALICE.public_hex)
    assert run("registry", "remove", "alice/travel", "--market", kept).code == 2
    removed = run("registry", "remove", "alice/travel@1", "--market", kept)
    assert removed.out == "withdrew 1 versions; current is timestamp 4\n"
    assert run("registry", "remove", "alice/travel@1", "--market", kept).code == 2
    revoked = run("registry", "revoke", ALICE.keyid, "--market", kept, "--reason", "stolen laptop")
    assert revoked.out.startswith(f"revoked {ALICE.keyid}; ")
    assert "before" in run("registry", "revoke", ALICE.keyid, "--market", kept, "--reason", "again").out
    assert run("registry", "revoke", "alice", "--market", kept, "--reason", "x").code == 3
    verified = run("registry", "verify", "--market", kept, "--json")
    assert {row["ref"]: row["code"] for row in verified.json["offers"]} == {
        "alice/travel@1": "unregistered",
        "alice/travel@2": "revoked_key",
    }
    listed = json.loads((kept / "registry" / "targets" / "registry" / "revoked.json").read_bytes())
    assert listed["revoked"][0]["reason"] == "stolen laptop"
    assert hashed_name("registry/revoked.json", "x") == "targets/registry/x.revoked.json"


def test_renewing_needs_no_key_of_the_root(run: Run, kept: Path) -> None:
    keys = Path(registry_state.state_of(str(kept), settings_of_env()).keys)
    for path in keys.glob("root-*.json"):
        path.unlink()
    renewed = run("registry", "renew", "--market", kept, "--json")
    assert (renewed.code, renewed.json["signed"], renewed.json["timestamp_version"]) == (0, ["timestamp"], 3)
    (keys / "timestamp-1.json").unlink()
    lacking = run("registry", "renew", "--market", kept, "--json")
    assert (lacking.code, lacking.json["problems"]) == (2, ["the role timestamp needs 1 of its keys, 0 are here"])


def test_rotating(run: Run, kept: Path, tmp_path: Path) -> None:
    keys = Path(registry_state.state_of(str(kept), settings_of_env()).keys)
    rotated = run("registry", "rotate", "timestamp", "--market", kept, "--json")
    assert (rotated.code, rotated.json["signed"]) == (0, ["root", "timestamp"])
    assert (keys / "timestamp-2.json").is_file()
    (keys / "timestamp-1.json").unlink()
    assert run("registry", "renew", "--market", kept).code == 0
    # One key of the root alone is not enough; two on two sticks are.
    for number in (1, 2, 3):
        (tmp_path / f"stick{number}").mkdir()
        shutil.move(keys / f"root-{number}.json", tmp_path / f"stick{number}")
    one = run("registry", "rotate", "root", "--market", kept, "--keys", keys, "--keys", tmp_path / "stick1", "--json")
    assert (one.code, one.json["error"]) == (2, "bad_config")
    assert "before the change, the role root needs 2 of its keys, 1 are here" in one.json["problems"]
    sticks = ["--keys", tmp_path / "stick1", "--keys", tmp_path / "stick3"]
    two = run("registry", "rotate", "root", "--market", kept, "--keys", keys, *sticks, "--number", 2, "--threshold", 2)
    assert two.code == 0, two.err
    assert run("registry", "verify", "--market", kept).code == 0
    assert run("registry", "rotate", "mirror", "--market", kept, "--threshold", 2).code == 2


def test_keys_of_root_and_targets_can_be_encrypted(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from symbio_lab.trust import key_ring, key_storage

    cheap = key_storage.KdfCost(ops=1, memory_bytes=8192)
    init = key_ring.KeyRing.__init__
    monkeypatch.setattr(key_ring.KeyRing, "__init__", lambda self, folder: init(self, folder, cheap))
    assert run("registry", "init", "--market", place, "--encrypt").code == 2, "nobody can be asked"
    shutil.rmtree(place / "registry", ignore_errors=True)
    monkeypatch.setenv("SYMBIO_LAB_KEY_PASSPHRASE", "correct horse battery")
    made = run("registry", "init", "--market", place, "--encrypt", "--json")
    assert made.code == 0, made.out
    states = {key.name: key.protection for key in key_ring.KeyRing(Path(made.json["keys"])).stored()}
    assert states["targets-1"] == states["root-1"] == "passphrase"
    assert states["timestamp-1"] == states["snapshot-1"] == "none"
    assert run("registry", "add", "--market", place, "--key", ALICE.public_hex).code == 0
    monkeypatch.setenv("SYMBIO_LAB_KEY_PASSPHRASE", "another horse battery")
    assert run("registry", "revoke", MALLORY.keyid, "--reason", "x", "--market", place).code == 3


def test_a_market_is_put_behind_its_registry_once_a_root_is_trusted(
    run: Run, market: Market, kept: Path, tmp_home: Path, tmp_path: Path
) -> None:
    settings = settings_of(tmp_home)
    found = registry_state.registered(market.transport, settings, utc_now())
    assert isinstance(found, RegisteredTransport)
    assert found.list_versions("alice/travel") == [1]
    other = DirectoryTransport(tmp_path / "other")
    assert registry_state.registered(other, settings, utc_now()) is other


def test_a_registry_elsewhere(run: Run, place: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "repository"
    assert run("registry", "init", "--market", place, "--registry", elsewhere).code == 0
    assert run("registry", "add", "--market", place, "--registry", elsewhere, "--key", ALICE.public_hex).code == 0
    assert (elsewhere / "metadata" / "2.targets.json").is_file()
    assert not (place / "registry").exists()
    assert run("registry", "verify", "--market", place, "--registry", elsewhere).code == 0
    server = run("registry", "add", "--market", place, "--registry", "https://example.org/reg", "--json")
    assert (server.code, server.json["error"]) == (2, "bad_config")


# --------------------------------------------------------------------------------------------------------- the log


def test_a_log_is_appended_verified_and_proved(run: Run, market: Market, place: Path, tmp_path: Path) -> None:
    first = run("log", "append", "--market", place, "--origin", "example.org/lab", "--json")
    assert first.code == 0, first.out
    assert (first.json["num_added"], first.json["size"]) == (1, 1)
    assert LogKey.parse(first.json["log_key"]).name == "example.org/lab"
    assert run("log", "append", "--market", place, "--origin", "example.org/other").code == 2
    market.publish(version=2, deltas=deltas(seed=1), **ISSUED)
    assert "recorded 1 statements; the log has 2" in run("log", "append", "--market", place).out
    verified = run("log", "verify", "--market", place, "--json")
    assert (verified.json["size"], verified.json["size_before"], verified.json["kinds"]) == (2, None, {"patch": 2})
    assert "continues the 2 entries" in run("log", "verify", "--market", place).out
    proof = tmp_path / "travel.tlog-proof"
    assert run("log", "prove", "alice/travel@1", "--market", place, "--out", proof).out == f"entry 0 of 2\n{proof}\n"
    printed = run("log", "prove", "alice/travel@1", "--market", place)
    assert printed.out == proof.read_text(encoding="utf-8")
    # The proof stands alone: the market is gone.
    shutil.rmtree(place)
    checked = run("log", "check", proof, "--log-key", first.json["log_key"], "--json")
    assert (checked.json["index"], checked.json["size"], checked.json["kind"]) == (0, 2, "patch")
    told = run("log", "check", proof, "--log-key", first.json["log_key"], "--digest", checked.json["digest"])
    assert told.out == f"ok  patch, entry 0 of 2 in example.org/lab\n{checked.json['digest']}\n"
    wrong = run("log", "check", proof, "--log-key", first.json["log_key"], "--digest", "ab" * 32, "--json")
    assert (wrong.code, wrong.json["error"]) == (3, "bad_proof")
    assert run("log", "check", tmp_path / "none", "--log-key", first.json["log_key"]).code == 2


def test_a_reader_gives_the_key_once(run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run("log", "append", "--market", place, "--json").json["log_key"]
    assert key.startswith("symbio-market/")
    other_home(tmp_path, monkeypatch)
    assert run("log", "verify", "--market", place, "--json").json["error"] == "not_found"
    assert run("log", "verify", "--market", place, "--log-key", key).code == 0
    assert run("log", "verify", "--market", place).code == 0
    other = LogKey("example.org/x", MALLORY.public_key).text
    assert run("log", "verify", "--market", place, "--log-key", other, "--json").json["error"] == "bad_config"
    assert run("log", "prove", "alice/none", "--market", place).code == 2
    assert run("log", "prove", "ab" * 32, "--market", place).code == 3
    assert run("log", "prove", "alice/travel", "--market", place, "--kind", "rumour").code == 2


def test_a_log_that_shrinks_is_refused(run: Run, market: Market, place: Path, tmp_path: Path) -> None:
    run("log", "append", "--market", place)
    shutil.copytree(place / "registry" / "log", tmp_path / "old")
    market.publish(version=2, deltas=deltas(seed=1), **ISSUED)
    run("log", "append", "--market", place)
    assert run("log", "verify", "--market", place).code == 0
    shutil.rmtree(place / "registry" / "log")
    shutil.copytree(tmp_path / "old", place / "registry" / "log")
    for command in (("log", "verify"), ("log", "append")):
        refused = run(*command, "--market", place, "--json")
        assert (refused.code, refused.json["error"]) == (3, "bad_proof")


# ------------------------------------------------------------------------------------- what readers see of a market


def test_readers_see_a_market_through_the_registry_that_they_trust(
    run: Run, market: Market, kept: Path, tmp_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, keys = settings_of(tmp_home), (ALICE.public_hex,)
    market.publish(patch_id="alice/later", deltas=deltas(seed=2), **ISSUED)
    (seen,) = market_access.choose_markets([str(kept)], settings, keys=keys)
    assert [row["id"] for row in market_search.list_markets([seen], now=utc_now())] == ["alice/travel"]
    (row,) = market_search.list_markets([seen], now=utc_now())
    assert (row["verified"], row["path"]) == (True, str(kept / "patches" / "alice" / "travel" / "v1"))
    with pytest.raises(TrustError) as refused:
        market_writing.install_from("alice/later", [seen], settings, now=utc_now())
    assert refused.value.code == "unregistered"
    assert market_writing.install_from("alice/travel", [seen], settings, now=utc_now())["level"] == "signed"
    # Who trusts no root sees the market as it is.
    monkeypatch.setattr(registry_state, "registered", lambda transport, *_: transport)
    (plain,) = market_access.choose_markets([str(kept)], settings, keys=keys)
    assert len(market_search.list_markets([plain], now=utc_now())) == 2


def test_a_stale_registry_refuses_its_market_and_no_other(
    run: Run, kept: Path, tmp_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, keys = settings_of(tmp_home), (ALICE.public_hex,)
    other = Market(tmp_path / "other")
    other.publish(**ISSUED)
    monkeypatch.setattr(market_access, "utc_now", lambda: "2098-01-01T00:00:00Z")
    both = market_access.choose_markets([str(kept), str(other.transport.path)], settings, keys=keys)
    rows = market_search.list_markets(both, now="2098-01-01T00:00:00Z")
    assert [(row["id"], row["problem"]) for row in rows] == [("registry", "stale"), ("alice/travel", None)]


def test_a_registry_that_the_policy_asks_for_must_be_there(
    run: Run, market: Market, kept: Path, tmp_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_home)
    root = (kept / "registry" / "metadata" / "1.root.json").read_bytes()
    keyids = sorted(registry_state.signers_of(root))

    def policy(*asked: str) -> None:
        lines = [f"      - {keyid}" for keyid in asked]
        tmp_home.joinpath("trust-policy.yaml").write_text(
            "version: 1\ndefault:\n  publishers:\n"
            f"    - {{name: Alice, key: {ALICE.public_hex}}}\n"
            f"  require_registry:\n    uri: {kept / 'registry'}\n    root_keyids:\n" + "\n".join(lines) + "\n"
        )

    policy(*keyids)
    (seen,) = market_access.choose_markets([str(kept)], settings)
    assert [row["id"] for row in market_search.list_markets([seen], now=utc_now())] == ["alice/travel"]
    policy(*keyids[:-1])
    with pytest.raises(TrustError, match="does not name") as refused:
        market_access.choose_markets([str(kept)], settings)
    assert refused.value.code == "unregistered"
    policy(*keyids)
    shutil.rmtree(tmp_home / "registries")
    with pytest.raises(TrustError, match="no root is trusted") as refused:
        market_access.choose_markets([str(kept)], settings)
    assert refused.value.code == "unregistered"
