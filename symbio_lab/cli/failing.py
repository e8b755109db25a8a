"""The one place where an error becomes an exit code and a message.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a fault of symbio_lab itself, with a traceback |
| 2 | bad input |
| 3 | refused by a trust rule |
| 4 | a resource is missing: network, disk, package, model |
| 5 | out of budget or time |
| 130 | interrupted; finished work is kept |
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.errors import ConfigError, StorageError, SymbioError

EXIT_CODES = {
    0: "done",
    1: "a fault of symbio_lab itself, with a traceback",
    2: "bad input",
    3: "refused by a trust rule",
    4: "a resource is missing: network, disk, package, model",
    5: "out of budget or time",
    6: "some runs of a sweep failed or are missing; resume it",
    7: "a repeated run gave another figure than was reported",
    130: "interrupted; finished work is kept",
}
INTERRUPTED = 130
INTERNAL = 1
_UsageException: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Wrong options and arguments, whichever module the installed typer takes this class from."""

logger = logging.getLogger(__name__)


def run_guarded(call: Callable[[], Any], *, as_json: bool) -> int:
    """Return the exit code of ``call``, telling every error in one line (as one object with ``as_json``)."""
    try:
        code = call()
        sys.stdout.flush()
    except SymbioError as error:
        return _tell(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except _UsageException as error:
        return _tell_usage(error, as_json)
    except BrokenPipeError:
        return _drop_stdout()
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return _drop_stdout()  # typer leaves by itself when the pipe closed under its help
    except OSError as error:
        logger.debug("an operating-system error", exc_info=True)
        return _tell(StorageError(f"the system refused: {error.strerror or error}"), as_json)
    except Exception as error:  # noqa: BLE001  the boundary of the program: nothing is swallowed, all is shown
        traceback.print_exc()
        told = {"error": "internal", "message": f"{type(error).__name__}: {error}", "hint": "please report this fault"}
        return _show(told, INTERNAL, as_json)
    if code == INTERRUPTED:
        hint = "finished work is kept; run the same command again to resume"
        return _show({"error": "interrupted", "message": "interrupted", "hint": hint}, INTERRUPTED, as_json)
    return code if isinstance(code, int) else 0


def _drop_stdout() -> int:
    """Return 0 and let stdout lead nowhere: the reader has seen enough (symbio ... | head), nobody is left to tell."""
    with contextlib.suppress(OSError):  # a stdout without a file has no pipe either
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
    return 0


def _tell(error: SymbioError, as_json: bool) -> int:
    told = error.to_json()
    if isinstance(error, ConfigError):
        told["problems"] = list(error.problems)
    return _show(told, error.exit_code, as_json)


def _tell_usage(error: Exception, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "symbio"
    message = error.format_message()  # type: ignore[attr-defined]
    return _show({"error": "usage", "message": message, "hint": f"{command} --help"}, 2, as_json)


def _show(told: Mapping[str, object], exit_code: int, as_json: bool) -> int:
    if as_json:
        print_json(told)
        return exit_code
    message, hint = (" ".join(str(told[name]).split()) for name in ("message", "hint"))
    print(f"error[{told['error']}]: {message}\nhint: {hint}", file=sys.stderr)
    return exit_code
