"""The full round trip on a Hub, through the program and the unmodified client library.

Published, listed, found, verified, adopted, evaluated, rated, contributed to by pull request, revoked; every
installation has a state folder and a token of its own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.cli import app
from symbio_lab.config import Settings
from symbio_lab.marketplace.hub import HubTransport
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.records import ClaimedMetric
from symbio_lab.scenarios.world import build_world
from symbio_lab.surgery.head_retrain import HeadRetrain
from symbio_lab.testing.loopback_hub import LoopbackHub
from symbio_lab.testing.tiny_models import EXPIRES, HEALER, ISSUED, seal_operated
from symbio_lab.trust.keys import PublicKey, load_or_create_key
from tests.fixtures_hub import TOKENS
from tests.fixtures_hub import hub as hub

MARKET = ("--market", "hf://alice")
CLAIM = ClaimedMetric("fix_rate", 0.9, 40)


class Installation:
    """One state folder, one account of the Hub (or none), and the program run with both."""

    def __init__(self, home: Path, user: str | None, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.user, self.capsys, self.patch = home, user, capsys, monkeypatch

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, device="cpu", num_threads=1)

    @property
    def public_hex(self) -> str:
        return load_or_create_key(self.settings.keys / "own.json").public_hex

    def run(self, *arguments: object) -> tuple[int, Any]:
        self.capsys.readouterr()
        if self.user is None:
            self.patch.delenv("HF_TOKEN", raising=False)
        else:
            self.patch.setenv("HF_TOKEN", TOKENS[self.user])
        flags = ["--home", str(self.home), "--device", "cpu", "--num-threads", "1"]
        code = app.run([*flags, *(str(argument) for argument in arguments), "--json"])
        printed = self.capsys.readouterr()
        assert not [token for token in TOKENS.values() if token in printed.out + printed.err]
        return code, json.loads(printed.out)

    def ask(self, *arguments: object) -> Any:
        code, found = self.run(*arguments)
        assert code == 0, found
        return found


@pytest.fixture
def people(
    installed: None, built: Path, hub: LoopbackHub, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Installation, Installation, Installation]:
    """Alice, who publishes; Bob, who has an account; Dave, who only reads."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    made = []
    for name, user in (("alice", "alice"), ("bob", "bob"), ("dave", None)):
        shutil.copytree(built / "home" / "bases", tmp_path / name / "bases")
        made.append(Installation(tmp_path / name, user, capsys, monkeypatch))
    return made[0], made[1], made[2]


def publish_repair(alice: Installation, hub: LoopbackHub, folder: Path) -> str:
    """Let Alice publish a patch that heals the slice; return its digest."""
    world = build_world("tiny", settings=alice.settings)
    meter = CostMeter(Budget(forwards_equivalent=1e9))
    samples, replay = world.sources.contributors[:80], world.sources.base_train[:160]
    operated = HeadRetrain().operate(world.model, samples, replay, seed=0, meter=meter)
    labels = tuple(sorted({s.expected for s in samples}))
    patch = seal_operated(world.model, folder / "made", operated, labels=labels, key=HEALER)
    transport = HubTransport("hf://alice", endpoint=hub.endpoint, token=TOKENS["alice"], cache=folder / "cache")
    key = load_or_create_key(alice.settings.keys / "own.json")
    stamps = {"issued": ISSUED, "expires": EXPIRES}
    done = publish_patch(
        patch, transport, key, store=folder / "made", patch_id="alice/shades", claims=[CLAIM], **stamps
    )
    return done.digest


def test_the_full_round_trip(people: tuple[Installation, ...], hub: LoopbackHub, tmp_path: Path) -> None:
    alice, bob, dave = people
    digest = publish_repair(alice, hub, tmp_path)
    card = alice.ask("market", "keys", "export", "own", "--out", tmp_path / "alice.card")
    assert card["public_key"] == alice.public_hex

    # Listed and searched before anybody trusts the key: shown, refused, with the code.
    (row,) = dave.ask("market", "list", *MARKET)
    assert (row["id"], row["verified"], row["problem"]) == ("alice/shades", False, "unknown_key")
    for person in (bob, dave):
        person.ask("market", "keys", "enrol", tmp_path / "alice.card", "--name", "Alice")
    (hit,) = dave.ask("market", "search", "shades", "--market", "hf://")
    assert (hit["id"], hit["verified"], hit["digest"]) == ("alice/shades", True, digest)

    # Verified, every file of it, and installed.
    checked = dave.ask("market", "verify", "hf://alice")
    assert (checked["num_accepted"], checked["refused_codes"]) == (1, [])
    adopted = dave.ask("market", "install", "alice/shades", *MARKET)
    assert (adopted["digest"], adopted["level"]) == (digest, "signed")

    # Bob, who may not write to it, runs the claim again and proposes his statement; Dave knows Bob.
    told = bob.ask("market", "evaluate", "alice/shades", "--suite", "tiny", *MARKET, "--publish")
    assert (told["digest"], told["improves"], told["claims"]["verdict"]) == (digest, True, "confirmed")
    (before,) = dave.ask("market", "ratings", *MARKET, "--suite", "tiny")
    assert (before["n"], before["lower"]) == (0, 0.0)
    dave.ask("market", "keys", "enrol", bob.public_hex, "--name", "Bob", "--known")
    rated = dave.ask("market", "rate", "alice/shades", *MARKET)
    assert (rated["n"], rated["num_confirming"]) == (1, 1)
    assert rated["lower"] > 0
    (verified,) = dave.ask("market", "verify", "hf://alice")["patches"]
    assert verified["level"] == "evaluated"

    # Bob heals his own model by surgery, and contributes to Alice's name space: a pull request, which she merges.
    sizes = ("--n-repair", "64", "--n-control", "500")
    healed = bob.ask("heal", "--scenario", "tiny", "--pool", "high", "--strategy", "head_retrain", *sizes)
    assert healed["deployment_id"], healed
    api = HfApi(endpoint=hub.endpoint, token=TOKENS["alice"])
    api.create_repo("alice/bob-repair")
    asked = ("market", "contribute", healed["deployment_id"], *MARKET, "--as", "alice/bob-repair")
    offered = bob.ask(*asked)
    assert "/alice/bob-repair/discussions/" in offered["pull_request"]
    assert not offered["published_evaluation"]
    api.merge_pull_request("alice/bob-repair", int(offered["pull_request"].rsplit("/", 1)[1]))
    bob.ask(*asked)
    rows = {row["id"]: row for row in dave.ask("market", "list", *MARKET)}
    assert rows["alice/bob-repair"]["verified"]
    assert dave.ask("market", "install", "alice/bob-repair", *MARKET)["keyid"] == PublicKey(bob.public_hex).keyid

    # Alice's key is stolen: she revokes it, Dave accepts the statement, and nothing that it signed counts any more.
    alice.ask("market", "keys", "new", "spare", "--no-passphrase")
    revoked = alice.ask("market", "keys", "revoke", "own", "--reason", "stolen")
    (statement,) = [Path(value) for value in revoked.values() if str(value).endswith(".dsse.json")]
    dave.ask("market", "keys", "accept", statement)
    rows = {row["id"]: row for row in dave.ask("market", "list", *MARKET)}
    assert (rows["alice/shades"]["verified"], rows["alice/shades"]["problem"]) == (False, "revoked_key")
    code, refused = dave.run("market", "install", "alice/shades", *MARKET)
    assert (code, refused["error"]) == (3, "revoked_key")
    assert rows["alice/bob-repair"]["verified"]
