"""Made-up keys that push bad patches: what they reach under the plain bound, and under the capped one.

The simulation: 200 patches, 40 % of them good; 60 honest raters (right in 78 % of cases, sd 10), each of whom rates 3
to 15 % of the patches under a voucher of his own; S Sybils below one voucher push five bad patches and slam five good
ones. With camouflage each also copies the majority on up to 25 other patches. ``bad@20`` is how many of the five bad
patches stand among the best twenty.

It measures one attack that was written here: a check of the rule, no evidence that no other attack works.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from symbio_lab.marketplace.ratings import Rating, capped_rating, rate, wilson_lower
from symbio_lab.marketplace.voucher_trees import Place, VoucherTrees
from symbio_lab.trust.evaluation_statement import EvaluationStatement, sign_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, policy_for
from symbio_lab.trust.voucher import Voucher, sign_voucher
from tests.attacks.market_simulator import BASE, MALLORY, NOW, Market

NUM_PATCHES, NUM_HONEST, NUM_PUSHED, TOP = 200, 60, 5, 20
NUM_COPIED = 25
REPEATS = 30
SEED = 7


@dataclass(frozen=True)
class Crowd:
    """Who voted for what: patch -> rater -> whether the vote passes."""

    votes: tuple[dict[str, bool], ...]
    pushed: frozenset[int]
    """Bad patches that the Sybils push."""


def crowd(rng: np.random.Generator, num_sybils: int, *, camouflage: bool) -> Crowd:
    is_good = rng.random(NUM_PATCHES) < 0.4
    votes: list[dict[str, bool]] = [{} for _ in range(NUM_PATCHES)]
    for rater in range(NUM_HONEST):
        accuracy = float(np.clip(rng.normal(0.78, 0.10), 0.5, 0.95))
        rated = rng.random(NUM_PATCHES) < rng.uniform(0.03, 0.15)
        right = rng.random(NUM_PATCHES) < accuracy
        for patch in np.flatnonzero(rated):
            votes[patch][f"honest-{rater}"] = bool(is_good[patch]) is bool(right[patch])
    pushed, slammed = np.flatnonzero(~is_good)[:NUM_PUSHED], np.flatnonzero(is_good)[:NUM_PUSHED]
    public = [tuple(of_patch.values()) for of_patch in votes]
    popular = [patch for patch, said in enumerate(public) if len(said) >= 2]
    for sybil in range(num_sybils):
        name = f"sybil-{sybil}"
        if camouflage:
            for patch in rng.choice(popular, NUM_COPIED, replace=False):
                votes[patch][name] = 2 * sum(public[patch]) >= len(public[patch])
        votes_of_sybil = {**dict.fromkeys(pushed, True), **dict.fromkeys(slammed, False)}
        for patch, vote in votes_of_sybil.items():
            votes[patch][name] = vote
    return Crowd(tuple(votes), frozenset(int(patch) for patch in pushed))


def trees(num_sybils: int) -> VoucherTrees:
    """Every honest rater below an organisation of his own, all Sybils below one."""
    honest = {f"org-{n}": {f"honest-{n}": Place(f"org-{n}", 1)} for n in range(NUM_HONEST)}
    return VoucherTrees({**honest, "rogue": {f"sybil-{n}": Place("rogue", 1) for n in range(num_sybils)}})


def bad_at_top(scores: list[float], pushed: frozenset[int], rng: np.random.Generator) -> int:
    """Return how many pushed patches stand at the top; ties are broken at random."""
    order = sorted(range(NUM_PATCHES), key=lambda patch: (-scores[patch], rng.random()))
    return len(pushed & set(order[:TOP]))


@cache
def simulate(num_sybils: int, camouflage: bool) -> tuple[float, float]:
    """Return the mean of bad@20 under the capped and under the plain bound."""
    rng = np.random.default_rng([SEED, num_sybils, camouflage])
    voices, capped, plain = trees(num_sybils), [], []
    for _ in range(REPEATS):
        found = crowd(rng, num_sybils, camouflage=camouflage)
        capped.append(bad_at_top([capped_rating(said, voices) for said in found.votes], found.pushed, rng))
        uncapped = [wilson_lower(sum(said.values()), len(said)) for said in found.votes]
        plain.append(bad_at_top(uncapped, found.pushed, rng))
    return float(np.mean(capped)), float(np.mean(plain))


@pytest.mark.parametrize("camouflage", [False, True])
@pytest.mark.parametrize("num_sybils", [0, 20, 100])
def test_the_cap_keeps_pushed_patches_from_the_top(num_sybils: int, camouflage: bool) -> None:
    assert simulate(num_sybils, camouflage)[0] <= 0.5


@pytest.mark.parametrize("camouflage", [False, True])
@pytest.mark.parametrize("num_sybils", [20, 100])
def test_without_the_cap_the_attack_works(num_sybils: int, camouflage: bool) -> None:
    """Else the test above would say nothing."""
    assert simulate(num_sybils, camouflage)[1] >= 3


def test_without_sybils_both_rules_are_good() -> None:
    assert max(simulate(0, False)) <= 0.5


# --------------------------------------------------------------------------- the same with signatures, in a market

SUITE = "a" * 64
ORGS = tuple(SigningKey.from_seed(bytes([n]) * 32) for n in (61, 62, 63, 64))
ROGUE = SigningKey.from_seed(bytes([65]) * 32)
SYBILS = tuple(SigningKey.from_seed(n.to_bytes(32, "big")) for n in range(1, 41))
POLICY = policy_for(
    [PublisherKey(key.public_hex, f"org {i}", known=True) for i, key in enumerate((*ORGS, ROGUE))]
    + [PublisherKey(MALLORY.public_hex, "mallory")]
)


def evaluated(market: Market, name: str, votes: dict[SigningKey, bool]) -> Rating:
    market.publish(key=MALLORY, patch_id=name)
    entry = next(entry for entry in market.client().indices[0].entries if entry.ref == name)
    for key, passes in votes.items():
        said = EvaluationStatement(
            name,
            entry.digest,
            key.keyid,
            BASE,
            SUITE,
            200,
            400_000,
            900_000 if passes else 100_000,
            "2026-03-01T00:00:00Z",
            {"slice": "e" * 64},
        )
        market.transport.publish_evaluation(entry.digest, sign_evaluation(said, key))
    return rate(entry.digest, [market.transport], POLICY, NOW, known_suites={SUITE})


def test_forty_signed_sybils_weigh_one_vote_and_strangers_none(tmp_path: Path) -> None:
    market = Market(tmp_path, POLICY)
    for sybil in SYBILS:
        voucher = Voucher(sybil.public_hex, ROGUE.keyid, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
        market.transport.publish_evaluation(sybil.keyid, sign_voucher(voucher, ROGUE))
    good = evaluated(market, "mallory/good", dict.fromkeys(ORGS, True))
    pushed = evaluated(market, "mallory/bad", dict.fromkeys(ORGS, False) | dict.fromkeys(SYBILS, True))
    assert (pushed.n, round(pushed.weight, 9), pushed.num_vouchers) == (44, 5.0, 5)
    assert pushed.lower < 0.05 < good.lower
    # The plain bound would have put the bad patch first.
    assert wilson_lower(40, 44) > wilson_lower(4, 4)
    # Keys that nobody vouches for do not even count as votes.
    strangers = [SigningKey.from_seed(n.to_bytes(32, "big")) for n in range(100, 140)]
    assert evaluated(market, "mallory/worse", dict.fromkeys(strangers, True)).n == 0
