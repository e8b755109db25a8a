"""Four installations and one market: Alice publishes, Bob evaluates, Carol vouches for Bob, Dave reads the ratings."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.cli import app
from symbio_lab.config import Settings
from symbio_lab.errors import TrustError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.records import ClaimedMetric, Patch
from symbio_lab.scenarios.evaluation_suites import scenario_suite, world_suite
from symbio_lab.scenarios.world import World, build_world
from symbio_lab.surgery.head_retrain import HeadRetrain
from symbio_lab.testing.tiny_models import (
    EXPIRES,
    HEALER,
    ISSUED,
    TinyModels,
    query_modules,
    random_deltas,
    seal,
    seal_operated,
)
from symbio_lab.testing.tiny_samples import known_samples, odd_samples
from symbio_lab.trust.keys import PublicKey, load_or_create_key
from symbio_lab.trust.policy import PublisherKey, policy_for
from symbio_lab.trust.trusted_set import TrustedState, check_envelope

TRUE = ClaimedMetric("fix_rate", 0.9, 40)
BOAST = ClaimedMetric("fix_rate", 0.95, 200)


@dataclass(frozen=True)
class Installation:
    """One state folder, and the program run on it."""

    home: Path
    capsys: Any

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, device="cpu", num_threads=1)

    @property
    def public_hex(self) -> str:
        return load_or_create_key(self.settings.keys / "own.json").public_hex

    @property
    def keyid(self) -> str:
        return PublicKey(self.public_hex).keyid

    def run(self, *arguments: object) -> tuple[int, Any, str]:
        """Return exit code, JSON result and what stood on stderr."""
        self.capsys.readouterr()
        flags = ["--home", str(self.home), "--device", "cpu", "--num-threads", "1", "market"]
        code = app.run([*flags, *(str(argument) for argument in arguments), "--json"])
        printed = self.capsys.readouterr()
        return code, json.loads(printed.out), printed.err

    def show(self, *arguments: object) -> str:
        """Return what is printed for people."""
        self.capsys.readouterr()
        flags = ["--home", str(self.home), "--device", "cpu", "--num-threads", "1", "market"]
        assert app.run([*flags, *(str(argument) for argument in arguments)]) == 0
        return str(self.capsys.readouterr().out)

    def ask(self, *arguments: object) -> Any:
        code, found, err = self.run(*arguments)
        assert code == 0, (found, err)
        return found

    def knows(self, other: Installation, name: str, *flags: str) -> None:
        self.ask("enrol", other.public_hex, "--name", name, *flags)


@pytest.fixture
def people(
    installed: None, tmp_path: Path, capsys: Any, bases: Path
) -> tuple[Installation, Installation, Installation, Installation]:
    made = []
    for name in ("alice", "bob", "carol", "dave"):
        shutil.copytree(bases, tmp_path / name)
        made.append(Installation(tmp_path / name, capsys))
    alice, bob, carol, dave = made
    bob.knows(alice, "alice")
    dave.knows(alice, "alice")
    return alice, bob, carol, dave


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder that will hold the tiny world's base."""
    return tmp_path_factory.mktemp("bases")


@pytest.fixture
def world(installed: None, bases: Path) -> World:
    return build_world("tiny", settings=Settings(home=bases, device="cpu", num_threads=1))


def healing_patch(world: World, store: Path) -> Patch:
    meter = CostMeter(Budget(forwards_equivalent=1e9))
    samples, replay = world.sources.contributors[:80], world.sources.base_train[:160]
    operated = HeadRetrain().operate(world.model, samples, replay, seed=0, meter=meter)
    return seal_operated(world.model, store, operated, labels=tuple(sorted({s.expected for s in samples})), key=HEALER)


def useless_patch(world: World, store: Path) -> Patch:
    deltas = random_deltas(world.model, query_modules(world.model), scale=0.01)
    labels = tuple(sorted({s.expected for s in world.sources.relevance_probe}))
    return seal(world.model, store, deltas, labels=labels, key=HEALER)


def publish(alice: Installation, patch: Patch, market: Path, name: str, *claims: ClaimedMetric) -> str:
    key = load_or_create_key(alice.settings.keys / "own.json")
    published = publish_patch(
        patch,
        DirectoryTransport(market),
        key,
        store=alice.settings.patches,
        issued=ISSUED,
        expires=EXPIRES,
        patch_id=name,
        claims=claims,
    )
    return published.digest


