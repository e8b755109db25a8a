"""Adapters as strangers publish them: saved by peft itself, and repositories in plain folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from symbio_lab.errors import NotFoundError
from symbio_lab.marketplace.foreign_folders import FETCHED, ForeignListing

SHA = "0123456789abcdef0123456789abcdef01234567"
REPO = "stranger/adapter"
ADDRESS = f"hf://{REPO}@{SHA}"


class PlainFolders:
    """A ``FolderSource`` over ``root/<org>/<name>/<commit>/``; it notes what it was asked for."""

    def __init__(self, root: Path, licence: str | None = "apache-2.0") -> None:
        self.root = root
        self.licence = licence
        self.fetched: list[str] = []

    def current_commit(self, repo: str) -> str:
        if not (self.root / repo).is_dir():
            raise NotFoundError(f"no repository {repo}")
        return SHA

    def list_files(self, repo: str, sha: str) -> ForeignListing:
        folder = self.root / repo / sha
        if not folder.is_dir():
            raise NotFoundError(f"no commit {sha} of {repo}")
        files = [path for path in folder.rglob("*") if path.is_file()]
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
        return ForeignListing(sizes, self.licence)

    def fetch_folder(self, repo: str, sha: str, into: Path, max_bytes: int) -> None:
        for name in FETCHED:
            self.fetched.append(name)
            shutil.copy(self.root / repo / sha / name, into / name)

    def put(self, files: Mapping[str, bytes], repo: str = REPO, sha: str = SHA) -> Path:
        """Publish files and return their folder."""
        folder = self.root / repo / sha
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Change fields of the config in a folder."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def train(model: Any, seed: int = 0, scale: float = 0.3) -> None:
    """Stand in for training: every factor of a peft model gets random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if ".lora_" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def save_adapter(base: Any, folder: Path, **options: Any) -> Any:
    """Save a trained adapter of ``base`` as peft does, and return the peft model, ready to predict.

    Args:
        base: a Hugging Face model; it is changed.
        folder: where to save.
        options: of ``LoraConfig``; ``head`` changes the copy of the classification head in place.
    """
    from peft import LoraConfig, get_peft_model

    change_head = options.pop("head", None)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, **options})
    model = get_peft_model(base, config)
    train(model)
    if change_head is not None:
        with torch.no_grad():
            change_head(model.base_model.model.classifier.modules_to_save["default"])
    model.save_pretrained(str(folder))
    return model.eval()
