"""The command line on a whole world: compare, heal, ledger, rollback; and what bad input ends with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.cli import app
from symbio_lab.codec import read_json
from symbio_lab.models.embedding import SentenceEmbedder
from tests.architecture.sources import ROOT
from tests.attacks.market_simulator import ALICE, Market
from tests.fixtures_models import TinyModels
from tests.integration import tiny_world

PLAN = tiny_world.PLAN
COMPARE = ["compare", "--scenario", "tiny", "--n-repair", str(PLAN.n_repair), "--no-report"]
HEAL = ["heal", "--scenario", "tiny", "--n-repair", str(PLAN.n_repair)]


@pytest.fixture
def tiny_home(tiny: TinyModels, built: Path, installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with the tiny base and pool, where the command line finds the tiny world by name."""
    home = Path(shutil.copytree(built / "home", tmp_path / "home"))
    monkeypatch.setenv("SYMBIO_LAB_HOME", str(home))
    monkeypatch.setenv("SYMBIO_LAB_NUM_THREADS", "1")
    monkeypatch.setenv("SYMBIO_LAB_DEVICE", "cpu")
    monkeypatch.setattr(
        "symbio_lab.models.embedding.SentenceEmbedder", partial(SentenceEmbedder, tiny.folder("encoder"))
    )
    monkeypatch.setattr("symbio_lab.cli.market_search._embedder", lambda: None)
    return home


