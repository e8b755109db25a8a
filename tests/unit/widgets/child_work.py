"""Work that the tests of ``Child`` run in its process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from symbio_lab.errors import ConfigError, HealingCancelledError
from symbio_lab.events import BuildProgress, Listener

ShouldStop = Callable[[], bool]


def add(a: int, b: int, *, listener: Listener, should_stop: ShouldStop) -> int:
    print("what a library prints")
    for done in range(3):
        listener(BuildProgress("sum", done + 1, 3))
    return a + b


def refuse(*, listener: Listener, should_stop: ShouldStop) -> None:
    raise ConfigError(["a is wrong"], hint="mend a")


def crash(*, listener: Listener, should_stop: ShouldStop) -> None:
    raise ZeroDivisionError("by zero")


def die(*, listener: Listener, should_stop: ShouldStop) -> None:
    os._exit(9)


def listen(started: str, *, listener: Listener, should_stop: ShouldStop) -> None:
    Path(started).write_text(str(os.getpid()))
    while not should_stop():
        time.sleep(0.01)
    raise HealingCancelledError("asked to stop")


def be_deaf(started: str, left: str, *, listener: Listener, should_stop: ShouldStop) -> None:
    try:
        Path(left).write_text("half")
        Path(started).write_text(str(os.getpid()))
        while True:
            time.sleep(0.01)
    finally:
        Path(left).unlink()


def be_stubborn(started: str, *, listener: Listener, should_stop: ShouldStop) -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(started).write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)


def opaque(*, listener: Listener, should_stop: ShouldStop) -> Any:
    return {"pid": os.getpid(), "session": os.getsid(0)}
