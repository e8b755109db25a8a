"""Help, versions, exit codes and the one place where errors become messages."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from symbio_lab import __version__
from symbio_lab.cli import ledger, market, session
from symbio_lab.cli.compare import DEFAULT_STRATEGIES, names_of
from symbio_lab.cli.failing import EXIT_CODES
from symbio_lab.comparison import plan
from symbio_lab.errors import BudgetExceededError, SymbioError
from tests.architecture.sources import ROOT

COMMANDS = ["demo", "compare", "heal", "ledger", "rollback", "report", "doctor", "lab"]
MARKET_COMMANDS = ["search", "list", "verify", "publish", "install", "enrol"]


def test_help_names_every_command_and_every_exit_code(symbio: Any) -> None:
    ran = symbio("--help")
    assert ran.code == 0
    assert all(f"  {name} " in ran.out for name in [*COMMANDS, "market"])
    for code, meaning in EXIT_CODES.items():
        assert f"{code:<4} {meaning}" in ran.out


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), *(["market", name] for name in MARKET_COMMANDS)])
def test_every_command_offers_json(symbio: Any, command: list[str]) -> None:
    ran = symbio(*command, "--help")
    assert ran.code == 0
    assert "--json" in ran.out


def test_the_version_is_the_package_s(symbio: Any) -> None:
    assert symbio("--version").out == f"symbio-lab {__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'numpy', 'pandas', 'matplotlib', 'papermill', 'pyarrow'}"
    code = f"import sys; from symbio_lab.cli import app; app.run(['--help']); sys.exit(len({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0


def test_the_default_strategies_are_the_plan_s() -> None:
    assert names_of(DEFAULT_STRATEGIES) == plan.DEFAULT_STRATEGIES


def test_every_error_names_an_exit_code_that_help_explains() -> None:
    def below(kind: type[SymbioError]) -> set[type[SymbioError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    assert {kind.exit_code for kind in below(SymbioError)} <= set(EXIT_CODES)


@pytest.mark.parametrize("arguments", [["nonsense"], ["market", "nonsense"], ["heal", "--n-repair", "x"], ["rollback"]])
def test_wrong_usage_is_bad_input(symbio: Any, arguments: list[str]) -> None:
    ran = symbio(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error[usage]: ")
    assert "hint: symbio" in ran.err
    told = symbio(*arguments, "--json")
    assert (told.code, told.json["error"], told.err) == (2, "usage", "")


def test_all_problems_are_told_at_once(symbio: Any) -> None:
    wrong = ["--strategies", "noop,foo", "--pool", "bad", "--n-repair", "0", "--seeds", "0,a", "--scenario", "nowhere"]
    ran = symbio("compare", *wrong)
    assert ran.code == 2
    assert ran.err.count("\n") == 2  # one line for the error, one for the hint
    for what in ("'foo'", "'bad'", "n_repair", "'a'", "'nowhere'"):
        assert what in ran.err
    told = symbio("compare", *wrong, "--json").json
    assert (told["error"], len(told["problems"])) == ("bad_config", 5)
    assert set(told) >= {"error", "message", "hint"}


@pytest.mark.parametrize("command", ["heal", "compare"])
def test_an_unknown_dataset_names_the_known_ones(symbio: Any, command: str) -> None:
    ran = symbio(command, "--scenario", "clinc15/travel")
    assert ran.code == 2
    assert "error[unknown_dataset]" in ran.err
    assert "clinc150/travel" in ran.err


def test_bad_settings_are_told_at_once_with_their_origin(symbio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMBIO_LAB_NUM_THREADS", "none")
    ran = symbio("--device", "tpu", "--dtype", "int8", "ledger")
    assert ran.code == 2
    for what in ("flag --device", "flag --dtype", "environment SYMBIO_LAB_NUM_THREADS"):
        assert what in ran.err


def test_a_state_folder_that_is_a_file_is_refused(symbio: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    ran = symbio("--home", file, "ledger")
    assert (ran.code, "is a file, not a folder" in ran.err) == (2, True)
    below = symbio("--home", file / "below", "ledger")
    assert (below.code, "error[storage]" in below.err) == (4, True)


def raising(error: BaseException) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (BudgetExceededError("too dear"), 5, "budget_exceeded"),
        (OSError(28, "No space left on device"), 4, "storage"),
        (RuntimeError("a fault"), 1, "internal"),
    ],
)
def test_each_error_has_its_exit_code(
    symbio: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, name: str
) -> None:
    monkeypatch.setattr(ledger, "session_of", raising(error))
    ran = symbio("ledger")
    assert (ran.code, ran.out) == (code, "")
    assert f"error[{name}]: " in ran.err
    told = symbio("ledger", "--json")
    assert (told.code, told.json["error"]) == (code, name)


def test_an_interrupted_run_says_that_it_can_resume(symbio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "session_of", raising(KeyboardInterrupt()))
    assert "finished work is kept; run the same command again to resume" in symbio("ledger").err


def test_a_reader_that_leaves_is_no_error(symbio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "session_of", raising(BrokenPipeError()))
    ran = symbio("ledger")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close differently")
def test_a_closed_pipe_leaves_no_traceback(tmp_home: Path) -> None:
    command = f"{sys.executable} -m symbio_lab.cli.app --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_flags_reach_child_processes_and_nothing_is_left_behind(
    symbio: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, str | None] = {}
    real = session.session_of

    def look(context: Any) -> Any:
        seen.update({name: os.environ.get(name) for name in ("SYMBIO_LAB_HOME", "SYMBIO_LAB_DEVICE")})
        return real(context)

    monkeypatch.setattr(ledger, "session_of", look)
    before, handlers = dict(os.environ), list(logging.getLogger().handlers)
    assert symbio("--home", tmp_path / "other", "--device", "cpu", "ledger").code == 0
    assert seen == {"SYMBIO_LAB_HOME": str(tmp_path / "other"), "SYMBIO_LAB_DEVICE": "cpu"}
    assert dict(os.environ) == before
    assert logging.getLogger().handlers == handlers


def test_the_log_level_is_a_setting(symbio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(*_: object, **__: object) -> list[Any]:
        logging.getLogger("symbio_lab.somewhere").info("a quiet word")
        return []

    monkeypatch.setattr(market, "choose_markets", speak)
    assert "a quiet word" not in symbio("market", "list").err
    loud = symbio("--log-level", "info", "market", "list", "--json")
    assert "INFO symbio_lab.somewhere: a quiet word" in loud.err
    assert loud.json == []


def test_an_empty_ledger_is_whole(symbio: Any) -> None:
    assert "chain ok: 0 lines" in symbio("ledger", "--verify").out
    assert symbio("ledger", "--verify", "--json").json == {
        "deployments": [],
        "chain": {"num_lines": 0, "digest": "0" * 64, "verified": True},
    }


def test_nothing_to_roll_back(symbio: Any) -> None:
    ran = symbio("rollback", "--model", "helpdesk", "--json")
    assert (ran.code, ran.json["error"]) == (2, "not_found")


def test_a_report_of_nothing(symbio: Any, tmp_path: Path) -> None:
    ran = symbio("report", tmp_path / "nowhere")
    assert (ran.code, "error[not_found]" in ran.err) == (2, True)
