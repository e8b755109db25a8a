"""The tiny market of ``symbio_lab.testing``."""

from __future__ import annotations

from symbio_lab.testing.tiny_market import *  # noqa: F403
