"""The tiny models, for the tests of this folder."""

from __future__ import annotations

from tests.fixtures_models import tiny as tiny
