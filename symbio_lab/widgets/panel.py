"""What every widget of the lab has: a heading, a line that speaks, the same call in Python, and a static twin.

Rules:
    1. A widget shows; what it starts runs in a ``Child``. Its methods are what its buttons call.
    2. Its bundle has the live view, an HTML twin and plain text, so that a shared notebook shows it without a kernel
       and without trust.
    3. No trait holds a secret: whoever saves the notebook saves the traits.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from symbio_lab.display.bundles import Bundle
from symbio_lab.errors import SymbioError
from symbio_lab.widgets.child import Child, Ended
from symbio_lab.widgets.views.spoken import CodeBox, SpokenLine

VIEW = "application/vnd.jupyter.widget-view+json"


class Panel(ipywidgets.VBox):
    """Base of all widgets."""

    def __init__(self, title: str, children: Sequence[ipywidgets.Widget], *, name: str) -> None:
        """Put a widget together.

        Args:
            title: heading.
            children: what lies between heading and status line.
            name: hook for style sheets and tests, ``sl-<name>``.
        """
        self.status = SpokenLine()
        self.code_box = CodeBox()
        heading = ipywidgets.HTML(f"<h3 style='margin:4px 0'>{html.escape(title)}</h3>")
        super().__init__([heading, *children, self.status, self.code_box])
        self.title = title
        self.add_class("sl-panel")
        self.add_class(f"sl-{name}")
        self.layout.width = "100%"

    def code(self) -> str:
        """Return the Python that does the same as the widget as it stands."""
        raise NotImplementedError

    def twin(self) -> Bundle:
        """Return what a reader without a kernel sees: HTML and plain text."""
        raise NotImplementedError

    def refresh_code(self) -> None:
        """Show the call that fits the choices made."""
        self.code_box.code = self.code()

    def guarded(self, action: Callable[[], Any]) -> Any:
        """Run what a button asks for; a typed error is said, with its hint, and None returned."""
        try:
            return action()
        except SymbioError as error:
            self.status.say(f"{error}. Next: {error.hint}", "bad")
            return None

    def say_failed(self, ended: Ended) -> None:
        """Say why work in a process of its own did not finish."""
        if ended.status == "cancelled":
            self.status.say("cancelled")
        else:
            self.status.say(f"{ended.reason}{f'. Next: {ended.hint}' if ended.hint else ''}", "bad")

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return live view, static twin and text in one."""
        live = super()._repr_mimebundle_(**kwargs)
        data = dict(live[0] if isinstance(live, tuple) else live or {})
        twin = self.twin()
        return {**data, "text/html": twin.html or f"<pre>{html.escape(str(twin))}</pre>", "text/plain": str(twin)}


class WorkingPanel(Panel):
    """A widget that starts work in a process of its own, one piece at a time."""

    child: Child | None = None
    """The newest piece of work."""

    @property
    def is_working(self) -> bool:
        """Whether work runs now."""
        return self.child is not None and self.child.is_running

    def cancel(self) -> None:
        """Stop what runs, within two seconds."""
        if self.child is not None and self.child.is_running:
            self.status.say("stopping ...")
            self.child.cancel()

    def wait(self, timeout_s: float | None = None) -> Ended | None:
        """Return how the work ended, or None if it has not within ``timeout_s`` seconds; for scripts."""
        return self.child.wait(timeout_s) if self.child is not None else None


def button(words: str, name: str, action: Callable[[], Any], *, tip: str = "", kind: str = "") -> ipywidgets.Button:
    """Return a button.

    Args:
        words: on it.
        name: hook, ``sl-<name>``.
        action: called on a click.
        tip: what it does, where the words do not say it.
        kind: ``primary``, ``danger`` or nothing.
    """
    made = ipywidgets.Button(description=words, tooltip=tip or words, button_style=kind)
    made.add_class(f"sl-{name}")
    made.on_click(lambda _: action())
    return made


def labelled(control: Any, name: str) -> Any:
    """Return a control with its hook, ``sl-<name>``."""
    control.add_class(f"sl-{name}")
    control.style.description_width = "initial"
    return control


def flow() -> ipywidgets.Layout:
    """Return the layout of controls that stand in a row and wrap where it is narrow."""
    return ipywidgets.Layout(display="flex", flex_flow="row wrap", width="100%", grid_gap="4px 12px")
