"""May a patch be published under this licence, given those of the base and of the patches that it was made from?

Rules:
    1. Permissive sources allow any licence; their notices must be kept (``Terms.keep_notices``).
    2. Copyleft stays: the patch must carry the source's licence, or one that the source itself names as compatible.
    3. Non-commercial and no-derivatives sources stop a contribution: a market has no way to keep such a promise.
    4. A licence that the table does not know is an error that says what to state. Nothing is guessed from a name.
    5. Sources may be SPDX expressions: of ``A OR B`` one must allow it, of ``A AND B`` all must.

The table is an engineering filter that stops what is plainly refused; it is no legal advice. Licences of training
*data* are stated in the card, not judged here: what they say about weights is not settled.

Example:
    >>> check_licence("MIT", {"the base": "Apache-2.0"}).keep_notices
    ('the base: Apache-2.0',)
    >>> check_licence("MIT", {"the base": "GPL-3.0-only"})
    Traceback (most recent call last):
    ...
    symbio_lab.errors.TrustError: MIT is refused by the base (GPL-3.0-only): derivatives stay under GPL-3.0-only

References:
    SPDX (2024), "SPDX License List", v3.25, and "SPDX Specification", v2.3, annex D (expressions).
    Free Software Foundation, "Various Licenses and Comments about Them" and "Frequently Asked Questions about the GNU
    Licenses" (matrix of compatibilities): GPL-2.0-or-later and LGPL to later and stronger members of the family.
    Creative Commons (2015), "Compatible Licenses": CC-BY-SA-4.0 to GPLv3, one way; section 3(b)(1) of CC-BY-SA-3.0:
    later versions.
    Linux Foundation (2017), "CDLA-Sharing-1.0", section 3.1; Open Data Commons, "ODbL-1.0", section 4.4.
    Differs from them: exceptions (``WITH``) and licences of its own making (``LicenseRef-``) count as unknown, and
    compatibilities that only hold for larger works (MPL-2.0, section 3.3) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from symbio_lab.errors import ConfigError, TrustError

Kind = Literal["permissive", "copyleft", "non-commercial", "no-derivatives"]

_PERMISSIVE = (
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC-BY-3.0 CC-BY-4.0 CC0-1.0 CDLA-Permissive-1.0 "
    "CDLA-Permissive-2.0 ISC MIT MIT-0 ODC-By-1.0 PDDL-1.0 Unlicense Zlib"
)
_NON_COMMERCIAL = "CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0"
_NO_DERIVATIVES = "CC-BY-ND-3.0 CC-BY-ND-4.0"
_COPYLEFT = {
    "AGPL-3.0-only": "AGPL-3.0-only",
    "AGPL-3.0-or-later": "AGPL-3.0-or-later AGPL-3.0-only",
    "CC-BY-SA-3.0": "CC-BY-SA-3.0 CC-BY-SA-4.0",
    "CC-BY-SA-4.0": "CC-BY-SA-4.0 GPL-3.0-only",
    "CDLA-Sharing-1.0": "CDLA-Sharing-1.0",
    "EPL-2.0": "EPL-2.0",
    "GPL-2.0-only": "GPL-2.0-only",
    "GPL-2.0-or-later": "GPL-2.0-or-later GPL-2.0-only GPL-3.0-or-later GPL-3.0-only",
    "GPL-3.0-only": "GPL-3.0-only",
    "GPL-3.0-or-later": "GPL-3.0-or-later GPL-3.0-only",
    "LGPL-2.1-only": "LGPL-2.1-only GPL-2.0-or-later GPL-2.0-only GPL-3.0-or-later GPL-3.0-only",
    "LGPL-2.1-or-later": "LGPL-2.1-or-later LGPL-2.1-only LGPL-3.0-or-later LGPL-3.0-only GPL-2.0-or-later "
    "GPL-2.0-only GPL-3.0-or-later GPL-3.0-only",
    "LGPL-3.0-only": "LGPL-3.0-only GPL-3.0-only",
    "LGPL-3.0-or-later": "LGPL-3.0-or-later LGPL-3.0-only GPL-3.0-or-later GPL-3.0-only",
    "MPL-2.0": "MPL-2.0",
    "ODbL-1.0": "ODbL-1.0",
}


def _table() -> dict[str, Kind]:
    kinds: dict[str, Kind] = dict.fromkeys(_PERMISSIVE.split(), "permissive")
    kinds |= dict.fromkeys(_NON_COMMERCIAL.split(), "non-commercial")
    kinds |= dict.fromkeys(_NO_DERIVATIVES.split(), "no-derivatives")
    return kinds | dict.fromkeys(_COPYLEFT, "copyleft")


LICENCES: Mapping[str, Kind] = MappingProxyType(_table())
"""SPDX id -> what it asks of derivatives."""
_BY_LOWER = {name.lower(): name for name in LICENCES}
_TOKEN = re.compile(r"\(|\)|[A-Za-z0-9.+:-]+")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a contribution may do and must keep."""

    licence: str
    """SPDX id that the patch is published under."""
    keep_notices: tuple[str, ...]
    """``source: licence`` of every source, for the card: notices that must travel with the patch."""


