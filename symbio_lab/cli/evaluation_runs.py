"""Evaluating a patch of a market: verify it, run base and patched model, check every claim, sign the result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symbio_lab.cli.evaluation_data import SuiteRequest, prepare, remember_suite
from symbio_lab.cli.market_access import Market, pool_folder
from symbio_lab.codec import to_plain
from symbio_lab.config import Settings
from symbio_lab.errors import TRUST_CODES, ConfigError, NotFoundError, TrustError

if TYPE_CHECKING:
    from symbio_lab.advice.claims import ClaimReport, Rerun
    from symbio_lab.events import Listener
    from symbio_lab.records import Patch
    from symbio_lab.trust.evaluation_statement import EvaluationStatement
    from symbio_lab.trust.keys import SigningKey

OWN_NAME = "own"
POOL_HINT = "pools of scenarios are kept as they were built; publish to a market of your own: --market DIR"


def evaluate_patch(
    ref: str,
    request: SuiteRequest,
    markets: Sequence[Market],
    settings: Settings,
    *,
    now: str,
    key_name: str = OWN_NAME,
    publish: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Return what was measured, what it says about every claim, and the signed statement.

    Args:
        ref: ``namespace/name`` or ``namespace/name@version``.
        request: what to evaluate on.
        markets: where to look; only one of them may hold the patch.
        settings: state folder.
        now: UTC time.
        key_name: key of ours that signs.
        publish: offer the statement beside the patch; False writes it into the state folder.
        listener: told about progress.

    Raises:
        ConfigError: the request contradicts itself, several markets hold the patch, or it is a scenario's pool that
            should be published to.
        NotFoundError: no market holds it, or there is no such key.
        TrustError: a trust rule refuses the patch; nothing is run.
        BaseMismatchError: it was made for another base than the suite's.
        SymbioError: as ``prepare``.
    """
    from symbio_lab.advice.claims import rerun, state_evaluation
    from symbio_lab.advice.environment import environment_digest, environment_of
    from symbio_lab.trust.evaluation_statement import sign_evaluation

    request.check()
    market = the_holder(ref, markets)
    if publish:
        refuse_pool(market, settings)
    key = signing_key(key_name, settings)
    patch = _fetched(ref, market, settings, now)
    model, suite = prepare(request, patch.manifest, settings, listener)
    run = rerun(model, patch, suite)
    environment = environment_of(model, settings.num_threads)
    statement = state_evaluation(run, patch, keyid=key.keyid, issued=now, environment=environment_digest(environment))
    data = sign_evaluation(statement, key)
    publisher, others = _claims(statement, patch, market)
    remember_suite(settings, suite, to_plain(request))
    return {
        "id": f"{patch.patch_id}@{patch.manifest.version}",
        "digest": patch.digest,
        "market": market.uri,
        "model": model.model_id,
        "base_digest": model.digest,
        "suite": {
            "name": suite.name,
            "digest": suite.digest,
            "splits": suite.splits,
            "seeds": list(suite.seeds),
            "notes": [*suite.notes, *_notes(run, patch, key)],
        },
        "environment": environment,
        "splits": _figures(run),
        "measures": run.measures,
        "improves": statement.after_ppm > statement.before_ppm,
        "claims": publisher,
        "others": list(others),
        "statement": _kept(data, patch.digest, market, settings, publish) | {"keyid": key.keyid},
    }


def the_holder(ref: str, markets: Sequence[Market]) -> Market:
    """Return the one market that holds a patch.

    Raises:
        NotFoundError: none does.
        ConfigError: several do.
    """
    holding = [market for market in markets if market.holds(ref)]
    if not holding:
        raise NotFoundError(f"no market holds {ref}", hint="list what they hold: symbio market list")
    if len(holding) > 1:
        names = ", ".join(market.uri for market in holding)
        raise ConfigError([f"{len(holding)} markets hold {ref}: {names}"], hint="name one by --market")
    return holding[0]


def refuse_pool(market: Market, settings: Settings) -> None:
    """Raise ``ConfigError`` if a market is the pool of a scenario: its digest names results that were committed."""
    from symbio_lab.marketplace.directory import DirectoryTransport

    transport = market.transport
    if isinstance(transport, DirectoryTransport) and pool_folder(transport.path, settings) is not None:
        raise ConfigError([f"{market.uri} is the pool of a scenario and is never changed"], hint=POOL_HINT)


