"""Ratings: one voice for each organisation, one vote for each key, nothing for one's own patch or for mere text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.ratings import Rating, by_rating, rate, rate_statements, wilson_lower
from symbio_lab.marketplace.voucher_trees import DECAY, Place, VoucherTrees, grow_trees
from symbio_lab.records import Candidate, ClaimedMetric, PatchManifest
from symbio_lab.stats.intervals import wilson
from symbio_lab.trust.evaluation_statement import EvaluationStatement, MeasuredRate, sign_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for
from symbio_lab.trust.voucher import MAX_DEPTH, Voucher, sign_voucher
from tests.attacks.market_simulator import ALICE, BASE, EVE, MALLORY, NOW, Market, seal, standard_policy

LAB, UNI, FIRM = (SigningKey.from_seed(bytes([n]) * 32) for n in (21, 22, 23))
"""Organisations whose keys are known."""
RATERS = tuple(SigningKey.from_seed(bytes([n]) * 32) for n in range(31, 47))
SUITE, TEXT_SUITE = "a" * 64, "c" * 64
PATCH = "d" * 64
POLICY = policy_for(
    [PublisherKey(key.public_hex, name, known=True) for key, name in ((LAB, "lab"), (UNI, "uni"), (FIRM, "firm"))]
    + [PublisherKey(MALLORY.public_hex, "mallory")]
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PatchManifest:
    """A patch by MALLORY, who is enrolled and vouched for by nobody."""
    store = tmp_path_factory.mktemp("sealed")
    return seal(store, key=MALLORY, patch_id="mallory/travel", claims=[ClaimedMetric("fix_rate", 0.6, 50)]).manifest


@cache
def said(key: SigningKey, *, good: bool = True, issued: str = "2026-03-01T00:00:00Z", **changes: Any) -> bytes:
    after = 900_000 if good else 100_000
    honest = EvaluationStatement(
        "mallory/travel", PATCH, key.keyid, BASE, SUITE, 200, 400_000, after, issued, splits={"slice": "e" * 64}
    )
    return sign_evaluation(replace(honest, **changes), key)


@cache
def vouch(issuer: SigningKey, rater: SigningKey, depth: int = 0, expires: str = "2027-01-01T00:00:00Z") -> bytes:
    return sign_voucher(Voucher(rater.public_hex, issuer.keyid, "2026-01-01T00:00:00Z", expires, "", depth), issuer)


def filed(*vouchers: tuple[SigningKey, SigningKey, int]) -> dict[str, list[bytes]]:
    """Return vouchers (issuer, rater, depth) as a market files them: by the rater's keyid."""
    found: dict[str, list[bytes]] = {}
    for issuer, rater, depth in vouchers:
        found.setdefault(rater.keyid, []).append(vouch(issuer, rater, depth))
    return found


def rating(
    manifest: PatchManifest,
    envelopes: Iterable[bytes],
    vouchers: Mapping[str, list[bytes]] | None = None,
    policy: TrustPolicy = POLICY,
    **more: Any,
) -> Rating:
    asked: dict[str, Any] = {"known_suites": {SUITE}, **more}
    now = asked.pop("now", NOW)
    return rate_statements(manifest, PATCH, envelopes, lambda k: (vouchers or {}).get(k, []), policy, now, **asked)


def weights(found: Rating) -> dict[str, float]:
    return {vote.keyid: round(vote.weight, 9) for vote in found.votes}


# ------------------------------------------------------------------------------------------------- who has a voice


def test_a_known_key_has_one_vote(manifest: PatchManifest) -> None:
    found = rating(manifest, [said(LAB)])
    assert (found.n, found.num_vouchers, found.weight, found.share) == (1, 1, 1.0, 1.0)
    assert found.lower == pytest.approx(wilson(1, 1)[0], abs=1e-4)
    assert rating(manifest, []).lower == 0.0
    assert rating(manifest, []).share is None


@pytest.mark.parametrize("key", [EVE, RATERS[0], MALLORY])
def test_strangers_enrolled_publishers_and_oneself_have_none(manifest: PatchManifest, key: SigningKey) -> None:
    found = rating(manifest, [said(key)])
    assert (found.n, found.votes, found.refused) == (0, (), ("unknown_key",))


def test_who_is_vouched_for_has_a_vote_in_the_voucher_s_name(manifest: PatchManifest) -> None:
    found = rating(manifest, [said(RATERS[0])], filed((LAB, RATERS[0], 0)))
    assert (found.n, found.votes[0].voucher, found.weight) == (1, LAB.keyid, 1.0)


