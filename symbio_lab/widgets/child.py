"""Long work in a process of its own, so that the kernel answers other cells all the while.

Rules:
    1. What is called is a function of this library, by name, with arguments and result as JSON: no object crosses.
    2. Events come back one JSON line each, as ``Event.to_json`` gives them; what the child prints is kept for its
       error.
    3. ``cancel`` asks (``should_stop``), then interrupts, so that temporary files are removed, and kills last, all
       within twice ``GRACE_S``. Stores are written atomically: a kill leaves the state before or after a step.
    4. A child whose kernel is gone ends itself.

Example::

    work = Child("symbio_lab.widgets.healing_run:heal_world", {"scenario": "helpdesk"}, on_event=show, on_end=done)
    work.start()
    work.cancel()
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal

from symbio_lab.errors import ConfigError, SymbioError

GRACE_S = 0.8
"""Seconds between asking a child to stop and interrupting it, and again between that and killing it."""
_MAX_TAIL = 2_000
"""Characters of what a child printed that its error shows."""
_PACKAGE = "symbio_lab."

OnEvent = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended."""

    status: Literal["finished", "failed", "cancelled"]
    result: Any = None
    """What the function returned; None unless finished."""
    code: str = ""
    """Code of the typed error, or ``child_died``."""
    reason: str = ""
    hint: str = ""


class Child:
    """One call in a process of its own."""

    def __init__(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        on_event: OnEvent | None = None,
        on_end: Callable[[Ended], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the call; nothing is started.

        Args:
            function: ``module:name`` in this package; it is called with ``arguments`` and the keywords ``listener`` and
                ``should_stop``, and returns JSON.
            arguments: keyword arguments, JSON.
            on_event: called in a thread with each event.
            on_end: called once, in the same thread, after the last event.
            env: further environment variables.

        Raises:
            ConfigError: not a function of this package, or arguments that are not JSON.
        """
        if not function.startswith(_PACKAGE) or ":" not in function:
            raise ConfigError([f"{function!r} is not module:function of symbio_lab"])
        try:
            self._request = json.dumps({"function": function, "arguments": dict(arguments)})
        except (TypeError, ValueError) as error:
            raise ConfigError([f"arguments of {function} are not JSON: {error}"]) from error
        self._on_event, self._on_end = on_event, on_end
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._printed: IO[bytes] | None = None
        self._cancelled = threading.Event()
        self.ended: Ended | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread is not None and self.ended is None

    def start(self) -> None:
        """Start the process.

        Raises:
            ConfigError: it was started before.
        """
        if self._thread is not None:
            raise ConfigError(["this work was started before"], hint="make a new Child")
        reading, writing = os.pipe()
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread that reads it
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "symbio_lab.widgets.child", str(writing)],
                stdin=subprocess.PIPE,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                # Ctrl-C in the notebook interrupts the cell, not the work that another cell started.
                start_new_session=True,
                env={**os.environ, **self._env},
            )
        except BaseException:
            os.close(reading)
            self._printed.close()
            raise
        finally:
            os.close(writing)
        self._send(self._request)
        self._thread = threading.Thread(target=self._follow, args=(reading,), daemon=True, name="symbio-child")
        self._thread.start()

    def cancel(self) -> None:
        """Ask the child to stop and return at once; ``on_end`` follows within 2 s. A second call does nothing."""
        if not self.is_running or self._cancelled.is_set():
            return
        self._cancelled.set()
        self._send("cancel")
        for wait_s, number in ((GRACE_S, signal.SIGTERM), (2 * GRACE_S, signal.SIGKILL)):
            timer = threading.Timer(wait_s, self._signal, (number,))
            timer.daemon = True
            timer.start()

    def wait(self, timeout_s: float | None = None) -> Ended | None:
        """Return how it ended, or None if it has not within ``timeout_s`` seconds."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.ended

    def _send(self, line: str) -> None:
        pipe = self._process.stdin if self._process else None
        if pipe is None:
            return
        try:
            pipe.write(line.encode() + b"\n")
            pipe.flush()
        except OSError:
            return  # it has ended; what it said before is still read

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _follow(self, reading: int) -> None:
        process, printed = self._process, self._printed
        assert process is not None
        assert printed is not None
        last: Ended | None = None
        try:
            with os.fdopen(reading, encoding="utf-8") as lines:
                for line in lines:
                    try:
                        told = json.loads(line)
                    except ValueError:
                        continue  # killed in the middle of a line
                    if told.get("kind") == "event" and not self._cancelled.is_set():
                        self._tell(told["event"])
                    elif told.get("kind") == "end":
                        last = Ended(**told["ended"])
            process.wait()
            if last is None:
                last = Ended("failed", code="child_died", reason=self._why(process.returncode, printed))
            if self._cancelled.is_set() and last.status != "finished":
                last = Ended("cancelled", reason="cancelled")
        finally:
            printed.close()
            if process.stdin is not None:
                process.stdin.close()
            self.ended = last or Ended("failed", code="child_died", reason="its events could not be read")
        if self._on_end is not None:
            self._on_end(self.ended)

    def _tell(self, event: Mapping[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(event)

    @staticmethod
    def _why(status: int, printed: IO[bytes]) -> str:
        printed.seek(0, os.SEEK_END)
        printed.seek(max(printed.tell() - _MAX_TAIL, 0))
        tail = printed.read().decode(errors="replace").strip()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"the process of this work ended with {how}" + (f": {tail.splitlines()[-1]}" if tail else "")


class _Interrupted(BaseException):
    """The kernel lost its patience: clean up and end."""


def _interrupt(*_: object) -> None:
    raise _Interrupted


def _main(writing: int) -> None:
    """Run one request of standard input; the other end of ``writing`` is the kernel."""
    out = os.fdopen(writing, "w", encoding="utf-8", buffering=1)
    lock = threading.Lock()
    stop = threading.Event()

    def say(kind: str, content: Any) -> None:
        with lock:
            out.write(json.dumps({"kind": kind, ("event" if kind == "event" else "ended"): content}) + "\n")

    request = json.loads(sys.stdin.readline())

    def listen_for_cancel() -> None:
        sys.stdin.readline()
        stop.set()
        if sys.stdin.readline() == "":
            # The kernel is gone: nobody would show the result.
            threading.Timer(GRACE_S, lambda: os._exit(1)).start()

    threading.Thread(target=listen_for_cancel, daemon=True).start()
    module, _, name = request["function"].partition(":")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        function = getattr(importlib.import_module(module), name)
        result = function(
            **request["arguments"], listener=lambda event: say("event", event.to_json()), should_stop=stop.is_set
        )
        say("end", {"status": "finished", "result": json.loads(json.dumps(result))})
    except SymbioError as error:
        say("end", {"status": "failed", "code": error.code, "reason": str(error), "hint": error.hint or ""})
    except _Interrupted:
        say("end", {"status": "cancelled", "reason": "interrupted"})
    out.flush()
    # Not exit(): a thread may wait for a line that never comes, and torch's pools take their time.
    os._exit(0)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
