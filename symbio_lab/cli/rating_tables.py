"""Ratings of what markets offer, and vouchers for raters: reading and writing them for the command line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from symbio_lab.cli.evaluation_data import known_suites, remember_suite
from symbio_lab.cli.evaluation_runs import offer_statement, refuse_pool, signing_key, the_holder
from symbio_lab.cli.market_access import Market
from symbio_lab.cli.market_search import read_indices
from symbio_lab.cli.session import expiry_after
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, NotFoundError, TrustError

if TYPE_CHECKING:
    from symbio_lab.marketplace.ratings import Rating
    from symbio_lab.trust.policy import TrustPolicy
    from symbio_lab.trust.voucher import Voucher


def rate_offers(markets: Sequence[Market], settings: Settings, *, now: str) -> list[Rating]:
    """Return the rating of everything that passes the policy of its market, the best first.

    Statements and vouchers are read from all of the markets.

    Raises:
        StorageError: a market cannot be read.
    """
    from symbio_lab.marketplace.ratings import by_rating, rate
    from symbio_lab.records import Candidate

    suites, transports = known_suites(settings), [market.transport for market in markets]
    by_uri = {market.uri: market for market in markets}
    rated: dict[str, Rating] = {}
    for index in read_indices(markets, now=now):
        for entry in index.entries:
            if entry.problem is not None or entry.digest in rated:
                continue
            candidate = Candidate(entry.ref, entry.market, entry.manifest, 1.0, "offered")
            try:
                found = rate(candidate, transports, by_uri[entry.market].policy, now, known_suites=suites)
            except (NotFoundError, TrustError):
                continue  # withdrawn or replaced since it was listed
            rated[found.digest] = found
    return by_rating(rated.values())


def rate_one(ref: str, markets: Sequence[Market], settings: Settings, *, now: str) -> Rating:
    """Return the rating of one patch with every vote.

    Raises:
        NotFoundError: no market holds it.
        ConfigError: several do.
        TrustError: its envelope is refused.
        StorageError: a market cannot be read.
    """
    from symbio_lab.marketplace.ratings import rate
    from symbio_lab.records import Candidate

    market = the_holder(ref, markets)
    candidate = Candidate(ref, market.uri, None, 1.0, "asked for by name")
    transports = [market.transport for market in markets]
    return rate(candidate, transports, market.policy, now, known_suites=known_suites(settings))


def name_suites(names: Iterable[str], settings: Settings) -> None:
    """Note scenarios as suites that can be run here, from their data alone.

    Raises:
        UnknownDatasetError: one is no scenario; own data become known by evaluating on them.
    """
    from symbio_lab.scenarios.evaluation_suites import scenario_suite

    for name in names:
        remember_suite(settings, scenario_suite(name), {"suite": name})


def rating_row(rating: Rating) -> list[object]:
    """Return one line of the table whose columns are ``RATING_COLUMNS``."""
    share = "-" if rating.share is None else f"{rating.share:.2f}"
    counts = [rating.n, rating.num_vouchers, rating.num_confirming, rating.num_disputing, rating.num_text_only]
    return [rating.ref, f"{rating.lower:.3f}", share, f"{rating.weight:.2f}", *counts]


RATING_COLUMNS = ["id", "rating", "share", "weight", "n", "vouchers", "confirmed", "disputed", "text only"]


def write_voucher(
    who: str,
    market: Market,
    settings: Settings,
    *,
    now: str,
    name: str,
    depth: int = 0,
    days: int = 365,
    key_name: str = "own",
) -> dict[str, Any]:
    """Return the voucher that was published: a key of ours vouches for a rater's.

    Args:
        who: public key (64 hex), card file, or how an enrolled key is called here.
        market: where to publish it.
        settings: state folder.
        now: UTC time.
        name: who the rater is.
        depth: further levels that the rater may vouch for.
        days: how long it is valid; 0 withdraws what was vouched before.
        key_name: key of ours that signs.

    Raises:
        ConfigError: an impossible number, or the pool of a scenario.
        NotFoundError: no such key.
        TrustError: ``bad_key``, or ``bad_manifest``: our own key.
    """
    from symbio_lab.trust.keys import PublicKey
    from symbio_lab.trust.voucher import MAX_DEPTH, Voucher, sign_voucher

    problems = [] if 0 <= depth < MAX_DEPTH else [f"--depth must be from 0 to {MAX_DEPTH - 1}"]
    if not 0 <= days <= 3650:
        problems.append("--days must be from 0 (withdraw) to 3650")
    if problems:
        raise ConfigError(problems)
    refuse_pool(market, settings)
    public_hex = _public_key(who, settings)
    key = signing_key(key_name, settings)
    voucher = Voucher(public_hex, key.keyid, now, expiry_after(now, days), name, depth)
    data = sign_voucher(voucher, key)
    proposed = offer_statement(market, PublicKey(public_hex).keyid, data)
    return {**_voucher_row(voucher, market.policy), "market": market.uri, "pull_request": proposed or None}


def list_vouchers(
    markets: Sequence[Market], settings: Settings, *, now: str, who: str | None = None
) -> list[dict[str, Any]]:
    """Return the vouchers that markets hold, valid or not: for one key, or for everybody who rated something.

    Args:
        markets: where to look.
        settings: state folder.
        now: UTC time.
        who: keyid (64 hex), public key, card or name; None takes the raters of all patches and all enrolled keys.

    Raises:
        NotFoundError: no such key.
        StorageError: a market cannot be read.
    """
    from symbio_lab.marketplace.voucher_trees import grow_trees, peek_voucher

    found: dict[Voucher, dict[str, Any]] = {}
    for market in markets:
        keyids = _keyids(who, settings) if who is not None else _raters(market) | set(market.policy.keys)
        trees = grow_trees(market.policy, keyids, market.transport.read_evaluations, now)
        for data in (data for keyid in sorted(keyids) for data in market.transport.read_evaluations(keyid)):
            voucher = peek_voucher(data)
            if voucher is not None and (voucher not in found or voucher in trees.counted):
                row = _voucher_row(voucher, market.policy)
                found[voucher] = {**row, "counts": voucher in trees.counted, "market": market.uri}
    return sorted(found.values(), key=lambda row: (row["rater"], row["issuer"], row["issued"], row["expires"]))


def _voucher_row(voucher: Voucher, policy: TrustPolicy) -> dict[str, Any]:
    issuer = policy.keys.get(voucher.issuer)
    return {
        "rater": voucher.rater,
        "public_key": voucher.public_hex,
        "name": voucher.name,
        "issuer": voucher.issuer,
        "issuer_name": issuer.name if issuer is not None else None,
        "depth": voucher.depth,
        "issued": voucher.issued,
        "expires": voucher.expires,
    }


def _public_key(who: str, settings: Settings) -> str:
    """Return the public key of whoever is meant: enrolled here under this keyid or name, a card, or hex."""
    from symbio_lab.trust.enrolled import enrolled_policy, find_enrolled
    from symbio_lab.trust.key_card import read_card

    try:
        # First: a keyid has 64 hex characters as well, and would be read as another public key.
        return enrolled_policy(settings).keys[find_enrolled(settings, who)].public_hex
    except NotFoundError:
        return read_card(who)


def _keyids(who: str, settings: Settings) -> set[str]:
    """Return whose vouchers are meant; 64 hex characters of a stranger may be a keyid or a public key."""
    from symbio_lab.trust.keys import keyid_of

    is_hex = re.fullmatch(r"[0-9a-f]{64}", who) is not None
    try:
        found = keyid_of(_public_key(who, settings))
    except TrustError:
        if not is_hex:
            raise
        return {who}
    return {who, found} if is_hex else {found}


def _raters(market: Market) -> set[str]:
    """Return the keyids that statements about the patches of a market state."""
    from symbio_lab.marketplace.votes import stated_raters
    from symbio_lab.trust.envelope import peek_payload

    raters: set[str] = set()
    for ref in market.transport.list_refs():
        try:
            payload = peek_payload(market.transport.read_manifest(ref))
        except (NotFoundError, TrustError):
            continue
        digest = hashlib.sha256(payload).hexdigest()
        raters |= set(stated_raters(market.transport.read_evaluations(digest))[0])
    return raters