def check_licence(licence: str, sources: Mapping[str, str | None]) -> Terms:
    """Return the terms under which a patch may be published.

    Args:
        licence: SPDX id of the patch, one id and no expression.
        sources: name of each source (the base, patches of the lineage) -> its SPDX expression; None: not known.

    Raises:
        ConfigError: a licence is not known here, with everything that has to be stated.
        TrustError: ``licence``: a source refuses it, with every source that does.
    """
    problems = [] if known(licence) else [f"the patch: {_unknown(licence)}; state one SPDX id"]
    for source, expression in sources.items():
        if expression is None:
            problems.append(f"{source}: its licence is not known here; state its SPDX id")
        elif missing := unknown_licences(expression):
            problems.append(f"{source}: {_unknown(', '.join(missing) or expression)}; state the SPDX id that applies")
    if problems:
        raise ConfigError(problems, hint=f"ids known here: {', '.join(sorted(LICENCES))}")
    chosen = _BY_LOWER[licence.lower()]
    refused = []
    for source, expression in sources.items():
        reason = _refusal(_Reader(expression or "").read(), chosen)
        if reason:
            refused.append(f"{source} ({expression}): {reason}")
    if refused:
        raise TrustError("licence", f"{chosen} is refused by {'; '.join(refused)}")
    return Terms(chosen, tuple(f"{source}: {expression}" for source, expression in sources.items()))


def known(licence: str) -> bool:
    """Return whether the table has an SPDX id, in any case of letters.

    >>> known("apache-2.0"), known("llama3")
    (True, False)
    """
    return licence.lower() in _BY_LOWER


def unknown_licences(expression: str) -> tuple[str, ...]:
    """Return the ids of an SPDX expression that the table does not have; the whole of it where it is no expression.

    >>> unknown_licences("MIT OR llama3"), unknown_licences("MIT AND Apache-2.0"), unknown_licences("MIT or")
    (('llama3',), (), ('MIT or',))
    """
    return tuple(name for name in _names(expression) if not known(name))


_Tree = str | tuple[str, tuple["_Tree", ...]]
"""An SPDX id, or ``AND`` / ``OR`` over parts."""


class _Reader:
    """Recursive descent over an SPDX expression; ``AND`` binds tighter than ``OR``."""

    def __init__(self, expression: str) -> None:
        self.left = _TOKEN.findall(expression)
        self.whole = " ".join(self.left) == " ".join(expression.replace("(", " ( ").replace(")", " ) ").split())

    def read(self) -> _Tree:
        tree = self.choice()
        if self.left or not self.whole:
            raise ConfigError(["a licence is not an SPDX expression of ids, AND, OR and parentheses"])
        return tree

    def choice(self) -> _Tree:
        return self.joined("OR", lambda: self.joined("AND", self.part))

    def joined(self, word: str, part: Callable[[], _Tree]) -> _Tree:
        parts: list[_Tree] = [part()]
        while self.left and self.left[0].upper() == word:
            self.left.pop(0)
            parts.append(part())
        return parts[0] if len(parts) == 1 else (word, tuple(parts))

    def part(self) -> _Tree:
        if not self.left or self.left[0] == ")" or self.left[0].upper() in ("AND", "OR", "WITH"):
            raise ConfigError(["a licence is not an SPDX expression of ids, AND, OR and parentheses"])
        token = self.left.pop(0)
        if token != "(":
            return token
        inner = self.choice()
        if not self.left or self.left.pop(0) != ")":
            raise ConfigError(["a parenthesis of a licence expression is not closed"])
        return inner


def _names(expression: str) -> list[str]:
    """Return the ids of an expression; the whole of it where it is none."""
    try:
        pending: list[_Tree] = [_Reader(expression).read()]
    except ConfigError:
        return [expression]
    names: list[str] = []
    while pending:
        tree = pending.pop()
        if isinstance(tree, str):
            names.append(tree)
        else:
            pending.extend(tree[1])
    return sorted(set(names))


def _unknown(name: str) -> str:
    return f"the licence {name!r:.80} is not known here"


def _refusal(tree: _Tree, chosen: str) -> str:
    """Return why a source refuses ``chosen``; empty when it allows it."""
    if isinstance(tree, str):
        return _refusal_of_one(_BY_LOWER[tree.lower()], chosen)
    reasons = [_refusal(part, chosen) for part in tree[1]]
    if tree[0] == "OR":
        return "" if "" in reasons else reasons[0]
    return next((reason for reason in reasons if reason), "")


def _refusal_of_one(source: str, chosen: str) -> str:
    kind = LICENCES[source]
    if kind == "permissive":
        return ""
    if kind == "copyleft":
        allowed = _COPYLEFT[source].split()
        return "" if chosen in allowed else f"derivatives stay under {' or '.join(allowed)}"
    return f"{kind} terms stop a contribution"
