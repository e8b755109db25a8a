"""Paragraphs whose words depend on the data, as bundles.

Example:
    >>> print(prose("It answers " + code("a_b") + " &amp; stops"))
    It answers a_b & stops
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Literal

from symbio_lab.display.bundles import Bundle

Tone = Literal["plain", "headline", "warning", "note"]


def esc(text: object) -> str:
    """Return text that is safe inside HTML."""
    return html.escape(str(text), quote=True)


def code(text: object) -> str:
    """Return a name, digest or label, set as code."""
    return f"<code>{esc(text)}</code>"


def strong(text: object) -> str:
    """Return emphasised text."""
    return f"<strong>{esc(text)}</strong>"


def plain(fragment: str) -> str:
    """Return an HTML fragment as plain text."""
    return html.unescape(re.sub(r"<[^>]+>", "", fragment))


def prose(*paragraphs: str, tone: Tone = "plain") -> Bundle:
    """Return paragraphs of HTML; every value in them must have gone through ``esc``, ``code`` or ``strong``.

    Args:
        paragraphs: HTML fragments, one a paragraph; empty ones are left out.
        tone: ``headline`` for the result, ``warning`` for what a reader must not miss, ``note`` for small print.
    """
    kept = [p for p in paragraphs if p]
    if not kept:
        return Bundle({"text/html": "", "text/plain": ""})
    marks = {"warning": "<strong>Caution.</strong> "}
    body = "".join(f"<p>{marks.get(tone, '')}{p}</p>" for p in kept)
    text = "\n\n".join(plain(marks.get(tone, "") + p) for p in kept)
    return Bundle({"text/html": f'<div class="prose {tone}">{body}</div>', "text/plain": text})


def stack(*bundles: Bundle) -> Bundle:
    """Return text bundles one below the other; figures cannot be stacked."""
    return Bundle(
        {
            "text/html": "".join(b.html for b in bundles),
            "text/plain": "\n\n".join(str(b) for b in bundles),
        }
    )


def fold(summary: str, bundles: Sequence[Bundle]) -> Bundle:
    """Return text bundles folded behind one line."""
    inner = stack(*bundles)
    return Bundle(
        {
            "text/html": f"<details><summary>{esc(summary)}</summary>{inner.html}</details>",
            "text/plain": f"{summary}\n\n{inner}",
        }
    )
