"""The queue of one base: turns, batches, errors of one part."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from symbio_lab.models.adapters import LoadedAdapter
from symbio_lab.models.kept_adapters import fitted_adapter
from symbio_lab.models.mixed_batch import Slot
from symbio_lab.service import answering
from symbio_lab.service.answering import Answering
from symbio_lab.service.problems import ProblemError
from tests.fixtures_models import TinyModels, query_modules, random_deltas, seal
from tests.fixtures_models import tiny as tiny

BASE = Slot("base", None)


class Held:
    """Stops the base at its first batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.batches: list[list[str]] = []
        run = answering.predict_slots

        def held(model: Any, texts: Any, slots: Any, slot_of: Any, owner_of: Any) -> Any:
            self.entered.set()
            assert self.open.wait(30)
            self.batches.append(list(texts))
            return run(model, texts, slots, slot_of, owner_of)

        monkeypatch.setattr(answering, "predict_slots", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


def test_tenants_take_turns_and_batches_are_bounded(tiny: TinyModels, held: Held) -> None:
    queue = Answering(tiny.load("pooled"), max_texts=1000, max_tokens=9)
    queue.ask("first", [(["x"], BASE)])
    assert held.entered.wait(30)
    made = [queue.ask("a", [([f"a{i}"], BASE)]) for i in range(4)]
    made += [queue.ask("b", [([f"b{i}"], BASE)]) for i in range(2)]
    large = queue.ask("c", [(["c " * 400], BASE)])
    held.open.set()
    for (part,) in (*made, large):
        part.answer.result(30)
    # Two tokens a text, estimated: four fit, and a large one is a batch of its own.
    assert held.batches == [["x"], ["a0", "b0"], ["c " * 400], ["a1", "b1", "a2", "a3"]]
    assert queue.figures().num_batches == 4


def test_an_error_of_one_part_is_its_own(tiny: TinyModels, tmp_path: Path, held: Held) -> None:
    model = tiny.load("pooled")
    target = query_modules(model)[0]
    wrong = Slot("wrong", LoadedAdapter({target: (torch.ones(2, 7), torch.ones(32, 2))}, 1.0))
    fine = Slot("fine", fitted_adapter(model, seal(model, tmp_path, random_deltas(model, [target]))))
    queue = Answering(model, max_texts=1000, max_tokens=1000)
    queue.ask("first", [(["x"], BASE)])
    assert held.entered.wait(30)
    (bad,) = queue.ask("a", [(["red0"], wrong)])
    good, beside = queue.ask("b", [(["red0", "blue1"], fine), (["red0"], wrong)])
    held.open.set()
    assert len(good.answer.result(30)) == 2
    for part in (bad, beside):
        with pytest.raises(RuntimeError):
            part.answer.result(30)
    (again,) = queue.ask("c", [(["red0"], BASE)])
    assert again.answer.result(30).outputs == model.predict(["red0"]).outputs


def test_a_request_that_nobody_waits_for_is_not_computed(tiny: TinyModels, held: Held) -> None:
    queue = Answering(tiny.load("pooled"), max_texts=1000, max_tokens=1000)
    queue.ask("first", [(["x"], BASE)])
    assert held.entered.wait(30)
    (gone,) = queue.ask("a", [(["red0"], BASE)])
    (stays,) = queue.ask("b", [(["blue0"], BASE)])
    assert gone.answer.cancel()
    held.open.set()
    stays.answer.result(30)
    assert held.batches == [["x"], ["blue0"]]


def test_room_is_bounded_for_all_and_for_one(tiny: TinyModels, held: Held) -> None:
    queue = Answering(tiny.load("pooled"), max_texts=4, max_tokens=1000)
    queue.ask("first", [(["x"], BASE)])
    assert held.entered.wait(30)
    parts = [queue.ask("a", [(["x", "y"], BASE)]), queue.ask("b", [(["x", "y"], BASE)])]
    for tenant, code in (("a", "too_many_waiting"), ("c", "overloaded")):
        with pytest.raises(ProblemError) as caught:
            queue.ask(tenant, [(["x"], BASE)])
        assert caught.value.code == code
        assert int(caught.value.headers["Retry-After"]) >= 1
    held.open.set()
    for (part,) in parts:
        assert len(part.answer.result(30)) == 2
