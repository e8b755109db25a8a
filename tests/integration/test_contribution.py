"""One tenant heals and contributes; the next one finds it, trusts the key, and its failures are fixed."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from symbio_lab.cli import market as market_commands
from symbio_lab.cli import market_contributing
from symbio_lab.evaluation.evaluate import BasePredictions, run_outcomes
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.contribution import HouseRules, Incident, Measured, contribute
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.pipeline import heal
from symbio_lab.records import LabelShift, Sample, SearchQuery
from symbio_lab.surgery.catalogue import surgery_method
from symbio_lab.trust import key_storage
from symbio_lab.trust.evaluation_statement import open_evaluation
from symbio_lab.trust.key_ring import OWN_NAME, KeyRing
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, policy_for
from symbio_lab.trust.stored import open_stored
from tests.attacks.market_simulator import ALICE, EXPIRES, ISSUED
from tests.fixtures_market import GATE, STRONG, incident
from tests.fixtures_models import NOW, TinyModels, new_samples, strange_samples
from tests.integration import tiny_world

ACME = SigningKey.from_seed(bytes([21]) * 32)
ROOT = Path(__file__).resolve().parents[2]


def incident_of(model: Any, task: RepairTask, patch: Any, method: str) -> Incident:
    base = BasePredictions(model)
    parts = [run_outcomes(model, patch, split, base).counts() for split in (task.selection, task.control_selection)]
    return Incident(
        task_type=task.task_type,
        domain=task.domain,
        description=task.description,
        labels=task.repair_labels,
        splits={name: getattr(task, name) for name in ("repair", "replay", "selection", "control_selection")},
        measured=Measured.of(*parts),
        method=method,
        seed=0,
    )


@pytest.mark.parametrize(
    ("member", "shift", "method"), [("pooled", "new", "prototype_rows"), ("llama", "known", "lora_replay")]
)
def test_the_next_tenant_adopts_what_the_first_contributed(
    tiny: TinyModels, tmp_path: Path, member: str, shift: LabelShift, method: str
) -> None:
    model, task = incident(tiny, member, shift)
    surgery_method(method, STRONG)  # named rightly
    healed = heal(model, task, store=tmp_path / "a", strategy=method, gate=GATE, lora=STRONG, key=ACME, issued=ISSUED)
    patch = healed.outcome.deployed
    assert patch is not None
    market = DirectoryTransport(tmp_path / "market")
    about = incident_of(model, task, patch, method)
    arguments: dict[str, Any] = {"store": tmp_path / "a", "patch_id": "acme/repair", "issued": ISSUED}
    # A model loaded from a folder is known here by its path, which must not leave.
    rules = HouseRules(base_licence="Apache-2.0", base_name=f"lab/{member}")
    done = contribute(patch, about, market, ACME, expires=EXPIRES, rules=rules, **arguments)
    assert done.published_evaluation
    texts = [s.text.encode() for split in about.splits.values() for s in split]
    published = b"".join(path.read_bytes() for path in market.path.rglob("*") if path.is_file())
    assert not [text for text in texts if text in published]

    # Tenant B knows ACME: its own failures, which nobody trained on, are fixed by what it finds.
    policy = policy_for([PublisherKey(ACME.public_hex, "acme", known=True)])
    client = MarketplaceClient([market], policy, tmp_path / "b", NOW)
    other = strange_samples(40, seed=9) if member == "llama" else new_samples(20, seed=9)
    failing = failures(model, other)
    theirs = RepairTask(
        task.task_type, shift, task.domain, f"{task.domain} fails", failing[:12], failing[12:26], task.replay,
        task.control_selection,
    )  # fmt: skip
    second = heal(model, theirs, store=tmp_path / "b", market=client, gate=GATE, strategy="best_single")
    assert second.outcome.deployed is not None
    assert (second.outcome.route, second.outcome.deployed.digest) == ("marketplace", done.digest)
    with model.applied(second.outcome.deployed):
        answers = model.predict([s.text for s in failing[26:]]).outputs
    fixed = [model.is_correct(a, s.expected) for a, s in zip(answers, failing[26:], strict=True)]
    assert len(fixed) >= 10
    assert sum(fixed) > 0.8 * len(fixed)
    # The publisher's own evaluation is there to be read; it gives the patch no higher level.
    assert second.outcome.deployed.level == "known_publisher"
    (data,) = market.read_evaluations(done.digest)
    said = open_evaluation(data, {ACME.keyid: ACME.public_key})
    assert said.after_ppm > said.before_ppm

    # Tenant C does not know the key.
    stranger = MarketplaceClient([market], policy_for([PublisherKey(ALICE.public_hex, "alice")]), tmp_path / "c", NOW)
    (hit,) = stranger.search(SearchQuery(task.task_type, task.domain, base_digest=model.digest))
    found, attempt = stranger.fetch(hit)
    assert (found, hit.problem, attempt.code) == (None, "unknown_key", "unknown_key")
    assert not list((tmp_path / "c").glob("*/*.safetensors"))


def failures(model: Any, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    outputs = model.predict([s.text for s in samples]).outputs
    return tuple(s for s, o in zip(samples, outputs, strict=True) if not model.is_correct(o, s.expected))


KILLED = """
import os, signal, sys
from pathlib import Path
from symbio_lab.marketplace.contribution import contribute
from symbio_lab.marketplace.directory import DirectoryTransport
from tests.unit.marketplace.test_contributing import House

