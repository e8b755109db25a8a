"""Loading: what is found, what is refused, and digests that name exactly one base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from symbio_lab.errors import DataError, ModelError, ModelUnresolvedError, NetworkUnavailableError, WrongTaskError
from symbio_lab.models import locating
from symbio_lab.models.digests import MINILM_ID, folder_digest, parameters_digest, root_digest
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.models.loading import (
    load_classifier,
    load_generator,
    locate_model,
    resolve_device,
    use_threads,
)
from tests.fixtures_models import KNOWN, TinyModels


@pytest.fixture
def copied(tiny: TinyModels, tmp_path: Path) -> Any:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny.folder(name), tmp_path / name))

    return copy


def test_a_folder_loads_with_its_labels_and_digest(tiny: TinyModels) -> None:
    hub, lab = tiny.load("bert"), tiny.load("pooled")
    assert hub.labels == lab.labels == KNOWN
    assert hub.digest == folder_digest(tiny.folder("bert"))
    assert hub.digest != lab.digest
    assert lab.model_id == "tiny"
    assert (hub.device, hub.dtype) == ("cpu", "float32")


def test_loading_twice_gives_the_same_parameters(tiny: TinyModels) -> None:
    for name in TinyModels.MEMBERS:
        assert tiny.load(name).weights_digest() == tiny.load(name).weights_digest()


def test_a_folder_without_safetensors_is_refused(copied: Any) -> None:
    folder = copied("bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnresolvedError, match=r"no \.safetensors"):
        load_classifier(folder)


@pytest.mark.parametrize("load", [load_classifier, load_generator])
def test_a_folder_without_a_configuration_is_refused(copied: Any, load: Any) -> None:
    folder = copied("bert")
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnresolvedError, match=r"config\.json"):
        load(folder)


@pytest.mark.parametrize("load", [load_classifier, load_generator])
def test_damaged_weights_are_a_typed_error(copied: Any, load: Any) -> None:
    folder = copied("bert" if load is load_classifier else "llama")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError):
        load(folder)


def test_each_task_refuses_the_other_s_models(tiny: TinyModels) -> None:
    with pytest.raises(WrongTaskError, match="no classification head"):
        load_classifier(tiny.folder("llama"))
    with pytest.raises(WrongTaskError, match="no causal language model"):
        load_generator(tiny.folder("bert"))
    with pytest.raises(WrongTaskError):
        load_classifier(tiny.folder("encoder"))


@pytest.mark.parametrize("name", ["no such folder", "a/b/c", "nobody"])
def test_an_unknown_folder_says_so(name: str) -> None:
    with pytest.raises(ModelUnresolvedError, match="no model folder"):
        locate_model(name)


def test_an_unknown_hub_id_needs_the_network() -> None:
    with pytest.raises(NetworkUnavailableError, match="not on this machine"):
        locate_model("nobody/nothing")


def test_the_embedded_encoder_is_checked_against_its_published_bytes(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locating, "_from_cache", lambda *_: tiny.folder("encoder"))
    with pytest.raises(ModelUnresolvedError, match="not the published file"):
        locate_model(MINILM_ID)


def test_a_lab_base_that_changed_is_refused(copied: Any) -> None:
    folder = copied("pooled")
    info = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    (folder / "base.json").write_text(json.dumps({**info, "labels": [*KNOWN[::-1]]}), encoding="utf-8")
    with pytest.raises(ModelUnresolvedError, match="changed since it was built"):
        load_classifier(folder)
    (folder / "base.json").write_text(json.dumps({**info, "task_type": "text_generation"}), encoding="utf-8")
    with pytest.raises(WrongTaskError):
        load_classifier(folder)
    del info["encoder"]
    (folder / "base.json").write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(DataError, match="encoder"):
        load_classifier(folder)


def test_every_file_that_decides_answers_is_in_the_digest(copied: Any) -> None:
    folder = copied("bert")
    before = folder_digest(folder)
    (folder / "notes.md").write_text("x", encoding="utf-8")
    assert folder_digest(folder) == before
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
        after = folder_digest(folder)
        assert after != before
        before = after


def test_a_root_digest_does_not_depend_on_order() -> None:
    assert root_digest([("a", "1"), ("b", "2")]) == root_digest([("b", "2"), ("a", "1")])
    assert root_digest([("a", "1")]) != root_digest([("a", "2")])


def test_the_parameters_digest_sees_one_bit(tiny: TinyModels) -> None:
    module: Any = tiny.load("pooled").training_copy().module
    before = parameters_digest(module)
    with torch.no_grad():
        module.classifier.bias[0] += 1e-7
    assert parameters_digest(module) != before


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda", "mps")
    missing = next(d for d in ("mps", "cuda", "abacus") if d == "abacus" or not getattr(torch, d).is_available())
    with pytest.raises(ModelError, match="not available"):
        resolve_device(missing)


def test_threads_are_set_as_asked() -> None:
    before = torch.get_num_threads()
    try:
        assert use_threads(1) == torch.get_num_threads() == 1
        assert use_threads() >= 1
    finally:
        torch.set_num_threads(before)


def test_threads_are_set_where_the_system_tells_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    before = torch.get_num_threads()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    try:
        assert use_threads(1) == 1
    finally:
        torch.set_num_threads(before)


def test_an_embedder_loads_on_first_use(tiny: TinyModels) -> None:
    embed = SentenceEmbedder(tiny.folder("encoder"))
    vectors = embed(["red1 red2", "red1 red2", "plum1"])
    assert vectors.shape == (3, 32)
    assert (vectors[0] == vectors[1]).all()
    assert embed.digest == folder_digest(tiny.folder("encoder"))
    with pytest.raises(ModelUnresolvedError):
        SentenceEmbedder("nowhere")(["x"])
