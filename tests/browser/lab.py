"""JupyterLab and Voila as a person meets them: a server of its own folder, a page in Chromium, the kernel behind it."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
READY_S = 60.0
RUN_MS = 180_000


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """JupyterLab over a folder of notebooks."""

    def __init__(self, folder: Path, home: Path, env: dict[str, str]) -> None:
        self.folder, self.port, self.token = folder, free_port(), secrets.token_hex(16)
        settings = home / "settings"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "overrides.json").write_text(json.dumps(SETTINGS))
        self.log = (home / "server.log").open("wb")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--ServerApp.ip=127.0.0.1",
                f"--ServerApp.port={self.port}",
                "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={folder}",
                f"--IdentityProvider.token={self.token}",
                "--LabApp.expose_app_in_browser=True",
                f"--LabApp.app_settings_dir={settings}",
                f"--LabApp.workspaces_dir={home / 'workspaces'}",
                "--KernelManager.transport=ipc",
                *(["--allow-root"] if os.geteuid() == 0 else []),
            ],
            env={**os.environ, **jupyter_places(home), **env},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        wait_until_up(f"{self.base}/api/status?token={self.token}", self.process)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def jupyter_places(home: Path) -> dict[str, str]:
    """Where Jupyter keeps what it keeps, apart from the user's own."""
    places = {name: home / name.lower() for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    # A socket's path has 107 characters at most.
    places["JUPYTER_RUNTIME_DIR"] = short = Path(tempfile.mkdtemp(prefix="sl-"))
    atexit.register(shutil.rmtree, short, ignore_errors=True)
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return {name: str(place) for name, place in places.items()}


def wait_until_up(address: str, process: subprocess.Popen[bytes], *, any_status: bool = False) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                if answer.status == 200:
                    return
        except urllib.error.HTTPError:
            if any_status:
                return
            time.sleep(0.1)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("the server did not answer")


class LabPage:
    """One notebook in one page; ``problems`` is what the browser complained of."""

    def __init__(self, page: Any, server: Server, name: str) -> None:
        self.page, self.server, self.name = page, server, name
        self.problems: list[str] = []
        self.outside: list[str] = []
        page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.problems.append(str(e)))
        page.on("request", lambda r: self._note(r.url))
        page.set_default_timeout(60_000)
        workspace = f"t{time.time_ns()}"
        page.goto(
            f"{server.base}/lab/workspaces/{workspace}/tree/{name}?token={server.token}", wait_until="domcontentloaded"
        )
        page.wait_for_function("() => !!window.jupyterapp")
        page.evaluate("() => window.jupyterapp.restored.then(() => true)")
        page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.context?.isReady")

    def wait_until_idle(self) -> None:
        """Return when the kernel is there and does nothing."""
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        )

    def run_all(self) -> None:
        """Run every cell; return when all ran."""
        self.wait_until_idle()
        self.page.set_default_timeout(RUN_MS)
        done = self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        assert done, "\n".join(self.page.locator(".jp-OutputArea-output").all_inner_texts())
        self.page.set_default_timeout(60_000)

    def value(self, expression: str) -> Any:
        """Return what a Python expression is in the kernel, as JSON."""
        text = self.page.evaluate(
            """async (e) => { const k = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const f = k.requestExecute({code: '', silent: true, store_history: false,
                user_expressions: {v: `__import__('json').dumps(${e})`}});
            const v = (await f.done).content.user_expressions.v;
            return v.status === 'ok' ? v.data['text/plain'] : `'"${v.ename}: ${v.evalue}"'` }""",
            expression,
        )
        # The kernel shows a Python string; what is in it is JSON.
        import ast

        return json.loads(ast.literal_eval(text))

    def save(self) -> dict[str, Any]:
        """Save the notebook and return it."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
        saved: dict[str, Any] = json.loads((self.server.folder / self.name).read_text())
        return saved

    def dark(self) -> None:
        """Switch to JupyterLab's dark theme."""
        self.page.evaluate(
            "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
        )
        self.page.wait_for_function(
            "() => document.body.dataset.jpThemeLight === 'false' && !document.getElementById('jupyterlab-splash')"
        )

    def _note(self, url: str) -> None:
        local = (f"http://127.0.0.1:{self.server.port}", f"ws://127.0.0.1:{self.server.port}", "data:", "blob:")
        if not url.startswith(local):
            self.outside.append(url)


@contextmanager
def opened(browser: Any, server: Server, name: str, **settings: Any) -> Iterator[LabPage]:
    """A notebook in a page of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 1600}, **settings)
    try:
        place = LabPage(context.new_page(), server, name)
        yield place
        # A kernel that stays would take memory and time from the tests that follow.
        place.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    finally:
        context.close()
