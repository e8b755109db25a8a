"""Work in a process of its own: results, errors, cancelling, and kernels that go away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import ConfigError
from symbio_lab.widgets import child as child_module
from symbio_lab.widgets.child import Child, Ended

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _functions_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_PACKAGE", "tests.")


def run(name: str, **arguments: Any) -> tuple[Child, list[Any]]:
    told: list[Any] = []
    work = Child(
        f"tests.unit.widgets.child_work:{name}",
        arguments,
        on_event=told.append,
        on_end=told.append,
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    work.start()
    return work, told


def wait_for(path: Path) -> int:
    for _ in range(1000):
        if path.is_file() and path.read_text():
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError("it never started")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_result_comes_back_after_its_events() -> None:
    work, told = run("add", a=2, b=3)
    assert work.wait(30) == Ended("finished", 5)
    assert [e["done"] for e in told[:3]] == [1, 2, 3]
    assert told[3:] == [work.ended]
    assert not work.is_running


def test_a_typed_error_keeps_its_code_and_hint() -> None:
    work, _ = run("refuse")
    ended = work.wait(30)
    assert ended is not None
    assert (ended.status, ended.code, ended.reason, ended.hint) == ("failed", "bad_config", "a is wrong", "mend a")


def test_a_crash_says_its_last_words() -> None:
    ended = run("crash")[0].wait(30)
    assert ended is not None
    assert (ended.status, ended.code) == ("failed", "child_died")
    assert ended.reason == "the process of this work ended with exit status 1: ZeroDivisionError: by zero"


def test_a_silent_death_is_an_error() -> None:
    ended = run("die")[0].wait(30)
    assert ended is not None
    assert ended.reason == "the process of this work ended with exit status 9"


@pytest.mark.parametrize("name", ["listen", "be_deaf", "be_stubborn"])
def test_cancelling_takes_less_than_two_seconds(name: str, tmp_path: Path) -> None:
    started, left = tmp_path / "started", tmp_path / "left"
    arguments = {"started": str(started)} | ({"left": str(left)} if name == "be_deaf" else {})
    work, told = run(name, **arguments)
    pid = wait_for(started)
    at = time.monotonic()
    work.cancel()
    work.cancel()
    ended = work.wait(10)
    assert ended is not None
    assert ended.status == "cancelled"
    assert time.monotonic() - at < 2.0
    assert not is_alive(pid)
    assert not left.exists(), "what it had half done was removed"
    assert told == [ended]


def test_a_child_whose_kernel_is_gone_ends_itself(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = (
        "import time; from symbio_lab.widgets import child; child._PACKAGE = 'tests.'\n"
        f"child.Child('tests.unit.widgets.child_work:be_stubborn', {{'started': {str(started)!r}}}).start()\n"
        "time.sleep(60)"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    )
    pid = wait_for(started)
    kernel.kill()
    kernel.wait()
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_it_has_a_session_of_its_own() -> None:
    ended = run("opaque")[0].wait(30)
    assert ended is not None
    assert ended.result["pid"] == ended.result["session"] != os.getsid(0)


def test_only_functions_of_the_library_and_json_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        Child("tests.x:y", {"a": object()})
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="symbio_lab"):
        Child("os:system", {"command": "true"})


def test_nothing_is_started_twice() -> None:
    work, _ = run("add", a=1, b=1)
    with pytest.raises(ConfigError, match="started before"):
        work.start()
    work.wait(30)
    work.cancel()
    assert work.ended == Ended("finished", 2)
