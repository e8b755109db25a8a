"""Lines of the matrix: stolen, old, borrowed and made-up keys; names; votes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from symbio_lab.marketplace.ratings import rate
from symbio_lab.records import ClaimedMetric
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload, sign_envelope
from symbio_lab.trust.evaluation_payload import COUNTED_SCHEMA, MeasuredRate
from symbio_lab.trust.evaluation_statement import (
    EvaluationStatement,
    open_evaluation,
    refuse_leaky,
    sign_evaluation,
)
from symbio_lab.trust.keys import PublicKey, SigningKey
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for
from symbio_lab.trust.succession import accept_statement, sign_revocation, sign_succession
from symbio_lab.trust.voucher import Voucher, sign_voucher
from tests.attacks.market_simulator import (
    ALICE,
    BASE,
    EVE,
    EXPIRES,
    ISSUED,
    MALLORY,
    NOW,
    Market,
    resign,
    standard_policy,
)
from tests.attacks.matrix_case import Line, Place, Refusal, code_of

NEW, THIEF, LAB = (SigningKey.from_seed(bytes([n]) * 32) for n in (51, 52, 53))
SYBILS = tuple(SigningKey.from_seed(bytes([n]) * 32) for n in range(101, 201))
SUITE = "a" * 64


def unknown_key(place: Place) -> Refusal:
    market = place.market()
    market.publish(patch_id="eve/travel", key=EVE)
    return lambda: market.code("eve/travel")


def changed_statement(place: Place) -> Refusal:
    market = place.market()
    path = market.folder("alice/travel") / ENVELOPE_NAME
    honest = json.loads(path.read_bytes())
    resign(path.parent, key=ALICE, edit=lambda statement: statement["predicate"]["card"].update(title="Changed"))
    assert market.code() == "rollback"  # the same version with another content, rightly signed
    changed = json.loads(path.read_bytes())
    path.write_bytes(json.dumps({**changed, "signatures": honest["signatures"]}).encode())
    return market.code


def revoked(policy: TrustPolicy) -> TrustPolicy:
    return accept_statement(sign_revocation(ALICE.keyid, ALICE, reason="stolen", issued=ISSUED), policy)


def revoked_key(place: Place) -> Refusal:
    market = place.market()
    market.policy = revoked(market.policy)
    market.publish(version=2)
    return market.code


def rotation(place: Place) -> Refusal:
    market = place.market()
    market.policy = accept_statement(sign_succession(ALICE, NEW, issued=ISSUED), market.policy)
    market.publish(version=2, key=NEW)
    assert market.code() == "accepted"  # the successor has the name
    market.publish(version=3, key=MALLORY)
    return market.code


def thief_as_successor(place: Place) -> Refusal:
    statement = sign_succession(ALICE, THIEF, issued=ISSUED)
    assert code_of(lambda: accept_statement(statement, standard_policy())) == "accepted"  # before it is revoked
    policy = revoked(standard_policy())
    return lambda: code_of(lambda: accept_statement(statement, policy))


def typosquat(place: Place) -> Refusal:
    market = place.market(check_lookalikes=True)
    market.publish(patch_id="mallory/other", key=MALLORY)
    assert market.code("mallory/other") == "accepted"
    market.publish(patch_id="a1ice/travel", key=MALLORY)
    return lambda: market.code("a1ice/travel")


def registered_again(place: Place) -> Refusal:
    market = place.market()
    shutil.rmtree(market.folder("alice/travel"))  # the name was deleted, and somebody else took it
    market.publish(version=2, key=MALLORY)
    return market.code


def _signed_by(market: Market, *keys: SigningKey) -> Path:
    path = market.folder("alice/travel") / ENVELOPE_NAME
    path.write_bytes(sign_envelope(peek_payload(path.read_bytes()), *keys))
    return path


def _two_needed(place: Place) -> Market:
    market = Market(place.folder, standard_policy(min_signatures=2))
    market.publish()
    _signed_by(market, ALICE, MALLORY)
    assert market.code() == "accepted"
    return market


def padded_by_repetition(place: Place) -> Refusal:
    market = _two_needed(place)
    _signed_by(market, ALICE, ALICE)
    return market.code


def padded_by_another_keyid(place: Place) -> Refusal:
    market = _two_needed(place)
    path = _signed_by(market, ALICE)
    value = json.loads(path.read_bytes())
    value["signatures"].append({**value["signatures"][0], "keyid": MALLORY.keyid})
    path.write_bytes(json.dumps(value).encode())
    return market.code


def one_key_under_two_ids(place: Place) -> Refusal:
    market = _two_needed(place)
    _signed_by(market, ALICE)
    alice = market.policy.keys[ALICE.keyid]
    market.policy = TrustPolicy(keys={ALICE.keyid: alice, "0" * 64: alice}, min_signatures=2)
    return market.code


def low_order_key(place: Place) -> Refusal:
    assert PublicKey(ALICE.public_hex).keyid == ALICE.keyid
    return lambda: code_of(lambda: policy_for([PublisherKey("00" * 32, "nobody")]))


# ---------------------------------------------------------------------------------------------------------- votes


def _payload(market: Market) -> bytes:
    return peek_payload((market.folder("alice/travel") / ENVELOPE_NAME).read_bytes())


def _evaluate(market: Market, key: SigningKey, *, fixed: int, suite: str = SUITE) -> bytes:
    """Publish an evaluation of the patch: of a hundred failures so many were fixed."""
    manifest, digest = payload_to_manifest(_payload(market)), hashlib.sha256(_payload(market)).hexdigest()
    said = EvaluationStatement(
        manifest.patch_id, digest, key.keyid, BASE, suite, 100, 0, fixed * 10_000, NOW,
        splits={"slice": "d" * 64}, schema=COUNTED_SCHEMA, passed_before=0, passed_after=fixed,
        environment="e" * 64, judge="label", measures=(MeasuredRate("fix_rate", fixed, 100),),
    )  # fmt: skip
    data = sign_evaluation(said, key)
    market.transport.publish_evaluation(digest, data)
    return data


def _with_lab(**settings: Any) -> TrustPolicy:
    return standard_policy(**settings).enrol(PublisherKey(LAB.public_hex, "lab", known=True))


def sybil_evaluations(place: Place) -> Refusal:
    honest = Market(place.folder / "honest", _with_lab(min_level="evaluated"))
    honest.publish()
    _evaluate(honest, LAB, fixed=60)
    assert honest.code() == "accepted"
    market = Market(place.folder / "attacked", honest.policy)
    market.publish()
    for key in SYBILS:
        _evaluate(market, key, fixed=100)
    return market.code


def sybil_ratings(place: Place) -> Refusal:
    """The same hundred keys, but a careless organisation vouches for all of them."""
    market = Market(place.folder, _with_lab())
    market.publish()
    for key in SYBILS:
        voucher = Voucher(key.public_hex, LAB.keyid, ISSUED, EXPIRES, "", 0)
        market.transport.publish_evaluation(key.keyid, sign_voucher(voucher, LAB))

    def rating() -> tuple[float, int]:
        digest = hashlib.sha256(_payload(market)).hexdigest()
        found = rate(digest, [market.transport], market.policy, NOW, known_suites={SUITE})
        return found.lower, found.n

    _evaluate(market, SYBILS[0], fixed=60)
    one_vote, n = rating()
    assert one_vote > 0
    assert n == 1
    for key in SYBILS:
        _evaluate(market, key, fixed=100)

    def vote() -> str:
        lower, num_votes = rating()
        return "capped" if num_votes == len(SYBILS) and lower <= one_vote + 1e-9 else "accepted"

    return vote


def leaky_evaluation(place: Place) -> Refusal:
    market = place.market()
    data = _evaluate(market, LAB, fixed=60, suite="f" * 64)
    statement = open_evaluation(data, {LAB.keyid: LAB.public_key})
    assert code_of(lambda: refuse_leaky(statement, {"9" * 64})) == "accepted"
    return lambda: code_of(lambda: refuse_leaky(statement, {"f" * 64}))


def overclaiming(place: Place) -> Refusal:
    market = Market(place.folder, _with_lab(refuse_disputed=True))
    market.publish(claims=(ClaimedMetric("fix_rate", 0.9, 100),))
    assert market.code() == "accepted"
    _evaluate(market, LAB, fixed=40)
    return market.code


LINES = (
    Line("unknown-key", "Stranger's key", "Signs with a key of his own.", "only enrolled keys count", "unknown_key",
         unknown_key),
    Line("changed-statement", "Changed statement", "Changes what was signed and keeps the signature.",
         "Ed25519 over the exact bytes (DSSE)", "bad_signature", changed_statement),
    Line("key-compromise", "Key compromise", "Signs a new version with a stolen key that was revoked.",
         "a revoked key does not count at all, whatever it signed and when", "revoked_key", revoked_key),
    Line("key-rotation", "Key rotation", "Publishes under a name that has passed to a successor, with another key.",
         "a name passes to the successor only, by a statement that both keys sign", "name_taken", rotation),
    Line("thief-as-successor", "Thief as successor", "Names himself successor of a stolen key after its revocation.",
         "a revoked key names no successor", "revoked_key", thief_as_successor),
    Line("typosquat", "Typosquat", "Publishes as `a1ice` beside `alice`.",
         "new names are compared with those of other publishers (`check_lookalikes`, `protected_names`)", "lookalike",
         typosquat),
    Line("name-re-registration", "Name registered again", "Takes a name that was deleted.",
         "trust is in the key: a name belongs to the holder of its first accepted key", "name_taken",
         registered_again),
    Line("threshold-same-key", "Threshold padding: twice", "Lets one key sign twice where two are needed.",
         "distinct holders are counted", "threshold", padded_by_repetition),
    Line("threshold-two-keyids", "Threshold padding: keyids", "Repeats a signature under another's keyid.",
         "a signature counts for the key that verifies it; the keyid is a hint", "threshold",
         padded_by_another_keyid),
    Line("threshold-one-key-two-ids", "Threshold padding: entries", "Has one key enrolled under two keyids.",
         "a keyid is the digest of its key", "bad_key", one_key_under_two_ids),
    Line("low-order-key", "Low-order key", "Has a key enrolled under which anybody can sign.",
         "points outside the group are refused", "bad_key", low_order_key),
    Line("sybil-evaluations", "Sybil evaluations", "Evaluates a patch with a hundred made-up keys.",
         "only evaluators whom the policy knows raise a level", "level_too_low", sybil_evaluations),
    Line("sybil-ratings", "Sybil ratings", "Has a hundred keys vouched for by one careless organisation.",
         "all keys below one organisation weigh as one vote: nothing is refused, nothing is gained", "capped",
         sybil_ratings),
    Line("leaky-evaluation", "Leaky evaluation", "Evaluates on the data by which healers are judged.",
         "statements name the digests of the splits that they read", "leaky_evaluation", leaky_evaluation),
    Line("overclaiming", "Overclaiming", "Claims a fix rate that others cannot repeat.",
         "claims are held against intervals of what others measured (`refuse_disputed`)", "disputed", overclaiming),
)  # fmt: skip