@pytest.mark.parametrize(
    "policy", [POLICY.revoke(LAB.keyid), POLICY.revoke(RATERS[0].keyid), policy_for([]), standard_policy()]
)
def test_without_a_known_root_a_voucher_is_nothing(manifest: PatchManifest, policy: TrustPolicy) -> None:
    known = policy.enrol(PublisherKey(MALLORY.public_hex, "mallory"))
    assert rating(manifest, [said(RATERS[0])], filed((LAB, RATERS[0], 0)), known).n == 0


def test_an_enrolled_key_that_is_not_known_cannot_vouch(manifest: PatchManifest) -> None:
    assert rating(manifest, [said(RATERS[0])], filed((MALLORY, RATERS[0], 2))).n == 0


def test_a_voucher_that_has_expired_is_nothing(manifest: PatchManifest) -> None:
    short = {RATERS[0].keyid: [vouch(LAB, RATERS[0], 0, "2026-05-01T00:00:00Z")]}
    assert rating(manifest, [said(RATERS[0])], short).n == 0
    assert rating(manifest, [said(RATERS[0])], short, now="2026-04-01T00:00:00Z").n == 1


def test_a_voucher_filed_under_another_key_is_nothing(manifest: PatchManifest) -> None:
    assert rating(manifest, [said(RATERS[1])], {RATERS[1].keyid: [vouch(LAB, RATERS[0])]}).n == 0
    assert rating(manifest, [said(RATERS[1])], {RATERS[1].keyid: [b"garbage", said(RATERS[1])]}).n == 0


def test_a_voucher_that_somebody_else_signed_is_nothing(manifest: PatchManifest) -> None:
    from symbio_lab.trust.envelope import peek_payload, sign_envelope

    forged = sign_envelope(peek_payload(vouch(LAB, RATERS[0])), EVE)
    assert rating(manifest, [said(RATERS[0])], {RATERS[0].keyid: [forged]}).n == 0


# ------------------------------------------------------------------------------------------------ sharing one voice


def test_all_keys_below_one_voucher_weigh_one(manifest: PatchManifest) -> None:
    vouchers = filed(*((LAB, rater, 0) for rater in RATERS[:4]))
    found = rating(manifest, [said(rater) for rater in RATERS[:4]], vouchers)
    assert (found.n, found.num_vouchers, round(found.weight, 9)) == (4, 1, 1.0)
    assert set(weights(found).values()) == {0.25}


def test_the_organisation_shares_with_those_it_vouches_for(manifest: PatchManifest) -> None:
    found = rating(manifest, [said(LAB), said(RATERS[0])], filed((LAB, RATERS[0], 0)))
    assert set(weights(found).values()) == {0.5}


def test_weight_decays_with_depth_and_depth_is_limited(manifest: PatchManifest) -> None:
    one, two, three, four = RATERS[:4]
    chain = filed((LAB, one, 2), (one, two, 2), (two, three, 2), (three, four, 2))
    for depth, rater in enumerate((one, two, three)):
        assert weights(rating(manifest, [said(rater)], chain)) == {rater.keyid: DECAY**depth}
    assert rating(manifest, [said(four)], chain).n == 0  # deeper than any chain
    assert MAX_DEPTH == 3
    # Only as deep as the first voucher allows.
    assert rating(manifest, [said(two)], filed((LAB, one, 0), (one, two, 2))).n == 0
    assert rating(manifest, [said(three)], filed((LAB, one, 1), (one, two, 2), (two, three, 0))).n == 0


def test_a_branch_cannot_outweigh_its_siblings_by_number(manifest: PatchManifest) -> None:
    honest, greedy, *made_up = RATERS
    vouchers = filed((LAB, honest, 0), (LAB, greedy, 1), *((greedy, rater, 0) for rater in made_up))
    found = rating(manifest, [said(honest), *(said(rater, good=False) for rater in made_up)], vouchers)
    assert weights(found)[honest.keyid] == 0.5
    assert found.share == pytest.approx(0.5)


@pytest.mark.parametrize(("careful", "careless"), [(UNI, LAB), (LAB, UNI)])
def test_vouching_for_somebody_takes_nothing_from_him(
    manifest: PatchManifest, careful: SigningKey, careless: SigningKey
) -> None:
    """A careless root draws an honest rater among its Sybils; he keeps the voice that another root gives him."""
    honest, *made_up = RATERS
    vouchers = filed((careful, honest, 0), *((careless, rater, 0) for rater in RATERS))
    found = rating(manifest, [said(honest), *(said(rater, good=False) for rater in made_up)], vouchers)
    assert weights(found)[honest.keyid] == 1.0
    assert found.num_vouchers == 2


