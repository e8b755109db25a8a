"""A healed model's patch is checked, described, measured, signed and published, so that the next tenant can adopt it.

Order; nothing is published unless all of it passed:
    1. the key may publish, the patch helped, and no split is so small that its digest could be guessed
    2. licence: the patch's own against those of the base and of its lineage (``licence_terms``)
    3. words: title, scope and training statement from facts (``card_words``)
    4. name: it is free, or ours (``standing``)
    5. private data: every text that would leave, against every text of the incident (``privacy_screen``)
    6. the patch is sealed under our key, in a temporary folder, and the evaluation is written
    7. the patch is published as the next version of its name, then the signed evaluation beside it

Running it again after a kill completes it: only what is missing is published. Where the market could only be offered
a pull request, the evaluation follows when it runs again after the merge. Our own evaluation says what we
measured; it never raises the trust level of our own patch, because a publisher has no vote.

Example::

    rules = load_house_rules(Path("house.yaml"))
    done = contribute(patch, incident, transport, key, store=store, patch_id="acme/travel", issued=now,
                      expires=later, rules=rules, dry_run=True)
    print(done.leaving())
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symbio_lab.codec import to_plain
from symbio_lab.errors import DataError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.contribution.describing import (
    describe,
    evaluation_of,
    lineage_of,
    own_facts,
    published_texts,
    signed_files,
)
from symbio_lab.marketplace.contribution.house_rules import HouseRules
from symbio_lab.marketplace.contribution.incident import Incident
from symbio_lab.marketplace.contribution.licence_terms import Terms, check_licence
from symbio_lab.marketplace.contribution.privacy_screen import refuse_private
from symbio_lab.marketplace.contribution.standing import Standing, find_evaluation, find_standing, newest_of_ours
from symbio_lab.marketplace.publish import publish_patch
from symbio_lab.marketplace.transport import Transport
from symbio_lab.records import Patch, PatchManifest
from symbio_lab.trust.evaluation_statement import EvaluationStatement, evaluation_to_payload, sign_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.naming import check_patch_id
from symbio_lab.trust.policy import SELF_LEVEL
from symbio_lab.trust.sealing import process_key, seal_files
from symbio_lab.trust.stored import open_stored

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contribution:
    """What left the house, or would leave it."""

    ref: str
    """``namespace/name@version``."""
    digest: str
    """Payload digest of the published patch, 64 hex."""
    manifest: PatchManifest
    """All that is said of the patch, its files included."""
    evaluation: EvaluationStatement
    """What we measured, signed beside the patch."""
    market: str
    published_patch: bool = False
    """False: dry run, or this version stood already."""
    published_evaluation: bool = False
    """False: dry run, it stood already, or the patch is only proposed yet."""
    pull_request: str = ""
    """Address of the pull request that proposes the patch; empty when it stands in the market."""

    def leaving(self) -> dict[str, Any]:
        """Return everything that leaves, as plain values; the files are those of the manifest."""
        return {
            "ref": self.ref,
            "market": self.market,
            "digest": self.digest,
            "manifest": to_plain(self.manifest),
            "evaluation": to_plain(self.evaluation),
        }


def contribute(
    patch: Patch,
    incident: Incident,
    transport: Transport,
    key: SigningKey,
    *,
    store: Path,
    patch_id: str,
    issued: str,
    expires: str,
    rules: HouseRules | None = None,
    dry_run: bool = False,
    predecessors: Collection[str] = (),
) -> Contribution:
    """Publish a healed model's patch with its evaluation, or say what would be published.

    Args:
        patch: in the patch store; its files are hashed again.
        incident: what it healed, and what it was measured to do.
        transport: market to publish to.
        key: publisher's key, which also signs the evaluation.
        store: folder of verified patches.
        patch_id: ``namespace/name`` to publish as.
        issued: UTC time.
        expires: UTC time, later than ``issued``.
        rules: what the house lets out; None takes the defaults.
        dry_run: True checks everything and publishes nothing.
        predecessors: keyids whose names have passed to ``key``.

    Raises:
        TrustError: ``level_too_low`` (the key of this process cannot publish), ``licence``, ``name_taken``,
            ``private_data``, ``unsafe_name``, ``bad_manifest``, ``digest_mismatch``.
        ConfigError: a licence is not known, with all that has to be stated.
        DataError: the patch did not help, or another process published this version first.
        StorageError: the store or the market cannot be read or written.
    """
    rules = rules or HouseRules()
    check_patch_id(patch_id)
    _check_worth(incident, key, rules)
    terms = _check_licences(patch, incident, rules, store)
    manifest = replace(
        describe(patch, incident, rules, licence=terms.licence, notices=terms.keep_notices),
        patch_id=patch_id,
        keyid=key.keyid,
        issued=issued,
        expires=expires,
    )
    newest = newest_of_ours(transport, patch_id, key, predecessors)
    if newest is not None:
        manifest = replace(manifest, version=newest.manifest.version + 1, previous=newest.digest)
    standing = find_standing(transport, newest, manifest, key, digest=patch.digest, now=issued)
    with _temporary_store(store) as temporary:
        if standing is None:
            sealed = seal_files(temporary, manifest, signed_files(patch, manifest), key)
        said = standing or Standing(sealed.manifest, sealed.digest)
        statement = evaluation_of(said.manifest, said.digest, incident, keyid=key.keyid, issued=issued)
        evaluation_to_payload(statement)
        refuse_private(
            published_texts(said.manifest, statement),
            incident.private_texts(),
            facts=own_facts(patch, said.manifest, incident),
            may_hold=rules.may_hold,
        )
        ref = f"{patch_id}@{said.manifest.version}"
        done = Contribution(ref, said.digest, said.manifest, statement, transport.uri)
        if dry_run:
            return done
        if standing is None:
            done = _publish(done, temporary, transport, key, store, predecessors)
    if done.pull_request:
        return done
    return _attach_evaluation(done, transport, key)


def _check_worth(incident: Incident, key: SigningKey, rules: HouseRules) -> None:
    if key.keyid == process_key().keyid:
        raise TrustError("level_too_low", "the key of this process seals patches for use here; it cannot publish")
    measured = incident.measured
    gained = measured.num_right_after - measured.num_right_before
    if not measured.num_fixed or gained <= 0:
        raise DataError(
            f"the patch fixed {measured.num_fixed} of {measured.num_failures} failures and changed the number of "
            f"right answers by {gained:+d} of {measured.num_samples}",
            hint="only what made the model better is contributed",
        )
    least = rules.min_samples_behind_digest
    small = [f"{name} ({len(split)})" for name, split in incident.splits.items() if 0 < len(split) < least]
    if small:
        raise TrustError(
            "private_data", f"the digest of a split of fewer than {least} samples could be guessed: {', '.join(small)}"
        )


def _check_licences(patch: Patch, incident: Incident, rules: HouseRules, store: Path) -> Terms:
    base = rules.base_name or patch.manifest.base_id
    lineage = licences_of(lineage_of(patch, incident), store, {patch.digest: patch.manifest.licence}, rules)
    return check_licence(rules.licence or patch.manifest.licence, {f"the base {base}": rules.base_licence, **lineage})


def licences_of(
    lineage: Iterable[str], store: Path, known: Mapping[str, str] | None = None, rules: HouseRules | None = None
) -> dict[str, str | None]:
    """Return the licence of every patch of a lineage, by the name that ``check_licence`` uses; None: not known here.

    Args:
        lineage: payload digests.
        store: folder of verified patches.
        known: payload digest -> licence of patches at hand.
        rules: what they state of a digest comes first.
    """
    stated = {**(known or {}), **(rules.lineage_licences if rules else {})}
    found: dict[str, str | None] = {}
    for digest in lineage:
        licence = stated.get(digest)
        if licence is None:
            try:
                licence = open_stored(store, digest).manifest.licence
            except (NotFoundError, TrustError) as error:
                logger.info("the licence of %s is not in the store: %s", digest[:12], error.code)
        found[f"patch {digest}"] = licence
    return found


def _publish(
    done: Contribution,
    drafts: Path,
    transport: Transport,
    key: SigningKey,
    store: Path,
    predecessors: Collection[str],
) -> Contribution:
    # Opened as ``self``: the draft in the temporary folder is nobody's ancestor.
    draft = open_stored(drafts, done.digest, level=SELF_LEVEL)
    said = done.manifest
    made = publish_patch(
        draft,
        transport,
        key,
        store=store,
        issued=said.issued,
        expires=said.expires,
        patch_id=said.patch_id,
        licence=said.licence,
        claims=said.claims,
        predecessors=predecessors,
    )
    # What was published, not what was planned: another process of ours may have taken the version in between.
    published = open_stored(store, made.digest).manifest
    return replace(
        done,
        ref=made.ref,
        digest=made.digest,
        manifest=published,
        published_patch=True,
        pull_request=made.pull_request,
    )


def _attach_evaluation(done: Contribution, transport: Transport, key: SigningKey) -> Contribution:
    statement = replace(done.evaluation, patch_digest=done.digest)
    known = find_evaluation(transport, statement, key)
    if known is not None:
        return replace(done, evaluation=known)
    transport.publish_evaluation(done.digest, sign_evaluation(statement, key))
    return replace(done, evaluation=statement, published_evaluation=True)


@contextmanager
def _temporary_store(store: Path) -> Iterator[Path]:
    try:
        store.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix=".contribution-", dir=store, ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(f"cannot write the patch store: {error.strerror or error}") from error
    with holder as folder:
        yield Path(folder)
