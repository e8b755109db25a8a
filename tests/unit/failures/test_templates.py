"""Templates found from filled cases alone."""

from __future__ import annotations

from itertools import product

from symbio_lab.failures.templates import induced_templates, template_families

NOUNS, VERBS, WORDS = ("seat", "crew", "cabin crew", "food"), ("is", "was"), ("good", "bad", "odd", "awful")


def cases() -> list[tuple[str, str]]:
    """Return filled cases with the template each was made from, two of three of every template."""
    made = [(f"The {n} {v} {w}.", "plain") for n, v, w in product(NOUNS, VERBS, WORDS)]
    articles = {"awful": "an", "odd": "an"}
    made += [(f"No, it {v} {articles.get(w, 'a')} {w} {n}!", "article") for n, v, w in product(NOUNS, VERBS, WORDS)]
    made += [(f"I did not say, {link}that the {n} {v} {w}.", "said") for link in ("", "even though it rained, ")
             for n, v, w in product(NOUNS, VERBS, WORDS)]  # fmt: skip
    return [case for i, case in enumerate(made) if i % 3]


def test_cases_of_one_template_get_one_name_and_others_another() -> None:
    texts, kinds = zip(*cases(), strict=True)
    named = set(zip(kinds, induced_templates(texts), strict=True))
    plain, article = "the .", "no , it a !"
    # Four words at one place are no optional word, so the reason keeps its own template.
    said = {"i did not say , that the .", "i did not say , even though it rained , that the ."}
    assert named == {("plain", plain), ("article", article), *(("said", t) for t in said)}


def test_a_word_that_may_be_missing_is_a_blank() -> None:
    found = induced_templates(["Now I like it.", "Even though now I like it.", "But now I like it."])
    assert found == ["now i like it ."] * 3


def test_order_of_texts_does_not_matter() -> None:
    texts = [text for text, _ in cases()]
    assert induced_templates(texts[::-1]) == induced_templates(texts)[::-1]


def test_a_fixed_sentence_is_its_own_template() -> None:
    assert induced_templates(["Where is it?", "How are you"]) == ["where is it ?", "how are you"]
    assert induced_templates(["good", "bad"]) == ["", ""]
    assert induced_templates([]) == []


def test_small_families_are_joined() -> None:
    alike = ["i say , on a monday , .", "i say , on a monday , a .", "i think , on a monday , ."]
    found = template_families([*alike, "no one", "some ?"], smallest=3)
    assert found == {**dict.fromkeys(alike, "i on a monday"), "no one": "", "some ?": ""}
    assert set(template_families(alike, smallest=4).values()) == {""}
