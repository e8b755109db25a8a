"""What a figure, a table or a paragraph is to Jupyter: one mime bundle that needs no script and no trust.

Rules:
    1. A figure is ``image/png`` with alternative text, and ``text/plain``; one of ``charts`` is its Vega-Lite too.
    2. A table or paragraph is ``text/html`` without style or script, and ``text/plain``.
    3. Nothing is fetched when a bundle is shown; it looks the same without a kernel and without a network.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
"""Pixels an inch: sharp on dense screens, below 100 kB a figure."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One thing to show."""

    data: Mapping[str, Any]
    """Mime type -> content: text, images in base64, JSON as it is."""
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Mime type -> metadata, such as the alternative text of an image."""

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the bundle as IPython asks for it."""
        kept = {
            mime: content
            for mime, content in self.data.items()
            if (not include or mime in include) and mime not in (exclude or ())
        }
        return kept, {mime: dict(self.metadata[mime]) for mime in kept if mime in self.metadata}

    def __str__(self) -> str:
        """Return the plain text."""
        return str(self.data["text/plain"])

    @property
    def html(self) -> str:
        """The HTML fragment; empty for a figure."""
        return str(self.data.get("text/html", ""))

    @property
    def png(self) -> bytes:
        """The image; empty for anything else."""
        return base64.b64decode(self.data.get("image/png", ""))


def figure_bundle(figure: Figure, alt: str) -> Bundle:
    """Return a matplotlib figure as a bundle.

    Args:
        figure: drawn without pyplot, so that no global state is touched.
        alt: what the figure says, in words and figures, for those who do not see it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # No software name: equal figures are equal bytes, whatever drew them.
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    width = round(float(figure.get_figwidth()) * 100)
    image = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Bundle({"image/png": image, "text/plain": alt}, {"image/png": {"alt": alt, "width": width}})