def test_an_evaluation_binds_counts_once_vouched_for_and_raises_no_level(
    people: tuple[Installation, ...], world: World, tmp_path: Path
) -> None:
    alice, bob, carol, dave = people
    market = tmp_path / "market"
    digest = publish(alice, healing_patch(world, tmp_path / "made"), market, "alice/shades", TRUE)
    told = bob.ask("evaluate", "alice/shades", "--suite", "tiny", "--market", market, "--publish")
    assert (told["digest"], told["improves"], told["claims"]["verdict"]) == (digest, True, "confirmed")
    assert told["splits"]["slice"]["accuracy_after"]["value"] > told["splits"]["slice"]["accuracy_before"]["value"]
    assert told["statement"]["keyid"] == bob.keyid
    assert len(DirectoryTransport(market).read_evaluations(digest)) == 1

    # Dave knows nobody but the publisher: a statement by a stranger is no vote.
    (before,) = dave.ask("ratings", "--market", market, "--suite", "tiny")
    assert (before["n"], before["lower"], before["refused"]) == (0, 0.0, ["unknown_key"])
    # Carol vouches for Bob, and Dave knows Carol.
    carol.ask("voucher", "new", bob.public_hex, "--name", "Bob", "--market", market)
    dave.knows(carol, "carol", "--known")
    after = dave.ask("rate", "alice/shades", "--market", market)
    assert (after["n"], after["num_vouchers"], after["num_confirming"], after["weight"]) == (1, 1, 1, 1.0)
    assert after["lower"] > 0
    assert (after["votes"][0]["keyid"], after["votes"][0]["voucher"]) == (bob.keyid, carol.keyid)
    (row,) = dave.ask("voucher", "list", bob.public_hex, "--market", market)
    assert (row["name"], row["issuer_name"], row["counts"]) == ("Bob", "carol", True)
    # A rating is no evaluation by somebody whom Dave knows himself.
    (verified,) = dave.ask("verify", market)["patches"]
    assert verified["level"] == "signed"
    dave.knows(bob, "bob", "--known")
    (verified,) = dave.ask("verify", market)["patches"]
    assert verified["level"] == "evaluated"
    # Carol withdraws: what she vouched for counts no more, what Dave knows himself does.
    carol.ask("voucher", "new", bob.public_hex, "--name", "Bob", "--market", market, "--days", "0")
    assert not any(row["counts"] for row in dave.ask("voucher", "list", bob.public_hex, "--market", market))


def test_without_the_suite_a_statement_is_text(people: tuple[Installation, ...], world: World, tmp_path: Path) -> None:
    alice, bob, _, dave = people
    market = tmp_path / "market"
    publish(alice, healing_patch(world, tmp_path / "made"), market, "alice/shades")
    bob.ask("evaluate", "alice/shades", "--suite", "tiny", "--market", market, "--publish")
    dave.knows(bob, "bob", "--known")
    assert "claims by " in (shown := bob.show("evaluate", "alice/shades", "--suite", "tiny", "--market", market))
    assert ": none" in shown  # a publisher who claims nothing
    (text,) = dave.ask("ratings", "--market", market)
    assert (text["n"], text["num_text_only"], text["votes"][0]["note"]) == (
        0,
        1,
        "text only: its suite is not known here",
    )
    (named,) = dave.ask("ratings", "alice/shades", "--market", market, "--suite", "tiny")
    assert (named["n"], named["num_text_only"]) == (1, 0)
    # Who evaluated on the suite himself knows it.
    (own,) = bob.ask("ratings", "--market", market)
    assert own["n"] == 1


def test_a_boast_is_disputed_by_whoever_runs_it_again(
    people: tuple[Installation, ...], world: World, tmp_path: Path
) -> None:
    alice, bob, _, dave = people
    market = tmp_path / "market"
    digest = publish(alice, useless_patch(world, tmp_path / "made"), market, "alice/miracle", BOAST)
    told = bob.ask("evaluate", "alice/miracle", "--suite", "tiny", "--market", market, "--publish")
    assert told["claims"]["verdict"] == "disputed"
    (check,) = [check for check in told["claims"]["checks"] if check["quantity"] == "fix_rate"]
    assert (check["claimed"], check["measured"]["value"], check["verdict"]) == (0.95, 0.0, "disputed")
    dave.knows(bob, "bob", "--known")
    (rated,) = dave.ask("ratings", "--market", market, "--suite", "tiny")
    assert (rated["num_disputing"], rated["share"], rated["lower"]) == (1, 0.0, 0.0)
    # Dave runs it too: he sees the boast, and that Bob told the truth.
    again = dave.ask("evaluate", "alice/miracle", "--suite", "tiny", "--market", market)
    assert again["claims"]["verdict"] == "disputed"
    assert [(report["by"], report["verdict"]) for report in again["others"]] == [(bob.keyid, "confirmed")]
    assert Path(again["statement"]["path"]).is_file()
    assert len(DirectoryTransport(market).read_evaluations(digest)) == 1
    shown = dave.show("evaluate", "alice/miracle", "--suite", "tiny", "--market", market)
    assert "DISPUTED" in shown
    assert "fix_rate: claimed 0.950 (n = 200), measured 0.000 [0.000," in shown
    assert f"claims by {bob.keyid[:16]} (evaluation): CONFIRMED" in shown
    assert "disputed" in dave.show("rate", "alice/miracle", "--market", market)
    # A policy that refuses what is disputed refuses it.
    keys = [PublisherKey(alice.public_hex, "alice"), PublisherKey(bob.public_hex, "bob", known=True)]
    transport = DirectoryTransport(market)
    with pytest.raises(TrustError) as refused:
        check_envelope(
            transport.read_manifest("alice/miracle"),
            policy_for(keys, refuse_disputed=True),
            TrustedState(),
            now=ISSUED,
            evaluations=transport.read_evaluations(digest),
        )
    assert refused.value.code == "disputed"


