"""The publishers' keys that this installation trusts: files under ``keys/enrolled/``, and its own key."""

from __future__ import annotations

from symbio_lab.codec import read_json
from symbio_lab.config import Settings
from symbio_lab.errors import DataError
from symbio_lab.trust.keys import load_key
from symbio_lab.trust.policy import PublisherKey, TrustPolicy

OWN_KEY_NAME = "this installation"


def own_key(settings: Settings) -> list[PublisherKey]:
    """Return our own public key, if there is one already."""
    path = settings.keys / "own.json"
    return [PublisherKey(load_key(path).public_hex, OWN_KEY_NAME, known=True)] if path.is_file() else []


def enrolled_keys(settings: Settings) -> list[PublisherKey]:
    """Return the keys under ``keys/enrolled/``.

    Raises:
        DataError: a file does not hold ``public_hex`` and ``name``.
    """
    found = []
    for path in sorted((settings.keys / "enrolled").glob("*.json")):
        value = read_json(path)
        if not isinstance(value, dict) or not isinstance(value.get("public_hex"), str):
            raise DataError(f"{path.name} is not an enrolled key", hint="remove it and run: symbio market enrol")
        known = value.get("known") is True
        found.append(PublisherKey(value["public_hex"], str(value.get("name", "")), known=known))
    return found


def enrolled_policy(settings: Settings) -> TrustPolicy:
    """Return the policy for any market that is not a scenario's pool: our own key and those enrolled."""
    return TrustPolicy().enrol(*own_key(settings), *enrolled_keys(settings))
