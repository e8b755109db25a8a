"""Passphrases of our keys, for commands: of the environment, else typed at a prompt, never an argument.

An argument could be read by every user of the machine in the list of processes, and stays in the shell's history.
"""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING

from symbio_lab.config import Settings
from symbio_lab.errors import DataError

if TYPE_CHECKING:
    from symbio_lab.trust.keys import SigningKey


def open_signing_key(name: str, settings: Settings) -> SigningKey:
    """Return one of our keys with its secret, asking for the passphrase where it has one.

    Raises:
        NotFoundError: there is no such key.
        DataError: no passphrase can be asked for.
        TrustError: ``bad_key``: a wrong passphrase.
    """
    from symbio_lab.trust.key_ring import KeyRing

    return KeyRing(settings.keys).open(name, lambda: passphrase_of(name))


def passphrase_of(name: str) -> str:
    """Return the passphrase of a key: of the environment, else typed.

    Raises:
        DataError: neither is possible.
    """
    return _given() or _typed(f"Passphrase of the key {name}: ")


def new_passphrase(name: str) -> str:
    """Return a passphrase for a new or re-encrypted key, typed twice.

    Raises:
        DataError: it is too short, was typed differently, or nobody can be asked.
    """
    from symbio_lab.trust.key_storage import check_new_passphrase

    if given := _given():
        return check_new_passphrase(given)
    typed = check_new_passphrase(_typed(f"New passphrase for the key {name}: "))
    if _typed("The same again: ") != typed:
        raise DataError("the two passphrases differ", hint="nothing was changed; run the command again")
    return typed


def _given() -> str | None:
    from symbio_lab.trust.key_storage import PASSPHRASE_VARIABLE

    return os.environ.get(PASSPHRASE_VARIABLE) or None


def _typed(prompt: str) -> str:
    from symbio_lab.trust.key_storage import PASSPHRASE_VARIABLE

    if not sys.stdin.isatty():
        raise DataError(
            "a passphrase is needed and nobody can be asked",
            hint=f"run the command in a terminal, or set {PASSPHRASE_VARIABLE}",
        )
    return getpass.getpass(prompt, stream=sys.stderr)
