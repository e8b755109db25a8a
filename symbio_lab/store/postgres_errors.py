"""What went wrong at a Postgres server, in words that say what to do; a password is in none of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from symbio_lab.errors import StorageError

_TRY_AGAIN = "try again; what was acknowledged is there"
_STATES: dict[str, tuple[str, str]] = {
    "53100": ("the server's disk is full", "free disk space on the server; nothing of this write is there"),
    "53200": ("the server is out of memory", "give the server more memory, or start fewer processes"),
    "53300": ("the server has no connection left", "raise max_connections, or start fewer processes"),
    "42501": ("the role may not do this", "let the role own the database: CREATE DATABASE symbio OWNER role"),
    "25006": ("the server is read-only", "give the address of the primary, not of a standby"),
    "55P03": ("another process holds the write lock", "try again; see pg_stat_activity for who writes"),
    "25P03": ("the transaction took too long", _TRY_AGAIN),
    "57014": ("the statement was cancelled", _TRY_AGAIN),
    "57P01": ("the server is shutting down", _TRY_AGAIN),
    "57P03": ("the server is starting up", _TRY_AGAIN),
    "40001": ("another process changed the same rows", _TRY_AGAIN),
    "40P01": ("another process changed the same rows", _TRY_AGAIN),
    "XX001": ("its data are damaged", "restore the server from a copy"),
    "XX002": ("its data are damaged", "restore the server from a copy"),
}
"""SQLSTATE -> what happened, what to do."""
_REFUSALS: tuple[tuple[str, str, str], ...] = (
    ("password authentication failed", "the password or the role is wrong", "see the address, ~/.pgpass or PGPASSWORD"),
    ("no password supplied", "the server asks for a password", "put it into ~/.pgpass or PGPASSWORD"),
    ("peer authentication failed", "the role is not this system user's", "use its user, or an address with a password"),
    ("no pg_hba.conf entry", "the server does not let this machine in", "add a line to the server's pg_hba.conf"),
    ("too many", "the server has no connection left", "raise max_connections, or start fewer processes"),
    ("connection slots", "the server has no connection left", "raise max_connections, or start fewer processes"),
    ("starting up", "the server is starting up", _TRY_AGAIN),
    ("shutting down", "the server is shutting down", _TRY_AGAIN),
    ("does not exist", "the server has no such database or role", "CREATE DATABASE symbio OWNER role"),
    ("translate host name", "its host is not known", "check the host in the address"),
    ("resolve host", "its host is not known", "check the host in the address"),
    ("connection refused", "no server listens there", "start the server, or check host and port"),
    ("no such file or directory", "no server listens there", "start the server, or check host and port"),
    ("timeout expired", "the server does not answer", "check host, port and firewall"),
    ("permission denied", "the role may not connect", "GRANT CONNECT ON DATABASE ... TO role"),
    ("ssl", "the server and sslmode do not agree", "set sslmode in the address as the server asks for it"),
)
"""What libpq says when it gets no connection -> what happened, what to do; the first that fits."""


@contextmanager
def typed_errors(name: str) -> Iterator[None]:
    """Turn every error of psycopg in the block into a ``StorageError`` about the store ``name``."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        what, hint = _described(error.sqlstate, str(error))
        raise StorageError(f"cannot use {name}: {what}", hint=hint) from error


def _described(state: str | None, message: str) -> tuple[str, str | None]:
    first = message.strip().partition("\n")[0]
    if state is not None:
        lost = ("the connection to the server was lost", _TRY_AGAIN) if state.startswith("08") else None
        return _STATES.get(state) or lost or (first, None)
    lowered = message.lower()
    for part, what, hint in _REFUSALS:
        if part in lowered:
            return what, hint
    return "the connection to the server was lost or refused", _TRY_AGAIN
