"""Generation worlds: the SCAN slices, delexicalised dialogue, and bases that are shipped, cached or trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import DataError, ModelUnresolvedError
from symbio_lab.events import BuildProgress
from symbio_lab.failures.delexicalised import delexicalise
from symbio_lab.failures.loading import load_rows
from symbio_lab.failures.scan import interpret, scan_pairs
from symbio_lab.models.causal_training import CausalRecipe, build_tokenizer
from symbio_lab.models.generator import slots_of
from symbio_lab.models.loading import load_generator
from symbio_lab.records import Sample
from symbio_lab.scenarios import causal_base
from symbio_lab.scenarios.catalogue import scenario_family, scenario_recipe
from symbio_lab.scenarios.families.scan import PRIMITIVE, SCAN, SLICES, TARGETS, clause_form
from symbio_lab.scenarios.population import plan_contributors
from symbio_lab.scenarios.sources import WorldSources, divide

TINY = CausalRecipe(hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, epochs=2.0, batch_size=8)
TOY = tuple(Sample(f"say w{i}", f"w{i}", f"w{i}", "toy", "train") for i in range(24))


@pytest.fixture(scope="module", params=list(SLICES))
def scan_world(request: pytest.FixtureRequest) -> tuple[str, WorldSources]:
    name = f"scan/{request.param}"
    recipe = scenario_recipe(name)
    return request.param, divide(SCAN.load(recipe), recipe, 0)


def every_part(sources: WorldSources) -> dict[str, tuple[Sample, ...]]:
    return {
        "base": sources.base_train,
        "contributors": sources.contributors,
        "probe": sources.relevance_probe,
        "probe control": sources.probe_control,
        "repair": sources.incident.slice_repair,
        "judge": sources.incident.slice_judge,
        "control": sources.incident.control,
    }


def test_no_command_is_in_two_parts_and_none_is_lost(scan_world: tuple[str, WorldSources]) -> None:
    split, sources = scan_world
    texts = [s.text for part in every_part(sources).values() for s in part]
    assert len(set(texts)) == len(texts)
    left_out = [c for c, _ in scan_pairs() if split == "around-right" and "turn around right" in c]
    assert sorted([*texts, *left_out]) == sorted(c for c, _ in scan_pairs())


def test_gold_answers_follow_the_grammar(scan_world: tuple[str, WorldSources]) -> None:
    _, sources = scan_world
    for part in every_part(sources).values():
        assert all(interpret(s.text) == s.expected for s in part[::97])


def test_the_base_never_sees_what_the_slice_needs(scan_world: tuple[str, WorldSources]) -> None:
    split, sources = scan_world
    outside = [s for name in ("base", "control", "probe control") for s in every_part(sources)[name]]
    inside = [s for name in ("contributors", "repair", "judge", "probe") for s in every_part(sources)[name]]
    if split == "length":
        assert max(len(s.expected.split()) for s in outside) == 22
        assert min(len(s.expected.split()) for s in inside) > 22
        return
    word = TARGETS[split]
    assert {s.text for s in outside if word in s.text} == ({word} if split.startswith("add-") else set())
    assert all(word in s.text for s in inside)


def test_the_bare_primitive_stays_in_training(scan_world: tuple[str, WorldSources]) -> None:
    split, sources = scan_world
    bare = [s for s in sources.base_train if s.source == PRIMITIVE]
    assert [s.text for s in bare] == ([TARGETS[split]] if split.startswith("add-") else [])


def test_contributors_know_some_facets_only(scan_world: tuple[str, WorldSources]) -> None:
    split, sources = scan_world
    recipe = scenario_recipe(f"scan/{split}")
    facets = {s.known_by for s in sources.contributors}
    assert len(facets) >= 8
    planned = plan_contributors(recipe, sources, "high", 0)
    assert [set(c.facets) == facets for c in planned].count(True) == 1
    for contributor in planned:
        known = {s.known_by for s in contributor.samples}
        assert known == set(contributor.facets) or not contributor.facets
        assert {s.domain for s in contributor.samples} == {contributor.topic}
        assert (contributor.topic == recipe.domain) == bool(contributor.facets)
        assert len(contributor.samples) == recipe.contributor_size


@pytest.mark.parametrize(
    ("command", "form"),
    [("jump twice and walk", "jump twice"), ("run after jump around left", "run"), ("look", "look")],
)
def test_a_clause_ends_at_its_conjunction(command: str, form: str) -> None:
    assert clause_form(command) == form


# ------------------------------------------------------------------------------------- delexicalised dialogue


def turn(*actions: Any, user: str = "and then?", reply: str = "") -> dict[str, Any]:
    return {"service": "Trains_1", "actions": list(actions), "user": user, "utterance": reply}


def test_values_become_slots_in_prompt_and_reply() -> None:
    row = turn(
        ["OFFER", "time", ["10:30"]], ["INFORM_COUNT", "count", ["10"]], user="At 10:30?", reply="10, one at 10:30."
    )
    assert delexicalise(row) == (
        "trains_1 | offer [time]; inform_count [count] | at [time]?",
        "[count], one at [time].",
    )


@pytest.mark.parametrize(
    "row",
    [
        turn(["GOODBYE", "", []], reply="Bye."),
        turn(["INFORM", "to", ["Rome"]], reply="It goes there."),
        turn(["INFORM", "to", ["Rome"]], reply="It goes to Romeo."),
        turn(["OFFER", "to", ["Rome", "Oslo"]], reply="Rome or Oslo."),
        turn(["OFFER", "to", ["Rome"]], ["OFFER", "from", ["Rome"]], reply="From Rome to Rome."),
    ],
)
def test_turns_that_cannot_be_judged_are_left_out(row: dict[str, Any]) -> None:
    assert delexicalise(row) is None


def test_stored_dialogue_becomes_a_world() -> None:
    try:
        load_rows("sgd_nlg", "test")
    except DataError:
        pytest.skip("the stored files of sgd_nlg are not on this machine")
    recipe = scenario_recipe("sgd_nlg/unseen")
    sources = divide(scenario_family(recipe.name).load(recipe), recipe, 0)
    seen = {s.facet for s in sources.base_train}
    assert not seen & {s.facet for s in sources.contributors}
    for sample in (*sources.base_train[:500], *sources.incident.slice_judge):
        asked, said = slots_of(sample.text.split(" | ")[1]), slots_of(sample.expected)
        assert asked, sample
        assert asked <= said, sample


# ------------------------------------------------------------------------------------------------- bases


def test_a_tokenizer_reads_back_what_it_wrote() -> None:
    texts = ["restaurants_2 | confirm [restaurant_name]; offer [time]", "it's [time], isn't it? yes: [a_b_c]"]
    samples = [Sample(text, text, text) for text in texts * 8]
    for kind in ("word", "bpe"):
        tokenizer = build_tokenizer(CausalRecipe(tokenizer=kind, vocabulary_size=90), samples)
        for text in texts:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids) == text
            assert tokenizer.unk_token_id not in ids


def test_a_base_is_trained_once_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    events: list[Any] = []
    make = lambda **more: causal_base.build_causal_base(  # noqa: E731
        "toy/world", TOY, TINY, tmp_path, **{"seed": 0, "listener": events.append, **more}
    )
    first = make()
    assert any(isinstance(e, BuildProgress) for e in events)
    events.clear()
    again = make()
    assert not events
    assert (again.digest, again.weights_digest()) == (first.digest, first.weights_digest())
    assert again.predict([TOY[0].text]) == first.predict([TOY[0].text])
    assert make(seed=1).digest != first.digest
    folder = tmp_path / causal_base.base_folder("toy/world", causal_base.base_key("toy/world", TOY, TINY, 0))
    assert json.loads((folder / "recipe.json").read_text())["num_samples"] == len(TOY)
    # Any user of transformers gets the same prompt: it is the saved folder's chat template.
    assert load_generator(folder, device="cpu").encode(["say w1"]) == first.encode(["say w1"])


def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    one, two = (
        causal_base.build_causal_base("toy/world", TOY, TINY, tmp_path / name, seed=3) for name in ("one", "two")
    )
    assert one.weights_digest() == two.weights_digest()


def test_the_name_of_a_base_covers_all_that_went_in() -> None:
    keys = {
        causal_base.base_key("a", TOY, TINY, 0),
        causal_base.base_key("b", TOY, TINY, 0),
        causal_base.base_key("a", TOY[1:], TINY, 0),
        causal_base.base_key("a", TOY, replace(TINY, epochs=3.0), 0),
        causal_base.base_key("a", TOY, TINY, 1),
    }
    assert len(keys) == 5


def test_damaged_shipped_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    causal_base.build_causal_base("toy/world", TOY, TINY, tmp_path, seed=0)
    (folder,) = (p for p in tmp_path.iterdir() if p.is_dir())
    (tmp_path / "DIGESTS.json").write_text(json.dumps({folder.name: "0" * 64}))
    monkeypatch.setattr(causal_base, "WEIGHTS", tmp_path)
    with pytest.raises(ModelUnresolvedError, match="shipped"):
        causal_base.build_causal_base("toy/world", TOY, TINY, tmp_path / "elsewhere", seed=0)
