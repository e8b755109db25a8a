"""The rating of a patch: how many independent voices repeated that it helps, as a lower bound that Sybils cannot lift.

Rules:
    1. A vote is a signed evaluation of this very payload on its own base. It passes if the patched model answered more
       rightly than the base and no claim of the publisher is disputed by it.
    2. A rater needs a voice: a key that the policy calls known, or one vouched for, directly or not, by such a key.
       All keys below one known key share one voice (``voucher_trees``).
    3. One vote for each key and payload; the newest statement replaces the older ones, and copies do not count.
    4. Nobody rates his own patch: the publisher's keys have no vote, and neither has any tree in which one of them
       stands. (A rater who stands in another tree as well keeps his voice there: vouching is one-sided, and must not
       silence a critic.)
    5. Only what can be repeated here counts: a statement on a suite that is not known here, or judged by a model or a
       person, is text, of weight 0.
    6. The rating is the lower end of Wilson's interval over the weights, z = 1.96; sorting is by it. It is shown beside
       the number of votes and of vouching organisations, and never changes a trust level.

Why the cap: in the simulation of ``tests/attacks/test_sybil.py`` twenty made-up keys lift three to five of five bad
patches that they push among the best twenty under the plain bound, and none under the capped one. What a cap cannot see
are keys that several careless organisations vouch for.

Example:
    >>> round(wilson_lower(9.0, 10.0), 3), wilson_lower(0.0, 0.0)
    (0.596, 0.0)

References:
    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22. Differs from the
    paper: weights instead of counts. Douceur (2002), "The Sybil Attack", IPTPS: without an authority that ties keys to
    people no number of votes is evidence; here the enrolled keys are that authority.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.transport import Transport
from symbio_lab.marketplace.votes import Vote, collect_votes, keys_of_holder, stated_raters
from symbio_lab.marketplace.voucher_trees import VoucherTrees, grow_trees
from symbio_lab.records import Candidate, PatchManifest
from symbio_lab.trust.envelope import open_envelope, peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.policy import TrustPolicy

Z = 1.96


@dataclass(frozen=True, slots=True)
class Rating:
    """What independent voices say together about one patch."""

    ref: str
    """``namespace/name@version``."""
    digest: str
    """Payload digest of the patch."""
    lower: float
    """Lower end of Wilson's interval of the share that passes, in [0, 1]; 0 without votes."""
    share: float | None
    """Weighted share of votes that pass; None without votes."""
    weight: float
    """Sum of all weights: voices, not keys."""
    n: int
    """Votes that count."""
    num_vouchers: int
    """Distinct organisations through which they count."""
    num_confirming: int
    """Votes that count and bear out a claim of the publisher."""
    num_disputing: int
    """Votes that count and dispute one."""
    num_text_only: int
    """Statements that nobody here can repeat."""
    votes: tuple[Vote, ...]
    """By keyid."""
    refused: tuple[str, ...]
    """Trust codes of statements that are no vote, sorted."""


def wilson_lower(passing: float, weight: float, z: float = Z) -> float:
    """Return the lower end of Wilson's interval of ``passing`` of ``weight``, both any numbers of at least 0."""
    if weight <= 0.0:
        return 0.0
    rate = min(1.0, passing / weight)
    centre = rate + z * z / (2 * weight)
    half = z * math.sqrt(rate * (1.0 - rate) / weight + z * z / (4 * weight * weight))
    return max(0.0, (centre - half) / (1.0 + z * z / weight))


def capped_rating(passes: Mapping[str, bool], trees: VoucherTrees, *, without: Collection[str] = ()) -> float:
    """Return the lower bound of votes that all count: the rule alone, without markets and signatures.

    Args:
        passes: rater's keyid -> whether its vote passes.
        trees: who is vouched for by whom.
        without: roots that have no voice on this patch.
    """
    shares = trees.shares(passes, without=without)
    return wilson_lower(*sum_weights((share.weight, passes[keyid]) for keyid, share in shares.items()))


def sum_weights(votes: Iterable[tuple[float, bool]]) -> tuple[float, float]:
    """Return the weight of the votes that pass and of all votes; exact, so that their order moves no bit."""
    listed = list(votes)
    return math.fsum(weight for weight, passes in listed if passes), math.fsum(weight for weight, _ in listed)


