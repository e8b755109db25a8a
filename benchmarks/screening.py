"""Screening K patches on the same N samples: ours against peft's own loop, interleaved in one run.

Both sides predict the same labels for the same patches (checked before timing). ``peft`` loads every patch once with
``load_adapter`` and then calls ``set_adapter`` for each; batches are length-sorted for both, so that the ratio shows
sharing the frozen prefix and not padding. Medians of interleaved repetitions; CPU seconds stand beside wall seconds.

Run: ``make bench`` or ``python benchmarks/screening.py --patches 8 --samples 256 --repeats 5``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from symbio_lab.failures.helpdesk import generate_helpdesk
from symbio_lab.models.batching import length_sorted_batches
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.models.linear_head import fit_head
from symbio_lab.models.loading import load_encoder, use_threads
from symbio_lab.models.pooled import PooledClassifier
from symbio_lab.records import Patch
from symbio_lab.seeding import numpy_generator
from symbio_lab.trust.sealing import seal_patch

RANK = 8


def build_model(num_train: int = 400) -> tuple[TextClassifier, list[str]]:
    """Return a help-desk classifier on the embedded encoder, and texts to screen on."""
    data = generate_helpdesk(seed=0, per_template=2)
    train = data.samples["train"][:num_train]
    labels = sorted({s.expected for s in train})
    features = SentenceEmbedder()([s.text for s in train])
    weight, bias = fit_head(features, [labels.index(s.expected) for s in train], len(labels))
    encoder, tokenizer, _ = load_encoder()
    module = PooledClassifier(encoder, features.shape[1], len(labels))
    with torch.no_grad():
        module.classifier.weight.copy_(torch.from_numpy(weight))
        module.classifier.bias.copy_(torch.from_numpy(bias))
    model = TextClassifier(module, tokenizer, labels, head_name="classifier", model_id="bench", digest="0" * 64)
    return model, [s.text for s in data.samples["test"]]


def random_patches(model: TextClassifier, count: int, first_layer: int, store: Path) -> list[Patch]:
    """Return sealed patches with random query and value deltas from layer ``first_layer`` upwards."""
    targets = [
        f"encoder.encoder.layer.{layer}.attention.self.{name}"
        for layer in range(first_layer, model.num_layers)
        for name in ("query", "value")
    ]
    patches = []
    for number in range(count):
        rng = numpy_generator(0, "bench", first_layer, number)
        size = model.head.in_features
        deltas = {
            t: (
                rng.normal(0, 0.05, (RANK, size)).astype(np.float32),
                rng.normal(0, 0.05, (size, RANK)).astype(np.float32),
            )
            for t in targets
        }
        patches.append(
            seal_patch(
                store=store,
                deltas=deltas,
                rank=RANK,
                alpha=2.0 * RANK,
                head_rows=None,
                base_id="bench",
                base_digest=model.digest,
                task_type="text_classification",
                patch_id=f"bench/random-{number}",
                title="random",
                scope="random deltas for timing",
                labels=(),
                domain="bench",
                licence="CC0-1.0",
                training_data="none",
                issued="2026-01-01T00:00:00Z",
                expires="2036-01-01T00:00:00Z",
            )
        )
    return patches


def ours(model: TextClassifier, patches: list[Patch], texts: list[str]) -> list[tuple[str, ...]]:
    """Return predictions of all patches the way the lab screens them, from an empty cache."""
    model.forget()
    outputs = []
    for patch in patches:
        with model.applied(patch):
            outputs.append(model.predict(texts).outputs)
    return outputs


def peft_loop(model: TextClassifier, patches: list[Patch]) -> Callable[[list[str]], list[tuple[str, ...]]]:
    """Return a function that predicts with peft's ``set_adapter`` for each patch, all loaded beforehand."""
    from peft import PeftModel

    twin = model.training_copy()
    wrapped = PeftModel.from_pretrained(twin.module, patches[0].root, adapter_name="p0")
    for number, patch in enumerate(patches[1:], start=1):
        wrapped.load_adapter(patch.root, adapter_name=f"p{number}")
    wrapped.eval()

    @torch.inference_mode()
    def run(texts: list[str]) -> list[tuple[str, ...]]:
        encoded = model.encode(texts)
        batches = length_sorted_batches([len(i) for i in encoded])
        outputs = []
        for number in range(len(patches)):
            wrapped.set_adapter(f"p{number}")
            names = [""] * len(texts)
            for batch in batches:
                ids, mask = model.pad([encoded[i] for i in batch])
                best = wrapped(input_ids=ids, attention_mask=mask).argmax(dim=1).tolist()
                for index, label in zip(batch, best, strict=True):
                    names[index] = model.labels[label]
            outputs.append(tuple(names))
        return outputs

    return run


def measure(num_patches: int, num_samples: int, repeats: int) -> list[dict[str, float | int | str]]:
    """Return one row for each set of adapted layers."""
    model, texts = build_model()
    texts = texts[:num_samples]
    rows: list[dict[str, float | int | str]] = []
    for first in (0, model.num_layers // 2, model.num_layers - 2):
        with tempfile.TemporaryDirectory() as folder:
            patches = random_patches(model, num_patches, first, Path(folder))
            other = peft_loop(model, patches)
            pairs = zip(ours(model, patches, texts), other(texts), strict=True)
            same = np.mean([a == b for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True)])
            runs = {"ours": partial(ours, model, patches, texts), "peft": partial(other, texts)}
            times: dict[str, list[tuple[float, float]]] = {"ours": [], "peft": []}
            for _ in range(repeats):
                for name, run in runs.items():
                    wall, cpu = time.perf_counter(), time.process_time()
                    run()
                    times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        wall = {name: statistics.median(t[0] for t in values) for name, values in times.items()}
        cpu_s = {name: statistics.median(t[1] for t in values) for name, values in times.items()}
        rows.append(
            {
                "adapted_layers": f"{first}-{model.num_layers - 1}",
                "patches": num_patches,
                "samples": len(texts),
                "same_labels": float(same),
                "ours_wall_s": wall["ours"],
                "peft_wall_s": wall["peft"],
                "ratio_wall": wall["peft"] / wall["ours"],
                "ratio_cpu": cpu_s["peft"] / cpu_s["ours"],
                "repeats": repeats,
                "threads": torch.get_num_threads(),
            }
        )
    return rows


def main() -> None:
    """Print the rows as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=8)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two repeats")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="peft")
    use_threads()
    for row in measure(options.patches, options.samples, 2 if options.quick else options.repeats):
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
