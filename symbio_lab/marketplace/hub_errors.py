"""What goes wrong on a Hub, as the lab's own errors: each says what to do next, none repeats a token.

| what happened | error |
|---|---|
| no connection, a timeout, 429 or 5xx to the end, offline and not remembered | ``NetworkUnavailableError`` |
| repository, revision or file does not exist, or is hidden from this token | ``NotFoundError`` |
| no token, or one without the right: 401, 403, gated | ``ConfigError`` (``AccessDeniedError`` for 403) |
| somebody else's commit came first: 412, 409 | ``ConflictError``, a ``StorageError`` |
| an answer outside the grammar, or one that the client cannot read | ``TrustError`` ``bad_response`` |
| the Hub refuses the request, or the disk fails | ``StorageError`` |
"""

from __future__ import annotations

from symbio_lab.errors import (
    ConfigError,
    NetworkUnavailableError,
    NotFoundError,
    StorageError,
    SymbioError,
    TrustError,
)
from symbio_lab.marketplace.hub_guard import CallFailedError

LOG_IN = "log in with: hf auth login, or set HF_TOKEN to a token with the right to do this"
NETWORK_HINT = "check the connection and HF_ENDPOINT; with HF_HUB_OFFLINE=1 what was read before can be used"
_UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)
"""What the client library raises over an answer that is not what it expects."""


class AccessDeniedError(ConfigError):
    """The Hub knows who asks and does not allow it (403)."""


class ConflictError(StorageError):
    """The repository changed between reading and writing (412, 409)."""

    hint = "run the command again"


def typed_error(error: Exception, what: str, secret: str | None = None) -> SymbioError:
    """Return the error of ours for what the client library raised.

    Args:
        error: as caught; an error of ours is returned as it is.
        what: what was tried, such as ``read alice/travel``.
        secret: token to keep out of every message, should a server repeat it.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the library wraps what went wrong with one file of several
    if isinstance(error, SymbioError):
        return error
    if isinstance(error, CallFailedError) or is_passing(error):
        reason = str(error) if isinstance(error, CallFailedError) else "the transfer broke off"
        return NetworkUnavailableError(f"cannot {what}: {reason}", hint=NETWORK_HINT)
    if isinstance(error, OfflineModeIsEnabled):
        return NetworkUnavailableError(f"cannot {what}: the Hub's client is offline", hint="unset HF_HUB_OFFLINE")
    if isinstance(error, LocalEntryNotFoundError):
        if isinstance(error.__cause__, HfHubHTTPError | OfflineModeIsEnabled):
            return typed_error(error.__cause__, what, secret)
        if error.__cause__ is not None:
            return TrustError("bad_response", f"cannot {what}: the answer does not describe a file of a Hub")
        return NetworkUnavailableError(f"cannot {what}: it was not downloaded before", hint=NETWORK_HINT)
    if isinstance(error, HFValidationError):
        return ConfigError([f"cannot {what}: the Hub does not allow this name"], hint="names: letters, digits, - _ .")
    if isinstance(error, HfHubHTTPError):
        return _of_answer(error, what, secret)
    if _is_http_error(error):
        return TrustError("bad_response", f"cannot {what}: {type(error).__name__}")
    if isinstance(error, ValueError) and "metadata" in str(error):
        return StorageError(f"cannot {what}: {_clean(str(error), secret)}", hint="the Hub refuses the card's head")
    if isinstance(error, _UNREADABLE):
        return TrustError("bad_response", f"cannot {what}: the answer is not what a Hub answers")
    if isinstance(error, OSError):
        return StorageError(f"cannot {what}: {_clean(str(error.strerror or error), secret)}")
    raise error


def _of_answer(error: Exception, what: str, secret: str | None) -> SymbioError:
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, GatedRepoError):
        return AccessDeniedError(
            [f"cannot {what}: its owner lets in only whom they accepted"],
            hint=f"ask for access on its page, then {LOG_IN}",
        )
    if isinstance(error, DisabledRepoError):
        return NotFoundError(f"cannot {what}: the Hub disabled the repository", hint="ask its owner")
    if isinstance(error, RepositoryNotFoundError):
        return NotFoundError(f"cannot {what}: no such repository", hint=f"check the name; if it is private, {LOG_IN}")
    if isinstance(error, RevisionNotFoundError | RemoteEntryNotFoundError):
        return NotFoundError(f"cannot {what}: no such revision or file", hint="list what exists: symbio market list")
    said = _clean(str(getattr(error, "server_message", None) or ""), secret)
    told = f"cannot {what}: status {status}" + (f", {said!r}" if said else "")
    if status == 401:
        return ConfigError([f"{told}: the Hub wants a token, or does not accept this one"], hint=LOG_IN)
    if status == 403:
        return AccessDeniedError([f"{told}: the token lacks the right"], hint=LOG_IN)
    if status == 404:
        return NotFoundError(told, hint=f"check the name; if it is private, {LOG_IN}")
    if status in (409, 412):
        return ConflictError(told)
    return StorageError(told, hint="the Hub refuses the request; what it says is in the message")


def is_passing(error: Exception) -> bool:
    """Return whether the transfer of a file broke off, after the client library tried to resume it."""
    if _is_http_error(error):
        kinds = {kind.__name__ for kind in type(error).__mro__}
        return bool(kinds & {"TimeoutException", "NetworkError", "RemoteProtocolError", "ProxyError"})
    return isinstance(error, OSError) and str(error).startswith("Consistency check failed")


def _is_http_error(error: Exception) -> bool:
    """Return whether the HTTP package itself refused: too many redirects, an address that is none."""
    return any(kind.__module__.partition(".")[0] in ("httpx", "httpx2") for kind in type(error).__mro__)


def _clean(text: str, secret: str | None) -> str:
    """Return a server's text as one short printable line without the token."""
    if secret:
        text = text.replace(secret, "<token>")
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return line[:200]
