"""The cached prefix: bounded, keyed by the list of texts, and used only below what a patch changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from symbio_lab.models.pooled import CachedTexts, PrefixCache
from tests.fixtures_models import TinyModels, known_samples


def test_the_highest_usable_state_is_taken() -> None:
    cached = CachedTexts({(0, below): torch.full((1,), float(below)) for below in (1, 2, 4)})
    assert cached.lowest(0, 0) == (0, None)
    below, state = cached.lowest(0, 3)
    assert below == 2
    assert state is not None
    assert float(state) == 2.0
    assert cached.lowest(1, 4) == (0, None)


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache = PrefixCache(limit_bytes=80)
    for name in ("a", "b", "c"):
        cache.entry([name]).features[0] = torch.zeros(8)
        cache.trim()
    assert cache.entry(["c"]).features
    assert cache.entry(["b"]).features
    assert not cache.entry(["a"]).features
    cache.clear()
    assert not cache.entry(["c"]).features


@pytest.mark.parametrize("below", [0, 1, 2])
def test_running_from_the_middle_gives_the_same_logits(tiny: TinyModels, below: int) -> None:
    model: Any = tiny.load("pooled")
    ids, mask = model.pad(model.encode([s.text for s in known_samples(3)]))
    states = model.module.embed(ids)
    for number in range(below):
        states = model.module.run_layer(number, states, mask)
    assert torch.equal(model.module.finish(states, mask, below), model.module(ids, mask))


def test_training_from_cached_states_sees_the_same_features(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    texts = ["red1 the", "blue2 please now with my red3", "grey1"]
    states = model.prefix_states(texts, 1)
    features, logits = model.features_above(states, 1)
    expected, expected_logits = model.features(model.encode(texts))
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=1e-5)


def test_only_a_pooled_network_can_be_cut(tiny: TinyModels) -> None:
    model: Any = tiny.load("bert")
    assert model.prefix_states(["red1"], 1) is None
    assert tiny.load("pooled").prefix_states(["red1"], 0) is None  # type: ignore[union-attr]


def test_the_pooled_forward_equals_the_encoder_s_own(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    ids, mask = model.pad(model.encode(["red1 the", "blue2 please now with my red3"]))
    hidden = model.module.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = model.module.classifier(model.module.pool(hidden, mask))
    torch.testing.assert_close(model.module(ids, mask), expected, rtol=1e-5, atol=1e-6)
