"""Markets from the command line: what passes is found, installed and published; what fails is named and left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from symbio_lab.cli import market_search
from symbio_lab.codec import write_json
from symbio_lab.scenarios.catalogue import scenario_recipe
from symbio_lab.scenarios.population import scenario_key
from symbio_lab.testing.loopback_hub import LoopbackHub
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.keys import SigningKey
from tests.attacks.market_simulator import ALICE, BASE, EVE, Market

FOREVER = "2999-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def _words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_search, "_embedder", lambda: None)


@pytest.fixture
def stranger(tmp_path: Path) -> Market:
    """A market of somebody else: one good patch by ALICE, one by EVE, one tampered, one unsigned."""
    market = Market(tmp_path / "stranger")
    market.publish(expires=FOREVER)
    market.publish(expires=FOREVER, patch_id="eve/banking", key=EVE, scope="fixes transfers", title="Banking")
    tampered = market.publish(expires=FOREVER, patch_id="alice/tampered") / "adapter_model.safetensors"
    tampered.write_bytes(tampered.read_bytes()[:-1] + b"\x00")
    (market.publish(expires=FOREVER, patch_id="alice/unsigned") / ENVELOPE_NAME).unlink()
    return market


def make_pool(home: Path, *, key: SigningKey | None = None) -> Market:
    """A finished local pool of the helpdesk scenario, with one patch."""
    market = Market(home / "pools" / "helpdesk-high-00")
    signer = key or scenario_key(scenario_recipe("helpdesk"), 0, "contributor-00")
    market.publish(expires=FOREVER, patch_id="contributor-00/patch", key=signer, base_digest=BASE)
    info = {"world": "helpdesk", "world_seed": 0, "relevance": "high", "contributor_size": 32, "base_digest": BASE}
    write_json(market.root / "pool.json", info)
    return market


def test_search_rows_say_what_is_verified(symbio: Any, stranger: Market) -> None:
    ran = symbio("market", "search", "flight booking", "--market", stranger.transport.path, "--key", ALICE.public_hex)
    assert ran.code == 0
    assert "alice/travel" in ran.out
    path = stranger.transport.path
    rows = symbio("market", "search", "flight", "--market", path, "--key", ALICE.public_hex, "--json").json
    assert {row["id"]: row["problem"] for row in rows} == {
        "alice/travel": None,
        "alice/tampered": None,  # its manifest is good; the file is checked when it is fetched
        "eve/banking": "unknown_key",
        "alice/unsigned": "unsigned",
    }
    best = next(row for row in rows if row["id"] == "alice/travel")
    assert best["verified"] is True
    assert 0 < best["score"] <= 1
    assert (best["keyid"], best["public_key"]) == (ALICE.keyid, ALICE.public_hex)
    assert Path(best["path"], ENVELOPE_NAME).is_file()
    assert best["reason"]
    assert not next(row for row in rows if row["id"] == "eve/banking")["verified"]


def test_an_empty_search_says_why(symbio: Any, stranger: Market, tmp_path: Path) -> None:
    shutil.rmtree(stranger.transport.path / "patches" / "alice" / "unsigned")
    where = ("--market", stranger.transport.path, "--key", ALICE.public_hex, "--key", EVE.public_hex)
    ran = symbio("market", "search", "flight", *where, "--base", "a" * 64)
    assert (ran.code, "nothing found: none of the 3 patches is for base aaaa" in ran.out) == (0, True)
    told = symbio("market", "search", "flight", *where, "--base", "a" * 64, "--json")
    assert (told.json, "is for base aaaa" in told.err) == ([], True)
    (tmp_path / "empty").mkdir()
    assert "hold no patch" in symbio("market", "search", "flight", "--market", tmp_path / "empty").out


def test_a_search_that_finds_only_refused_patches_says_so(symbio: Any, stranger: Market) -> None:
    ran = symbio("market", "search", "flight", "--market", stranger.transport.path)
    assert "no patch passes the policy" in ran.err


@pytest.mark.parametrize("command", [["search", "x"], ["list"], ["install", "a/b"]])
def test_a_market_that_does_not_exist(symbio: Any, tmp_path: Path, command: list[str]) -> None:
    ran = symbio("market", *command, "--market", tmp_path / "nowhere", "--json")
    assert (ran.code, ran.json["error"]) == (2, "not_found")
    assert not (tmp_path / "nowhere").exists()
    odd = symbio("market", *command, "--market", "ftp://somewhere/else", "--json")
    assert (odd.code, odd.json["error"]) == (2, "bad_config")


def test_without_any_pool_the_hint_says_how_to_get_one(symbio: Any) -> None:
    ran = symbio("market", "list")
    assert (ran.code, "symbio demo" in ran.err) == (2, True)


def test_search_options_are_checked_together(symbio: Any) -> None:
    wrong = ["--base", "xyz", "--task", "poetry", "--max-results", "0", "--min-score", "2"]
    ran = symbio("market", "search", "x", *wrong, "--json")
    assert (ran.code, len(ran.json["problems"])) == (2, 4)


def test_local_pools_are_searched_by_default_under_their_own_policy(symbio: Any, tmp_home: Path) -> None:
    make_pool(tmp_home)
    (tmp_home / "pools" / "half-built" / "market" / "patches").mkdir(parents=True)
    rows = symbio("market", "list", "--json").json
    assert [(row["id"], row["verified"], row["publisher"]) for row in rows] == [
        ("contributor-00/patch", True, "contributor-00")
    ]
    assert symbio("market", "verify", tmp_home / "pools" / "helpdesk-high-00" / "market").code == 0


def test_a_strangers_pool_file_is_not_believed(symbio: Any, tmp_home: Path, tmp_path: Path) -> None:
    pool = make_pool(tmp_home)
    elsewhere = shutil.copytree(pool.root, tmp_path / "elsewhere")
    ran = symbio("market", "verify", elsewhere / "market", "--json")
    assert (ran.code, ran.json["refused_codes"]) == (3, ["unknown_key"])


def test_a_pool_s_patch_for_another_base_is_refused(symbio: Any, tmp_home: Path) -> None:
    pool = make_pool(tmp_home)
    info = json.loads((pool.root / "pool.json").read_text(encoding="utf-8"))
    write_json(pool.root / "pool.json", {**info, "base_digest": "c" * 64})
    assert symbio("market", "verify", pool.transport.path, "--json").json["refused_codes"] == ["wrong_base"]


def test_a_damaged_pool_file_is_named(symbio: Any, tmp_home: Path) -> None:
    write_json(make_pool(tmp_home).root / "pool.json", {"world": "helpdesk"})
    ran = symbio("market", "list")
    assert (ran.code, "pool.json of helpdesk-high-00 lacks" in ran.err) == (2, True)


def test_verify_names_every_refusal(symbio: Any, stranger: Market) -> None:
    path = stranger.transport.path
    ran = symbio("market", "verify", path, "--key", ALICE.public_hex)
    assert ran.code == 3
    lines = ran.out.splitlines()
    assert len(lines) == 4
    assert [line for line in lines if line.startswith("ok  alice/travel@1  ")]
    assert [line for line in lines if line.startswith("refused digest_mismatch  alice/tampered@1  ")]
    assert "refused 3 of 4 patches: digest_mismatch, unknown_key, unsigned" in ran.err
    told = symbio("market", "verify", path, "--key", ALICE.public_hex, "--json")
    assert (told.code, told.err) == (3, "")
    assert told.json["refused_codes"] == ["digest_mismatch", "unknown_key", "unsigned"]
    assert told.json["num_accepted"] == 1


def test_verify_takes_one_patch_too(symbio: Any, stranger: Market) -> None:
    good, bad = stranger.folder("alice/travel"), stranger.folder("alice/tampered")
    assert symbio("market", "verify", good, "--key", ALICE.public_hex).code == 0
    assert symbio("market", "verify", good).code == 3  # nobody enrolled that key
    ran = symbio("market", "verify", bad, "--key", ALICE.public_hex, "--json")
    assert (ran.code, ran.json["patches"][0]["id"]) == (3, "alice/tampered@1")
    wrong = symbio("market", "verify", good, "--key", ALICE.public_hex, "--base", "a" * 64, "--json")
    assert (wrong.code, wrong.json["refused_codes"]) == (3, ["wrong_base"])


def test_verify_hides_nothing_that_lies_in_a_market(symbio: Any, stranger: Market) -> None:
    patches = stranger.transport.path / "patches"
    (patches / "alice" / "linked").symlink_to(stranger.folder("alice/travel").parent)
    (patches / "alice" / "travel" / "latest").mkdir()
    (patches / "stray.pkl").write_bytes(b"")
    ran = symbio("market", "verify", stranger.transport.path, "--key", ALICE.public_hex, "--json")
    unsafe = {row["id"] for row in ran.json["patches"] if row["code"] == "unsafe_name"}
    assert unsafe == {"alice/linked", "alice/travel/latest", "stray.pkl"}


def test_verifying_nothing_is_no_success(symbio: Any, tmp_path: Path) -> None:
    (tmp_path / "empty" / "patches").mkdir(parents=True)
    assert symbio("market", "verify", tmp_path / "empty").code == 2
    assert symbio("market", "verify", tmp_path / "nowhere").code == 2


def test_install_verifies_before_it_stores(symbio: Any, stranger: Market, tmp_home: Path) -> None:
    where = ("--market", stranger.transport.path, "--key", ALICE.public_hex, "--json")
    for patch_id, code in (
        ("alice/tampered", "digest_mismatch"),
        ("alice/unsigned", "unsigned"),
        ("eve/banking", "unknown_key"),
    ):
        ran = symbio("market", "install", patch_id, *where)
        assert (ran.code, ran.json["error"]) == (3, code)
    wrong = symbio("market", "install", "alice/travel", "--base", "a" * 64, *where)
    assert (wrong.code, wrong.json["error"]) == (3, "wrong_base")
    assert not list((tmp_home / "patches").glob("*"))
    done = symbio("market", "install", "alice/travel", "--base", BASE, *where)
    assert done.code == 0
    assert (tmp_home / "patches" / done.json["digest"] / ENVELOPE_NAME).is_file()
    assert symbio("market", "install", "alice/nothing", *where).json["error"] == "not_found"
    plain = symbio("market", "install", "alice/travel@1", *where[:-1])
    assert plain.out.splitlines()[-1] == done.json["digest"]


def test_install_asks_which_market_is_meant(symbio: Any, stranger: Market, tmp_path: Path) -> None:
    copy = shutil.copytree(stranger.transport.path, tmp_path / "copy")
    where = ("--market", stranger.transport.path, "--market", copy, "--key", ALICE.public_hex)
    ran = symbio("market", "install", "alice/travel", *where)
    assert (ran.code, "2 markets hold alice/travel" in ran.err) == (2, True)


def test_equal_names_in_two_markets_do_not_disturb_each_other(
    symbio: Any, stranger: Market, tmp_path: Path, tmp_home: Path
) -> None:
    other = Market(tmp_path / "other")
    other.publish(expires=FOREVER, key=EVE, scope="another patch of this name")
    keys = ("--key", ALICE.public_hex, "--key", EVE.public_hex, "--json")
    for market in (stranger, other):
        assert symbio("market", "install", "alice/travel", "--market", market.transport.path, *keys).code == 0
    assert len(list((tmp_home / "patches").glob("*"))) == 2


def test_enrolled_keys_count_from_then_on(symbio: Any, stranger: Market) -> None:
    path = stranger.transport.path
    ran = symbio("market", "enrol", ALICE.public_hex, "--name", "Alice", "--json")
    assert ran.json["keyid"] == ALICE.keyid
    assert symbio("market", "install", "alice/travel", "--market", path).code == 0
    bad = symbio("market", "enrol", "00" * 32, "--name", "nobody", "--json")
    assert (bad.code, bad.json["error"]) == (3, "bad_key")


def test_publish_signs_with_the_own_key_and_counts_versions(symbio: Any, stranger: Market, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    folder, key = stranger.folder("alice/travel"), ("--key", ALICE.public_hex)
    first = symbio("market", "publish", folder, "--market", mine, "--as", "me/travel", *key, "--json")
    assert first.code == 0
    assert (first.json["id"], first.json["version"]) == ("me/travel@1", 1)
    again = symbio("market", "publish", first.json["digest"], "--market", mine, "--as", "me/travel")
    assert "published me/travel@2" in again.out
    # Our own key is known to us: no enrolment needed.
    verified = symbio("market", "verify", mine, "--json")
    assert verified.code == 0
    assert [row["public_key"] for row in verified.json["patches"]] == [first.json["public_key"]] * 2


def test_what_cannot_be_published(symbio: Any, stranger: Market, tmp_path: Path) -> None:
    mine, key = ("--market", tmp_path / "mine", "--json"), ("--key", ALICE.public_hex)
    unverified = symbio("market", "publish", stranger.folder("alice/travel"), *mine)
    assert (unverified.code, unverified.json["error"]) == (3, "unknown_key")
    unsafe = symbio("market", "publish", stranger.folder("alice/travel"), *mine, *key, "--as", "../up")
    assert (unsafe.code, unsafe.json["error"]) == (3, "unsafe_name")
    assert symbio("market", "publish", "nothing", *mine).json["error"] == "not_found"
    assert symbio("market", "publish", "f" * 64, *mine).json["error"] == "not_found"
    taken = symbio("market", "publish", stranger.folder("alice/travel"), "--market", stranger.transport.path, *key)
    assert (taken.code, "error[name_taken]" in taken.err) == (3, True)
    assert not (tmp_path / "mine").exists()


TOKENS = {"alice": "hf_alice-secret", "bob": "hf_bob-secret"}
uploads = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that HF_ENDPOINT names, with alice's token in HF_TOKEN."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with LoopbackHub(tmp_path / "hub", users=TOKENS, orgs={}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKENS["alice"])
        yield running


@uploads
def test_a_hub_is_a_market_like_any_other(symbio: Any, stranger: Market, hub: LoopbackHub, tmp_home: Path) -> None:
    key = ("--key", ALICE.public_hex)
    done = symbio(
        "market",
        "publish",
        stranger.folder("alice/travel"),
        "--market",
        "hf://alice",
        "--as",
        "alice/mine",
        *key,
        "--json",
    )
    assert done.code == 0
    assert (done.json["id"], done.json["market"], done.json["pull_request"]) == ("alice/mine@1", "hf://alice", None)
    again = symbio("market", "publish", done.json["digest"], "--market", "hf://alice", "--as", "alice/mine")
    assert "published alice/mine@2 to hf://alice" in again.out

    (row,) = symbio("market", "list", "--market", "hf://alice", "--json").json
    assert (row["id"], row["version"], row["verified"]) == ("alice/mine", 2, True)
    assert row["path"] == f"{hub.endpoint}/alice/mine"
    (hit,) = symbio("market", "search", "flight booking", "--market", "hf://", "--json").json
    assert (hit["id"], hit["verified"]) == ("alice/mine", True)
    for address, count in (("hf://alice", 1), ("hf://alice/mine", 2)):
        ran = symbio("market", "verify", address, "--json")
        assert (ran.code, ran.json["num_accepted"]) == (0, count)

    installed = symbio("market", "install", "alice/mine@2", "--market", "hf://alice", "--base", BASE, "--json")
    assert installed.code == 0
    assert (tmp_home / "patches" / installed.json["digest"] / ENVELOPE_NAME).is_file()
    missing = symbio("market", "install", "alice/other", "--market", "hf://alice", "--json")
    assert (missing.code, missing.json["error"]) == (2, "not_found")
    older = symbio("market", "install", "alice/mine@1", "--market", "hf://", "--json")
    assert (older.code, older.json["error"]) == (3, "rollback")  # one memory for all addresses of a Hub


@uploads
def test_what_lies_on_a_hub_is_refused_by_the_same_codes(
    symbio: Any, stranger: Market, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("--key", ALICE.public_hex)
    place = ("--market", "hf://alice", "--as", "alice/mine")
    assert symbio("market", "publish", stranger.folder("alice/travel"), *place, *key).code == 0
    hub.tamper("alice/mine", "run.py", b"print()")
    ran = symbio("market", "verify", "hf://alice")
    assert ran.code == 3
    assert ran.out.startswith("refused forbidden_file  alice/mine")
    refused = symbio("market", "install", "alice/mine", "--market", "hf://alice", "--json")
    assert (refused.code, refused.json["error"]) == (3, "forbidden_file")
    empty = symbio("market", "verify", "hf://bob", "--json")
    assert (empty.code, empty.json["error"]) == (2, "not_found")
    nothing = symbio("market", "list", "--market", "hf://alice/nothing", "--json")
    assert (nothing.code, nothing.json["error"]) == (2, "not_found")
    odd = symbio("market", "list", "--market", "hf://alice/a/b/c", "--json")
    assert (odd.code, odd.json["error"]) == (2, "bad_config")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    plain = symbio("market", "list", "--market", "hf://alice", "--json")
    assert (plain.code, plain.json["error"]) == (2, "bad_config")


@uploads
def test_without_the_right_a_pull_request_is_opened(
    symbio: Any, stranger: Market, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("--key", ALICE.public_hex)
    place = ("--market", "hf://alice", "--as", "alice/mine")
    assert symbio("market", "publish", stranger.folder("alice/travel"), *place, *key).code == 0
    own = symbio("market", "publish", stranger.folder("alice/travel"), *place, *key, "--pull-request")
    assert own.out.startswith(f"proposed alice/mine@2 to hf://alice: {hub.endpoint}/alice/mine/discussions/1")
    monkeypatch.setenv("HF_TOKEN", TOKENS["bob"])
    ran = symbio("market", "publish", stranger.folder("alice/travel"), *place, *key, "--json")
    assert ran.code == 0
    assert "/discussions/" in ran.json["pull_request"]
    assert not [text for text in (ran.out, ran.err) for token in TOKENS.values() if token in text]
    assert "no right to write to alice/mine" in ran.err
    foreign = symbio("market", "publish", stranger.folder("alice/travel"), "--market", "hf://alice", *key, "--json")
    assert (foreign.code, foreign.json["error"]) == (2, "bad_config")  # a new name in somebody else's namespace
    monkeypatch.delenv("HF_TOKEN")
    nobody = symbio("market", "publish", stranger.folder("alice/travel"), *place, *key, "--json")
    assert (nobody.code, nobody.json["error"]) == (2, "bad_config")
    assert "HF_TOKEN" in nobody.json["hint"]
    folder = symbio("market", "publish", stranger.folder("alice/travel"), "--market", "here", *key, "--pull-request")
    assert (folder.code, "no pull requests" in folder.err) == (2, True)
    commits = HfApi(endpoint=hub.endpoint, token=TOKENS["alice"]).list_repo_commits("alice/mine")
    assert len(commits) == 2
