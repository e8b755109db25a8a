"""Digests of model folders and of live parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.records import content_id

if TYPE_CHECKING:
    import torch

MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""``model.safetensors`` of the embedded default (Apache-2.0, 22.7M parameters)."""

BESIDE_WEIGHTS = ("config.json", "tokenizer.json", "vocab.txt", "chat_template.jinja", "base.json")
"""Files that change what the same weights answer."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the root digest of a model folder: weights, configuration and tokenizer.

    The root is the content id of the sorted list of (name, SHA-256), so that renaming, adding or changing
    one of these files gives another base.

    Raises:
        ModelUnresolvedError: the folder holds no safetensors weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelUnresolvedError(
            f"{folder.name} holds no .safetensors weights",
            hint="convert the model to safetensors; pickled weights are never loaded",
        )
    names = [*weights, *(folder / name for name in BESIDE_WEIGHTS)]
    return root_digest((p.name, file_sha256(p)) for p in names if p.is_file())


def root_digest(entries: Iterable[tuple[str, str]]) -> str:
    """Return the content id of sorted (name, SHA-256) pairs."""
    return content_id(sorted([name, digest] for name, digest in entries))


def parameters_digest(module: torch.nn.Module) -> str:
    """Return the SHA-256 over names and bytes of all parameters and buffers of a module."""
    import torch

    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
