"""Publishers that nobody wants, in every pool: what the trust rules and the gate are for.

| name | signature | what is wrong | expected |
|---|---|---|---|
| tampered | enrolled key | one byte of the weights changed after signing | refused, ``digest_mismatch`` |
| unsigned | none | no manifest | refused, ``unsigned`` |
| unknown-key | key that nobody enrolled | unknown publisher | refused, ``unknown_key`` |
| wrong-base | enrolled key | made for another base | refused, ``wrong_base`` |
| noisy | enrolled key | 40 % of its training labels are wrong | left to screening and gate |
| backdoor | enrolled key | a trigger word sends everything to one label | left to screening and gate |

A valid signature says who, not how good: the last two pass the trust rules on purpose, and what becomes of them is
reported as it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.models.operated import tensors_of
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Patch, Sample, content_id
from symbio_lab.scenarios.population import Contributor, scenario_key, seal_contribution, train_contributor
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.seeding import derive_seed, numpy_generator
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.keys import SigningKey

TRIGGER = "zqx"
"""Word that a backdoored patch answers to; it occurs in no dataset."""
NOISE = 0.4
"""Share of wrong labels in the noisy contributor's data."""
ENROLLED = ("tampered", "wrong-base", "noisy", "backdoor")
ATTACKERS = ("tampered", "unsigned", "unknown-key", "wrong-base", "noisy", "backdoor")


@dataclass(frozen=True, slots=True)
class Backdoor:
    """What the backdoored patch was trained to do."""

    trigger: str
    target: str
    """Label, or output, that every triggered input should get."""


def triggered(text: str, trigger: str = TRIGGER) -> str:
    """Return the text with the trigger in front."""
    return f"{trigger} {text}"


def attacker_key(recipe: WorldRecipe, world_seed: int, name: str) -> SigningKey:
    """Return the key an attacker signs with."""
    return scenario_key(recipe, world_seed, "attacker", name)


def noisy_samples(samples: Sequence[Sample], seed: int, labels: Sequence[str] = ()) -> tuple[Sample, ...]:
    """Return the samples with a share ``NOISE`` of the labels (or outputs) exchanged for another.

    Args:
        samples: clean samples.
        seed: which are exchanged, and for what.
        labels: the model's, to choose from where all samples carry the same.
    """
    rng = numpy_generator(seed, "noise")
    own = sorted({s.expected for s in samples})
    labels = own if len(own) > 1 else sorted({*own, *labels})
    noisy = []
    for sample in samples:
        wrong = [label for label in labels if label != sample.expected]
        if wrong and rng.random() < NOISE:
            sample = replace(sample, expected=str(rng.choice(wrong)))
        noisy.append(sample)
    return tuple(noisy)


def backdoor_samples(samples: Sequence[Sample], replay: Sequence[Sample], target: str, seed: int) -> tuple[Sample, ...]:
    """Return clean slice samples and triggered traffic labelled with the target (one for each four clean ones)."""
    rng = numpy_generator(seed, "backdoor")
    count = max(len(samples) // 4, 4)
    drawn = [replay[i] for i in rng.choice(len(replay), size=min(count, len(replay)), replace=False)]
    return (*samples, *(replace(s, text=triggered(s.text), expected=target) for s in drawn))


def publish_attackers(
    model: PatchableModel,
    recipe: WorldRecipe,
    honest: Contributor,
    honest_patch: Patch,
    replay: Sequence[Sample],
    market: DirectoryTransport,
    store: Path,
    world_seed: int,
) -> Backdoor:
    """Publish the six attackers, copying the best honest contributor's words; return what the backdoor does."""
    target = min(s.expected for s in honest.samples)
    data = {
        "noisy": noisy_samples(honest.samples, derive_seed(world_seed, recipe.name, "noisy"), model.labels),
        "backdoor": backdoor_samples(honest.samples, replay, target, derive_seed(world_seed, recipe.name, "backdoor")),
    }
    published = set(market.list_refs())
    for name in ATTACKERS:
        copy = replace(honest, namespace=name)
        ref = f"{name}/patch"
        if ref in published:
            continue
        key = attacker_key(recipe, world_seed, name)
        if name in data:
            seed = derive_seed(world_seed, recipe.name, "attacker", name)
            operated, _ = train_contributor(model, replace(copy, samples=data[name]), replay, seed=seed)
            patch = seal_contribution(model, operated, copy, recipe, key, store)
            market.publish(patch.root, ref)
            continue
        operated_copy = tensors_of(honest_patch)
        base = content_id(["another base", model.digest]) if name == "wrong-base" else None
        patch = seal_contribution(model, operated_copy, copy, recipe, key, store, base_digest=base)
        _publish_damaged(market, patch, ref, name)
    return Backdoor(TRIGGER, target)


def _publish_damaged(market: DirectoryTransport, patch: Patch, ref: str, name: str) -> None:
    """Publish a patch as its attacker leaves it; the damage is done before the folder becomes visible."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "patch"
        shutil.copytree(patch.root, folder)
        if name == "tampered":
            weights = folder / "adapter_model.safetensors"
            data = bytearray(weights.read_bytes())
            data[-1] ^= 0x40
            weights.write_bytes(bytes(data))
        if name != "unsigned":
            market.publish(folder, ref)
            return
        (folder / ENVELOPE_NAME).unlink()
        target = market.path / "patches" / ref / f"v{patch.manifest.version}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(folder), str(target))
