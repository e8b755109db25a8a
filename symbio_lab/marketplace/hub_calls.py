"""Calls of the Hub's client library: guarded, with a deadline, tried again where that is safe, errors typed.

Rules:
    1. Every call goes through ``HubCalls.call``. It is the only place that waits or tries again.
    2. Reads are tried again after failures that may pass, with doubling waits, or as long as the server asks if that
       is not too long. Writes are tried once: who publishes reads what stands and decides.
    3. The token comes from ``HF_TOKEN`` or the client library's own store and stays there: it is fetched for each
       call, and no field, message or log of ours holds it. One that is passed in is kept out of sight.
    4. Nothing is imported, read or sent before the first call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from symbio_lab.marketplace.hub_errors import is_passing, typed_error
from symbio_lab.marketplace.hub_guard import Allowance, CallFailedError, DeadlineError, guarded
from symbio_lab.marketplace.hub_limits import HubLimits

logger = logging.getLogger(__name__)
T = TypeVar("T")
_deadline: ContextVar[float | None] = ContextVar("symbio_lab_hub_deadline", default=None)


class HubCalls:
    """Guarded access to one endpoint as one user."""

    def __init__(
        self, endpoint: str, *, token: str | None = None, offline: bool = False, limits: HubLimits | None = None
    ) -> None:
        """Prepare the calls; nothing is sent.

        Args:
            endpoint: checked address of the server.
            token: None takes the one of this machine, if there is one.
            offline: True never sends anything, as ``HF_HUB_OFFLINE=1`` does.
            limits: bounds of time and size.
        """
        self.endpoint = endpoint
        self.limits = limits or HubLimits()
        self._offline = offline
        # In a closure, so that printing or storing the object's fields cannot show it.
        self._given_token: Callable[[], str | None] = lambda: token

    @property
    def offline(self) -> bool:
        """Whether nothing may be sent."""
        from huggingface_hub import constants

        return self._offline or constants.is_offline_mode()

    @property
    def has_token(self) -> bool:
        """Whether calls are made as somebody."""
        return self._token() is not None

    @contextmanager
    def operation(self, num_bytes: int = 0) -> Iterator[None]:
        """Give all calls within the block one deadline.

        Args:
            num_bytes: size of the files that will be downloaded, which add time.
        """
        until = time.monotonic() + self.limits.deadline_s + num_bytes / self.limits.min_bytes_per_s
        outer = _deadline.get()
        # An inner operation that moves files may take longer, for nobody knew of them when the outer one began.
        token = _deadline.set(until if outer is None or num_bytes else outer)
        try:
            yield
        finally:
            _deadline.reset(token)

    def call(
        self,
        what: str,
        action: Callable[[Any], T],
        *,
        max_bytes: int | None = None,
        commit: str | None = None,
        is_read: bool = True,
    ) -> T:
        """Return what ``action`` returns when given the client library's ``HfApi``.

        Args:
            what: what is tried, for messages: ``read alice/travel``.
            action: makes the calls and consumes their answers; of a read, perhaps several times.
            max_bytes: largest answer; None takes the bound for answers that are no files.
            commit: commit that file answers must be of.
            is_read: False tries once.

        Raises:
            NetworkUnavailableError: no usable answer in time.
            NotFoundError: it does not exist, or not for this token.
            ConfigError: the token is missing, not accepted, or lacks the right.
            TrustError: ``bad_response``.
            StorageError: the Hub refuses, or the disk fails.
        """
        with self.operation():
            until = _deadline.get()
            assert until is not None
            allowance = Allowance(
                self.endpoint, until, self.limits.timeout_s, max_bytes or self.limits.max_answer_bytes, commit
            )
            for tried in range(1, self.limits.max_tries + 1):
                try:
                    with guarded(allowance):
                        return action(self._api())
                except Exception as error:  # noqa: BLE001  typed_error passes on what it does not know
                    wait_s = self._wait_before(tried, until, error) if is_read else None
                    if wait_s is None:
                        # The library's error holds the request with its headers: it is not chained.
                        raise typed_error(error, what, self._token()) from None
                    logger.info("could not %s (%s); again in %.1f s", what, type(error).__name__, wait_s)
                    time.sleep(wait_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def token_for_client(self) -> str | bool:
        """Return what the client library takes as ``token``: ours, or False for none."""
        return self._token() or False

    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token_for_client(), library_name="symbio_lab")

    def _token(self) -> str | None:
        from huggingface_hub import constants, get_token

        given = self._given_token()
        if given or constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
            return given or None
        found: str | None = get_token()
        return found

    def _wait_before(self, tried: int, until: float, error: Exception) -> float | None:
        """Return the seconds to wait before another try, or None if there is none."""
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        if isinstance(error, DeadlineError) or not (isinstance(error, CallFailedError) or is_passing(error)):
            return None
        asked = getattr(error, "wait_s", None)
        wait_s = self.limits.first_wait_s * 2 ** (tried - 1) if asked is None else asked
        if wait_s > self.limits.max_wait_s:
            wait_s = self.limits.max_wait_s if asked is None else float("inf")
        ends = time.monotonic() + wait_s
        return wait_s if tried < self.limits.max_tries and ends < until else None
