"""Templates behind generated test cases, found from the cases alone, and families of templates.

A suite such as CheckList fills templates from lexicons (*this SEAT was GOOD*), but publishes the filled cases. Words
that fill a blank give themselves away:

    1. Replaced: two cases are equal but for one word. Both words are fillers.
    2. Optional: one case is another with one or two words more. Those words are fillers.
    3. A template is what is left of a case without fillers, in order; ``an`` counts as ``a``.

So every case of a template gets the same name, also where its own combination of fillers has no neighbour. Give all
cases that share lexicons at once. A template that was never filled in two ways cannot be told from a fixed sentence.

Example:
    >>> cases = ["This seat was good.", "This crew was good.", "This seat was fun.", "This crew was really fun."]
    >>> induced_templates([*cases, "This crew was fun.", "No, this seat was fun?"])
    ['this was .', 'this was .', 'this was .', 'this was .', 'this was .', 'no , this was ?']
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from symbio_lab.failures.grouping import near_duplicate_groups

MOST_OPTIONAL = 2
"""Words that may be missing at one place of a template: *even though* in *now (even though) I like it*."""
FAMILY_THRESHOLD = 0.6
"""Jaccard similarity from which two templates are of one family."""
_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
_Tokens = tuple[str, ...]


def _tokens(text: str) -> _Tokens:
    return tuple("a" if word == "an" else word for word in _TOKEN.findall(text.lower()))


def induced_templates(texts: Sequence[str]) -> list[str]:
    """Return the template of each text, its words that no other text replaces or leaves out.

    Args:
        texts: N cases whose blanks are filled from the same lexicons.

    Returns:
        N templates; the empty one where every word is a filler.
    """
    cases = [_tokens(text) for text in texts]
    known = set(cases)
    words_at: dict[tuple[_Tokens, _Tokens], set[str]] = defaultdict(set)
    for case in known:
        for i, word in enumerate(case):
            words_at[case[:i], case[i + 1 :]].add(word)
    fillers = {word for words in words_at.values() if len(words) > 1 for word in words}
    for case in known:
        for length in range(1, MOST_OPTIONAL + 1):
            for i in range(len(case) - length + 1):
                if case[:i] + case[i + length :] in known:
                    fillers.update(case[i : i + length])
    return [" ".join(word for word in case if word not in fillers) for case in cases]


def template_families(templates: Sequence[str], smallest: int) -> dict[str, str]:
    """Return the family of each template: the words that all of its members share.

    Args:
        templates: distinct templates.
        smallest: families of fewer templates are joined into one without words, ``""``.

    Returns:
        Template -> family.

    >>> few = ["say , on a monday , .", "think , on a monday , .", "no one"]
    >>> template_families(few, smallest=2)
    {'say , on a monday , .': 'on a monday', 'think , on a monday , .': 'on a monday', 'no one': ''}
    """
    members: dict[str, list[str]] = defaultdict(list)
    for template, cluster in zip(templates, near_duplicate_groups(templates, FAMILY_THRESHOLD), strict=True):
        members[cluster].append(template)
    found = {}
    for family in members.values():
        shared = set.intersection(*(set(template.split()) for template in family))
        words = [word for word in dict.fromkeys(family[0].split()) if word in shared and word[0].isalnum()]
        name = " ".join(words) if len(family) >= smallest else ""
        found.update(dict.fromkeys(family, name))
    return {template: found[template] for template in templates}