def test_a_circle_of_vouchers_ends(manifest: PatchManifest) -> None:
    one, two = RATERS[:2]
    vouchers = filed((one, two, 2), (two, one, 2))
    assert rating(manifest, [said(one), said(two)], vouchers).n == 0
    rooted = filed((one, two, 2), (two, one, 2), (LAB, one, 2))
    assert weights(rating(manifest, [said(two)], rooted)) == {two.keyid: 0.5}


def test_a_flood_of_keys_is_cut_off() -> None:
    asked: list[str] = []

    def read(keyid: str) -> list[bytes]:
        asked.append(keyid)
        return []

    grow_trees(POLICY, [f"{n:064x}" for n in range(5000)], read, NOW)
    assert len(asked) == 1024


# ---------------------------------------------------------------------------------------------------- one's own patch


def test_the_tree_of_the_publisher_has_no_voice(manifest: PatchManifest) -> None:
    friends = filed((LAB, MALLORY, 1), (LAB, RATERS[0], 0), (MALLORY, RATERS[1], 0), (UNI, RATERS[2], 0))
    found = rating(manifest, [said(key) for key in (LAB, *RATERS[:3])], friends)
    assert (found.n, found.num_vouchers, found.weight) == (1, 1, 1.0)
    assert {vote.note for vote in found.votes if not vote.weight} == {"stands in the publisher's own voucher tree only"}
    assert weights(found)[RATERS[2].keyid] == 1.0


def test_a_publisher_cannot_silence_a_critic_by_vouching_for_him(manifest: PatchManifest) -> None:
    known = POLICY.enrol(PublisherKey(MALLORY.public_hex, "mallory", known=True))
    vouchers = filed((MALLORY, RATERS[0], 0), (UNI, RATERS[0], 0))
    found = rating(manifest, [said(RATERS[0], good=False)], vouchers, known)
    assert (found.n, found.share, found.votes[0].voucher) == (1, 0.0, UNI.keyid)


def test_a_new_key_of_the_publisher_is_no_other_rater(manifest: PatchManifest) -> None:
    rotated = POLICY.succeed(MALLORY.keyid, RATERS[0].public_hex)
    found = rating(manifest, [said(RATERS[0])], filed((UNI, RATERS[0], 0)), rotated)
    assert (found.n, found.refused) == (0, ("unknown_key",))


# ------------------------------------------------------------------------------------------------- what a vote says


def test_text_has_no_weight(manifest: PatchManifest) -> None:
    unknown = said(LAB, suite_digest=TEXT_SUITE)
    found = rating(manifest, [unknown, said(UNI)])
    assert (found.n, found.num_text_only, found.weight) == (1, 1, 1.0)
    assert {vote.keyid: vote.note for vote in found.votes} == {
        LAB.keyid: "text only: its suite is not known here",
        UNI.keyid: "",
    }
    assert rating(manifest, [unknown], known_suites={TEXT_SUITE}).n == 1
    counted = {"schema": 2, "environment": "f" * 64, "passed_before": 80, "passed_after": 180}
    assert rating(manifest, [said(LAB, judge="label", **counted)]).n == 1
    opinion = rating(manifest, [said(LAB, judge="person", **counted)])
    assert (opinion.n, opinion.votes[0].note) == (0, "text only: judged by a model or a person")


def test_what_is_not_about_this_patch_is_refused(manifest: PatchManifest) -> None:
    wrong = [said(LAB, patch_digest="0" * 64), said(UNI, base_digest="0" * 64), b"garbage"]
    assert rating(manifest, wrong).refused == ("bad_envelope", "wrong_patch", "wrong_patch")
    leaky = rating(manifest, [said(LAB)], judging_digests={"e" * 64})
    assert (leaky.n, leaky.refused) == (0, ("leaky_evaluation",))


@pytest.mark.parametrize(
    ("before", "after", "passes"), [(400_000, 400_001, True), (400_000, 400_000, False), (5, 4, False)]
)
def test_a_vote_passes_if_the_model_got_better(manifest: PatchManifest, before: int, after: int, passes: bool) -> None:
    (vote,) = rating(manifest, [said(LAB, before_ppm=before, after_ppm=after)]).votes
    assert vote.passes is passes


def test_a_disputed_claim_is_a_vote_against(manifest: PatchManifest) -> None:
    counted = {"schema": 2, "environment": "f" * 64, "passed_before": 80, "passed_after": 180, "judge": "label"}
    bad = said(LAB, measures=(MeasuredRate("fix_rate", 10, 120),), **counted)
    good = said(UNI, measures=(MeasuredRate("fix_rate", 100, 120),), **counted)
    found = rating(manifest, [bad, good])
    assert (found.num_disputing, found.num_confirming, found.share) == (1, 1, 0.5)


