"""Texts with a patch each in one batch get the answers of one patch at a time, whoever else is in the batch."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from symbio_lab.errors import BaseMismatchError, DataError, PatchApplyError, TrustError
from symbio_lab.models.batch_first import is_batch_first
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.generator import TextGenerator
from symbio_lab.models.kept_adapters import KeptAdapters, fitted_adapter, num_bytes
from symbio_lab.models.mixed_batch import TOLERANCE, Slot, predict_mixed, predict_slots
from symbio_lab.models.packed import ALIGN, can_pack
from symbio_lab.models.protocol import Predictions
from symbio_lab.records import Patch
from tests.fixtures_models import TinyModels, all_words, head_rows, known_samples, query_modules, random_deltas, seal


def texts_of(num: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 12 words."""
    rng, words = random.Random(seed), all_words()
    return [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(num)]


def linear_modules(model: TextClassifier | TextGenerator) -> list[str]:
    names = [n for n, m in model.module.named_modules() if isinstance(m, torch.nn.Linear)]
    return [n for n in names if "layer" in n and "lora" not in n]


def patches_of(model: TextClassifier, store: Path) -> list[Patch | None]:
    """The base, and patches of several ranks, targets, layers and head rows."""
    queries = query_modules(model)
    kinds: list[dict[str, object]] = [
        {"deltas": random_deltas(model, queries, seed=1)},
        {"deltas": random_deltas(model, queries, rank=1, seed=2), "rank": 1, "alpha": 3.0},
        {"deltas": random_deltas(model, linear_modules(model), rank=8, seed=3, scale=0.1), "rank": 8},
        {"deltas": random_deltas(model, queries[-1:], seed=4), "rows": head_rows(["cyan", "plum"], seed=4, scale=9.0)},
        {"rows": head_rows(["teal"], seed=5, scale=9.0), "rank": 0, "alpha": 0.0},
        {"deltas": random_deltas(model, [model.head_name], rank=2, seed=6), "rank": 2},
    ]
    return [None, *(seal(model, store, patch_id=f"alice/p{i}", **kind) for i, kind in enumerate(kinds))]  # type: ignore[arg-type]


def one_by_one(model: TextClassifier, texts: list[str], patches: list[Patch | None]) -> Predictions:
    outputs, confidences = [], []
    for text, patch in zip(texts, patches, strict=True):
        with model.applied(patch):
            found = model.predict([text])
        outputs += found.outputs
        confidences += found.confidences
    return Predictions(tuple(outputs), tuple(confidences), 0)


def rows_do_not_depend_on_their_number() -> bool:
    """Whether this machine's matrix products give a row the same bits whatever the other rows are."""
    generator = torch.Generator().manual_seed(0)
    for inner, outer in ((32, 64), (64, 32), (32, 32), (32, 4), (4, 32), (32, 8), (8, 32), (32, 1), (32, 3)):
        x, w = torch.randn(256, inner, generator=generator), torch.randn(outer, inner, generator=generator)
        whole = x @ w.t()
        if not all(torch.equal(x[:m] @ w.t(), whole[:m]) for m in range(ALIGN, 256, ALIGN)):
            return False
    return True


@pytest.fixture(params=TinyModels.CLASSIFIERS)
def model(request: pytest.FixtureRequest, tiny: TinyModels) -> TextClassifier:
    found = tiny.load(request.param)
    assert isinstance(found, TextClassifier)
    return found


def test_a_mixed_batch_gives_the_answers_of_one_patch_at_a_time(model: TextClassifier, tmp_path: Path) -> None:
    kinds = patches_of(model, tmp_path)
    rng = random.Random(1)
    texts = texts_of(120)
    patches = [rng.choice(kinds) for _ in texts]
    expected = one_by_one(model, texts, patches)
    before = model.weights_digest()
    mixed = predict_mixed(model, texts, patches)
    assert mixed.outputs == expected.outputs
    np.testing.assert_allclose(mixed.confidences, expected.confidences, atol=TOLERANCE, rtol=0)
    assert len(set(mixed.outputs) & {"cyan", "plum", "teal"}) > 0, "head rows answer too"
    assert mixed.outputs != one_by_one(model, texts, [None] * len(texts)).outputs
    assert mixed.num_tokens == sum(len(ids) for ids in model.encode(texts))
    assert model.weights_digest() == before
    assert not any(m._forward_hooks for m in model.module.modules()), "no hook stays"