def rate(
    candidate: Candidate | str,
    transports: Iterable[Transport],
    policy: TrustPolicy,
    now: str,
    *,
    known_suites: Collection[str] = (),
    judging_digests: Collection[str] = (),
) -> Rating:
    """Return the rating of one patch, from the statements and vouchers that markets hold.

    Args:
        candidate: a search hit, or the payload digest of a patch (every manifest of the markets is read to find it).
        transports: markets; statements and vouchers are read from all of them.
        policy: whose signatures and vouchers count.
        now: UTC time, ISO-8601, ends in ``Z``.
        known_suites: digests of suites that can be repeated here; statements on others are text only.
        judging_digests: splits that a statement must not have touched.

    Raises:
        NotFoundError: no market offers the patch.
        TrustError: the patch's own envelope is refused; what is not signed is not rated.
        StorageError: a market cannot be read.
    """
    markets = tuple(transports)
    envelope = _envelope_of(candidate, markets)
    opened = open_envelope(envelope, policy.public_keys)
    manifest = payload_to_manifest(opened.payload)
    if manifest.keyid not in opened.keyids:
        raise TrustError("bad_signature", f"{manifest.patch_id} names another publisher than the key that signed it")
    if manifest.keyid in policy.revoked:
        raise TrustError("revoked_key", f"the key of {manifest.patch_id} was revoked")
    envelopes = {data for market in markets for data in market.read_evaluations(opened.digest)}
    return rate_statements(
        manifest,
        opened.digest,
        sorted(envelopes),
        lambda keyid: sorted({data for market in markets for data in market.read_evaluations(keyid)}),
        policy,
        now,
        known_suites=known_suites,
        judging_digests=judging_digests,
    )


def rate_statements(
    manifest: PatchManifest,
    digest: str,
    envelopes: Iterable[bytes],
    read_vouchers: Callable[[str], Iterable[bytes]],
    policy: TrustPolicy,
    now: str,
    *,
    known_suites: Collection[str] = (),
    judging_digests: Collection[str] = (),
) -> Rating:
    """Return the rating of a patch whose manifest was verified, from statements in any order.

    Args:
        manifest: verified manifest of the patch.
        digest: its payload digest.
        envelopes: envelope files of evaluations, unverified.
        read_vouchers: keyid of a rater -> envelope files of vouchers for it, unverified.
        policy: whose signatures and vouchers count.
        now: UTC time, ISO-8601, ends in ``Z``.
        known_suites: see ``rate``.
        judging_digests: see ``rate``.

    Raises:
        StorageError: ``read_vouchers`` failed.
    """
    stated, unread = stated_raters(envelopes)
    trees = grow_trees(policy, {*stated, *keys_of_holder(policy, manifest.keyid)}, read_vouchers, now)
    votes, refused = collect_votes(
        manifest,
        digest,
        stated,
        trees,
        policy,
        known_suites=known_suites,
        judging_digests=judging_digests,
    )
    counted = [vote for vote in votes if vote.weight]
    passing, weight = sum_weights((vote.weight, vote.passes) for vote in counted)
    return Rating(
        ref=f"{manifest.patch_id}@{manifest.version}",
        digest=digest,
        lower=wilson_lower(passing, weight),
        share=passing / weight if weight else None,
        weight=weight,
        n=len(counted),
        num_vouchers=len({vote.voucher for vote in counted}),
        num_confirming=sum(vote.verdict == "confirmed" for vote in counted),
        num_disputing=sum(vote.verdict == "disputed" for vote in counted),
        num_text_only=sum(vote.note.startswith("text only") for vote in votes),
        votes=votes,
        refused=tuple(sorted([*unread, *refused])),
    )


def by_rating(ratings: Iterable[Rating]) -> list[Rating]:
    """Return ratings, the best lower bound first; of equals the one with more weight, then by reference."""
    return sorted(ratings, key=lambda rating: (-rating.lower, -rating.weight, rating.ref, rating.digest))


def _envelope_of(candidate: Candidate | str, markets: Sequence[Transport]) -> bytes:
    if isinstance(candidate, Candidate):
        for market in sorted(markets, key=lambda market: market.uri != candidate.market):
            try:
                return market.read_manifest(candidate.ref)
            except NotFoundError:
                continue
        raise NotFoundError(f"no market holds {candidate.ref}", hint="list what they hold: symbio market list")
    for market in markets:
        for ref in market.list_refs():
            try:
                envelope = market.read_manifest(ref)
                if hashlib.sha256(peek_payload(envelope)).hexdigest() == candidate:
                    return envelope
            except (NotFoundError, TrustError):
                continue
    raise NotFoundError(
        f"no market offers a patch with digest {candidate[:16]}...", hint="only the newest version of a patch is found"
    )
