"""The story of the service on real data: a CLINC150 base that never learned a domain, and the lab's own pool for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from symbio_lab.config import Settings
from tests.fixtures_service import Service, serving_world
from tests.integration.test_service_story import HEALING, NUM_REPORTS, tell_the_story

WORLD = "clinc150/travel"
MAX_INPUTS = 1_000


@pytest.fixture
def clinc(tmp_path: Path) -> Iterator[Service]:
    with serving_world(WORLD, Settings(home=tmp_path / "home", num_threads=1)) as found:
        found.tenant("a")
        found.tenant("b")
        yield found


@pytest.mark.slow
def test_two_hundred_reports_of_travel_requests_heal_one_tenant(clinc: Service) -> None:
    incident = clinc.world.sources.incident
    # Evenly over all intents: the sources are ordered by them.
    failing = list(incident.slice_repair[:: max(1, len(incident.slice_repair) // (NUM_REPORTS + 100))])
    # As many as one call takes, at most.
    others = list(incident.control[:: -(-len(incident.control) // MAX_INPUTS)])
    (domain,) = {sample.domain for sample in failing}
    tell_the_story(clinc, failing, others, HEALING | {"domain": domain})
