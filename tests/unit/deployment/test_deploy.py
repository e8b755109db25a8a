"""Deploying, rolling back and restarting: the ledger first, then the registry; bit-equal both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.deployment.deploy import deploy, restore, roll_back
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import ModelUnresolvedError, NotFoundError, StorageError, TrustError
from symbio_lab.events import Deployed, Event
from symbio_lab.records import Patch
from symbio_lab.store.database import Database
from symbio_lab.store.ledger import Ledger
from tests.fixtures_models import TinyModels, known_samples, query_modules, random_deltas, seal

TEXTS = [s.text for s in known_samples(5)]
PLACE = {"tenant": "acme", "model_id": "support"}


class Shop:
    """A registry with one model, a ledger, and two patches."""

    def __init__(self, tiny: TinyModels, folder: Path) -> None:
        self.model: Any = tiny.load("pooled")
        self.registry = ModelRegistry()
        self.registry.register("support", self.model)
        self.ledger = Ledger(Database(folder / "store.db"))
        modules = query_modules(self.model)
        made = [seal(self.model, folder, random_deltas(self.model, modules, seed=i, scale=1.0)) for i in range(2)]
        self.patches = {patch.digest: patch for patch in made}
        self.first, self.second = made
        self.count = 0

    def now(self) -> str:
        self.count += 1
        return f"2026-06-01T00:00:{self.count:02d}Z"

    def deploy(self, patch: Patch, **options: Any) -> Any:
        return deploy(self.registry, self.ledger, patch, now=self.now(), **{**PLACE, **options})

    def roll_back(self) -> Any:
        return roll_back(self.registry, self.ledger, now=self.now(), reopen=self.patches.__getitem__, **PLACE)

    def answers(self, tenant: str = "acme") -> Any:
        return self.registry.predict(tenant, "support", TEXTS)


@pytest.fixture
def shop(tiny: TinyModels, tmp_path: Path) -> Shop:
    return Shop(tiny, tmp_path)


def test_deploy_predict_roll_back_is_bit_equal(shop: Shop) -> None:
    base = shop.answers()
    line = shop.deploy(shop.first)
    one = shop.answers()
    assert one != base
    assert (line.stage, line.patch_digest, line.previous) == ("live", shop.first.digest, None)
    second = shop.deploy(shop.second)
    assert second.previous == line.deployment_id
    assert shop.answers() not in (base, one)
    assert shop.roll_back().patch_digest == shop.first.digest
    assert shop.answers() == one
    assert shop.roll_back().patch_digest is None
    assert shop.answers() == base
    assert shop.ledger.verify_chain().num_lines == 4


def test_only_the_tenant_s_own_answers_change(shop: Shop) -> None:
    base = shop.answers("other")
    shop.deploy(shop.first)
    assert shop.answers("other") == base != shop.answers()


def test_deploying_after_a_roll_back_goes_on_from_there(shop: Shop) -> None:
    shop.deploy(shop.first)
    back = shop.roll_back()
    again = shop.deploy(shop.second)
    assert again.previous == back.deployment_id
    assert shop.roll_back().patch_digest is None


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_shadow_and_canary_change_no_answer(shop: Shop, stage: str) -> None:
    base = shop.answers()
    assert shop.deploy(shop.first, stage=stage).stage == stage
    assert shop.answers() == base
    with pytest.raises(NotFoundError, match="nothing is deployed"):
        shop.roll_back()


def test_a_patch_for_another_base_is_refused(shop: Shop, tmp_path: Path) -> None:
    foreign = seal(shop.model, tmp_path, random_deltas(shop.model, query_modules(shop.model)), base_digest="e" * 64)
    with pytest.raises(TrustError) as caught:
        shop.deploy(foreign)
    assert caught.value.code == "wrong_base"
    assert shop.ledger.head().num_lines == 0


def test_a_ledger_that_cannot_be_written_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    base = shop.answers()

    def full(_line: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(shop.ledger, "append", full)
    with pytest.raises(StorageError):
        shop.deploy(shop.first)
    assert shop.answers() == base


def test_a_predecessor_that_was_tampered_with_is_not_restored(shop: Shop) -> None:
    shop.deploy(shop.first)
    shop.deploy(shop.second)
    during = shop.answers()

    def changed(_digest: str) -> Patch:
        raise TrustError("digest_mismatch", "a file changed on disk")

    with pytest.raises(TrustError):
        roll_back(shop.registry, shop.ledger, now=shop.now(), reopen=changed, **PLACE)
    assert shop.answers() == during
    assert shop.ledger.head().num_lines == 2


def test_a_restart_restores_what_the_ledger_says(shop: Shop) -> None:
    shop.deploy(shop.first)
    before = shop.answers()
    fresh = ModelRegistry()
    fresh.register("support", shop.model)
    assert fresh.live_patch(**PLACE) is None
    assert restore(fresh, shop.ledger, reopen=shop.patches.__getitem__, **PLACE) == shop.first
    assert fresh.predict("acme", "support", TEXTS) == before
    shop.roll_back()
    assert restore(fresh, shop.ledger, reopen=shop.patches.__getitem__, **PLACE) is None
    assert fresh.live_patch(**PLACE) is None


def test_nothing_is_restored_where_nothing_was_deployed(shop: Shop) -> None:
    assert restore(shop.registry, shop.ledger, reopen=shop.patches.__getitem__, **PLACE) is None


def test_a_restart_on_another_base_is_refused(shop: Shop, tiny: TinyModels) -> None:
    shop.deploy(shop.first)
    fresh = ModelRegistry()
    fresh.register("support", tiny.load("bert"))
    with pytest.raises(TrustError) as caught:
        restore(fresh, shop.ledger, reopen=shop.patches.__getitem__, **PLACE)
    assert caught.value.code == "wrong_base"


def test_an_unknown_model_is_a_typed_error(shop: Shop) -> None:
    with pytest.raises(ModelUnresolvedError) as caught:
        shop.registry.predict("acme", "nobody", TEXTS)
    assert "support" in caught.value.hint
    with pytest.raises(ModelUnresolvedError):
        shop.deploy(shop.first, model_id="nobody")


def test_listeners_hear_of_both(shop: Shop) -> None:
    events: list[Event] = []
    shop.deploy(shop.first, listener=events.append)
    roll_back(
        shop.registry, shop.ledger, now=shop.now(), reopen=shop.patches.__getitem__, listener=events.append, **PLACE
    )
    assert [e.stage for e in events if isinstance(e, Deployed)] == ["live", "rolled_back"]
