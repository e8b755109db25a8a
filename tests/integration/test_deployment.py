"""From a healing run to the ledger and back: live, rolled back, restarted in another process's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.deployment.deploy import restore, roll_back
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.pipeline import Deploying, heal
from symbio_lab.records import LabelShift, Patch, Sample
from symbio_lab.store.database import Database
from symbio_lab.store.ledger import Ledger
from symbio_lab.trust.trusted_set import TrustedState
from symbio_lab.trust.verifying import verify_patch
from tests.fixtures_market import GATE, STRONG, TinyMarket, incident, tiny_market
from tests.fixtures_models import (
    EXPIRES,
    HEALER,
    ISSUED,
    NOW,
    TinyModels,
    generation_samples,
    known_samples,
    new_samples,
    strange_samples,
)

SITES: dict[str, tuple[LabelShift, str, tuple[Sample, ...]]] = {
    "pooled": ("new", "head_retrain", (*new_samples(5), *known_samples(5))),
    "llama": ("known", "lora_replay", (*strange_samples(5), *generation_samples(3))),
}
"""Tiny model -> label shift, a surgery method that serves it, traffic from inside and outside the slice."""
PLACE = {"tenant": "acme", "model_id": "support"}


class Site:
    """One installation: model, market, store and ledger in one folder."""

    def __init__(self, tiny: TinyModels, folder: Path, member: str) -> None:
        self.tiny, self.folder, self.member = tiny, folder, member
        shift, self.surgery, traffic = SITES[member]
        self.texts = [s.text for s in traffic]
        self.model, self.task = incident(tiny, member, shift)
        self.market: TinyMarket = tiny_market(self.model, folder, shift, unfit=False)
        self.registry = self.restarted(self.model)
        self.seconds = 0

    def restarted(self, model: Any) -> ModelRegistry:
        registry = ModelRegistry()
        registry.register("support", model)
        return registry

    @property
    def ledger(self) -> Ledger:
        """Opened anew each time, as another process would."""
        return Ledger(Database(self.folder / "store.db"))

    def now(self) -> str:
        self.seconds += 1
        return NOW.replace("00:00Z", f"00:{self.seconds:02d}Z")

    def heal(self, strategy: str) -> Any:
        return heal(
            self.model, self.task, store=self.folder / "store", strategy=strategy, gate=GATE, lora=STRONG, key=HEALER,
            market=self.market.client(self.folder / "store"), issued=ISSUED, expires=EXPIRES,
            deploying=Deploying(self.registry, self.ledger, now=self.now(), **PLACE),
        )  # fmt: skip

    def reopen(self, digest: str) -> Patch:
        """Verify the stored folder again under the tenant's policy: the registry never trusts the disk."""
        root = self.folder / "store" / digest
        return verify_patch(root, self.market.policy, TrustedState(), now=NOW, store=self.folder / "reopened")

    def answers(self, registry: ModelRegistry | None = None) -> Any:
        return (registry or self.registry).predict("acme", "support", self.texts)


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tiny: TinyModels, tmp_path: Path) -> Site:
    return Site(tiny, tmp_path, request.param)


def test_heal_deploy_heal_again_and_roll_back_twice(site: Site) -> None:
    base = site.answers()
    first = site.heal("best_single")
    after_first = site.answers()
    second = site.heal(site.surgery)
    after_second = site.answers()
    assert len({repr(a) for a in (base, after_first, after_second)}) == 3
    assert second.deployment.previous == first.deployment.deployment_id
    for expected in (after_first, base):
        roll_back(site.registry, site.ledger, now=site.now(), reopen=site.reopen, **PLACE)
        assert site.answers() == expected
    with pytest.raises(NotFoundError):
        roll_back(site.registry, site.ledger, now=site.now(), reopen=site.reopen, **PLACE)
    assert site.ledger.verify_chain().num_lines == 4
    stages = [line.stage for line in site.ledger.history("acme", "support")]
    assert stages == ["live", "live", "rolled_back", "rolled_back"]


def test_a_restart_answers_like_before(site: Site) -> None:
    site.heal("best_single")
    before = site.answers()
    registry = site.restarted(site.tiny.load(site.member))
    patch = restore(registry, site.ledger, reopen=site.reopen, **PLACE)
    assert patch is not None
    assert patch.patch_id == "good/patch"
    assert site.answers(registry) == before


def test_a_restart_refuses_a_patch_that_changed_on_disk(site: Site) -> None:
    healed = site.heal("best_single")
    weights = next((site.folder / "store" / healed.deployment.patch_digest).glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(TrustError) as caught:
        restore(site.restarted(site.model), site.ledger, reopen=site.reopen, **PLACE)
    assert caught.value.code == "digest_mismatch"
    # The patch that is live would be read again too, and is refused instead of answering wrongly.
    with pytest.raises(TrustError):
        site.answers()


def test_the_ledger_is_a_chain_that_names_what_ran(site: Site) -> None:
    healed = site.heal("best_single")
    (line,) = site.ledger.history("acme", "support")
    assert line == healed.deployment
    assert line.base_digest == site.model.digest
    assert line.patch_digest == healed.outcome.deployed.digest
    assert json.loads(json.dumps(line.note)) == "marketplace, gate test"
    head = site.ledger.head()
    site.heal(site.surgery)
    assert site.ledger.verify_chain(head).num_lines == 2
