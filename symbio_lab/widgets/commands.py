"""Commands of ``symbio`` from a widget: what the command line does, with its keys and policy, in a process of its own.

A passphrase is never taken from a widget: it would be a trait. It comes from the keyring or from
``SYMBIO_LAB_PASSPHRASE`` in the kernel's environment, as for the command line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from symbio_lab.errors import HealingCancelledError, SymbioError
from symbio_lab.events import Listener

_POLL_S = 0.1


class CommandFailedError(SymbioError):
    """A command ended with an error; its message and hint are those of the command."""

    code = "command_failed"


def run_symbio(arguments: Sequence[str], *, listener: Listener, should_stop: Callable[[], bool]) -> Any:
    """Return what ``symbio ARGUMENTS --json`` prints.

    Raises:
        CommandFailedError: it failed.
        HealingCancelledError: it was stopped.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", "from symbio_lab.cli.app import main; main()", *arguments, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while True:
            try:
                out, said = process.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if should_stop():
                    raise HealingCancelledError(f"symbio {' '.join(arguments[:2])} was stopped") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    try:
        result = json.loads(out)
    except ValueError:
        result = {"message": (said.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    if process.returncode != 0:
        told = result if isinstance(result, dict) and "message" in result else {"message": f"exit {process.returncode}"}
        raise CommandFailedError(str(told["message"]), hint=str(told.get("hint", "run it in a terminal")))
    return result