house = House(Path(sys.argv[1]))
if sys.argv[2] == "killed":
    DirectoryTransport.publish_evaluation = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
done = house.contribute(issued=sys.argv[3])
print(done.ref, done.digest, done.published_patch, done.published_evaluation)
"""


def test_a_kill_between_patch_and_evaluation_is_completed_by_the_next_run(tmp_path: Path) -> None:
    def run(how: str, now: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", KILLED, str(tmp_path), how, now]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    killed = run("killed", ISSUED)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    market = DirectoryTransport(tmp_path / "market")
    assert market.list_versions("acme/travel") == [1]
    assert not (market.path / "evaluations").exists()
    completed = run("again", "2026-02-01T00:00:00Z")
    assert completed.returncode == 0, completed.stderr
    ref, digest, patch, evaluation = completed.stdout.split()
    assert (ref, patch, evaluation) == ("acme/travel@1", "False", "True")
    assert market.list_versions("acme/travel") == [1]
    assert len(market.read_evaluations(digest)) == 1


# ---------------------------------------------------------------------------------------------- the command line


HEAL = ["heal", "--scenario", "tiny", "--n-repair", str(tiny_world.PLAN.n_repair), "--no-contribute", "--json"]


@pytest.fixture
def tiny_home(tiny: TinyModels, built: Path, installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with the tiny base, and a pool in which no patch is left."""
    home = Path(shutil.copytree(built / "home", tmp_path / "home"))
    for pool in home.glob("pools/*/market/patches"):
        shutil.rmtree(pool)
    monkeypatch.setenv("SYMBIO_LAB_HOME", str(home))
    monkeypatch.setenv("SYMBIO_LAB_NUM_THREADS", "1")
    monkeypatch.setenv("SYMBIO_LAB_DEVICE", "cpu")
    monkeypatch.setattr(
        "symbio_lab.models.embedding.SentenceEmbedder", partial(SentenceEmbedder, tiny.folder("encoder"))
    )
    return home


@pytest.fixture
def symbio(capsys: Any) -> Any:
    """Run the program in this process; return exit code, stdout and stderr."""
    from symbio_lab.cli import app

    if not any(command.name == "contribute" for command in market_commands.market_app.registered_commands):
        market_contributing.add_contributing_commands(market_commands.market_app)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_registering_adds_one_command() -> None:
    app = typer.Typer()
    market_contributing.add_contributing_commands(app)
    assert [command.name for command in app.registered_commands] == ["contribute"]


def test_contributing_from_the_command_line(symbio: Any, tiny_home: Path, tmp_path: Path) -> None:
    healed = json.loads(symbio(*HEAL)[1])
    assert (healed["route"], healed["contributed"]) == ("surgery", None)
    market = tmp_path / "market"
    asked = ["market", "contribute", healed["deployment_id"][:12], "--market", market, "--as", "acme/shades"]
    code, out, _ = symbio(*asked, "--dry-run")
    assert code == 0
    assert "dry run: nothing was published" in out
    assert "Repair of shades" in out
    assert not market.exists()
    shown = json.loads(symbio(*asked, "--dry-run", "--json")[1])
    assert shown["manifest"]["licence"] == "Apache-2.0"
    assert not market.exists()

    code, out, _ = symbio(*asked, "--json")
    done = json.loads(out)
    assert (code, done["ref"], done["published_patch"], done["published_evaluation"]) == (
        0,
        "acme/shades@1",
        True,
        True,
    )
    assert done["evaluation"]["after_ppm"] > done["evaluation"]["before_ppm"]
    assert symbio("market", "verify", market)[0] == 0
    # By the digest of the patch too, and nothing new happens.
    code, out, _ = symbio("market", "contribute", healed["patch"]["digest"], *asked[3:])
    assert (code, "stands already, with its evaluation" in out) == (0, True)
    assert DirectoryTransport(market).list_versions("acme/shades") == [1]

    rules = tmp_path / "house.yaml"
    rules.write_text("base_licence: GPL-3.0-only\n", encoding="utf-8")
    code, out, _ = symbio(*asked, "--policy", rules, "--json")
    assert (code, json.loads(out)["error"]) == (3, "licence")
    code, out, _ = symbio(*asked, "--policy", rules, "--licence", "GPL-3.0-only", "--dry-run", "--json")
    assert json.loads(out)["manifest"]["licence"] == "GPL-3.0-only"

    assert symbio("rollback", "--model", "tiny")[0] == 0
    code, out, _ = symbio(*asked, "--json")
    told = json.loads(out)
    assert (code, told["error"]) == (2, "bad_data")
    assert "is not what serves" in told["message"]


