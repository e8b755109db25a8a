"""Names that can be taken for one another.

Two parts (a namespace, or a name) look alike when they differ and
    1. read the same: case, the separators ``-``, ``_`` and ``.``, and the shapes ``rn``/``m``, ``vv``/``w``,
       ``l``/``1``/``I`` and ``0``/``O`` are not told apart; or
    2. one slip of the finger apart: a character more, less or other, or two neighbours swapped, in names of at least
       four characters.
Numbers that differ where both names have one are a series (``patch-9``, ``patch-10``), not a slip; a number put to a
name that has none is one (``alice``, ``alice1``). Letters of other scripts need no rule: ``naming`` allows none.

Two ids look alike when their namespaces do, or when they share the namespace and their names do. Equal names in
unlike namespaces are two publishers' patches for one thing.

Example:
    >>> look_alike("alice/travel", "a1ice/banking"), look_alike("alice/travel", "alice/tra-vel")
    (True, True)
    >>> look_alike("alice/travel", "bob/travel"), look_alike("lab/patch-01", "lab/patch-02")
    (False, False)

References:
    Davis and Suignard (eds.), Unicode Technical Standard #39, "Unicode Security Mechanisms", section 4: two strings
    are confusable when their skeletons are equal.
    Differs from the paper: skeletons of ASCII only, with case and separators folded too.
    Taylor, Vaidya, Davidson, De Carli and Rastogi (2020), "SpellBound: Defending Against Package Typosquatting",
    arXiv 2003.03471: names one slip from a popular one are flagged before they are installed.
    Differs from the paper: what is protected are the names seen and named by the policy, not the popular ones.
    Damerau (1964), "A Technique for Computer Detection and Correction of Spelling Errors", Communications of the ACM
    7(3): one insertion, deletion, substitution or transposition.
    Differs from the paper: nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MIN_SLIP_LENGTH = 4
"""Shorter names are all close to each other."""
_SEPARATORS = re.compile(r"[-_.]+")
_DIGITS = re.compile(r"[0-9]+")
_SHAPES = str.maketrans({"1": "l", "I": "l", "0": "o", "O": "o"})


def look_alike(one: str, other: str) -> bool:
    """Return whether two ids (``namespace/name``, or a namespace alone) differ and can be taken for one another.

    >>> look_alike("modern/x", "modem/x"), look_alike("acme", "acne/x"), look_alike("acme/x", "acme")
    (True, True, False)
    """
    namespace, _, name = one.partition("/")
    other_namespace, _, other_name = other.partition("/")
    if namespace != other_namespace:
        return parts_look_alike(namespace, other_namespace)
    return bool(name and other_name) and parts_look_alike(name, other_name)


def parts_look_alike(one: str, other: str) -> bool:
    """Return whether two namespaces, or two names, differ and can be taken for one another.

    >>> [parts_look_alike("helpdesk", other) for other in ("he1pdesk", "helpdeks", "help.desk", "helpdesks", "desk")]
    [True, True, True, True, False]
    """
    if one == other:
        return False
    mine, theirs = _readings(one), _readings(other)
    return mine[0] == theirs[0] or mine[1] == theirs[1] or _one_slip(mine[0], theirs[0])


def first_look_alike(patch_id: str, names: Iterable[str]) -> str | None:
    """Return the first of ``names`` that ``patch_id`` can be taken for, or None."""
    return next((name for name in names if look_alike(patch_id, name)), None)


@lru_cache(maxsize=1 << 16)
def _readings(part: str) -> tuple[str, str]:
    """Return a part as it sounds (case and separators folded) and as it looks (shapes folded before case)."""
    bare = _SEPARATORS.sub("", part)
    looks = bare.translate(_SHAPES).lower().replace("rn", "m").replace("vv", "w")
    return bare.lower(), looks


def _one_slip(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < MIN_SLIP_LENGTH:
        return False
    if _DIGITS.sub("#", one) == _DIGITS.sub("#", other):
        return False
    if len(one) > len(other):
        one, other = other, one
    start = 0
    while start < len(one) and one[start] == other[start]:
        start += 1
    if len(one) < len(other):
        return one[start:] == other[start + 1 :]
    swapped = one[start : start + 2][::-1] == other[start : start + 2] and one[start + 2 :] == other[start + 2 :]
    return swapped or one[start + 1 :] == other[start + 1 :]
