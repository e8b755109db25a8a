"""The client of the markets: search them, fetch from them, and keep every refusal as an ``Attempt``.

This is the one place where a trust error is caught. Above it, a refused patch is an outcome to report; below it, an
exception that nobody can overlook.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from symbio_lab.errors import TRUST_CODES, BaseMismatchError, DataError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.index import MarketIndex, build_index
from symbio_lab.marketplace.search import Embedder, explain_empty, search
from symbio_lab.marketplace.transport import Transport
from symbio_lab.records import Attempt, Candidate, Patch, SearchQuery
from symbio_lab.trust.envelope import ENVELOPE_NAME, MAX_ENVELOPE_BYTES, peek_payload
from symbio_lab.trust.evaluation_statement import EvaluationStatement, counted_evaluations
from symbio_lab.trust.folder_reading import list_folder
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.seen_versions import load_seen, remember_seen
from symbio_lab.trust.trusted_set import TrustedState
from symbio_lab.trust.verifying import read_envelope, verify_patch

logger = logging.getLogger(__name__)


class MarketplaceClient:
    """One tenant's view of one or more markets."""

    def __init__(
        self,
        transports: Iterable[Transport],
        policy: TrustPolicy,
        store: Path,
        now: str,
        embed: Embedder | None = None,
        judging_digests: Collection[str] = (),
        *,
        seen: Path | None = None,
    ) -> None:
        """Prepare the client; nothing is read yet.

        Args:
            transports: markets to search.
            policy: the tenant's rules.
            store: folder for verified patches.
            now: UTC time, ISO-8601, ends in ``Z``.
            embed: N texts -> (N, D); None searches by words only.
            judging_digests: splits that a counted evaluation must not have touched.
            seen: folder that remembers the versions accepted; None keeps it in ``store``. Clients that face
                different markets and share a store need one each: equal names there are different patches.
        """
        self.seen = store / "seen" if seen is None else seen
        self.transports = {transport.uri: transport for transport in transports}
        self.policy = policy
        self.store = store
        self.now = now
        self.judging_digests = frozenset(judging_digests)
        self.bytes_read = 0
        """Bytes read from markets so far: envelopes, evaluations and files, refused ones included."""
        self._embed = embed
        self._vectors: dict[str, np.ndarray] = {}
        self._indices: tuple[MarketIndex, ...] | None = None
        self._state: TrustedState | None = None

    def refresh(self, now: str | None = None) -> tuple[MarketIndex, ...]:
        """Return the indices, read anew; searches use them until the next refresh.

        Raises:
            StorageError: a market or the store cannot be read.
        """
        self.now = now or self.now
        self._state = load_seen(self.seen)
        indices = [
            build_index(transport, self.policy, now=self.now, state=self._state, judging_digests=self.judging_digests)
            for transport in self.transports.values()
        ]
        self.bytes_read += sum(index.num_bytes for index in indices)
        self._indices = tuple(indices)
        return self._indices

    @property
    def has_read(self) -> bool:
        """Whether the markets were read, so that a search asks none of them."""
        return self._indices is not None

    @property
    def indices(self) -> tuple[MarketIndex, ...]:
        """Indices of all markets, read on first use."""
        return self._indices if self._indices is not None else self.refresh()

    def search(self, query: SearchQuery) -> list[Candidate]:
        """Return unverified candidates, best first, then those that are already known to be refused.

        Raises:
            StorageError: a market cannot be read.
        """
        return search(query, self.indices, self._embed_once if self._embed else None, self.policy)

    def explain_empty(self, query: SearchQuery) -> str:
        """Return, in one sentence, why ``query`` finds nothing."""
        return explain_empty(query, self.indices)

    def fetch(
        self, candidate: Candidate, *, base_digest: str | None = None, task_type: str | None = None
    ) -> tuple[Patch | None, Attempt]:
        """Return the verified patch of a candidate, or None, and what happened.

        Args:
            candidate: a search hit.
            base_digest: digest of the model to heal; None takes the one that the candidate was found with, so that a
                market cannot show one manifest and deliver another.
            task_type: task type of the failures; None as for ``base_digest``.

        Returns:
            The patch with an attempt ``proposed``, or None with an attempt ``refused`` (``code`` is the trust rule)
            or ``skipped`` (``not_found``: withdrawn since the search).

        Raises:
            StorageError: the market or the store failed; that says nothing about the patch.
        """
        offered = candidate.manifest
        keyid = offered.keyid if offered else ""
        if candidate.problem is not None:
            return None, _refused(candidate, candidate.problem, TRUST_CODES.get(candidate.problem, ""), keyid)
        try:
            patch = self._fetch_verified(
                candidate,
                base_digest or (offered.base_digest if offered else None),
                task_type or (offered.task_type if offered else None),
            )
        except (TrustError, BaseMismatchError) as error:
            return None, _refused(candidate, error.code, str(error), keyid)
        except NotFoundError as error:
            return None, Attempt("marketplace", candidate.ref, "skipped", error.code, str(error), keyid)
        detail = f"verified, level {patch.level}"
        return patch, Attempt("marketplace", candidate.ref, "proposed", "", detail, patch.manifest.keyid)

    def evaluations(self, candidate: Candidate) -> tuple[EvaluationStatement, ...]:
        """Return what others measured of a candidate: signed by evaluators of the policy, one a key, none leaky.

        Nothing of the patch itself is opened; who fetches it is told again by ``fetch`` whether it may be used.

        Raises:
            StorageError: the market cannot be read.
        """
        manifest, transport = candidate.manifest, self.transports.get(candidate.market)
        if manifest is None or transport is None or candidate.problem is not None:
            return ()
        publisher = self.policy.keys.get(manifest.keyid)
        try:
            payload = peek_payload(transport.read_manifest(candidate.ref))
        except (NotFoundError, TrustError):
            return ()
        digest = hashlib.sha256(payload).hexdigest()
        envelopes = transport.read_evaluations(digest)
        self.bytes_read += len(payload) + sum(map(len, envelopes))
        counted, _ = counted_evaluations(
            envelopes,
            self.policy.evaluators_of(manifest.keyid),
            patch_digest=digest,
            base_digest=manifest.base_digest,
            publisher_hex=publisher.public_hex if publisher is not None else "",
            judging_digests=self.judging_digests,
        )
        return counted

    def _fetch_verified(self, candidate: Candidate, base_digest: str | None, task_type: str | None) -> Patch:
        transport = self.transports.get(candidate.market)
        if transport is None:
            raise NotFoundError(f"the client knows no market {candidate.market}", hint="search again")
        if self._state is None:
            self._state = load_seen(self.seen)
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            holder = tempfile.TemporaryDirectory(prefix=".fetch-", dir=self.store, ignore_cleanup_errors=True)
        except OSError as error:
            raise StorageError(f"cannot write the patch store: {error.strerror or error}") from error
        with holder as temporary:
            cap = self.policy.max_total_bytes + MAX_ENVELOPE_BYTES
            folder = transport.fetch(candidate.ref, Path(temporary) / "patch", max_bytes=cap)
            sizes = list_folder(folder)
            self.bytes_read += sum(sizes.values())
            evaluations: list[bytes] = []
            if ENVELOPE_NAME in sizes:
                payload = peek_payload(read_envelope(folder))
                evaluations = transport.read_evaluations(hashlib.sha256(payload).hexdigest())
                self.bytes_read += sum(map(len, evaluations))
            patch = verify_patch(
                folder,
                self.policy,
                self._state,
                now=self.now,
                store=self.store,
                expect_ref=candidate.ref,
                base_digest=base_digest,
                task_type=task_type,
                evaluations=evaluations,
                judging_digests=self.judging_digests,
            )
        remember_seen(self.seen, patch.manifest, patch.digest)
        self._state = self._state.with_seen(patch.manifest, patch.digest)
        return patch

    def _embed_once(self, texts: list[str]) -> np.ndarray:
        """Embed the query (first) and the cards that were not embedded before: cards repeat, queries do not."""
        new = [texts[0], *sorted({text for text in texts[1:] if text not in self._vectors})]
        if self._embed is None:
            raise DataError("the client has no embedder")
        fresh = dict(zip(new, np.asarray(self._embed(new)), strict=True))
        self._vectors.update({text: fresh[text] for text in new[1:]})
        return np.stack([fresh[texts[0]], *(self._vectors[text] for text in texts[1:])])


def _refused(candidate: Candidate, code: str, detail: str, keyid: str) -> Attempt:
    logger.info("refused %s from %s: %s", candidate.ref, candidate.market, code)
    return Attempt("marketplace", candidate.ref, "refused", code, detail, keyid)