def test_the_publisher_s_own_evaluation_is_held_against_him(manifest: PatchManifest) -> None:
    found = rating(manifest, [said(MALLORY), said(LAB, after_ppm=500_000)])
    assert (found.num_disputing, found.share, found.refused) == (1, 0.0, ("unknown_key",))


# --------------------------------------------------------------------------------------------- properties of the rule


VOTES = st.lists(
    st.tuples(st.sampled_from((LAB, UNI, FIRM, *RATERS[:6])), st.booleans(), st.integers(1, 9)), max_size=12
)
SOME = filed(
    (LAB, RATERS[0], 0), (LAB, RATERS[1], 1), (RATERS[1], RATERS[2], 0), (UNI, RATERS[3], 0), (FIRM, RATERS[0], 0)
)


def envelopes_of(votes: Iterable[tuple[SigningKey, bool, int]]) -> list[bytes]:
    return [said(key, good=good, issued=f"2026-0{month}-01T00:00:00Z") for key, good, month in votes]


@settings(max_examples=60, deadline=None)
@given(votes=VOTES, random=st.randoms(use_true_random=False))
def test_order_and_copies_never_change_a_rating(manifest: PatchManifest, votes: list[Any], random: Any) -> None:
    files = envelopes_of(votes)
    again = [*files, *files, b"garbage"]
    random.shuffle(again)
    shuffled = {keyid: random.sample(found, len(found)) for keyid, found in SOME.items()}
    assert rating(manifest, [*files, b"garbage"], SOME) == rating(manifest, again, shuffled)


@settings(max_examples=60, deadline=None)
@given(votes=VOTES)
def test_the_newest_statement_of_a_key_replaces_the_others(manifest: PatchManifest, votes: list[Any]) -> None:
    newest: dict[str, tuple[SigningKey, bool, int]] = {}
    for vote in votes:
        key, _, month = vote
        if key.keyid not in newest or month > newest[key.keyid][2]:
            newest[key.keyid] = vote
    ambiguous = len({(key.keyid, month) for key, _, month in votes}) < len(set(votes))
    if not ambiguous:
        assert rating(manifest, envelopes_of(votes), SOME) == replace(
            rating(manifest, envelopes_of(newest.values()), SOME),
            refused=rating(manifest, envelopes_of(votes), SOME).refused,
        )
    later = [(key, not good, 9) for key, good, _ in newest.values() if newest[key.keyid][2] < 9]
    flipped = rating(manifest, envelopes_of([*votes, *later]), SOME)
    before = {vote.keyid: vote.passes for vote in rating(manifest, envelopes_of(votes), SOME).votes}
    if not ambiguous:
        for key, _, _ in later:
            if key.keyid in before:
                assert {vote.keyid: vote.passes for vote in flipped.votes}[key.keyid] is not before[key.keyid]


