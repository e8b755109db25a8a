"""One line of words that is read out when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import anywidget
import traitlets

Tone = Literal["plain", "good", "bad"]
_HERE = Path(__file__).parent


class SpokenLine(anywidget.AnyWidget):
    """A live region (WAI-ARIA ``status``)."""

    _esm = (_HERE / "spoken.js").read_text(encoding="utf-8")
    _css = (_HERE / "spoken.css").read_text(encoding="utf-8")
    text = traitlets.Unicode("").tag(sync=True)
    tone = traitlets.Enum(["plain", "good", "bad"], "plain").tag(sync=True)

    def say(self, text: str, tone: Tone = "plain") -> None:
        """Show ``text``."""
        with self.hold_sync():
            self.text, self.tone = text, tone


class CodeBox(anywidget.AnyWidget):
    """Python that does the same as the widget above it, folded until asked for."""

    _esm = (_HERE / "code.js").read_text(encoding="utf-8")
    _css = (_HERE / "code.css").read_text(encoding="utf-8")
    code = traitlets.Unicode("").tag(sync=True)
