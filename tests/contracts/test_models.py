"""What every model promises, whatever its task type: pure answers, patches that leave no trace, typed refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from symbio_lab.errors import BaseMismatchError, PatchApplyError, SymbioError, TrustError, WrongTaskError
from symbio_lab.models.operated import tensors_of
from symbio_lab.records import Patch
from tests.fixtures_models import (
    NEW,
    TinyModels,
    generation_samples,
    head_rows,
    known_samples,
    new_samples,
    query_modules,
    random_deltas,
    seal,
    strange_samples,
)


@pytest.fixture(params=TinyModels.MEMBERS)
def model(request: pytest.FixtureRequest, tiny: TinyModels) -> Any:
    return tiny.load(request.param)


@pytest.fixture
def texts(model: Any) -> list[str]:
    both = (known_samples(8), new_samples(8)) if model.labels else (generation_samples(8), strange_samples(8))
    return [s.text for part in both for s in part]


@pytest.fixture
def patch(model: Any, tmp_path: Path) -> Patch:
    rows = head_rows(NEW, scale=4.0) if model.labels else None
    return seal(model, tmp_path / "store", random_deltas(model, query_modules(model), scale=1.0), rows)


def count_hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())


def assert_untouched(model: Any, digest: str, texts: list[str], before: Any) -> None:
    assert count_hooks(model) == 0
    assert model.weights_digest() == digest
    assert model.predict(texts) == before


def test_predict_is_deterministic(model: Any, texts: list[str]) -> None:
    first = model.predict(texts)
    model.forget()
    assert model.predict(texts) == first
    assert len(first) == len(texts) == len(first.confidences)
    assert all(0.0 <= c <= 1.0 + 1e-6 for c in first.confidences)
    assert first.num_tokens > 0


def test_predict_does_not_depend_on_the_order_of_the_inputs(model: Any, texts: list[str]) -> None:
    forwards, backwards = model.predict(texts), model.predict(texts[::-1])
    assert backwards.outputs[::-1] == forwards.outputs
    assert backwards.confidences[::-1] == pytest.approx(forwards.confidences, abs=1e-5)
    assert backwards.num_tokens == forwards.num_tokens


def test_predict_does_not_depend_on_its_neighbours(model: Any, texts: list[str]) -> None:
    alone = [model.predict([text]).outputs[0] for text in texts[:6]]
    assert list(model.predict(texts).outputs[:6]) == alone


def test_no_input_gives_no_output(model: Any) -> None:
    assert len(model.predict([])) == 0
    assert model.encode([]) == []


def test_empty_and_unknown_texts_are_answered(model: Any) -> None:
    assert len(model.predict(["", "zzz unheard-of"])) == 2


def test_inputs_are_not_mutated(model: Any, texts: list[str]) -> None:
    given = list(texts)
    model.predict(texts)
    assert texts == given


def test_applying_and_removing_leaves_no_trace(model: Any, texts: list[str], patch: Patch) -> None:
    digest, before = model.weights_digest(), model.predict(texts)
    with model.applied(patch):
        assert model.predict(texts) != before
        assert model.weights_digest() == digest
    assert_untouched(model, digest, texts, before)


def test_the_same_patch_gives_the_same_answers_again(model: Any, texts: list[str], patch: Patch) -> None:
    answers = []
    for _ in range(2):
        with model.applied(patch):
            answers.append(model.predict(texts))
        model.forget()
    assert answers[0] == answers[1]


def test_an_error_inside_the_context_removes_the_patch(model: Any, texts: list[str], patch: Patch) -> None:
    digest, before = model.weights_digest(), model.predict(texts)
    with pytest.raises(RuntimeError, match="stop"), model.applied(patch):
        raise RuntimeError("stop")
    assert_untouched(model, digest, texts, before)


def test_none_applies_nothing(model: Any, texts: list[str]) -> None:
    before = model.predict(texts)
    with model.applied(None):
        assert model.predict(texts) == before


def test_a_second_patch_is_refused_and_the_first_stays(model: Any, texts: list[str], patch: Patch) -> None:
    with model.applied(patch):
        during = model.predict(texts)
        with pytest.raises(PatchApplyError, match="already active"), model.applied(patch):
            pass
        loose = tensors_of(patch).to_adapter()
        with pytest.raises(PatchApplyError, match="already active"), model.applied_adapter(loose, "loose"):
            pass
        assert model.predict(texts) == during


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"base_digest": "e" * 64}, BaseMismatchError, "base_mismatch"),
        ({"task_type": "other"}, WrongTaskError, "wrong_task"),
        ({"module": "no.such.module"}, PatchApplyError, "patch_does_not_fit"),
        ({"module": "norm"}, PatchApplyError, "patch_does_not_fit"),
        ({"width": 8}, PatchApplyError, "patch_does_not_fit"),
    ],
    ids=["base", "task", "module", "not-linear", "shape"],
)
def test_what_does_not_fit_is_refused_before_anything_is_hooked(
    model: Any, texts: list[str], tmp_path: Path, changes: dict[str, Any], error: type[SymbioError], code: str
) -> None:
    changes = dict(changes)
    digest, before = model.weights_digest(), model.predict(texts)
    deltas = random_deltas(model, query_modules(model))
    if "module" in changes:
        norms = [n for n, m in model.module.named_modules() if "norm" in type(m).__name__.lower()]
        name = changes.pop("module")
        deltas[norms[0] if name == "norm" else name] = next(iter(deltas.values()))
    if "width" in changes:
        first = sorted(deltas)[-1]
        deltas[first] = (deltas[first][0][:, : changes.pop("width")].copy(), deltas[first][1])
    if "task_type" in changes:
        other = "text_generation" if model.labels else "text_classification"
        changes["task_type"] = other
    wrong = seal(model, tmp_path, deltas, **{"labels": (), **changes})
    with pytest.raises(error) as caught, model.applied(wrong):
        pass
    assert caught.value.code == code
    assert caught.value.hint
    assert_untouched(model, digest, texts, before)


def test_bytes_changed_after_sealing_are_refused(model: Any, texts: list[str], patch: Patch) -> None:
    digest, before = model.weights_digest(), model.predict(texts)
    weights = patch.root / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(TrustError) as caught, model.applied(patch):
        pass
    assert caught.value.code == "digest_mismatch"
    weights.unlink()
    with pytest.raises(TrustError) as caught, model.applied(patch):
        pass
    assert caught.value.code == "missing_file"
    assert_untouched(model, digest, texts, before)


def test_a_training_copy_shares_nothing_that_training_writes(model: Any, texts: list[str]) -> None:
    digest, before = model.weights_digest(), model.predict(texts)
    twin = model.training_copy()
    with torch.no_grad():
        for parameter in twin.module.parameters():
            parameter.zero_()
    assert twin.weights_digest() != digest
    assert_untouched(model, digest, texts, before)


def test_a_model_apart_answers_alike_whatever_the_other_forgets(model: Any, texts: list[str], patch: Patch) -> None:
    before, other = model.predict(texts), model.apart()
    assert other.predict(texts) == before
    model.forget()
    with model.applied(patch):
        patched = model.predict(texts)
    with other.applied(patch):
        assert other.predict(texts) == patched
    assert other.predict(texts) == before
    assert_untouched(model, other.weights_digest(), texts, before)


def test_no_parameter_of_the_base_can_be_trained(model: Any) -> None:
    assert not any(p.requires_grad for p in model.module.parameters())
    assert not model.module.training


@pytest.mark.parametrize("name", TinyModels.MEMBERS)
def test_half_precision_is_recorded_and_patched_alike(tiny: TinyModels, tmp_path: Path, name: str) -> None:
    half = tiny.load(name, dtype="bfloat16")
    assert half.dtype == "bfloat16"
    sealed = seal(half, tmp_path, random_deltas(half, query_modules(half)), head_rows(NEW) if half.labels else None)
    answers = []
    for apply in (half.applied(sealed), half.applied_adapter(tensors_of(sealed).to_adapter(), "loose")):
        with apply:
            answers.append(half.predict(["red1 red2 the now", "cyan1 please"]))
        half.forget()
    assert answers[0] == answers[1]


# ------------------------------------------------------------------------------------------------ head rows


@pytest.mark.parametrize("name", TinyModels.CLASSIFIERS)
def test_labels_grow_with_the_rows_and_shrink_again(tiny: TinyModels, tmp_path: Path, name: str) -> None:
    classifier = tiny.load(name)
    base = classifier.labels
    texts = [s.text for s in known_samples(10)]
    _, logits, _ = classifier.logits(texts)
    with classifier.applied(seal(classifier, tmp_path, rows=head_rows(NEW, scale=0.1))):
        assert classifier.labels == (*base, *NEW)
        _, grown, _ = classifier.logits(texts)
        assert grown.shape == (len(texts), len(base) + len(NEW))
        # The base's rows are immutable: their logits are the same bits.
        assert torch.equal(grown[:, : len(base)], logits)
    assert classifier.labels == base


@pytest.mark.parametrize("name", TinyModels.CLASSIFIERS)
def test_a_row_that_the_base_has_is_never_replaced(tiny: TinyModels, tmp_path: Path, name: str) -> None:
    classifier = tiny.load(name)
    clash = seal(classifier, tmp_path, rows=head_rows(("cyan", classifier.labels[0])))
    with pytest.raises(PatchApplyError, match="own row"), classifier.applied(clash):
        pass
    narrow = seal(classifier, tmp_path, rows=head_rows(NEW, num_features=8))
    with pytest.raises(PatchApplyError, match="width 8"), classifier.applied(narrow):
        pass


def test_a_generator_takes_no_head_rows(tiny: TinyModels, tmp_path: Path) -> None:
    generator = tiny.load("llama")
    deltas = random_deltas(generator, query_modules(generator))
    with_rows = seal(generator, tmp_path, deltas, head_rows(("cyan",)))
    with pytest.raises(PatchApplyError, match="head rows"), generator.applied(with_rows):
        pass
