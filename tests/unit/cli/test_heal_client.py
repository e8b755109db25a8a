"""Whose patches symbio heal may adopt: the pool's publishers, ours and those enrolled, less what was revoked since."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from symbio_lab.cli.heal import _client
from symbio_lab.cli.session import Session
from symbio_lab.config import load_settings
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.trust.enrolled import EnrolledKey, enrol
from symbio_lab.trust.key_ring import OWN_NAME
from symbio_lab.trust.keys import load_or_create_key
from symbio_lab.trust.policy import PublisherKey
from tests.attacks.market_simulator import ALICE, EVE, NOW, standard_policy


def test_the_policy_of_healing_is_the_pool_s_with_everything_decided_here(
    symbio: Any, tmp_home: Path, tmp_path: Path
) -> None:
    session = Session(load_settings())
    own = load_or_create_key(session.settings.keys / f"{OWN_NAME}.json")
    enrol(session.settings, EnrolledKey(PublisherKey(EVE.public_hex, "eve"), trusted=True))
    pool: Any = SimpleNamespace(policy=standard_policy(), path=tmp_path / "pool")

    def policy() -> Any:
        return _client(session, pool, DirectoryTransport(tmp_path / "market"), own, NOW).policy  # type: ignore[arg-type]

    before = policy()
    assert before.keys[own.keyid].known
    assert before.trusted == {EVE.keyid}
    assert before.revoked == frozenset()
    assert symbio("market", "keys", "revoke", EVE.keyid, "--reason", "stolen").code == 0
    assert symbio("market", "keys", "rotate", OWN_NAME).code == 0
    after = policy()
    assert after.revoked == {EVE.keyid}
    assert after.predecessors_of(load_or_create_key(session.own_key_file).keyid) == {own.keyid}
    assert set(standard_policy().keys) <= set(after.keys)
    assert ALICE.keyid in after.keys
