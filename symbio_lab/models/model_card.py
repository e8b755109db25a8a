"""What the card beside a model's files states of it."""

from __future__ import annotations

from pathlib import Path

from symbio_lab.models.locating import locate_model

_MOST_CHARACTERS = 200


def card_licence(model: str | Path, *, revision: str | None = None) -> str | None:
    """Return the licence that a model's card states, in the card's spelling; None where no card states one.

    Args:
        model: Hub id or folder; it is not downloaded for its card.
        revision: Hub revision.

    Raises:
        ModelUnresolvedError: the model is not found.
        NetworkUnavailableError: it would have to be downloaded and no network answers.

    References:
        "Model Cards" in the Hub's documentation: ``license`` in the YAML head of ``README.md``.
    """
    from huggingface_hub.repocard import metadata_load
    from yaml import YAMLError

    card = locate_model(model, revision=revision) / "README.md"
    if not card.is_file():
        return None
    try:
        stated = (metadata_load(card) or {}).get("license")
    except (OSError, UnicodeDecodeError, ValueError, YAMLError):
        return None  # a card is prose; a broken one states nothing
    is_one = isinstance(stated, str) and stated.isascii() and 0 < len(stated) <= _MOST_CHARACTERS
    return stated if is_one and stated != "other" else None