def test_what_evaluations_read_nobody_judges_by(world: World) -> None:
    suite = world_suite(world)
    assert scenario_suite("tiny").digest == suite.digest  # no model is needed to know a suite
    assert scenario_suite("tiny", world_seed=1).digest != suite.digest
    read = {s.text for s in (*suite.slice, *suite.control)}
    sources = world.sources
    for others in (
        sources.base_train,
        sources.contributors,
        sources.incident.slice_repair,
        sources.incident.slice_judge,
        sources.incident.control,
        sources.incident.replay,
    ):
        assert not read & {s.text for s in others}


def test_the_publisher_s_own_statement_is_a_claim_and_a_pool_is_never_written(
    people: tuple[Installation, ...], world: World, tmp_path: Path
) -> None:
    alice, bob, _, _ = people
    market = tmp_path / "market"
    publish(alice, healing_patch(world, tmp_path / "made"), market, "alice/shades", TRUE)
    told = alice.ask("evaluate", "alice/shades", "--suite", "tiny", "--market", market, "--publish")
    assert any("nobody's vote" in note for note in told["suite"]["notes"])
    (own,) = alice.ask("ratings", "--market", market)
    assert (own["n"], own["refused"]) == (0, ["unknown_key"])
    pool = bob.settings.pools / "helpdesk-high-00"
    shutil.copytree(market, pool / "market")
    info = {"world": "helpdesk", "world_seed": 0, "relevance": "high", "contributor_size": 32}
    (pool / "pool.json").write_text(json.dumps({**info, "base_digest": world.model.digest}))
    code, error, _ = bob.run("evaluate", "alice/shades", "--suite", "tiny", "--market", pool / "market", "--publish")
    assert (code, error["error"]) == (2, "bad_config")
    assert "never changed" in error["message"]


def write_table(path: Path) -> Path:
    rows = [(s.text, s.expected, "colours") for s in known_samples(120, seed=1)]
    rows += [(s.text, s.expected, "odd") for s in odd_samples(60, seed=1)]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([("question", "gold", "topic"), *rows])
    return path


def test_own_data_are_a_suite_too(people: tuple[Installation, ...], tiny: TinyModels, tmp_path: Path) -> None:
    alice, bob, _, _ = people
    model, market = tiny.load("bert"), tmp_path / "market"
    gold = tuple(sorted({s.expected for s in odd_samples(60, seed=1)}))
    deltas = random_deltas(model, query_modules(model), scale=0.01)
    made = seal(model, tmp_path / "made", deltas, labels=gold, key=HEALER)
    publish(alice, made, market, "alice/odd", BOAST)
    table = write_table(tmp_path / "traffic.csv")
    asked = ("evaluate", "alice/odd", "--suite", table, "--market", market, "--label-field", "gold")
    fields = (*asked, "--text-field", "question", "--model", tiny.folder("bert"))
    told = bob.ask(*fields, "--slice", "topic=odd")
    assert told["claims"]["verdict"] == "disputed"
    assert set(told["suite"]["splits"]) == {"slice", "control"}
    assert told["splits"]["slice"]["accuracy_before"]["value"] < 0.5
    # Without a slice the rows with the patch's labels are it.
    by_labels = bob.ask(*fields)
    assert by_labels["suite"]["digest"] != told["suite"]["digest"]
    assert bob.ask(*fields)["suite"]["digest"] == by_labels["suite"]["digest"]
    # Another base is refused before anything is run.
    code, error, _ = bob.run(*asked, "--text-field", "question", "--model", tiny.folder("pooled"))
    assert (code, error["error"]) == (3, "base_mismatch")
