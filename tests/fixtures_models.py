"""The tiny models of ``symbio_lab.testing``, and the fixture that builds them once a session."""

from __future__ import annotations

import pytest

from symbio_lab.testing.tiny_models import *  # noqa: F403
from symbio_lab.testing.tiny_models import TinyModels
from symbio_lab.testing.tiny_samples import *  # noqa: F403


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """The tiny models, built once a session."""
    return TinyModels(tmp_path_factory.getbasetemp() / "tiny-models")
