"""Classifiers: the head and its names, long texts, and what may not be wrapped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from symbio_lab.errors import ModelError, WrongTaskError
from symbio_lab.models.classifier import MAX_LENGTH, TextClassifier
from tests.fixtures_models import KNOWN, TinyModels, known_samples


def rewrap(model: Any, **changes: Any) -> TextClassifier:
    fields = {"labels": KNOWN, "head_name": model.head_name, "model_id": "again", "digest": "0" * 64}
    given = {**fields, **changes}
    return TextClassifier(model.module, model.tokenizer, given.pop("labels"), **given)


def test_the_base_answers_what_it_was_fitted_on(tiny: TinyModels) -> None:
    samples = known_samples(10)
    for name in TinyModels.CLASSIFIERS:
        outputs = tiny.load(name).predict([s.text for s in samples]).outputs
        assert sum(o == s.expected for o, s in zip(outputs, samples, strict=True)) >= 0.95 * len(samples)


@pytest.mark.parametrize("labels", [KNOWN[:3], (*KNOWN, "extra"), ("red", "red", "blue", "green")])
def test_every_head_row_needs_its_own_name(tiny: TinyModels, labels: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match="4 head rows"):
        rewrap(tiny.load("pooled"), labels=labels)


def test_the_head_must_be_linear(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    with pytest.raises(ModelError, match="not a linear head"):
        rewrap(model, head_name="encoder")


def test_a_head_that_reads_every_token_is_refused() -> None:
    class PerToken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = torch.nn.Embedding(9, 8), torch.nn.Linear(8, 2)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(input_ids))

    class Letters:
        pad_token_id = 0

        def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[1, 2, 3] for _ in texts]}

    model = TextClassifier(PerToken(), Letters(), ["a", "b"], head_name="head", model_id="m", digest="0" * 64)
    with pytest.raises(WrongTaskError, match="every token"):
        model.predict(["x"])


def test_long_texts_are_cut_to_what_the_network_can_read(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    assert model.max_length == 64 < MAX_LENGTH
    assert [len(ids) for ids in model.encode(["red1 " * 500])] == [64]
    assert len(model.predict(["red1 " * 500])) == 1


def test_features_have_unit_length(tiny: TinyModels) -> None:
    features, logits, num_tokens = tiny.load("pooled").logits([s.text for s in known_samples(5)])  # type: ignore[union-attr]
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
    assert logits.dtype == torch.float32
    assert num_tokens == 7 * len(features)


def test_parameters_and_layers_are_counted_without_embeddings(tiny: TinyModels) -> None:
    for name in TinyModels.MEMBERS:
        model: Any = tiny.load(name)
        assert model.num_layers == 2
        assert 0 < model.num_parameters < sum(p.numel() for p in model.module.parameters())


def test_a_label_is_right_or_wrong(tiny: TinyModels) -> None:
    model = tiny.load("pooled")
    assert model.is_correct("red", "red")
    assert not model.is_correct("Red", "red")