def test_the_lab_s_bases_are_packed_and_others_are_padded(tiny: TinyModels) -> None:
    assert can_pack(tiny.load("pooled").module)
    assert not can_pack(tiny.load("bert").module)


def test_who_else_is_in_the_batch_changes_no_bit(tiny: TinyModels, tmp_path: Path) -> None:
    if not rows_do_not_depend_on_their_number():
        pytest.skip("matrix products of this machine depend on the number of rows")
    model = tiny.load("pooled")
    assert isinstance(model, TextClassifier)
    kinds = patches_of(model, tmp_path)
    texts = texts_of(60)
    patches = [kinds[i % len(kinds)] for i in range(len(texts))]
    mixed = predict_mixed(model, texts, patches)
    for seed in range(6):
        chosen = random.Random(seed).sample(range(len(texts)), 1 + 4 * seed)
        found = predict_mixed(model, [texts[i] for i in chosen], [patches[i] for i in chosen])
        assert found.outputs == tuple(mixed.outputs[i] for i in chosen)
        assert found.confidences == tuple(mixed.confidences[i] for i in chosen), seed


def test_one_text_under_several_patches_shares_the_layers_below_them(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("pooled")
    assert isinstance(model, TextClassifier)
    upper = [seal(model, tmp_path, random_deltas(model, query_modules(model)[-1:], seed=s)) for s in range(3)]
    texts = [t for t in texts_of(40) for _ in range(4)]
    patches = [None, *upper] * 40
    ran: list[int] = []
    lowest = model.module.get_submodule("encoder.encoder.layer.0.attention.self.query")
    handle = lowest.register_forward_hook(lambda _m, inputs, _o: ran.append(len(inputs[0])))
    try:
        mixed = predict_mixed(model, texts, patches)
        num_shared = sum(ran)
        apart = predict_slots(model, texts[::4] * 2, [Slot("base", None)], [0] * 80, [0] * 40 + [1] * 40)
    finally:
        handle.remove()
    num_tokens = sum(len(ids) for ids in model.encode(texts))
    assert num_shared < num_tokens / 3, "the layer below ran once for four rows"
    assert sum(ran) - num_shared >= num_tokens / 2, "two owners of one text share nothing"
    assert apart.outputs[:40] == mixed.outputs[::4]
    expected = one_by_one(model, texts, patches)
    assert mixed.outputs == expected.outputs
    np.testing.assert_allclose(mixed.confidences, expected.confidences, atol=TOLERANCE, rtol=0)
    if rows_do_not_depend_on_their_number():
        alone = predict_mixed(model, texts[1::4], patches[1::4])
        assert alone.confidences == mixed.confidences[1::4]


def test_more_tokens_than_one_batch_holds(model: TextClassifier, tmp_path: Path) -> None:
    kinds = patches_of(model, tmp_path)[:3]
    texts = texts_of(600)
    patches = [kinds[i % 3] for i in range(len(texts))]
    mixed = predict_mixed(model, texts, patches)
    for number, patch in enumerate(kinds):
        with model.applied(patch):
            found = model.predict(texts[number::3])
        assert mixed.outputs[number::3] == found.outputs
        np.testing.assert_allclose(mixed.confidences[number::3], found.confidences, atol=TOLERANCE, rtol=0)


class TokensFirst(torch.nn.Module):
    """A network whose linear layers see (L, N, D)."""

    def __init__(self, num_words: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.words = torch.nn.Embedding(num_words, 16)
        self.layer, self.classifier = torch.nn.Linear(16, 16), torch.nn.Linear(16, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = torch.tanh(self.layer(self.words(input_ids.t())))
        mask = attention_mask.t()[:, :, None].to(states.dtype)
        return self.classifier((states * mask).sum(0) / mask.sum(0))


def test_a_network_whose_rows_are_tokens_is_noticed(tiny: TinyModels, tmp_path: Path) -> None:
    tokenizer = tiny.load("pooled").tokenizer
    model = TextClassifier(
        TokensFirst(len(tokenizer)),
        tokenizer,
        ["a", "b", "c"],
        head_name="classifier",
        model_id="tokens first",
        digest="1" * 64,
    )
    assert not is_batch_first(model)
    assert is_batch_first(tiny.load("bert"))  # type: ignore[arg-type]
    patch = seal(model, tmp_path, random_deltas(model, ["layer"], scale=1.0))
    # As many texts as tokens: by the shape of this batch alone nobody could tell.
    texts = ["red0 blue1 red1 blue0", "blue2 red2 red0 red1", "red0 red1 blue0 blue2", "blue0 blue1 red2 red0"] + [
        "red0"
    ] * 2
    patches = [None, patch, None, patch, patch, None]
    assert predict_mixed(model, texts, patches).outputs == one_by_one(model, texts, patches).outputs


def test_a_generator_answers_one_patch_after_the_other(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("llama")
    patch = seal(model, tmp_path, random_deltas(model, query_modules(model), scale=0.5), labels=())
    texts = [s.text for s in known_samples(4)][:6]
    mixed = predict_mixed(model, texts, [None, patch] * 3)
    with model.applied(patch):
        patched = model.predict(texts[1::2])
    assert mixed.outputs[1::2] == patched.outputs
    assert mixed.outputs[::2] == model.predict(texts[::2]).outputs


def test_a_patch_that_does_not_fit_is_an_error_before_anything_runs(tiny: TinyModels, tmp_path: Path) -> None:
    model, other = tiny.load("pooled"), tiny.load("bert")
    assert isinstance(model, TextClassifier)
    foreign = seal(other, tmp_path / "a", random_deltas(other, query_modules(other)))
    clashing = seal(model, tmp_path / "b", rows=head_rows([model.labels[0]]), rank=0, alpha=0.0)
    for patch, error in ((foreign, BaseMismatchError), (clashing, PatchApplyError)):
        with pytest.raises(error):
            predict_mixed(model, ["x", "y"], [None, patch])
    changed = seal(model, tmp_path / "c", random_deltas(model, query_modules(model)))
    (changed.root / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(TrustError):
        predict_mixed(model, ["x"], [changed])
    with pytest.raises(DataError, match="2 texts, 1 patches"):
        predict_mixed(model, ["x", "y"], [None])
    fine = seal(model, tmp_path / "d", random_deltas(model, query_modules(model)))
    with model.applied(fine), pytest.raises(PatchApplyError, match="already active"):
        predict_mixed(model, ["x"], [None])


def test_nothing_and_empty_texts_are_answered(model: TextClassifier) -> None:
    assert predict_mixed(model, [], []) == Predictions((), (), 0)
    found = predict_mixed(model, ["", "x"], [None, None])
    assert found.outputs == tuple(model.predict([text]).outputs[0] for text in ("", "x"))


def test_a_text_without_tokens_is_answered_like_the_model_does(tiny: TinyModels) -> None:
    model = tiny.load("pooled")
    assert isinstance(model, TextClassifier)
    model.tokenizer.backend_tokenizer.post_processor = None
    known = known_samples(1)[0].text
    assert model.encode([""]) == [[]]
    found = predict_mixed(model, ["", known], [None, None])
    assert found.outputs == model.predict(["", known]).outputs


def test_kept_adapters_are_bounded_and_loaded_once(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("pooled")
    patches = [seal(model, tmp_path, random_deltas(model, query_modules(model), seed=s)) for s in range(4)]
    size = num_bytes(fitted_adapter(model, patches[0]))
    kept = KeptAdapters(model, limit_bytes=2 * size)
    first = kept.get(patches[0])
    assert kept.get(patches[0]) is first
    for patch in patches[1:]:
        kept.get(patch)
    assert kept.num_bytes == 2 * size
    assert kept.find(patches[0].digest) is None
    assert kept.find(patches[3].digest) is not None
    assert KeptAdapters(model, limit_bytes=1).get(patches[0]) is not None
    # Kept tensors are those that were verified, whatever became of the files.
    (patches[3].root / "adapter_model.safetensors").write_bytes(b"other")
    again = kept.get(patches[3])
    slots = [Slot("p3", again)]
    assert predict_slots(model, ["x"], slots, [0]).outputs
    with pytest.raises(TrustError):
        KeptAdapters(model).get(patches[3])