def signing_key(name: str, settings: Settings) -> SigningKey:
    """Return a key of ours; the installation's own is made on first use.

    Raises:
        NotFoundError: there is no such key.
        DataError: its passphrase cannot be asked for.
        TrustError: ``bad_key``: a wrong passphrase.
    """
    from symbio_lab.cli.passphrases import open_signing_key
    from symbio_lab.trust.keys import load_or_create_key

    path = settings.keys / f"{OWN_NAME}.json"
    if name == OWN_NAME and not path.exists():
        return load_or_create_key(path)
    return open_signing_key(name, settings)


def offer_statement(market: Market, digest: str, data: bytes) -> str:
    """Put a signed statement into a market; return the address of the pull request if it was only proposed.

    Raises:
        ConfigError: no right to write or to propose.
        StorageError: the market cannot be written.
    """
    from symbio_lab.marketplace.transport import CommitTransport

    if isinstance(market.transport, CommitTransport):
        return market.transport.offer_evaluation(digest, data).pull_request
    market.transport.publish_evaluation(digest, data)
    return ""


def _fetched(ref: str, market: Market, settings: Settings, now: str) -> Patch:
    from symbio_lab.marketplace.client import MarketplaceClient
    from symbio_lab.records import Candidate

    client = MarketplaceClient([market.transport], market.policy, settings.patches, now, seen=market.seen)
    patch, attempt = client.fetch(Candidate(ref, market.uri, None, 1.0, "asked for by name"))
    if patch is not None:
        return patch
    if attempt.code in TRUST_CODES:
        raise TrustError(attempt.code, attempt.detail)
    raise NotFoundError(attempt.detail, hint="list what the market holds: symbio market list")


def _claims(
    statement: EvaluationStatement, patch: Patch, market: Market
) -> tuple[ClaimReport, tuple[ClaimReport, ...]]:
    """Return what the result says about the publisher, and about every evaluator that the policy counts."""
    from symbio_lab.advice.claims import check_evaluators, check_publisher
    from symbio_lab.trust.evaluation_statement import counted_evaluations, own_evaluation

    envelopes = market.transport.read_evaluations(patch.digest)
    publisher_hex = market.policy.keys[patch.manifest.keyid].public_hex
    about = {"patch_digest": patch.digest, "base_digest": patch.manifest.base_digest, "publisher_hex": publisher_hex}
    counted, _ = counted_evaluations(envelopes, market.policy.evaluators_of(patch.manifest.keyid), **about)
    own = own_evaluation(envelopes, **about)
    return check_publisher(statement, patch.manifest, own), check_evaluators(statement, counted)


def _figures(run: Rerun) -> dict[str, dict[str, Any]]:
    from symbio_lab.evaluation.metrics.accuracy import accuracy_after, accuracy_before, delta_accuracy

    found = {}
    for name, outcomes in (("slice", run.on_slice), ("control", run.on_control)):
        if not len(outcomes):
            continue
        _, broken, fixed, _ = outcomes.counts()
        found[name] = {
            "n": len(outcomes),
            "accuracy_before": accuracy_before(outcomes),
            "accuracy_after": accuracy_after(outcomes),
            "delta_accuracy": delta_accuracy(outcomes),
            "fixed": fixed,
            "broken": broken,
        }
    return found


def _notes(run: Rerun, patch: Patch, key: SigningKey) -> list[str]:
    notes = []
    if not run.num_meant:
        notes.append(
            "Nothing in this slice is what the patch says it is for: no fix rate is stated, so none is compared."
        )
    if key.keyid == patch.manifest.keyid:
        notes.append("This key published the patch: what it states is a claim and nobody's vote.")
    return notes


def _kept(data: bytes, digest: str, market: Market, settings: Settings, publish: bool) -> dict[str, Any]:
    from symbio_lab.marketplace.directory import DirectoryTransport

    name = hashlib.sha256(data).hexdigest()
    if publish:
        return {"sha256": name, "published": market.uri, "pull_request": offer_statement(market, digest, data) or None}
    folder = DirectoryTransport(settings.home / "statements")
    folder.publish_evaluation(digest, data)
    return {"sha256": name, "published": None, "path": folder.path / "evaluations" / digest / f"{name}.json"}