@pytest.fixture
def symbio(capsys: Any) -> Any:
    """Run the program in this process; return exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_healing_deploys_is_in_the_ledger_and_rolls_back_bit_for_bit(symbio: Any, tiny_home: Path) -> None:
    code, out, _ = symbio(*HEAL, "--tenant", "acme", "--json")
    assert code == 0
    healed = json.loads(out)
    assert (healed["status"], healed["stage"], healed["model_id"]) == ("healed", "live", "tiny")
    refused = {a["ref"]: a["code"] for a in healed["attempts"] if a["status"] == "refused"}
    assert refused["tampered/patch"] == "digest_mismatch"
    assert refused["unsigned/patch"] == "unsigned"
    assert refused["wrong-base/patch"] == "wrong_base"
    assert refused["unknown-key/patch"] == "unknown_key"
    digests = healed["predictions_digest"]
    assert digests["before"] != digests["after"]

    code, out, _ = symbio("ledger", "--tenant", "acme", "--verify", "--json")
    ledger = json.loads(out)
    assert (code, ledger["chain"]["verified"]) == (0, True)
    assert [line["deployment_id"] for line in ledger["deployments"]] == [healed["deployment_id"]]
    assert json.loads(symbio("ledger", "--tenant", "nobody", "--json")[1])["deployments"] == []

    code, out, _ = symbio("rollback", "--tenant", "acme", "--model", "tiny", "--json")
    back = json.loads(out)
    assert (code, back["bit_equal"], back["patch_id"]) == (0, True, None)
    assert back["predictions_digest"] == {
        "before": digests["before"],
        "deployed": digests["after"],
        "now": digests["before"],
    }
    code, out, err = symbio("rollback", "--tenant", "acme", "--model", "tiny")
    assert (code, "error[not_found]" in err) == (2, True)
    assert len(json.loads(symbio("ledger", "--verify", "--json")[1])["deployments"]) == 2


def test_a_second_deployment_rolls_back_to_the_first(symbio: Any, tiny_home: Path) -> None:
    first = json.loads(symbio(*HEAL, "--json")[1])
    second = json.loads(symbio(*HEAL, "--strategy", "prototype_rows", "--seed", "1", "--json")[1])
    assert (first["route"], second["route"]) == ("marketplace", "surgery")
    code, out, _ = symbio("rollback", "--model", "tiny")
    assert code == 0
    assert f"serves now: {first['patch']['id']}" in out
    assert "bit-equal: true" in out
    code, out, _ = symbio("rollback", "--model", "tiny")
    assert "serves now: the base" in out
    assert f"predictions now: {first['predictions_digest']['before']}" in out
    assert "bit-equal: true" in out


def test_a_changed_patch_is_not_rolled_back_onto(symbio: Any, tiny_home: Path) -> None:
    healed = json.loads(symbio(*HEAL, "--json")[1])
    weights = next((tiny_home / "patches" / healed["patch"]["digest"]).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    code, _, err = symbio("rollback", "--model", "tiny")
    assert (code, "error[digest_mismatch]" in err) == (3, True)
    assert len(json.loads(symbio("ledger", "--json")[1])["deployments"]) == 1


def test_accepted_surgery_is_contributed_and_found_again(symbio: Any, tiny_home: Path) -> None:
    # No patch of the pool may be tried, so marketplace_first operates and gives back what it made.
    for pool in tiny_home.glob("pools/*/market/patches"):
        shutil.rmtree(pool)
    code, out, _ = symbio(*HEAL, "--json")
    healed = json.loads(out)
    assert (code, healed["route"]) == (0, "surgery")
    assert healed["contributed"]
    rows = json.loads(symbio("market", "list", "--json")[1])
    assert [(row["digest"], row["verified"]) for row in rows] == [(healed["contributed"], True)]
    overlay = tiny_home / "overlays" / "tiny"
    assert symbio("market", "verify", overlay)[0] == 0
    code, out, _ = symbio(*HEAL, "--no-contribute", "--json")
    assert (code, json.loads(out)["contributed"]) == (0, None)


@pytest.mark.parametrize(
    ("limit", "code"), [(["--budget-forwards", "1"], "budget_exceeded"), (["--wall-limit", "0.001"], "timeout")]
)
def test_a_run_out_of_budget_or_time_says_so_and_deploys_nothing(
    symbio: Any, tiny_home: Path, limit: list[str], code: str
) -> None:
    exit_code, out, _ = symbio(*HEAL, *limit, "--json")
    told = json.loads(out)
    assert (exit_code, told["deployment_id"]) == (5, None)
    assert code in {attempt["code"] for attempt in told["attempts"]}
    assert "deployment: none" in symbio(*HEAL, *limit)[1]


def test_comparing_prints_one_row_a_strategy_and_resumes(symbio: Any, tiny_home: Path, tmp_path: Path) -> None:
    out_folder = tmp_path / "results"
    arguments = [*COMPARE, "--strategies", "noop,best_single", "--seeds", "0,1", "--out", out_folder]
    code, out, err = symbio(*arguments)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("strategy", "noop", "best_single", "oracle_best", "surgery_donor_data", "exploratory:", "results:")
    ]
    assert "cell 8/8" in err
    written = {path: path.stat().st_mtime_ns for path in out_folder.glob("cells/*/cell.json")}
    code, out, _ = symbio(*arguments, "--json")
    told = json.loads(out)
    assert (code, told["num_rows"], told["report"]) == (0, 8, None)
    assert told["summary"] == read_json(out_folder / "summary.json")
    assert {path: path.stat().st_mtime_ns for path in out_folder.glob("cells/*/cell.json")} == written


def test_more_failures_than_there_are_is_an_empty_slice(symbio: Any, tiny_home: Path, tmp_path: Path) -> None:
    for command in (["heal"], ["compare", "--out", str(tmp_path / "results")]):
        code, out, _ = symbio(*command, "--scenario", "tiny", "--n-repair", "9999", "--json")
        assert (code, json.loads(out)["error"]) == (2, "empty_slice")
    assert not (tiny_home / "store.db").exists()


def test_the_demo_ends_with_the_report(
    symbio: Any, built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from symbio_lab.kernels import executing

    ran: dict[str, Any] = {}

    def execute(name: str, parameters: dict[str, Any], out: Path, listener: Any) -> Path:
        ran.update(parameters, name=name)
        shutil.copytree(built / "out", parameters["out"], dirs_exist_ok=True)
        listener(executing.NotebookPrinted(name, "[1/7] noop, seed 0: no_op"))
        return out

    monkeypatch.setattr(executing, "execute_notebook", execute)
    monkeypatch.setattr("symbio_lab.reports.writing.write_report", lambda folder, listener=None: folder / "report.html")
    out_folder = tmp_path / "demo"
    code, out, err = symbio("demo", "--out", out_folder)
    assert code == 0
    assert out.splitlines()[-1] == f"report: {out_folder / 'report.html'}"
    assert out.splitlines()[0].split()[:4] == ["strategy", "seed", "status", "route"]
    assert "[1/7] noop, seed 0: no_op" in err
    assert (ran["name"], ran["scenario"], ran["n_repair"], ran["seeds"]) == ("heal", "helpdesk", 16, [0])
    code, out, _ = symbio("demo", "--full", "--out", out_folder, "--json")
    assert (code, ran["seeds"]) == (0, [0, 1, 2])
    rows = {row["strategy"]: row for row in json.loads(out)["rows"]}
    assert rows["noop"]["status"] == "no_op"
    assert rows["best_single"]["fix_rate_low"] <= rows["best_single"]["fix_rate"]


def test_the_demo_s_parameters_are_those_of_the_notebook(symbio: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from symbio_lab.kernels import executing

    papermill = pytest.importorskip("papermill")
    known = papermill.inspect_notebook(str(executing.notebook_path("heal")))
    seen: dict[str, Any] = {}

    def stop(_name: str, parameters: dict[str, Any], _out: Path, _listener: Any) -> Path:
        seen.update(parameters)
        raise KeyboardInterrupt

    monkeypatch.setattr(executing, "execute_notebook", stop)
    code, _, err = symbio("demo", "--out", tmp_path / "demo")
    assert (code, "finished work is kept" in err) == (130, True)
    assert set(seen) <= set(known)


def program(*arguments: object, limit_bytes: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed program as a user would, in a process of its own."""

    def limit() -> None:
        import resource

        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [sys.executable, "-m", "symbio_lab.cli.app", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=limit if limit_bytes is not None else None,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
def test_a_full_disk_stops_with_one_message_and_leaves_nothing(tmp_home: Path, tmp_path: Path) -> None:
    market = Market(tmp_path)
    market.publish(expires="2999-01-01T00:00:00Z")
    arguments = ("market", "install", "alice/travel", "--market", market.transport.path, "--key", ALICE.public_hex)
    full = program(*arguments, limit_bytes=64)
    assert (full.returncode, full.stdout) == (4, "")
    assert "error[storage]" in full.stderr
    assert "Traceback" not in full.stderr
    assert not [path for path in (tmp_home / "patches").rglob("*") if path.is_file()]
    assert program(*arguments).returncode == 0


def test_without_network_the_message_says_what_to_do(tmp_home: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ran = program("heal", "--scenario", "clinc150/travel", "--json", SYMBIO_LAB_DATA=str(tmp_path / "data"))
    assert ran.returncode == 4
    told = json.loads(ran.stdout)
    assert told["error"] == "no_network"
    assert "helpdesk" in told["hint"]
