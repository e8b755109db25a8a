"""Points in a plane with a lasso; ten thousand are 64 kB of state.

Example::

    view = ScatterView("failures by meaning")
    view.show(positions, groups, ["travel", "banking"])
    view.observe(lambda change: print(view.chosen), "chosen")
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from symbio_lab.display.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from symbio_lab.errors import ConfigError

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
"""Colours of groups, in order; ``scatter.js`` gives each a shape of its own as well."""
MAX_GROUPS = 7
_STEPS = 65_535
_HERE = Path(__file__).parent


class ScatterView(anywidget.AnyWidget):
    """The plane."""

    _esm = (_HERE / "scatter.js").read_text(encoding="utf-8")
    _css = (_HERE / "scatter.css").read_text(encoding="utf-8")
    points = traitlets.Unicode("").tag(sync=True)
    """Base64 of (N, 2) little-endian uint16: the box of all points, x to the right, y up."""
    groups = traitlets.Unicode("").tag(sync=True)
    """Base64 of (N,) uint8, an index into ``legend`` each."""
    legend: Any = traitlets.List().tag(sync=True)
    label = traitlets.Unicode("points").tag(sync=True)
    chosen = traitlets.List(traitlets.Int()).tag(sync=True)
    """Numbers of the chosen points, ascending."""
    version = traitlets.Int(0).tag(sync=True)

    def __init__(self, label: str = "points") -> None:
        """Make an empty plane; ``label`` says what it shows."""
        super().__init__(label=label)

    def show(self, positions: NDArray[np.floating], groups: Sequence[int], titles: Sequence[str]) -> None:
        """Show points; nothing is chosen afterwards.

        Args:
            positions: (N, 2), finite.
            groups: (N,), an index into ``titles`` each.
            titles: names of at most ``MAX_GROUPS`` groups.

        Raises:
            ConfigError: shapes or numbers do not fit.
        """
        places = np.asarray(positions, dtype=np.float64).reshape(-1, 2)
        numbers = np.asarray(groups, dtype=np.int64)
        problems = [] if len(places) == len(numbers) else [f"{len(places)} points, {len(numbers)} groups"]
        problems += [] if np.isfinite(places).all() else ["positions must be finite"]
        problems += [] if len(titles) <= MAX_GROUPS else [f"at most {MAX_GROUPS} groups can be told apart"]
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(titles)):
            problems.append("a group has no title")
        if problems:
            raise ConfigError(problems)
        with self.hold_sync():
            self.points = base64.b64encode(_steps(places).astype("<u2").tobytes()).decode("ascii")
            self.groups = base64.b64encode(numbers.astype(np.uint8).tobytes()).decode("ascii")
            self.legend = [
                {"title": str(title), "colour": colour}
                for title, colour in zip(titles, COLOURS[: len(titles)], strict=True)
            ]
            self.chosen = []
            self.version += 1


def _steps(places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return positions as steps of their bounding box."""
    if not len(places):
        return np.zeros((0, 2), dtype=np.int64)
    low = places.min(axis=0)
    span = places.max(axis=0) - low
    return np.round((places - low) / np.where(span > 0, span, 1.0) * _STEPS).astype(np.int64)