def test_a_name_is_contributed_to_after_the_key_was_rotated(symbio: Any, tiny_home: Path, tmp_path: Path) -> None:
    healed = json.loads(symbio(*HEAL)[1])
    market = tmp_path / "market"
    asked = ["market", "contribute", healed["deployment_id"], "--market", market, "--as", "acme/shades", "--json"]
    first = json.loads(symbio(*asked)[1])
    assert symbio("market", "keys", "rotate", "own")[0] == 0
    code, out, _ = symbio(*asked)
    second = json.loads(out)
    assert (code, second["ref"], second["manifest"]["previous"]) == (0, "acme/shades@2", first["digest"])
    # It is our own surgery still, and says so.
    assert second["manifest"]["training_data"] == first["manifest"]["training_data"]
    assert second["manifest"]["lineage"] == []
    assert symbio("market", "verify", market)[0] == 0
    # Whoever never followed that key does not get the name.
    shutil.rmtree(tiny_home / "keys")
    code, out, _ = symbio(*asked[:2], healed["deployment_id"], *asked[3:])
    assert (code, json.loads(out)["error"]) == (3, "name_taken")
    assert DirectoryTransport(market).list_versions("acme/shades") == [1, 2]


def test_healing_asks_for_the_passphrase_of_our_key(
    symbio: Any, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_storage, "DEFAULT_COST", key_storage.KdfCost(ops=1, memory_bytes=8192))
    monkeypatch.delenv(key_storage.PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    typed: list[str] = []
    monkeypatch.setattr(getpass, "getpass", lambda prompt, stream: typed.append(prompt) or "correct horse battery")
    shutil.rmtree(tiny_home / "keys", ignore_errors=True)
    made = KeyRing(tiny_home / "keys").create(OWN_NAME, "passphrase", lambda: "correct horse battery")
    code, out, _ = symbio(*HEAL, "--strategy", "prototype_rows")
    assert (code, typed) == (0, [f"Passphrase of the key {OWN_NAME}: "])
    patch = open_stored(tiny_home / "patches", json.loads(out)["patch"]["digest"])
    assert patch.manifest.keyid == made.keyid


@pytest.mark.parametrize(
    ("what", "name", "code", "error"),
    [
        ("0123456789abcdef", "acme/x", 2, "not_found"),
        ("short", "acme/x", 2, "not_found"),
        ("0123456789abcdef", "../x", 3, "unsafe_name"),
    ],
)
def test_what_does_not_exist_is_not_contributed(
    symbio: Any, tmp_home: Path, tmp_path: Path, what: str, name: str, code: int, error: str
) -> None:
    asked = ["market", "contribute", what, "--market", tmp_path / "market", "--as", name, "--json"]
    exit_code, out, _ = symbio(*asked)
    assert (exit_code, json.loads(out)["error"]) == (code, error)
    assert not (tmp_path / "market").exists()


def test_a_deployment_without_its_incident_is_not_contributed(symbio: Any, tiny_home: Path, tmp_path: Path) -> None:
    healed = json.loads(symbio(*HEAL, "--strategy", "prototype_rows")[1])
    shutil.rmtree(tiny_home / "models" / "deployments")
    asked = ["market", "contribute", healed["deployment_id"], "--market", tmp_path / "market", "--as", "acme/shades"]
    code, _, err = symbio(*asked)
    assert (code, "error[not_found]" in err, "was not recorded" in err) == (2, True, True)


def test_an_adopted_patch_is_contributed_with_its_lineage(
    symbio: Any, built: Path, tiny_home: Path, tmp_path: Path
) -> None:
    shutil.copytree(built / "home" / "pools", tiny_home / "pools", dirs_exist_ok=True)
    healed = json.loads(symbio(*HEAL)[1])
    assert healed["route"] == "marketplace"
    asked = ["market", "contribute", healed["deployment_id"], "--market", tmp_path / "market", "--as", "acme/shades"]
    done = json.loads(symbio(*asked, "--json")[1])
    assert done["manifest"]["lineage"] == [healed["patch"]["digest"]]
    assert done["manifest"]["training_data"].startswith("Adopted unchanged: patch ")
