"""Publishing to a market under our own key, and installing from one into the patch store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.cli.market_access import Market, open_market, policy_of_folder
from symbio_lab.cli.passphrases import passphrase_of
from symbio_lab.cli.session import expiry_after
from symbio_lab.config import Settings
from symbio_lab.errors import TRUST_CODES, BaseMismatchError, ConfigError, NotFoundError, TrustError
from symbio_lab.records import Candidate

if TYPE_CHECKING:
    from symbio_lab.records import Patch


def publish_to(
    patch: str,
    uri: str,
    settings: Settings,
    *,
    now: str,
    patch_id: str | None = None,
    licence: str | None = None,
    keys: tuple[str, ...] = (),
    pull_request: bool = False,
) -> dict[str, Any]:
    """Return what was published: the patch signed by our own key, which is made on first use.

    Args:
        patch: folder of a patch (verified first), or the digest of one in the patch store.
        uri: market; a folder or a repository is made if it is new.
        settings: state folder.
        now: UTC time.
        patch_id: ``namespace/name``; None keeps the patch's own.
        licence: SPDX id; None keeps the patch's own.
        keys: public keys accepted in this call.
        pull_request: propose it to the owner of the name on a Hub, even where we may write.

    Raises:
        ConfigError: the address is not supported; on a Hub also a token that is missing or lacks the right.
        NetworkUnavailableError: a Hub did not answer.
        NotFoundError: neither a folder nor a stored digest.
        TrustError: the patch is refused, the name is unsafe or belongs to another key.
        DataError: another process published this version first.
        StorageError: the market or the state folder cannot be written.
    """
    from symbio_lab.marketplace.publish import publish_patch
    from symbio_lab.trust.key_ring import OWN_NAME
    from symbio_lab.trust.keys import load_or_create_key
    from symbio_lab.trust.naming import check_patch_id

    if patch_id is not None:
        check_patch_id(patch_id)
    market = open_market(uri, settings, must_exist=False)
    found = _patch_to_publish(patch, settings, now, keys)
    key = load_or_create_key(settings.keys / f"{OWN_NAME}.json", partial(passphrase_of, OWN_NAME))
    published = publish_patch(
        found,
        market.transport,
        key,
        store=settings.patches,
        issued=now,
        expires=expiry_after(now),
        patch_id=patch_id,
        licence=licence,
        pull_request=pull_request,
        predecessors=market.policy.predecessors_of(key.keyid),
    )
    return {
        "id": published.ref,
        "version": published.version,
        "digest": published.digest,
        "market": market.uri,
        "pull_request": published.pull_request or None,
        "keyid": key.keyid,
        "public_key": key.public_hex,
    }


def install_from(
    ref: str, markets: Sequence[Market], settings: Settings, *, now: str, base_digest: str | None = None
) -> dict[str, Any]:
    """Return what was installed: the verified patch, copied into the patch store.

    Args:
        ref: ``namespace/name`` or ``namespace/name@version``.
        markets: where to look; only one of them may hold it.
        settings: state folder.
        now: UTC time.
        base_digest: base that the patch must fit; None accepts any.

    Raises:
        NotFoundError: no market holds it.
        ConfigError: several do.
        TrustError: a trust rule refuses it; nothing is stored.
        NetworkUnavailableError: a Hub did not answer.
    """
    from symbio_lab.marketplace.client import MarketplaceClient

    holding = [market for market in markets if market.holds(ref)]
    if not holding:
        raise NotFoundError(f"no market holds {ref}", hint="list what they hold: symbio market list")
    if len(holding) > 1:
        names = ", ".join(market.uri for market in holding)
        raise ConfigError([f"{len(holding)} markets hold {ref}: {names}"], hint="name one by --market")
    market = holding[0]
    client = MarketplaceClient([market.transport], market.policy, settings.patches, now, seen=market.seen)
    candidate = Candidate(ref, market.uri, None, 1.0, "asked for by name")
    patch, attempt = client.fetch(candidate, base_digest=base_digest)
    if patch is None:
        _refuse(attempt.code, attempt.detail)
        raise NotFoundError(attempt.detail)
    return {
        "id": f"{patch.patch_id}@{patch.manifest.version}",
        "digest": patch.digest,
        "level": patch.level,
        "market": market.uri,
        "path": str(patch.root),
        "base_digest": patch.manifest.base_digest,
        "keyid": patch.manifest.keyid,
        "public_key": market.policy.keys[patch.manifest.keyid].public_hex,
    }


def _refuse(code: str, detail: str) -> None:
    """Raise the refusal that the client kept as an attempt; return when it was none."""
    if code in TRUST_CODES:
        raise TrustError(code, detail)
    if code == BaseMismatchError.code:
        raise BaseMismatchError(detail)


def _patch_to_publish(patch: str, settings: Settings, now: str, keys: tuple[str, ...]) -> Patch:
    from symbio_lab.trust.stored import open_stored
    from symbio_lab.trust.trusted_set import TrustedState
    from symbio_lab.trust.verifying import verify_patch

    folder = Path(patch)
    if folder.is_dir():
        policy, _ = policy_of_folder(folder, settings, keys)
        return verify_patch(folder, policy, TrustedState(), now=now, store=settings.patches)
    if re.fullmatch(r"[0-9a-f]{64}", patch):
        return open_stored(settings.patches, patch)
    raise NotFoundError(
        f"{patch!r:.120} is neither a patch folder nor a digest of 64 hex characters",
        hint="give a folder, or a digest that symbio market install or symbio ledger printed",
    )
