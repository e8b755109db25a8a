"""Generators: free-running greedy decoding, exact match, and the loss that trains them."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from symbio_lab.errors import WrongTaskError
from symbio_lab.evaluation.metrics.answers import exact_match, slot_accuracy
from symbio_lab.models.generator import TextGenerator
from symbio_lab.models.loading import load_generator
from tests.fixtures_models import ANSWERS, TinyModels, generation_samples


@pytest.fixture
def model(tiny: TinyModels) -> Any:
    return tiny.load("llama")


def test_it_answers_what_it_was_taught(model: Any) -> None:
    samples = generation_samples(10)
    outputs = model.predict([s.text for s in samples]).outputs
    assert sum(model.is_correct(o, s.expected) for o, s in zip(outputs, samples, strict=True)) >= 28
    assert set(outputs) <= set(ANSWERS)


def test_decoding_is_free_running_and_greedy(model: Any) -> None:
    text = generation_samples(1)[0].text
    ids = model.encode([text])[0]
    for _ in range(model.max_new_tokens):
        with torch.inference_mode():
            ids.append(int(model.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    answer = model.tokenizer.decode(ids[len(model.encode([text])[0]) :], skip_special_tokens=True)
    assert model.predict([text]).outputs == (answer.strip(),)


def test_an_answer_ends_at_the_limit(tiny: TinyModels, model: Any) -> None:
    model.max_new_tokens = 2
    assert model.predict([generation_samples(1)[0].text]).outputs == ("it is",)


def test_the_reference_is_never_read(model: Any) -> None:
    # The same input with another gold answer gets the same output: there is nothing to copy from.
    text = generation_samples(1)[0].text
    assert model.predict([text]) == model.predict([text])
    assert not model.is_correct(model.predict([text]).outputs[0], "something else")


@pytest.mark.parametrize(
    ("output", "expected", "right"),
    [("a b", "a b", True), (" a  b\n", "a b", True), ("a b c", "a b", False), ("A b", "a b", False), ("", "", True)],
)
def test_exact_match_up_to_white_space(model: Any, output: str, expected: str, right: bool) -> None:
    assert model.is_correct(output, expected) is right


def test_the_loss_counts_answer_tokens_only(model: Any) -> None:
    sample = generation_samples(1)[0]
    prompt, answer = model.encode([sample.text])[0], model.encode_answer(sample.expected)
    assert answer[-1] == model.tokenizer.eos_token_id
    with torch.inference_mode():
        logits = model.module(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
        by_hand = torch.nn.functional.cross_entropy(logits[len(prompt) - 1 : -1], torch.tensor(answer))
        loss = model.answer_loss([sample.text], [sample.expected])
    torch.testing.assert_close(loss, by_hand)


def test_padding_changes_no_loss(model: Any) -> None:
    short, long = "animal1 the", "animal1 the please now with my about"
    with torch.inference_mode():
        alone = [model.answer_loss([text], [ANSWERS[0]]) for text in (short, long)]
        together = model.answer_loss([short, long], [ANSWERS[0]] * 2)
    # Equal answer lengths: the mean over tokens is the mean over samples.
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_a_tokenizer_without_an_end_is_refused(model: Any) -> None:
    class Endless:
        eos_token_id = None

    with pytest.raises(WrongTaskError, match="end-of-sequence"):
        TextGenerator(model.module, Endless(), model_id="m", digest="0" * 64)


def test_a_generator_has_no_labels(model: Any) -> None:
    assert model.labels == ()


CHAT = "{% for m in messages %}{{ '[BOS] ' + m['role'] + ' ' + m['content'] }}{% endfor %} the"


def test_a_chat_template_is_the_prompt(tiny: TinyModels, tmp_path: Any) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(tiny.folder("llama"), folder)
    plain = load_generator(folder, device="cpu")
    plain.tokenizer.chat_template = CHAT
    plain.tokenizer.save_pretrained(folder)
    model = load_generator(folder, device="cpu")
    expected = model.tokenizer("[BOS] user animal1 please the", add_special_tokens=False)["input_ids"]
    assert model.encode(["animal1 please"]) == [expected]
    # The template is part of what a patch was made for.
    assert model.digest != tiny.load("llama").digest


@pytest.mark.parametrize(
    ("output", "expected", "right"),
    [
        ("go to [to] at [time]", "at [time] it goes to [to].", True),
        ("go to [ to ]", "[to]", True),
        ("go", "[to]", False),
        ("[to] [to]", "[to]", False),
        ("[to] [time]", "[to]", False),
        ("anything", "no slots", True),
    ],
)
def test_slots_are_matched_as_often_as_they_occur(model: Any, output: str, expected: str, right: bool) -> None:
    model.match = "slots"
    assert model.is_correct(output, expected) is right


def test_evaluate_metrics_agree_with_the_model(model: Any) -> None:
    outputs, gold = ["a b", "a", "[x] b", "[x]"], ["a  b", "b", "c [x]", "[y]"]
    for match, metric in (("exact", exact_match), ("slots", slot_accuracy)):
        model.match = match
        right = [model.is_correct(o, g) for o, g in zip(outputs, gold, strict=True)]
        assert metric(outputs, gold) == sum(right) / 4
    assert exact_match([], []) is None


def test_a_gpt2_like_model_is_trained_and_patched_too(tmp_path: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from symbio_lab.surgery.lora import LoraReplay
    from symbio_lab.surgery.lora_training import LoraSettings
    from symbio_lab.testing.surgery import free_meter

    folder = TinyModels(tmp_path).folder("llama")
    tokenizer = load_generator(folder, device="cpu").tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4, **ends)
        network = GPT2LMHeadModel(config)
    model = TextGenerator(network, tokenizer, model_id="gpt2", digest="0" * 64, max_new_tokens=4)
    samples = generation_samples(8)
    digest, before = model.weights_digest(), model.predict([s.text for s in samples])
    settings = LoraSettings(rank=8, targets="all_linear", min_steps=60, learning_rate=2e-2)
    operated = LoraReplay(settings).operate(model, samples, samples, seed=0, meter=free_meter())
    assert any(name.endswith("c_attn") for name in operated.deltas)
    assert all(b.shape[0] in (32, 96, 128) for _, b in operated.deltas.values())
    with model.applied_adapter(operated.to_adapter(), "trial"):
        assert model.predict([s.text for s in samples]) != before
        after = model.answer_loss([s.text for s in samples], [s.expected for s in samples])
    assert after < model.answer_loss([s.text for s in samples], [s.expected for s in samples])
    assert (model.weights_digest(), model.predict([s.text for s in samples])) == (digest, before)
