"""Markets that answer, and those that do not: one that is down costs its own patches, not the others' and not the job.

Rules:
    1. A market that cannot be read now is left out, and ``unreachable`` says so; the next refresh asks it again.
    2. A patch that cannot be fetched is skipped (``no_network``), as one that was withdrawn.
    3. Nothing is concluded from silence: who shows what was found also shows who was not asked.
"""

from __future__ import annotations

import logging
from typing import Any, NoReturn

from symbio_lab.errors import NetworkUnavailableError, StorageError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.index import MarketIndex
from symbio_lab.records import Attempt, Candidate, Patch
from symbio_lab.trust.seen_versions import load_seen

logger = logging.getLogger(__name__)


class ReachableMarkets(MarketplaceClient):
    """A client that goes on with the markets that answer."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take what ``MarketplaceClient`` takes."""
        super().__init__(*arguments, **named)
        self.unreachable: dict[str, str] = {}
        """Address of a market that did not answer -> why, as of the last refresh."""

    @property
    def is_cut_off(self) -> bool:
        """Whether there are markets and none of them answered."""
        return bool(self.transports) and len(self.unreachable) == len(self.transports)

    def refresh(self, now: str | None = None) -> tuple[MarketIndex, ...]:
        """Return the indices of the markets that answer, read anew.

        Raises:
            StorageError: the versions seen before cannot be read.
        """
        load_seen(self.seen)
        self.unreachable = {}
        found: list[MarketIndex] = []
        every, self.now = self.transports, now or self.now
        try:
            for uri, transport in every.items():
                self.transports = {uri: transport}
                try:
                    found += super().refresh(now)
                except (NetworkUnavailableError, StorageError) as error:
                    logger.warning("market %s cannot be read: %s", uri, error)
                    self.unreachable[uri] = str(error)
        finally:
            self.transports = every
        self._indices = tuple(found)
        return self._indices

    def fetch(
        self, candidate: Candidate, *, base_digest: str | None = None, task_type: str | None = None
    ) -> tuple[Patch | None, Attempt]:
        """Return the verified patch of a candidate, or None, and what happened.

        Raises:
            StorageError: the patch store failed.
        """
        try:
            return super().fetch(candidate, base_digest=base_digest, task_type=task_type)
        except NetworkUnavailableError as error:
            logger.warning("%s cannot be fetched: %s", candidate.ref, error)
            self.unreachable.setdefault(candidate.market, str(error))
            keyid = candidate.manifest.keyid if candidate.manifest else ""
            return None, Attempt("marketplace", candidate.ref, "skipped", error.code, str(error), keyid)

    def require_one(self) -> None:
        """Refuse to conclude anything when no market answered.

        Raises:
            NetworkUnavailableError: there are markets, and none of them can be reached.
        """
        if self.is_cut_off:
            self.refuse("no market can be reached")

    def refuse(self, what: str) -> NoReturn:
        """Refuse, and say which markets did not answer.

        Raises:
            NetworkUnavailableError: always.
        """
        whys = "; ".join(f"{uri}: {why}" for uri, why in self.unreachable.items())
        raise NetworkUnavailableError(f"{what}: {whys}", hint="try again when the market answers")
