"""The classification families on their stored data: what the slice is, what the base learns, how the roles come out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from symbio_lab.errors import ConfigError, DataError, EmptySliceError, ModelUnresolvedError, NetworkUnavailableError
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.held_out_intents import BANKING77_HELD_OUT
from symbio_lab.failures.loading import load_rows
from symbio_lab.failures.locating import data_root
from symbio_lab.records import Sample
from symbio_lab.scenarios.catalogue import scenario_family, scenario_names, scenario_recipe
from symbio_lab.scenarios.families import hatemoji
from symbio_lab.scenarios.families.hint3 import BOTS
from symbio_lab.scenarios.families.multidogo import DOMAINS
from symbio_lab.scenarios.families.sentence_polarity import MIN_TEMPLATES
from symbio_lab.scenarios.population import plan_contributors
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.scenarios.sources import WorldSources, divide

FAMILIES = ("banking77", "sentence_polarity", "hint3", "multidogo", "hatemoji")
WORLDS = tuple(name for name in scenario_names() if name.split("/")[0] in FAMILIES)
GATE_CONTROLS = 400
SMALL = ("hint3/", "sentence_polarity/advglue")


@dataclass(frozen=True)
class Case:
    recipe: WorldRecipe
    data: FailureDataset
    sources: WorldSources

    @property
    def slice_parts(self) -> dict[str, tuple[Sample, ...]]:
        s = self.sources
        return {
            "contributors": s.contributors,
            "repair": s.incident.slice_repair,
            "judge": s.incident.slice_judge,
            "probe": s.relevance_probe,
        }

    @property
    def inside(self) -> list[Sample]:
        return [s for part in self.slice_parts.values() for s in part]


@cache
def loaded(name: str) -> Case | str:
    """Return a divided world, or why it cannot be checked here."""
    recipe = scenario_recipe(name)
    folder = name.split("/")[0]
    root = data_root()
    if root is None or not (root / folder).is_dir():
        return f"{name} NOT CHECKED: its files are not on this machine (set SYMBIO_LAB_DATA)"
    try:
        data = scenario_family(name).load(recipe)
    except (ModelUnresolvedError, NetworkUnavailableError) as error:
        return f"{name} NOT CHECKED: {error}"
    return Case(recipe, data, divide(data, recipe, 0))


def case(name: str) -> Case:
    found = loaded(name)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Case:
    return case(request.param)


def test_all_families_are_here() -> None:
    assert Counter(name.split("/")[0] for name in WORLDS) == {
        "banking77": 1,
        "sentence_polarity": 4,
        "hint3": 3,
        "multidogo": 6,
        "hatemoji": 8,
    }


# -------------------------------------------------------------------------------------------- every world


def test_every_role_has_enough(world: Case) -> None:
    parts, incident = world.slice_parts, world.sources.incident
    assert len(incident.control) // 2 >= GATE_CONTROLS
    assert len(world.sources.probe_control) >= 90
    assert len(parts["probe"]) >= 20
    assert len(parts["judge"]) >= (36 if world.recipe.name.startswith(SMALL) else 75)
    assert len(parts["repair"]) >= (52 if world.recipe.name.startswith(SMALL) else 150)
    assert len(incident.replay) == min(world.recipe.n_replay_pool, len(world.sources.base_train))
    assert world.recipe.notes


def test_the_base_knows_the_labels_if_and_only_if_the_recipe_says_so(world: Case) -> None:
    known = {s.expected for s in world.sources.base_train}
    unknown = {s.expected for s in world.inside} - known
    assert bool(unknown) == (world.recipe.label_shift == "new")
    # An intent of one row in the whole source can only be on one side.
    control = world.sources.incident.control
    strange = [s for s in control if s.expected not in known]
    assert len(strange) <= (0.001 * len(control) if unknown else 0)


def test_no_text_is_both_judged_and_trained_on(world: Case) -> None:
    s = world.sources
    judged = {x.text for x in (*s.incident.slice_judge, *s.incident.control, *s.relevance_probe, *s.probe_control)}
    trained = {x.text for x in (*s.base_train, *s.contributors, *s.incident.slice_repair)}
    assert not judged & trained


def test_contributors_know_different_shares(world: Case) -> None:
    facets = {s.known_by for s in world.sources.contributors}
    planned = {r: plan_contributors(world.recipe, world.sources, r, 0) for r in ("high", "medium", "low")}
    assert len({c.coverage for c in planned["high"]}) >= 3
    assert max(c.coverage for c in planned["high"]) == 1.0
    assert 0 < max(c.coverage for c in planned["medium"]) <= max(0.4, 1 / len(facets))
    assert {c.coverage for c in planned["low"]} == {0.0}
    for contributor in (c for pool in planned.values() for c in pool):
        assert {s.known_by for s in contributor.samples} <= set(contributor.facets) or not contributor.facets
        assert {s.domain for s in contributor.samples} == {contributor.topic}
        assert 0 < len(contributor.samples) <= world.recipe.contributor_size


def test_most_of_what_is_judged_can_be_known(world: Case) -> None:
    facets = {s.known_by for s in world.sources.contributors}
    judged = world.sources.incident.slice_judge
    assert sum(s.known_by in facets for s in judged) >= 0.6 * len(judged)


@pytest.mark.parametrize("name", ["banking77/new-intents", "sentence_polarity/checklist", "hint3/curekart"])
def test_loading_again_gives_the_same_bytes(name: str) -> None:
    again = scenario_family(name).load(scenario_recipe(name)) if case(name) else None
    assert again is not None
    assert again.digest == case(name).data.digest
    assert again.samples == case(name).data.samples


# -------------------------------------------------------------------------------------------- banking77


def test_new_banking_intents_are_the_held_out_ones() -> None:
    world = case("banking77/new-intents")
    root = data_root()
    assert root is not None
    listed = json.loads((root / "banking77" / "id_oos_intents.json").read_text(encoding="utf-8"))
    listed = listed if isinstance(listed, list) else next(iter(listed.values()))
    assert set(listed) == BANKING77_HELD_OUT == {s.expected for s in world.inside}
    assert len({s.expected for s in world.sources.base_train}) == 50
    assert {s.source for s in world.sources.incident.control} == {"test"}


# ------------------------------------------------------------------------------------- sentence polarity


def test_checklist_cases_have_a_binary_label_and_a_test_as_facet() -> None:
    world = case("sentence_polarity/checklist")
    rows = load_rows("checklist_sentiment", "mft")
    gold = {r["text"]: r for r in rows if r["expect"] == "label" and r["label"] in (0, 2)}
    assert {s.text for s in world.inside} == set(gold)
    for sample in world.inside[::50]:
        assert sample.expected == ("negative", "", "positive")[gold[sample.text]["label"]]
    tests = {r["test"] for r in gold.values()}
    assert {s.facet for s in world.inside} == tests


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("That flight is adorable.", "The cabin crew was extraordinary."),
        ("That was a fun flight.", "It was an amazing customer service."),
        ("I love this airline, but I used to abhor it.", "I welcome this airline, even though I used to dislike it."),
        ("Do I think this seat was excellent? Yes", "Do I think that flight is great? Yes"),
    ],
)
def test_cases_filled_into_one_template_are_one_group(one: str, other: str) -> None:
    groups = {s.text: s.group for s in case("sentence_polarity/checklist").data.samples["mft"]}
    shown = [text for text in (one, other) if text in groups]
    # The suite is a sample of all fillings: the first of each pair is in it, the second may be.
    assert one in shown
    assert len({groups[text] for text in shown}) == 1


def test_word_order_and_answers_make_other_templates() -> None:
    groups = {s.text: s.group for s in case("sentence_polarity/checklist").data.samples["mft"]}
    now_first = next(t for t in groups if t.startswith("I love this airline") and "used to" in t)
    past_first = next(t for t in groups if t.startswith("I used to") and "now I" in t)
    no, yes = (next(t for t in groups if t.startswith("Do I think") and t.endswith(a)) for a in ("No", "Yes"))
    assert len({groups[t] for t in (now_first, past_first, no, yes)}) == 4


def test_capabilities_are_part_of_the_suite() -> None:
    whole = {s.text for s in case("sentence_polarity/checklist").inside}
    for name in ("negation", "srl"):
        world = case(f"sentence_polarity/checklist-{name}")
        assert {s.text for s in world.inside} < whole
        templates: dict[str, set[str]] = {}
        for sample in world.inside:
            templates.setdefault(sample.facet, set()).add(sample.group)
        assert len(templates) >= 5
    negation = case("sentence_polarity/checklist-negation")
    assert {s.expected for s in negation.inside} == {"negative"}
    large = [f for f in {s.facet for s in negation.inside} if "Hard" in f]
    assert len(large) == 5
    for facet in large:
        assert len({s.group for s in negation.inside if s.facet == facet}) >= MIN_TEMPLATES


def test_adversarial_sentences_do_not_meet_their_origins() -> None:
    world = case("sentence_polarity/advglue")
    rows = load_rows("advglue_sst2", "test")
    reviews = {str(r["id"]): str(r["text"]) for part in ("train", "validation", "test") for r in
               load_rows("sentence_polarity", part)}  # fmt: skip
    origins = {reviews[r["mr_source"]] for r in rows if r["mr_source"]}
    assert len(world.inside) == len({r["text"] for r in rows})
    sources = world.sources
    assert not origins & {s.text for s in (*sources.base_train, *sources.incident.control, *sources.probe_control)}
    by_origin = Counter(r["mr_source"] for r in rows if r["mr_source"])
    assert (
        Counter(s.group for s in world.data.samples["advglue"])[f"origin {max(by_origin)}"] == by_origin[max(by_origin)]
    )


# ------------------------------------------------------------------------------------------------- hint3


@pytest.mark.parametrize("bot", BOTS)
def test_one_assistant_for_three_shops(bot: str) -> None:
    world = case(f"hint3/{bot}")
    assert {s.expected.split(":")[0] for s in world.sources.base_train} == set(BOTS)
    assert {s.expected.split(":")[0] for s in world.inside} == {bot}
    assert {s.source for s in world.inside} == {"live"}
    control = world.sources.incident.control
    live = {s.expected.split(":")[0] for s in control if s.source == "live"}
    curated = {s.expected.split(":")[0] for s in control if s.source == "train"}
    assert live == set(BOTS) - {bot}
    assert curated == set(BOTS)
    out = world.sources.incident.out_of_scope
    assert len(out) > 1000
    assert {s.expected.split(":")[1] for s in out} == {"NO_NODES_DETECTED"}


@pytest.mark.parametrize("bot", BOTS)
def test_holding_rows_out_leaves_every_intent_to_the_base(bot: str) -> None:
    world = case(f"hint3/{bot}")
    for seed in range(1, 6):
        sources = divide(world.data, world.recipe, seed)
        known = {s.expected for s in sources.base_train}
        assert {s.expected for s in (*world.inside, *sources.incident.control)} <= known


# --------------------------------------------------------------------------------------------- multidogo


@pytest.mark.parametrize("domain", DOMAINS)
def test_each_turn_occurs_once_and_first_in_the_slice(domain: str) -> None:
    world = case(f"multidogo/{domain}")
    texts = [" ".join(s.text.lower().split()) for s in world.data.all_samples()]
    assert len(set(texts)) == len(texts)
    stored = {" ".join(r["text"].lower().split()) for part in ("train", "dev", "test")
              for r in load_rows("multidogo", f"{domain}_{part}") if len(r["intent"]) == 1}  # fmt: skip
    assert {" ".join(s.text.lower().split()) for s in world.inside} == stored
    assert {s.domain for s in world.sources.base_train} == set(DOMAINS) - {domain}
    new = {s.expected for s in world.inside} - {s.expected for s in world.sources.base_train}
    shared = {s.expected for s in world.inside} - new
    assert len(new) >= 3
    assert {"openinggreeting", "thankyou"} <= shared


# ---------------------------------------------------------------------------------------------- hatemoji


@pytest.mark.parametrize("functionality", hatemoji.FUNCTIONALITIES)
def test_a_functionality_is_the_slice_and_the_others_are_control(functionality: str) -> None:
    world = case(f"hatemoji/{functionality}")
    rows = {r["text_named"]: r for r in load_rows("hatemoji", "check_test")}
    assert {rows[s.text]["functionality"] for s in world.inside} == {functionality}
    checks = {rows[s.text]["functionality"] for s in world.sources.incident.control if s.source == "check_test"}
    assert checks == set(hatemoji.FUNCTIONALITIES) - {functionality}
    assert {s.source for s in world.sources.base_train} == {"build_train"}
    assert len({s.facet for s in world.inside}) >= 8
    for sample in world.inside[::40]:
        assert sample.facet == f"{rows[sample.text]['target']} {sample.expected}".replace("_", " ")


def test_no_weight_patch_can_heal_raw_emoji() -> None:
    world = case("hatemoji/raw_emoji")
    for part in world.slice_parts.values():
        assert hatemoji.ceiling(part) == 0.5
        votes: dict[tuple[int, ...], Counter[str]] = {}
        for ids, sample in zip(hatemoji.token_rows([s.text for s in part]), part, strict=True):
            votes.setdefault(ids, Counter())[sample.expected] += 1
        assert all(count["hateful"] == count["not_hateful"] > 0 for count in votes.values())
    assert world.data.extra["slice_ceiling"] == 0.5
    assert world.data.extra["num_ambiguous"] > len(world.inside) > 500


def test_raw_emoji_inputs_stay_on_one_side() -> None:
    world = case("hatemoji/raw_emoji")
    sources = world.sources
    parts: dict[str, Any] = {**world.slice_parts, "base": sources.base_train, "control": sources.incident.control}
    owner: dict[tuple[int, ...], str] = {}
    for name, part in parts.items():
        for ids in hatemoji.token_rows([s.text for s in part]):
            assert owner.setdefault(ids, name) == name


@pytest.fixture
def _tokenizer() -> None:
    try:
        hatemoji.token_rows(["hello"])
    except (ModelUnresolvedError, NetworkUnavailableError, DataError) as error:
        pytest.skip(f"TOKEN IDS NOT CHECKED: {error}")


@pytest.mark.usefixtures("_tokenizer")
def test_ambiguous_posts_pair_up_by_what_the_encoder_reads() -> None:
    bad, good = "hateful", "not_hateful"
    texts = ["I \U0001f52a you", "I \U0001f49d you", "I \U0001f4a3 you", "I like you", "I hate you", "\U0001f52a"]
    labels = [bad, good, bad, good, bad, bad]
    assert hatemoji.ambiguous_posts(texts, labels) == {0, 1, 2}
    assert hatemoji.balanced_posts(texts, labels) == {0, 1}
    rows = [Sample(text, label, str(i)) for i, (text, label) in enumerate(zip(texts, labels, strict=True))]
    assert hatemoji.ceiling(rows[:2]) == 0.5
    assert hatemoji.ceiling(rows[:3]) == pytest.approx(2 / 3)
    assert hatemoji.ceiling(rows) == pytest.approx(5 / 6)


def test_no_samples_have_no_ceiling() -> None:
    with pytest.raises(EmptySliceError):
        hatemoji.ceiling([])


def test_a_base_of_few_samples_takes_at_most_so_many_of_each_label() -> None:
    """And nothing else of the world moves: contributors, incidents and controls are those of the full base."""
    recipe = scenario_recipe("helpdesk")
    data = scenario_family("helpdesk").load(recipe)
    full, few = divide(data, recipe, 0), divide(data, replace(recipe, base_per_label=5), 0)
    counts = Counter(s.expected for s in few.base_train)
    assert set(counts) == {s.expected for s in full.base_train}
    assert max(counts.values()) == 5
    assert set(few.base_train) < set(full.base_train)
    assert few.base_train == divide(data, replace(recipe, base_per_label=5), 0).base_train
    assert few.contributors == full.contributors
    assert few.incident.slice_judge == full.incident.slice_judge
    assert few.incident.control == full.incident.control


def test_a_base_of_few_samples_needs_labels() -> None:
    with pytest.raises(ConfigError, match="classifiers"):
        scenario_recipe("scan/add-jump", base_per_label=5)