@settings(max_examples=80, deadline=None)
@given(
    others=st.lists(st.tuples(st.sampled_from((UNI, FIRM, *RATERS[:4])), st.booleans()), max_size=6),
    k=st.integers(1, 8),
    good=st.booleans(),
    deep=st.booleans(),
)
def test_keys_below_one_voucher_move_a_rating_by_one_vote_at_most(
    manifest: PatchManifest, others: list[tuple[SigningKey, bool]], k: int, good: bool, deep: bool
) -> None:
    """Whatever k keys below LAB say, the rating stays between those with one honest vote against and one for."""
    honest = filed((UNI, RATERS[0], 0), (UNI, RATERS[1], 0), (FIRM, RATERS[2], 0), (FIRM, RATERS[3], 0))
    base = [said(key, good=is_good) for key, is_good in others]
    made_up = RATERS[8 : 8 + k]
    parent = RATERS[7]
    chain = ((LAB, parent, 1), *((parent, rater, 0) for rater in made_up)) if deep else ((LAB, r, 0) for r in made_up)
    vouchers = {**honest, **filed(*chain)}
    attacked = rating(manifest, [*base, *(said(rater, good=good) for rater in made_up)], vouchers).lower
    against, for_it = (rating(manifest, [*base, said(LAB, good=vote)], honest).lower for vote in (False, True))
    alone = rating(manifest, base, honest).lower
    assert min(against, alone) - 1e-12 <= attacked <= max(for_it, alone) + 1e-12


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.integers(1, 30), st.tuples(st.integers(0, 30), st.integers(1, 3)), max_size=20),
    st.sets(st.integers(0, 30)),
)
def test_the_shares_of_a_tree_never_exceed_one(shape: dict[int, tuple[int, int]], raters: set[int]) -> None:
    places: dict[str, Place] = {}
    for child in sorted(shape):
        parent = shape[child][0]
        if parent == 0:
            places[str(child)] = Place("root", 1)
        elif str(parent) in places and places[str(parent)].depth < MAX_DEPTH:
            places[str(child)] = Place(str(parent), places[str(parent)].depth + 1)
    shares = VoucherTrees({"root": places}).shares([*map(str, raters), "root"])
    assert sum(share.weight for share in shares.values()) <= 1.0 + 1e-9
    for keyid, share in shares.items():
        assert 0.0 < share.weight <= (1.0 if keyid == "root" else DECAY ** (places[keyid].depth - 1)) + 1e-12
    below: dict[str, float] = {}
    for keyid, share in shares.items():
        while keyid != "root":
            below[keyid] = below.get(keyid, 0.0) + share.weight
            keyid = places[keyid].parent
    assert all(weight <= DECAY ** (places[keyid].depth - 1) + 1e-9 for keyid, weight in below.items())


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 500), data=st.data())
def test_the_bound_is_wilson_s(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    assert wilson_lower(hits, n) == pytest.approx(wilson(hits, n)[0], abs=1e-4)
    assert wilson_lower(hits, n) <= wilson_lower(min(hits + 1, n), n)


# --------------------------------------------------------------------------------------------------------- in markets


def market_with(tmp_path: Path, *keys: SigningKey) -> tuple[Market, str]:
    """A market with a patch by MALLORY that LAB's rater and ``keys`` evaluated."""
    market = Market(tmp_path, POLICY)
    market.publish(key=MALLORY, patch_id="mallory/travel")
    digest = market.client().indices[0].entries[0].digest
    for key in keys:
        market.transport.publish_evaluation(digest, said(key, patch_digest=digest))
    market.transport.publish_evaluation(RATERS[0].keyid, vouch(LAB, RATERS[0]))
    return market, digest


def test_statements_and_vouchers_are_read_from_all_markets(tmp_path: Path) -> None:
    market, digest = market_with(tmp_path, RATERS[0])
    other = DirectoryTransport(tmp_path / "other")
    other.publish_evaluation(digest, said(UNI, patch_digest=digest))
    candidate = Candidate("mallory/travel", market.transport.uri, None, 1.0, "")
    found = rate(candidate, [other, market.transport], POLICY, NOW, known_suites={SUITE})
    assert (found.ref, found.digest, found.n, found.num_vouchers) == ("mallory/travel@1", digest, 2, 2)
    assert rate(digest, [other, market.transport], POLICY, NOW, known_suites={SUITE}) == found
    assert rate(digest, [market.transport], POLICY, NOW).num_text_only == 1


def test_what_is_not_there_or_not_signed_is_not_rated(tmp_path: Path) -> None:
    market, digest = market_with(tmp_path)
    for missing in ("0" * 64, Candidate("no/body", market.transport.uri, None, 1.0, "")):
        with pytest.raises(NotFoundError):
            rate(missing, [market.transport], POLICY, NOW)
    for policy, code in ((standard_policy().revoke(MALLORY.keyid), "revoked_key"), (policy_for([]), "unknown_key")):
        with pytest.raises(TrustError) as refused:
            rate(digest, [market.transport], policy, NOW)
        assert refused.value.code == code


def test_a_rating_never_raises_a_level(tmp_path: Path) -> None:
    market, digest = market_with(tmp_path, RATERS[0])
    assert rate(digest, [market.transport], POLICY, NOW, known_suites={SUITE}).lower > 0
    patch, _ = market.fetch("mallory/travel")
    assert patch is not None
    assert patch.level == "signed"
    market.transport.publish_evaluation(digest, said(UNI, patch_digest=digest))  # known: counts for the level as well
    again, _ = market.fetch("mallory/travel")
    assert again is not None
    assert again.level == "evaluated"


def test_sorting_is_by_the_bound(manifest: PatchManifest) -> None:
    few = rating(manifest, [said(LAB)])
    many = rating(manifest, [said(LAB), said(UNI), said(FIRM)])
    mixed = rating(manifest, [said(LAB), said(UNI), said(FIRM, good=False)])
    none = rating(manifest, [])
    assert by_rating([none, few, mixed, many]) == by_rating([many, mixed, few, none])
    assert by_rating([none, few, mixed, many])[0] == many
    assert by_rating([none, few])[-1] == none
    assert ALICE.keyid not in weights(many)
