"""The head of a patch's card on a Hub: YAML front matter generated from the manifest.

Rules:
    1. It is a function of the manifest and is signed with the card, as every file is.
    2. Every text is one double-quoted line: quotes and backslashes escaped, control characters removed, length
       bounded. No text of a publisher can end the block, open another key or refer to anything.
    3. What the Hub gives a meaning of its own is written only where it is meant: ``base_model`` only for an id that
       can be one on the Hub, ``license`` in the Hub's spelling, else ``other`` with the name beside it.
    4. The claims are the publisher's own. They stand in ``model-index`` as such, with ``verified: false``.

References:
    "Model Cards" in the Hub's documentation (metadata, ``model-index``).
    YAML 1.2.2, section 7.3.1: a double-quoted scalar, of which JSON strings are a subset.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

from symbio_lab.marketplace.hub_address import is_hub_name, is_hub_repo
from symbio_lab.marketplace.hub_reading import PATCH_TAG
from symbio_lab.records import PatchManifest

_MOST_CHARACTERS = 200
_LICENCE_NAMES = (
    "apache-2.0 mit afl-3.0 artistic-2.0 bsl-1.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl "
    "gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql "
    "ofl-1.1 ncsa unlicense zlib pddl"
)
_LICENCES = frozenset(_LICENCE_NAMES.split())
"""Licences that the Hub knows, in its spelling."""
_SPELLINGS = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl"}
_PIPELINES = {"text_classification": "text-classification", "text_generation": "text-generation"}


def front_matter(manifest: PatchManifest) -> str:
    """Return the front matter of a patch's card, which ends in an empty line.

    Args:
        manifest: what will be signed; its files are not needed.
    """
    pipeline = _PIPELINES[manifest.task_type]
    lines = ["---", "library_name: peft"]
    if is_hub_repo(manifest.base_id) or is_hub_name(manifest.base_id):
        lines += [f"base_model: {quote(manifest.base_id)}", "base_model_relation: adapter"]
    licence = hub_licence(manifest.licence)
    lines.append(f"license: {licence}")
    if licence == "other":
        lines.append(f"license_name: {quote(_slug(manifest.licence) or 'unnamed')}")
    lines.append(f"pipeline_tag: {pipeline}")
    tags = [PATCH_TAG, f"base-digest:{manifest.base_digest[:16]}", f"task:{manifest.task_type}"]
    if domain := _slug(manifest.domain):
        tags.append(f"domain:{domain}")
    lines += ["tags:", *(f"- {quote(tag)}" for tag in tags), *_model_index(manifest, pipeline)]
    return "\n".join([*lines, "---", "", ""])


def hub_licence(spdx: str) -> str:
    """Return the Hub's name of an SPDX licence, or ``other``.

    >>> hub_licence("Apache-2.0"), hub_licence("GPL-3.0-or-later"), hub_licence("Our-Own-1.0")
    ('apache-2.0', 'gpl-3.0', 'other')
    """
    lower = spdx.lower()
    # The Hub does not tell "only" and "or later" apart.
    name = _SPELLINGS.get(lower, lower.removesuffix("-only").removesuffix("-or-later"))
    return name if name in _LICENCES else "other"


def quote(text: str) -> str:
    r"""Return ``text`` as one double-quoted YAML scalar on one line.

    >>> quote('a: "b"\n---')
    '"a: \\"b\\" ---"'
    """
    line = " ".join(text.split())
    kept = "".join(character for character in line if unicodedata.category(character) not in _INVISIBLE)
    return json.dumps(kept[:_MOST_CHARACTERS], ensure_ascii=False)


_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories of what is no visible character: controls, formats, separators of lines, halves of pairs."""


def _model_index(manifest: PatchManifest, pipeline: str) -> Iterable[str]:
    if not manifest.claims:
        return
    yield from ("model-index:", f"- name: {quote(manifest.patch_id)}", "  results:", "  - task:")
    yield f"      type: {pipeline}"
    yield from ("    dataset:", "      type: symbio-claims", '      name: "Claims of the publisher"', "    metrics:")
    for claim in manifest.claims:
        yield f"    - type: {quote(claim.name)}"
        yield f"      value: {json.dumps(claim.value)}"
        yield from ("      args:", f"        n: {claim.n}", "      verified: false")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:60].strip("-.")
