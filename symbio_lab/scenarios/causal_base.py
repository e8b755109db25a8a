"""Finding or training the base generator of a world: shipped weights, then the cache, then a training run.

A base is named by the content of everything that went into it (recipe, samples, seed). Weights that the package ships
carry the same name, and the SHA-256 of their file stands in ``weights/DIGESTS.json``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from symbio_lab.codec import build_folder, read_json, write_json
from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.events import BuildProgress, Listener, emit
from symbio_lab.models.causal_training import CausalRecipe, train_causal
from symbio_lab.models.digests import file_sha256
from symbio_lab.models.generator import Match, TextGenerator
from symbio_lab.models.loading import load_generator
from symbio_lab.records import Sample, content_id
from symbio_lab.scenarios.recipe import FORMAT

WEIGHTS = Path(__file__).parent / "weights"
"""Folders of shipped bases, one a base."""


def build_causal_base(
    name: str,
    train: Sequence[Sample],
    recipe: CausalRecipe,
    bases: Path,
    *,
    seed: int,
    device: str = "cpu",
    match: Match = "exact",
    listener: Listener | None = None,
) -> TextGenerator:
    """Return the generator trained on ``train``: shipped, cached, or trained now (minutes).

    Args:
        name: shown as the model id.
        train: prompts and gold answers; repeated samples weigh more.
        recipe: settings of the run.
        bases: cache folder.
        seed: weights and batches.
        device: torch device.
        match: how answers are judged.
        listener: told about progress.

    Raises:
        ModelUnresolvedError: shipped weights are not the published ones.
        StorageError: the cache cannot be written.
    """
    key = base_key(name, train, recipe, seed)
    folder = WEIGHTS / base_folder(name, key)
    if folder.is_dir():
        _check_shipped(folder)
    else:
        folder = bases / base_folder(name, key)
        bases.mkdir(parents=True, exist_ok=True)
        with FileLock(bases / f".{folder.name}.lock"):
            if not (folder / "recipe.json").is_file():
                build_folder(folder, lambda temporary: _train(temporary, name, train, recipe, seed, device, listener))
    model = load_generator(folder, device=device, max_new_tokens=recipe.max_new_tokens, match=match)
    model.model_id = name
    return model


def base_key(name: str, train: Sequence[Sample], recipe: CausalRecipe, seed: int) -> str:
    """Return the content key of a base, 16 hex."""
    return content_id([FORMAT, name, asdict(recipe), seed, [[s.text, s.expected] for s in train]])[:16]


def base_folder(name: str, key: str) -> str:
    """Return the folder name of a base."""
    return f"{name.replace('/', '-')}-{key}"


def _check_shipped(folder: Path) -> None:
    published = read_json(WEIGHTS / "DIGESTS.json").get(folder.name)
    if file_sha256(folder / "model.safetensors") != published:
        raise ModelUnresolvedError(
            f"the shipped weights of {folder.name} are not the published ones", hint="install symbio-lab again"
        )


def _train(
    folder: Path,
    name: str,
    train: Sequence[Sample],
    recipe: CausalRecipe,
    seed: int,
    device: str,
    listener: Listener | None,
) -> None:
    def told(step: int, steps: int) -> None:
        emit(listener, BuildProgress(f"base {name}", step, steps))

    told(0, 1)
    started = time.perf_counter()
    train_causal(recipe, train, folder, seed=seed, device=device, progress=told)
    info = {"schema": 1, "model_id": name, "seed": seed, "recipe": asdict(recipe), "num_samples": len(train)}
    write_json(folder / "recipe.json", {**info, "build_wall_s": time.perf_counter() - started})
